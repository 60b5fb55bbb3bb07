package status_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
)

// watched is a server over a directory, and what follows all jobs there.
type watched struct {
	*ledgertest.Fixture
	url    string
	caller access.Caller
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	f := ledgertest.New(t)
	return newWatchedOver(f, f.Ledger)
}

// newWatchedOver is newWatched for a function that reads other records.
func newWatchedOver(f *ledgertest.Fixture, records status.Records) *watched {
	f.T.Helper()
	w := &watched{Fixture: f, caller: access.Caller{Owner: "ann", Role: access.User}}
	log := slog.New(slog.DiscardHandler)
	router := api.NewRouter(log).Guarded(guard.New(guard.Deps{Tokens: w.Keys, Now: time.Now, Owners: w.Ledger,
		Identify: func(r *http.Request) (*http.Request, error) {
			return r.WithContext(access.With(r.Context(), w.caller)), nil
		}}))
	mount(f.T, router, records, w.Keys, nil, log)
	server := httptest.NewServer(router)
	f.T.Cleanup(func() { server.CloseClientConnections(); server.Close() }) // streams have no end
	w.url = server.URL + "/api/v1/jobs/events"
	return w
}

// accept makes a job of an owner.
func (w *watched) accept(owner string) *job.Index {
	w.T.Helper()
	return w.Job(func(i *job.Index) { i.Owner, i.TTLSecondsAfterFinished = owner, 3600 })
}

func (w *watched) finish(index *job.Index) {
	w.T.Helper()
	w.End(index, job.Succeeded)
}

// change is what an event tells.
type change struct {
	id, kind string
	job      job.Summary
}

// follow returns what reads the next event, if one comes within half a minute.
func (w *watched) follow(header ...string) func() change {
	w.T.Helper()
	got := get(w.T, w.url, header...)
	if got.StatusCode != http.StatusOK {
		w.T.Fatal(got.Status)
	}
	lines := bufio.NewReader(got.Body)
	return func() change {
		w.T.Helper()
		defer time.AfterFunc(30*time.Second, func() { got.Body.Close() }).Stop()
		var c change
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				w.T.Fatal(err)
			}
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "id":
				c.id = value
			case "event":
				c.kind = value
			case "data":
				if err := json.Unmarshal([]byte(value), &c.job); err != nil {
					w.T.Fatal(err)
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
	w.T.Helper()
	got := next()
	kind := ""
	if phase == "" {
		kind = "removed"
	}
	if got.job.JobID != index.JobID || got.job.Phase != phase || got.kind != kind {
		w.T.Fatalf("got %+v, want %s %s", got, index.JobID, phase)
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
	w.Start(made, 1)
	w.want(next, made, job.Running)
	w.finish(made)
	last := w.want(next, made, job.Succeeded)
	w.Must(w.Ledger.Remove(t.Context(), made.JobID))
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

// careless lists the jobs of everybody.
type careless struct{ *ledger.Ledger }

func (c careless) IDs(ctx context.Context, q ledger.Query) ([]job.ID, error) {
	q.Owner = ""
	return c.Ledger.IDs(ctx, q)
}

// TestWatchChecksOwners has a list with a job of somebody else.
func TestWatchChecksOwners(t *testing.T) {
	f := ledgertest.New(t)
	w := newWatchedOver(f, careless{f.Ledger})
	mine := w.accept("ann")
	w.accept("bob")
	next := w.follow()
	w.want(next, mine, job.Pending)
	w.want(next, w.accept("ann"), job.Pending)
}

// TestWatchBesideMany watches a job that is older than the jobs that a list shows, and the newest of
// those that are over.
func TestWatchBesideMany(t *testing.T) {
	w := newWatched(t)
	old := w.accept("ann")
	var newest *job.Index
	for range 101 {
		newest = w.accept("ann")
		w.finish(newest)
	}
	next := w.follow()
	w.want(next, old, job.Pending)
	w.finish(old)
	w.want(next, old, job.Succeeded)
	w.Must(w.Ledger.Remove(t.Context(), newest.JobID))
	w.want(next, newest, "")
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
