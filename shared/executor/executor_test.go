package executor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// artifacts is what was uploaded, by name.
type artifacts map[string]string

func (a artifacts) Open(_ context.Context, name string) (io.ReadCloser, error) {
	text, ok := a[name]
	if !ok {
		return nil, job.ErrNotFound
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (a artifacts) files() []job.File {
	var list []job.File
	for name, text := range a {
		sum := sha256.Sum256([]byte(text))
		list = append(list, job.File{Name: name, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])})
	}
	return list
}

// results keeps what is stored. fail, if set, is asked before each file, with the number of its
// call for that file.
type results struct {
	mu       sync.Mutex
	stored   map[string]string
	calls    int
	tries    map[string]int
	manifest *[]job.File // nil until it comes
	order    []byte
	fail     func(name string, call int) error
}

func (r *results) PutLog(context.Context, string, []byte) error { return nil }

func (r *results) PutResult(_ context.Context, name string, in io.Reader) (job.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.tries[name]++
	if r.fail != nil {
		if err := r.fail(name, r.tries[name]); err != nil {
			_, _ = io.CopyN(io.Discard, in, 3) // some of it was read
			return job.File{}, err
		}
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return job.File{}, err
	}
	r.stored[name] = string(data)
	return job.File{Name: name, Size: int64(len(data))}, nil
}

func (r *results) PutOrder(_ context.Context, in io.Reader) (err error) {
	r.order, err = io.ReadAll(in)
	return err
}

func (r *results) PutManifest(_ context.Context, files []job.File) error {
	r.manifest = &files
	return nil
}

// program is a program played by a function, which gets its folder and its two channels to be ended
// by.
type program func(dir string, c Command, term, kill <-chan struct{}) Exit

type process struct {
	term, kill chan struct{}
	exit       chan Exit
	killErr    error
}

func (p *process) Terminate() error { close(p.term); return nil }

func (p *process) Kill() error {
	if p.killErr == nil {
		close(p.kill)
	}
	return p.killErr
}

func (p *process) Wait() (Exit, error) { return <-p.exit, nil }

type starter struct {
	dir string
	run program
	err error
}

func (s starter) Start(c Command) (Process, error) {
	if s.err != nil {
		return nil, s.err
	}
	p := &process{term: make(chan struct{}), kill: make(chan struct{}), exit: make(chan Exit, 1)}
	go func() { p.exit <- s.run(s.dir, c, p.term, p.kill) }()
	return p, nil
}

func newTask(t *testing.T, run program) (*Task, *results) {
	t.Helper()
	uploaded := artifacts{"a.py": "print(1)"}
	to := &results{stored: map[string]string{}, tries: map[string]int{}}
	w := NewWorkspace(filepath.Join(t.TempDir(), "job"))
	return &Task{
		Index: &job.Index{JobID: "fe6aa1b2c3d4000102030405060708ff", Files: uploaded.files()}, Number: 1, Workspace: w,
		From: uploaded, To: to,
		Starter: starter{dir: w.Files(), run: run}, Last: func(Exit) bool { return true }, Grace: time.Hour,
		Limits: OutputLimits{Files: 10, Bytes: 1000}, StoreRetry: time.Microsecond, Log: slog.New(slog.DiscardHandler),
	}, to
}

func says(text string) program {
	return func(_ string, c Command, _, _ <-chan struct{}) Exit {
		_, _ = io.WriteString(c.Log.Stdout, text)
		return Exit{}
	}
}

// write makes a program of a list of files under results/.
func write(files map[string]string, exit Exit) program {
	return func(dir string, _ Command, _, _ <-chan struct{}) Exit {
		for name, text := range files {
			path := filepath.Join(dir, "results", name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				return Exit{Code: 1, Message: err.Error()}
			}
		}
		return exit
	}
}

