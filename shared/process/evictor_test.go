package process

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/sandbox"
)

func TestBlame(t *testing.T) {
	t.Parallel()
	const mi = 1 << 20
	type jobs map[job.ID]sandbox.Usage
	for name, tt := range map[string]struct {
		used    jobs
		missing int64
		want    job.ID
	}{
		"nobody runs":     {jobs{}, mi, ""},
		"it has most":     {jobs{"a": {Bytes: 10 * mi}, "b": {Bytes: 900 * mi}}, mi, "b"},
		"nobody has much": {jobs{"a": {Bytes: mi}, "b": {Bytes: 2 * mi}}, 900 * mi, ""},
		"together they have it": {jobs{"a": {Bytes: 30 * mi}, "b": {Bytes: 40 * mi}, "c": {Bytes: 30 * mi}},
			100 * mi, "b"},
		"not even together": {jobs{"a": {Bytes: 30 * mi}, "b": {Bytes: 30 * mi}, "c": {Bytes: 30 * mi}},
			100 * mi, ""},
		"it hides what it has": {jobs{"a": {Bytes: 900 * mi}, "b": {Uncounted: true}}, mi, "b"},
		"both hide, one has more as well": {jobs{"a": {Bytes: 3, Uncounted: true}, "b": {Bytes: 2, Uncounted: true}}, mi,
			"a"},
	} {
		got, found := blame(tt.used, tt.missing)
		if !found {
			got = ""
		}
		if got != tt.want {
			t.Errorf("%s: %q is to blame, want %q", name, got, tt.want)
		}
	}
}

// disk is a disk on which jobs have room, which an evicted one gives back.
type disk struct {
	mu   sync.Mutex
	free int64
	log  []string
}

func (d *disk) bytes() (int64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, true
}

// resident is a job that has bytes on the disk, and gets more while it is not stopped.
type resident struct {
	disk    *disk
	bytes   int64
	stopped bool
	evicted chan string
}

func (r *resident) Usage(context.Context) sandbox.Usage {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	if !r.stopped {
		r.disk.log = append(r.disk.log, "measured while it runs")
	}
	return sandbox.Usage{Bytes: r.bytes}
}

func (r *resident) Pause() func() {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.stopped = true
	return func() {
		r.disk.mu.Lock()
		defer r.disk.mu.Unlock()
		r.stopped = false
	}
}

func (r *resident) Evict(message string) {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	r.disk.free += r.bytes
	r.evicted <- message
}

// TestEvictor fills the disk: the job that has most is ended, once, and no other; those that were
// measured go on.
func TestEvictor(t *testing.T) {
	t.Parallel()
	d := &disk{free: 1000}
	small, large := &resident{disk: d, bytes: 10, evicted: make(chan string, 9)},
		&resident{disk: d, bytes: 500, evicted: make(chan string, 9)}
	e := newEvictor(t.TempDir(), 100, slog.New(slog.DiscardHandler))
	e.free = d.bytes
	e.running = map[job.ID]evictable{id(1): small, id(2): large}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.run(ctx) }()
	d.mu.Lock()
	d.free = 90
	d.mu.Unlock()
	select {
	case message := <-large.evicted:
		if !strings.Contains(message, "MIN_FREE_BYTES") || !strings.Contains(message, "500 bytes") {
			t.Errorf("the message is %q", message)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was ended")
	}
	cancel()
	<-done
	if len(large.evicted)+len(small.evicted) > 0 || small.stopped || large.stopped || len(d.log) > 0 {
		t.Errorf("others: %d, again: %d, still stopped: %v %v, %v", len(small.evicted), len(large.evicted), small.stopped,
			large.stopped, d.log)
	}
}

// TestTrash discards workspaces, of which one is there from before, and stops in the middle of one.
func TestTrash(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	bin := newTrash(filepath.Join(work, "trash"), slog.New(slog.DiscardHandler))
	fill := func(dir string) {
		for range 70 {
			dir = filepath.Join(dir, "d")
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	left := func() int {
		entries, err := os.ReadDir(bin.dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	fill(filepath.Join(bin.dir, "before"))
	first := executor.NewWorkspace(filepath.Join(work, "one"))
	fill(first.Root())
	bin.discard(first)
	bin.discard(executor.NewWorkspace(filepath.Join(work, "never"))) // there is none
	if first.Exists() || left() != 2 {
		t.Fatalf("the workspace is there: %v; %d are discarded", first.Exists(), left())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	bin.run(ctx)
	if left() != 2 {
		t.Error("it removes after its end")
	}
	ctx, cancel = context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); bin.run(ctx) }()
	await := func(what string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); left() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s is still there", what)
			}
		}
	}
	await("what was there at its start")
	second := executor.NewWorkspace(filepath.Join(work, "one")) // the same name again
	fill(second.Root())
	bin.discard(second)
	await("what was discarded since")
	cancel()
	<-done
}
