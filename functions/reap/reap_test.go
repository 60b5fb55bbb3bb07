package reap_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
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
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/secret"
)

// fixture is a bucket with a clock, the function, and the sink of its events.
type fixture struct {
	*ledgertest.Fixture
	reap *reap.Function

	mu   sync.Mutex
	now  time.Time
	sent []cloudevent.Event
	err  error // of the sink
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) Send(_ context.Context, e cloudevent.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, e)
	return f.err
}

// relaunched returns the jobs that were to be launched again since it was last asked, in the order
// of their IDs.
func (f *fixture) relaunched() []job.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := []job.ID{}
	for _, e := range f.sent {
		id, err := event.JobID(e)
		if err != nil || e.Type() != event.Launch || e.Validate() != nil || e.Source() != "http://jobs.example" {
			f.T.Errorf("event: got %s, %v", e, err)
		}
		ids = append(ids, id)
	}
	f.sent = nil
	slices.Sort(ids)
	return ids
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{now: time.Now()}
	f.Fixture = ledgertest.Open(t, t.TempDir(), f.clock)
	var err error
	f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
		Events: &event.Events{Sink: f, Ledger: f.Ledger}, Stopper: backend.Remote().Stopper})
	f.Must(err)
	return f
}

func (f *fixture) once(want reap.Result) {
	f.T.Helper()
	got, err := f.reap.Once(f.T.Context())
	if err != nil {
		f.T.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.T.Errorf("round (-want +got):\n%s", diff)
	}
}

func (f *fixture) job(ttl int64) *job.Index {
	f.T.Helper()
	return f.Job(func(index *job.Index) {
		index.Labels, index.TTLSecondsAfterFinished = map[string]string{"a": "b"}, ttl
		f.Must(f.Ledger.BeginUpload(f.T.Context(), index.JobID))
		f.File(index.JobID, "a", "x")
	})
}

func (f *fixture) wantNothing() {
	f.T.Helper()
	if diff := cmp.Diff([]string{}, f.Files()); diff != "" {
		f.T.Errorf("left (-want +got):\n%s", diff)
	}
}

func TestNothingToDo(t *testing.T) {
	f := newFixture(t)
	f.once(reap.Result{})
	f.wantNothing()
}

func TestRemovesExpired(t *testing.T) {
	f := newFixture(t)
	short, long, running := f.job(60), f.job(3600), f.job(0)
	for _, index := range []*job.Index{short, long, running} {
		f.Start(index, 1)
	}
	f.End(short, job.Succeeded)
	f.End(long, job.Succeeded)
	f.pass(59 * time.Second)
	f.once(reap.Result{})
	f.pass(time.Second)
	f.once(reap.Result{Removed: 1})
	if _, err := f.Ledger.Index(t.Context(), short.JobID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("expired job: got %v", err)
	}
	f.pass(59 * time.Minute)
	f.once(reap.Result{Removed: 1})
	f.End(running, job.Succeeded)
	f.once(reap.Result{Removed: 1})
	f.wantNothing()
	if got := f.relaunched(); len(got) > 0 {
		t.Errorf("relaunched: %s", got)
	}
}

func TestRelaunches(t *testing.T) {
	f := newFixture(t)
	lost, started, over, cancelled := f.job(3600), f.job(3600), f.job(3600), f.job(3600)
	f.Start(started, 1)
	f.End(over, job.Succeeded)
	f.Must(f.Ledger.RequestCancel(t.Context(), cancelled.JobID))
	f.pass(30*time.Second - 2*time.Millisecond)
	f.once(reap.Result{})
	if got := f.relaunched(); len(got) > 0 {
		t.Errorf("before 30 s: got %s", got)
	}
	f.pass(2 * time.Millisecond)
	young := f.job(3600)
	want := []job.ID{lost.JobID, cancelled.JobID} // whoever starts the cancelled one ends it
	slices.Sort(want)
	f.once(reap.Result{Relaunched: 2})
	if got := f.relaunched(); !slices.Equal(got, want) {
		t.Errorf("after 30 s: got %s, want %s", got, want)
	}
	f.once(reap.Result{Relaunched: 2}) // until it is launched
	f.relaunched()
	f.Start(lost, 1)
	f.End(cancelled, job.Succeeded)
	f.pass(time.Minute)
	f.once(reap.Result{Relaunched: 1})
	if got := f.relaunched(); !slices.Equal(got, []job.ID{young.JobID}) {
		t.Errorf("after the launch: got %s, want %s", got, young.JobID)
	}
}