func TestRun(t *testing.T) {
	task, to := newTask(t, write(map[string]string{"a": "1", "b/c": "22"}, Exit{Code: 7}))
	got := task.Run(t.Context())
	want := Result{Exit: Exit{Code: 7}, Ran: true, Outputs: &job.Outputs{Count: 4, Bytes: 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "1", "b/c": "22", "stdout.log": "", "stderr.log": ""},
		to.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if to.manifest == nil || len(*to.manifest) != 4 || (*to.manifest)[1].Name != "b/c" {
		t.Errorf("manifest %+v; want four files in the order of their names", to.manifest)
	}
}

// TestModes takes the executable bit, and nothing else of a mode, to the program and back.
func TestModes(t *testing.T) {
	task, to := newTask(t, func(dir string, _ Command, _, _ <-chan struct{}) Exit {
		for name, mode := range map[string]os.FileMode{
			"plain": 0o600, "all": 0o777, "owner": 0o700, "setuid": os.ModeSetuid | os.ModeSetgid | os.ModeSticky | 0o755,
			"setuid alone": os.ModeSetuid | 0o600, "others": 0o677, "d/tool": 0o755,
		} {
			path := filepath.Join(dir, "results", name)
			err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600), os.Chmod(path, mode))
			if err != nil {
				return Exit{Code: 1, Message: err.Error()}
			}
		}
		return Exit{}
	})
	uploaded := artifacts{"a.py": "print(1)", "tool": "#!/bin/sh", "main": "x", "evil": "x", "inputs/tool": "x"}
	task.From, task.Index.Files = uploaded, uploaded.files()
	task.Index.Runtime, task.Index.Entrypoint = "binary", "main"
	for i, f := range task.Index.Files {
		task.Index.Files[i].Mode = map[string]string{"tool": "0755", "inputs/tool": "0755", "evil": "6777"}[f.Name]
	}
	if got := task.Run(t.Context()); got.Exit != (Exit{}) {
		t.Fatalf("the attempt ended with %+v", got.Exit)
	}
	wantFetched := map[string]os.FileMode{"a.py": 0o644, "tool": 0o755, "main": 0o755, "evil": 0o644, "inputs/tool": 0o755}
	fetched := map[string]os.FileMode{}
	for name := range uploaded {
		info, err := os.Stat(filepath.Join(task.Workspace.Files(), name))
		if err != nil {
			t.Fatal(err)
		}
		fetched[name] = info.Mode()
	}
	if diff := cmp.Diff(wantFetched, fetched); diff != "" {
		t.Errorf("modes in the workspace (-want +got):\n%s", diff)
	}
	stored := map[string]string{}
	for _, f := range *to.manifest {
		if f.Mode != "" {
			stored[f.Name] = f.Mode
		}
	}
	want := map[string]string{"all": "0755", "owner": "0755", "setuid": "0755", "d/tool": "0755"}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("modes in the manifest (-want +got):\n%s", diff)
	}
}

