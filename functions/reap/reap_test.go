package reap_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/store"
)

type world struct {
	t      testing.TB
	dir    string
	store  *store.Store
	ledger *ledger.Ledger
	reap   *reap.Function

	mu   sync.Mutex
	now  time.Time
	sent []cloudevent.Event
	err  error // of the sink
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) Send(_ context.Context, e cloudevent.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, e)
	return w.err
}

// relaunched returns the jobs that were to be launched again since it was last asked, in the order
// of their IDs.
func (w *world) relaunched() []job.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := []job.ID{}
	for _, e := range w.sent {
		id, err := event.JobID(e)
		if err != nil || e.Type() != event.Launch || e.Validate() != nil || e.Source() != "http://jobs.example" {
			w.t.Errorf("event: got %s, %v", e, err)
		}
		ids = append(ids, id)
	}
	w.sent = nil
	slices.Sort(ids)
	return ids
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Now()}
	var err error
	if w.store, err = store.OpenDir(w.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.ledger = ledger.New(w.store, w.clock)
	env := platform.New(map[string]string{"ORCH_BASE_URL": "http://jobs.example"}, slog.New(slog.DiscardHandler))
	env.Now = w.clock
	env.SetStore(w.store)
	w.reap, err = reap.New(reap.Deps{Env: env, Events: &event.Events{Sink: w, Ledger: w.ledger},
		Stopper: backend.Remote().Stopper})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) once(want reap.Result) {
	w.t.Helper()
	got, err := w.reap.Once(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("round (-want +got):\n%s", diff)
	}
}

