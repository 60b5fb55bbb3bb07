package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"go-job-orchestrator/shared/job"
)

// facts are lines of a name and a value, aligned. Empty values are left out.
type facts struct {
	names, values []string
}

func (f *facts) add(name, value string) {
	if value != "" {
		f.names, f.values = append(f.names, name), append(f.values, printable(value))
	}
}

func (f *facts) print(w io.Writer) error {
	width := 0
	for _, name := range f.names {
		width = max(width, runewidth.StringWidth(name))
	}
	var out strings.Builder
	for i, name := range f.names {
		fmt.Fprintf(&out, "%s  %s\n", name+strings.Repeat(" ", width-runewidth.StringWidth(name)), f.values[i])
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// describe prints a job for people; wide: with everything that is known of it.
func (a *app) describe(s job.Status, wide bool) error {
	var f facts
	f.add("ID", string(s.JobID))
	f.add("Name", s.Name)
	f.add("Phase", phrase(s.Phase, s.Reason))
	f.add("Message", s.Message)
	f.add("Exit code", number(s.ExitCode))
	f.add("Queue", place(s.Queue))
	f.add("Created", a.moment(&s.CreatedAt))
	f.add("Started", a.moment(s.StartedAt))
	f.add("Finished", a.moment(s.FinishedAt))
	f.add("Took", a.took(s.Summary))
	f.add("Expires", a.expires(s.ExpiresAt))
	f.add("Owner", s.Owner)
	f.add("Labels", pairs(s.Labels))
	f.add("Program", program(s))
	f.add("Runtime", s.Runtime)
	f.add("Limits", limits(s))
	f.add("Retries", retries(s))
	f.add("Profile", s.Profile)
	f.add("Image", s.Image)
	f.add("Template", origin(s.Template))
	f.add("Rerun of", string(s.RerunOf))
	f.add("Files", files(s.Files))
	f.add("Secrets", secrets(s.Secrets))
	f.add("Outputs", outputs(s.Outputs))
	f.add("Not kept", notCollected(s.NotCollected))
	for _, attempt := range s.Attempts {
		if wide || len(s.Attempts) > 1 {
			f.add(fmt.Sprintf("Attempt %d", attempt.Number), a.attempt(attempt, wide))
		}
	}
	return f.print(a.stdout)
}

func phrase(phase job.Phase, reason job.Reason) string {
	if reason == "" {
		return string(phase)
	}
	return fmt.Sprintf("%s (%s)", phase, reason)
}

func place(q *job.Queue) string {
	switch {
	case q == nil:
		return ""
	case q.Ahead != nil:
		return strings.TrimSpace(fmt.Sprintf("%s position %d, %d ahead", q.Name, q.Position, *q.Ahead))
	}
	return q.Name
}

// moment is a time in the zone of this machine, and how long ago it was.
func (a *app) moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05") + " (" + age(*t, a.now()) + " ago)"
}

func program(s job.Status) string {
	words := []string{s.Entrypoint}
	for _, arg := range s.Args {
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"$\\*?") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return strings.Join(words, " ")
}

func limits(s job.Status) string {
	var list []string
	if s.CPU != "" {
		list = append(list, "cpu "+s.CPU)
	}
	if s.Memory != "" {
		list = append(list, "memory "+s.Memory)
	}
	if s.TimeoutSeconds > 0 {
		list = append(list, "timeout "+span(time.Duration(s.TimeoutSeconds)*time.Second))
	}
	return strings.Join(list, ", ")
}

func retries(s job.Status) string {
	if s.Retries == 0 {
		return ""
	}
	if len(s.RetryOn) == 0 {
		return fmt.Sprint(s.Retries)
	}
	return fmt.Sprintf("%d, on %s", s.Retries, strings.Join(s.RetryOn, ", "))
}

func origin(o *job.Origin) string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf("%s, version %d", o.Name, o.Version)
}

// fewNames is how many names of files are shown.
const fewNames = 8

func files(list []job.File) string {
	var names []string
	for i, f := range list {
		if i == fewNames {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(list)-i)
		}
		if f.Archive != "" {
			names = append(names, fmt.Sprintf("%s (%s, %s)", f.Name, count(f.Entries, "entry"), size(f.Unpacked)))
			continue
		}
		names = append(names, fmt.Sprintf("%s (%s)", f.Name, size(f.Size)))
	}
	return strings.Join(names, ", ")
}

func secrets(list []job.Secret) string {
	var names []string
	for _, s := range list {
		if s.From != "" {
			names = append(names, s.Name+"=@"+s.From)
			continue
		}
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func outputs(o *job.Outputs) string {
	if o == nil {
		return ""
	}
	text := fmt.Sprintf("%s, %s", count(o.Count, "file"), size(o.Bytes))
	if o.OmittedCount > 0 {
		var names []string
		for _, omitted := range o.Omitted {
			names = append(names, omitted.Name+" "+omitted.Reason)
		}
		text += fmt.Sprintf("; %d not stored: %s", o.OmittedCount, strings.Join(names, "; "))
	}
	return text
}

func notCollected(n *job.NotCollected) string {
	if n == nil {
		return ""
	}
	return strings.Join(n.Names, ", ") + "; only files in $OUTPUT_DIR are kept"
}

func (a *app) attempt(t job.Attempt, wide bool) string {
	list := []string{t.StartedAt.Local().Format("15:04:05")}
	if t.FinishedAt != nil {
		list = append(list, "took "+fmt.Sprintf("%.1fs", t.FinishedAt.Sub(t.StartedAt).Seconds()))
	}
	if t.Reason != "" {
		list = append(list, string(t.Reason))
	}
	if t.ExitCode != nil {
		list = append(list, "exit code "+number(t.ExitCode))
	}
	if t.Signal != "" {
		list = append(list, t.Signal)
	}
	if wide && t.Limits != nil {
		list = append(list, "cpu "+t.Limits.CPU, "memory "+t.Limits.Memory)
	}
	return strings.Join(list, ", ")
}

// count is a number with a noun: "1 file", "2 files", "2 entries".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, found := strings.CutSuffix(noun, "y"); found {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// size is a number of bytes for people: 8 B, 1.5 KiB, 2 GiB.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, []string{"KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; value >= unit && i < len(units)-1; i++ {
		value /= unit
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + units[i]
}
