package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog/joblogtest"
	"go-job-orchestrator/shared/spool"
)

// TestLive follows a program while it writes, with the pace that is used in production. Its lines
// must come within a second.
func TestLive(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	resp, err := w.open(t.Context(), "follow=true")
	if err != nil { // the headers come although there is no log yet
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for name, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	s, ctx := w.shipper(), t.Context()
	running, stop := context.WithCancel(ctx)
	var shipping sync.WaitGroup
	shipping.Go(func() { s.Run(running) })
	in := bufio.NewReader(resp.Body)
	var took []time.Duration
	for i := range 8 {
		line := fmt.Sprintf("line %d\n", i)
		w.Write(streams()[i%2], line)
		begun := time.Now()
		if got, err := in.ReadString('\n'); err != nil || got != line {
			t.Fatalf("got %q, %v; want %q", got, err, line)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	if middle := took[len(took)/2]; middle > time.Second { // a single one may have hit a busy machine
		t.Errorf("lines took %v", took)
	}
	stop()
	shipping.Wait()
	w.end(s)
	rest, err := io.ReadAll(in)
	if err != nil || len(rest) > 0 {
		t.Errorf("at the end came %q, %v", rest, err)
	}
	if got := resp.Trailer.Get("Job-Phase"); got != string(job.Succeeded) {
		t.Errorf("Job-Phase is %q", got)
	}
}

// TestProcess follows a real process, binary bytes and all, of which a child goes on writing. Where
// every answer is cut off after a time, followers are sent off before, and told where to go on.
func TestFollowTimeout(t *testing.T) {
	w := newFixture(t)
	w.function.FollowTimeout = 300 * time.Millisecond
	s := w.shipper()
	w.Write(spool.Stdout, "one\n")
	w.Ship(s)
	first := w.read("follow=true")
	if first.body != "one\n" || first.phase() == "" || first.phase().Terminal() {
		t.Fatalf("got %q and %q", first.body, first.phase())
	}
	w.Write(spool.Stdout, "two\n")
	w.end(s)
	next := w.read("follow=true&from=" + first.Trailer.Get("Log-Position"))
	if next.body != "two\n" || !next.phase().Terminal() {
		t.Errorf("got %q and %q", next.body, next.phase())
	}
}

func TestProcess(t *testing.T) {
	t.Parallel()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	w := newFixture(t)
	w.function.reader.LastPoll = time.Millisecond
	const script = `printf 'a\000\377\r\n'; (i=0; while [ $i -lt 300 ]; do echo child $i; i=$((i+1)); done) & echo oops >&2; wait; printf end`
	cmd := exec.CommandContext(t.Context(), sh, "-c", script)
	pipes, err := spool.NewPipes(w.Writer, spool.User{UID: -1, GID: -1}, false)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = pipes.Stdout(), pipes.Stderr()
	var want strings.Builder
	want.WriteString("a\x00\xff\r\n")
	for i := range 300 {
		fmt.Fprintf(&want, "child %d\n", i)
	}
	want.WriteString("end")
	w.Expect(spool.Stdout, want.String())
	w.Expect(spool.Stderr, "oops\n")
	answers := make(chan *answer, 2)
	for _, s := range streams() {
		go func() { answers <- w.get("follow=true&tail=all&stream=" + s.String()) }()
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go pipes.Run()
	s, done := w.shipper(), make(chan error, 1)
	go func() {
		err := cmd.Wait()
		pipes.Finish()
		done <- err
	}()
	for running := true; running; {
		select {
		case err := <-done:
			running = false
			if err != nil {
				t.Fatal(err)
			}
		default:
			w.Ship(s)
		}
	}
	w.end(s)
	for range 2 {
		a := <-answers
		wanted := w.Want(parseStream(t, a.Request.URL.Query().Get("stream")))
		if a.err != nil || a.body != wanted {
			t.Errorf("%s: %d bytes, %v; want the %d written", a.Request.URL.RawQuery, len(a.body), a.err, len(wanted))
		}
	}
}

// TestAttempts follows a job over two attempts. It is neither running nor over in between.
func TestAttempts(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.function.reader.LastPoll = time.Millisecond
	r := w.intercept()
	id, ctx := w.Index.JobID, t.Context()
	done := make(chan *answer, 1)
	go func() { done <- w.get("follow=true") }()
	for n := 1; n <= 2; n++ {
		a, err := w.Ledger.StartAttempt(ctx, id, n, "test", nil)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(spool.Stdout, fmt.Sprintf("attempt %d\n", n))
		w.Ship(w.shipper()) // each attempt has its own, which goes on where the last one stopped
		now := time.Now()
		a.FinishedAt = &now
		if err := w.Ledger.EndAttempt(ctx, id, a); err != nil {
			t.Fatal(err)
		}
		seen := r.calls.over.Load()
		w.until("the follower has looked a few times", func() bool { return r.calls.over.Load() > seen+5 })
		select {
		case a := <-done:
			t.Fatalf("the follower ended after attempt %d with %q, %v", n, a.body, a.err)
		default:
		}
	}
	w.end(w.shipper())
	if a := <-done; a.err != nil || a.body != "attempt 1\nattempt 2\n" || a.phase() != job.Succeeded {
		t.Errorf("got %q, %s, %v", a.body, a.phase(), a.err)
	}
}

// TestRemoved removes a job that is followed.
func TestRemoved(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.function.reader.LastPoll = time.Millisecond
	w.Write(spool.Stdout, "one\n")
	w.Ship(w.shipper())
	r := w.intercept()
	done := make(chan *answer, 1)
	go func() { done <- w.get("follow=true") }()
	w.until("it is followed", func() bool { return r.calls.live.Load() > 1 })
	if err := w.Ledger.RequestRemoval(t.Context(), w.Index.JobID); err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.err != nil || a.body != "one\n" || a.phase() != "" {
		t.Errorf("got %q, %q, %v", a.body, a.phase(), a.err)
	}
	if a := w.get(""); a.StatusCode != http.StatusNotFound {
		t.Errorf("after that: %s", a.Status)
	}
}

// TestClientGone makes sure that nobody goes on following for a client that has gone.
func TestClientGone(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 5 {
		resp, err := w.open(ctx, "follow=true")
		if err != nil {
			t.Fatal(err)
		}
		clients.Go(func() { finish(resp) })
	}
	if n := w.handlers.Load(); n != 5 {
		t.Errorf("%d handlers run, want 5", n)
	}
	cancel()
	clients.Wait()
	w.until("the handlers have ended", func() bool { return w.handlers.Load() == 0 })
}

// TestRestarts has the server replaced again and again while a client follows, which goes on where
// each answer ended.
func TestRestarts(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.function.reader.LastPoll = time.Millisecond
	s, random := w.shipper(), rand.New(rand.NewPCG(1, 2))
	got := map[spool.Stream]string{}
	queries := map[spool.Stream]string{spool.Stdout: "tail=all", spool.Stderr: "tail=all"}
	phases := map[spool.Stream]job.Phase{}
	for round := range 12 {
		answers := map[spool.Stream]chan *answer{}
		for _, stream := range streams() {
			resp, err := w.open(t.Context(), "follow=true&stream="+stream.String()+"&"+queries[stream])
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan *answer, 1)
			answers[stream] = done
			go func() { done <- finish(resp) }()
		}
		for range 20 {
			w.Write(streams()[random.IntN(2)], string(noise(random, random.IntN(5000))))
			if random.IntN(2) == 0 {
				w.Ship(s)
			}
		}
		if round == 11 {
			w.end(s)
		} else {
			w.stop()
			w.serve()
		}
		for stream, done := range answers {
			a := <-done
			if a.err != nil {
				t.Fatal(a.err)
			}
			got[stream] += a.body
			queries[stream], phases[stream] = "from="+a.Trailer.Get("Log-Position"), a.phase()
			if at := a.position(); at != int64(len(got[stream])) {
				t.Errorf("%s: Log-Position is %d after %d bytes", stream, at, len(got[stream]))
			}
			if round < 11 && a.phase() != job.Pending {
				t.Errorf("%s: Job-Phase is %q after the server was stopped", stream, a.phase())
			}
		}
	}
	for _, stream := range streams() {
		if got[stream] != w.Want(stream) || phases[stream] != job.Succeeded {
			t.Errorf("%s: %d bytes and %s, want the %d written and Succeeded", stream, len(got[stream]), phases[stream],
				len(w.Want(stream)))
		}
	}
}

func parseStream(t *testing.T, name string) spool.Stream {
	t.Helper()
	s, err := spool.ParseStream(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noise(random *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(random.Uint32())
		if data[i] < 16 {
			data[i] = '\n'
		}
	}
	return data
}

// TestRandom writes, ships, fails and merges in any order while the log is followed, by some who go
// and come back, and read in every other way.
func TestRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			w.function.reader.LastPoll = time.Millisecond
			random := rand.New(rand.NewPCG(seed, 3))
			var followers sync.WaitGroup
			for _, stream := range streams() {
				followers.Go(func() { w.followOn(stream) })
			}
			followers.Go(func() {
				a := w.get("follow=true&tail=all")
				if n := len(w.Want(spool.Stdout)) + len(w.Want(spool.Stderr)); a.err != nil || len(a.body) != n {
					t.Errorf("a follower of both got %d bytes, %v; want %d", len(a.body), a.err, n)
				}
			})
			s := w.failingShipper(func() bool { return random.IntN(10) == 0 })
			for range 500 {
				switch random.IntN(9) {
				case 0:
					w.Write(streams()[random.IntN(2)], string(noise(random, random.IntN(30_000))))
				case 1, 2, 3:
					w.Write(streams()[random.IntN(2)], fmt.Sprintf("line %d\n", random.IntN(1000)))
				case 4:
					if random.IntN(12) == 0 {
						w.checkTails(random)
					}
				default:
					_ = s.Flush(t.Context()) // may fail
				}
			}
			w.end(s)
			followers.Wait()
			w.checkTails(random)
		})
	}
}

