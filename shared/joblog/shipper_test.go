package joblog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/spool"
)

// TestMergeOverGap has one group of segments that is not merged, too large or not stored, among
// many that are. No larger segment may take the place of segments whose bytes it has not got.
func TestMergeOverGap(t *testing.T) {
	t.Parallel()
	const fanIn = 32
	tests := map[string]struct {
		size func(seg int) int
		fail func(joblog.Range) bool
	}{
		"burst": {
			size: func(seg int) int {
				if seg/fanIn == 3 {
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
			for seg := range fanIn*fanIn + 3*fanIn {
				p.write(streams()[seg%2], bytes.Repeat([]byte{byte(seg)}, tt.size(seg)))
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if seg%(8*fanIn) == fanIn-1 {
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

// TestRandom writes, ships, fails, goes on from what is stored and merges, in any order. At every
// moment what is stored must be a beginning of what was written, and at the end all of it.
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
			p.checkOrder(b)
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

// TestOrder ships what two streams got in turn in that order, whatever the sizes of segments.
func TestOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	p, b := newProgram(t), newBucket(t)
	s := p.shipper(joblog.State{}, b)
	for range 1500 {
		stream := streams()[random.IntN(2)]
		p.write(stream, noise(random, 1+random.IntN(2000)))
		if random.IntN(50) == 0 {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.checkOrder(b)
}

// TestNoRecord ships bytes of which the order does not tell, as after a crash, but only once nobody
// writes any more.
func TestNoRecord(t *testing.T) {
	t.Parallel()
	p, b := newProgram(t), newBucket(t)
	s := p.shipper(joblog.State{}, b)
	p.write(spool.Stderr, []byte("known\n"))
	for _, stream := range streams() {
		if _, err := p.files.Of(stream).WriteString("unknown\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := b.read(); c.stdout.Len() > 0 || c.stderr.String() != "known\n" {
		t.Errorf("a log that grows is shipped as %q, %q", c.stdout.String(), c.stderr.String())
	}
	if err := s.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := b.read(); c.stdout.String() != "unknown\n" || c.stderr.String() != "known\nunknown\n" {
		t.Errorf("the whole log is shipped as %q, %q", c.stdout.String(), c.stderr.String())
	}
}

// TestMeddled has the files of the spool changed by others, which a program in a pod can do: an
// error at worst.
func TestMeddled(t *testing.T) {
	t.Parallel()
	tests := map[string]func(p *program) error{
		"shorter":        func(p *program) error { return p.files.Stdout.Truncate(2) },
		"empty order":    func(p *program) error { return p.files.Order.Truncate(0) },
		"half a record":  func(p *program) error { return p.files.Order.Truncate(spool.RecordSize / 2) },
		"order of zeros": func(p *program) error { _, err := p.files.Order.Write(make([]byte, 1<<20)); return err },
		"order of 0xff": func(p *program) error {
			_,
				err := p.files.Order.Write(bytes.Repeat([]byte{0xff}, 1<<20))
			return err
		},
		"order is longer": func(p *program) error { return p.files.Order.Truncate(1 << 30) },
	}
	for name, meddle := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b := newProgram(t), newBucket(t)
			p.write(spool.Stdout, []byte("one\n"))
			p.write(spool.Stderr, []byte("two\n"))
			if err := meddle(p); err != nil {
				t.Fatal(err)
			}
			s := p.shipper(joblog.State{}, b)
			_ = s.Flush(t.Context()) // may fail
			_ = s.Finish(t.Context())
			p.checkBeginning(b)
		})
	}
}

// TestFlood has one stream get more than is shipped at a time, and then the other a line: the
// segments are of bounded size, and in order.
func TestFlood(t *testing.T) {
	t.Parallel()
	p, b := newProgram(t), newBucket(t)
	s := p.shipper(joblog.State{}, b)
	p.write(spool.Stdout, make([]byte, 5<<20))
	p.write(spool.Stderr, []byte("help\n"))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.count() != 6 {
		t.Errorf("%d segments, want five of 1 MiB and one", b.count())
	}
	p.checkOrder(b)
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
		p.write(spool.Stdout, []byte("one\n"))
		interval()
		p.check(b)
		away.Store(true)
		p.write(spool.Stderr, []byte("two\n"))
		interval()
		p.write(spool.Stdout, []byte("three\n"))
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

// TestPace has a program write a thousand times a second for a minute. Its first line goes at once,
// and not more segments than are allowed.
func TestPace(t *testing.T) {
	t.Parallel()
	for name, interval := range map[string]time.Duration{"usual": joblog.Interval, "followed": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(t)
			synctest.Test(t, func(t *testing.T) {
				b := newBucket(t)
				segments := 0
				b.fails = func(r joblog.Range) (bool, bool) {
					if r.First == r.Last {
						segments++
					}
					return true, false
				}
				s := p.shipper(joblog.State{}, b)
				if interval != joblog.Interval {
					s.MinInterval = func() time.Duration { return interval }
				}
				ctx, cancel := context.WithCancel(t.Context())
				written, done := make(chan struct{}), make(chan struct{})
				go func() { defer close(done); joblog.RunOn(s, ctx, written) }()
				time.Sleep(time.Minute)
				synctest.Wait()
				p.write(spool.Stdout, []byte("first\n"))
				written <- struct{}{}
				synctest.Wait() // the clock stands still
				p.check(b)
				for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Millisecond) {
					p.write(spool.Stdout, []byte("more\n"))
					select {
					case written <- struct{}{}:
					default:
					}
				}
				cancel()
				<-done
				if most := int(time.Minute/interval) + joblog.Burst + 1; segments > most || segments < most/2 {
					t.Errorf("%d segments in a minute, want at most %d and at least half of that", segments, most)
				}
			})
		})
	}
}

// TestAttempts ships what several attempts wrote, each by a shipper that goes on where the one
// before had got to. Each byte belongs to its attempt, also behind an attempt that wrote nothing.
func TestAttempts(t *testing.T) {
	t.Parallel()
	p, b := newProgram(t), newBucket(t)
	for attempt := 1; attempt <= 4; attempt++ {
		var err error
		if err = p.files.Begin(attempt); err != nil {
			t.Fatal(err)
		}
		if p.writer, err = spool.NewWriter(p.files, 0); err != nil {
			t.Fatal(err)
		}
		if attempt != 3 {
			p.write(spool.Stdout, []byte("begun\n"))
			p.write(spool.Stderr, []byte("failed\n"))
		}
		if err := p.shipper(b.read().state, b).Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for i, r := range p.check(b).records {
		got = append(got, r.Attempt)
		if i > 0 && r.At.Before(b.read().records[i-1].At) || r.At.IsZero() {
			t.Errorf("the record of attempt %d has the time %v", r.Attempt, r.At)
		}
	}
	if diff := cmp.Diff([]int{1, 1, 2, 2, 4, 4}, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	p.checkOrder(b)
}

// TestCoarse ships records that tell of both streams, as when the disk had no room for others, in
// segments that end in the middle of them.
func TestCoarse(t *testing.T) {
	t.Parallel()
	p, b := newProgram(t), newBucket(t)
	var at spool.Position
	for i := range 5 {
		for _, s := range streams() {
			data := bytes.Repeat([]byte{byte(i)}, 700<<10+i)
			if _, err := p.files.Of(s).Write(data); err != nil {
				t.Fatal(err)
			}
			*at.Of(s) += int64(len(data))
			p.want[s].Write(data)
			p.merged.Write(data)
		}
		if _, err := p.files.Order.Write(spool.Record{At: time.Now(), Attempt: 1, End: at}.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	s := p.shipper(joblog.State{}, b)
	b.fails = func(r joblog.Range) (bool, bool) {
		return r.First%2 == 0 || b.puts%2 == 0, r.First%2 == 1 && b.puts%2 == 1
	}
	for s.Flush(t.Context()) != nil {
		if b.count() > 100 {
			t.Fatal("it does not come to an end")
		}
	}
	p.checkOrder(b)
	next := p.shipper(b.read().state, b)
	if err := next.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.checkOrder(b)
}

// TestSegments bounds how many segments a long log has, and how often each byte is sent.
func TestSegments(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ segments, size, most int }{
		"lines":  {segments: 5000, size: 80, most: 3 * 32},
		"blocks": {segments: 128, size: 100 << 10, most: 128/32 + 32},
		"floods": {segments: 8, size: 3 << 20, most: 8 * 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, b := newProgram(t), newBucket(t)
			s := p.shipper(joblog.State{}, b)
			data := bytes.Repeat([]byte("x"), tt.size)
			for i := range tt.segments {
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
	var peak, shipped uint64
	s := joblog.NewShipper(p.files, joblog.State{}, func(_ context.Context, _ string, data []byte) error {
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
		p.writer.Write(spool.Stdout, block)
	}
	p.writer.Sync()
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
	s := joblog.NewShipper(p.files, joblog.State{}, func(context.Context, string, []byte) error { return nil })
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		p.writer.Write(spool.Stdout, data)
		p.writer.Sync()
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