// queue is one that has some jobs.
type queue []job.ID

func (q queue) Has(id job.ID) bool { return slices.Contains(q, id) }

func (q queue) Ahead(id job.ID) (int, bool) { return slices.Index(q, id), q.Has(id) }

// TestLeavesTheQueue demands that jobs that wait in this process are left alone however long they
// wait.
func TestLeavesTheQueue(t *testing.T) {
	f := newFixture(t)
	waits, lost := f.job(3600), f.job(3600)
	env := platform.New(map[string]string{"ORCH_BASE_URL": "http://jobs.example"}, slog.New(slog.DiscardHandler))
	env.Now = f.clock
	env.SetStore(f.Store)
	var err error
	f.reap, err = reap.New(reap.Deps{Env: env, Events: &event.Events{Sink: f, Ledger: f.Ledger},
		Queue: queue{waits.JobID}})
	f.Must(err)
	for range 9 {
		f.pass(time.Minute)
		f.once(reap.Result{Relaunched: 1})
		if got := f.relaunched(); !slices.Equal(got, []job.ID{lost.JobID}) {
			t.Errorf("relaunched: got %s, want %s", got, lost.JobID)
		}
	}
}

// TestSubmittedGoesOutOnce demands that others are told once that a job was submitted, however long
// it takes to start.
func TestSubmittedGoesOutOnce(t *testing.T) {
	f := newFixture(t)
	outside := &slowSink{}
	f.outside(outside, 0)
	f.job(3600)
	for range 20 {
		f.pass(time.Minute)
		if _, err := f.reap.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	types := map[string]int{}
	for _, e := range append(outside.events(), f.sent...) {
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
func (f *fixture) announcing(s event.Sink) *event.Events {
	log := slog.New(slog.DiscardHandler)
	f.Ledger = ledger.New(f.Store, f.clock).Publishing(&event.Publisher{Sink: s, Source: "http://jobs.example", Log: log})
	return &event.Events{Sink: s, Ledger: f.Ledger}
}

// outside has the reaper announce to a server that takes so long for each event, as in the one
// process.
func (f *fixture) outside(s *slowSink, takes time.Duration) *event.AsyncSink {
	f.T.Helper()
	s.takes = takes
	env := platform.New(map[string]string{"ORCH_BASE_URL": "http://jobs.example"}, slog.New(slog.DiscardHandler))
	env.Now = f.clock
	env.SetStore(f.Store)
	out := event.NewAsyncSink(&event.OutboxSink{Sink: s, Outbox: f.Ledger}, slog.New(slog.DiscardHandler))
	events := f.announcing(event.Router{Launcher: f, Outside: out})
	var err error
	f.reap, err = reap.New(reap.Deps{Env: env, Events: events})
	f.Must(err)
	return out
}

// TestSlowSink has a server outside that takes a second for each event, and was away for a while:
// one round tells it all that is owed, several jobs at a time, and a bounded number.
func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		const over, active = 200, 100
		s := &slowSink{}
		away := errors.New("away")
		f.announcing(sinkFunc(func() error { return away }))
		for n := range over + active {
			index := f.job(3600)
			if n < over {
				f.End(index, job.Succeeded)
			} else {
				f.Start(index, 1)
			}
		}
		f.pass(time.Minute)
		out := f.outside(s, time.Second)
		begun := time.Now()
		f.once(reap.Result{Announced: 2 * (over + active)})
		took := time.Since(begun)
		if took > 20*time.Second || s.most != event.MaxSending {
			t.Errorf("%d events at %d at a time took %s", len(s.events()), s.most, took)
		}
		f.once(reap.Result{})
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
	f := newFixture(t)
	for range 501 {
		f.job(60)
		f.pass(time.Millisecond)
	}
	f.pass(time.Minute)
	f.once(reap.Result{Relaunched: 501})
	if got := slices.Compact(f.relaunched()); len(got) != 501 {
		t.Errorf("relaunched %d jobs", len(got))
	}
}

func TestSweeps(t *testing.T) {
	f := newFixture(t)
	id, err := job.NewID(f.clock(), rand.Reader)
	f.Must(err)
	f.Must(f.Ledger.BeginUpload(t.Context(), id))
	_, err = f.Store.Put(t.Context(), ledger.FileKey(id, "a"), strings.NewReader("x"))
	f.Must(err)
	f.pass(2*time.Hour - time.Millisecond) // an upload may last an hour
	f.once(reap.Result{})
	if len(f.Files()) == 0 {
		t.Error("a running upload was swept")
	}
	f.pass(2 * time.Millisecond)
	f.once(reap.Result{Swept: 1})
	f.wantNothing()
}

// TestLateOutputs has an output come, past the functions, after its job was removed.
func TestLateOutputs(t *testing.T) {
	f := newFixture(t)
	index := f.job(1)
	f.Must(f.Ledger.BeginLinks(t.Context(), index.JobID, f.clock().Add(15*time.Minute)))
	f.End(index, job.Succeeded)
	f.pass(2 * time.Second)
	f.once(reap.Result{Removed: 1})
	_, err := f.Store.Put(t.Context(), ledger.ResultKey(index.JobID, "late"), strings.NewReader("x"))
	f.Must(err)
	kept := f.job(86400)
	f.Must(f.Ledger.BeginLinks(t.Context(), kept.JobID, f.clock()))
	f.Start(kept, 1)
	f.End(kept, job.Succeeded)
	f.pass(2 * time.Hour)
	f.once(reap.Result{})
	if _, err := f.Store.Stat(t.Context(), ledger.ResultKey(index.JobID, "late")); err != nil {
		t.Errorf("what may still be on its way: %v", err)
	}
	f.pass(2 * time.Hour)
	f.once(reap.Result{})
	if _, err := f.Store.Stat(t.Context(), ledger.ResultKey(index.JobID, "late")); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("what came too late: %v", err)
	}
	if _, err := f.Store.Stat(t.Context(), ledger.FileKey(kept.JobID, "a")); err != nil {
		t.Errorf("a job that is kept: %v", err)
	}
	for _, name := range f.Files() {
		if strings.Contains(name, "links/") {
			t.Errorf("left: %s", name)
		}
	}
}

func TestForgetsKeys(t *testing.T) {
	f := newFixture(t)
	index := f.job(60)
	index.IdempotencyKey = ledger.HashKey(ledger.FormKeys, "k")
	_, err := f.Ledger.ClaimKey(t.Context(), index.IdempotencyKey, "print", index.JobID)
	f.Must(err)
	f.End(index, job.Succeeded)
	f.pass(time.Minute)
	f.once(reap.Result{Removed: 1})
	f.pass(26 * time.Hour)
	f.once(reap.Result{})
	f.wantNothing()
}

// TestSinkFails sends again in the next round.
func TestSinkFails(t *testing.T) {
	f := newFixture(t)
	const jobs = 300
	for range jobs {
		f.job(60)
	}
	f.pass(time.Minute)
	f.err = errors.New("away")
	if r, err := f.reap.Once(t.Context()); !errors.Is(err, f.err) || r.Relaunched != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	// one may be the only one that is not taken, but not all of them
	if got := f.relaunched(); len(got) < 2 || len(got) >= jobs {
		t.Errorf("tried %d events", len(got))
	}
	f.err = nil
	f.once(reap.Result{Relaunched: jobs})
}

// TestBrokenRecord must not keep the other jobs from being looked after.
func TestBrokenRecord(t *testing.T) {
	f := newFixture(t)
	var ids []job.ID
	for range 5 {
		ids = append(ids, f.job(60).JobID)
		f.pass(time.Millisecond)
	}
	f.pass(time.Minute)
	broken := ids[2]
	f.Must(f.Store.Create(t.Context(), ledger.FileKey(broken, job.StatusFile), []byte("{")))
	r, err := f.reap.Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), string(broken)) || r.Relaunched != 4 {
		t.Errorf("got %+v, %v", r, err)
	}
	want := slices.DeleteFunc(ids, func(id job.ID) bool { return id == broken })
	slices.Sort(want)
	if got := f.relaunched(); !slices.Equal(got, want) {
		t.Errorf("relaunched: got %s, want %s", got, want)
	}
}

