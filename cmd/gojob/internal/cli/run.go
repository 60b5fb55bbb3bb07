package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/shared/job"
)

// runFlags are the flags of commands that start a job: how it is watched.
type runFlags struct {
	detach, quiet, cancelOnExit bool
	out                         string
	output                      output
	unreachable                 time.Duration
}

// unreachableTimeout is for how long a command tries to reach the server again.
const unreachableTimeout = 10 * time.Minute

func (f *runFlags) register(c *cobra.Command, detached bool) {
	flags := c.Flags()
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing of gojob's own but errors, and what an interrupt did")
	f.output.optional(c, formatTable, formatWide, formatJSON, formatYAML, formatName)
	if f.detach = detached; detached {
		return
	}
	flags.BoolVarP(&f.detach, "detach", "d", false, "do not wait: print the job's ID")
	flags.StringVar(&f.out, "out", "", "store the outputs in `DIR` when the job is over")
	flags.BoolVar(&f.cancelOnExit, "cancel-on-exit", false, "cancel the job when gojob is interrupted")
	flags.DurationVar(&f.unreachable, "unreachable-timeout", unreachableTimeout,
		"give up when the server does not answer for this `DURATION`")
}

// exitHelp says what the exit codes of commands that follow a job mean.
const exitHelp = `
The program's stdout is gojob's stdout, its stderr gojob's stderr, byte for byte; every word of gojob
itself goes to stderr. With -o the program's stdout goes to stderr, too, and stdout has the job as it
ended; with -d, the server's answer.

Ctrl-C detaches: the job goes on, and gojob says how to follow and how to cancel it. Ctrl-C again
within two seconds cancels the job. SIGTERM and SIGHUP detach. --cancel-on-exit cancels at once. When
nobody reads the output any more, as in "gojob run x.py | head -1", the job goes on, too.

Exit codes: the program's own (128+N after signal N); 124 after --timeout; 137 out of memory; 125 if
the job was refused, the platform or the network failed, or the job was removed; 130 after an
interrupt, or when the job was cancelled; 141 when the output is closed; 2 for a wrong command line.`

func (a *app) runCommand() *cobra.Command { return a.runCommandAs("run", false) }

func (a *app) submitCommand() *cobra.Command { return a.runCommandAs("submit", true) }

func (a *app) runCommandAs(name string, detached bool) *cobra.Command {
	var f jobFlags
	var r runFlags
	var files fileFlags
	c := &cobra.Command{
		Use:   name + " [flags] SCRIPT|DIR|- [ARG…]",
		Short: "Run a program on the server, and see its output here",
		Long: "Runs a script, a folder, or a program from standard input on the server. Everything behind it\n" +
			"belongs to the program.\n" + filesHelp + "\n" + exitHelp,
		Example: `  gojob run --out . words.py alpha
  gojob run -m 2Gi --timeout 1h -f data.csv train.py --epochs 3
  gojob run - < report.py
  gojob run x.py | jq .`,
		Args: atLeast(1, "say what to run: a script, a folder, or - for a program on standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.misfits(cmd.Flags()); err != nil {
				return err
			}
			if f.changed("retry-on") && !f.changed("retries") {
				return usagef("--retry-on needs --retries: how often the program runs again")
			}
			made, err := a.jobForm(&f, &files, args[0], args[1:])
			if err != nil {
				return err
			}
			if files.dryRun {
				return a.printDryRun(made)
			}
			return a.start(cmd.Context(), start{path: "/api/v1/jobs", form: made, name: f.name}, r)
		},
	}
	if detached {
		c.Short, c.Example = "Submit a job and print its ID; the same as run -d", ""
	}
	c.Flags().SetInterspersed(false)
	c.Flags().SortFlags = false
	f.register(c.Flags(), "that of the script or folder")
	files.register(c.Flags())
	r.register(c, detached)
	a.jobFlagWords(c)
	return c
}

// atLeast is an argument check that says what is missing.
func atLeast(n int, missing string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return &usageError{errors.New(missing)}
		}
		return nil
	}
}

