package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// outside is who hears of jobs: it gets notices, when the line holds, and has that recorded.
type outside struct {
	t       testing.TB
	records *ledger.Ledger
	down    bool
	heard   []job.Notice
}

var _ ledger.Publisher = (*outside)(nil)

func (o *outside) Publish(ctx context.Context, n job.Notice) { _ = o.tell(ctx, n) }

func (o *outside) tell(ctx context.Context, n job.Notice) error {
	if o.down {
		return errors.New("the sink is down")
	}
	o.heard = append(o.heard, n)
	return o.records.Published(ctx, n.Status.JobID, n.Step)
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

func publishing(t *testing.T) (*fixture, *outside) {
	w := newFixture(t)
	o := &outside{t: t, records: ledger.New(w.store, w.now)}
	w.Ledger = w.Publishing(o)
	return w, o
}

func (w *fixture) end(index *job.Index, phase job.Phase) {
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

// enqueue makes an entry as if the step had not been published.
func (w *fixture) enqueue(id job.ID, stage string) {
	w.t.Helper()
	w.must(w.store.Mark(w.t.Context(), fmt.Sprintf(".orchestrator/outbox/%s/%s-%s", id[:7], id, stage)))
}

// sweepOutbox is what a reaper does.
func (w *fixture) sweepOutbox(o *outside) (int, error) {
	return w.SweepOutbox(w.t.Context(), time.Minute, 1, func(n job.Notice) error { return o.tell(w.t.Context(), n) })
}

func TestStepsAreAnnounced(t *testing.T) {
	w, o := publishing(t)
	index := w.newIndex(nil)
	index.Trace, index.Hops = job.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, 3
	w.accept(index)
	o.want("accepted: whoever submits tells it itself")
	o.Publish(t.Context(), ledger.SubmitNotice(index))
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
	if n, err := w.sweepOutbox(o); n != 0 || err != nil {
		t.Errorf("SweepOutbox: %d, %v; want nothing to do", n, err)
	}
	if left := w.tree(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestNobodyIsToldWithoutAnnouncer(t *testing.T) {
	w := newFixture(t)
	index := w.accept(w.newIndex(nil))
	w.start(index)
	w.end(index, job.Succeeded)
	w.pass(2 * time.Hour)
	o := &outside{t: t, records: w.Ledger}
	if n, err := w.sweepOutbox(o); n != 0 || err != nil {
		t.Errorf("SweepOutbox: %d, %v", n, err)
	}
	if _, err := w.RemoveExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.want("all its life")
	if left := w.tree(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestActive has the steps of a job that is not over published again.
func TestActive(t *testing.T) {
	w, o := publishing(t)
	index := w.accept(w.newIndex(nil))
	want := func(steps ...string) {
		t.Helper()
		w.pass(time.Minute)
		if n, err := w.sweepOutbox(o); n != len(steps) || err != nil {
			t.Errorf("SweepOutbox: %d, %v, want %d", n, err, len(steps))
		}
		o.want("published again", steps...)
	}
	want("submitted Pending")
	want()
	o.down = true
	w.start(index)
	o.down = false
	want("started Running")
	want()
	unknown := w.newIndex(nil)
	w.enqueue(unknown.JobID, "1-submitted")
	want()
	w.Ledger = ledger.New(w.store, w.now)
	w.start(w.accept(w.newIndex(nil)))
	want()
}

// TestNoticesNeverChange has each step published when it is recorded, while the job runs, when it
// is over and when it has been removed: a consumer that gets an event twice knows it by what it
// says.
func TestNoticesNeverChange(t *testing.T) {
	w, o := publishing(t)
	index := w.newIndex(nil)
	w.accept(index)
	o.Publish(t.Context(), ledger.SubmitNotice(index))
	a, err := w.StartAttempt(t.Context(), index.JobID, 1, "owner", &job.Limits{CPU: "x"})
	w.must(err)
	w.pass(time.Second)
	end, code := w.now(), 3
	a.FinishedAt, a.ExitCode, a.Reason, a.Message = &end, &code, job.ReasonError, "failed"
	w.must(w.EndAttempt(t.Context(), index.JobID, a))
	again := func(stages ...string) {
		t.Helper()
		for _, stage := range stages {
			w.enqueue(index.JobID, stage)
		}
		w.pass(time.Minute)
		if n, err := w.sweepOutbox(o); n != len(stages) || err != nil {
			t.Errorf("SweepOutbox: %d, %v; want %d", n, err, len(stages))
		}
	}
	again("1-submitted", "2-started")
	w.end(index, job.Failed)
	again("1-submitted", "2-started", "3-ended")
	for _, stage := range []string{"1-submitted", "2-started", "3-ended"} {
		w.enqueue(index.JobID, stage)
	}
	w.must(w.Remove(t.Context(), index.JobID))
	w.pass(time.Minute)
	if n, err := w.sweepOutbox(o); n != 4 || err != nil {
		t.Errorf("SweepOutbox: %d, %v; want 4", n, err)
	}
	first, times := map[job.Step]string{}, map[job.Step]int{}
	for _, n := range o.heard {
		data, err := json.Marshal(n)
		w.must(err)
		if times[n.Step]++; times[n.Step] == 1 {
			first[n.Step] = string(data)
		} else if diff := cmp.Diff(first[n.Step], string(data)); diff != "" {
			t.Errorf("%s, published again (-first +again):\n%s", n.Step, diff)
		}
	}
	want := map[job.Step]int{job.StepSubmitted: 4, job.StepStarted: 4, job.StepFailed: 3, job.StepReaped: 1}
	if diff := cmp.Diff(want, times); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

func TestSinkIsDownForAWhile(t *testing.T) {
	for name, remove := range map[string]bool{"until it is over": false, "until it is removed": true} {
		t.Run(name, func(t *testing.T) {
			w, o := publishing(t)
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
				if n, err := w.sweepOutbox(o); n != 0 || err == nil {
					t.Fatalf("SweepOutbox: %d, %v; want an error", n, err)
				}
				w.pass(2 * time.Minute)
			}
			o.down = false
			if n, err := w.sweepOutbox(o); n != len(want) || err != nil {
				t.Errorf("SweepOutbox: %d, %v; want %d", n, err, len(want))
			}
			o.want("back again", want...)
			if n, err := w.sweepOutbox(o); n != 0 || err != nil || len(o.heard) > 0 {
				t.Errorf("SweepOutbox again: %d, %v, heard %q", n, err, o.steps())
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
	w, o := publishing(t)
	o.down = true
	for range 3 {
		w.end(w.accept(w.newIndex(nil)), job.Succeeded)
	}
	w.pass(time.Hour)
	begun := 0
	n, err := w.SweepOutbox(t.Context(), time.Minute, 1, func(job.Notice) error { begun++; return nil })
	if n != 0 || err == nil || begun != 1 {
		t.Errorf("SweepOutbox: %d, %v after %d notices; want an error after one", n, err, begun)
	}
}

// TestSeveralAtOnce has a sink that takes a while for each event. Each answer waits until as many
// are sent as may be at a time, so that this ends only if they are; and what is told of one job is
// told in order.
func TestSeveralAtOnce(t *testing.T) {
	for name, remove := range map[string]bool{"over": false, "removed": true} {
		t.Run(name, func(t *testing.T) {
			w, o := publishing(t)
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
			n, err := w.SweepOutbox(t.Context(), time.Minute, atOnce, func(n job.Notice) error {
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
				return o.records.Published(t.Context(), n.Status.JobID, n.Step)
			})
			want := []job.Step{job.StepSubmitted, job.StepStarted, job.StepSucceeded}
			if remove {
				want = append(want, job.StepReaped)
			}
			if n != jobs*len(want) || err != nil || most != atOnce {
				t.Errorf("SweepOutbox: %d, %v, at most %d at a time; want %d, %d at a time", n, err, most, jobs*len(want), atOnce)
			}
			for id, got := range steps {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("told of %s (-want +got):\n%s", id, diff)
				}
			}
			again := func(job.Notice) error { return errors.New("again") }
			if n, err := w.SweepOutbox(t.Context(), time.Minute, atOnce, again); n != 0 || err != nil {
				t.Errorf("SweepOutbox again: %d, %v", n, err)
			}
		})
	}
}

// TestSeveralAtOnceStop has a sink that takes nothing: what has begun is ended, and nothing more is
// begun.
func TestSeveralAtOnceStop(t *testing.T) {
	w, o := publishing(t)
	o.down = true
	const jobs, atOnce = 40, 4
	for range jobs {
		w.end(w.accept(w.newIndex(nil)), job.Succeeded)
	}
	w.pass(time.Hour)
	var tried atomic.Int64
	refuse := func(job.Notice) error { tried.Add(1); return errors.New("no") }
	n, err := w.SweepOutbox(t.Context(), time.Minute, atOnce, refuse)
	if n != 0 || err == nil || tried.Load() < 1 || tried.Load() > 2*atOnce {
		t.Errorf("SweepOutbox: %d, %v after %d notices; want an error after about %d", n, err, tried.Load(), atOnce)
	}
}

// TestRefused has one notice that is never taken, as when one consumer behind a Broker is broken:
// it is told ever less often, and given up in the end, and those of other jobs are told as if it
// were not there.
func TestRefused(t *testing.T) {
	for name, remove := range map[string]bool{"over": false, "removed": true} {
		t.Run(name, func(t *testing.T) {
			w, o := publishing(t)
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
				_, _ = w.SweepOutbox(t.Context(), time.Minute, 1, func(n job.Notice) error {
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
			if n, err := w.sweepOutbox(o); n != 0 || err != nil || len(o.heard) > 0 {
				t.Errorf("in the end SweepOutbox: %d, %v, heard %q", n, err, o.steps())
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
	w, o := publishing(t)
	o.down = true
	w.end(w.accept(w.newIndex(nil)), job.Succeeded)
	o.down = false
	if n, err := w.sweepOutbox(o); n != 0 || err != nil || len(o.heard) > 0 {
		t.Errorf("SweepOutbox: %d, %v, heard %q; want nothing yet", n, err, o.steps())
	}
}
