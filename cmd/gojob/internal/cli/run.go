package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing of gojob's own but errors")
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
			"belongs to the program.\n" + exitHelp,
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
			return a.start(cmd.Context(), start{path: "/api/v1/jobs", form: made, name: f.name}, r)
		},
	}
	if detached {
		c.Short, c.Example = "Submit a job and print its ID; the same as run -d", ""
	}
	c.Flags().SetInterspersed(false)
	c.Flags().SortFlags = false
	f.register(c.Flags())
	files.register(c.Flags())
	r.register(c, detached)
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

// fileFlags say what is sent beside the program.
type fileFlags struct {
	files, include []string
	stdin          string
	dryRun         bool
}

func (f *fileFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.files, "file", "f", nil, "send another file, as `PATH[:DEST]`")
	flags.StringArrayVar(&f.include, "include", nil, "send files of a folder that are ignored otherwise, by `GLOB`")
	flags.StringVar(&f.stdin, "stdin", "", "the `FILE` that the program reads as its standard input")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be sent, and send nothing")
}

// jobForm makes the form of a job that runs a script, a folder or a program on standard input.
func (a *app) jobForm(f *jobFlags, files *fileFlags, program string, args []string) (*form.Form, error) {
	made := &form.Form{}
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
		return nil, usagef("%s is a folder; this version runs single files", program)
	default:
		file := localFile(program, filepath.Base(program), info.Size())
		made.Files = append(made.Files, file)
		if f.entrypoint == "" {
			f.entrypoint = file.Name
		}
		if base := strings.TrimSuffix(file.Name, filepath.Ext(file.Name)); f.name == "" && job.CheckName(base) == "" {
			f.name = base
		}
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

func localFile(path, name string, size int64) form.File {
	return form.File{Name: name, Size: size, Open: func() (io.ReadCloser, error) { return os.Open(path) }}
}

// maxStdin bounds what is read from standard input and kept until the job is accepted.
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
		content, err := a.readStdin("--stdin -")
		return memoryFile("stdin", content), err
	}
	info, err := os.Stat(path)
	if err != nil {
		return form.File{}, usagef("--stdin: %w", err)
	}
	if !info.Mode().IsRegular() { // such as <(command): it can be read once
		file, err := os.Open(path)
		if err != nil {
			return form.File{}, usagef("--stdin: %w", err)
		}
		defer file.Close()
		content, err := io.ReadAll(io.LimitReader(file, maxStdin+1))
		if err == nil && len(content) > maxStdin {
			err = fmt.Errorf("%s has more than %d MiB, and is not a regular file", path, maxStdin>>20)
		}
		if err != nil {
			return form.File{}, usagef("--stdin: %w", err)
		}
		return memoryFile("stdin", content), nil
	}
	return localFile(path, "stdin", info.Size()), nil
}

// start is a request that makes a job.
type start struct {
	path string
	form *form.Form
	name string // of the job, if it is known
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
	run.trouble = troubleTeller{console: run.console, server: c.Server(), giveUp: r.unreachable}
	return run.run(ctx)
}

// newKey returns an Idempotency-Key: a random UUID (RFC 9562, version 4).
func newKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