// TestFetchFails gives the program other files than those that were accepted, or none.
func TestFetchFails(t *testing.T) {
	for name, from := range map[string]artifacts{
		"gone": {}, "shorter": {"a.py": "print("}, "longer": {"a.py": "print(1)\n"},
		"another of its size": {"a.py": "print(2)"},
	} {
		t.Run(name, func(t *testing.T) {
			task, to := newTask(t, says("never"))
			task.From = from
			got := task.Run(t.Context())
			if got.Ran || got.Exit.Reason != job.ReasonFetchFailed || to.stored["stdout.log"] != "" {
				t.Errorf("got %+v and the log %q", got, to.stored["stdout.log"])
			}
			if to.manifest == nil {
				t.Error("its logs are not stored")
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	task, _ := newTask(t, nil)
	task.Starter = starter{err: errors.New("no such thing as /secret/path")}
	if got := task.Run(t.Context()); got.Ran || got.Exit.Reason != job.ReasonStartFailed ||
		strings.Contains(got.Exit.Message, "secret") {
		t.Errorf("got %+v", got)
	}
	task, _ = newTask(t, says("never"))
	task.Prepare = func(string) error { return syscall.EPERM }
	if got := task.Run(t.Context()); got.Ran || got.Exit.Reason != job.ReasonStartFailed {
		t.Errorf("got %+v", got)
	}
}

// TestStops ends programs that go along and programs that do not.
func TestStops(t *testing.T) {
	polite := func(_ string, _ Command, term, kill <-chan struct{}) Exit { <-term; return Exit{Code: 143} }
	stubborn := func(_ string, _ Command, _, kill <-chan struct{}) Exit {
		<-kill
		return Exit{Code: 137, Signal: "SIGKILL"}
	}
	removed := make(chan struct{})
	close(removed)
	for name, test := range map[string]struct {
		run     program
		cause   error
		grace   time.Duration
		removed <-chan struct{}
		want    Exit
	}{
		"cancelled":        {polite, ErrCancelled, time.Hour, nil, Exit{Code: 143, Reason: job.ReasonCancelled}},
		"interrupted":      {polite, ErrInterrupted, time.Hour, nil, Exit{Code: 143, Reason: job.ReasonInterrupted}},
		"any other reason": {polite, io.EOF, time.Hour, nil, Exit{Code: 143, Reason: job.ReasonInterrupted}},
		"after the grace": {stubborn, ErrDeadline, time.Millisecond, nil,
			Exit{Code: 137, Signal: "SIGKILL", Reason: job.ReasonDeadlineExceeded}},
		"without the rest of grace": {stubborn, ErrCancelled, time.Hour, removed,
			Exit{Code: 137, Signal: "SIGKILL", Reason: job.ReasonCancelled}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			task, to := newTask(t, func(dir string, c Command, term, kill <-chan struct{}) Exit {
				_, _ = io.WriteString(c.Log.Stdout, "begun")
				cancel(test.cause)
				return test.run(dir, c, term, kill)
			})
			task.Grace, task.Removed = test.grace, test.removed
			got := task.Run(ctx)
			if got.Exit.Message == "" {
				t.Error("no message says why")
			}
			got.Exit.Message = ""
			if diff := cmp.Diff(test.want, got.Exit); diff != "" || !got.Ran {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			if to.stored["stdout.log"] != "begun" {
				t.Errorf("the log is %q: what a job had written is kept when it is stopped", to.stored["stdout.log"])
			}
		})
	}
	t.Run("before it was started", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		task, _ := newTask(t, says("never"))
		task.From = failing{func() error { cancel(ErrCancelled); return io.ErrUnexpectedEOF }}
		if got := task.Run(ctx); got.Ran || got.Exit.Reason != job.ReasonCancelled {
			t.Errorf("got %+v", got)
		}
	})
}

type failing struct{ err func() error }

func (f failing) Open(context.Context, string) (io.ReadCloser, error) { return nil, f.err() }

// TestStoreFails stores outputs in a storage that fails.
func TestStoreFails(t *testing.T) {
	files := map[string]string{"a": "1", "b": "22"}
	for name, test := range map[string]struct {
		exit  Exit
		fail  func(name string, call int) error
		want  Exit
		count int
		calls int
	}{
		"twice, then not": {Exit{}, func(name string, call int) error {
			if name == "a" && call <= 2 {
				return job.ErrUnavailable
			}
			return nil
		}, Exit{}, 4, 6},
		"for good": {Exit{}, func(name string, _ int) error {
			if name == "a" {
				return job.ErrUnavailable
			}
			return nil
		}, Exit{Reason: job.ReasonOutputsLost, Message: "some of its outputs could not be stored"}, 3, 6},
		"full": {Exit{}, func(name string, _ int) error {
			if name == "a" {
				return fmt.Errorf("put: %w", job.ErrExhausted)
			}
			return nil
		}, Exit{Reason: job.ReasonOutputsLost, Message: "some of its outputs could not be stored"}, 3, 4},
		"the program's own failure stays": {Exit{Code: 3}, func(string, int) error { return job.ErrInvalid },
			Exit{Code: 3, Message: "some of its outputs could not be stored"}, 0, 4},
	} {
		t.Run(name, func(t *testing.T) {
			task, to := newTask(t, write(files, test.exit))
			to.fail = test.fail
			got := task.Run(t.Context())
			if diff := cmp.Diff(test.want, got.Exit); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			if got.Outputs.Count != test.count || got.Outputs.OmittedCount != 4-test.count || to.calls != test.calls {
				t.Errorf("%+v after %d calls; want %d stored after %d", got.Outputs, to.calls, test.count, test.calls)
			}
			for name, text := range to.stored {
				if want := files[name]; text != want {
					t.Errorf("%s is stored as %q, want %q", name, text, want)
				}
			}
		})
	}
}

// TestResultsReplaced puts other things in the place of results/ and of the logs.
func TestResultsReplaced(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, replace := range map[string]func(results string) error{
		"nothing": func(string) error { return nil },
		"a link":  func(r string) error { return os.Symlink(outside, r) },
		"a file":  func(r string) error { return os.WriteFile(r, []byte("x"), 0o600) },
		"a FIFO":  func(r string) error { return syscall.Mkfifo(r, 0o600) },
		"another log": func(r string) error {
			return errors.Join(os.Mkdir(r, 0o700), os.WriteFile(filepath.Join(r, "stdout.log"), []byte("forged"), 0o600))
		},
		"a log's FIFO": func(r string) error {
			return errors.Join(os.Mkdir(r, 0o700), syscall.Mkfifo(filepath.Join(r, "stdout.log"), 0o600))
		},
		"a log's link": func(r string) error {
			return errors.Join(os.Mkdir(r, 0o700), os.Symlink(filepath.Join(outside, "secret"), filepath.Join(r, "stderr.log")))
		},
		"a log's folder": func(r string) error { return os.MkdirAll(filepath.Join(r, "stdout.log"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			task, to := newTask(t, func(dir string, c Command, _, _ <-chan struct{}) Exit {
				_, _ = io.WriteString(c.Log.Stdout, "said")
				path := filepath.Join(dir, "results")
				if err := errors.Join(os.RemoveAll(path), replace(path)); err != nil {
					return Exit{Code: 1, Message: err.Error()}
				}
				return Exit{}
			})
			if got := task.Run(t.Context()); got.Exit != (Exit{}) {
				t.Fatalf("got %+v", got.Exit)
			}
			if diff := cmp.Diff(map[string]string{"stdout.log": "said", "stderr.log": ""}, to.stored); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUsedWorkspace has a program leave links to the outside in the places that are opened again:
// after a failure that another attempt follows, when what it left is stored after all, and when the
// server was away meanwhile. Nothing may be written or read there.
func TestUsedWorkspace(t *testing.T) {
	outside := t.TempDir()
	task, to := newTask(t, func(dir string, c Command, _, _ <-chan struct{}) Exit {
		_, _ = io.WriteString(c.Log.Stdout, "said")
		root := filepath.Dir(dir)
		err := errors.Join(os.RemoveAll(filepath.Join(dir, "results")), os.Symlink(outside, filepath.Join(dir, "results")))
		// What only a program in a pod can reach.
		err = errors.Join(err, os.Symlink(filepath.Join(outside, "record"), filepath.Join(root, "exit.json.tmp")))
		if err != nil {
			return Exit{Code: 1, Message: err.Error()}
		}
		return Exit{Code: 7}
	})
	task.Last = func(Exit) bool { return false }
	if got := task.Run(t.Context()); got.Exit != (Exit{Code: 7}) {
		t.Fatalf("got %+v", got.Exit)
	}
	task.Last = func(Exit) bool { return true }
	if got := task.Salvage(t.Context()); got.Exit.Code != 7 || got.Outputs == nil {
		t.Errorf("what was left: %+v", got)
	}
	if log, err := task.Workspace.OpenLog(); err != nil {
		t.Error(err)
	} else {
		log.Close()
	}
	if diff := cmp.Diff(map[string]string{"stdout.log": "said", "stderr.log": ""}, to.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside there are %v, %v", entries, err)
	}
	for _, name := range []string{"log", "files"} {
		root := filepath.Join(t.TempDir(), "job")
		if err := errors.Join(os.Mkdir(root, 0o700), os.Symlink(outside, filepath.Join(root, name))); err != nil {
			t.Fatal(err)
		}
		task.Workspace = NewWorkspace(root)
		_ = task.Salvage(t.Context()) // an error is right
		_ = task.Fetch(t.Context())
		if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
			t.Errorf("by the link %s, outside there are %v, %v", name, entries, err)
		}
	}
}

// TestAttempts makes one attempt after another: the log goes on, the workspace is fresh, and
// outputs are stored once.
func TestAttempts(t *testing.T) {
	task, to := newTask(t, func(dir string, c Command, _, _ <-chan struct{}) Exit {
		_, err := os.Stat(filepath.Join(dir, "left"))
		fmt.Fprintln(c.Log.Stdout, "fresh", errors.Is(err, os.ErrNotExist))
		_ = os.WriteFile(filepath.Join(dir, "left"), nil, 0o600)
		_ = os.Mkdir(filepath.Join(dir, "closed"), 0)
		return Exit{Code: 1}
	})
	task.Last = func(Exit) bool { return task.Number == 2 }
	if got := task.Run(t.Context()); got.Outputs != nil || to.calls > 0 {
		t.Errorf("another attempt follows, and %d outputs were stored: %+v", to.calls, got)
	}
	task.Number = 2
	if got := task.Run(t.Context()); got.Outputs == nil {
		t.Errorf("the last attempt has no outputs: %+v", got)
	}
	if got, want := to.stored["stdout.log"], "fresh true\nfresh true\n"; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	ends := map[int]int64{} // of what each attempt wrote
	for b := to.order; len(b) > 0; b = b[spool.RecordSize:] {
		r := spool.Decode(b)
		ends[r.Attempt] = r.End.Stdout
	}
	if diff := cmp.Diff(map[int]int64{1: 11, 2: 22}, ends); diff != "" {
		t.Errorf("attempts in the log (-want +got):\n%s", diff)
	}
	if err := task.Workspace.Remove(t.Context()); err != nil || task.Workspace.Exists() {
		t.Errorf("the workspace is still there: %v", err)
	}
}

// TestCollect takes up what a dead server left, with and without a note of how the program had
// ended.
func TestCollect(t *testing.T) {
	task, to := newTask(t, write(map[string]string{"a": "1"}, Exit{Code: 4}))
	task.Last = func(Exit) bool { return false } // the server dies before anything is stored
	task.Run(t.Context())
	task.Last = func(Exit) bool { return true }
	got := task.Salvage(t.Context())
	if got.At.IsZero() {
		t.Error("when it ended is not known")
	}
	got.At = time.Time{}
	if diff := cmp.Diff(Result{Exit: Exit{Code: 4}, Ran: true, Outputs: &job.Outputs{Count: 3, Bytes: 1}},
		got); diff != "" {
		t.Errorf("an attempt that had ended (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "1", "stdout.log": "", "stderr.log": ""}, to.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	task.Number = 2 // of which the note says nothing
	if got := task.Salvage(t.Context()); got.Ran || got.Exit.Reason != job.ReasonInterrupted || got.Outputs == nil {
		t.Errorf("an attempt that was cut off: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(task.Workspace.root, ExitRecord), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := task.Salvage(t.Context()); got.Exit.Reason != job.ReasonInterrupted {
		t.Errorf("with half a note: %+v", got)
	}
	if err := task.Workspace.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := task.Salvage(t.Context()); got.Exit.Reason != job.ReasonInterrupted || got.Outputs == nil ||
		got.Outputs.Count != 2 {
		t.Errorf("without a workspace: %+v", got)
	}
}

// crowd counts who is stored at the same time.
type crowd struct {
	*results
	mu     sync.Mutex
	inside map[string]bool
	two    chan struct{} // closed once two were there
	once   sync.Once
	alone  bool // the large one was
}

func (c *crowd) PutResult(ctx context.Context, name string, in io.Reader) (job.File, error) {
	c.mu.Lock()
	c.inside[name] = true
	if len(c.inside) == 2 {
		c.once.Do(func() { close(c.two) })
	}
	c.alone = c.alone || name == "large" && len(c.inside) == 1
	c.mu.Unlock()
	if name != "large" {
		select {
		case <-c.two:
		case <-time.After(time.Minute):
			return job.File{}, errors.New("nobody else came")
		}
	}
	stored, err := c.results.PutResult(ctx, name, in)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inside, name)
	return stored, err
}

// TestAtOnce has small outputs stored beside each other, and a large one for itself.
func TestAtOnce(t *testing.T) {
	files := map[string]string{"a": "1", "b": "22", "large": strings.Repeat("x", smallOutput+1), "z": "333"}
	task, to := newTask(t, write(files, Exit{}))
	task.Limits.Bytes = 10 * smallOutput
	c := &crowd{results: to, inside: map[string]bool{}, two: make(chan struct{})}
	task.To = c
	got := task.Run(t.Context())
	if got.Outputs.Count != 6 || got.Exit.Reason != "" || !c.alone {
		t.Errorf("got %+v %+v, the large one alone: %v", got.Exit, got.Outputs, c.alone)
	}
	for name, text := range files {
		if to.stored[name] != text {
			t.Errorf("%s is stored with %d bytes, want %d", name, len(to.stored[name]), len(text))
		}
	}
	var listed []string
	for _, f := range *to.manifest {
		listed = append(listed, f.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "large", "stderr.log", "stdout.log", "z"}, listed); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
}

// TestLimits leaves more than is stored.
func TestLimits(t *testing.T) {
	files := map[string]string{"big": strings.Repeat("x", 1001), "fits": strings.Repeat("y", 999), "over": "22"}
	for i := range 12 {
		files[fmt.Sprintf("z%02d", i)] = ""
	}
	task, to := newTask(t, write(files, Exit{}))
	got := task.Run(t.Context())
	if got.Outputs.Count != 12 || got.Outputs.OmittedCount != 5 || to.stored["fits"] == "" || got.Exit.Reason != "" {
		t.Errorf("got %+v; want ten files and the logs, without those that are too large or too many", got.Outputs)
	}
	var reasons bytes.Buffer
	for _, o := range got.Outputs.Omitted {
		fmt.Fprintln(&reasons, o.Name, o.Reason)
	}
	for _, want := range []string{"big with its 1001 bytes", "over with its 2 bytes", "MAX_OUTPUT_BYTES",
		"z11 more than 10 files (MAX_OUTPUT_FILES)"} {
		if !strings.Contains(reasons.String(), want) {
			t.Errorf("the reasons do not say %q:\n%s", want, &reasons)
		}
	}
}

// TestLeftOut leaves what cannot be an output beside what can. None of it costs the job.
func TestLeftOut(t *testing.T) {
	const clash = "the storage cannot hold a file of this name: it is too long, or one part of it is the name of " +
		"another file"
	const empty = "is an empty folder; only files are stored"
	task, to := newTask(t, leave(t, func(results string) error {
		var errs []error
		for _, dir := range []string{"stdout.log/x", "a", "b/c/d", "e/f", "g", "z"} {
			errs = append(errs, os.MkdirAll(filepath.Join(results, dir), 0o700))
		}
		for _, name := range []string{
			"stdout.log/x/y", "stderr.log", "STDOUT.LOG", "e/f/g", "e/stdout.log", "i", "large", ".job", "back\\slash",
			"new\nline", "not\xffutf8",
			strings.Repeat("n", 201),
		} {
			errs = append(errs, os.WriteFile(filepath.Join(results, name), []byte("x"), 0o600))
		}
		return errors.Join(append(errs, os.Symlink("e", filepath.Join(results, "g", "link")))...)
	}))
	task.Limits.Files = 100
	to.fail = func(name string, _ int) error {
		return map[string]error{
			"i": fmt.Errorf("put: %w", job.ErrConflict), "e/f/g": fmt.Errorf("put: %w", job.ErrInvalid),
			"large": fmt.Errorf("put: %w", job.ErrTooLarge),
		}[name]
	}
	got := task.Run(t.Context())
	if got.Exit != (Exit{}) {
		t.Errorf("the job ended with %+v", got.Exit)
	}
	if diff := cmp.Diff(map[string]string{"STDOUT.LOG": "x", "e/stdout.log": "x", "stdout.log": "", "stderr.log": ""},
		to.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	reasons := map[string]string{}
	for _, o := range got.Outputs.Omitted {
		reasons[o.Name] = o.Reason
	}
	want := map[string]string{
		"stdout.log": "is the name of the program's own log; give the file another one",
		"stderr.log": "is the name of the program's own log; give the file another one",
		"a":          empty, "b/c/d": empty, "z": empty, "g/link": "is a symbolic link, not a regular file",
		"i": clash, "e/f/g": clash, "large": "is larger than the storage takes (MAX_OUTPUT_BYTES)",
		".job": `".job" is reserved`, "back\\slash": `"back\\slash" contains a backslash; separate folders with a slash`,
		"new\nline": `"new\nline" contains a control character`, "not\uFFFDutf8": `"not\xffutf8" is not valid UTF-8`,
		strings.Repeat("n", 201): "the name has 201 bytes; at most 200 are allowed",
	}
	if diff := cmp.Diff(want, reasons); diff != "" || got.Outputs.OmittedCount != len(want) {
		t.Errorf("%d left out (-want +got):\n%s", got.Outputs.OmittedCount, diff)
	}
}

// TestNotCollected has programs write where nobody collects.
func TestNotCollected(t *testing.T) {
	for name, test := range map[string]struct {
		run  func(dir string) error
		want *job.NotCollected
	}{
		"nothing": {func(string) error { return nil }, nil},
		"only outputs": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "results", "x"), nil, 0o600) },
			nil},
		"a new file": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "out.csv"), nil, 0o600) },
			&job.NotCollected{Count: 1, Names: []string{"out.csv"}}},
		"a removed file": {func(dir string) error { return os.Remove(filepath.Join(dir, "a.py")) }, nil},
		"a touched file": {func(dir string) error { return os.Chtimes(filepath.Join(dir, "a.py"), time.Time{}, time.Now()) },
			nil},
		"a longer file": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a.py"), []byte("longer than before"), 0o600)
		},
			&job.NotCollected{Count: 1, Names: []string{"a.py"}}},
		"another of its size": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a.py"), []byte("print(2)"),
				0o600)
		},
			&job.NotCollected{Count: 1, Names: []string{"a.py"}}},
		"a link in place of a file": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "a.py")), os.Symlink("/etc/passwd", filepath.Join(dir, "a.py")))
		}, &job.NotCollected{Count: 1, Names: []string{"a.py"}}},
		"a file among inputs": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "inputs", "new"), nil,
				0o600)
		},
			&job.NotCollected{Count: 1, Names: []string{"inputs/new"}}},
		"no results any more": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "results")), os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
		}, &job.NotCollected{Count: 1, Names: []string{"x"}}},
		"caches": {func(dir string) error {
			var errs []error
			for _, name := range []string{"__pycache__/a.pyc", "node_modules/a/b/c.js", "pkg/__pycache__/b.pyc", ".cache/pip/x",
				"pkg/y"} {
				path := filepath.Join(dir, name)
				errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600))
			}
			return errors.Join(errs...)
		}, &job.NotCollected{Count: 5, Names: []string{".cache/", "__pycache__/", "node_modules/", "pkg/y",
			"pkg/__pycache__/"}}},
		"odd names": {func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "a\xffb"), nil, 0o600),
				os.WriteFile(filepath.Join(dir, strings.Repeat("n", 250)), nil, 0o600),
				syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
		}, &job.NotCollected{Count: 3, Names: []string{"a\uFFFDb", strings.Repeat("n", 200) + "…", "pipe"}}},
	} {
		t.Run(name, func(t *testing.T) {
			task, _ := newTask(t, func(dir string, _ Command, _, _ <-chan struct{}) Exit {
				if err := test.run(dir); err != nil {
					t.Error(err)
				}
				return Exit{}
			})
			uploaded := artifacts{"a.py": "print(1)", "inputs/b": "x"}
			task.From, task.Index.Files, task.Index.CreatedAt = uploaded, uploaded.files(), time.Now().Add(-time.Hour)
			got := task.Run(t.Context())
			if diff := cmp.Diff(test.want, got.Outputs.NotCollected); diff != "" || got.Exit != (Exit{}) {
				t.Errorf("%+v (-want +got):\n%s", got.Exit, diff)
			}
		})
	}
}

