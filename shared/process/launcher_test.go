package process

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// run is a job that the Launcher has started. It ends when the test says so.
type run struct {
	id      job.ID
	ctx     context.Context
	removed <-chan struct{}
	end     func()
}

// stage is a Launcher whose jobs are runs.
type stage struct {
	*Launcher
	t       *testing.T
	started chan *run
}

func newStage(t *testing.T, slots, limit int) *stage {
	t.Helper()
	s := &stage{t: t, started: make(chan *run, 100)}
	s.Launcher = newLauncher(slots, limit, slog.New(slog.DiscardHandler),
		func(ctx context.Context, id job.ID, removed <-chan struct{}) {
			done := make(chan struct{})
			s.started <- &run{id, ctx, removed, sync.OnceFunc(func() { close(done) })}
			<-done
		})
	return s
}

// id returns the n-th job's; a greater n is a younger job.
func id(n int) job.ID {
	return job.ID(strings.Repeat("f", 31) + string("fedcba9876543210"[n]))
}

func (s *stage) launch(n int) {
	s.t.Helper()
	if err := s.enqueue(s.t.Context(), id(n)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) next() *run {
	s.t.Helper()
	select {
	case r := <-s.started:
		return r
	case <-time.After(time.Minute):
		s.t.Fatal("no job is started")
		return nil
	}
}

// idle makes sure that no job is started: all that is to be has been, when the lock is free.
func (s *stage) idle(why string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.started) > 0 {
		s.t.Errorf("a job was started: %s", why)
	}
}

func TestLaunchInOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, 100)
	s.launch(0)
	first := s.next()
	for _, n := range []int{4, 2, 1, 3, 2, 0} { // events come in any order, and again
		s.launch(n)
	}
	s.idle("one runs at a time")
	for n, want := range map[int]bool{0: true, 3: true, 9: false} { // runs, waits, is not known
		if s.Has(id(n)) != want {
			t.Errorf("Has(%d): got %t", n, !want)
		}
	}
	first.end()
	var got []job.ID
	for range 4 {
		r := s.next()
		got = append(got, r.id)
		s.idle("one runs at a time")
		r.end()
	}
	if want := []job.ID{id(1), id(2), id(3), id(4)}; !slices.Equal(got, want) {
		t.Errorf("started %s, want %s", got, want)
	}
	s.Launcher.Drain(time.Minute)
	s.idle("none was sent twice")
	if s.Has(id(1)) {
		t.Error("a job that has run is still there")
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, 100)
	s.launch(0)
	s.launch(1)
	s.launch(2)
	running := s.next()
	stop := func(n int, remove bool) {
		if err := s.Stop(t.Context(), id(n), remove); err != nil {
			t.Error(err)
		}
	}
	stop(1, false) // waits
	stop(9, true)  // is not known
	stop(0, false)
	<-running.ctx.Done()
	if cause := context.Cause(running.ctx); !errors.Is(cause, executor.ErrCancelled) {
		t.Errorf("stopped for %v", cause)
	}
	select {
	case <-running.removed:
		t.Error("a job that is cancelled gets no time to end")
	default:
	}
	stop(0, true)
	<-running.removed
	stop(0, true) // again
	running.end()
	last := s.next()
	if last.id != id(2) {
		t.Errorf("started %s, want %s: the other was stopped while it waited", last.id, id(2))
	}
	if last.ctx.Err() != nil {
		t.Error("the next job is stopped as well")
	}
	last.end()
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, 2)
	s.launch(0)
	running := s.next() // takes no place in the queue
	release, err := s.Admit()
	if err != nil {
		t.Fatal(err)
	}
	s.launch(1)
	full := func(why string) {
		t.Helper()
		if _, err := s.Admit(); !errors.Is(err, job.ErrUnavailable) || !strings.Contains(err.Error(), "MAX_QUEUED_JOBS") {
			t.Errorf("%s: %v", why, err)
		}
	}
	full("one waits and one is on its way")
	release()
	release() // again: gives nothing back twice
	other, err := s.Admit()
	if err != nil {
		t.Errorf("one waits and one was given up: %v", err)
	}
	full("the place was given back once")
	other()
	s.launch(2)
	full("two wait")
	running.end()
	s.next().end()
	s.next().end()
	s.Launcher.Drain(time.Minute)
	if _, err := s.Admit(); !errors.Is(err, job.ErrUnavailable) || strings.Contains(err.Error(), "MAX_QUEUED_JOBS") {
		t.Errorf("while the server stops: %v", err)
	}
	if err := s.Launch(t.Context(), &job.Index{JobID: id(3)}); !errors.Is(err, job.ErrUnavailable) {
		t.Errorf("a job is launched while the server stops: %v", err)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2, 100)
	for n := range 3 {
		s.launch(n)
	}
	quick, slow := s.next(), s.next()
	quick.end()
	third := s.next()
	drained := make(chan struct{})
	go func() { defer close(drained); s.Launcher.Drain(0) }()
	for _, r := range []*run{slow, third} {
		<-r.ctx.Done()
		if cause := context.Cause(r.ctx); !errors.Is(cause, executor.ErrInterrupted) {
			t.Errorf("ended for %v", cause)
		}
	}
	select {
	case <-drained:
		t.Error("Drain returned while jobs ran")
	default:
	}
	slow.end()
	third.end()
	<-drained
	s.idle("the server stops")
}

