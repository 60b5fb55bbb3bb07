package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
)

// outside is who hears of jobs: it gets notices, when the line holds, and has that recorded.
type outside struct {
	t       testing.TB
	records *ledger.Ledger
	down    bool
	heard   []job.Notice
}

var _ ledger.Announcer = (*outside)(nil)

func (o *outside) Announce(ctx context.Context, n job.Notice) { _ = o.tell(ctx, n) }

func (o *outside) tell(ctx context.Context, n job.Notice) error {
	if o.down {
		return errors.New("the sink is down")
	}
	o.heard = append(o.heard, n)
	return o.records.Announced(ctx, n.Status.JobID, n.Step)
}

// steps returns what was heard, and forgets it.
func (o *outside) steps() []string {
	steps := []string{}
	for _, n := range o.heard {
		steps = append(steps, string(n.Step)+" "+string(n.Status.Phase))
	}
	o.heard = nil
	return steps
}

func (o *outside) want(what string, steps ...string) {
	o.t.Helper()
	if diff := cmp.Diff(append([]string{}, steps...), o.steps()); diff != "" {
		o.t.Errorf("%s: heard (-want +got):\n%s", what, diff)
	}
}

func announcing(t *testing.T) (*world, *outside) {
	w := newWorld(t)
	o := &outside{t: t, records: ledger.New(w.store, w.now)}
	w.Ledger = w.Announcing(o)
	return w, o
}

func (w *world) end(index *job.Index, phase job.Phase) {
	w.t.Helper()
	attempts, err := w.Attempts(w.t.Context(), index.JobID)
	w.must(err)
	t := job.Terminal{Phase: phase, Reason: "Test", Attempts: attempts, FinishedAt: w.now()}
	if len(attempts) > 0 {
		t.StartedAt = &attempts[0].StartedAt
	}
	_, _, err = w.Finish(w.t.Context(), index, t)
	w.must(err)
}

// sweepOwed is what a reaper does.
func (w *world) sweepOwed(o *outside) (int, error) {
	return w.SweepOwed(w.t.Context(), time.Minute, 1, func(n job.Notice) error { return o.tell(w.t.Context(), n) })
}

