// Package cancel stops jobs, and removes them when asked to.
package cancel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/longpoll"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
)

// Function answers POST /api/v1/jobs/:id/cancel and DELETE /api/v1/jobs/:id.
type Function struct {
	ledger  *ledger.Ledger
	stopper backend.Stopper
	now     func() time.Time
	wait    time.Duration
	log     *slog.Logger
}

// maxWait is how long an answer waits for a job to be over. A user who cancels wants to see it
// cancelled, and a proxy wants an answer.
const maxWait = 15 * time.Second

// Deps is what cancel works with.
type Deps struct {
	Env     *platform.Env
	Ledger  *ledger.Ledger // announces the ends that it records
	Stopper backend.Stopper
}

// New returns the function.
func New(d Deps) *Function {
	return &Function{ledger: d.Ledger, stopper: d.Stopper, now: d.Env.Now, wait: maxWait, log: d.Env.Log}
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.CancelJob, f.cancel)
	r.Handle(routes.RemoveJob, f.remove)
}

// live returns the job that the path names, unless it is being removed.
func (f *Function) live(ctx context.Context, p httprouter.Params) (*job.Index, error) {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return nil, err
	}
	return f.ledger.Live(ctx, id)
}

// cancel answers 200 with the job once it is cancelled, 202 with it while that takes longer, and
// 409 when it had ended otherwise before.
func (f *Function) cancel(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	ctx := r.Context()
	index, err := f.live(ctx, p)
	if err != nil {
		return err
	}
	id := index.JobID
	over, err := f.ledger.Over(ctx, id)
	if err != nil {
		return err
	}
	if !over {
		if err := f.ledger.RequestCancel(ctx, id); err != nil {
			return err
		}
		if over, err = f.stop(ctx, index, false); err != nil {
			return err
		}
	}
	s, err := f.ledger.Status(ctx, id)
	switch {
	case err != nil:
		return err
	case over && s.Phase != job.Cancelled:
		return job.Refuse(job.ErrConflict, "", fmt.Sprintf("the job is over already: it is %s (%s)", s.Phase, s.Reason))
	case over:
		api.WriteJSON(w, http.StatusOK, s)
	default:
		api.WriteJSON(w, http.StatusAccepted, s)
	}
	return nil
}

// remove answers 204 once nothing of the job is left, and 202 while that takes longer; for users it
// is gone in both cases.
func (f *Function) remove(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	ctx := r.Context()
	index, err := f.live(ctx, p)
	if err != nil {
		return err
	}
	id := index.JobID
	if err := f.ledger.RequestRemoval(ctx, id); err != nil {
		return err
	}
	over, err := f.stop(ctx, index, true)
	if err != nil {
		return err
	}
	if !over { // the reaper goes on
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	switch err := f.ledger.Remove(ctx, id); {
	case err == nil, errors.Is(err, job.ErrNotFound):
		w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		gone, goneErr := f.gone(ctx, id)
		if !gone {
			return errors.Join(err, goneErr)
		}
		// It has begun, here or, with another request, elsewhere; the reaper completes what is left.
		f.log.Warn("job not removed to the end; the reaper goes on", "job", id, "error", err)
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
}

// stop ends the job and waits for that, and reports whether it is over.
func (f *Function) stop(ctx context.Context, index *job.Index, remove bool) (over bool, err error) {
	if err := f.stopper.Stop(ctx, index.JobID, remove); err != nil {
		return false, err
	}
	attempts, err := f.ledger.Attempts(ctx, index.JobID)
	if err != nil {
		return false, err
	}
	if len(attempts) == 0 { // a process that starts one from now on sees the cancel and gives it up
		if gone, err := f.gone(ctx, index.JobID); gone || err != nil { // an end recorded now would outlive the job
			return gone, err
		}
		t := job.Terminal{
			Phase: job.Cancelled, Reason: job.ReasonCancelled, Message: "cancelled before it was started",
			FinishedAt: f.now().UTC(),
		}
		_, _, err := f.ledger.Finish(ctx, index, t)
		if err != nil { // perhaps because somebody else is removing the job
			gone, goneErr := f.gone(ctx, index.JobID)
			if gone {
				return true, nil
			}
			return false, errors.Join(err, goneErr)
		}
		return true, nil
	}
	return f.await(ctx, index.JobID)
}

// await waits for the end of a job. What this process records is told at once; what others do has
// to be looked for.
func (f *Function) await(ctx context.Context, id job.ID) (over bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, f.wait)
	defer cancel()
	changed, leave := f.ledger.Watch(id)
	defer leave()
	for pace := (longpoll.Pace{}); ; {
		over, err := f.ledger.Over(context.WithoutCancel(ctx), id)
		if over || err != nil {
			return over, err
		}
		gone, err := f.gone(ctx, id)
		if gone || err != nil {
			return gone, err
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-changed:
		case <-pace.Next():
		}
	}
}

// gone reports whether the job was removed by someone else while this waited.
func (f *Function) gone(ctx context.Context, id job.ID) (bool, error) {
	_, err := f.ledger.Index(context.WithoutCancel(ctx), id)
	if errors.Is(err, job.ErrNotFound) {
		return true, nil
	}
	return false, err
}
