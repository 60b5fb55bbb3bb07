package admission_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// python is the least that makes a job.
func python() admission.Draft {
	return admission.Draft{Spec: job.Spec{Runtime: "python", Entrypoint: "a.py", Args: []string{}}}
}

// commit makes a job of a draft and its files, each name=content.
func commit(ctx context.Context, c *admission.Controller, d admission.Draft, files ...string) (*job.Index, error) {
	tx, err := c.Begin(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer tx.Abort(ctx)
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		file, err := tx.Put(ctx, name, strings.NewReader(content))
		if err != nil {
			return nil, err
		}
		d.Files = append(d.Files, file)
	}
	return tx.Commit(ctx, d)
}

// places counts those that jobs have in the queue.
type places struct {
	admissiontest.Backend
	taken int
}

func (p *places) Admit() (func(), error) {
	p.taken++
	return func() { p.taken-- }, nil
}

// sinkFunc is a sink that is a function.
type sinkFunc func(ctx context.Context, e cloudevent.Event) error

func (f sinkFunc) Send(ctx context.Context, e cloudevent.Event) error { return f(ctx, e) }

func TestCommit(t *testing.T) {
	w := admissiontest.New(t, nil)
	d := python()
	d.Owner, d.Trace = "00000000000000000000000000000001", job.Trace{State: "a=b"}
	d.Template = &job.Origin{Name: "t", Version: 3}
	// A client that goes away now must not leave half of the records.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := commit(ctx, w.Controller(), d, "a.py=print(1)", "data=x")
	if err != nil {
		t.Fatal(err)
	}
	want := &job.Index{
		JobID: got.JobID, JobName: "run-" + string(got.JobID), Namespace: "here", CreatedAt: got.JobID.Created(),
		Spec: d.Spec, Owner: d.Owner, Trace: d.Trace, Template: d.Template,
		Token: token.Hash(w.Keys.Derive(token.User, got.JobID)),
		Files: []job.File{
			{Name: "a.py", Size: 8, SHA256: "d287bb7f9d15abdc5b6e98536263815744b6ef21c8f3c839fc434ca70d8efe99"},
			{Name: "data", Size: 1, SHA256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
		},
	}
	for name, index := range map[string]*job.Index{"returned": got, "recorded": w.Index(got.JobID)} {
		if diff := cmp.Diff(want, index); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if content := w.File(got.JobID, "a.py"); content != "print(1)" {
		t.Errorf("a.py: got %q", content)
	}
	for _, name := range w.Tree() {
		if strings.Contains(name, "uploads/") {
			t.Errorf("left: %s", name)
		}
	}
}

// TestAnnouncement demands that the job is recorded before the launcher is told of it, that its
// place in the queue is kept until then, and that the job stays whatever the sink says.
func TestAnnouncement(t *testing.T) {
	for name, fault := range map[string]error{"taken": nil, "lost": errors.New("away")} {
		t.Run(name, func(t *testing.T) {
			var w *admissiontest.Server
			queue, told := &places{}, 0
			w = admissiontest.New(t, nil, func(d *admission.Deps) {
				d.Backend = queue
				d.Events.Sink = sinkFunc(func(_ context.Context, e cloudevent.Event) error {
					told++
					if err := e.Validate(); err != nil {
						t.Error(err)
					}
					if e.Type() != "io.github.go-job-orchestrator.job.submitted.v1" || e.Source() != "http://jobs.example" {
						t.Errorf("event: got %s", e)
					}
					id, err := event.JobID(e)
					if err != nil || string(id) != e.Subject() {
						t.Errorf("job of the event: got %s, %v", id, err)
					}
					w.Index(id)
					if strings.Contains(e.String(), w.Keys.Derive(token.User, id)) {
						t.Error("the event has the token")
					}
					if queue.taken != 1 {
						t.Errorf("%d places are kept while the launcher is told, want 1", queue.taken)
					}
					return fault
				})
			})
			index, err := commit(t.Context(), w.Controller(), python(), "a.py=x")
			if err != nil {
				t.Fatal(err)
			}
			w.Index(index.JobID)
			if told != 1 || queue.taken != 0 {
				t.Errorf("told %d times, %d places are kept", told, queue.taken)
			}
		})
	}
}

// TestWake starts the functions that a job needs before its files come, and none for a request that is
// refused because the queue is full.
func TestWake(t *testing.T) {
	woken := 0
	w := admissiontest.New(t, nil, func(d *admission.Deps) { d.Wake = func() { woken++ } })
	tx, err := w.Controller().Begin(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort(t.Context())
	if woken != 1 {
		t.Errorf("woken %d times", woken)
	}
	full := admissiontest.New(t, nil, func(d *admission.Deps) {
		d.Backend = fullQueue{}
		d.Wake = func() { t.Error("woken for nothing") }
	})
	if _, err := full.Controller().Begin(t.Context(), 0); !errors.Is(err, job.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// fullQueue takes no more jobs.
type fullQueue struct{ admissiontest.Backend }

func (fullQueue) Admit() (func(), error) { return nil, job.ErrUnavailable }

// TestHangingSink commits while the sink still has the event.
func TestHangingSink(t *testing.T) {
	entered, leave := make(chan context.Context, 1), make(chan struct{})
	background := event.NewAsyncSink(sinkFunc(func(ctx context.Context, _ cloudevent.Event) error {
		entered <- ctx
		<-leave
		return errors.New("away")
	}), slog.New(slog.DiscardHandler))
	w := admissiontest.New(t, nil, func(d *admission.Deps) { d.Events.Sink = background })
	ctx, cancel := context.WithCancel(t.Context())
	index, err := commit(ctx, w.Controller(), python(), "a.py=x")
	if err != nil {
		t.Fatal(err)
	}
	delivery := <-entered
	cancel()
	w.Index(index.JobID)
	if err := delivery.Err(); err != nil {
		t.Errorf("the delivery ended with the request: %v", err)
	}
	close(leave)
	background.Drain()
}

// cutOff is a reader that fails after a while.
func cutOff(err error) io.Reader {
	return io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000)), errReader{err})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestNothingIsLeft ends transactions at every step, in every way.
func TestNothingIsLeft(t *testing.T) {
	broken := errors.New("broken")
	put := func(tx *admission.Tx) error {
		_, err := tx.Put(t.Context(), "a.py", strings.NewReader("x"))
		return err
	}
	for name, test := range map[string]struct {
		option admissiontest.Option
		size   int64
		do     func(tx *admission.Tx) error
		want   error
	}{
		"given up":        {do: func(*admission.Tx) error { return nil }},
		"with a file":     {do: put},
		"no space at all": {option: admissiontest.Setting("MIN_FREE_BYTES", "1Pi"), want: job.ErrExhausted},
		"no space for that": {size: 1 << 50, option: admissiontest.Setting("MAX_UPLOAD_BYTES", "1Pi"),
			want: job.ErrExhausted},
		"no ID": {option: func(d *admission.Deps) { d.Env.Random = errReader{broken} }, want: broken},
		"a file is cut off": {want: broken, do: func(tx *admission.Tx) error {
			_, err := tx.Put(t.Context(), "b", cutOff(broken))
			return err
		}},
		"a source is away": {want: broken, do: func(tx *admission.Tx) error {
			_, err := tx.Copy(t.Context(), []admission.Source{{Name: "b", Open: func(context.Context) (io.ReadCloser, error) {
				return nil, broken
			}}})
			return err
		}},
		"refused": {want: job.ErrInvalid, do: func(tx *admission.Tx) error {
			_, err := tx.Commit(t.Context(), python()) // without its file
			return errors.Join(put(tx), err)
		}},
		"faulty before": {want: job.ErrInvalid, do: func(tx *admission.Tx) error {
			d := python()
			d.Files, d.Faults = []job.File{{Name: "a.py"}}, job.Invalid("cpu", "x")
			_, err := tx.Commit(t.Context(), d)
			return errors.Join(put(tx), err)
		}},
		"a bug": {option: admissiontest.On(admissiontest.Backend{Fault: func(*job.Spec) error { panic(broken) }}),
			want: broken,
			do: func(tx *admission.Tx) error {
				d := python()
				d.Files = []job.File{{Name: "a.py"}}
				_, err := tx.Commit(t.Context(), d)
				return err
			}},
	} {
		t.Run(name, func(t *testing.T) {
			queue := &places{}
			w := admissiontest.New(t, nil, func(d *admission.Deps) {
				if test.option != nil {
					test.option(d)
				}
				queue.Backend, _ = d.Backend.(admissiontest.Backend)
				d.Backend = queue
			})
			err := func() (err error) {
				defer func() {
					if v := recover(); v != nil {
						err = v.(error)
					}
				}()
				tx, err := w.Controller().Begin(t.Context(), test.size)
				if err != nil {
					return err
				}
				defer tx.Abort(t.Context())
				return test.do(tx)
			}()
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			w.WantNothing()
			if queue.taken != 0 || len(w.Sink.Sent()) > 0 {
				t.Errorf("%d places are kept, %d events were sent", queue.taken, len(w.Sink.Sent()))
			}
		})
	}
}

// TestModes copies files with and without modes into a job whose program runs by itself.
func TestModes(t *testing.T) {
	w := admissiontest.New(t, nil)
	tx, err := w.Controller().Begin(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort(t.Context())
	text := func(content string) func(context.Context) (io.ReadCloser, error) {
		return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
	}
	files, err := tx.Copy(t.Context(), []admission.Source{
		{Name: "run", Open: text("x")}, {Name: "data", Open: text("y")}, {Name: "script", Open: text("#!/bin/sh\n")},
		{Name: "program", Open: text("\x7fELF\x02")}, {Name: "given", Mode: job.ModeExecutable, Open: text("z")},
	})
	if err != nil {
		t.Fatal(err)
	}
	index, err := tx.Commit(t.Context(), admission.Draft{Files: files,
		Spec: job.Spec{Runtime: "binary", Entrypoint: "run", Args: []string{}}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range index.Files {
		got[f.Name] = f.Mode
	}
	maps.DeleteFunc(got, func(_, mode string) bool { return mode == "" })
	if diff := cmp.Diff(map[string]string{"run": "0755", "script": "0755", "program": "0755", "given": "0755"},
		got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

// TestCheckFree leaves what is larger than any request may be to whoever reads it.
func TestCheckFree(t *testing.T) {
	w := admissiontest.New(
		t,
		nil,
		admissiontest.Setting("MIN_FREE_BYTES", "1Pi"),
		admissiontest.Setting("MAX_UPLOAD_BYTES", "10"),
	)
	for size, want := range map[int64]error{-1: job.ErrExhausted, 0: job.ErrExhausted, 10: job.ErrExhausted, 11: nil} {
		if err := w.Controller().CheckFree(size); !errors.Is(err, want) {
			t.Errorf("%d bytes: got %v, want %v", size, err, want)
		}
	}
}
