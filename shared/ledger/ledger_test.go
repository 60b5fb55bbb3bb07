package ledger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/storetest"
)

// fixture is a bucket in a directory, and a clock.
type fixture struct {
	t     testing.TB
	dir   string
	store *store.Store
	*ledger.Ledger
	mu   sync.Mutex
	time time.Time
	n    int
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	w := &fixture{t: t, dir: t.TempDir(), time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	if w.store, err = store.OpenDir(w.dir); err != nil {
		t.Fatal(err)
	}
	w.Ledger = ledger.New(w.store, w.now)
	return w
}

func (w *fixture) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.time
}

func (w *fixture) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.time = w.time.Add(d)
}

// newIndex returns a job to come, a millisecond younger than the one before.
func (w *fixture) newIndex(labels map[string]string) *job.Index {
	w.t.Helper()
	w.pass(time.Millisecond)
	w.n++
	id, err := job.NewID(w.now(), bytes.NewReader(fmt.Appendf(nil, "%010d", w.n)))
	w.must(err)
	return &job.Index{
		JobID: id, JobName: id.Name(), CreatedAt: id.Created(),
		Spec: job.Spec{Runtime: "python", Entrypoint: "main.py", Labels: labels, TTLSecondsAfterFinished: 3600},
	}
}

func (w *fixture) accept(index *job.Index) *job.Index {
	w.t.Helper()
	w.must(w.BeginUpload(w.t.Context(), index.JobID))
	w.must(w.Accept(w.t.Context(), index))
	return index
}

func (w *fixture) start(index *job.Index) {
	w.t.Helper()
	_, err := w.StartAttempt(w.t.Context(), index.JobID, 1, "owner", nil)
	w.must(err)
}

func (w *fixture) finish(index *job.Index, p job.Phase) *job.Terminal {
	w.t.Helper()
	got, _, err := w.Finish(w.t.Context(), index, job.Terminal{Phase: p, FinishedAt: w.now()})
	w.must(err)
	return got
}

func (w *fixture) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *fixture) list(q ledger.Query) []job.ID {
	w.t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	page, err := w.List(w.t.Context(), q)
	w.must(err)
	ids := []job.ID{}
	for _, item := range page.Items {
		ids = append(ids, item.JobID)
	}
	return ids
}

// tree returns every file and folder but the folder for files in the making.
func (w *fixture) tree() []string {
	w.t.Helper()
	paths := []string{}
	w.must(filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(w.dir, path)
		if err == nil && name != "." && name != ".tmp" {
			paths = append(paths, name)
		}
		return err
	}))
	return paths
}

func (w *fixture) wantEmpty(when string) {
	w.t.Helper()
	if got := w.tree(); len(got) > 0 {
		w.t.Errorf("%s there is left:\n%s", when, strings.Join(got, "\n"))
	}
}

// TestRetrying ends the first attempt of jobs. Only one that is followed by another is shown as
// retrying, in lists as well: the end of the others is just not recorded yet.
func TestRetrying(t *testing.T) {
	for name, test := range map[string]struct {
		retries   int
		timeout   int64
		reason    job.Reason
		cancelled bool
		want      job.Reason
	}{
		"no retries":         {0, 0, job.ReasonError, false, ""},
		"completed":          {3, 0, job.ReasonCompleted, false, ""},
		"failed":             {1, 0, job.ReasonError, false, job.ReasonRetrying},
		"cut off":            {1, 60, job.ReasonInterrupted, false, job.ReasonRetrying},
		"cannot be run":      {3, 0, job.ReasonCannotRun, false, ""},
		"time is up":         {3, 1, job.ReasonError, false, ""},
		"out of time itself": {3, 0, job.ReasonDeadlineExceeded, false, ""},
		"cancelled":          {3, 0, job.ReasonError, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t)
			index := w.newIndex(nil)
			index.Retries, index.TimeoutSeconds = test.retries, test.timeout
			w.must(w.Accept(t.Context(), index))
			w.start(index)
			attempts, err := w.Attempts(t.Context(), index.JobID)
			w.must(err)
			w.mu.Lock()
			w.time = w.time.Add(2 * time.Second)
			w.mu.Unlock()
			a, now := attempts[0], w.now()
			a.FinishedAt, a.Reason = &now, test.reason
			w.must(w.EndAttempt(t.Context(), index.JobID, a))
			if test.cancelled {
				w.must(w.RequestCancel(t.Context(), index.JobID))
			}
			s, err := w.Status(t.Context(), index.JobID)
			w.must(err)
			if s.Phase != job.Running || s.Reason != test.want || (s.Message == "") != (test.want == "") {
				t.Errorf("status %s, %q, %q; want Running, %q", s.Phase, s.Reason, s.Message, test.want)
			}
			page, err := w.List(t.Context(), ledger.Query{Limit: 10})
			w.must(err)
			if len(page.Items) != 1 || page.Items[0].Phase != job.Running || page.Items[0].Reason != test.want {
				t.Errorf("listed as %+v, want %q", page.Items, test.want)
			}
		})
	}
}