// TestTwoAtOnce has several reapers do the same work.
func TestTwoAtOnce(t *testing.T) {
	f := newFixture(t)
	for range 30 {
		index := f.job(0)
		f.Start(index, 1)
		f.End(index, job.Succeeded)
	}
	f.pass(time.Minute)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			// What the others do at the same time may get in the way of a removal; the next round completes
			// it.
			if _, err := f.reap.Once(t.Context()); err != nil {
				t.Logf("round: %v", err)
			}
		})
	}
	all.Wait()
	if _, err := f.reap.Once(t.Context()); err != nil {
		t.Error(err)
	}
	f.wantNothing()
}

func TestCancelledContext(t *testing.T) {
	f := newFixture(t)
	f.job(60)
	f.pass(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.reap.Once(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	f.reap.Every(ctx) // returns
}

func TestEvery(t *testing.T) {
	f := newFixture(t)
	index := f.job(0)
	f.End(index, job.Succeeded)
	env := platform.New(map[string]string{"REAP_INTERVAL": "10ms"}, slog.New(slog.DiscardHandler))
	env.Now = f.clock
	env.SetStore(f.Store)
	function, err := reap.New(reap.Deps{Env: env, Events: &event.Events{Sink: f, Ledger: f.Ledger}})
	f.Must(err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { function.Every(ctx); close(done) }()
	for {
		_, err := f.Ledger.Index(t.Context(), index.JobID)
		if errors.Is(err, job.ErrNotFound) {
			break
		}
		f.Must(err)
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

// offered is what the operator offers.
type offered struct {
	entries []secret.Entry
	err     error
}

func (o *offered) Entries(context.Context) ([]secret.Entry, error) { return o.entries, o.err }

// TestPublishesSecrets publishes the names of the operator's secrets. A cluster that does not answer
// leaves them as they are, and does not keep the round from its other work.
func TestPublishesSecrets(t *testing.T) {
	f := newFixture(t)
	o := &offered{entries: []secret.Entry{{Name: "db", Roles: secret.DefaultRoles()}}}
	var err error
	f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
		Events: &event.Events{Sink: f, Ledger: f.Ledger}, Stopper: backend.Remote().Stopper, Publish: o})
	f.Must(err)
	for _, err := range []error{nil, errors.New("away")} {
		o.err = err
		f.once(reap.Result{})
		got, err := secret.NewPublished(f.Store, f.Keys).Entries(t.Context())
		if diff := cmp.Diff(o.entries, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// meter notes what it is told.
type meter struct {
	due     bool
	rounds  int
	census  job.Census
	counted int
	free    *int64
}

func (m *meter) Reaped()   { m.rounds++ }
func (m *meter) Due() bool { return m.due }
func (m *meter) Counted(c job.Census, _ int64, free *int64, _ time.Duration) {
	m.census, m.free, m.counted = c, free, m.counted+1
}

// TestMeter counts the records only when that is due, and notes only rounds without an error.
func TestMeter(t *testing.T) {
	f := newFixture(t)
	m := &meter{}
	var err error
	f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
		Events: &event.Events{Sink: f, Ledger: f.Ledger}, Stopper: backend.Remote().Stopper, Meter: m})
	f.Must(err)
	oldest := f.job(60)
	f.pass(time.Second)
	f.job(60)
	f.Start(f.job(60), 1)
	for _, phase := range []job.Phase{job.Failed, job.Failed, job.Cancelled} {
		index := f.job(60)
		f.Start(index, 1)
		f.End(index, phase)
	}
	f.once(reap.Result{})
	if m.rounds != 1 || m.counted != 0 {
		t.Errorf("%d rounds, counted %d times although that was not due", m.rounds, m.counted)
	}
	m.due = true
	f.once(reap.Result{})
	want := job.Census{Oldest: oldest.JobID.Created(), Jobs: map[job.Phase]int{
		job.Pending: 2, job.Running: 1, job.Succeeded: 0, job.Failed: 2, job.Cancelled: 1,
	}}
	if diff := cmp.Diff(want, m.census); diff != "" || m.free == nil || m.counted != 1 {
		t.Errorf("counted %d times, free %v (-want +got):\n%s", m.counted, m.free, diff)
	}
	f.pass(time.Minute)
	f.err = errors.New("away")
	if _, err := f.reap.Once(t.Context()); err == nil || m.rounds != 2 || m.counted != 2 {
		t.Errorf("%v: %d rounds, counted %d times; want an error, 2 and 2", err, m.rounds, m.counted)
	}
}

// pacer notes what it is told after each round.
type pacer struct {
	idle []bool
	err  error
}

func (p *pacer) Begin(context.Context) (func(context.Context, bool) error, error) {
	return func(_ context.Context, idle bool) error {
		p.idle = append(p.idle, idle)
		return p.err
	}, p.err
}

// TestPaced demands that rounds become rare only while nothing is due before the next of them.
func TestPaced(t *testing.T) {
	f := newFixture(t)
	p := &pacer{}
	var err error
	f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
		Events: &event.Events{Sink: f, Ledger: f.Ledger}, Stopper: backend.Remote().Stopper, Pacer: p})
	f.Must(err)
	round := func(when string, want bool) {
		t.Helper()
		f.Must(f.reap.Paced(t.Context()))
		if len(p.idle) != 1 || p.idle[0] != want {
			t.Errorf("%s: idle %v, want %t", when, p.idle, want)
		}
		p.idle = nil
	}
	round("without jobs", true)
	upload := f.ID()
	f.Must(f.Ledger.BeginUpload(t.Context(), upload))
	round("a job is sent", false)
	f.Must(f.Ledger.AbortUpload(t.Context(), upload))
	index := f.job(3600)
	round("a job waits", false)
	f.Start(index, 1)
	round("a job runs", false)
	f.End(index, job.Succeeded)
	round("a job is kept for an hour", true)
	f.pass(53 * time.Minute)
	round("it expires in seven minutes", true)
	f.pass(2 * time.Minute)
	round("it expires in five minutes", false)
	f.pass(6 * time.Minute)
	round("it is removed", true)
	index = f.job(3600)
	f.Must(f.Ledger.RequestRemoval(t.Context(), index.JobID))
	f.End(index, job.Cancelled)
	round("it is removed at once", true)

	f.err = errors.New("away")
	f.job(3600)
	f.pass(time.Minute)
	if err := f.reap.Paced(t.Context()); err == nil || len(p.idle) != 1 || p.idle[0] {
		t.Errorf("a round that fails: %v, idle %v", err, p.idle)
	}
	f.err, p.err = nil, errors.New("forbidden")
	f.Must(f.reap.Paced(t.Context())) // the round is made all the same
}

// TestPacedOutbox keeps coming while a notice is owed.
func TestPacedOutbox(t *testing.T) {
	f := newFixture(t)
	p := &pacer{}
	owing := f.Ledger.Publishing(nowhere{})
	var err error
	f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
		Events: &event.Events{Sink: f, Ledger: owing}, Stopper: backend.Remote().Stopper, Pacer: p})
	f.Must(err)
	f.Ledger = owing
	f.End(f.job(3600), job.Cancelled)
	f.Must(f.reap.Paced(t.Context()))
	if len(p.idle) != 1 || p.idle[0] {
		t.Errorf("idle %v with a notice that is not sent", p.idle)
	}
}

