package follow_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/follow"
	"go-job-orchestrator/shared/job"
)

const id = job.ID("fe5ddbd91522000000000000000000ab")

// sink keeps what it takes.
type sink struct {
	stdout, stderr bytes.Buffer
	attempts       []int
	fail           error // of the next write
}

func (s *sink) Write(stream string, _ time.Time, data []byte) error {
	if s.fail != nil {
		return s.fail
	}
	if stream == "stderr" {
		s.stderr.Write(data)
	} else {
		s.stdout.Write(data)
	}
	return nil
}

func (s *sink) Attempt(n int) error { s.attempts = append(s.attempts, n); return nil }

// newFollower returns a follower of a server that answers with handle.
func newFollower(t *testing.T, o follow.Options, handle http.HandlerFunc) *follow.Follower {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Reached = true
	return follow.New(client.New(base, client.Token("")), o)
}

var whole = follow.Query{Tail: follow.All, Follow: true}

// chunk is an event of a log and the offset behind it.
type chunk struct {
	stream string
	data   []byte
	end    int
}

// scripted is a log of events with binary and text data.
func scripted(random *rand.Rand) (chunks []chunk, stdout, stderr []byte) {
	at := 0
	for range 200 {
		data := make([]byte, 1+random.IntN(300))
		if random.IntN(2) == 0 {
			for i := range data {
				data[i] = byte(random.UintN(256))
			}
		} else {
			copy(data, strings.Repeat("text\r\n\x00ä\u2028 id: 7\n\n", 20)[:len(data)])
		}
		c := chunk{"stdout", data, at + len(data)}
		if random.IntN(3) == 0 {
			c.stream = "stderr"
			stderr = append(stderr, data...)
		} else {
			stdout = append(stdout, data...)
		}
		at = c.end
		chunks = append(chunks, c)
	}
	return chunks, stdout, stderr
}

func (c chunk) event() string {
	return fmt.Sprintf("id: %d\nevent: %s\ndata: {\"time\":\"2026-11-30T16:00:00Z\",\"base64\":%q}\n\n", c.end, c.stream,
		base64.StdEncoding.EncodeToString(c.data))
}

// TestCuts has each answer cut off at a random byte, and finds every byte once.
func TestCuts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		chunks, stdout, stderr := scripted(random)
		var connections atomic.Int32
		var mu sync.Mutex // of random: a handler may still end when the next one begins
		f := newFollower(t, follow.Options{}, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			connections.Add(1)
			from, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
			w.Header().Set("Content-Type", "text/event-stream")
			answer := fmt.Sprintf("retry: 1000\n\n: hello\n\nid: %d\nevent: attempt\ndata: {\"attempt\":1}\n\n", from)
			for _, c := range chunks {
				if c.end > from {
					answer += c.event()
				}
			}
			answer += "id: 0-end\nevent: end\ndata: {\"phase\":\"Failed\",\"reason\":\"Error\",\"exitCode\":3}\n\n"
			if random.IntN(4) > 0 {
				answer = answer[:min(random.IntN(len(answer)), 12_000)]
			}
			_, _ = w.Write([]byte(answer))
			if random.IntN(2) == 0 {
				panic(http.ErrAbortHandler) // a cut; otherwise the answer ends as it should
			}
		})
		var got sink
		end, err := f.Log(t.Context(), id, whole, &got)
		if err != nil || end == nil || end.Phase != job.Failed || end.ExitCode == nil || *end.ExitCode != 3 {
			t.Fatalf("seed %d: %+v, %v", seed, end, err)
		}
		if !bytes.Equal(got.stdout.Bytes(), stdout) || !bytes.Equal(got.stderr.Bytes(), stderr) {
			t.Errorf("seed %d: other bytes after %d connections: %d and %d, want %d and %d", seed, connections.Load(),
				got.stdout.Len(), got.stderr.Len(), len(stdout), len(stderr))
		}
		if diff := cmp.Diff([]int{1}, got.attempts); diff != "" {
			t.Errorf("seed %d: attempts (-want +got):\n%s", seed, diff)
		}
	}
}

const endEvent = "id: 5-end\nevent: end\ndata: {\"phase\":\"Succeeded\"}\n\n"

// TestDeadConnection has the first connection go silent without an end, as after a laptop's sleep.
func TestDeadConnection(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]func(w http.ResponseWriter){
		"before the answer": func(http.ResponseWriter) {},
		"in the answer": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "id: 5\nevent: stdout\ndata: {\"text\":\"hello\"}\n\n")
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var connections atomic.Int32
			f := newFollower(t, follow.Options{Silence: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
				if connections.Add(1) == 1 {
					silent(w)
					<-r.Context().Done()
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				if r.Header.Get("Last-Event-ID") == "" {
					fmt.Fprint(w, "id: 5\nevent: stdout\ndata: {\"text\":\"hello\"}\n\n")
				}
				fmt.Fprint(w, endEvent)
			})
			var got sink
			if _, err := f.Log(t.Context(), id, whole, &got); err != nil || got.stdout.String() != "hello" {
				t.Errorf("got %q, %v", got.stdout.String(), err)
			}
		})
	}
}