func TestLife(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	index := w.newIndex(map[string]string{"team": "a"})
	id := index.JobID
	check := func(stage string, phase job.Phase, reason job.Reason) {
		t.Helper()
		for _, p := range append(job.Phases(), "") {
			for _, labels := range []map[string]string{nil, {"team": "a"}, {"team": "b"}} {
				want := []job.ID{}
				if phase != "" && (p == phase || p == "") && labels["team"] != "b" {
					want = append(want, id)
				}
				if diff := cmp.Diff(want, w.list(ledger.Query{Phase: p, Labels: labels})); diff != "" {
					t.Errorf("%s: List(%s, %v) (-want +got):\n%s", stage, p, labels, diff)
				}
			}
		}
		s, err := w.Status(ctx, id)
		if phase == "" {
			if !errors.Is(err, job.ErrNotFound) {
				t.Errorf("%s: Status: %v; want ErrNotFound", stage, err)
			}
			return
		}
		if err != nil || s.Phase != phase || s.Reason != reason {
			t.Errorf("%s: Status = %+v, %v; want %s, %s", stage, s, err, phase, reason)
		}
	}
	check("before", "", "")
	w.must(w.BeginUpload(ctx, id))
	check("uploading", "", "")
	w.must(w.Accept(ctx, index))
	check("accepted", job.Pending, job.ReasonQueued)
	w.start(index)
	check("running", job.Running, "")
	attempts, err := w.Attempts(ctx, id)
	w.must(err)
	a, now := attempts[0], w.now()
	a.FinishedAt, a.Reason = &now, job.ReasonError
	w.must(w.EndAttempt(ctx, id, a))
	check("before its end is recorded", job.Running, "")
	_, err = w.StartAttempt(ctx, id, 2, "owner", nil)
	w.must(err)
	check("second attempt", job.Running, "")
	w.must(w.PutOutputs(ctx, id, []job.File{{Name: "a"}}))
	_, _, err = w.Finish(ctx, index, job.Terminal{Phase: job.Failed, Reason: job.ReasonError, FinishedAt: w.now()})
	w.must(err)
	check("over", job.Failed, job.ReasonError)
	w.pass(2 * time.Hour)
	if n, err := w.RemoveExpired(ctx); n != 1 || err != nil {
		t.Errorf("RemoveExpired = %d, %v; want 1", n, err)
	}
	check("removed", "", "")
	w.wantEmpty("after removal")
}

