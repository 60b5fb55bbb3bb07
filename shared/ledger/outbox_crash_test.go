package ledger_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/storetest"
)

// TestEventsSurviveCrashes has the process die before each change of a job's life, or that change
// alone fail, with a sink that takes events and with one that does not. It demands that what was
// recorded is published all the same, nothing else is, and nothing more than twice.
func TestEventsSurviveCrashes(t *testing.T) {
	for _, down := range []bool{false, true} {
		for _, once := range []bool{false, true} {
			for n, more := 1, true; more; n++ {
				t.Run(fmt.Sprintf("down=%t/once=%t/%d", down, once, n), func(t *testing.T) {
					w := newMemoryWorld(t)
					changes := 0
					s := storetest.WithHook(w.store, func(string, string) error {
						changes++
						if changes == n || changes > n && !once {
							return errDied
						}
						return nil
					})
					o := &outside{t: t, records: ledger.New(s, w.now), down: down}
					index := w.newIndex(map[string]string{"a": "b"})
					w.liveOn(s, o, index)
					more = changes >= n
					w.wantPublished(o, index.JobID)
				})
			}
		}
	}
}

// wantPublished is what comes after a crash: the next process publishes what the last one recorded,
// and, once it has brought the job to its end, the rest.
func (w *fixture) wantPublished(o *outside, id job.ID) {
	w.t.Helper()
	ctx := w.t.Context()
	o.records, o.down = ledger.New(w.store, w.now), false
	w.Ledger = w.Publishing(o)
	_, err := w.Index(ctx, id)
	accepted := err == nil
	attempts, err := w.Attempts(ctx, id)
	w.must(err)
	ended, err := w.Over(ctx, id)
	w.must(err)
	w.pass(3 * time.Hour)
	_, err = w.sweepOutbox(o)
	w.must(err)
	heard := o.count()
	for step, recorded := range map[job.Step]bool{
		job.StepSubmitted: accepted, job.StepStarted: len(attempts) > 0, job.StepSucceeded: ended,
	} {
		if accepted && (heard[step] > 0) != recorded {
			w.t.Errorf("%s: recorded %t, published %d times", step, recorded, heard[step])
		}
	}
	w.recoverAll(o)
	heard = o.count()
	if (accepted || heard[job.StepSubmitted] > 0) != (heard[job.StepReaped] > 0) {
		w.t.Errorf("accepted %t; published in the end %v", accepted, heard)
	}
	for step, n := range heard {
		if n > 2 {
			w.t.Errorf("%s was published %d times", step, n)
		}
	}
	if heard[job.StepReaped] > 0 {
		for _, step := range []job.Step{job.StepSubmitted, job.StepStarted, job.StepSucceeded} {
			if heard[step] == 0 {
				w.t.Errorf("%s was not published: %v", step, heard)
			}
		}
	}
	if left := w.left(); len(left) > 0 {
		w.t.Errorf("left: %q", left)
	}
}

// count returns how often each step was heard.
func (o *outside) count() map[job.Step]int {
	times := map[job.Step]int{}
	for _, n := range o.heard {
		times[n.Step]++
	}
	return times
}

