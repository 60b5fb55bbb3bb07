package ledger_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// TestOutput demands that each output of a list is found, whatever the names, and nothing else is.
func TestOutput(t *testing.T) {
	w := newFixture(t)
	names := []string{
		"a", "a/b", "ab", "b", `"`, `\`, `\"`, `x","size":1},{"name":"y`, `{"name":"z",`, `},{"name":`, "<&>", "é", "\u2028",
		"\ufffd",
		"tab\t", "name", strings.Repeat("long", 250), strings.Repeat("\x01", 1000), "stdout.log",
	}
	for n := range 2000 { // so that they lie in several windows
		names = append(names, fmt.Sprintf("%05d-%s", n, strings.Repeat("x", n%97)))
	}
	slices.Sort(names)
	files := make([]job.File, len(names))
	for i, name := range names {
		files[i] = job.File{Name: name, Size: int64(i), SHA256: strings.Repeat("0", 64)}
		if i%3 == 0 {
			files[i].ContentType = `text/plain; a="{"`
		}
	}
	id := w.accept(w.newIndex(nil)).JobID
	w.must(w.PutOutputs(t.Context(), id, files))
	for i, name := range names {
		got, err := w.Output(t.Context(), id, name)
		if diff := cmp.Diff(files[i], got); err != nil || diff != "" {
			t.Errorf("%.50q: %v (-want +got):\n%s", name, err, diff)
		}
	}
	for _, name := range []string{"", "none", "a/", "y", "z", "\xff", "00001", "size", strings.Repeat("a", 1<<20)} {
		if got, err := w.Output(t.Context(), id, name); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%.50q: got %+v, %v", name, got, err)
		}
	}
	empty := w.accept(w.newIndex(nil)).JobID
	if _, err := w.Output(t.Context(), empty, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("before there is a list: got %v", err)
	}
	w.must(w.PutOutputs(t.Context(), empty, []job.File{}))
	if _, err := w.Output(t.Context(), empty, "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("in an empty list: got %v", err)
	}
}

// manyOutputs is a job with n outputs.
func manyOutputs(t testing.TB, n int) (*fixture, job.ID) {
	w := newFixture(t)
	files := make([]job.File, n)
	for i := range files {
		files[i] = job.File{Name: fmt.Sprintf("frames/%06d.png", i), Size: 1, SHA256: strings.Repeat("ab", 32)}
	}
	id := w.accept(w.newIndex(nil)).JobID
	w.must(w.PutOutputs(t.Context(), id, files))
	return w, id
}

func TestOutputTakesLittleMemory(t *testing.T) {
	w, id := manyOutputs(t, 200_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := w.Output(t.Context(), id, "frames/199999.png")
	runtime.ReadMemStats(&after)
	if err != nil || got.Name != "frames/199999.png" {
		t.Fatalf("got %+v, %v", got, err)
	}
	const limit = 1 << 20
	if took := after.TotalAlloc - before.TotalAlloc; took > limit {
		t.Errorf("one of 200,000 outputs took %d bytes, want at most %d", took, limit)
	}
}

// BenchmarkOutput compares looking the last of many outputs up with reading all of them.
func BenchmarkOutput(b *testing.B) {
	for _, n := range []int{100_000, 200_000} {
		w, id := manyOutputs(b, n)
		last := fmt.Sprintf("frames/%06d.png", n-1)
		b.Run(fmt.Sprintf("one of %d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Output(b.Context(), id, last); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("all %d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if files, err := w.Outputs(b.Context(), id); err != nil || len(files) != n {
					b.Skip(len(files), err) // a record of more than 16 MiB is not read at once
				}
			}
		})
	}
}
