package joblog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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
				if piece%(8*fanIn) == fanIn-1 {
					p.check(b)
				}
			}
			p.check(b)
			if n := b.len(); n > 6*fanIn {
				t.Errorf("%d segments are left", n)
			}
		})
	}
}

// TestRandom writes, ships, fails, goes on from what is stored and merges, in any order. At every moment what is stored must be
// a beginning of what was written, and at the end all of it.
func TestRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			p, b := newProgram(t), newBucket(t)
			b.fails = func(joblog.Range) (stored, failed bool) {
				if random.IntN(20) > 0 {
					return true, false
				}
				return random.IntN(2) == 0, true // perhaps only the answer was lost
			}
			s := p.shipper(joblog.State{}, b)
			for range 6000 {
				switch random.IntN(12) {
				case 0, 1, 2:
					p.write(streams()[random.IntN(2)], noise(random, random.IntN(100)))
				case 3:
					if random.IntN(100) == 0 {
						p.write(streams()[random.IntN(2)], noise(random, random.IntN(2<<20)))
					}
				case 4:
					if random.IntN(200) == 0 { // the process dies, the next one goes on
						s = p.shipper(b.read().state, b)
						b.forget() // it looks at the files anew, which have grown
					}
				default:
					_ = s.Flush(t.Context()) // may fail
				}
				if random.IntN(400) == 0 {
					p.checkBeginning(b)
				}
			}
			for s.Flush(t.Context()) != nil {
			}
			if diff := cmp.Diff(p.check(b).state.Order, s.Order()); diff != "" {
				t.Errorf("order of what is stored and what was shipped (-stored +shipped):\n%s", diff)
			}
		})
	}
}

func noise(random *rand.Rand, n int) []byte {
	data := make([]byte, n, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(data[i:i+8], random.Uint64())
	}
	return data
}

func (p *program) checkBeginning(b *bucket) {
	p.t.Helper()
	c := b.read()
	for _, s := range streams() {
		if !bytes.HasPrefix(p.want[s].Bytes(), c.of(s).Bytes()) {
			p.t.Fatalf("the %d bytes of %s that are stored are not how the log begins", c.of(s).Len(), s)
		}
	}
}

// TestTruncated has a program cut its logs off and write on. What was shipped stays, and nothing is shipped until the
// log is longer than that.
func TestTruncated(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	p, b := newProgram(t), newBucket(t)
	s := p.shipper(joblog.State{}, b)
	sent := map[joblog.Stream]int64{}
	for round := range 3000 {
		stream := streams()[random.IntN(2)]
		f := p.files[stream]
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		switch size := info.Size(); random.IntN(6) {
		case 0:
			if err := f.Truncate(random.Int64N(size + 1)); err != nil {
				t.Fatal(err)
			}
		case 1:
			if err := f.Truncate(size + random.Int64N(1000)); err != nil { // with a hole
				t.Fatal(err)
			}
		default:
			if _, err := f.Write(noise(random, random.IntN(300))); err != nil {
				t.Fatal(err)
			}
		}
		puts := b.count()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, stream := range streams() {
			if info, err = p.files[stream].Stat(); err != nil {
				t.Fatal(err)
			}
			if info.Size() <= sent[stream] {
				continue
			}
			sent[stream] = info.Size()
			if b.count() == puts {
				t.Fatal("new bytes were not shipped")
			}
		}
		if round%100 > 0 {
			continue
		}
		got := b.read().state.Position
		if want := (joblog.Position{Stdout: sent[joblog.Stdout], Stderr: sent[joblog.Stderr]}); got != want {
			t.Fatalf("shipped up to %+v, want %+v", got, want)
		}
	}
}

// TestShrinksUnderRead has a log become shorter between the look at its size and the reading.
func TestShrinksUnderRead(t *testing.T) {
	t.Parallel()
	p, b := newProgram(t), newBucket(t)
	s := p.shipper(joblog.State{}, b)
	stop := make(chan struct{})
	var cutting sync.WaitGroup
	cutting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = p.files[joblog.Stdout].Truncate(0)
			}
		}
	})
	for i := range 2000 {
		if _, err := p.files[joblog.Stdout].Write(bytes.Repeat([]byte("x"), 100+i)); err != nil {
			t.Fatal(err)
		}
		_ = s.Flush(t.Context()) // an error is fine, and is made good by a later call
	}
	close(stop)
	cutting.Wait()
	p.write(joblog.Stdout, bytes.Repeat([]byte("y"), 5000))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.read().stdout.Len(); got < 5000 {
		t.Errorf("%d bytes are shipped, want all that there are at the end", got)
	}
}

