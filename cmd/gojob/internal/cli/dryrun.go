package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/cmd/gojob/internal/pack"
	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/project"
)

// printDryRun says on stdout what a form would send. No value of a secret is in it.
func (a *app) printDryRun(f *form.Form) error {
	var out strings.Builder
	for _, field := range f.Fields {
		value := field.Value
		if strings.HasPrefix(field.Name, job.SecretPrefix) {
			value = "(hidden)"
		}
		fmt.Fprintf(&out, "field    %s=%s\n", field.Name, harmless(value))
	}
	var total int64
	files := f.Files
	if f.Stdin != nil {
		stdin := *f.Stdin
		stdin.Name = "(standard input)"
		files = append(files[:len(files):len(files)], stdin)
	}
	for _, file := range files {
		fmt.Fprintf(&out, "file     %s  %s\n", harmless(file.Name), size(file.Size))
		total += file.Size
	}
	if plan, ok := f.Archive.(*pack.Plan); ok {
		total += plan.Bytes
		printPlan(&out, plan)
	}
	if inferred := infer(f); inferred != nil {
		fmt.Fprintf(&out, "runs     %s with %s\n", harmless(inferred.Entrypoint), inferred.Runtime)
	}
	length, err := f.Length()
	if err != nil {
		return err
	}
	fmt.Fprintf(&out, "total    %s in files, %s with everything around them; nothing was sent\n", size(total),
		size(length))
	_, err = io.WriteString(a.stdout, out.String())
	return err
}

// printPlan lists what an archive would have, and what stays away.
func printPlan(out *strings.Builder, plan *pack.Plan) {
	for _, e := range plan.Entries {
		name := harmless(e.Name)
		switch e.Kind {
		case pack.KindFolder:
			fmt.Fprintf(out, "folder   %s/\n", name)
		case pack.KindLink:
			fmt.Fprintf(out, "link     %s -> %s\n", name, harmless(e.Target))
		case pack.KindFile:
			executable := ""
			if e.Executable {
				executable = "  executable"
			}
			fmt.Fprintf(out, "file     %s  %s%s\n", name, size(e.Size), executable)
		}
	}
	for _, name := range plan.Ignored {
		fmt.Fprintf(out, "ignored  %s\n", harmless(name))
	}
	if more := plan.IgnoredCount - len(plan.Ignored); more > 0 {
		fmt.Fprintf(out, "ignored  %d more\n", more)
	}
	for _, note := range plan.Skipped {
		fmt.Fprintf(out, "skipped  %s %s\n", harmless(note.Path), note.Message)
	}
	fmt.Fprintf(out, "archive  %s\n", counted(plan.Files, "file", "files"))
}

// infer finds the runtime and entrypoint as the server will, or returns nil.
func infer(f *form.Form) *job.Inferred {
	spec := &job.Spec{}
	for _, field := range f.Fields {
		switch field.Name {
		case "runtime":
			spec.Runtime = field.Value
		case "entrypoint":
			spec.Entrypoint = field.Value
		}
	}
	tree := project.New()
	visit := tree.Visit(context.Background())
	for _, file := range f.Files {
		if visitFile(visit, archive.Entry{Name: file.Name, Kind: archive.File}, file.Open) != nil {
			return nil
		}
	}
	if plan, ok := f.Archive.(*pack.Plan); ok {
		for _, e := range plan.Entries {
			kind := map[pack.Kind]archive.Kind{
				pack.KindFolder: archive.Folder, pack.KindFile: archive.File, pack.KindLink: archive.Link,
			}[e.Kind]
			open := func() (io.ReadCloser, error) { return e.Open() }
			if visitFile(visit, archive.Entry{Name: e.Name, Kind: kind}, open) != nil {
				return nil
			}
		}
	}
	if _, err := tree.Infer(spec); err != nil || spec.Runtime == "" {
		return nil
	}
	return &job.Inferred{Runtime: spec.Runtime, Entrypoint: spec.Entrypoint}
}

// visitFile shows a file to a tree, which reads the beginning of those that tell something.
func visitFile(visit archive.Visit, e archive.Entry, open func() (io.ReadCloser, error)) error {
	content := &lazy{open: open}
	defer content.close()
	err := visit(e, content)
	return errors.Join(err, content.err)
}

// lazy opens a file with the first byte that is read.
type lazy struct {
	open func() (io.ReadCloser, error)
	r    io.ReadCloser
	err  error
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil && l.err == nil {
		l.r, l.err = l.open()
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.r.Read(p)
}

func (l *lazy) close() {
	if l.r != nil {
		_ = l.r.Close()
	}
}

// largeUpload is from which size on the largest entries of an archive are named before it is sent.
const largeUpload = 50 << 20

// largest is how many are named.
const largest = 5

// sayLarge names what makes an archive large, and what of a folder cannot be sent.
func (c *console) sayLarge(f *form.Form) {
	plan, ok := f.Archive.(*pack.Plan)
	if !ok {
		return
	}
	for _, note := range plan.Skipped {
		c.warn("%s %s and is not sent", note.Path, note.Message)
	}
	if plan.Bytes <= largeUpload {
		return
	}
	c.say("sends %s in %s; the largest are", size(plan.Bytes), counted(plan.Files, "file", "files"))
	for _, e := range plan.Largest(largest) {
		c.say("  %s  %s", e.Name, size(e.Size))
	}
	c.say("what the program does not need can be named in .gojobignore")
}

// sayRetry says that a transfer is tried again.
func (c *console) sayRetry(err error, pause time.Duration) {
	c.say("%s; trying again in %.1fs", err, pause.Seconds())
}
