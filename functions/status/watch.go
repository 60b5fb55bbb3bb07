package status

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// The bounds of a stream of all jobs of a caller.
const (
	// watchedRecent is how many of the newest jobs are watched, whether they are over or not.
	watchedRecent = 100
	// watchedActive is how many jobs that are not over are watched.
	watchedActive = 500
	// watchPause is how long a change by another process may stay unseen.
	watchPause = 700 * time.Millisecond
)

// watch answers with server-sent events. There is one for each change of one of the caller's jobs,
// with the fields that a list has, and an event "removed" for each job that was removed. The stream
// begins with the jobs that are not over. The ID of an event is its time in milliseconds since
// 1970. A client that sends the ID back gets the jobs that have changed since.
func (f *Function) watch(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	owner, err := parseOwner(r)
	if err != nil {
		return err
	}
	changed, leave := f.records.WatchAll()
	defer leave()
	v := &watcher{records: f.records, owner: owner, known: map[job.ID]string{}}
	v.since, v.resumed = parseMoment(r.Header.Get("Last-Event-ID"))
	first, err := v.look(r.Context())
	if err != nil {
		return err
	}
	out, err := api.BeginEvents(w)
	if err != nil {
		return nil // the client has gone
	}
	for changes := first; ; {
		if err := errors.Join(changes.send(out), out.KeepAlive("nothing new"), out.Flush()); err != nil {
			return nil // the client has gone
		}
		select {
		case <-changed:
		case <-time.After(watchPause):
		case <-r.Context().Done():
			return nil
		case <-api.Stopping(r.Context()): // the client comes again
			return nil
		}
		if changes, err = v.look(r.Context()); err != nil {
			return nil // the client comes again, and sees what is wrong if it still is
		}
	}
}

// parseOwner returns the owner whose jobs the client asks for; empty: all owners.
func parseOwner(r *http.Request) (owner string, err error) {
	q := api.Query{Names: []string{"owner"}, Others: map[string]string{"user": "owner", "caller": "owner"}}
	err = q.Each(r.URL.RawQuery, func(name, value string) error {
		owner = value
		if message := access.CheckOwner(value); message != "" {
			return api.BadRequest(name, message)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return access.Listed(r.Context(), owner)
}

// parseMoment reads the ID of an event. An ID that cannot be read counts as none.
func parseMoment(id string) (at time.Time, ok bool) {
	ms, err := strconv.ParseInt(id, 10, 64)
	return time.UnixMilli(ms), err == nil && ms > 0
}

// watcher finds the changes that a client has not received yet.
type watcher struct {
	records Records
	owner   string    // empty: everybody
	since   time.Time // jobs that ended before are not sent; the first look, unless resumed
	resumed bool      // since is the time of the last event that the client has received
	begun   bool      // look was called before
	// known is the state of each watched job that the client knows, as stateOf returns it.
	known map[job.ID]string
}

// over is what stateOf returns for a job that does not change any more.
const over = "over"

func stateOf(s *job.Summary) string {
	if s.Phase.Terminal() {
		return over
	}
	return string(s.Phase) + " " + string(s.Reason)
}

// news is what the client does not know yet.
type news struct {
	at      time.Time // before the look
	jobs    []*job.Summary
	removed []job.ID
}

func (n *news) send(out *api.Events) error {
	id := strconv.FormatInt(n.at.UnixMilli(), 10)
	for _, s := range n.jobs {
		if err := out.Send(id, "", s); err != nil {
			return err
		}
	}
	for _, gone := range n.removed {
		data := struct {
			JobID job.ID `json:"jobID"`
		}{gone}
		if err := out.Send(id, "removed", data); err != nil {
			return err
		}
	}
	return nil
}

// look finds what has changed since the last look. It costs two listings, and a few reads for each
// job that is not over.
func (v *watcher) look(ctx context.Context) (*news, error) {
	n := &news{at: time.Now()}
	if !v.begun && !v.resumed {
		v.since = n.at
	}
	recent, err := v.records.IDs(ctx, ledger.Query{Owner: v.owner, Limit: watchedRecent})
	if err != nil {
		return nil, err
	}
	active, err := v.records.IDs(ctx, ledger.Query{Owner: v.owner, Limit: watchedActive, Phase: job.Pending})
	if err != nil {
		return nil, err
	}
	listed := map[job.ID]bool{}
	for _, id := range active {
		listed[id] = true
		err = errors.Join(err, v.check(ctx, id, n))
	}
	for _, id := range recent {
		if !v.begun && !v.resumed && !listed[id] { // it is over, and the client has asked for no more
			v.known[id] = over
		}
		listed[id] = true
		err = errors.Join(err, v.check(ctx, id, n))
	}
	err = errors.Join(err, v.forget(ctx, recent, listed, n))
	v.begun = true
	return n, err
}

// check looks at a job that may have changed.
func (v *watcher) check(ctx context.Context, id job.ID, n *news) error {
	last, known := v.known[id]
	if last == over {
		return nil
	}
	s, err := v.records.Summary(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil // it is being accepted, or removed
	}
	if err != nil {
		return err
	}
	if v.owner != "" && s.Owner != v.owner {
		return nil
	}
	state := stateOf(s)
	v.known[id] = state
	former := !known && state == over && s.FinishedAt != nil && s.FinishedAt.Before(v.since)
	if state != last && !former {
		n.jobs = append(n.jobs, s)
	}
	return nil
}

// forget finds out what happened to known jobs that are not listed any more.
func (v *watcher) forget(ctx context.Context, recent []job.ID, listed map[job.ID]bool, n *news) error {
	for id, last := range v.known {
		if listed[id] {
			continue
		}
		if older := len(recent) == watchedRecent && id > recent[len(recent)-1]; older && last == over {
			delete(v.known, id)
			continue
		}
		s, err := v.records.Summary(ctx, id)
		switch {
		case errors.Is(err, job.ErrNotFound):
			n.removed = append(n.removed, id)
		case err != nil:
			return err
		case stateOf(s) != last:
			n.jobs = append(n.jobs, s)
		}
		delete(v.known, id)
	}
	return nil
}