// jobForm makes the form of a job that runs a script, a folder or a program on standard input.
func (a *app) jobForm(f *jobFlags, files *fileFlags, program string, args []string) (*form.Form, error) {
	made := &form.Form{}
	sent := "" // the file or folder that has the program
	switch info, err := os.Stat(program); {
	case program == "-":
		file, err := a.programFromStdin(f)
		if err != nil {
			return nil, err
		}
		made.Files = append(made.Files, file)
	case err != nil:
		return nil, usagef("%w", err)
	case info.IsDir():
		sent = program
		if absolute, err := filepath.Abs(program); err == nil { // "." has no name of its own
			f.nameAs(filepath.Base(absolute))
		}
	default:
		sent = program
		base := filepath.Base(program)
		if f.entrypoint == "" {
			f.entrypoint = base
		}
		f.nameAs(strings.TrimSuffix(base, filepath.Ext(base)))
	}
	if err := a.gather(made, files, sent); err != nil {
		return nil, err
	}
	if files.stdin != "" {
		if program == "-" && files.stdin == "-" {
			return nil, usagef("--stdin -: the program itself comes from standard input")
		}
		file, err := a.stdinFile(files.stdin)
		if err != nil {
			return nil, err
		}
		made.Stdin = &file
	}
	return made, a.fill(made, f, args)
}

// nameAs names the job, unless it has a name or that cannot be one.
func (f *jobFlags) nameAs(name string) {
	if f.name == "" && job.CheckName(name) == "" {
		f.name = name
	}
}

// maxStdin bounds a program that is read from standard input.
const maxStdin = 64 << 20

// programFromStdin reads a program. Its runtime follows from its #! line, or from --runtime.
func (a *app) programFromStdin(f *jobFlags) (form.File, error) {
	content, err := a.readStdin("-")
	if err != nil {
		return form.File{}, err
	}
	name := f.entrypoint
	if name == "" {
		name = "main" + map[string]string{"python": ".py", "node": ".js", "java": ".java"}[f.runtime]
		if f.runtime == "java" {
			name = "Main.java"
		}
		f.entrypoint = name
	}
	if f.runtime == "" && filepath.Ext(name) == "" && job.ModeOf(content) == "" {
		return form.File{}, usagef("the program on standard input has no #! line; say --runtime python, node, java or binary")
	}
	return memoryFile(name, content), nil
}

func memoryFile(name string, content []byte) form.File {
	return form.File{Name: name, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

// readStdin reads our standard input whole, since it may have to be sent more than once.
func (a *app) readStdin(flag string) ([]byte, error) {
	if file, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		a.console(false).say("reads from this terminal; end with Ctrl-D")
	}
	content, err := io.ReadAll(io.LimitReader(a.stdin, maxStdin+1))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if len(content) > maxStdin {
		return nil, usagef("%s: standard input has more than %d MiB; name a file instead", flag, maxStdin>>20)
	}
	return content, nil
}

// stdinFile is what the program reads.
func (a *app) stdinFile(path string) (form.File, error) {
	if path == "-" {
		return form.Spool(a.stdin, "stdin")
	}
	file, err := form.Local(path, "stdin")
	if err != nil {
		return file, usagef("--stdin: %w", err)
	}
	return file, nil
}

// start is a request that makes a job.
type start struct {
	path string
	form *form.Form
	name string // of the job, if it is known
	// misplaced is an argument of the program that was perhaps meant for gojob.
	misplaced string
}

// start submits a job and, unless it is detached, follows it to its end.
func (a *app) start(ctx context.Context, s start, r runFlags) error {
	c, err := a.client()
	if err != nil {
		return &exitCodeError{exitPlatform, err}
	}
	signals, stop := a.signals()
	defer stop()
	run := &session{app: a, client: c, console: a.console(r.quiet), flags: r, start: s, signals: signals}
	run.states.delay = waitDelay
	run.trouble = troubleTeller{console: run.console, server: c.Server(), giveUp: r.unreachable}
	return run.run(ctx)
}