// TestStrangers puts blobs among the entries of the indexes that are none. They are no jobs, and
// nothing becomes of them.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	index := w.accept(w.newIndex(nil))
	other := w.newIndex(nil).JobID
	for _, folder := range []string{"jobs/", "owner/", "active/", "expiry/", "asked/", "removing/"} {
		for _, name := range []string{string(other), "stdout.log", "0/" + string(index.JobID), "x/y/" + string(other), "0-" +
			string(other), string(other) + ".json"} {
			if _, err := w.store.Put(t.Context(), ledger.Reserved+folder+"zz/"+name, strings.NewReader("{}")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := w.list(ledger.Query{}); !slices.Equal(got, []job.ID{index.JobID}) {
		t.Errorf("listed %v", got)
	}
	if got, err := w.Active(t.Context(), "", 100); err != nil || !slices.Equal(got, []job.ID{index.JobID}) {
		t.Errorf("active %v, %v", got, err)
	}
	if n, err := w.RemoveExpired(t.Context()); err != nil || n > 0 {
		t.Errorf("removed %d, %v", n, err)
	}
}

func TestAcceptance(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	index := w.accept(w.newIndex(nil))
	again := *index
	again.Entrypoint = "another.py"
	if err := w.Accept(ctx, &again); !errors.Is(err, job.ErrExists) {
		t.Errorf("second Accept: %v; want ErrExists", err)
	}
	got, err := w.Index(ctx, index.JobID)
	w.must(err)
	if diff := cmp.Diff(index, got); diff != "" {
		t.Errorf("Index (-want +got):\n%s", diff)
	}
	if ids, err := w.Active(ctx, "", 10); err != nil || !slices.Equal(ids, []job.ID{index.JobID}) {
		t.Errorf("Active = %v, %v; want the job", ids, err)
	}
	void := w.newIndex(nil)
	void.Void = true
	w.must(w.Accept(ctx, void))
	for what, err := range map[string]error{
		"Index": second(w.Index(ctx, void.JobID)), "Live": second(w.Live(ctx, void.JobID)),
		"Status": second(w.Status(ctx, void.JobID)),
		"Remove": w.Remove(ctx, void.JobID),
	} {
		if !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%s of a void job: %v; want ErrNotFound", what, err)
		}
	}
	if diff := cmp.Diff([]job.ID{index.JobID}, w.list(ledger.Query{})); diff != "" {
		t.Errorf("a void job is listed (-want +got):\n%s", diff)
	}
}

func second[T any](_ T, err error) error { return err }

// The disk is full just when the index is to be written: submit gives up, and nothing may be left.
func TestAbortAfterFailedAccept(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	index := w.newIndex(map[string]string{"a": "1", "b": "2"})
	w.must(w.BeginUpload(ctx, index.JobID))
	_, err := w.store.Put(ctx, ledger.FileKey(index.JobID, "main.py"), strings.NewReader("pass"))
	w.must(err)
	full := ledger.New(storetest.WithHook(w.store, func(op, key string) error {
		if strings.HasSuffix(key, job.IndexFile) {
			return job.ErrExhausted
		}
		return nil
	}), w.now)
	if err := full.Accept(ctx, index); !errors.Is(err, job.ErrExhausted) {
		t.Errorf("Accept: %v; want ErrExhausted", err)
	}
	w.must(w.AbortUpload(ctx, index.JobID))
	w.wantEmpty("after AbortUpload")
}

func TestFinishIsWrittenOnce(t *testing.T) {
	w := newFixture(t)
	phases := []job.Phase{job.Succeeded, job.Failed, job.Cancelled}
	for round := range 30 {
		index := w.accept(w.newIndex(nil))
		w.start(index)
		type result struct {
			recorded *job.Terminal
			first    bool
			err      error
		}
		results := make([]result, 16)
		var wait sync.WaitGroup
		for i := range results {
			wait.Go(func() {
				r := &results[i]
				r.recorded, r.first, r.err = w.Finish(t.Context(), index, job.Terminal{Phase: phases[i%3], Message: fmt.Sprint(i),
					FinishedAt: w.now()})
			})
		}
		wait.Wait()
		winner := slices.IndexFunc(results, func(r result) bool { return r.first })
		if winner < 0 {
			t.Fatalf("round %d: nobody was first", round)
		}
		for i, r := range results {
			if r.err != nil || r.first != (i == winner) || r.recorded.Message != fmt.Sprint(winner) {
				t.Errorf("finisher %d: %+v, first %v, %v; but %d was first", i, r.recorded, r.first, r.err, winner)
			}
		}
		for _, p := range job.Phases() {
			if listed := slices.Contains(w.list(ledger.Query{Phase: p}), index.JobID); listed != (p == phases[winner%3]) {
				t.Errorf("listed as %s: %v; it is %s", p, listed, phases[winner%3])
			}
		}
		if ids, err := w.Active(t.Context(), "", 10); err != nil || len(ids) != 0 {
			t.Errorf("Active = %v, %v after the end", ids, err)
		}
	}
}

// Somebody who still holds the index of a job ends it when it has been ended and removed already.
func TestFinishAfterRemoval(t *testing.T) {
	w := newFixture(t)
	index := w.accept(w.newIndex(map[string]string{"a": "1"}))
	w.finish(index, job.Succeeded)
	w.must(w.Remove(t.Context(), index.JobID))
	w.finish(index, job.Failed)
	w.wantEmpty("after a late Finish")
	if _, err := w.Terminal(t.Context(), index.JobID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("Terminal: %v; want ErrNotFound", err)
	}
}

func TestAttempts(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	index := w.accept(w.newIndex(nil))
	var wait sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wait.Go(func() { _, errs[i] = w.StartAttempt(ctx, index.JobID, 1, fmt.Sprint("pod ", i), nil) })
	}
	wait.Wait()
	won := 0
	for i, err := range errs {
		_, mine := w.StartedBy(ctx, index.JobID, 1, fmt.Sprint("pod ", i))
		switch {
		case err == nil && mine == nil:
			won++
		case !errors.Is(err, job.ErrExists) || !errors.Is(mine, job.ErrExists):
			t.Errorf("pod %d: StartAttempt %v, StartedBy %v", i, err, mine)
		}
	}
	if won != 1 {
		t.Errorf("%d pods may run the attempt; want 1", won)
	}
	now, code := w.now(), 3
	end := job.Attempt{Number: 1, StartedAt: now, FinishedAt: &now, ExitCode: &code}
	w.must(w.EndAttempt(ctx, index.JobID, end))
	end.ExitCode = new(int)
	w.must(w.EndAttempt(ctx, index.JobID, end)) // the first record stands
	got, err := w.Attempts(ctx, index.JobID)
	w.must(err)
	if len(got) != 1 || got[0].ExitCode == nil || *got[0].ExitCode != 3 {
		t.Errorf("Attempts = %+v; want one with the first exit code", got)
	}
}

