package ledger_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store/storetest"
)

// former is a job as a version before the outbox left it, and what has to be published of it then:
// in the first round, and in rounds after it was ended and removed, if it was not.
type former struct {
	announced  []string // steps at the beginning
	started    bool
	over       bool
	owed       bool
	removed    []job.Step // what was to be announced of a removed job
	cutOff     []job.Step // the same while the removal was not complete
	first, end []string
}

var formers = map[string]former{
	"waits, told": {announced: []string{"submitted"},
		end: []string{"failed", "reaped"}},
	"waits": {
		first: []string{"submitted"}, end: []string{"failed", "reaped"}},
	"runs, told": {announced: []string{"submitted", "started"}, started: true,
		end: []string{"failed", "reaped"}},
	"runs": {announced: []string{"submitted"}, started: true,
		first: []string{"started"}, end: []string{"failed", "reaped"}},
	"runs, nothing told": {started: true,
		first: []string{"submitted", "started"}, end: []string{"failed", "reaped"}},
	"its end was noted": {announced: []string{"submitted", "started"}, started: true, owed: true,
		end: []string{"failed", "reaped"}},
	"over, told": {announced: []string{"submitted", "started"}, started: true, over: true,
		end: []string{"reaped"}},
	"over": {announced: []string{"submitted", "started"}, started: true, over: true, owed: true,
		first: []string{"succeeded"}, end: []string{"reaped"}},
	"over, nothing told": {started: true, over: true, owed: true,
		first: []string{"submitted", "started", "succeeded"}, end: []string{"reaped"}},
	"over, only the end told": {started: true, over: true,
		end: []string{"submitted", "started", "reaped"}},
	"removed": {removed: []job.Step{job.StepSubmitted, job.StepStarted, job.StepSucceeded, job.StepReaped},
		first: []string{"submitted", "started", "succeeded", "reaped"}},
	"removed, the rest told": {removed: []job.Step{job.StepReaped}, first: []string{"reaped"}},
	"being removed": {started: true, over: true, cutOff: []job.Step{job.StepStarted, job.StepSucceeded},
		end: []string{"started", "succeeded", "reaped"}},
}

// make writes the job as the former version did, blob by blob.
func (f *former) make(w *fixture) *job.Index {
	w.t.Helper()
	ctx := w.t.Context()
	index := w.accept(w.newIndex(nil)) // without a sink, which the former version did the same way
	record := func(key string, value any) {
		data, err := json.Marshal(value)
		w.must(err)
		w.must(w.store.Create(ctx, ".orchestrator/"+key, data))
	}
	notice := func(step job.Step) job.Notice {
		return job.Notice{Step: step, At: w.now(), Status: &job.Status{Summary: job.Summary{JobID: index.JobID}}}
	}
	if f.started {
		w.start(index)
	}
	for _, step := range f.announced {
		w.must(w.store.Mark(ctx, fmt.Sprintf(".orchestrator/run/%s/announced-%s", index.JobID, step)))
	}
	if f.owed {
		w.must(w.store.Mark(ctx, ".orchestrator/owed/"+string(index.JobID)))
		record(fmt.Sprintf("tried/%s-succeeded", index.JobID), map[string]any{"count": 3, "first": w.now(), "last": w.now()})
	}
	if f.over {
		w.end(index, job.Succeeded)
	}
	if f.cutOff != nil {
		t, err := w.Terminal(ctx, index.JobID)
		w.must(err)
		missing := []job.Notice{}
		for _, step := range f.cutOff {
			missing = append(missing, notice(step))
		}
		record("removing/"+string(index.JobID), map[string]any{"index": index, "terminal": t, "missing": missing})
		w.must(w.store.Remove(ctx, string(index.JobID)+"/index.json"))
	}
	if f.removed != nil {
		w.end(index, job.Succeeded)
		w.must(w.Remove(ctx, index.JobID))
		for _, step := range f.removed {
			order := map[job.Step]int{job.StepSubmitted: 1, job.StepStarted: 2, job.StepSucceeded: 3, job.StepReaped: 4}[step]
			record(fmt.Sprintf("farewell/%s-%d-%s", index.JobID, order, step), notice(step))
			record(fmt.Sprintf("tried/%s-%s", index.JobID, step), map[string]any{"count": 9, "first": w.now(), "last": w.now()})
		}
	}
	return index
}

// round is what a reaper does, as far as it is about events.
func (w *fixture) round(o *outside) error {
	ctx := w.t.Context()
	_, err := w.RemoveExpired(ctx)
	if err != nil {
		return err
	}
	active, err := w.Active(ctx, "", 100)
	if err != nil {
		return err
	}
	for _, id := range active {
		if _, err := w.Settle(ctx, id, time.Hour); err != nil {
			return err
		}
	}
	_, err = w.sweepOutbox(o)
	return err
}

// TestUpgrade opens a bucket of a version before the outbox.
func TestUpgrade(t *testing.T) {
	for name, f := range formers {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t)
			index := f.make(w)
			o := &outside{t: t, records: ledger.New(w.store, w.now)}
			w.Ledger = w.Publishing(o)
			heard := func(when string, want []string) {
				t.Helper()
				steps := []string{}
				for _, n := range o.heard {
					steps = append(steps, string(n.Step))
				}
				o.heard = nil
				if diff := cmp.Diff(append([]string{}, want...), steps); diff != "" {
					t.Errorf("%s (-want +got):\n%s", when, diff)
				}
			}
			w.pass(time.Minute)
			if f.cutOff == nil {
				w.must(w.round(o))
				heard("first", f.first)
				w.must(w.round(o))
				heard("again", nil)
				if f.removed == nil && !f.over {
					w.end(index, job.Failed)
				}
			}
			for range 2 { // the second time all that it published last is old enough
				w.pass(24 * time.Hour)
				w.must(w.round(o))
			}
			heard("in the end", f.end)
			if left := w.tree(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestCrashOfTheUpgrade has the first rounds die before each of their changes, or that change alone
// fail.
func TestCrashOfTheUpgrade(t *testing.T) {
	for name, f := range formers {
		for _, once := range []bool{false, true} {
			for n, more := 1, true; more; n++ {
				w := newMemoryWorld(t)
				index := f.make(w)
				changes := 0
				s := storetest.WithHook(w.store, func(string, string) error {
					changes++
					if changes == n || changes > n && !once {
						return errDied
					}
					return nil
				})
				o := &outside{t: t, records: ledger.New(s, w.now)}
				w.Ledger = o.records.Publishing(o)
				w.pass(time.Minute)
				_ = w.round(o)
				more = changes >= n
				o.records = ledger.New(w.store, w.now)
				w.Ledger = o.records.Publishing(o)
				w.pass(3 * time.Minute)
				w.must(w.round(o))
				if _, err := w.Index(t.Context(), index.JobID); err == nil && !f.over {
					w.end(index, job.Failed)
				}
				for range 3 {
					w.pass(24 * time.Hour)
					w.must(w.round(o))
				}
				heard := o.count()
				for _, step := range append(append([]string{}, f.first...), f.end...) {
					if times := heard[job.Step(step)]; times < 1 || times > 2 {
						t.Errorf("%s: crash before change %d: %s was published %d times", name, n, step, times)
					}
					delete(heard, job.Step(step))
				}
				if len(heard) > 0 {
					t.Errorf("%s: crash before change %d: published as well: %v", name, n, heard)
				}
				if left := w.left(); len(left) > 0 {
					t.Errorf("%s: crash before change %d: left: %q", name, n, left)
				}
			}
		}
	}
}
