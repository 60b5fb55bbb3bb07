package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/shared/job"
)

// jobFlags are the flags that describe a job, the same for every command that makes one.
type jobFlags struct {
	name, profile              string
	env, envFiles, secrets     []string
	labels, retryOn            []string
	cpu, memory                string
	timeout, ttl               string
	retries                    int
	runtime, entrypoint, image string
	queue                      string
	noDeps                     bool

	set *pflag.FlagSet
}

// overrides registers the flags that a start of a template has, too. named says which name a job has
// without -n.
func (f *jobFlags) overrides(flags *pflag.FlagSet, named string) {
	f.set = flags
	flags.StringVarP(&f.name, "name", "n", "", "a `NAME` for people; "+named+" by default")
	flags.StringArrayVarP(&f.env, "env", "e", nil,
		"a variable, `K=V`; K alone takes the value from your environment")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "a `FILE` with a variable on each line, as for -e")
	flags.StringArrayVarP(&f.secrets, "secret", "s", nil,
		"a secret variable, `K[=V]`, as for -e; others can see V in the list of processes, so better give K alone; "+
			"K=@NAME is the operator's secret NAME")
	flags.StringVar(&f.profile, "profile", "", "the `NAME` of one of the server's profiles, such as gpu")
}

// register registers all flags.
func (f *jobFlags) register(flags *pflag.FlagSet, named string) {
	f.overrides(flags, named)
	flags.StringArrayVarP(&f.labels, "label", "l", nil, "a label, `K=V`")
	flags.StringVar(&f.cpu, "cpu", "", "the `CPUS` that the program may use, such as 2 or 500m")
	flags.StringVarP(&f.memory, "memory", "m", "", "the `MEMORY` that it may use, such as 512Mi or 256MB")
	flags.StringVar(&f.timeout, "timeout", "", "end the job after this `DURATION`, such as 10m or 2h; retries included")
	flags.IntVar(&f.retries, "retries", 0, "run a failed program again, at most `N` times")
	flags.StringSliceVar(&f.retryOn, "retry-on", nil,
		"retry only after these `ENDS`: exit codes, ranges such as 10-20, reasons such as OOMKilled")
	flags.StringVar(&f.ttl, "ttl", "", "remove the job this `DURATION` after its end, such as 1h or 7d")
	flags.StringVar(&f.runtime, "runtime", "", "the `RUNTIME`: python, node, java or binary; inferred where it follows")
	flags.StringVar(&f.entrypoint, "entrypoint", "", "the `FILE` to run; inferred where it follows")
	flags.StringVar(&f.image, "image", "", "the container `IMAGE` (Kubernetes only)")
	flags.StringVar(&f.queue, "queue", "", "the `NAME` of a Kueue LocalQueue (Kubernetes only)")
	flags.BoolVar(&f.noDeps, "no-deps", false, "do not install the packages that the project names")
}

// fill adds the fields of the job to a form. Faults are usage errors that name the flag.
func (a *app) fill(to *form.Form, f *jobFlags, args []string) error {
	env, err := a.variables(f)
	if err != nil {
		return err
	}
	secrets, err := a.secretValues(f.secrets)
	if err != nil {
		return err
	}
	labels, err := labelsOf("label", f.labels)
	if err != nil {
		return err
	}
	memory, err := memoryOf(f.memory)
	if err != nil {
		return err
	}
	if f.cpu != "" {
		if _, wrong := job.MilliCPU(f.cpu); wrong != "" {
			return usagef("--cpu: %s", wrong)
		}
	}
	timeout, err := seconds("timeout", f.timeout, 1)
	if err != nil {
		return err
	}
	ttl, err := seconds("ttl", f.ttl, 0)
	if err != nil {
		return err
	}
	to.Add("name", f.name)
	to.Add("runtime", f.runtime)
	to.Add("entrypoint", f.entrypoint)
	to.Add("env", jsonObject(env))
	to.Add("labels", jsonObject(labels))
	to.Add("cpu", f.cpu)
	to.Add("memory", memory)
	to.Add("timeoutSeconds", timeout)
	to.Add("ttlSecondsAfterFinished", ttl)
	if f.changed("retries") {
		to.Add("retries", strconv.Itoa(f.retries))
	}
	to.Add("retryOn", jsonList(f.retryOn))
	to.Add("image", f.image)
	to.Add("queue", f.queue)
	to.Add("profile", f.profile)
	if f.noDeps {
		to.Add("dependencies", "off")
	}
	to.Add("args", jsonList(args))
	to.Fields = append(to.Fields, secrets...)
	return nil
}

func (f *jobFlags) changed(name string) bool { return f.set != nil && f.set.Changed(name) }

func usagef(format string, values ...any) error {
	return &usageError{fmt.Errorf(format, values...)}
}

// jsonList and jsonObject are JSON, or "" for nothing.
func jsonList(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return encode(values)
}

func jsonObject(values map[string]string) string {
	if len(values) == 0 {
		return ""
	}
	return encode(values)
}

func encode(value any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // of strings only
	return strings.TrimSuffix(b.String(), "\n")
}

// variables returns those of files, then those of flags, of which the last of a name counts.
func (a *app) variables(f *jobFlags) (map[string]string, error) {
	env := map[string]string{}
	for _, path := range f.envFiles {
		if err := a.envFile(env, path); err != nil {
			return nil, err
		}
	}
	for _, text := range f.env {
		name, value, err := a.variable("-e", text)
		if err != nil {
			return nil, err
		}
		env[name] = value
	}
	return env, nil
}