// TestPacedReports has jobs that are still to be counted for a collector, and then a reaper to which
// none is configured any more.
func TestPacedReports(t *testing.T) {
	for reporting, want := range map[bool]bool{true: false, false: true} {
		f := newFixture(t)
		records := f.Ledger
		f.Ledger = records.Reporting()
		f.End(f.job(3600), job.Cancelled)
		if reporting {
			records = f.Ledger
		}
		p := &pacer{}
		r, err := reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
			Events: &event.Events{Sink: f, Ledger: records}, Stopper: backend.Remote().Stopper, Pacer: p})
		f.Must(err)
		f.Must(r.Paced(t.Context()))
		if len(p.idle) != 1 || p.idle[0] != want {
			t.Errorf("reporting %t: idle %v, want %t", reporting, p.idle, want)
		}
	}
}

// TestPacedWithoutSink has a notice that was owed when there still was a K_SINK.
func TestPacedWithoutSink(t *testing.T) {
	f := newFixture(t)
	records := f.Ledger
	f.Ledger = records.Publishing(nowhere{})
	f.End(f.job(3600), job.Cancelled)
	p := &pacer{}
	r, err := reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
		Events: &event.Events{Sink: f, Ledger: records}, Stopper: backend.Remote().Stopper, Pacer: p})
	f.Must(err)
	f.Must(r.Paced(t.Context()))
	if len(p.idle) != 1 || !p.idle[0] {
		t.Errorf("idle %v, though nobody sends what is owed", p.idle)
	}
}

// nowhere is a sink that never answers.
type nowhere struct{}

func (nowhere) Publish(context.Context, job.Notice) {}
