package logstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/joblog/joblogtest"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
	"go-job-orchestrator/shared/store"
)

var both = []spool.Stream{spool.Stdout, spool.Stderr}

// fixture is a job whose log is written, shipped and read.
type fixture struct {
	*joblogtest.Fixture
	reader *Reader
	fail   func() bool // whether the next put is to fail
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	w := &fixture{Fixture: joblogtest.New(t), fail: func() bool { return false }}
	w.reader = &Reader{Store: w.Store, Records: w.Ledger, FirstPoll: 5 * time.Millisecond, LastPoll: 5 * time.Millisecond}
	return w
}

var errPut = errors.New("storage is away")

func (w *fixture) put(ctx context.Context, name string, data []byte) error {
	if w.fail() {
		if rand.IntN(2) == 0 { // stored, and only the answer lost
			_ = Accept(ctx, w.Store, w.Index.JobID, name, bytes.NewReader(data))
		}
		return errPut
	}
	return Accept(ctx, w.Store, w.Index.JobID, name, bytes.NewReader(data))
}

func (w *fixture) shipper(from joblog.State) *joblog.Shipper {
	return joblog.NewShipper(w.Spool, from, w.put)
}

// end does what is done when a program has ended.
func (w *fixture) end(s *joblog.Shipper) {
	w.T.Helper()
	w.Ship(s)
	w.Keep()
	w.Must(w.Spool.Repair())
	w.Must(PutOrder(context.Background(), w.Store, w.Index.JobID, io.NewSectionReader(w.Spool.Order, 0, 1<<40)))
	w.End(w.Index, job.Succeeded)
	w.Must(Retire(context.Background(), w.Store, w.Index.JobID))
}

func (w *fixture) read(q Query) (string, int64) {
	w.T.Helper()
	var out bytes.Buffer
	at, err := w.reader.Copy(context.Background(), w.Index.JobID, q, nil, Text{&out})
	if err != nil {
		w.T.Fatal(err)
	}
	return out.String(), at
}

// TestRandom writes, ships, merges, fails and reads in any order. Followers must get every byte of
// each stream once and in order, tails must be those of tail(1), and reading must go on from any
// place.
func TestRandom(t *testing.T) {
	t.Parallel()
	for round := range 4 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			w.fail = func() bool { return rand.IntN(5) == 0 }
			queries := [][]spool.Stream{both, {spool.Stdout}, {spool.Stderr}}
			got := make([]bytes.Buffer, len(queries))
			var followers sync.WaitGroup
			for i, streams := range queries {
				followers.Go(func() {
					if _, err := w.reader.Copy(t.Context(), w.Index.JobID, Query{Streams: streams, Tail: All, Follow: true}, nil,
						Text{&got[i]}); err != nil {
						t.Error(err)
					}
				})
			}
			s := w.shipper(joblog.State{})
			for range 150 {
				stream := both[rand.IntN(2)]
				switch rand.IntN(8) {
				case 0:
					w.Write(stream, strings.Repeat("x", rand.IntN(200_000))+"\n")
				case 1, 2, 3:
					w.Write(stream, fmt.Sprintf("%s %d\n", stream, rand.IntN(1000)))
				case 4:
					w.Write(stream, "no newline")
				case 5, 6:
					_ = s.Flush(t.Context()) // may fail
				case 7:
					if rand.IntN(10) == 0 && s.Flush(t.Context()) == nil { // another attempt goes on
						from, err := State(t.Context(), w.Store, w.Index.JobID)
						if err != nil {
							t.Fatal(err)
						}
						s = w.shipper(from)
					}
					if rand.IntN(4) == 0 {
						w.checkTails()
					}
				}
			}
			w.end(s)
			followers.Wait()
			for i, streams := range queries {
				if len(streams) == 1 {
					if got[i].String() != w.Want(streams[0]) {
						t.Errorf("a follower of %v got %d bytes that differ from the %d written", streams, got[i].Len(),
							len(w.Want(streams[0])))
					}
				} else if n := len(w.Want(spool.Stdout)) + len(w.Want(spool.Stderr)); got[i].Len() != n {
					t.Errorf("a follower of both got %d bytes, want %d", got[i].Len(), n)
				}
			}
			w.checkTails()
			all, _ := w.read(Query{Streams: both, Tail: All})
			if all != got[0].String() {
				t.Error("what was followed and what is kept are in another order")
			}
			left, err := w.Store.List(t.Context(), ledger.LogPrefix(w.Index.JobID), "", 1000)
			if err != nil || len(left) > 0 {
				t.Errorf("segments are left: %v %v", left, err)
			}
		})
	}
}

