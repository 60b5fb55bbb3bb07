//go:build s3 && gs && azblob

package buckets

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/store/storetest"
)

// TestConformance is the suite that every kind of bucket passes.
func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		storetest.Run(t, s.fresh, storetest.Options{Rounds: 40})
	})
}

// TestPrefix has two share a bucket.
func TestPrefix(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		name := s.bucket(t)
		one, other := s.open(t, name, "one/"), s.open(t, name, "two/")
		var keys []string
		for i := range 5 {
			key := fmt.Sprintf("folder/%d", i)
			keys = append(keys, key)
			if _, err := one.Put(t.Context(), key, strings.NewReader(key)); err != nil {
				t.Fatal(err)
			}
			if err := other.Create(t.Context(), key, []byte("other")); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := one.List(t.Context(), "folder/", keys[1], 2); err != nil || cmp.Diff(keys[2:4], got) != "" {
			t.Errorf("List = %q, %v", got, err)
		}
		if err := one.RemoveAll(t.Context(), "folder/"); err != nil {
			t.Error(err)
		}
		if got, err := one.List(t.Context(), "", "", 10); err != nil || len(got) != 0 {
			t.Errorf("after RemoveAll List = %q, %v", got, err)
		}
		if got, err := other.List(t.Context(), "", "", 10); err != nil || cmp.Diff(keys, got) != "" {
			t.Errorf("the other's List = %q, %v", got, err)
		}
	})
}

// TestRecordMemory stores small records, which must not take the memory of large uploads.
func TestRecordMemory(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		const count, most = 20, 1 << 20
		b := s.fresh(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range count {
			if err := b.Create(t.Context(), fmt.Sprintf("records/%d", i), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / count; each > most {
			t.Errorf("%d bytes were allocated for each record, want at most %d", each, most)
		}
	})
}

// TestUploadMemory stores large blobs at the same time, which take no more memory than the process
// is allowed.
func TestUploadMemory(t *testing.T) {
	const limit, slack = 160 << 20, 64 << 20 // what it had before, and what is in flight in the tests' own proxy
	t.Cleanup(func() { debug.SetMemoryLimit(math.MaxInt64) })
	each(t, func(t *testing.T, s *server) {
		debug.SetMemoryLimit(limit)
		b := s.fresh(t)
		debug.FreeOSMemory()
		peak := watchMemory(t)
		var uploads errgroup.Group
		for i := range 60 {
			uploads.Go(func() error {
				const size = 16 << 20
				d, err := b.Put(t.Context(), fmt.Sprintf("folder/%d", i), io.LimitReader(zeros{}, size))
				if err == nil && d.Size != size {
					err = fmt.Errorf("%d bytes are stored", d.Size)
				}
				return err
			})
		}
		if err := uploads.Wait(); err != nil {
			t.Error(err)
		}
		if got := peak(); got > limit+slack {
			t.Errorf("60 uploads took %d MiB, want at most %d", got>>20, (limit+slack)>>20)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// watchMemory looks at the memory of this process, also that which is not Go's, until peak is
// called, which tells the most there was.
func watchMemory(t *testing.T) (peak func() int64) {
	t.Helper()
	stop, most := make(chan struct{}), make(chan int64)
	resident := func() int64 {
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			return -1
		}
		var size, pages int64
		_, _ = fmt.Sscan(string(text), &size, &pages)
		return pages * int64(os.Getpagesize())
	}
	if resident() <= 0 {
		t.Fatal("/proc does not tell how much memory there is")
	}
	go func() {
		var m int64
		for look := time.NewTicker(2 * time.Millisecond); ; {
			m = max(m, resident())
			select {
			case <-look.C:
			case <-stop:
				look.Stop()
				most <- m
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-most }
}

// TestManyBlobs lists and removes more than clouds tell or take at a time.
func TestManyBlobs(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		b := s.fresh(t)
		const count = 1203
		var want []string
		errs := make(chan error, count)
		places := make(chan struct{}, 16)
		for i := range count {
			key := fmt.Sprintf("many/%04d", i)
			want = append(want, key)
			places <- struct{}{}
			go func() {
				errs <- b.Mark(t.Context(), key)
				<-places
			}()
		}
		for range count {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.List(t.Context(), "many/", "", 2*count)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
		s.proxy.count.Store(0)
		if got, err := b.List(t.Context(), "many/", want[1000], 50); err != nil || cmp.Diff(want[1001:1051], got) != "" {
			t.Errorf("List from the middle = %q, %v", got, err)
		}
		if n := s.proxy.count.Load(); s.name != "azblob" && n != 1 {
			t.Errorf("a page took %d requests, want 1", n)
		}
		s.proxy.count.Store(0)
		if err := b.RemoveAll(t.Context(), "many/"); err != nil {
			t.Fatal(err)
		}
		if n := s.proxy.count.Load(); s.name != "gs" && n > 10 {
			t.Errorf("removing %d blobs took %d requests", count, n)
		}
		if got, err := b.List(t.Context(), "many/", "", 10); err != nil || len(got) > 0 {
			t.Errorf("left: %q, %v", got, err)
		}
	})
}
