package agentapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/upload"
)

const maxOwner = 256

func decodeClaim(ctx context.Context, b *upload.Body) (agentwire.Claim, error) {
	var c agentwire.Claim
	if err := b.Decode(ctx, &c); err != nil {
		return c, err
	}
	if c.Owner == "" || len(c.Owner) > maxOwner || !utf8.ValidString(c.Owner) ||
		strings.ContainsFunc(c.Owner, unicode.IsControl) {
		return c, job.Invalid("owner", fmt.Sprintf("must have from 1 to %d bytes, none of them a control character",
			maxOwner))
	}
	return c, nil
}

// claimNext claims the attempt that is due, whatever its number: a pod does not know which one it
// is. While another's has not ended the answer is 503, since that may have died and somebody will
// find out.
func (f *Function) claimNext(ctx context.Context, u upload.Upload) (any, error) {
	c, err := decodeClaim(ctx, u.Body)
	if err != nil {
		return nil, err
	}
	id := u.Index.JobID
	attempts, err := f.Ledger.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	n := len(attempts)
	if n == 0 || attempts[n-1].FinishedAt != nil {
		// Whoever ended the attempt may have been cut off before the end of the job.
		if over, err := f.recorder.Job(ctx, u.Index, nil); err != nil || over {
			return nil, errors.Join(err, upload.ErrOver())
		}
		return f.claim(ctx, id, n+1, c)
	}
	owner, err := f.Ledger.Owner(ctx, id, n)
	if err != nil {
		return nil, err
	}
	if owner != c.Owner {
		return nil, errTaken(n)
	}
	return f.claim(ctx, id, n, c)
}

func (f *Function) claim(ctx context.Context, id job.ID, n int, c agentwire.Claim) (any, error) {
	a, err := f.Ledger.StartAttempt(ctx, id, n, c.Owner, c.Limits)
	first := err == nil
	if errors.Is(err, job.ErrExists) { // perhaps by the same owner, whose answer was lost
		a, err = f.Ledger.StartedBy(ctx, id, n, c.Owner)
	}
	if errors.Is(err, job.ErrExists) {
		return nil, errTaken(n)
	}
	if err != nil {
		return nil, err
	}
	// Only now: whoever cancels looks for attempts after recording the wish, so one sees the other.
	cancelled, err := f.Ledger.CancelRequested(ctx, id)
	if err != nil {
		return nil, err
	}
	if !cancelled {
		return a, nil
	}
	if first { // nobody runs it, so nobody else will record its end
		if err := f.endUnstarted(ctx, id, a); err != nil {
			return nil, err
		}
	}
	return nil, api.Fail(http.StatusConflict, "The job is to be cancelled; do not run it.")
}

func errTaken(n int) error {
	return job.Refuse(job.ErrUnavailable, "", fmt.Sprintf("attempt %d is somebody else's and has not ended; do not run "+
		"anything, and ask again until it has", n))
}

func (f *Function) endUnstarted(ctx context.Context, id job.ID, a job.Attempt) error {
	now := f.Now().UTC()
	a.FinishedAt, a.Reason, a.Message = &now, job.ReasonCancelled, "cancelled before it was started"
	return f.Ledger.EndAttempt(ctx, id, a)
}

// end records how attempt number n ended. The first record stands.
func (f *Function) end(n int) upload.Store {
	return func(ctx context.Context, u upload.Upload) (any, error) {
		var a job.Attempt
		if err := u.Body.Decode(ctx, &a); err != nil {
			return nil, err
		}
		if a.Number != n {
			return nil, job.Invalid("number", fmt.Sprintf("must be %d, as in the path", n))
		}
		if a.FinishedAt == nil {
			return nil, job.Invalid("finishedAt", "is required")
		}
		if err := f.checkEnd(u.Index, *a.FinishedAt, a.Reason, a.ExitCode); err != nil {
			return nil, err
		}
		return f.recordEnd(ctx, u.Index, a)
	}
}

// report takes what an agent saw of the end of attempt n when it cannot know the reason: somebody
// stopped its container. Unless that was the job's user, who looks at Kubernetes next will find
// out.
func (f *Function) report(n int) upload.Store {
	return func(ctx context.Context, u upload.Upload) (any, error) {
		var r agentwire.Report
		if err := u.Body.Decode(ctx, &r); err != nil {
			return nil, err
		}
		if r.Attempt.Number != n {
			return nil, job.Invalid("attempt.number", fmt.Sprintf("must be %d, as in the path", n))
		}
		if r.Attempt.FinishedAt == nil {
			return nil, job.Invalid("attempt.finishedAt", "is required")
		}
		if err := f.checkEnd(u.Index, *r.Attempt.FinishedAt, r.Attempt.Reason, r.Attempt.ExitCode); err != nil {
			return nil, err
		}
		if err := f.checkManifest(ctx, u.Index.JobID, &r.Manifest); err != nil {
			return nil, err
		}
		if err := f.Ledger.PutReport(ctx, u.Index.JobID,
			ledger.Report{Attempt: r.Attempt, Files: r.Manifest.Files}); err != nil {
			return nil, err
		}
		cancelled, err := f.Ledger.CancelRequested(ctx, u.Index.JobID)
		if err != nil || !cancelled {
			return nil, err
		}
		r.Attempt.Reason, r.Attempt.Message = job.ReasonCancelled, "cancelled by its user"
		return f.recordEnd(ctx, u.Index, r.Attempt)
	}
}

// recordEnd records the end of an attempt, and that of the job if no other follows.
func (f *Function) recordEnd(ctx context.Context, index *job.Index, a job.Attempt) (any, error) {
	attempts, err := f.Ledger.Attempts(ctx, index.JobID)
	if err != nil {
		return nil, err
	}
	if a.Number > len(attempts) {
		return nil, api.Fail(http.StatusConflict, fmt.Sprintf("Attempt %d has not begun.", a.Number))
	}
	begun := attempts[a.Number-1]
	if begun.FinishedAt == nil {
		a.StartedAt = begun.StartedAt // as our clock had it
		if a.Limits == nil {
			a.Limits = begun.Limits
		}
		begun = a
	}
	_, err = f.recorder.Attempt(ctx, index, begun)
	return begun, err
}

// maxSkew is how far the agent's clock may be off. When a job is removed is counted from the time
// the agent says.
const maxSkew = 24 * time.Hour

const maxReason = 64

// checkEnd says what is wrong with what is common to the ends of attempts and jobs.
func (f *Function) checkEnd(index *job.Index, at time.Time, reason job.Reason, exitCode *int) error {
	if at.Before(index.CreatedAt.Add(-maxSkew)) || at.After(f.Now().Add(maxSkew)) {
		return job.Invalid("finishedAt", "must be between the job's creation and now")
	}
	notWord := func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	if reason == "" || len(reason) > maxReason || strings.ContainsFunc(string(reason), notWord) {
		return job.Invalid("reason", "must be one word in CamelCase")
	}
	if exitCode != nil && (*exitCode < 0 || *exitCode > 255) {
		return job.Invalid("exitCode", "must be from 0 to 255")
	}
	return nil
}
