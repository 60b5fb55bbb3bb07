package status

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/longpoll"
)

// events answers with server-sent events, one for each phase and for each other change, until the
// job is over or removed or the server stops. The last ID that a client has received says where the
// stream goes on.
func (f *Function) events(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := job.ParseID(p.ByName("id"))
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
		w.WriteHeader(http.StatusNoContent) // tells clients not to come again
		return nil
	}
	out, err := api.BeginEvents(w)
	if err != nil {
		return nil
	}
	var pace longpoll.Pace
	for {
		sent, err := changes(out, last, s)
		if err == nil && sent != "" {
			last = sent
			pace.Reset()
		}
		if err := errors.Join(err, out.KeepAlive("still "+string(s.Phase)), out.Flush()); err != nil || s.Phase.Terminal() {
			return nil
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
			_ = errors.Join(out.Comment("the job has been removed"), out.Flush())
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

// since returns the states of a job from the last that a client has received up to now. A phase
// that was too short to be seen in the records is not left out.
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

// changes sends the states that are new to the client, and returns the ID of the last.
func changes(out *api.Events, last string, now *job.Status) (sent string, err error) {
	for _, then := range since(last, now) {
		sent = changeID(then)
		if err := out.Send(sent, "", then); err != nil {
			return sent, err
		}
	}
	return sent, nil
}
