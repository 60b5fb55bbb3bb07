package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/watch"
)

// keepAlive is how often something is sent to a client for whom nothing happens: proxies cut off what is silent.
const keepAlive = 15 * time.Second

// events answers with server-sent events, one for each phase and whatever else changes in it, until the job is over or gone or
// the server stops. The last ID that a client has had says where it goes on.
func (f *Function) events(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := api.Authorize(r, p, f.keys, token.User)
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" {
		return api.BadRequest("query", "this call has no parameters; Last-Event-ID is a header")
	}
	last := r.Header.Get("Last-Event-ID")
	look, changed, leave := f.watching(r.Context(), id)
	defer leave()
	s, err := look(r.Context(), id)
	if err != nil {
		return err
	}
	if s.Phase.Terminal() && last == changeID(s) {
		w.WriteHeader(http.StatusNoContent) // by which clients know not to come again
		return nil
	}
	out := begin(w)
	var pace watch.Pace
	for quiet := time.Now(); ; {
		sent, err := out.changes(last, s)
		if err != nil || s.Phase.Terminal() {
			return nil //nolint:nilerr // the client has gone
		}
		if sent != "" {
			last, quiet = sent, time.Now()
			pace.Reset()
		} else if time.Since(quiet) >= keepAlive {
			if out.comment("still "+string(s.Phase)) != nil {
				return nil
			}
			quiet = time.Now()
		}
		select {
		case <-changed:
		case <-pace.Next():
		case <-r.Context().Done():
			return nil
		case <-api.Stopping(r.Context()): // the client comes again
			return nil
		}
		next, err := look(r.Context(), id)
		switch {
		case errors.Is(err, job.ErrNotFound):
			_ = out.comment("the job has been removed")
			return nil
		case err != nil: // the client comes again, and sees what is wrong if it still is
			return nil
		}
		s = next
	}
}

// changeID names a state of a job, so that every server knows what a client has seen.
func changeID(s *job.Status) string {
	return fmt.Sprintf("%d-%s-%d", rank(s.Phase), s.Reason, len(s.Attempts))
}

// rank is where a phase is in the life of a job.
func rank(p job.Phase) int {
	switch {
	case p.Terminal():
		return 3
	case p == job.Running:
		return 2
	}
	return 1
}

// since returns the states between the last that a client has had and how the job is now. What was quicker than a look at the
// records is not left out.
func since(last string, s *job.Status) []*job.Status {
	seen := 0
	if last != "" && last[0] >= '1' && last[0] <= '3' {
		seen = int(last[0] - '0')
	}
	phases := []job.Phase{job.Pending}
	if s.StartedAt != nil && s.Phase != job.Running {
		phases = append(phases, job.Running)
	}
	if s.Phase != job.Pending {
		phases = append(phases, s.Phase)
	}
	var list []*job.Status
	for _, phase := range phases {
		then := s.At(phase)
		if rank(phase) > seen || phase == s.Phase && rank(phase) == seen && changeID(then) != last {
			list = append(list, then)
		}
	}
	return list
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func begin(w http.ResponseWriter) *stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, control: http.NewResponseController(w)}
}

// changes sends what is new to the client and returns the ID of the last it sent.
func (s *stream) changes(last string, now *job.Status) (sent string, err error) {
	for _, then := range since(last, now) {
		var b bytes.Buffer
		data, err := json.Marshal(then) // on one line
		if err != nil {
			return sent, err
		}
		sent = changeID(then)
		fmt.Fprintf(&b, "id: %s\nretry: 1000\ndata: %s\n\n", sent, data)
		if err := s.write(b.Bytes()); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (s *stream) comment(text string) error { return s.write([]byte(": " + text + "\n\n")) }

func (s *stream) write(data []byte) error {
	if _, err := s.w.Write(data); err != nil {
		return err
	}
	return s.control.Flush()
}
