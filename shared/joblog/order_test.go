package joblog_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/joblog"
)

const maxRuns = 4096

func totals(runs []joblog.Run) joblog.Position {
	h := joblog.Header{Runs: runs}
	return h.End()
}

func TestOrderAdd(t *testing.T) {
	t.Parallel()
	out, err := joblog.Stdout, joblog.Stderr
	tests := map[string]struct{ add, want []joblog.Run }{
		"nothing":          {},
		"empty runs":       {add: []joblog.Run{{Stream: out}, {Stream: err}}},
		"one stream":       {add: []joblog.Run{{out, 1}, {out, 2}, {out, 3}}, want: []joblog.Run{{out, 6}}},
		"in turn":          {add: []joblog.Run{{out, 1}, {err, 2}, {out, 3}}, want: []joblog.Run{{out, 1}, {err, 2}, {out, 3}}},
		"empty in between": {add: []joblog.Run{{out, 1}, {err, 0}, {out, 3}}, want: []joblog.Run{{out, 4}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var together, singly joblog.Order
			together.Add(tt.add...)
			for _, r := range tt.add {
				singly.Add(r)
			}
			for _, got := range []joblog.Order{together, singly} {
				if diff := cmp.Diff(tt.want, got.Runs); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestOrderBound adds far more runs than are kept. The sums must stay what they are, and no byte may move far from
// its place.
func TestOrderBound(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 3, 5000} {
		random := rand.New(rand.NewPCG(1, uint64(batch)))
		var o joblog.Order
		var want joblog.Position
		for range 50_000 / batch {
			runs := make([]joblog.Run, batch)
			for i := range runs {
				runs[i] = joblog.Run{Stream: streams()[random.IntN(2)], Bytes: random.Int64N(100)}
				*want.Of(runs[i].Stream) += runs[i].Bytes
			}
			o.Add(runs...)
			if len(o.Runs) > max(maxRuns, batch) {
				t.Fatalf("%d runs after batches of %d, want at most %d", len(o.Runs), batch, maxRuns)
			}
		}
		if got := totals(o.Runs); got != want {
			t.Errorf("batches of %d: the runs have %+v, want %+v", batch, got, want)
		}
		if len(o.Runs) < maxRuns/4 {
			t.Errorf("batches of %d: only %d runs are left", batch, len(o.Runs))
		}
		for i, r := range o.Runs {
			if r.Bytes <= 0 || i > 0 && o.Runs[i-1].Stream == r.Stream {
				t.Fatalf("batches of %d: run %d is %+v", batch, i, r)
			}
		}
	}
}

// TestOrderCopied makes sure that an order that was handed out is not changed by further shipping, nor the state that a
// shipper was given.
func TestOrderCopied(t *testing.T) {
	t.Parallel()
	p, b := newProgram(t), newBucket(t)
	given := joblog.State{Next: 7, Position: joblog.Position{Stdout: 1}, Order: joblog.Order{Runs: []joblog.Run{{Stream: joblog.Stdout, Bytes: 1}}}}
	s := p.shipper(given, b)
	p.write(joblog.Stdout, []byte("ab"))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := s.Order()
	p.write(joblog.Stdout, []byte("cd"))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]joblog.Run{{Stream: joblog.Stdout, Bytes: 2}}, got.Runs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if given.Order.Runs[0].Bytes != 1 {
		t.Error("the state that was given has changed")
	}
}