// TestSlowWriter has a sink that takes longer than a connection may be silent.
func TestSlowWriter(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	f := newFollower(t, follow.Options{Silence: 100 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		connections.Add(1)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "id: 5\nevent: stdout\ndata: {\"text\":\"hello\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(300 * time.Millisecond) // the writer is busy meanwhile
		fmt.Fprint(w, endEvent)
	})
	if _, err := f.Log(t.Context(), id, whole, slow{}); err != nil || connections.Load() != 1 {
		t.Errorf("%d connections, %v", connections.Load(), err)
	}
}

type slow struct{}

func (slow) Write(string, time.Time, []byte) error { time.Sleep(500 * time.Millisecond); return nil }
func (slow) Attempt(int) error                     { return nil }

// TestFailures says which answers are tried again, and which are not.
func TestFailures(t *testing.T) {
	t.Parallel()
	problem := func(w http.ResponseWriter, status int) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"detail":"a problem"}`, status)
	}
	for name, test := range map[string]struct {
		first func(w http.ResponseWriter)
		again bool
	}{
		"502 of a gateway":          {func(w http.ResponseWriter) { w.WriteHeader(502) }, true},
		"503":                       {func(w http.ResponseWriter) { problem(w, 503) }, true},
		"500":                       {func(w http.ResponseWriter) { problem(w, 500) }, true},
		"429":                       {func(w http.ResponseWriter) { problem(w, 429) }, true},
		"404 of a gateway":          {func(w http.ResponseWriter) { w.WriteHeader(404) }, true},
		"a page of a hotel's login": {func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") }, true},
		"404":                       {func(w http.ResponseWriter) { problem(w, 404) }, false},
		"401":                       {func(w http.ResponseWriter) { problem(w, 401) }, false},
		"403 of a gateway":          {func(w http.ResponseWriter) { w.WriteHeader(403) }, false},
		"422":                       {func(w http.ResponseWriter) { problem(w, 422) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var connections atomic.Int32
			f := newFollower(t, follow.Options{}, func(w http.ResponseWriter, _ *http.Request) {
				if connections.Add(1) == 1 {
					test.first(w)
					return
				}
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, endEvent)
			})
			_, err := f.Log(t.Context(), id, whole, &sink{})
			if again := connections.Load() > 1; again != test.again || (err == nil) != test.again {
				t.Errorf("tried again: %t, want %t; %v", again, test.again, err)
			}
		})
	}
}

// TestGiveUp has the server go away for good.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	var troubles atomic.Int32
	base := &url.URL{Scheme: "http", Host: "localhost:1"}
	o := follow.Options{Reached: true, GiveUp: 300 * time.Millisecond, Trouble: func(error, time.Duration) {
		troubles.Add(1)
	}}
	f := follow.New(client.New(base, client.Token("")), o)
	_, err := f.Log(t.Context(), id, whole, &sink{})
	var lost *follow.LostError
	if !errors.As(err, &lost) || lost.After < 300*time.Millisecond || troubles.Load() == 0 {
		t.Errorf("got %v after %d troubles", err, troubles.Load())
	}
}

// TestNeverReached does not wait for a server whose name is wrong.
func TestNeverReached(t *testing.T) {
	t.Parallel()
	f := follow.New(client.New(&url.URL{Scheme: "http", Host: "localhost:1"}, client.Token("")), follow.Options{})
	_, err := f.Log(t.Context(), id, whole, &sink{})
	var unreachable *client.UnreachableError
	var lost *follow.LostError
	if !errors.As(err, &unreachable) || errors.As(err, &lost) {
		t.Errorf("got %v", err)
	}
}

// TestRemoved has the job removed while it is followed.
func TestRemoved(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	f := newFollower(t, follow.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if connections.Add(1) == 1 {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "retry: 1000\n\n")
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(404)
		fmt.Fprint(w, `{"status":404}`)
	})
	if end, err := f.Log(t.Context(), id, whole, &sink{}); err != nil || end == nil || !end.Removed {
		t.Errorf("got %+v, %v", end, err)
	}
}

// TestSinkFails has an error of the sink end the reading at once.
func TestSinkFails(t *testing.T) {
	t.Parallel()
	f := newFollower(t, follow.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "id: 5\nevent: stdout\ndata: {\"text\":\"hello\"}\n\n")
	})
	closed := errors.New("closed pipe")
	if _, err := f.Log(t.Context(), id, whole, &sink{fail: closed}); !errors.Is(err, closed) {
		t.Errorf("got %v", err)
	}
}

// TestTail has the log grow while there is no connection yet. What is written after the command began
// is not lost.
func TestTail(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	f := newFollower(t, follow.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "text/event-stream" {
			w.Header().Set("Trailer", "Log-Position")
			w.WriteHeader(200)
			w.Header().Set("Log-Position", "5")
			return
		}
		if connections.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if r.Header.Get("Last-Event-ID") != "5" {
			t.Errorf("goes on after %q, want 5", r.Header.Get("Last-Event-ID"))
		}
		fmt.Fprint(w, endEvent)
	})
	if _, err := f.Log(t.Context(), id, follow.Query{Tail: 0, Follow: true}, &sink{}); err != nil {
		t.Error(err)
	}
}

// TestCancelled ends with the reason for which the context ended.
func TestCancelled(t *testing.T) {
	t.Parallel()
	reason := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFollower(t, follow.Options{}, func(_ http.ResponseWriter, r *http.Request) {
		cancel(reason)
		<-r.Context().Done()
	})
	if _, err := f.Log(ctx, id, whole, &sink{}); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}
