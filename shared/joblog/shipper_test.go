package joblog_test

import (
	"bytes"
	"testing"

	"go-job-orchestrator/shared/joblog"
)

// TestMergeOverGap has one group of pieces that is not merged, too large or not stored, among many that are. No larger
// segment may take the place of pieces whose bytes it has not got.
func TestMergeOverGap(t *testing.T) {
	t.Parallel()
	const fanIn = 32
	tests := map[string]struct {
		size func(piece int) int
		fail func(joblog.Range) bool
	}{
		"burst": {
			size: func(piece int) int {
				if piece/fanIn == 3 {
					return 300 << 10 // 32 of them are more than a merged segment may have
				}
				return 10
			},
			fail: func(joblog.Range) bool { return false },
		},
		"failed put": {
			size: func(int) int { return 10 },
			fail: func(r joblog.Range) bool { return r.First == 3*fanIn && r.Last > r.First },
		},
		"failed put of the second level": {
			size: func(int) int { return 10 },
			fail: func(r joblog.Range) bool { return r.First == 0 && r.Last == fanIn*fanIn-1 },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b := newProgram(t), newBucket(t)
			b.fails = func(r joblog.Range) (bool, bool) { return !tt.fail(r), tt.fail(r) }
			s := p.shipper(joblog.State{}, b)
			for piece := range fanIn*fanIn + 3*fanIn {
				p.write(streams()[piece%2], bytes.Repeat([]byte{byte(piece)}, tt.size(piece)))
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if piece%fanIn == fanIn-1 {
					p.check(b)
				}
			}
			if n := len(b.segments); n > 6*fanIn {
				t.Errorf("%d segments are left", n)
			}
		})
	}
}
