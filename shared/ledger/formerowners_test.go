package ledger_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

const (
	ownerEntries = ".orchestrator/owner/"
	ownerRecord  = ".orchestrator/owner-entries.json"
	uploadAge    = 2 * time.Hour
)

// acceptOf accepts a job of a caller.
func (w *fixture) acceptOf(owner string) job.ID {
	w.t.Helper()
	index := w.newIndex(nil)
	index.Owner = owner
	return w.accept(index).JobID
}

// acceptFormer accepts a job as versions before callers did: without a caller, with an owner of
// another kind, and without an entry in the list of an owner.
func (w *fixture) acceptFormer() job.ID {
	w.t.Helper()
	ctx := w.t.Context()
	id := w.acceptOf("")
	for _, key := range w.ownerEntries() {
		if strings.HasSuffix(key, string(id)) {
			w.must(w.store.Remove(ctx, key))
		}
	}
	key := string(id) + "/" + job.IndexFile
	data, err := w.store.Read(ctx, key)
	w.must(err)
	var record map[string]any
	w.must(json.Unmarshal(data, &record))
	delete(record, "caller")
	record["owner"] = strings.Repeat("f", 32)
	data, err = json.Marshal(record)
	w.must(err)
	w.must(w.store.Remove(ctx, key))
	w.must(w.store.Create(ctx, key, data))
	return id
}

func (w *fixture) ownerEntries() []string {
	w.t.Helper()
	keys, err := w.store.List(w.t.Context(), ownerEntries, "", 100_000)
	w.must(err)
	return keys
}

// sweepOwners makes rounds until one has nothing to do, and returns how many entries they made.
func (w *fixture) sweepOwners(l *ledger.Ledger) int {
	w.t.Helper()
	made := 0
	for {
		before, _ := w.store.Read(w.t.Context(), ownerRecord)
		n, err := l.SweepOwners(w.t.Context(), uploadAge)
		w.must(err)
		made += n
		if after, _ := w.store.Read(w.t.Context(), ownerRecord); string(after) == string(before) {
			return made
		}
	}
}

func (w *fixture) isWhole() bool {
	data, _ := w.store.Read(w.t.Context(), ownerRecord)
	return strings.Contains(string(data), `"whole":true`)
}