// followOn follows one stream to its end. It goes away now and then, and comes back to where it
// was.
func (w *fixture) followOn(stream spool.Stream) {
	var got bytes.Buffer
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(w.T.Context())
		resp, err := w.open(ctx, fmt.Sprintf("follow=true&stream=%s&from=%d", stream, got.Len()))
		if err == nil && n < 20 {
			_, err = io.CopyN(&got, resp.Body, int64(n)*5000)
		} else if err == nil {
			_, err = io.Copy(&got, resp.Body)
		}
		cancel()
		if err == nil && n >= 20 {
			break
		}
		if err != nil && !errors.Is(err, io.EOF) {
			w.T.Error(err)
			break
		}
	}
	if got.String() != w.Want(stream) {
		w.T.Errorf("a follower of %s who went and came got %d bytes, which are not the %d written", stream, got.Len(),
			len(w.Want(stream)))
	}
}

// checkTails compares tails and readings from anywhere with the whole log as it is now.
func (w *fixture) checkTails(random *rand.Rand) {
	w.T.Helper()
	for _, stream := range []string{"", "&stream=stdout", "&stream=stderr"} {
		whole := w.read("tail=all" + stream)
		for _, n := range []int{0, 1, 2, 3, random.IntN(50), random.IntN(5000), 1 << 30} {
			want := joblogtest.LastLines(whole.body, n)
			if a := w.read(fmt.Sprintf("tail=%d%s", n, stream)); a.body != want {
				w.T.Errorf("%s: the last %d lines have %d bytes, want %d", stream, n, len(a.body), len(want))
			}
		}
		if a := w.read("from=" + whole.Trailer.Get("Log-Position") + stream); a.body != "" {
			w.T.Errorf("%s: %d bytes come behind the end", stream, len(a.body))
		}
		i := random.IntN(len(whole.body) + 1)
		if a := w.read(fmt.Sprintf("from=%d%s", i, stream)); a.body != whole.body[i:] {
			w.T.Errorf("%s: from byte %d come %d bytes, want %d", stream, i, len(a.body), len(whole.body)-i)
		}
	}
}

