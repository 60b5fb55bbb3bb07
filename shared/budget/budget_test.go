package budget_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
)

const mebi = 1 << 20

func TestRequestsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(8 * mebi)
		first, end := b.Open(t.Context())
		if err := budget.Take(first, 2*mebi); err != nil { // costs 8 MiB less the little that each has
			t.Fatal(err)
		}
		second, endSecond := b.Open(t.Context())
		defer endSecond()
		if err := budget.Take(second, 16<<10); err != nil {
			t.Errorf("a small request: %v", err)
		}
		began := time.Now()
		err := budget.Take(second, mebi)
		if waited := time.Since(began); !errors.Is(err, job.ErrUnavailable) || waited < time.Second ||
			waited > 10*time.Second {
			t.Errorf("a large request while another has it all: %v after %s", err, waited)
		}
		if err := budget.Take(second, 0); err != nil {
			t.Errorf("what was refused is counted: %v", err)
		}
		taken := make(chan error)
		go func() { taken <- budget.Take(second, mebi) }()
		synctest.Wait()
		end()
		if err := <-taken; err != nil {
			t.Errorf("a large request after another has ended: %v", err)
		}
		if err := budget.Take(first, 100*mebi); err != nil {
			t.Errorf("what a request leaves behind is not counted: %v", err)
		}
	})
}

func TestWaitObeysContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(mebi)
		first, end := b.Open(t.Context())
		defer end()
		if err := budget.Take(first, mebi); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		second, endSecond := b.Open(ctx)
		defer endSecond()
		taken := make(chan error)
		go func() { taken <- budget.Take(second, mebi) }()
		synctest.Wait()
		cancel()
		if err := <-taken; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOneRequestMayHaveItAll(t *testing.T) {
	b := budget.New(mebi)
	ctx, end := b.Open(t.Context())
	if err := budget.Take(ctx, 100*mebi); err != nil {
		t.Error(err)
	}
	if err := budget.TakeRecord(ctx, 100*mebi); err != nil {
		t.Error(err)
	}
	end()
	end() // once is enough
	if again, end := b.Open(t.Context()); budget.Take(again, mebi) != nil {
		t.Error("it was not given back")
	} else {
		end()
	}
}

func TestRecordsCountOnce(t *testing.T) {
	b := budget.New(8 * mebi)
	ctx, end := b.Open(t.Context())
	defer end()
	for range 100 { // a follower reads the same record again and again
		if err := budget.TakeRecord(ctx, mebi); err != nil {
			t.Fatal(err)
		}
	}
	other, endOther := b.Open(t.Context())
	defer endOther()
	if err := budget.TakeRecord(other, mebi); err != nil {
		t.Errorf("a second one of 1 MiB does not fit into 8: %v", err)
	}
}

func TestReadAll(t *testing.T) {
	failing := errors.New("failing")
	for _, size := range []int{0, 1, 8 << 10, 8<<10 + 1, mebi} {
		want := bytes.Repeat([]byte("x"), size)
		for _, length := range []int64{-1, int64(size), 10 * mebi} {
			b := budget.New(64 * mebi)
			ctx, end := b.Open(t.Context())
			got, err := budget.ReadAll(ctx, bytes.NewReader(want), length, 2*mebi)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes said to be %d: %d bytes, %v", size, length, len(got), err)
			}
			if _, err := budget.ReadAll(ctx, io.MultiReader(bytes.NewReader(want), &broken{failing}), length,
				2*mebi); !errors.Is(err, failing) {
				t.Errorf("%d bytes and a failure: %v", size, err)
			}
			end()
		}
	}
}

// TestReadAllInTurns has many bodies come at once that together are far more than there is: each
// waits until there is room for all of it.
func TestReadAllInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(16 * mebi)
		results := make(chan error)
		for range 40 {
			go func() {
				ctx, end := b.Open(t.Context())
				defer end()
				data, err := budget.ReadAll(ctx, slow{strings.NewReader(strings.Repeat("x", 4*mebi))}, 4*mebi, 4*mebi)
				if err == nil && len(data) != 4*mebi {
					err = io.ErrUnexpectedEOF
				}
				results <- err
			}()
		}
		for range 40 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

type broken struct{ err error }

func (b *broken) Read([]byte) (int, error) { return 0, b.err }

// slow takes a millisecond for what one read returns.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond / 10)
	return s.r.Read(p)
}

func TestNobodysRequest(t *testing.T) {
	if err := budget.Take(t.Context(), 1<<40); err != nil {
		t.Error(err)
	}
}
