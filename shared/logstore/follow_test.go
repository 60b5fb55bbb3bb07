package logstore

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/store"
)

// follower is at the other end of a log that is followed. What it reads is not kept for it: a slow
// one holds up its reader.
func (w *fixture) follower(ctx context.Context) (lines *io.PipeReader, done chan error) {
	lines, out := io.Pipe()
	done = make(chan error, 1)
	go func() {
		_, err := w.reader.Copy(ctx, w.Index.JobID, Query{Streams: both, Tail: All, Follow: true}, nil, Text{out})
		out.CloseWithError(io.EOF)
		done <- err
	}()
	return lines, done
}

// elsewhere ships the log from another process, of which nobody here is told.
func (w *fixture) elsewhere() *joblog.Shipper {
	w.T.Helper()
	other, err := store.OpenDir(w.Dir)
	if err != nil {
		w.T.Fatal(err)
	}
	return joblog.NewShipper(w.Spool, joblog.State{}, func(ctx context.Context, name string, data []byte) error {
		return Accept(ctx, other, w.Index.JobID, name, bytes.NewReader(data))
	})
}

func (w *fixture) expect(from io.Reader, want string) {
	w.T.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		w.T.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func (w *fixture) flush(s *joblog.Shipper, text string) {
	w.T.Helper()
	w.Write(spool.Stdout, text)
	if err := s.Flush(context.Background()); err != nil {
		w.T.Fatal(err)
	}
}

// TestWoken has a reader that would not look again for an hour. It must learn of each segment, and
// of the end, all the same.
func TestWoken(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.reader.FirstPoll, w.reader.LastPoll = time.Hour, time.Hour
	s := w.shipper(joblog.State{})
	lines, done := w.follower(t.Context())
	for range 3 {
		w.flush(s, "one\n")
		w.expect(lines, "one\n")
	}
	for range 100 { // while a slow follower does not read
		w.flush(s, "two\n")
	}
	for range 100 {
		w.expect(lines, "two\n")
	}
	w.end(s)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestNotWoken has another process write, of which nobody tells. Its lines come within a second,
// and a follower asks seldom while nothing does.
func TestNotWoken(t *testing.T) {
	w := newFixture(t)
	synctest.Test(t, func(t *testing.T) {
		w.reader.FirstPoll, w.reader.LastPoll = 100*time.Millisecond, 500*time.Millisecond
		asked := &asked{Records: w.Ledger}
		w.reader.Records = asked
		s := w.elsewhere()
		ctx, stop := context.WithCancel(t.Context())
		lines, done := w.follower(ctx)
		time.Sleep(time.Minute)
		synctest.Wait()                                  // it sleeps until it looks again
		if n := asked.times.Load(); n < 100 || n > 180 { // five times a second would be 300
			t.Errorf("asked %d times in a quiet minute", n)
		}
		for range 5 {
			begun := time.Now()
			w.flush(s, "one\n")
			w.expect(lines, "one\n")
			if took := time.Since(begun); took > 500*time.Millisecond {
				t.Errorf("a line took %s", took)
			}
			time.Sleep(3 * time.Second)
		}
		asked.times.Store(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := asked.times.Load(); n < 100 || n > 130 {
			t.Errorf("asked %d times in a quiet minute after some lines", n)
		}
		stop()
		<-done
	})
}

// TestFirstLine has another process write the first line after some time. Who waits for it must not
// wait much longer than it took.
func TestFirstLine(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond,
		3 * time.Second, 20 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			w := newFixture(t)
			synctest.Test(t, func(t *testing.T) {
				w.reader.FirstPoll, w.reader.LastPoll = 200*time.Millisecond, 500*time.Millisecond
				s := w.elsewhere()
				ctx, stop := context.WithCancel(t.Context())
				lines, done := w.follower(ctx)
				time.Sleep(after)
				begun := time.Now()
				w.flush(s, "one\n")
				w.expect(lines, "one\n")
				if late := time.Since(begun); late > max(50*time.Millisecond, min(after/16, 500*time.Millisecond)) {
					t.Errorf("a first line after %s was late by %s", after, late)
				}
				stop()
				<-done
			})
		})
	}
}

// asked counts how often a reader looks.
type asked struct {
	Records
	times atomic.Int64
}

func (a *asked) Over(ctx context.Context, id job.ID) (bool, error) {
	a.times.Add(1)
	return a.Records.Over(ctx, id)
}

// stuck does not answer from the second time on until it is let.
type stuck struct {
	Records
	times atomic.Int64
	let   chan struct{}
}

func (s *stuck) Over(ctx context.Context, id job.ID) (bool, error) {
	if s.times.Add(1) > 1 {
		<-s.let
	}
	return s.Records.Over(ctx, id)
}

// TestAhead wakes a reader by the segments that come next: it delivers them before it asks or lists
// anything.
func TestAhead(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.reader.FirstPoll, w.reader.LastPoll = time.Hour, time.Hour
	records := &stuck{Records: w.Ledger, let: make(chan struct{})}
	looked := &looked{Records: records, once: make(chan struct{}, 1000)}
	w.reader.Records = looked
	s := w.shipper(joblog.State{})
	w.flush(s, "one\n")
	lines, done := w.follower(t.Context())
	w.expect(lines, "one\n")
	<-looked.once // it waits for more
	w.flush(s, "two\n")
	w.expect(lines, "two\n")
	close(records.let)
	for range 100 { // merged three times before a slow follower reads them
		w.flush(s, "three\n")
	}
	for range 100 {
		w.expect(lines, "three\n")
	}
	w.end(s)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestGap has segments removed, as at the end of a job, of which a list shows some: nothing may be
// left out for it.
func TestGap(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.reader.FirstPoll, w.reader.LastPoll = time.Hour, time.Hour
	looked := &looked{Records: w.Ledger, once: make(chan struct{}, 1000)}
	w.reader.Records = looked
	s := w.shipper(joblog.State{})
	for _, text := range []string{"one\n", "two\n", "three\n"} {
		w.flush(s, text)
	}
	w.removePiece(1)
	lines, done := w.follower(t.Context())
	w.expect(lines, "one\n")
	<-looked.once
	w.end(s)
	w.expect(lines, "two\nthree\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLost has a segment that is gone for good, as from a bucket that somebody has tidied up: what
// comes after it is delivered.
func TestLost(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.reader.FirstPoll, w.reader.LastPoll = time.Millisecond, time.Millisecond
	s := w.shipper(joblog.State{})
	for _, text := range []string{"one\n", "two\n", "three\n"} {
		w.flush(s, text)
	}
	w.removePiece(1)
	lines, done := w.follower(t.Context())
	w.expect(lines, "one\nthree\n")
	w.end(s)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func (w *fixture) removePiece(n uint64) {
	w.T.Helper()
	key := ledger.LogPrefix(w.Index.JobID) + joblog.Range{First: n, Last: n}.Name()
	if _, err := w.Store.Stat(w.T.Context(), key); err != nil {
		w.T.Fatal(err)
	}
	if err := w.Store.Remove(w.T.Context(), key); err != nil {
		w.T.Fatal(err)
	}
}

// looked tells when a reader has looked and is about to wait.
type looked struct {
	Records
	once chan struct{}
}

func (l *looked) Live(ctx context.Context, id job.ID) (*job.Index, error) {
	l.once <- struct{}{}
	return l.Records.Live(ctx, id)
}