// TestEnding has jobs end under followers and readers, step by step and at any moment.
func TestEnding(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.function.reader.LastPoll = 100 * time.Microsecond
	for i := range 20 {
		w.Renew()
		s := w.shipper()
		for j := range 1 + i%40 {
			w.Write(streams()[j%2], fmt.Sprintf("%d.%d\n", i, j))
			w.Ship(s)
		}
		w.Write(spool.Stderr, "last words") // not shipped before the end
		var readers sync.WaitGroup
		started := make(chan struct{}, 8)
		for _, stream := range streams() {
			readers.Go(func() {
				started <- struct{}{}
				a := w.get("follow=true&tail=all&stream=" + stream.String())
				if a.err != nil || a.body != w.Want(stream) || a.phase() != job.Succeeded {
					t.Errorf("follower of %s: %q %s %v, want %q", stream, a.body, a.phase(), a.err, w.Want(stream))
				}
			})
			readers.Go(func() {
				started <- struct{}{}
				var last *answer
				for last == nil || !last.phase().Terminal() {
					last = w.get("tail=all&stream=" + stream.String())
					if last.err != nil || !strings.HasPrefix(w.Want(stream), last.body) {
						t.Errorf("reader of %s: %s %q %v", stream, last.Status, last.body, last.err)
						return
					}
				}
				if last.body != w.Want(stream) {
					t.Errorf("reader of %s: the job is over, and its log is %q, want %q", stream, last.body, w.Want(stream))
				}
			})
		}
		for range 1 + i%4 {
			<-started
		}
		w.end(s)
		readers.Wait()
	}
}