// TestNotCollectedIsBounded leaves more than anybody wants to read, and folders that have no end.
func TestNotCollectedIsBounded(t *testing.T) {
	task, _ := newTask(t, func(dir string, _ Command, _, _ <-chan struct{}) Exit {
		for i := range maxLeftoverEntries + 100 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%06d", i)), nil, 0o600); err != nil {
				t.Error(err)
				break
			}
		}
		if err := nested(dir, 3000, ""); err != nil {
			t.Error(err)
		}
		return Exit{}
	})
	got := task.Run(t.Context()).Outputs.NotCollected
	if got == nil || !got.More || len(got.Names) != 20 || got.Count < 1000 || got.Count > maxLeftoverEntries+1 {
		t.Errorf("got %+v", got)
	}
}

// TestBuild makes a program of its sources before it runs.
func TestBuild(t *testing.T) {
	explain := func(stderr string, built bool) string {
		if strings.HasPrefix(stderr, "broken") {
			return fmt.Sprintf("%s (%v)", stderr, built)
		}
		return ""
	}
	for name, test := range map[string]struct {
		build   Exit
		program Exit
		stderr  string
		want    Exit
		runs    string
	}{
		"built": {Exit{}, Exit{Code: 7}, "", Exit{Code: 7}, "[build] [run x]"},
		"not built": {Exit{Code: 1}, Exit{}, "broken",
			Exit{Code: 1, Reason: job.ReasonError, Message: "broken (true)"}, "[build]"},
		"not built, no word": {Exit{Code: 1}, Exit{}, "", Exit{Code: 1}, "[build]"},
		"killed meanwhile": {Exit{Code: 137, Signal: "SIGKILL", Reason: job.ReasonOOMKilled}, Exit{}, "broken",
			Exit{Code: 137, Signal: "SIGKILL", Reason: job.ReasonOOMKilled}, "[build]"},
		"cannot be run": {Exit{Reason: job.ReasonCannotRun}, Exit{}, "", Exit{Reason: job.ReasonCannotRun}, "[build]"},
		"fails itself":  {Exit{}, Exit{Code: 1}, "", Exit{Code: 1}, "[build] [run x]"},
	} {
		t.Run(name, func(t *testing.T) {
			var runs []string
			task, to := newTask(t, func(_ string, c Command, _, _ <-chan struct{}) Exit {
				runs = append(runs, fmt.Sprint(c.Args))
				if c.Args[0] == "build" {
					_, _ = io.WriteString(c.Log.Stderr, test.stderr)
					return test.build
				}
				return test.program
			})
			task.Explain = explain
			task.Build = func(files fs.FS) (build, program []string, err error) {
				_, err = fs.ReadFile(files, "a.py")
				return []string{"build"}, []string{"run", "x"}, err
			}
			got := task.Run(t.Context())
			if diff := cmp.Diff(test.want, got.Exit); diff != "" || strings.Join(runs, " ") != test.runs {
				t.Errorf("%q was run (-want +got):\n%s", runs, diff)
			}
			if to.stored["stderr.log"] != test.stderr {
				t.Errorf("the log is %q, want %q", to.stored["stderr.log"], test.stderr)
			}
		})
	}
}

