package status_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// watched is a server over a directory, and what follows all jobs there.
type watched struct {
	t       *testing.T
	records *ledger.Ledger
	url     string
	caller  access.Caller
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	s, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.New(make([]byte, token.MinKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t: t, records: ledger.New(s, time.Now), caller: access.Caller{Owner: "ann", Role: access.User}}
	log := slog.New(slog.DiscardHandler)
	router := api.NewRouter(log).Guarded(guard.New(guard.Deps{Tokens: keys, Now: time.Now, Owners: w.records,
		Identify: func(r *http.Request) (*http.Request, error) {
			return r.WithContext(access.With(r.Context(), w.caller)), nil
		}}))
	mount(t, router, w.records, keys, nil, log)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: router}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Close() })
	w.url = "http://" + ln.Addr().String() + "/api/v1/jobs/events"
	return w
}

// accept makes a job of an owner.
func (w *watched) accept(owner string) *job.Index {
	w.t.Helper()
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	index := &job.Index{JobID: id, CreatedAt: time.Now(), Owner: owner}
	index.TTLSecondsAfterFinished = 3600
	if err := w.records.Accept(context.Background(), index); err != nil {
		w.t.Fatal(err)
	}
	return index
}

func (w *watched) finish(index *job.Index) {
	w.t.Helper()
	end := job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now()}
	if _, _, err := w.records.Finish(w.t.Context(), index, end); err != nil {
		w.t.Fatal(err)
	}
}

// change is what an event tells.
type change struct {
	id, kind string
	job      job.Summary
}

// follow returns what reads the next event.
func (w *watched) follow(header ...string) func() change {
	w.t.Helper()
	got := get(w.t, w.url, header...)
	if got.StatusCode != http.StatusOK {
		w.t.Fatal(got.Status)
	}
	lines := bufio.NewReader(got.Body)
	return func() change {
		w.t.Helper()
		var c change
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				w.t.Fatal(err)
			}
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "id":
				c.id = value
			case "event":
				c.kind = value
			case "data":
				if err := json.Unmarshal([]byte(value), &c.job); err != nil {
					w.t.Fatal(err)
				}
			case "":
				if c.id != "" {
					return c
				}
			}
		}
	}
}

// want demands that the next event is about a job in a phase, or about its removal.
func (w *watched) want(next func() change, index *job.Index, phase job.Phase) change {
	w.t.Helper()
	got := next()
	kind := ""
	if phase == "" {
		kind = "removed"
	}
	if got.job.JobID != index.JobID || got.job.Phase != phase || got.kind != kind {
		w.t.Fatalf("got %+v, want %s %s", got, index.JobID, phase)
	}
	return got
}

// TestWatch follows all jobs of an owner through their lives.
func TestWatch(t *testing.T) {
	w := newWatched(t)
	over := w.accept("ann")
	w.finish(over)
	waiting := w.accept("ann")
	w.accept("bob")
	next := w.follow()
	w.want(next, waiting, job.Pending) // what is over is not told, and what others have
	made := w.accept("ann")
	w.want(next, made, job.Pending)
	if _, err := w.records.StartAttempt(t.Context(), made.JobID, 1, "test", nil); err != nil {
		t.Fatal(err)
	}
	w.want(next, made, job.Running)
	w.finish(made)
	last := w.want(next, made, job.Succeeded)
	if err := w.records.Remove(t.Context(), made.JobID); err != nil {
		t.Fatal(err)
	}
	w.want(next, made, "")

	// A client that comes again is told what has changed meanwhile, and not what it knows.
	w.finish(waiting)
	fresh := w.accept("ann")
	later, err := strconv.ParseInt(last.id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	next = w.follow("Last-Event-ID", strconv.FormatInt(later, 10))
	w.want(next, fresh, job.Pending)
	w.want(next, waiting, job.Succeeded)
	w.finish(fresh)
	w.want(next, fresh, job.Succeeded)

	// An admin sees all, or one owner's.
	w.caller = access.Caller{Owner: "root", Role: access.Admin}
	all := w.follow()
	if got := all(); got.job.Owner != "bob" {
		t.Errorf("an admin is told of %+v", got)
	}
}

// TestWatchOfOthers asks for what the caller may not see.
func TestWatchOfOthers(t *testing.T) {
	w := newWatched(t)
	for query, want := range map[string]int{"?owner=bob": 403, "?owner=ann&owner=ann": 400, "?limit=1": 400, "?owner=": 400} {
		if got := get(t, w.url+query); got.StatusCode != want {
			t.Errorf("%s: %s, want %d", query, got.Status, want)
		}
	}
}