// maxEnvLine bounds a line of a file of variables.
const maxEnvLine = 1 << 20

// envFile reads lines K=V or K. Empty lines and those that begin with # are left out. Values are taken
// as they are, quotes included, as docker does.
func (a *app) envFile(env map[string]string, path string) error {
	file, err := a.open(path)
	if err != nil {
		return usagef("--env-file: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxEnvLine)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimLeft(strings.TrimSuffix(lines.Text(), "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, err := a.variable(fmt.Sprintf("--env-file %s, line %d", path, number), line)
		if err != nil {
			return err
		}
		env[name] = value
	}
	if err := lines.Err(); err != nil {
		return usagef("--env-file %s: %w", path, err)
	}
	return nil
}

// open opens a file that a flag names; "-" is our standard input.
func (a *app) open(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.stdin), nil
	}
	return os.Open(path)
}

// variable reads K=V or K. where names the flag. No message has a value.
func (a *app) variable(where, text string) (name, value string, err error) {
	name, value, has := strings.Cut(text, "=")
	if wrong := job.CheckEnvName(name); wrong != "" {
		return "", "", usagef("%s %.100q: %s", where, name, wrong)
	}
	if !has {
		if value, has = a.lookup(name); !has {
			return "", "", usagef("%s %s: your environment has no variable %s; write %s=VALUE, or export it first",
				where, name, name, name)
		}
	}
	if wrong := job.CheckVariable(name, value); wrong != "" {
		return "", "", usagef("%s %s: %s", where, name, wrong)
	}
	return name, value, nil
}

// lookup finds a variable of the caller's environment.
func (a *app) lookup(name string) (string, bool) {
	if value := a.getenv(name); value != "" {
		return value, true
	}
	return os.LookupEnv(name)
}

// secretValues returns the fields of secrets.
func (a *app) secretValues(texts []string) ([]form.Field, error) {
	var fields []form.Field
	seen := map[string]bool{}
	for _, text := range texts {
		name, value, err := a.variable("-s", text)
		if err != nil {
			return nil, err
		}
		if seen[name] {
			return nil, usagef("-s %s: is given twice", name)
		}
		seen[name] = true
		if !strings.Contains(text, "=") && strings.HasPrefix(value, "@") {
			value = "@" + value // a value of the environment is never the name of an operator's secret
		}
		fields = append(fields, form.Field{Name: job.SecretPrefix + name, Value: value})
	}
	return fields, nil
}

// labelsOf reads K=V.
func labelsOf(flag string, texts []string) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range texts {
		name, value, has := strings.Cut(text, "=")
		if !has {
			return nil, usagef("--%s %.100q: write it as KEY=VALUE", flag, text)
		}
		if wrong := job.CheckLabel(name, value); wrong != "" {
			return nil, usagef("--%s %.100q: %s", flag, text, wrong)
		}
		m[name] = value
	}
	return m, nil
}

// memoryOf takes a Kubernetes quantity, or one such as 256MB or 1GiB, which it translates.
func memoryOf(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	translated := text
	for _, unit := range []struct{ from, to string }{
		{"KIB", "Ki"}, {"MIB", "Mi"}, {"GIB", "Gi"}, {"TIB", "Ti"}, {"KB", "k"}, {"MB", "M"}, {"GB", "G"}, {"TB", "T"},
	} {
		if number, found := strings.CutSuffix(strings.ToUpper(text), unit.from); found {
			translated = strings.TrimSpace(number) + unit.to
			break
		}
	}
	if _, wrong := job.Bytes(translated); wrong != "" {
		return "", usagef("--memory: %s", wrong)
	}
	return translated, nil
}

// seconds reads a duration such as 90s, 1h30m or 7d as a number of whole seconds.
func seconds(flag, text string, least int64) (string, error) {
	if text == "" {
		return "", nil
	}
	d, err := duration(text)
	if err != nil {
		meant := ""
		if _, number := strconv.Atoi(text); number == nil {
			meant = fmt.Sprintf("; did you mean %ss or %sm?", text, text)
		}
		return "", usagef("--%s: %.40q is not a duration such as 90s, 10m, 2h or 7d%s", flag, text, meant)
	}
	n := int64((d + time.Second - 1) / time.Second)
	if d < 0 || n < least || n > job.MaxSeconds {
		return "", usagef("--%s: %.40q is out of range: from %ds to %dh", flag, text, least, job.MaxSeconds/3600)
	}
	return strconv.FormatInt(n, 10), nil
}

func duration(text string) (time.Duration, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	if text == "0" {
		return 0, nil
	}
	return time.ParseDuration(text)
}

// flagOf returns the flag that a field of the API comes from, for messages, or the field.
func flagOf(field string) string {
	name, rest, _ := strings.Cut(field, "[")
	if rest != "" {
		rest = " [" + rest
	}
	if secret, found := strings.CutPrefix(field, job.SecretPrefix); found {
		return "-s " + secret
	}
	flags := map[string]string{
		"timeoutSeconds": "--timeout", "ttlSecondsAfterFinished": "--ttl", "retryOn": "--retry-on", "retries": "--retries",
		"labels": "--label", "env": "--env", "files": "--file", "memory": "--memory", "cpu": "--cpu", "runtime": "--runtime",
		"entrypoint": "--entrypoint", "image": "--image", "queue": "--queue", "profile": "--profile", "name": "--name",
		"stdin": "--stdin", "dependencies": "--no-deps",
	}
	if flag, found := flags[name]; found {
		return flag + rest
	}
	return field
}