// leave makes a program that leaves what make puts into results/.
func leave(t *testing.T, make func(results string) error) program {
	t.Helper()
	return func(dir string, _ Command, _, _ <-chan struct{}) Exit {
		if err := make(filepath.Join(dir, "results")); err != nil {
			t.Error(err)
		}
		return Exit{}
	}
}

// nested makes folders in each other, by handle, each with a file in it if one is named.
func nested(dir string, depth int, file string) error {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	for range depth {
		if err != nil {
			return err
		}
		at := fd
		if err = syscall.Mkdirat(at, "d", 0o700); err == nil {
			fd, err = syscall.Openat(at, "d", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
		}
		syscall.Close(at)
		if err == nil && file != "" {
			var f int
			if f, err = syscall.Openat(fd, file, syscall.O_CREAT|syscall.O_WRONLY, 0o600); err == nil {
				syscall.Close(f)
			}
		}
	}
	syscall.Close(fd)
	return err
}

// TestCollectDeep leaves folders far deeper than outputs can lie. What lies above them is stored,
// and what is left out is said.
func TestCollectDeep(t *testing.T) {
	task, to := newTask(t, leave(t, func(results string) error {
		return errors.Join(nested(results, 5000, ""), os.WriteFile(filepath.Join(results, "z"), []byte("1"), 0o600),
			os.WriteFile(filepath.Join(results, "d", "d", "y"), []byte("22"), 0o600))
	}))
	got := task.Run(t.Context())
	if got.Exit != (Exit{}) || to.stored["z"] != "1" || to.stored["d/d/y"] != "22" || got.Outputs.Count != 4 {
		t.Errorf("got %+v %+v", got.Exit, got.Outputs)
	}
	want := []job.Omitted{{Name: strings.TrimSuffix(strings.Repeat("d/", maxOutputDepth+1), "/"),
		Reason: "what is in it lies more than 200 folders deep"}}
	if diff := cmp.Diff(want, got.Outputs.Omitted); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if err := task.Workspace.Remove(t.Context()); err != nil || task.Workspace.Exists() {
		t.Errorf("the workspace is still there: %v", err)
	}
}

// TestCollectLongPaths leaves folders whose paths outgrow what an output may be called long before
// they are too deep.
func TestCollectLongPaths(t *testing.T) {
	long := strings.Repeat("x", 190)
	task, to := newTask(t, leave(t, func(results string) error {
		path := results
		for range 8 {
			path = filepath.Join(path, long)
			if err := errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "f"), nil, 0o600)); err != nil {
				return err
			}
		}
		return nil
	}))
	got := task.Run(t.Context())
	if got.Outputs.Count != 7 || to.stored[strings.Repeat(long+"/", 5)+"f"] != "" || got.Outputs.OmittedCount != 1 {
		t.Fatalf("got %+v", got.Outputs)
	}
	if o := got.Outputs.Omitted[0]; !strings.Contains(o.Reason, "longer than 1000 bytes") || len(o.Name) > 1010 {
		t.Errorf("left out: %+v", o)
	}
}