// TestFlood has one stream get more than is shipped at a time. The other must not wait for it.
func TestFlood(t *testing.T) {
	t.Parallel()
	for _, flooded := range streams() {
		p, b := newProgram(t), newBucket(t)
		ctx, cancel := context.WithCancel(t.Context())
		s := joblog.NewShipper(p.files[joblog.Stdout], p.files[joblog.Stderr], joblog.State{}, func(ctx context.Context, name string, data []byte) error {
			cancel() // after the first piece
			return b.put(ctx, name, data)
		})
		quiet := joblog.Stderr
		if flooded == joblog.Stderr {
			quiet = joblog.Stdout
		}
		p.write(flooded, make([]byte, 5<<20))
		p.write(quiet, []byte("help\n"))
		if err := s.Flush(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Flush = %v, want that it was cancelled", err)
		}
		c := b.read()
		if got := c.of(quiet).String(); got != "help\n" {
			t.Errorf("%q of %s came with the first piece, want all", got, quiet)
		}
		if got := c.of(flooded).Len(); got != 1<<20-len("help\n") {
			t.Errorf("%d bytes of %s came with the first piece, want as many as there is room for", got, flooded)
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.check(b)
	}
}

// TestRun ships at each interval, also after failures, and ends with its context.
func TestRun(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		var away atomic.Bool
		b.fails = func(joblog.Range) (bool, bool) { return !away.Load(), away.Load() }
		ctx, cancel := context.WithCancel(t.Context())
		s := p.shipper(joblog.State{}, b)
		done := make(chan struct{})
		go func() { defer close(done); joblog.RunOn(s, ctx, nil) }()
		interval := func() {
			time.Sleep(joblog.Interval) // of the bubble's clock
			synctest.Wait()
		}
		p.write(joblog.Stdout, []byte("one\n"))
		interval()
		p.check(b)
		away.Store(true)
		p.write(joblog.Stderr, []byte("two\n"))
		interval()
		p.write(joblog.Stdout, []byte("three\n"))
		interval()
		if got := b.read().stderr.Len(); got != 0 {
			t.Errorf("%d bytes got into a storage that was away", got)
		}
		away.Store(false)
		interval()
		p.check(b)
		puts := b.count()
		interval()
		if b.count() != puts {
			t.Error("a log that has not grown was written to the storage")
		}
		cancel()
		<-done
	})
}

// TestPace has a program write a thousand times a second for a minute. Its first line goes at once, and not more pieces than are allowed.
func TestPace(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string]time.Duration{"usual": joblog.Interval, "followed": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(t)
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				pieces := 0
				b.fails = func(r joblog.Range) (bool, bool) {
					if r.First == r.Last {
						pieces++
					}
					return true, false
				}
				s := p.shipper(joblog.State{}, b)
				if rest != joblog.Interval {
					s.Rest = func() time.Duration { return rest }
				}
				ctx, cancel := context.WithCancel(t.Context())
				grown, done := make(chan struct{}), make(chan struct{})
				go func() { defer close(done); joblog.RunOn(s, ctx, grown) }()
				time.Sleep(time.Minute)
				synctest.Wait()
				p.write(joblog.Stdout, []byte("first\n"))
				grown <- struct{}{}
				synctest.Wait() // the clock stands still
				p.check(b)
				for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Millisecond) {
					p.write(joblog.Stdout, []byte("more\n"))
					select {
					case grown <- struct{}{}:
					default:
					}
				}
				cancel()
				<-done
				if most := int(time.Minute/rest) + joblog.Burst + 1; pieces > most || pieces < most/2 {
					t.Errorf("%d pieces in a minute, want at most %d and at least half of that", pieces, most)
				}
			})
		})
	}
}

// TestSegments bounds how many segments a long log has, and how often each byte is sent.
func TestSegments(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ pieces, size, most int }{
		"lines":  {pieces: 5000, size: 80, most: 3 * 32},
		"blocks": {pieces: 128, size: 100 << 10, most: 128/32 + 32},
		"floods": {pieces: 8, size: 3 << 20, most: 8 * 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b := newProgram(t), newBucket(t)
			s := p.shipper(joblog.State{}, b)
			data := bytes.Repeat([]byte("x"), tt.size)
			for i := range tt.pieces {
				p.write(streams()[i%2], data)
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			p.check(b)
			if n := b.len(); n > tt.most {
				t.Errorf("%d segments, want at most %d", n, tt.most)
			}
		})
	}
}

// TestMemory ships one line of 64 MiB. The memory for that must be that of a few segments.
func TestMemory(t *testing.T) { // not parallel: it measures the whole process
	p := newProgram(t)
	block := bytes.Repeat([]byte("x"), 1<<20)
	f := p.files[joblog.Stdout]
	var peak, shipped uint64
	s := joblog.NewShipper(f, p.files[joblog.Stderr], joblog.State{}, func(_ context.Context, _ string, data []byte) error {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		peak, shipped = max(peak, m.HeapAlloc), shipped+uint64(len(data))
		return nil
	})
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 64 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if shipped < 64<<20 {
		t.Errorf("%d bytes were shipped", shipped)
	}
	if used := int64(peak) - int64(before.HeapAlloc); used > 12<<20 {
		t.Errorf("shipping 64 MiB took %d bytes of memory", used)
	}
}

// BenchmarkFlush ships a log that grows by 64 KiB between two looks.
func BenchmarkFlush(b *testing.B) {
	p := newProgram(b)
	data := bytes.Repeat([]byte("x"), 64<<10)
	s := joblog.NewShipper(p.files[joblog.Stdout], p.files[joblog.Stderr], joblog.State{}, func(context.Context, string, []byte) error { return nil })
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.files[joblog.Stdout].Write(data); err != nil {
			b.Fatal(err)
		}
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