// Against a naive reference, on random jobs, filters and pages.
func TestListAgainstReference(t *testing.T) {
	w := newFixture(t)
	random := rand.New(rand.NewPCG(1, uint64(w.n)))
	type entry struct {
		index *job.Index
		phase job.Phase
	}
	var jobs []entry // newest first
	values := []string{"a", "b", "c"}
	callers := []string{"", "ann", "bob"}
	given := []string{"", "nightly", "Bericht für Ann/Bob"}
	grow := func(n int) {
		for range n {
			if random.IntN(3) == 0 {
				w.pass(time.Duration(random.Int64N(int64(90 * time.Hour)))) // another folder
			}
			labels := map[string]string{}
			for _, key := range []string{"x", "y", "z"} {
				if random.IntN(3) > 0 {
					labels[key] = values[random.IntN(len(values))]
				}
			}
			index := w.newIndex(labels)
			index.Owner = callers[random.IntN(len(callers))]
			index.Name = given[random.IntN(len(given))]
			e := entry{w.accept(index), job.Phases()[random.IntN(5)]}
			if e.phase != job.Pending {
				w.start(e.index)
			}
			if e.phase.Terminal() {
				w.finish(e.index, e.phase)
			}
			jobs = slices.Insert(jobs, 0, e)
		}
	}
	grow(120)
	w.must(w.store.Mark(t.Context(), ".orchestrator/jobs/00000/a-stranger")) // must not end a list
	for round := range 150 {
		q := ledger.Query{Limit: 1 + random.IntN(12), Labels: map[string]string{}}
		if random.IntN(2) == 0 {
			q.Phase = job.Phases()[random.IntN(5)]
		}
		if random.IntN(2) == 0 {
			q.Owner = []string{job.LocalOwner, "ann", "bob", "nobody"}[random.IntN(4)]
		}
		if random.IntN(3) == 0 {
			q.Name = []string{"nightly", "Bericht für Ann/Bob", "Nightly"}[random.IntN(3)]
		}
		for _, key := range []string{"x", "y", "z"} {
			if random.IntN(2) == 0 {
				q.Labels[key] = values[random.IntN(len(values))]
			}
		}
		var want []job.ID
		for _, e := range jobs {
			matches := (q.Phase == "" || q.Phase == e.phase) && (q.Owner == "" || q.Owner == e.index.Owner) &&
				(q.Name == "" || q.Name == e.index.Name)
			for key, value := range q.Labels {
				matches = matches && e.index.Labels[key] == value
			}
			if matches {
				want = append(want, e.index.JobID)
			}
		}
		var got []job.ID
		for {
			page, err := w.List(t.Context(), q)
			w.must(err)
			if len(page.Items) > q.Limit || page.Next != "" && len(page.Items) != q.Limit {
				t.Fatalf("page of %d items with Next %q; limit %d", len(page.Items), page.Next, q.Limit)
			}
			for _, item := range page.Items {
				got = append(got, item.JobID)
			}
			if page.Next == "" {
				break
			}
			q.After = page.Next
			if round%10 == 0 {
				grow(1) // newer than all of the list, which must not move
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d: List(%+v) (-want +got):\n%s", round, q, diff)
		}
	}
	for _, after := range []job.ID{"00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff"} {
		n := len(w.list(ledger.Query{After: after, Limit: 1000}))
		if want := map[byte]int{'0': len(jobs), 'f': 0}[after[0]]; n != want {
			t.Errorf("%d jobs after %s; want %d", n, after, want)
		}
	}
}

// Of 2,000 finished jobs the one that is due is found without looking at the others: the number of
// files that can be opened is what bounds it here, since all the records of the others are broken.
func TestRemoveExpiredReadsOnlyWhatIsDue(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	var late []*job.Index
	for range 50 {
		index := w.newIndex(nil)
		index.TTLSecondsAfterFinished = 10 * 365 * 24 * 3600
		late = append(late, w.accept(index))
		w.finish(index, job.Succeeded)
	}
	for _, index := range late {
		_, err := w.store.Put(ctx, string(index.JobID)+"/"+job.IndexFile, strings.NewReader("broken"))
		w.must(err)
	}
	due := w.newIndex(nil)
	due.TTLSecondsAfterFinished = 0
	w.accept(due)
	w.finish(due, job.Failed)
	if n, err := w.RemoveExpired(ctx); n != 1 || err != nil {
		t.Errorf("RemoveExpired = %d, %v; want 1 and no look at the others", n, err)
	}
}

func TestRemoveExpired(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	jobs := map[string]*job.Index{}
	for name, ttl := range map[string]int64{"now": 0, "minute": 60, "hour": 3600, "ages": 10 * 365 * 24 * 3600,
		"running": 0, "pending": 0, "asked": 1e6} {
		index := w.newIndex(map[string]string{"name": name})
		index.TTLSecondsAfterFinished = ttl
		jobs[name] = w.accept(index)
	}
	w.start(jobs["running"])
	w.must(w.RequestRemoval(ctx, jobs["running"].JobID)) // wanted, but not over
	w.must(w.RequestRemoval(ctx, jobs["asked"].JobID))
	if _, err := w.Live(ctx, jobs["asked"].JobID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("Live while being removed: %v; want ErrNotFound", err)
	}
	if err := w.Remove(ctx, jobs["pending"].JobID); !errors.Is(err, job.ErrConflict) {
		t.Errorf("Remove of a job that is not over: %v; want ErrConflict", err)
	}
	for _, name := range []string{"now", "minute", "hour", "ages", "asked"} {
		w.finish(jobs[name], job.Succeeded)
	}
	for _, step := range []struct {
		after time.Duration
		gone  []string
	}{
		{0, []string{"now", "asked"}}, {59 * time.Second, nil}, {time.Second, []string{"minute"}},
		{30 * 24 * time.Hour, []string{"hour"}},
		{9 * 365 * 24 * time.Hour, nil}, {366 * 24 * time.Hour, []string{"ages"}},
	} {
		w.pass(step.after)
		var wait sync.WaitGroup
		for range 4 { // reapers at once
			wait.Go(func() {
				if _, err := w.RemoveExpired(ctx); err != nil {
					t.Errorf("RemoveExpired: %v", err)
				}
			})
		}
		wait.Wait()
		for _, name := range step.gone {
			delete(jobs, name)
		}
		left := []string{}
		for _, path := range w.tree() {
			if id, err := job.ParseID(path); err == nil {
				index, err := w.Index(ctx, id)
				w.must(err)
				left = append(left, index.Labels["name"])
			}
		}
		slices.Sort(left)
		want := []string{}
		for name := range jobs {
			want = append(want, name)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, left); diff != "" {
			t.Errorf("jobs after %v (-want +got):\n%s", step.after, diff)
		}
	}
	for name, p := range map[string]job.Phase{"running": job.Failed, "pending": job.Cancelled} {
		w.finish(jobs[name], p)
	}
	second(w.RemoveExpired(ctx))
	w.wantEmpty("in the end")
}

// One job whose records cannot be read must not keep all others from being removed.
func TestRemoveExpiredGoesOnAfterAFailure(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	var ids []job.ID
	for range 3 {
		w.pass(time.Second)
		index := w.accept(w.newIndex(nil))
		w.finish(index, job.Succeeded)
		ids = append(ids, index.JobID)
	}
	_, err := w.store.Put(ctx, string(ids[0])+"/"+job.IndexFile, strings.NewReader("{broken"))
	w.must(err)
	w.pass(2 * time.Hour)
	n, err := w.RemoveExpired(ctx)
	if n != 2 || err == nil || !strings.Contains(err.Error(), string(ids[0])) {
		t.Errorf("RemoveExpired = %d, %v; want 2, and an error that names %s", n, err, ids[0])
	}
}

// More jobs than one step takes are waited for, and one behind them is over.
func TestRemovalIsNotHeldUpByRunningJobs(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	over := w.accept(w.newIndex(nil)) // the oldest, so the last in order
	w.finish(over, job.Cancelled)
	w.must(w.RequestRemoval(ctx, over.JobID))
	for range 505 {
		index := w.newIndex(nil)
		data, err := json.Marshal(index)
		w.must(err)
		w.must(w.store.Create(ctx, string(index.JobID)+"/"+job.IndexFile, data))
		w.must(w.store.Mark(ctx, ".orchestrator/asked/"+string(index.JobID)))
	}
	if n, err := w.RemoveExpired(ctx); n != 1 || err != nil {
		t.Errorf("RemoveExpired = %d, %v; want the one that is over", n, err)
	}
}