func TestStepsAreAnnounced(t *testing.T) {
	w, o := announcing(t)
	index := w.newIndex(nil)
	index.Trace, index.Hops = job.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, 3
	w.accept(index)
	o.want("accepted: whoever submits tells it itself")
	o.Announce(t.Context(), ledger.SubmitNotice(index))
	o.want("submitted", "submitted Pending")
	w.start(index)
	if n := o.heard[0]; n.Trace != index.Trace || n.Hops != 3 || len(n.Status.Attempts) != 1 ||
		n.At != n.Status.Attempts[0].StartedAt {
		t.Errorf("notice: got %+v", n)
	}
	o.want("started", "started Running")
	if _, err := w.StartAttempt(t.Context(), index.JobID, 2, "owner", nil); err != nil {
		t.Fatal(err)
	}
	o.want("another attempt is no step")
	w.end(index, job.Failed)
	o.want("over", "failed Failed")
	w.end(index, job.Succeeded)
	o.want("over again")
	w.pass(time.Hour + time.Second)
	if n, err := w.RemoveExpired(t.Context()); n != 1 || err != nil {
		t.Fatalf("RemoveExpired: %d, %v", n, err)
	}
	o.want("removed", "reaped Failed")
	w.pass(time.Hour)
	if n, err := w.sweepOwed(o); n != 0 || err != nil {
		t.Errorf("SweepOwed: %d, %v; want nothing to do", n, err)
	}
	if left := w.tree(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestNobodyIsToldWithoutAnnouncer(t *testing.T) {
	w := newWorld(t)
	index := w.accept(w.newIndex(nil))
	w.start(index)
	w.end(index, job.Succeeded)
	w.pass(2 * time.Hour)
	o := &outside{t: t, records: w.Ledger}
	if n, err := w.sweepOwed(o); n != 0 || err != nil {
		t.Errorf("SweepOwed: %d, %v", n, err)
	}
	if _, err := w.RemoveExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.want("all its life")
	if left := w.tree(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestUnannounced(t *testing.T) {
	w, o := announcing(t)
	index := w.accept(w.newIndex(nil))
	want := func(steps ...string) {
		t.Helper()
		list, err := w.Unannounced(t.Context(), index.JobID, 0)
		w.must(err)
		(&outside{t: t, heard: list}).want("unannounced", steps...)
	}
	want("submitted Pending")
	o.Announce(t.Context(), ledger.SubmitNotice(index))
	want()
	o.down = true
	w.start(index)
	want("started Running")
	if list, err := w.Unannounced(t.Context(), w.newIndex(nil).JobID, 0); err != nil || len(list) > 0 {
		t.Errorf("unknown job: %v, %v", list, err)
	}
	w.Ledger = ledger.New(w.store, w.now)
	want()
}

func TestSinkIsDownForAWhile(t *testing.T) {
	for name, remove := range map[string]bool{"until it is over": false, "until it is removed": true} {
		t.Run(name, func(t *testing.T) {
			w, o := announcing(t)
			o.down = true
			index := w.accept(w.newIndex(nil))
			w.start(index)
			w.end(index, job.Cancelled)
			want := []string{"submitted Pending", "started Running", "cancelled Cancelled"}
			if remove {
				if err := w.Remove(t.Context(), index.JobID); err != nil {
					t.Fatal(err)
				}
				want = append(want, "reaped Cancelled")
			}
			w.pass(2 * time.Minute)
			for range 2 { // it stays down
				if n, err := w.sweepOwed(o); n != 0 || err == nil {
					t.Fatalf("SweepOwed: %d, %v; want an error", n, err)
				}
				w.pass(2 * time.Minute)
			}
			o.down = false
			if n, err := w.sweepOwed(o); n != len(want) || err != nil {
				t.Errorf("SweepOwed: %d, %v; want %d", n, err, len(want))
			}
			o.want("back again", want...)
			if n, err := w.sweepOwed(o); n != 0 || err != nil || len(o.heard) > 0 {
				t.Errorf("SweepOwed again: %d, %v, heard %q", n, err, o.steps())
			}
			if !remove {
				w.pass(2 * time.Hour)
				if _, err := w.RemoveExpired(t.Context()); err != nil {
					t.Fatal(err)
				}
				o.want("removed", "reaped Cancelled")
			}
			if left := w.tree(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestSlowSink has a sink that answers later: what it has not taken counts as not announced, and
// nothing more is piled on it.
func TestSlowSink(t *testing.T) {
	w, o := announcing(t)
	o.down = true
	for range 3 {
		w.end(w.accept(w.newIndex(nil)), job.Succeeded)
	}
	w.pass(time.Hour)
	begun := 0
	n, err := w.SweepOwed(t.Context(), time.Minute, 1, func(job.Notice) error { begun++; return nil })
	if n != 0 || err == nil || begun != 1 {
		t.Errorf("SweepOwed: %d, %v after %d notices; want an error after one", n, err, begun)
	}
}

// TestSeveralAtOnce has a sink that takes a while for each event. Each answer waits until as many
// are sent as may be at a time, so that this ends only if they are; and what is told of one job is
// told in order.
func TestSeveralAtOnce(t *testing.T) {
	for name, remove := range map[string]bool{"over": false, "removed": true} {
		t.Run(name, func(t *testing.T) {
			w, o := announcing(t)
			o.down = true
			const jobs, atOnce = 40, 8
			for range jobs {
				index := w.accept(w.newIndex(nil))
				w.start(index)
				w.end(index, job.Succeeded)
				if remove {
					w.must(w.Remove(t.Context(), index.JobID))
				}
			}
			w.pass(time.Hour)
			var mu sync.Mutex
			sending, most := 0, 0
			full := make(chan struct{})
			steps := map[job.ID][]job.Step{}
			n, err := w.SweepOwed(t.Context(), time.Minute, atOnce, func(n job.Notice) error {
				mu.Lock()
				sending++
				if most = max(most, sending); sending == atOnce && most == atOnce {
					select {
					case <-full:
					default:
						close(full)
					}
				}
				steps[n.Status.JobID] = append(steps[n.Status.JobID], n.Step)
				mu.Unlock()
				<-full
				mu.Lock()
				defer mu.Unlock()
				sending--
				return o.records.Announced(t.Context(), n.Status.JobID, n.Step)
			})
			want := []job.Step{job.StepSubmitted, job.StepStarted, job.StepSucceeded}
			if remove {
				want = append(want, job.StepReaped)
			}
			if n != jobs*len(want) || err != nil || most != atOnce {
				t.Errorf("SweepOwed: %d, %v, at most %d at a time; want %d, %d at a time", n, err, most, jobs*len(want), atOnce)
			}
			for id, got := range steps {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("told of %s (-want +got):\n%s", id, diff)
				}
			}
			again := func(job.Notice) error { return errors.New("again") }
			if n, err := w.SweepOwed(t.Context(), time.Minute, atOnce, again); n != 0 || err != nil {
				t.Errorf("SweepOwed again: %d, %v", n, err)
			}
		})
	}
}

// TestSeveralAtOnceStop has a sink that takes nothing: what has begun is ended, and nothing more is
// begun.
func TestSeveralAtOnceStop(t *testing.T) {
	w, o := announcing(t)
	o.down = true
	const jobs, atOnce = 40, 4
	for range jobs {
		w.end(w.accept(w.newIndex(nil)), job.Succeeded)
	}
	w.pass(time.Hour)
	var tried atomic.Int64
	refuse := func(job.Notice) error { tried.Add(1); return errors.New("no") }
	n, err := w.SweepOwed(t.Context(), time.Minute, atOnce, refuse)
	if n != 0 || err == nil || tried.Load() < 1 || tried.Load() > 2*atOnce {
		t.Errorf("SweepOwed: %d, %v after %d notices; want an error after about %d", n, err, tried.Load(), atOnce)
	}
}

// TestRefused has one notice that is never taken, as when one consumer behind a Broker is broken:
// it is told ever less often, and given up in the end, and those of other jobs are told as if it
// were not there.
func TestRefused(t *testing.T) {
	for name, remove := range map[string]bool{"over": false, "removed": true} {
		t.Run(name, func(t *testing.T) {
			w, o := announcing(t)
			o.down = true
			refused := w.accept(w.newIndex(nil))
			w.end(refused, job.Succeeded)
			other := w.accept(w.newIndex(nil))
			w.end(other, job.Failed)
			if remove {
				w.must(w.Remove(t.Context(), refused.JobID))
				w.must(w.Remove(t.Context(), other.JobID))
			}
			o.down = false
			begin := w.now()
			var tried []time.Duration
			for range 8 * 24 * 60 {
				w.pass(time.Minute)
				_, _ = w.SweepOwed(t.Context(), time.Minute, 1, func(n job.Notice) error {
					if n.Status.JobID == refused.JobID && n.Step != job.StepSubmitted {
						return errors.New("no")
					}
					if n.Status.JobID == refused.JobID {
						tried = append(tried, w.now().Sub(begin).Round(time.Minute))
						return errors.New("no")
					}
					return o.tell(t.Context(), n)
				})
			}
			if hours := 24 * 7; len(tried) < hours || len(tried) > hours+10 {
				t.Errorf("tried %d times: %v", len(tried), tried[:min(10, len(tried))])
			}
			want := []time.Duration{1, 2, 4, 8, 16, 32, 64, 124}
			for i := range want {
				want[i] *= time.Minute
			}
			if diff := cmp.Diff(want, tried[:len(want)]); diff != "" {
				t.Errorf("tried after (-want +got):\n%s", diff)
			}
			o.want("meanwhile", steps(remove)...)
			if n, err := w.sweepOwed(o); n != 0 || err != nil || len(o.heard) > 0 {
				t.Errorf("in the end SweepOwed: %d, %v, heard %q", n, err, o.steps())
			}
			if remove {
				if left := w.tree(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			}
		})
	}
}

func steps(removed bool) []string {
	steps := []string{"submitted Pending", "failed Failed"}
	if removed {
		steps = append(steps, "reaped Failed")
	}
	return steps
}

func TestFreshEndsAreLeftToTheirTellers(t *testing.T) {
	w, o := announcing(t)
	o.down = true
	w.end(w.accept(w.newIndex(nil)), job.Succeeded)
	o.down = false
	if n, err := w.sweepOwed(o); n != 0 || err != nil || len(o.heard) > 0 {
		t.Errorf("SweepOwed: %d, %v, heard %q; want nothing yet", n, err, o.steps())
	}
}

// TestAnnouncementsSurviveCrashes has the process die before each change of a job's life, and
// demands that what was recorded is announced all the same, and nothing else.
func TestAnnouncementsSurviveCrashes(t *testing.T) {
	for n, more := 1, true; more; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newMemoryWorld(t)
			d := &dying{n: n}
			s := w.store.WithHook(d.hook)
			o := &outside{t: t, records: ledger.New(s, w.now)}
			index := w.newIndex(map[string]string{"a": "b"})
			w.liveOn(s, o, index)
			more = d.changes >= n

			o.records = ledger.New(w.store, w.now) // the next process
			w.Ledger = w.Announcing(o)
			_, err := w.Index(t.Context(), index.JobID)
			accepted := err == nil
			attempts, err := w.Attempts(t.Context(), index.JobID)
			w.must(err)
			started := len(attempts) > 0
			ended, err := w.Over(t.Context(), index.JobID)
			w.must(err)
			w.pass(3 * time.Hour)
			w.recoverAll(o)
			heard := map[job.Step]int{}
			for _, n := range o.heard {
				heard[n.Step]++
			}
			if accepted && heard[job.StepSubmitted] == 0 || started && heard[job.StepStarted] == 0 || ended &&
				heard[job.StepSucceeded] == 0 ||
				(accepted || heard[job.StepSubmitted] > 0) && heard[job.StepReaped] == 0 {
				t.Errorf("accepted %v, started %v, ended %v; heard %v", accepted, started, ended, heard)
			}
			if left := w.left(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// liveOn takes a job through its life on a store, as far as that lets it.
func (w *world) liveOn(s *store.Store, o *outside, index *job.Index) {
	ctx := w.t.Context()
	l := ledger.New(s, w.now).Announcing(o)
	if l.BeginUpload(ctx, index.JobID) != nil || l.Accept(ctx, index) != nil {
		return
	}
	o.Announce(ctx, ledger.SubmitNotice(index))
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
func (w *world) recoverAll(o *outside) {
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
		missing, err := w.Unannounced(ctx, id, 0)
		w.must(err)
		for _, n := range missing {
			o.Announce(ctx, n)
		}
		index, err := w.Index(ctx, id)
		w.must(err)
		if attempts, err := w.Attempts(ctx, id); err != nil || len(attempts) == 0 {
			w.start(index)
		}
		w.end(index, job.Succeeded)
	}
	w.pass(time.Minute)
	_, err = w.sweepOwed(o)
	w.must(err)
	w.pass(24 * time.Hour)
	_, err = w.RemoveExpired(ctx)
	w.must(err)
	for range 2 { // the second time what was noted of tries has become old
		w.pass(3 * time.Hour)
		_, err = w.sweepOwed(o)
		w.must(err)
	}
}