// wantLocal demands that the list of job.LocalOwner has these jobs, the newest first, on pages of 7.
func (w *fixture) wantLocal(when string, want []job.ID) {
	w.t.Helper()
	got := []job.ID{}
	for q := (ledger.Query{Owner: job.LocalOwner, Limit: 7}); ; {
		page, err := w.List(w.t.Context(), q)
		w.must(err)
		for _, item := range page.Items {
			got = append(got, item.JobID)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s: list of %s (-want +got):\n%s", when, job.LocalOwner, diff)
	}
}

func eachFixture(t *testing.T, test func(t *testing.T, w *fixture)) {
	t.Helper()
	for name, open := range map[string]func(testing.TB) *fixture{"directory": newFixture, "bucket": newMemoryWorld} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// TestFormerJobs lists the jobs of earlier versions at each moment of an upgrade.
func TestFormerJobs(t *testing.T) {
	t.Parallel()
	eachFixture(t, func(t *testing.T, w *fixture) {
		ctx := t.Context()
		var local []job.ID
		for i := range 20 {
			local = slices.Insert(local, 0, w.acceptFormer())
			if i%4 == 0 {
				w.acceptOf("ann")
				local = slices.Insert(local, 0, w.acceptOf(""))
			}
		}
		w.wantLocal("before the first round", local)
		if n := w.sweepOwners(w.Ledger); n != 0 {
			t.Errorf("the first round made %d entries", n)
		}
		// A process of the earlier version goes on for a while, and the reaper sees one of its jobs.
		w.pass(20 * time.Hour)
		local = slices.Insert(local, 0, w.acceptFormer())
		if _, err := w.Settle(ctx, local[0], uploadAge); err != nil {
			t.Fatal(err)
		}
		w.pass(25 * time.Hour)
		if n := w.sweepOwners(w.Ledger); n != 0 || w.isWhole() {
			t.Errorf("a day after it saw the job the reaper made %d entries; a request may still go on", n)
		}
		w.wantLocal("while the reaper waits", local)
		w.pass(2 * time.Hour)
		if n := w.sweepOwners(w.Ledger); n != 21 || !w.isWhole() {
			t.Errorf("the reaper made %d entries; want 21", n)
		}
		w.wantLocal("once the entries are made", local)
		if n := len(w.ownerEntries()); n != 31 {
			t.Errorf("%d entries; want one for each of 31 jobs", n)
		}
		if got := w.list(ledger.Query{Owner: "ann"}); len(got) != 5 {
			t.Errorf("list of ann: %v", got)
		}
		// The earlier version comes back. Once the reaper sees one of its jobs, none is missing.
		one, other := w.acceptFormer(), w.acceptFormer()
		local = slices.Insert(local, 0, other, one)
		if _, err := w.Settle(ctx, one, uploadAge); err != nil {
			t.Fatal(err)
		}
		w.wantLocal("after the earlier version came back", local)
		w.pass(27 * time.Hour)
		if w.sweepOwners(w.Ledger); !w.isWhole() || len(w.ownerEntries()) != 33 {
			t.Errorf("whole: %v, with %d entries; want 33", w.isWhole(), len(w.ownerEntries()))
		}
		w.wantLocal("after all was done again", local)
		if _, err := w.Settle(ctx, one, uploadAge); err != nil || !w.isWhole() {
			t.Errorf("it began again without a reason: %v", err)
		}
		for _, id := range local {
			w.must(w.RequestRemoval(ctx, id))
			index, err := w.Index(ctx, id)
			w.must(err)
			w.finish(index, job.Cancelled)
		}
		if _, err := w.RemoveExpired(ctx); err != nil {
			t.Fatal(err)
		}
		if left := w.ownerEntries(); len(left) != 5 {
			t.Errorf("entries after the removal: %q; want those of ann", left)
		}
	})
}

// TestFormerJobsInBatches has more jobs than a round goes over, and several reapers.
func TestFormerJobsInBatches(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 2,100 jobs")
	}
	t.Parallel()
	w := newMemoryWorld(t)
	var local []job.ID
	for i := range 2100 {
		index := w.newIndex(nil)
		key := "zz"
		if i%10 == 0 {
			index.Owner, key = "ann", "caller"
		} else {
			local = slices.Insert(local, 0, index.JobID)
		}
		data, err := json.Marshal(map[string]any{"jobID": index.JobID, key: index.Owner})
		w.must(err)
		id := string(index.JobID)
		w.must(w.store.Mark(t.Context(), ".orchestrator/jobs/"+id[:5]+"/"+id[5:7]+"/"+id[7:9]+"/"+id[9:10]+"/"+id))
		w.must(w.store.Create(t.Context(), id+"/"+job.IndexFile, data))
	}
	w.sweepOwners(w.Ledger)
	w.pass(27 * time.Hour)
	if n, err := w.SweepOwners(t.Context(), uploadAge); n != 1800 || err != nil || w.isWhole() {
		t.Errorf("a round made %d entries, %v; want those of 2,000 jobs", n, err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				if _, err := w.SweepOwners(t.Context(), uploadAge); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var got []job.ID
	for _, key := range w.ownerEntries() {
		got = append(got, job.ID(key[strings.LastIndexByte(key, '/')+1:]))
	}
	if diff := cmp.Diff(local, got); diff != "" || !w.isWhole() {
		t.Errorf("whole: %v; entries (-want +got):\n%s", w.isWhole(), diff)
	}
}

// TestCrashOfSweepOwners has a reaper die before each change while jobs are removed, or only that
// change fail. The next one must make all entries, and leave none of a job that is gone.
func TestCrashOfSweepOwners(t *testing.T) {
	t.Parallel()
	for n, more := 1, true; more; n++ {
		for name, dies := range map[string]bool{"dies": true, "fails": false} {
			w := newMemoryWorld(t)
			ctx := t.Context()
			local := []job.ID{w.acceptFormer()}
			gone := w.acceptFormer()
			w.acceptOf("ann")
			local = slices.Insert(local, 0, w.acceptFormer())
			w.sweepOwners(w.Ledger)
			w.pass(27 * time.Hour)
			var mu sync.Mutex
			changes := 0
			p := w.process(func(op, key string) error {
				mu.Lock()
				defer mu.Unlock()
				// Another process removes a job right after the reaper has seen its index.
				if op == "mark" && strings.HasSuffix(key, string(gone)) {
					index, err := w.Index(ctx, gone)
					w.must(err)
					w.finish(index, job.Failed)
					w.must(w.Remove(ctx, gone))
				}
				if changes++; changes == n || dies && changes > n {
					return errDied
				}
				return nil
			})
			_, _ = p.SweepOwners(ctx, uploadAge)
			_, _ = p.SweepOwners(ctx, uploadAge)
			more = changes >= n
			w.wantLocal("after the crash", func() []job.ID {
				if _, err := w.Index(ctx, gone); err == nil {
					return []job.ID{local[0], gone, local[1]}
				}
				return local
			}())
			w.sweepOwners(w.Ledger)
			if _, err := w.Index(ctx, gone); err != nil {
				w.wantLocal("in the end", local)
			}
			exist := w.list(ledger.Query{})
			if entries := w.ownerEntries(); !w.isWhole() || len(entries) != len(exist) {
				t.Errorf("change %d %s: whole: %v; entries %q of the jobs %v", n, name, w.isWhole(), entries, exist)
			}
		}
	}
}

// TestOwnerOrphans has entries that earlier versions left of jobs that they removed. They go in the
// end, and no others.
func TestOwnerOrphans(t *testing.T) {
	t.Parallel()
	eachFixture(t, func(t *testing.T, w *fixture) {
		ctx := t.Context()
		kept := w.acceptOf("ann")
		for range 3 {
			w.must(w.store.Remove(ctx, string(w.acceptOf("bob"))+"/"+job.IndexFile))
		}
		w.sweepOwners(w.Ledger)
		w.pass(26*time.Hour + time.Minute)
		accepting := w.newIndex(nil)
		accepting.Owner = "bob"
		died := w.process(func(op, key string) error {
			if op == "create" {
				return errDied
			}
			return nil
		})
		if err := died.Accept(ctx, accepting); err == nil {
			t.Fatal("accepted")
		}
		w.must(w.store.Mark(ctx, ownerEntries+"a-stranger"))
		w.sweepOwners(w.Ledger)
		var got []string
		for _, key := range w.ownerEntries() {
			got = append(got, key[strings.LastIndexByte(key, '/')+1:])
		}
		want := []string{string(kept), string(accepting.JobID), "a-stranger"}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
	})
}
