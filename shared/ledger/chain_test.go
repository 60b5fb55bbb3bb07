package ledger_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// TestChainIsCounted has many join one chain at once, some of whom leave again.
func TestChainIsCounted(t *testing.T) {
	for _, open := range []func(testing.TB) *fixture{newFixture, newMemoryWorld} {
		w := open(t)
		const most, joiners = 10, 30
		root := w.newIndex(nil).JobID
		ids := make([]job.ID, joiners)
		for i := range ids {
			ids[i] = w.newIndex(nil).JobID
		}
		links, errs := make([]string, joiners), make([]error, joiners)
		var wait sync.WaitGroup
		for i := range ids {
			wait.Go(func() {
				links[i], errs[i] = w.JoinChain(t.Context(), ids[i], ledger.Lineage{Root: root, Hops: 1}, most)
			})
		}
		wait.Wait()
		joined := map[string]job.ID{}
		for i, err := range errs {
			switch {
			case err == nil:
				joined[links[i]] = ids[i]
			case !errors.Is(err, ledger.ErrChainFull):
				t.Fatal(err)
			}
		}
		if n, err := w.ChainLength(t.Context(), root, joiners); len(joined) != most || n != most || err != nil {
			t.Fatalf("%d have joined, %d are counted, %v; want %d", len(joined), n, err, most)
		}
		for link, id := range joined {
			if in, err := w.Lineage(t.Context(), id); err != nil || in != (ledger.Lineage{Root: root, Hops: 1}) {
				t.Errorf("lineage of %s: %+v, %v", id, in, err)
			}
			w.must(w.LeaveChain(t.Context(), id, link))
			if in, err := w.Lineage(t.Context(), id); err != nil || in != (ledger.Lineage{Root: id}) {
				t.Errorf("lineage of %s, which has left: %+v, %v", id, in, err)
			}
			break
		}
		if _, err := w.JoinChain(t.Context(), w.newIndex(nil).JobID, ledger.Lineage{Root: root, Hops: 2}, most); err != nil {
			t.Errorf("the place of one who has left is not free: %v", err)
		}
		if _, err := w.JoinChain(t.Context(), w.newIndex(nil).JobID, ledger.Lineage{Root: root, Hops: 2}, most); !errors.Is(
			err, ledger.ErrChainFull) {
			t.Errorf("one too many: %v", err)
		}
	}
}

// TestChainIsForgotten demands that a chain stays as long as its jobs go on, also when they are
// removed, and then leaves nothing.
func TestChainIsForgotten(t *testing.T) {
	w := newFixture(t)
	root := w.newIndex(nil).JobID
	member := w.newIndex(nil)
	member.Root, member.Hops = root, 4
	_, err := w.JoinChain(t.Context(), member.JobID, ledger.LineageOf(member), 10)
	w.must(err)
	w.accept(member)
	if in, err := w.Lineage(t.Context(), member.JobID); err != nil || in != (ledger.Lineage{Root: root, Hops: 4}) {
		t.Errorf("lineage: %+v, %v", in, err)
	}
	w.pass(40 * time.Hour)
	w.end(member, job.Succeeded)
	w.pass(2 * time.Hour)
	if n, err := w.RemoveExpired(t.Context()); n != 1 || err != nil {
		t.Fatalf("RemoveExpired: %d, %v", n, err)
	}
	sweep := func(want int) {
		t.Helper()
		if n, err := w.SweepChains(t.Context()); n != want || err != nil {
			t.Errorf("SweepChains: %d, %v; want %d", n, err, want)
		}
	}
	for range 4 { // 44 to 88 hours after it began
		sweep(0)
		if in, err := w.Lineage(t.Context(), member.JobID); err != nil || in != (ledger.Lineage{Root: root, Hops: 4}) {
			t.Fatalf("lineage of a job that is gone: %+v, %v", in, err)
		}
		w.pass(11 * time.Hour)
	}
	w.pass(6 * time.Hour)
	sweep(1)
	sweep(0)
	if diff := cmp.Diff([]string{}, w.tree()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