func (w *world) job(ttl int64) *job.Index {
	w.t.Helper()
	id, err := job.NewID(w.clock(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	index := &job.Index{
		JobID: id, JobName: id.Name(), CreatedAt: id.Created(),
		Spec: job.Spec{Runtime: "python", Entrypoint: "a", Labels: map[string]string{"a": "b"}, TTLSecondsAfterFinished: ttl},
	}
	w.must(w.ledger.BeginUpload(w.t.Context(), id))
	_, err = w.store.Put(w.t.Context(), ledger.FileKey(id, "a"), strings.NewReader("x"))
	w.must(err)
	w.must(w.ledger.Accept(w.t.Context(), index))
	return index
}

func (w *world) start(index *job.Index) {
	w.t.Helper()
	_, err := w.ledger.StartAttempt(w.t.Context(), index.JobID, 1, "test", nil)
	w.must(err)
}

func (w *world) end(index *job.Index) {
	w.t.Helper()
	_, _, err := w.ledger.Finish(w.t.Context(), index, job.Terminal{Phase: job.Succeeded, FinishedAt: w.clock()})
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) files() []string {
	w.t.Helper()
	list := []string{}
	w.must(filepath.WalkDir(w.dir, func(path string, _ fs.DirEntry, err error) error {
		if name := strings.TrimPrefix(path, w.dir+"/"); err == nil && path != w.dir && name != ".tmp" {
			list = append(list, name)
		}
		return err
	}))
	return list
}

func (w *world) wantNothing() {
	w.t.Helper()
	if diff := cmp.Diff([]string{}, w.files()); diff != "" {
		w.t.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestNothingToDo(t *testing.T) {
	w := newWorld(t)
	w.once(reap.Result{})
	w.wantNothing()
}

func TestRemovesExpired(t *testing.T) {
	w := newWorld(t)
	short, long, running := w.job(60), w.job(3600), w.job(0)
	for _, index := range []*job.Index{short, long, running} {
		w.start(index)
	}
	w.end(short)
	w.end(long)
	w.pass(59 * time.Second)
	w.once(reap.Result{})
	w.pass(time.Second)
	w.once(reap.Result{Removed: 1})
	if _, err := w.ledger.Index(t.Context(), short.JobID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("expired job: got %v", err)
	}
	w.pass(59 * time.Minute)
	w.once(reap.Result{Removed: 1})
	w.end(running)
	w.once(reap.Result{Removed: 1})
	w.wantNothing()
	if got := w.relaunched(); len(got) > 0 {
		t.Errorf("relaunched: %s", got)
	}
}

func TestRelaunches(t *testing.T) {
	w := newWorld(t)
	lost, started, over, cancelled := w.job(3600), w.job(3600), w.job(3600), w.job(3600)
	w.start(started)
	w.end(over)
	w.must(w.ledger.RequestCancel(t.Context(), cancelled.JobID))
	w.pass(30*time.Second - 2*time.Millisecond)
	w.once(reap.Result{})
	if got := w.relaunched(); len(got) > 0 {
		t.Errorf("before 30 s: got %s", got)
	}
	w.pass(2 * time.Millisecond)
	young := w.job(3600)
	want := []job.ID{lost.JobID, cancelled.JobID} // whoever starts the cancelled one ends it
	slices.Sort(want)
	w.once(reap.Result{Relaunched: 2})
	if got := w.relaunched(); !slices.Equal(got, want) {
		t.Errorf("after 30 s: got %s, want %s", got, want)
	}
	w.once(reap.Result{Relaunched: 2}) // until it is launched
	w.relaunched()
	w.start(lost)
	w.end(cancelled)
	w.pass(time.Minute)
	w.once(reap.Result{Relaunched: 1})
	if got := w.relaunched(); !slices.Equal(got, []job.ID{young.JobID}) {
		t.Errorf("after the launch: got %s, want %s", got, young.JobID)
	}
}

// queue is one that has some jobs.
type queue []job.ID

func (q queue) Has(id job.ID) bool { return slices.Contains(q, id) }

// TestLeavesTheQueue demands that jobs that wait in this process are left alone however long they
// wait.
func TestLeavesTheQueue(t *testing.T) {
	w := newWorld(t)
	waits, lost := w.job(3600), w.job(3600)
	env := platform.New(map[string]string{"ORCH_BASE_URL": "http://jobs.example"}, slog.New(slog.DiscardHandler))
	env.Now = w.clock
	env.SetStore(w.store)
	var err error
	w.reap, err = reap.New(reap.Deps{Env: env, Events: &event.Events{Sink: w, Ledger: w.ledger},
		Queue: queue{waits.JobID}})
	w.must(err)
	for range 9 {
		w.pass(time.Minute)
		w.once(reap.Result{Relaunched: 1})
		if got := w.relaunched(); !slices.Equal(got, []job.ID{lost.JobID}) {
			t.Errorf("relaunched: got %s, want %s", got, lost.JobID)
		}
	}
}

// TestSubmittedGoesOutOnce demands that others are told once that a job was submitted, however long
// it takes to start.
func TestSubmittedGoesOutOnce(t *testing.T) {
	w := newWorld(t)
	outside := &slowSink{}
	w.outside(outside, 0)
	w.job(3600)
	for range 20 {
		w.pass(time.Minute)
		if _, err := w.reap.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	types := map[string]int{}
	for _, e := range append(outside.events(), w.sent...) {
		types[e.Type()]++
	}
	if diff := cmp.Diff(map[string]int{event.Submitted: 2, event.Launch: 20}, types); diff != "" {
		t.Errorf("in 20 rounds (-want +got):\n%s", diff) // submitted: once to the launcher, once to others
	}
}

// slowSink is somebody's server that takes its time.
type slowSink struct {
	mu            sync.Mutex
	takes         time.Duration
	got           []cloudevent.Event
	sending, most int
}

func (s *slowSink) Send(_ context.Context, e cloudevent.Event) error {
	s.mu.Lock()
	s.sending++
	s.most = max(s.most, s.sending)
	s.mu.Unlock()
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending--
	s.got = append(s.got, e)
	return nil
}

func (s *slowSink) events() []cloudevent.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// announcing has what is recorded from now on announced to a sink.
func (w *world) announcing(s event.Sink) *event.Events {
	log := slog.New(slog.DiscardHandler)
	w.ledger = ledger.New(w.store, w.clock).Publishing(&event.Publisher{Sink: s, Source: "http://jobs.example", Log: log})
	return &event.Events{Sink: s, Ledger: w.ledger}
}

// outside has the reaper announce to a server that takes so long for each event, as in the one
// process.
func (w *world) outside(s *slowSink, takes time.Duration) *event.AsyncSink {
	w.t.Helper()
	s.takes = takes
	env := platform.New(map[string]string{"ORCH_BASE_URL": "http://jobs.example"}, slog.New(slog.DiscardHandler))
	env.Now = w.clock
	env.SetStore(w.store)
	out := event.NewAsyncSink(&event.OutboxSink{Sink: s, Outbox: w.ledger}, slog.New(slog.DiscardHandler))
	events := w.announcing(event.Router{Launcher: w, Outside: out})
	var err error
	w.reap, err = reap.New(reap.Deps{Env: env, Events: events})
	w.must(err)
	return out
}

// TestSlowSink has a server outside that takes a second for each event, and was away for a while:
// one round tells it all that is owed, several jobs at a time, and a bounded number.
func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		const over, active = 200, 100
		s := &slowSink{}
		away := errors.New("away")
		w.announcing(sinkFunc(func() error { return away }))
		for n := range over + active {
			index := w.job(3600)
			if n < over {
				w.end(index)
			} else {
				w.start(index)
			}
		}
		w.pass(time.Minute)
		out := w.outside(s, time.Second)
		begun := time.Now()
		w.once(reap.Result{Announced: 2 * (over + active)})
		took := time.Since(begun)
		if took > 20*time.Second || s.most != event.MaxSending {
			t.Errorf("%d events at %d at a time took %s", len(s.events()), s.most, took)
		}
		w.once(reap.Result{})
		types := map[string]int{}
		for _, e := range s.events() {
			types[e.Type()]++
		}
		want := map[string]int{
			event.Submitted: over + active, event.Type(job.StepStarted): active, event.Type(job.StepSucceeded): over,
		}
		if diff := cmp.Diff(want, types); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		out.Drain()
	})
}

// sinkFunc answers each event.
type sinkFunc func() error

func (f sinkFunc) Send(context.Context, cloudevent.Event) error { return f() }

// TestManyActive has more jobs than are looked at in one go.
func TestManyActive(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 501 jobs")
	}
	w := newWorld(t)
	for range 501 {
		w.job(60)
		w.pass(time.Millisecond)
	}
	w.pass(time.Minute)
	w.once(reap.Result{Relaunched: 501})
	if got := slices.Compact(w.relaunched()); len(got) != 501 {
		t.Errorf("relaunched %d jobs", len(got))
	}
}

func TestSweeps(t *testing.T) {
	w := newWorld(t)
	id, err := job.NewID(w.clock(), rand.Reader)
	w.must(err)
	w.must(w.ledger.BeginUpload(t.Context(), id))
	_, err = w.store.Put(t.Context(), ledger.FileKey(id, "a"), strings.NewReader("x"))
	w.must(err)
	w.pass(2*time.Hour - time.Millisecond) // an upload may last an hour
	w.once(reap.Result{})
	if len(w.files()) == 0 {
		t.Error("a running upload was swept")
	}
	w.pass(2 * time.Millisecond)
	w.once(reap.Result{Swept: 1})
	w.wantNothing()
}

// TestLateOutputs has an output come, past the functions, after its job was removed.
func TestLateOutputs(t *testing.T) {
	w := newWorld(t)
	index := w.job(1)
	w.must(w.ledger.BeginLinks(t.Context(), index.JobID, w.clock().Add(15*time.Minute)))
	w.end(index)
	w.pass(2 * time.Second)
	w.once(reap.Result{Removed: 1})
	_, err := w.store.Put(t.Context(), ledger.ResultKey(index.JobID, "late"), strings.NewReader("x"))
	w.must(err)
	kept := w.job(86400)
	w.must(w.ledger.BeginLinks(t.Context(), kept.JobID, w.clock()))
	w.start(kept)
	w.end(kept)
	w.pass(2 * time.Hour)
	w.once(reap.Result{})
	if _, err := w.store.Stat(t.Context(), ledger.ResultKey(index.JobID, "late")); err != nil {
		t.Errorf("what may still be on its way: %v", err)
	}
	w.pass(2 * time.Hour)
	w.once(reap.Result{})
	if _, err := w.store.Stat(t.Context(), ledger.ResultKey(index.JobID, "late")); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("what came too late: %v", err)
	}
	if _, err := w.store.Stat(t.Context(), ledger.FileKey(kept.JobID, "a")); err != nil {
		t.Errorf("a job that is kept: %v", err)
	}
	for _, name := range w.files() {
		if strings.Contains(name, "links/") {
			t.Errorf("left: %s", name)
		}
	}
}

