package admission_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

const root job.ID = "fe6aa1b2c3d4000102030405060708ff"

// TestChainIsBounded commits many jobs of one chain at once.
func TestChainIsBounded(t *testing.T) {
	const most, clients = 5, 40
	w := admissiontest.New(t, nil, admissiontest.Setting("MAX_CHAINED_JOBS", "5"))
	c := w.Controller()
	var accepted atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			d := python()
			d.Chain = ledger.Lineage{Root: root, Hops: 2}
			index, err := commit(t.Context(), c, d, "a.py=x")
			switch {
			case err == nil && (index.Root != root || index.Hops != 2):
				t.Errorf("got %+v", index)
			case err == nil:
				accepted.Add(1)
			case !errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), "MAX_CHAINED_JOBS"):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(w.Jobs()); n != most || accepted.Load() != most {
		t.Errorf("there are %d jobs, %d were accepted; want %d", n, accepted.Load(), most)
	}
	if err := c.CheckChain(t.Context(), root); !errors.Is(err, job.ErrInvalid) {
		t.Errorf("of a full chain: %v", err)
	}
	if err := c.CheckChain(t.Context(), "00000000000000000000000000000001"); err != nil {
		t.Errorf("of another chain: %v", err)
	}
}

// TestRefusedJobsDoNotCount commits one job of a chain many times at once, and one that is refused
// after it was counted.
func TestRefusedJobsDoNotCount(t *testing.T) {
	w := admissiontest.New(t, nil)
	c := w.Controller()
	d := keyed()
	d.Chain.Root = root
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if _, err := commit(t.Context(), c, d, "a.py=x"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if _, err := commit(t.Context(), c, d, "a.py=another"); !errors.Is(err, job.ErrInvalid) {
		t.Errorf("another request with the key: %v", err)
	}
	if n, err := w.Ledger.ChainLength(t.Context(), root, 100); n != 1 || err != nil {
		t.Errorf("the chain has %d jobs, %v; want 1", n, err)
	}
}
