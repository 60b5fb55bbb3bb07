package ledger_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store/storetest"
)

// others puts entries of jobs into lists. The jobs themselves are left out, since the list under test
// must not read them. On a directory the files are made directly, which is faster.
func (w *fixture) others(n int, folders ...string) {
	w.t.Helper()
	for range n {
		w.pass(5 * time.Millisecond)
		id := string(w.newIndex(nil).JobID)
		for _, folder := range folders {
			key := folder + id[:5] + "/" + id[5:7] + "/" + id[7:9] + "/" + id[9:10] + "/" + id
			if w.dir == "" {
				w.must(w.store.Mark(w.t.Context(), key))
				continue
			}
			path := filepath.Join(w.dir, filepath.FromSlash(key))
			w.must(os.MkdirAll(filepath.Dir(path), 0o700))
			w.must(os.WriteFile(path, nil, 0o600))
		}
	}
}

// TestListOfOwnerCost lists 20 jobs among 10,000 of somebody else. It must read what listing the 20
// costs where there are no others.
func TestListOfOwnerCost(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 10,000 jobs")
	}
	const mine = 20
	accept := func(w *fixture) {
		index := w.newIndex(map[string]string{"n": "x"})
		index.Owner = "ann"
		w.accept(index)
	}
	cost := func(w *fixture, q ledger.Query) int64 {
		t.Helper()
		var reads atomic.Int64
		l := ledger.New(storetest.WithReads(w.store, func(string, string) { reads.Add(1) }), w.now)
		page, err := l.List(w.t.Context(), q)
		w.must(err)
		if len(page.Items) != mine || page.Next != "" {
			w.t.Fatalf("%d jobs, next %q; want %d and no more", len(page.Items), page.Next, mine)
		}
		return reads.Load()
	}
	alone := newMemoryWorld(t)
	for range mine {
		accept(alone)
	}
	few := cost(alone, ledger.Query{Limit: 50})
	eachFixture(t, func(t *testing.T, w *fixture) {
		bob := w.acceptOf("bob")
		folder := w.ownerEntries()[0][:len(ownerEntries)+33]
		w.must(w.store.RemoveAll(t.Context(), string(bob)+"/"))
		for range mine {
			w.others(10_000/mine, ".orchestrator/jobs/", folder)
			accept(w)
		}
		for _, limit := range []int{mine, 50} {
			if got := cost(w, ledger.Query{Limit: limit, Owner: "ann"}); got > few {
				t.Errorf("limit %d: %d reads; %d where there are no others", limit, got, few)
			}
		}
		// Two indexes are asked in turn for each job.
		got := cost(w, ledger.Query{Limit: 50, Owner: "ann", Labels: map[string]string{"n": "x"}})
		if most := few + 2*mine + 2; got > most {
			t.Errorf("with a label: %d reads; at most %d", got, most)
		}
	})
}

// TestListOfLocalIsBounded lists the jobs of job.LocalOwner during an upgrade, among so many of
// others that one request does not read them all.
func TestListOfLocalIsBounded(t *testing.T) {
	t.Parallel()
	w := newMemoryWorld(t)
	want := w.acceptFormer()
	for range 1010 {
		index := w.newIndex(nil)
		data, err := json.Marshal(map[string]any{"jobID": index.JobID, "caller": "ann"})
		w.must(err)
		id := string(index.JobID)
		w.must(w.store.Mark(t.Context(), ".orchestrator/jobs/"+id[:5]+"/"+id[5:7]+"/"+id[7:9]+"/"+id[9:10]+"/"+id))
		w.must(w.store.Create(t.Context(), id+"/"+job.IndexFile, data))
		w.must(w.store.Create(t.Context(), id+"/"+job.StatusFile, []byte(`{"phase":"Succeeded"}`)))
	}
	var reads atomic.Int64
	l := ledger.New(storetest.WithReads(w.store, func(string, string) { reads.Add(1) }), w.now)
	first, err := l.List(t.Context(), ledger.Query{Owner: job.LocalOwner, Limit: 50})
	if err != nil || len(first.Items) != 0 || first.Next == "" || reads.Load() > 6000 {
		t.Fatalf("%d jobs, next %q, %v, after %d reads", len(first.Items), first.Next, err, reads.Load())
	}
	second, err := l.List(t.Context(), ledger.Query{Owner: job.LocalOwner, Limit: 50, After: first.Next})
	if err != nil || len(second.Items) != 1 || second.Items[0].JobID != want || second.Next != "" {
		t.Errorf("second page: %s, %v; want %s", fmt.Sprint(second), err, want)
	}
}
