package ledger_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

func wantFault(t *testing.T, err, kind error) {
	t.Helper()
	var faults *job.Faults
	if !errors.Is(err, kind) || !errors.As(err, &faults) || len(faults.List) != 1 ||
		faults.List[0].Field != "Idempotency-Key" {
		t.Errorf("error %v; want a fault of Idempotency-Key of kind %q", err, kind)
	}
}

func (w *fixture) claim(fingerprint string) (*job.Index, job.ID, error) {
	w.t.Helper()
	index := w.newIndex(nil)
	index.IdempotencyKey = testKey
	w.must(w.BeginUpload(w.t.Context(), index.JobID))
	owner, err := w.ClaimKey(w.t.Context(), testKey, fingerprint, index.JobID)
	return index, owner, err
}

func TestOneOwnerAmongClaimers(t *testing.T) {
	for _, open := range []func(testing.TB) *fixture{newFixture, newMemoryWorld} {
		for round := range 20 {
			w := open(t)
			var wait sync.WaitGroup
			claims := make([]*job.Index, 16)
			for i := range claims {
				claims[i] = w.newIndex(nil)
			}
			owners, errs := make([]job.ID, len(claims)), make([]error, len(claims))
			for i, index := range claims {
				wait.Go(func() {
					owners[i], errs[i] = w.ClaimKey(t.Context(), testKey, "print", index.JobID)
					if owners[i] == index.JobID && errs[i] == nil {
						errs[i] = w.Accept(t.Context(), index)
					}
				})
			}
			wait.Wait()
			var owner *job.Index
			for i, index := range claims {
				if owners[i] == index.JobID {
					if owner != nil {
						t.Fatalf("round %d: two owners", round)
					}
					owner = index
				}
			}
			if owner == nil {
				t.Fatalf("round %d: no owner: %v", round, errs)
			}
			for i, index := range claims {
				if errs[i] != nil {
					wantFault(t, errs[i], job.ErrUnavailable) // claimed, and not yet accepted
				} else if owners[i] != owner.JobID {
					t.Errorf("round %d: claimer %d got %s; the owner is %s", round, i, owners[i], owner.JobID)
				}
				if got, err := w.ClaimKey(t.Context(), testKey, "print", index.JobID); err != nil || got != owner.JobID {
					t.Errorf("round %d: ClaimKey afterwards = %s, %v; want %s", round, got, err, owner.JobID)
				}
			}
		}
	}
}

func TestKeyOfAnotherRequest(t *testing.T) {
	w := newFixture(t)
	first, owner, err := w.claim("one")
	if err != nil || owner != first.JobID {
		t.Fatalf("ClaimKey = %s, %v; want a new claim", owner, err)
	}
	_, _, err = w.claim("two")
	wantFault(t, err, job.ErrInvalid)
	w.must(w.Accept(t.Context(), first))
	_, _, err = w.claim("two")
	wantFault(t, err, job.ErrInvalid)
	if _, owner, err := w.claim("one"); err != nil || owner != first.JobID {
		t.Errorf("ClaimKey = %s, %v; want %s", owner, err, first.JobID)
	}
	if owner, err := w.ClaimKey(t.Context(), ledger.HashKey(ledger.FormKeys, "another key"), "two", "0"); err != nil ||
		owner != "0" {
		t.Errorf("ClaimKey of another key = %s, %v", owner, err)
	}
}

func TestTakeoverFencesTheSlowOwner(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	slow, _, err := w.claim("print")
	w.must(err)
	w.pass(9 * time.Second)
	_, _, err = w.claim("print")
	wantFault(t, err, job.ErrUnavailable)
	w.pass(2 * time.Second)
	heir, owner, err := w.claim("print")
	if err != nil || owner != heir.JobID {
		t.Fatalf("ClaimKey after the grace = %s, %v; want a new claim", owner, err)
	}
	// The slow one wakes up, and does what submit does.
	if err := w.Accept(ctx, slow); !errors.Is(err, job.ErrExists) {
		t.Errorf("Accept of the fenced owner: %v; want ErrExists", err)
	}
	w.must(w.ReleaseKey(ctx, testKey, slow.JobID)) // not its key any more
	w.must(w.AbortUpload(ctx, slow.JobID))
	w.must(w.Accept(ctx, heir))
	if _, owner, err := w.claim("print"); err != nil || owner != heir.JobID {
		t.Errorf("ClaimKey = %s, %v; want the heir %s", owner, err, heir.JobID)
	}
	if ids := w.list(ledger.Query{}); len(ids) != 1 || ids[0] != heir.JobID {
		t.Errorf("List = %v; want the heir alone", ids)
	}
}

// An owner that is accepted while it is taken for dead keeps the key.
func TestAcceptedAfterTheGrace(t *testing.T) {
	w := newFixture(t)
	slow, _, err := w.claim("print")
	w.must(err)
	w.pass(time.Minute)
	w.must(w.Accept(t.Context(), slow))
	if _, owner, err := w.claim("print"); err != nil || owner != slow.JobID {
		t.Errorf("ClaimKey = %s, %v; want %s", owner, err, slow.JobID)
	}
}

