package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Spec is what a user asks to run.
type Spec struct {
	Runtime    string            `json:"runtime"`
	Entrypoint string            `json:"entrypoint"`
	Args       []string          `json:"args"`
	Env        map[string]string `json:"env,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Image      string            `json:"image,omitempty"`
	// Queue is the Kueue LocalQueue that admits the job.
	Queue string `json:"queue,omitempty"`
	// Profile is the name of a profile of the operator's, empty for the default one or none.
	Profile string `json:"profile,omitempty"`
	// CPU and Memory are Kubernetes quantities, empty for no limit.
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory,omitempty"`
	// TimeoutSeconds ends the job that many seconds after its first attempt began, retries included,
	// like activeDeadlineSeconds of a Kubernetes Job. 0 means no limit.
	TimeoutSeconds int64 `json:"timeoutSeconds,omitempty"`
	// TTLSecondsAfterFinished is how long the job is kept after its end.
	TTLSecondsAfterFinished int64 `json:"ttlSecondsAfterFinished"`
	// Retries is how often a failed program runs again.
	Retries int `json:"retries,omitempty"`
	// RetryOn says after which ends it does: exit codes, ranges of them, and reasons. Empty: after
	// every end that a retry may help.
	RetryOn []string `json:"retryOn,omitempty"`
	// Name is for people. Several jobs may have the same.
	Name string `json:"name,omitempty"`
	// Dependencies is one of the values below, empty for DependenciesAuto.
	Dependencies string `json:"dependencies,omitempty"`
}

// What is done about the packages that a job's files name.
const (
	DependenciesAuto = "auto" // what the server's setting DEPENDENCIES says
	DependenciesOff  = "off"  // they are not installed
)

// The bounds of a Spec. MaxArgBytes is Linux's MAX_ARG_STRLEN. MaxExecBytes is well below the
// quarter of the stack (2 MiB) that Linux gives to arguments and environment; see execve(2).
const (
	MaxArgBytes   = 128<<10 - 1
	MaxExecBytes  = 1 << 20
	MaxSeconds    = 10 * 365 * 24 * 3600
	MaxRetries    = 100
	maxEnvName    = 256
	maxImageBytes = 512
)

// ReservedEnv lists the variables that the orchestrator sets itself.
func ReservedEnv() []string {
	return []string{"PATH", "HOME", "LANG", "TMPDIR", "JOB_ID", "JOB_ATTEMPT", "OUTPUT_DIR"}
}

// Validate returns every fault of s that can be found without its files, as *Faults, or nil. Runtime
// and Entrypoint may be empty, because they can follow from the files.
func (s *Spec) Validate() error {
	faults := &Faults{Kind: ErrInvalid}
	faults.add("entrypoint", checkEntrypoint(s.Entrypoint))
	checkArgs(faults, s.Args)
	checkEnv(faults, s.Env)
	checkExecSize(faults, s, nil)
	checkLabels(faults, s.Labels)
	if s.CPU != "" {
		_, message := MilliCPU(s.CPU)
		faults.add("cpu", message)
	}
	if s.Memory != "" {
		_, message := Bytes(s.Memory)
		faults.add("memory", message)
	}
	faults.add("image", CheckImage(s.Image))
	faults.add("queue", CheckQueue(s.Queue))
	if s.Profile != "" {
		faults.add("profile", CheckProfileName(s.Profile))
	}
	faults.add("timeoutSeconds", between(s.TimeoutSeconds, 0, MaxSeconds))
	faults.add("ttlSecondsAfterFinished", between(s.TTLSecondsAfterFinished, 0, MaxSeconds))
	faults.add("retries", between(int64(s.Retries), 0, MaxRetries))
	checkRetryOn(faults, s)
	switch s.Dependencies {
	case "", DependenciesAuto, DependenciesOff:
	default:
		faults.add("dependencies", fmt.Sprintf("%.60q is neither auto nor off", s.Dependencies))
	}
	if s.Name != "" {
		faults.add("name", CheckName(s.Name))
	}
	return faults.err()
}

// MaxSegmentBytes bounds a segment of the path of a file in an archive, and of an entrypoint. It is
// what file systems allow.
const MaxSegmentBytes = 255

// checkEntrypoint takes an empty one, which can follow from the files.
func checkEntrypoint(s string) string {
	if s == "" {
		return ""
	}
	return CheckPath(s, MaxSegmentBytes)
}

func checkArgs(faults *Faults, args []string) {
	for i, arg := range args {
		faults.add(fmt.Sprintf("args[%d]", i), checkText(arg))
	}
}

// checkText says why s cannot be an argument or the value of a variable.
func checkText(s string) string {
	switch {
	case strings.Contains(s, "\x00"):
		return "contains a NUL character, which cannot be passed to a program"
	case !utf8.ValidString(s):
		return "is not valid UTF-8"
	case len(s) > MaxArgBytes:
		return fmt.Sprintf("has %d bytes; Linux allows %d", len(s), MaxArgBytes)
	}
	return ""
}

func checkEnv(faults *Faults, env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		faults.add(fmt.Sprintf("env[%q]", name), CheckVariable(name, env[name]))
	}
}