func TestForgetsKeys(t *testing.T) {
	w := newWorld(t)
	index := w.job(60)
	index.IdempotencyKey = ledger.HashKey(ledger.FormKeys, "k")
	_, err := w.ledger.ClaimKey(t.Context(), index.IdempotencyKey, "print", index.JobID)
	w.must(err)
	w.end(index)
	w.pass(time.Minute)
	w.once(reap.Result{Removed: 1})
	w.pass(26 * time.Hour)
	w.once(reap.Result{})
	w.wantNothing()
}

// TestSinkFails sends again in the next round.
func TestSinkFails(t *testing.T) {
	w := newWorld(t)
	const jobs = 300
	for range jobs {
		w.job(60)
	}
	w.pass(time.Minute)
	w.err = errors.New("away")
	if r, err := w.reap.Once(t.Context()); !errors.Is(err, w.err) || r.Relaunched != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	// one may be the only one that is not taken, but not all of them
	if got := w.relaunched(); len(got) < 2 || len(got) >= jobs {
		t.Errorf("tried %d events", len(got))
	}
	w.err = nil
	w.once(reap.Result{Relaunched: jobs})
}

// TestBrokenRecord must not keep the other jobs from being looked after.
func TestBrokenRecord(t *testing.T) {
	w := newWorld(t)
	var ids []job.ID
	for range 5 {
		ids = append(ids, w.job(60).JobID)
		w.pass(time.Millisecond)
	}
	w.pass(time.Minute)
	broken := ids[2]
	w.must(w.store.Create(t.Context(), ledger.FileKey(broken, job.StatusFile), []byte("{")))
	r, err := w.reap.Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), string(broken)) || r.Relaunched != 4 {
		t.Errorf("got %+v, %v", r, err)
	}
	want := slices.DeleteFunc(ids, func(id job.ID) bool { return id == broken })
	slices.Sort(want)
	if got := w.relaunched(); !slices.Equal(got, want) {
		t.Errorf("relaunched: got %s, want %s", got, want)
	}
}