// When the fence cannot be set, the key must not be given away: its owner may still be accepted.
func TestNoTakeoverWithoutFence(t *testing.T) {
	w := newFixture(t)
	slow, _, err := w.claim("print")
	w.must(err)
	w.pass(time.Minute)
	full := w.process(func(op, key string) error {
		if strings.HasSuffix(key, job.IndexFile) {
			return job.ErrExhausted
		}
		return nil
	})
	if owner, err := full.ClaimKey(t.Context(), testKey, "print", w.newIndex(nil).JobID); !errors.Is(err,
		job.ErrExhausted) {
		t.Errorf("ClaimKey = %s, %v; want ErrExhausted", owner, err)
	}
	w.must(w.Accept(t.Context(), slow))
}

func TestReleasedKeyIsFree(t *testing.T) {
	w := newFixture(t)
	first, _, err := w.claim("print")
	w.must(err)
	w.must(w.ReleaseKey(t.Context(), testKey, "somebody else"))
	_, _, err = w.claim("print")
	wantFault(t, err, job.ErrUnavailable)
	w.must(w.ReleaseKey(t.Context(), testKey, first.JobID))
	next, owner, err := w.claim("another print") // at once, for any request
	if err != nil || owner != next.JobID {
		t.Errorf("ClaimKey = %s, %v; want a new claim", owner, err)
	}
	w.must(w.ReleaseKey(t.Context(), testKey, first.JobID)) // too late to matter
	w.must(w.Accept(t.Context(), next))
	if _, owner, err := w.claim("another print"); err != nil || owner != next.JobID {
		t.Errorf("ClaimKey = %s, %v; want %s", owner, err, next.JobID)
	}
}

// A claimer that read the owner's claim before its release goes on from there; one that comes later
// must not start anew beside it.
func TestReleaseDuringTakeover(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	slow, _, err := w.claim("print")
	w.must(err)
	w.pass(time.Minute)
	heir := w.newIndex(nil)
	var late job.ID
	var lateErr error
	taking := w.process(func(op, key string) error {
		if op == "create" && strings.Contains(key, "claim-000001") { // about to take over
			w.must(w.ReleaseKey(ctx, testKey, slow.JobID))
			_, late, lateErr = w.claim("print")
		}
		return nil
	})
	owner, err := taking.ClaimKey(ctx, testKey, "print", heir.JobID)
	won := 0
	for _, result := range []struct {
		owner job.ID
		err   error
	}{{owner, err}, {late, lateErr}} {
		if result.err == nil {
			won++
		} else {
			wantFault(t, result.err, job.ErrUnavailable)
		}
	}
	if won != 1 {
		t.Errorf("%d own the key: %s, %v and %s, %v", won, owner, err, late, lateErr)
	}
}

func TestKeyOutlivesItsJob(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	first, _, err := w.claim("print")
	w.must(err)
	w.must(w.Accept(ctx, first))
	w.finish(first, job.Succeeded)
	w.must(w.Remove(ctx, first.JobID))
	for range 2 {
		_, _, err = w.claim("print")
		wantFault(t, err, job.ErrGone)
		w.pass(23 * time.Hour)
		_, err = w.SweepKeys(ctx)
		w.must(err)
		w.pass(-22 * time.Hour)
	}
	w.pass(23 * time.Hour) // 25 in all
	next, owner, err := w.claim("other print")
	if err != nil || owner != next.JobID {
		t.Errorf("ClaimKey after a day = %s, %v; want a new claim", owner, err)
	}
}

func TestSweepKeys(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	for i := range 20 {
		_, err := w.ClaimKey(ctx, ledger.HashKey(ledger.FormKeys, fmt.Sprint(i)), "print", w.newIndex(nil).JobID)
		w.must(err)
	}
	before := len(w.tree())
	w.pass(ledger.KeyLifetime - time.Minute)
	if n, err := w.SweepKeys(ctx); n != 0 || err != nil || len(w.tree()) != before {
		t.Errorf("SweepKeys before the time = %d, %v", n, err)
	}
	w.pass(time.Hour + time.Minute)
	renewed := w.newIndex(nil)
	if owner, err := w.ClaimKey(ctx, ledger.HashKey(ledger.FormKeys, "7"), "print", renewed.JobID); err != nil ||
		owner != renewed.JobID {
		t.Fatalf("ClaimKey of an expired key = %s, %v", owner, err)
	}
	if n, err := w.SweepKeys(ctx); n != 20 || err != nil {
		t.Errorf("SweepKeys = %d, %v; want 20", n, err)
	}
	w.must(w.Accept(ctx, renewed))
	if owner, err := w.ClaimKey(ctx, ledger.HashKey(ledger.FormKeys, "7"), "print", w.newIndex(nil).JobID); err != nil ||
		owner != renewed.JobID {
		t.Errorf("the renewed key was swept: ClaimKey = %s, %v", owner, err)
	}
	w.finish(renewed, job.Failed)
	w.must(w.Remove(ctx, renewed.JobID))
	w.pass(26 * time.Hour)
	_, err := w.SweepKeys(ctx)
	w.must(err)
	w.wantEmpty("after the last sweep")
}

// A job that is kept longer than its key leaves no trace of the key when it goes at last.
func TestJobOutlivesItsKey(t *testing.T) {
	w := newFixture(t)
	ctx := t.Context()
	index, _, err := w.claim("print")
	w.must(err)
	w.must(w.Accept(ctx, index))
	w.pass(26 * time.Hour)
	_, err = w.SweepKeys(ctx)
	w.must(err)
	w.finish(index, job.Succeeded)
	w.must(w.Remove(ctx, index.JobID))
	w.wantEmpty("after removal")
}