// CheckVariable says why a program cannot get a variable, or returns "".
func CheckVariable(name, value string) string {
	if message := CheckEnvName(name); message != "" {
		return message
	}
	if message := checkText(name + "=" + value); message != "" {
		return "its value " + message
	}
	return ""
}

// CheckEnvName says why a name cannot be that of a variable, or returns "". It follows Kubernetes'
// rule for names of variables: printable ASCII without "="
// (k8s.io/apimachinery/pkg/util/validation, IsRelaxedEnvVarName).
func CheckEnvName(name string) string {
	switch {
	case name == "":
		return "a variable needs a name"
	case len(name) > maxEnvName:
		return fmt.Sprintf("the name has %d bytes; at most %d are allowed", len(name), maxEnvName)
	case strings.Contains(name, "="):
		return "a name cannot contain ="
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "a name must be printable ASCII without blanks"
	case slices.Contains(ReservedEnv(), name):
		return "is set by the orchestrator (" + strings.Join(ReservedEnv(), ", ") + "); choose another name"
	}
	return ""
}

// checkExecSize bounds arguments, variables and secrets together.
func checkExecSize(faults *Faults, s *Spec, secrets map[string]string) {
	const pointer = 8
	total := 0
	for _, arg := range s.Args {
		total += len(arg) + 1 + pointer
	}
	for _, variables := range []map[string]string{s.Env, secrets} {
		for name, value := range variables {
			total += len(name) + len(value) + 2 + pointer
		}
	}
	if total > MaxExecBytes {
		faults.add("args", fmt.Sprintf("arguments and environment have %d bytes together; at most %d are allowed; send "+
			"large input as a file", total, MaxExecBytes))
	}
}

// The syntax of labels is Kubernetes' own.
var (
	labelName   = pattern{expr: `^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`}
	labelPrefix = pattern{expr: `^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`}
)

// MaxLabels bounds the cost of listing by label, because every label is an entry in an index.
const MaxLabels = 32

func checkLabels(faults *Faults, labels map[string]string) {
	if len(labels) > MaxLabels {
		faults.add("labels", fmt.Sprintf("has %d labels; at most %d are allowed", len(labels), MaxLabels))
	}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		message := checkReserved(key)
		if message == "" {
			message = CheckLabel(key, labels[key])
		}
		faults.add(fmt.Sprintf("labels[%q]", key), message)
	}
}

// TemplateLabel is the label by which the jobs of a template are listed. Only the server sets it,
// never a user.
const TemplateLabel = "go-job-orchestrator/template"

// reservedLabels are the prefixes of labels that users cannot set. The orchestrator uses the first
// two, in lists and in Kubernetes. The third is Kueue's, and users set its queue by a field.
func reservedLabels() []string {
	return []string{"go-job-orchestrator", "go-job-orchestrator.github.io", "kueue.x-k8s.io"}
}

// checkReserved says why a user cannot set a label, or returns "".
func checkReserved(key string) string {
	prefix, _, found := strings.Cut(key, "/")
	isPrefix := func(reserved string) bool { return strings.EqualFold(prefix, reserved) }
	if found && slices.ContainsFunc(reservedLabels(), isPrefix) {
		return fmt.Sprintf("begins with %s/, which is reserved; choose another prefix, or none", strings.ToLower(prefix))
	}
	return ""
}

// CheckLabel says what is wrong with a label, or returns "".
func CheckLabel(key, value string) string {
	name := key
	if prefix, rest, found := strings.Cut(key, "/"); found {
		if len(prefix) > 253 || !labelPrefix.get().MatchString(prefix) {
			return "the part before the slash must be a DNS name"
		}
		name = rest
	}
	if !labelName.get().MatchString(name) {
		return "a label's name has 1 to 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit"
	}
	if value != "" && !labelName.get().MatchString(value) {
		return "a label's value has at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit"
	}
	return ""
}

// CheckQueue says what is wrong with the name of a queue, or returns "". An empty one is valid.
func CheckQueue(name string) string {
	if name != "" && !isDNSLabel(name) {
		return "is not the name of a Kueue LocalQueue: at most 63 lowercase letters, digits and '-'"
	}
	return ""
}

// CheckProfileName says what is wrong with the name of a profile, or returns "". A label of the Job
// has the name too.
func CheckProfileName(name string) string {
	if !isDNSLabel(name) {
		return "is not the name of a profile: at most 63 lowercase letters, digits and '-'"
	}
	return ""
}

func isDNSLabel(s string) bool { return len(s) <= 63 && dnsLabel.get().MatchString(s) }

var imageSyntax = pattern{expr: `^[a-zA-Z0-9][-a-zA-Z0-9._:/@]*$`}

// dnsLabel is the syntax of a DNS label (RFC 1123), which names of LocalQueues and profiles have.
var dnsLabel = pattern{expr: `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`}

// CheckImage says what is wrong with the reference of an image, or returns "". An empty one is valid.
func CheckImage(s string) string {
	if s == "" {
		return ""
	}
	if len(s) > maxImageBytes || !imageSyntax.get().MatchString(s) {
		return "is not an image reference such as python:3.13-slim"
	}
	return ""
}

func between(n, low, high int64) string {
	if n < low || n > high {
		return fmt.Sprintf("%d is out of range: from %d to %d", n, low, high)
	}
	return ""
}