// TestCrashOfTheSweep has the reaper die before each change of a sweep, over jobs that came to
// different ends while the sink was down.
func TestCrashOfTheSweep(t *testing.T) {
	for n, more := 1, true; more; n++ {
		w := newMemoryWorld(t)
		o := &outside{t: t, records: ledger.New(w.store, w.now), down: true}
		w.Ledger = w.Publishing(o)
		want := map[job.Step]int{job.StepSubmitted: 3, job.StepStarted: 3, job.StepSucceeded: 2, job.StepReaped: 1}
		for number := range 3 {
			index := w.accept(w.newIndex(nil))
			w.start(index)
			if number > 0 {
				w.end(index, job.Succeeded)
			}
			if number > 1 {
				w.must(w.Remove(t.Context(), index.JobID))
			}
		}
		w.pass(time.Hour)
		d := &dying{n: n}
		s := storetest.WithHook(w.store, d.hook)
		o.down, o.records = false, ledger.New(s, w.now)
		w.Ledger = o.records.Publishing(o)
		_, _ = w.sweepOutbox(o)
		more = d.changes >= n
		o.records = ledger.New(w.store, w.now)
		w.Ledger = o.records.Publishing(o)
		w.pass(2 * time.Minute)
		_, err := w.sweepOutbox(o)
		w.must(err)
		got := o.count()
		for step, times := range got {
			if times == want[step]+1 { // the one that was being sent
				got[step]--
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("crash before change %d (-want +got):\n%s", n, diff)
		}
		if n, err := w.sweepOutbox(o); n != 0 || err != nil {
			t.Fatalf("SweepOutbox once more: %d, %v", n, err)
		}
	}
}

// TestSweepBesideRemoval sweeps the outbox again and again, with a sink that takes nothing, while
// jobs are ended and removed, and demands that every step is published afterwards.
func TestSweepBesideRemoval(t *testing.T) {
	w := newMemoryWorld(t)
	o := &outside{t: t, records: ledger.New(w.store, w.now), down: true}
	w.Ledger = w.Publishing(o)
	const jobs = 300
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					// Nothing is old enough to be sent: what is swept is what nobody needs.
					if _, err := w.SweepOutbox(t.Context(), time.Hour, 8, func(job.Notice) error { return nil }); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range jobs {
		index := w.accept(w.newIndex(nil))
		w.start(index)
		w.end(index, job.Succeeded)
		w.must(w.Remove(t.Context(), index.JobID))
	}
	close(stop)
	all.Wait()
	w.pass(2 * time.Hour)
	o.down = false
	_, err := w.sweepOutbox(o)
	w.must(err)
	want := map[job.Step]int{
		job.StepSubmitted: jobs, job.StepStarted: jobs, job.StepSucceeded: jobs, job.StepReaped: jobs,
	}
	if diff := cmp.Diff(want, o.count()); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

// TestSweepBesideAcceptance sweeps the outbox while a job is between its entry and its index.
func TestSweepBesideAcceptance(t *testing.T) {
	w, o := publishing(t)
	index := w.newIndex(nil)
	w.must(w.BeginUpload(t.Context(), index.JobID))
	w.pass(time.Hour) // a long upload
	swept := 0
	slow := ledger.New(storetest.WithHook(w.store, func(op, _ string) error {
		if op == "create" {
			swept++
			n, err := w.sweepOutbox(o)
			if n != 0 || err != nil {
				t.Errorf("SweepOutbox: %d, %v", n, err)
			}
		}
		return nil
	}), w.now).Publishing(o)
	w.must(slow.Accept(t.Context(), index))
	if n, err := w.sweepOutbox(o); n != 1 || err != nil || swept != 1 {
		t.Errorf("SweepOutbox: %d, %v, after %d sweeps; want the job's", n, err, swept)
	}
	o.want("accepted", "submitted Pending")
}

// TestTheOtherEndWins has two writers end a job differently. The one that comes second has made its
// entry in the outbox before it finds the other's record; what is published is the other's end.
func TestTheOtherEndWins(t *testing.T) {
	for name, dies := range map[string]bool{"it goes on": false, "it dies": true} {
		t.Run(name, func(t *testing.T) {
			w, o := publishing(t)
			index := w.accept(w.newIndex(nil))
			o.Publish(t.Context(), ledger.SubmitNotice(index))
			status := string(index.JobID) + "/" + job.StatusFile
			slow := ledger.New(storetest.WithHook(w.store, func(op, key string) error {
				if op != "create" || key != status {
					return nil
				}
				w.end(index, job.Cancelled)
				if dies {
					return errDied
				}
				return nil
			}), w.now).Publishing(o)
			got, first, err := slow.Finish(t.Context(), index, job.Terminal{Phase: job.Failed, FinishedAt: w.now()})
			switch {
			case dies && !errors.Is(err, errDied):
				t.Errorf("Finish: %v", err)
			case !dies && (err != nil || first || got.Phase != job.Cancelled):
				t.Errorf("Finish = %+v, %t, %v", got, first, err)
			}
			o.want("ended by the other", "submitted Pending", "cancelled Cancelled")
			w.pass(time.Minute)
			if n, err := w.sweepOutbox(o); n != 0 || err != nil {
				t.Errorf("SweepOutbox: %d, %v, heard %q", n, err, o.steps())
			}
		})
	}
}

// TestNotRecordedIsNotPublished has a process die between the entry of a step and its record.
func TestNotRecordedIsNotPublished(t *testing.T) {
	w, o := publishing(t)
	index := w.accept(w.newIndex(nil))
	o.Publish(t.Context(), ledger.SubmitNotice(index))
	o.want("accepted", "submitted Pending")
	dying := ledger.New(storetest.WithHook(w.store, func(op, _ string) error {
		if op == "create" {
			return errDied
		}
		return nil
	}), w.now).Publishing(o)
	if _, err := dying.StartAttempt(t.Context(), index.JobID, 1, "owner", nil); !errors.Is(err, errDied) {
		t.Errorf("StartAttempt: %v", err)
	}
	if _, _, err := dying.Finish(t.Context(), index, job.Terminal{Phase: job.Failed}); !errors.Is(err, errDied) {
		t.Errorf("Finish: %v", err)
	}
	refused := w.newIndex(nil)
	w.must(w.BeginUpload(t.Context(), refused.JobID))
	if err := dying.Accept(t.Context(), refused); !errors.Is(err, errDied) {
		t.Errorf("Accept: %v", err)
	}
	sweep := func(what string) {
		t.Helper()
		w.pass(time.Hour)
		if n, err := w.sweepOutbox(o); n != 0 || err != nil {
			t.Errorf("SweepOutbox: %d, %v", n, err)
		}
		o.want(what)
	}
	sweep("not recorded")
	// The job ends before it starts, and the other is accepted in the end.
	w.end(index, job.Cancelled)
	w.must(w.Accept(t.Context(), refused))
	o.want("over", "cancelled Cancelled")
	w.pass(time.Hour)
	if n, err := w.sweepOutbox(o); n != 1 || err != nil {
		t.Errorf("SweepOutbox: %d, %v", n, err)
	}
	o.want("accepted late", "submitted Pending")
	sweep("nothing is left")
	if left, err := w.store.List(t.Context(), ".orchestrator/outbox/", "", 10); err != nil || len(left) > 0 {
		t.Errorf("left in the outbox: %q, %v", left, err)
	}
}

// liveOn takes a job through its life on a store, as far as that lets it.
func (w *fixture) liveOn(s *store.Store, o *outside, index *job.Index) {
	ctx := w.t.Context()
	l := ledger.New(s, w.now).Publishing(o)
	if l.BeginUpload(ctx, index.JobID) != nil || l.Accept(ctx, index) != nil {
		return
	}
	o.Publish(ctx, ledger.SubmitNotice(index))
	a, err := l.StartAttempt(ctx, index.JobID, 1, "me", nil)
	if err != nil {
		return
	}
	t := job.Terminal{Phase: job.Succeeded, Attempts: []job.Attempt{a}, StartedAt: &a.StartedAt, FinishedAt: w.now()}
	if _, _, err := l.Finish(ctx, index, t); err != nil {
		return
	}
	_ = l.Remove(ctx, index.JobID)
}

// recoverAll does what launcher and reaper do until nothing is left to do.
func (w *fixture) recoverAll(o *outside) {
	w.t.Helper()
	ctx := w.t.Context()
	_, err := w.SweepUploads(ctx, time.Hour)
	w.must(err)
	active, err := w.Active(ctx, "", 100)
	w.must(err)
	for _, id := range active {
		over, err := w.Settle(ctx, id, time.Hour)
		w.must(err)
		if over {
			continue
		}
		index, err := w.Index(ctx, id)
		w.must(err)
		if attempts, err := w.Attempts(ctx, id); err != nil || len(attempts) == 0 {
			w.start(index)
		}
		w.end(index, job.Succeeded)
	}
	w.pass(time.Minute)
	_, err = w.sweepOutbox(o)
	w.must(err)
	w.pass(24 * time.Hour)
	_, err = w.RemoveExpired(ctx)
	w.must(err)
	for range 2 { // the second time what was noted of tries has become old
		w.pass(3 * time.Hour)
		_, err = w.sweepOutbox(o)
		w.must(err)
	}
}