// TestStateWhileMerged asks for the end of a log whose segments are merged at the same time, as
// another pod's may be.
func TestStateWhileMerged(t *testing.T) {
	w := newFixture(t)
	shipped := make(chan struct{})
	defer func() { <-shipped }()
	go func() {
		defer close(shipped)
		s := w.shipper(joblog.State{})
		for i := range 700 {
			w.Write(both[i%2], "line\n")
			if err := s.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}()
	var last joblog.State
	for open := true; open; {
		select {
		case <-shipped:
			open = false // one more time, for all of it
		default:
		}
		state, err := State(t.Context(), w.Store, w.Index.JobID)
		if err != nil {
			t.Fatal(err)
		}
		if state.Next < last.Next || state.Stdout < last.Stdout || state.Stderr < last.Stderr {
			t.Fatalf("the log shrank from %+v to %+v", last.Position, state.Position)
		}
		last = state
	}
	if want := (spool.Position{Stdout: 350 * 5, Stderr: 350 * 5}); last.Position != want {
		t.Errorf("got %+v, want %+v", last.Position, want)
	}
}

// checkTails compares tails of what can be read now, and readings that go on from a place.
func (w *fixture) checkTails() {
	w.T.Helper()
	for _, streams := range [][]spool.Stream{both, {spool.Stdout}, {spool.Stderr}} {
		all, end := w.read(Query{Streams: streams, Tail: All})
		for _, n := range []int{0, 1, 2, 7, 1 << 20} {
			want := joblogtest.LastLines(all, n)
			if got, _ := w.read(Query{Streams: streams, Tail: n}); got != want {
				w.T.Errorf("the last %d lines of %v have %d bytes, want %d of %d", n, streams, len(got), len(want), len(all))
			}
		}
		if got, _ := w.read(Query{Streams: streams, Tail: All, From: end}); got != "" {
			w.T.Errorf("%d bytes come after the end", len(got))
		}
		k := rand.IntN(len(all) + 1)
		if got, _ := w.read(Query{Streams: streams, Tail: All, From: int64(k)}); got != all[k:] {
			w.T.Errorf("from byte %d of %v come %d bytes, want %d", k, streams, len(got), len(all)-k)
		}
	}
}

// TestSegments bounds how many segments a long log has.
func TestSegments(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper(joblog.State{})
	for i := range 1100 {
		w.Write(both[i%2], "line\n")
		w.Must(s.Flush(t.Context()))
	}
	keys, err := w.Store.List(t.Context(), ledger.LogPrefix(w.Index.JobID), "", 10_000)
	if err != nil || len(keys) > 3*32 {
		t.Errorf("%d segments for 1100 writes (%v)", len(keys), err)
	}
	if got, _ := w.read(Query{Streams: []spool.Stream{spool.Stderr}, Tail: All}); got != w.Want(spool.Stderr) {
		t.Error("the segments do not hold what was written")
	}
}

// TestShrunk cuts the log off, as a program can.
func TestShrunk(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper(joblog.State{})
	w.Write(spool.Stdout, "0123456789")
	w.Must(s.Flush(t.Context()))
	w.Must(w.Spool.Stdout.Truncate(3))
	for range 3 {
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	w.end(s)
	if got, _ := w.read(Query{Streams: both, Tail: All}); got != "012" {
		t.Errorf("got %q, want what the file has", got)
	}
}

// TestNoWhole keeps the segments when the whole log could not be stored.
func TestNoWhole(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper(joblog.State{})
	w.Write(spool.Stdout, "kept\n")
	w.Must(s.Flush(t.Context()))
	w.End(w.Index, job.Failed)
	w.Must(Retire(t.Context(), w.Store, w.Index.JobID))
	if got, _ := w.read(Query{Streams: both, Tail: 10, Follow: true}); got != "kept\n" {
		t.Errorf("got %q", got)
	}
}

// TestFollowEnds ends followers in each way there is.
func TestFollowEnds(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	stop := make(chan struct{})
	close(stop)
	if _, err := w.reader.Copy(t.Context(), w.Index.JobID, Query{Streams: both, Follow: true}, stop,
		Text{io.Discard}); err != nil {
		t.Errorf("server stops: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.reader.Copy(ctx, w.Index.JobID, Query{Streams: both, Follow: true}, nil, Text{io.Discard}); !errors.Is(
		err, context.Canceled) {
		t.Errorf("client goes: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := w.reader.Copy(t.Context(), w.Index.JobID, Query{Streams: both, Follow: true}, nil, Text{io.Discard})
		done <- err
	}()
	w.End(w.Index, job.Failed)
	if err := w.Ledger.Remove(t.Context(), w.Index.JobID); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("job is removed: %v", err)
	}
}

// TestAccept refuses what is no segment.
func TestAccept(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, name := range []string{"", "x", "../x", "000000000000", "000000000001-000000000000",
		"00000000000G-00000000000G", "+00000000001-000000000001", strings.Repeat("0", 25)} {
		if err := Accept(t.Context(), w.Store, w.Index.JobID, name, strings.NewReader("{}\n")); !errors.Is(err,
			job.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	name := joblog.Range{First: 1, Last: 1}.Name()
	if err := Accept(t.Context(), w.Store, w.Index.JobID, name, endless{}); !errors.Is(err, job.ErrTooLarge) {
		t.Errorf("endless: %v", err)
	}
	if ok, err := w.Store.Exists(t.Context(), ledger.LogPrefix(w.Index.JobID)+name); ok || err != nil {
		t.Errorf("something was stored: %v %v", ok, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// FuzzHeader gives any bytes to the reader of segments.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(`{"stdout":0,"stderr":5,"runs":[{"stream":"stdout","bytes":3}]}` + "\nabc"))
	f.Add([]byte(`{"stdout":0,"stderr":5,"runs":[{"stream":"stdout","bytes":3},{"stream":"stderr","bytes":2}]}` +
		"\nabcde"))
	f.Add([]byte(`{"runs":[{"stream":"stdout","bytes":9000}]}` + "\n" + strings.Repeat("x", 9000)))
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"stdout":-1}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, n, err := joblog.ReadHeader(bytes.NewReader(data))
		if err != nil {
			return
		}
		if n > int64(len(data)) || h.Start.Stdout < 0 || h.Start.Stderr < 0 {
			t.Errorf("header %+v of %d bytes", h, n)
		}
		whole, err := readHead(bytes.NewReader(data), int64(len(data)))
		if short := n+h.Body() > int64(len(data)); short != (err != nil) {
			t.Fatalf("%d bytes, header %+v of %d: %v", len(data), h, n, err)
		}
		if err != nil {
			return
		}
		at := n
		for _, e := range segmentChunks("key", whole) {
			if want := data[at : at+e.bytes]; e.offset != at || e.data != nil && !bytes.Equal(e.data, want) {
				t.Errorf("chunk %+v, want %q from %d", e, want, at)
			}
			at += e.bytes
		}
	})
}

// FuzzName gives any text to the parser of names.
func FuzzName(f *testing.F) {
	f.Add("000000000001-00000000000f")
	f.Add("x")
	f.Fuzz(func(t *testing.T, name string) {
		if r, err := joblog.ParseName(name); err == nil && r.Name() != name {
			t.Errorf("%q is %+v, whose name is %q", name, r, r.Name())
		}
	})
}

// BenchmarkTail reads the last 100 lines of logs of two sizes.
func BenchmarkTail(b *testing.B) {
	for _, size := range []int{1 << 20, 256 << 20} {
		b.Run(fmt.Sprintf("%dMiB", size>>20), func(b *testing.B) {
			w := newFixture(b)
			line := strings.Repeat("x", 99) + "\n"
			w.Write(spool.Stdout, strings.Repeat(line, size/len(line)))
			w.end(w.shipper(joblog.State{}))
			for b.Loop() {
				if _, err := w.reader.Copy(b.Context(), w.Index.JobID, Query{Streams: both, Tail: 100}, nil,
					Text{io.Discard}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTorn cuts the last segment short, as a power failure may, at every length. It must count as
// not there, and not for ever.
func TestTorn(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper(joblog.State{})
	w.flush(s, "one\n")
	before, err := State(t.Context(), w.Store, w.Index.JobID)
	if err != nil {
		t.Fatal(err)
	}
	w.flush(s, "two\n")
	path := filepath.Join(w.Dir, filepath.FromSlash(ledger.LogPrefix(w.Index.JobID)),
		joblog.Range{First: 1, Last: 1}.Name())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		w.Must(os.Truncate(path, int64(n)))
		state, err := State(t.Context(), w.Store, w.Index.JobID)
		if err != nil || state.Next != before.Next || state.Position != before.Position {
			t.Errorf("%d bytes of it: the log ends at %+v, %v; want %+v", n, state, err, before)
		}
		for _, tail := range []int{All, 1, 5} {
			if got, _ := w.read(Query{Streams: both, Tail: tail}); got != "one\n" {
				t.Errorf("%d bytes of it: tail %d is %q", n, tail, got)
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.Must(os.Truncate(path, 0))
	lines, done := w.follower(t.Context())
	w.expect(lines, "one\n")
	again := w.shipper(before) // whoever takes the job up
	w.flush(again, "three\n")
	w.expect(lines, "two\nthree\n")
	w.end(again)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTornAtTheEnd has a job end that lost a segment, and of which no more than the segments are
// left.
func TestTornAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper(joblog.State{})
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		w.flush(s, line)
	}
	path := filepath.Join(w.Dir, filepath.FromSlash(ledger.LogPrefix(w.Index.JobID)),
		joblog.Range{First: 1, Last: 1}.Name())
	w.Must(os.Truncate(path, 5))
	w.End(w.Index, job.Failed)
	for _, follow := range []bool{false, true} {
		if got, _ := w.read(Query{Streams: both, Tail: All, Follow: follow}); got != "one\nthree\n" {
			t.Errorf("follow %t: %q", follow, got)
		}
	}
}

// TestNoOrder has a job end whose log was stored, but not its order: the segments stay, and tell
// it.
func TestNoOrder(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper(joblog.State{})
	for i := range 10 {
		w.Write(both[i%2], fmt.Sprintf("%d\n", i))
	}
	w.end(s)
	want, _ := w.read(Query{Streams: both, Tail: All})
	again := w.shipper(joblog.State{})
	if err := errors.Join(again.Flush(t.Context()),
		w.Store.Remove(t.Context(), ledger.OrderKey(w.Index.JobID))); err != nil {
		t.Fatal(err)
	}
	w.Must(Retire(t.Context(), w.Store, w.Index.JobID))
	if got, _ := w.read(Query{Streams: both, Tail: All}); got != want || want != "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n" {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSpool makes a spool of what was shipped, which must be like the first one up to there: bytes,
// order, times and attempts.
func TestSpool(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Must(w.Spool.Begin(3))
	var err error
	if w.Writer, err = spool.NewWriter(w.Spool, 0); err != nil {
		t.Fatal(err)
	}
	s := w.shipper(joblog.State{})
	for i := range 100 {
		w.Write(both[i%2], fmt.Sprintf("%d\n", i))
		if i%7 == 0 {
			w.Must(s.Flush(t.Context()))
		}
	}
	w.Must(s.Flush(t.Context()))
	to, _ := spooltest.New(t)
	if _, err := w.reader.Copy(t.Context(), w.Index.JobID, Query{Streams: both, Tail: All}, nil, Spool{to}); err != nil {
		t.Fatal(err)
	}
	w.Must(to.Repair()) // which finds nothing to do
	for name, pair := range map[string][2]*os.File{
		"stdout": {w.Spool.Stdout, to.Stdout}, "stderr": {w.Spool.Stderr, to.Stderr}, "order": {w.Spool.Order, to.Order},
	} {
		var data [2][]byte
		for i, f := range pair {
			if data[i], err = io.ReadAll(io.NewSectionReader(f, 0, 1<<30)); err != nil {
				t.Fatal(err)
			}
		}
		if name == "order" {
			data[0] = data[0][spool.RecordSize:] // the mark of the attempt, before its first byte
		}
		if !bytes.Equal(data[0], data[1]) {
			t.Errorf("%s: %d bytes became %d others", name, len(data[0]), len(data[1]))
		}
	}
	if holds, err := to.Holds(spool.Position{Stdout: 140, Stderr: 140}); err != nil || !holds {
		t.Errorf("it holds all that was shipped: %t, %v", holds, err)
	}
}

// TestRequests reads a log of many short records. A cloud charges for each request, and takes its
// time.
func TestRequests(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for i := range 10_000 {
		w.Writer.Write(both[i%2], []byte("line\n"))
	}
	w.Writer.Sync()
	w.end(w.shipper(joblog.State{}))
	segments, err := whole(t.Context(), w.Store, w.Index.JobID)
	if err != nil {
		t.Fatal(err)
	}
	counted := &counting{Store: w.Store}
	forward, backward := blobs{store: counted}, blocks{store: counted}
	defer forward.closeAll()
	n := 0
	for _, p := range segments {
		list, err := p.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			in, err := forward.reader(t.Context(), &list[i], 0)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(in); err != nil || string(text) != "line\n" {
				t.Fatalf("chunk %d is %q, %v", n, text, err)
			}
			n++
		}
	}
	if n != 10_000 || counted.opened > 2 {
		t.Errorf("%d chunks were read with %d requests, want 2: one for each stream", n, counted.opened)
	}
	counted.opened = 0
	for _, p := range slices.Backward(segments) {
		list, err := p.load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range slices.Backward(list) {
			if text, err := backward.read(t.Context(), &list[i], 0, 5); err != nil || string(text) != "line\n" {
				t.Fatalf("%q, %v", text, err)
			}
		}
	}
	if counted.opened > 2 {
		t.Errorf("backwards they were read with %d requests", counted.opened)
	}
}

// counting counts requests.
type counting struct {
	*store.Store
	opened int
}

func (c *counting) Open(ctx context.Context, key string, offset, length int64) (*store.Reader, error) {
	c.opened++
	return c.Store.Open(ctx, key, offset, length)
}