// TestLaunchOutlivesItsCaller starts a job with a context that ends at once, as that of a request
// does.
func TestLaunchOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.enqueue(ctx, id(0)); err != nil {
		t.Fatal(err)
	}
	cancel()
	r := s.next()
	if r.ctx.Err() != nil {
		t.Error("the job ended with the request that sent it")
	}
	r.end()
}

// TestTakeUp takes up jobs of an earlier process beside those that run: one is not launched
// meanwhile, one is stopped before it is begun with, and what is due afterwards is queued.
func TestTakeUp(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, 100)
	taken := make(chan *run, 10)
	s.resumeJob = func(ctx context.Context, id job.ID, removed <-chan struct{}) bool {
		done := make(chan struct{})
		taken <- &run{id, ctx, removed, sync.OnceFunc(func() { close(done) })}
		<-done
		return id == "due"
	}
	s.launch(0)
	running := s.next()
	s.resume(t.Context(), []job.ID{"due", "stopped", "over"})
	first := <-taken
	if first.id != "due" {
		t.Errorf("%s is taken up first", first.id)
	}
	for _, id := range []job.ID{"due", "stopped", "over"} { // the reaper sends their events again
		if err := s.enqueue(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Stop(t.Context(), "stopped", true); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	if len(taken) > 0 || s.waiting.Len() > 0 {
		t.Errorf("%d more are taken up at a time, %d wait", len(taken), s.waiting.Len())
	}
	s.mu.Unlock()
	first.end()
	second := <-taken
	<-second.removed
	if cause := context.Cause(second.ctx); second.id != "stopped" || !errors.Is(cause, executor.ErrCancelled) {
		t.Errorf("%s is next, stopped for %v", second.id, cause)
	}
	second.end()
	third := <-taken
	running.end()
	next := s.next()
	if next.id != "due" {
		t.Errorf("%s runs, want the one that is due", next.id)
	}
	drained := make(chan struct{})
	go func() { defer close(drained); s.Launcher.Drain(time.Hour) }()
	<-third.ctx.Done()
	if cause := context.Cause(third.ctx); !errors.Is(cause, executor.ErrInterrupted) {
		t.Errorf("%s ended for %v", third.id, cause)
	}
	next.end()
	select {
	case <-drained:
		t.Error("Drain returned while a job was taken up")
	default:
	}
	third.end()
	<-drained
	s.idle("nothing is left")
}

// TestAhead asks for the places of jobs that wait, which move up as others start and are cancelled.
func TestAhead(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1, 10)
	for _, n := range []int{0, 3, 1, 2} {
		s.launch(n)
	}
	running := s.next()
	check := func(want map[int]int) {
		t.Helper()
		for n := range 4 {
			place, waits := want[n]
			if ahead, found := s.Ahead(id(n)); found != waits || ahead != place {
				t.Errorf("job %d: got %d, %t; want %d, %t", n, ahead, found, place, waits)
			}
		}
	}
	check(map[int]int{1: 0, 2: 1, 3: 2})
	if err := s.Stop(t.Context(), id(2), false); err != nil {
		t.Fatal(err)
	}
	check(map[int]int{1: 0, 3: 1})
	running.end()
	second := s.next()
	check(map[int]int{3: 0})
	second.end()
	s.next().end()
	check(nil)
}
