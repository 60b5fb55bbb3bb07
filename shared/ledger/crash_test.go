package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/storetest"
)

var errDied = errors.New("the process died")

// dying is a hook under which the process dies before change number n, and does nothing more.
type dying struct{ n, changes int }

func (d *dying) hook(string, string) error {
	d.changes++
	if d.changes >= d.n {
		return errDied
	}
	return nil
}

// failing is a hook under which only change number n fails.
type failing struct{ n, changes int }

func (f *failing) hook(string, string) error {
	f.changes++
	if f.changes == f.n {
		return errDied
	}
	return nil
}

func newMemoryWorld(t testing.TB) *fixture {
	w := &fixture{t: t, store: store.OpenBucket(memblob.OpenBucket(nil), store.Extension{}),
		time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.Ledger = ledger.New(w.store, w.now)
	return w
}

// left returns all that is in the bucket, folders included on a directory.
func (w *fixture) left() []string {
	if w.dir != "" {
		return w.tree()
	}
	keys, err := w.store.List(w.t.Context(), "", "", 1000)
	w.must(err)
	return keys
}

// process is one that lives under a hook.
type process struct {
	*fixture
	store *store.Store
	*ledger.Ledger
}

func (w *fixture) process(h func(op, key string) error) *process {
	s := storetest.WithHook(w.store, h)
	return &process{w, s, ledger.New(s, w.now)}
}

// progress is what the process was told to be done.
type progress struct {
	index               *job.Index
	accepted, aborted   bool
	finished, removable bool
	removed             bool
	terminal            *job.Terminal
}

const testKey = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// live takes a job from its upload to its removal, and stops at the first error, as the functions
// do.
func (p *process) live(index *job.Index) (got progress) {
	ctx := p.t.Context()
	id := index.JobID
	got.index = index
	submit := func() error {
		if err := p.BeginUpload(ctx, id); err != nil {
			return err
		}
		for _, name := range []string{"main.py", "data.csv"} {
			if _, err := p.store.Put(ctx, ledger.FileKey(id, name), strings.NewReader(name)); err != nil {
				return err
			}
		}
		if err := p.PutSecrets(ctx, id, []byte("sealed")); err != nil {
			return err
		}
		if _, err := p.ClaimKey(ctx, testKey, "print", id); err != nil {
			return err
		}
		if err := p.Accept(ctx, index); err != nil {
			return errors.Join(err, p.ReleaseKey(ctx, testKey, id))
		}
		return nil
	}
	if err := submit(); err != nil {
		got.aborted = p.AbortUpload(ctx, id) == nil
		return got
	}
	got.accepted = true
	a, err := p.StartAttempt(ctx, id, 1, "me", nil)
	if err != nil {
		return got
	}
	now := p.now()
	a.FinishedAt = &now
	if p.EndAttempt(ctx, id, a) != nil {
		return got
	}
	if _, err := p.store.Put(ctx, ledger.ResultKey(id, "deep/out.txt"), strings.NewReader("out")); err != nil {
		return got
	}
	if _, err := p.store.Put(ctx, ledger.LogPrefix(id)+"1", strings.NewReader("log")); err != nil {
		return got
	}
	if p.PutOutputs(ctx, id, []job.File{{Name: "deep/out.txt"}}) != nil {
		return got
	}
	got.terminal, _, err = p.Finish(ctx, index, job.Terminal{Phase: job.Succeeded, FinishedAt: now})
	if err != nil {
		return got
	}
	got.finished = true
	if p.RequestRemoval(ctx, id) != nil {
		return got
	}
	got.removable = true
	got.removed = p.Remove(ctx, id) == nil
	return got
}

// reap is a round of the reaper.
func (w *fixture) reap(l *ledger.Ledger) error {
	ctx := w.t.Context()
	_, removeErr := l.RemoveExpired(ctx)
	_, sweepErr := l.SweepUploads(ctx, 2*time.Hour)
	_, keyErr := l.SweepKeys(ctx)
	ids, err := l.Active(ctx, "", 100)
	for _, id := range ids {
		_, settleErr := l.Settle(ctx, id, 2*time.Hour)
		err = errors.Join(err, settleErr)
	}
	_, ownerErr := l.SweepOwners(ctx, 2*time.Hour)
	return errors.Join(removeErr, sweepErr, keyErr, ownerErr, err)
}

// check asserts what must hold at any moment after got.
func (w *fixture) check(got progress, settled bool) {
	w.t.Helper()
	ctx := w.t.Context()
	id := got.index.JobID
	_, err := w.Index(ctx, id)
	exists := err == nil
	if got.accepted && !got.removable && !exists {
		w.t.Fatalf("the accepted job is lost: %v", err)
	}
	t, terminalErr := w.Terminal(ctx, id)
	if got.terminal != nil && exists && (terminalErr != nil || t.Phase != got.terminal.Phase) {
		w.t.Errorf("Terminal = %+v, %v; it was %s", t, terminalErr, got.terminal.Phase)
	}
	if _, err := w.Live(ctx, id); exists && err == nil {
		for _, labels := range []map[string]string{nil, {"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}} {
			if ids := w.list(ledger.Query{Labels: labels}); !slices.Contains(ids, id) {
				w.t.Errorf("List(%v) lacks the job", labels)
			}
		}
		for name, want := range map[string]bool{got.index.Name: true, "another": false} {
			if ids := w.list(ledger.Query{Name: name}); slices.Contains(ids, id) != want {
				w.t.Errorf("List of name %q has the job: %v; want %v", name, !want, want)
			}
		}
		for owner, want := range map[string]bool{got.index.Owner: true, "somebody else": false, job.LocalOwner: false} {
			if ids := w.list(ledger.Query{Owner: owner}); slices.Contains(ids, id) != want {
				w.t.Errorf("List of owner %q has the job: %v; want %v", owner, !want, want)
			}
		}
		s, err := w.Status(ctx, id)
		w.must(err)
		if ids := w.list(ledger.Query{Phase: s.Phase}); !slices.Contains(ids, id) && (settled || !s.Phase.Terminal()) {
			w.t.Errorf("List(%s) lacks the job", s.Phase)
		}
	}
	switch sealed, err := w.Secrets(ctx, id); {
	case exists && terminalErr != nil && (err != nil || string(sealed) != "sealed"):
		w.t.Errorf("the secrets of a job that is not over: %q, %v", sealed, err)
	case (got.finished || settled) && (!exists || terminalErr == nil) && !errors.Is(err, job.ErrNotFound):
		w.t.Errorf("the secrets of a job that is over, or was not accepted: %q, %v", sealed, err)
	}
	ids, err := w.Active(ctx, "", 10)
	w.must(err)
	if active := slices.Contains(ids, id); exists && terminalErr != nil && !active {
		w.t.Error("Active lacks a job that is not over")
	} else if active && settled && (!exists || terminalErr == nil) {
		w.t.Error("Active has a job that is over or was not accepted")
	}
}

// onlyKeys complains about all but idempotency records.
func (w *fixture) onlyKeys(when string) {
	w.t.Helper()
	for _, path := range w.left() {
		if path != ".orchestrator" && !strings.HasPrefix(path, ".orchestrator/idempotency") {
			w.t.Errorf("%s there is left: %s", when, path)
		}
	}
}

// recover checks the state a process left, and what reapers make of it.
func (w *fixture) recover(got progress) {
	ctx := w.t.Context()
	w.check(got, false)
	if got.aborted || got.removed {
		w.onlyKeys("at once")
	}
	w.pass(3 * time.Hour)
	w.must(w.reap(w.Ledger))
	w.must(w.reap(w.Ledger))
	w.check(got, true)
	id := got.index.JobID
	if _, err := w.Index(ctx, id); err != nil {
		w.onlyKeys("of a job that does not exist")
	} else {
		// Whatever it was at, it can be ended.
		t, first, err := w.Finish(ctx, got.index, job.Terminal{Phase: job.Failed, FinishedAt: w.now()})
		if err != nil || first != (t.Phase == job.Failed) {
			w.t.Errorf("Finish = %+v, %v, %v", t, first, err)
		}
		w.check(progress{index: got.index, accepted: true, terminal: t}, true)
		if removable, err := w.RemovalRequested(ctx, id); err != nil || removable != got.removable && got.removable {
			w.t.Errorf("RemovalRequested = %v, %v", removable, err)
		}
		w.pass(48 * time.Hour)
		w.must(w.reap(w.Ledger))
		w.onlyKeys("when its time has passed")
	}
	w.pass(48 * time.Hour)
	w.must(w.reap(w.Ledger))
	if left := w.left(); len(left) > 0 {
		w.t.Errorf("in the end there is left:\n%s", strings.Join(left, "\n"))
	}
}

func labelled(w *fixture) *job.Index {
	index := w.newIndex(map[string]string{"a": "1", "b": "2"})
	index.IdempotencyKey, index.Owner = testKey, "ann@example.com"
	index.Name = "Nightly report"
	index.Secrets = []job.Secret{{Name: "PASSWORD"}}
	index.TTLSecondsAfterFinished = 24 * 3600
	return index
}

// changes counts what a whole life changes.
func changes(t *testing.T) int {
	w := newMemoryWorld(t)
	d := &dying{n: 1 << 30}
	got := w.process(d.hook).live(labelled(w))
	if !got.removed {
		t.Fatalf("a life under no failure got to %+v", got)
	}
	w.recover(got)
	return d.changes
}

func TestCrashBeforeEveryChange(t *testing.T) {
	total := changes(t)
	if total < 30 {
		t.Fatalf("%d changes in a life; the hook misses some", total)
	}
	for n := 1; n <= total+1; n++ {
		for name, open := range map[string]func(testing.TB) *fixture{"directory": newFixture, "bucket": newMemoryWorld} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				t.Parallel()
				w := open(t)
				w.recover(w.process((&dying{n: n}).hook).live(labelled(w)))
			})
			t.Run(fmt.Sprintf("%s/fails only/%d", name, n), func(t *testing.T) {
				t.Parallel()
				w := open(t)
				w.recover(w.process((&failing{n: n}).hook).live(labelled(w)))
			})
		}
	}
}

// The reaper that comes after the crash dies as well, before each of its changes.
func TestCrashOfTheReaperAfterACrash(t *testing.T) {
	total := changes(t)
	for n := 1; n <= total+1; n++ {
		for m := 1; ; m++ {
			w := newMemoryWorld(t)
			got := w.process((&dying{n: n}).hook).live(labelled(w))
			w.pass(3 * time.Hour)
			d := &dying{n: m}
			_ = w.reap(w.process(d.hook).Ledger)
			w.check(got, false)
			w.recover(got)
			if t.Failed() {
				t.Fatalf("after crashes before change %d of the life and %d of the reaper", n, m)
			}
			if d.changes < m {
				break // it did not get that far
			}
		}
	}
}