// TestCollectMany leaves far more folders than are looked at. The files above them are stored all
// the same.
func TestCollectMany(t *testing.T) {
	task, to := newTask(t, leave(t, func(results string) error {
		if err := os.WriteFile(filepath.Join(results, "z"), []byte("1"), 0o600); err != nil {
			return err
		}
		for i := range 10 {
			dir := filepath.Join(results, fmt.Sprint(i))
			if err := errors.Join(os.Mkdir(dir, 0o700), nested(dir, 190, "")); err != nil {
				return err
			}
		}
		return nil
	}))
	task.Limits.leftOut = 490
	got := task.Run(t.Context())
	if to.stored["z"] != "1" || got.Exit != (Exit{}) {
		t.Errorf("got %+v %+v", got.Exit, got.Outputs)
	}
	const empty = "is an empty folder; only files are stored" // of which no more are known than were looked at
	deepest := strings.Repeat("/d", 190)
	want := []job.Omitted{
		{Name: "0" + deepest, Reason: empty}, {Name: "1" + deepest, Reason: empty},
		{Name: ".", Reason: "results has more than 500 files and folders; what comes after them was not looked at"},
	}
	if diff := cmp.Diff(want, got.Outputs.Omitted); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if err := task.Workspace.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCollectEnds removes a job while its outputs are stored: nothing more of it is, and nothing is
// waited for. One that is cancelled keeps what it has left.
func TestCollectEnds(t *testing.T) {
	for name, remove := range map[string]bool{"removed": true, "cancelled": false} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for i := range 10 {
				files[fmt.Sprint(i)] = "1"
			}
			task, to := newTask(t, write(files, Exit{}))
			ctx, cancel := context.WithCancelCause(t.Context())
			removed := make(chan struct{})
			task.Removed, task.To = removed, stopper{to, sync.OnceFunc(func() {
				cancel(ErrCancelled)
				if remove {
					close(removed)
				}
			})}
			got := task.Run(ctx)
			switch {
			case remove && (got.Outputs.Count > 8 || to.manifest != nil):
				t.Errorf("it stored %+v", got.Outputs)
			case !remove && (got.Outputs.Count != 12 || to.manifest == nil || got.Exit != (Exit{})):
				t.Errorf("got %+v, %+v", got.Exit, got.Outputs)
			}
		})
	}
}