// TestTwoAtOnce has several reapers do the same work.
func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t)
	for range 30 {
		index := w.job(0)
		w.start(index)
		w.end(index)
	}
	w.pass(time.Minute)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			// What the others do at the same time may get in the way of a removal; the next round completes
			// it.
			if _, err := w.reap.Once(t.Context()); err != nil {
				t.Logf("round: %v", err)
			}
		})
	}
	all.Wait()
	if _, err := w.reap.Once(t.Context()); err != nil {
		t.Error(err)
	}
	w.wantNothing()
}

func TestCancelledContext(t *testing.T) {
	w := newWorld(t)
	w.job(60)
	w.pass(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.reap.Once(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.reap.Every(ctx) // returns
}

func TestEvery(t *testing.T) {
	w := newWorld(t)
	index := w.job(0)
	w.end(index)
	env := platform.New(map[string]string{"REAP_INTERVAL": "10ms"}, slog.New(slog.DiscardHandler))
	env.Now = w.clock
	env.SetStore(w.store)
	f, err := reap.New(reap.Deps{Env: env, Events: &event.Events{Sink: w, Ledger: w.ledger}})
	w.must(err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.Every(ctx); close(done) }()
	for {
		_, err := w.ledger.Index(t.Context(), index.JobID)
		if errors.Is(err, job.ErrNotFound) {
			break
		}
		w.must(err)
	}
	stop()
	<-done
}

func TestSettings(t *testing.T) {
	for name, value := range map[string]string{"REAP_INTERVAL": "0s", "UPLOAD_TIMEOUT": "-1s", "K_SINK": ""} {
		env := platform.New(map[string]string{"STORAGE_DIR": t.TempDir(), "K_SINK": "http://localhost:1", name: value},
			slog.New(slog.DiscardHandler))
		events, err := event.Open(env, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := reap.New(reap.Deps{Env: env, Events: events}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
	}
}