// stopper stops the job when the first file is stored, and obeys its context.
type stopper struct {
	*results
	stop func()
}

func (s stopper) PutResult(ctx context.Context, name string, in io.Reader) (job.File, error) {
	if name == "0" {
		s.stop()
	}
	if strings.HasSuffix(name, ".log") {
		return s.results.PutResult(ctx, name, in)
	}
	select {
	case <-ctx.Done():
		return job.File{}, ctx.Err()
	case <-time.After(20 * time.Millisecond): // as a bucket takes
	}
	return s.results.PutResult(ctx, name, in)
}

func (s stopper) PutManifest(ctx context.Context, files []job.File) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.results.PutManifest(ctx, files)
}

// TestResetEnds cancels a job while its workspace is emptied for another attempt.
func TestResetEnds(t *testing.T) {
	task, _ := newTask(t, says("never"))
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := os.MkdirAll(filepath.Join(task.Workspace.Files(), "left"), 0o700); err != nil {
		t.Fatal(err)
	}
	cancel(ErrCancelled)
	if got := task.Run(ctx); got.Exit.Reason != job.ReasonCancelled || got.Ran {
		t.Errorf("got %+v", got)
	}
}

// TestCollectFull has no room for one of the outputs: those that fit are stored, and the job has
// lost one.
func TestCollectFull(t *testing.T) {
	task, to := newTask(t, write(map[string]string{"big": strings.Repeat("x", 900), "fits": "1"}, Exit{}))
	task.Limits.Room = func(n int64) bool { return n < 100 }
	got := task.Run(t.Context())
	if to.stored["fits"] != "1" || got.Exit.Reason != job.ReasonOutputsLost || got.Outputs.OmittedCount != 1 {
		t.Fatalf("got %+v %+v", got.Exit, got.Outputs)
	}
	if o := got.Outputs.Omitted[0]; o.Name != "big" || !strings.Contains(o.Reason, "MIN_FREE_BYTES") {
		t.Errorf("left out: %+v", o)
	}
}

// TestCollectSparse leaves files that take no room and have any size: it is their size that counts,
// which is what would be stored.
func TestCollectSparse(t *testing.T) {
	task, to := newTask(t, leave(t, func(results string) error {
		var err error
		for name, size := range map[string]int64{"a": 1 << 40, "b": 600, "c": 600} {
			err = errors.Join(err, os.WriteFile(filepath.Join(results, name), nil, 0o600),
				os.Truncate(filepath.Join(results, name), size))
		}
		return err
	}))
	got := task.Run(t.Context())
	if got.Outputs.Bytes != 600 || len(to.stored["b"]) != 600 || got.Outputs.OmittedCount != 2 {
		t.Errorf("got %+v", got.Outputs)
	}
}
