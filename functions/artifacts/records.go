package artifacts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/logstore"
)

// The bounds of records: a manifest has ten thousand files with long names.
const (
	maxRecord   = 1 << 20
	maxManifest = 16 << 20
)

// recordReceiver returns what takes the record of a name below .job/. Every record may be sent again, since its answer may have been
// lost.
func (f *Function) recordReceiver(name string) (*receiver, error) {
	parts := strings.Split(name, "/")
	switch {
	case name == job.StatusFile:
		return &receiver{limit: maxRecord, late: true, store: f.finish}, nil
	case name == "outputs.json":
		return &receiver{limit: maxManifest, store: f.manifest}, nil
	case len(parts) == 2 && parts[0] == "log":
		return &receiver{limit: joblog.MaxSegment, store: f.segment(parts[1])}, nil
	case len(parts) == 3 && parts[0] == "attempts":
		n, valid := attemptNumber(parts[1])
		if valid && parts[2] == "start" {
			return &receiver{limit: maxRecord, store: f.start(n)}, nil
		}
		if valid && parts[2] == "end" {
			return &receiver{limit: maxRecord, store: f.end(n)}, nil
		}
	}
	return nil, fmt.Errorf("record %q: %w", name, job.ErrNotFound)
}

// attemptNumber reads a number as it is written in paths, so that every attempt has one name.
func attemptNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && strconv.Itoa(n) == s && n >= 1 && n <= job.MaxRetries+1
}

// segment takes a piece of the log.
func (f *Function) segment(name string) func(context.Context, upload) (any, error) {
	return func(ctx context.Context, u upload) (any, error) {
		return nil, logstore.Accept(ctx, f.store, u.index.JobID, name, u.body)
	}
}

// claim asks for an attempt. Owner tells those who ask apart.
type claim struct {
	Owner  string      `json:"owner"`
	Limits *job.Limits `json:"limits"`
}

const maxOwner = 256

// start claims attempt number n before any of the user's code runs.
func (f *Function) start(n int) func(context.Context, upload) (any, error) {
	return func(ctx context.Context, u upload) (any, error) {
		var c claim
		if err := decode(u.body, &c); err != nil {
			return nil, err
		}
		if c.Owner == "" || len(c.Owner) > maxOwner || !utf8.ValidString(c.Owner) || strings.ContainsFunc(c.Owner, unicode.IsControl) {
			return nil, job.Invalid("owner", fmt.Sprintf("must have from 1 to %d bytes, none of them a control character", maxOwner))
		}
		if err := f.checkTurn(ctx, u.index, n); err != nil {
			return nil, err
		}
		return f.claim(ctx, u.index.JobID, n, c)
	}
}

// checkTurn refuses an attempt that would leave a gap, in which the records end for those who read them, and one that is over:
// its owner was given it already, and has run it.
func (f *Function) checkTurn(ctx context.Context, index *job.Index, n int) error {
	attempts, err := f.ledger.Attempts(ctx, index.JobID)
	switch {
	case err != nil:
		return err
	case n > len(attempts)+1:
		return api.Fail(http.StatusConflict, fmt.Sprintf("Attempt %d cannot begin: attempt %d has not.", n, len(attempts)+1))
	case n < len(attempts), n == len(attempts) && attempts[n-1].FinishedAt != nil:
		return api.Fail(http.StatusConflict, fmt.Sprintf("Attempt %d has ended; it cannot begin again.", n))
	}
	return nil
}

func (f *Function) claim(ctx context.Context, id job.ID, n int, c claim) (any, error) {
	a, err := f.ledger.StartAttempt(ctx, id, n, c.Owner, c.Limits)
	first := err == nil
	if errors.Is(err, job.ErrExists) { // perhaps by the same owner, whose answer was lost
		a, err = f.ledger.StartedBy(ctx, id, n, c.Owner)
	}
	if errors.Is(err, job.ErrExists) {
		return nil, api.Fail(http.StatusConflict, fmt.Sprintf("Attempt %d is somebody else's; do not run it.", n))
	}
	if err != nil {
		return nil, err
	}
	// Only now: whoever cancels looks for attempts after recording the wish, so one sees the other.
	cancelled, err := f.ledger.CancelRequested(ctx, id)
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

func (f *Function) endUnstarted(ctx context.Context, id job.ID, a job.Attempt) error {
	now := f.now().UTC()
	a.FinishedAt, a.Reason, a.Message = &now, job.ReasonCancelled, "cancelled before it was started"
	return f.ledger.EndAttempt(ctx, id, a)
}

// end records how attempt number n ended. The first record stands.
func (f *Function) end(n int) func(context.Context, upload) (any, error) {
	return func(ctx context.Context, u upload) (any, error) {
		var a job.Attempt
		if err := decode(u.body, &a); err != nil {
			return nil, err
		}
		if a.Number != n {
			return nil, job.Invalid("number", fmt.Sprintf("must be %d, as in the path", n))
		}
		if a.FinishedAt == nil {
			return nil, job.Invalid("finishedAt", "is required")
		}
		if err := f.checkEnd(u.index, *a.FinishedAt, a.Reason, a.ExitCode); err != nil {
			return nil, err
		}
		return f.recordEnd(ctx, u.index.JobID, a)
	}
}

func (f *Function) recordEnd(ctx context.Context, id job.ID, a job.Attempt) (any, error) {
	attempts, err := f.ledger.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	if a.Number > len(attempts) {
		return nil, api.Fail(http.StatusConflict, fmt.Sprintf("Attempt %d has not begun.", a.Number))
	}
	begun := attempts[a.Number-1]
	if begun.FinishedAt != nil {
		return begun, nil
	}
	a.StartedAt = begun.StartedAt // as our clock had it
	if a.Limits == nil {
		a.Limits = begun.Limits
	}
	return a, f.ledger.EndAttempt(ctx, id, a)
}

// finish records how the job ended, and answers with the record that stands.
func (f *Function) finish(ctx context.Context, u upload) (any, error) {
	var t job.Terminal
	if err := decode(u.body, &t); err != nil {
		return nil, err
	}
	if !t.Phase.Terminal() {
		return nil, job.Invalid("phase", fmt.Sprintf("must be %s, %s or %s", job.Succeeded, job.Failed, job.Cancelled))
	}
	if t.JobID != "" && t.JobID != u.index.JobID {
		return nil, job.Invalid("jobID", "is another job's")
	}
	if err := f.checkEnd(u.index, t.FinishedAt, t.Reason, t.ExitCode); err != nil {
		return nil, err
	}
	recorded, _, err := f.ledger.Finish(ctx, u.index, t)
	if err != nil {
		return nil, err
	}
	// The job is over whether or not this succeeds; the rest goes when the job is removed.
	if err := logstore.Retire(ctx, f.store, u.index.JobID); err != nil {
		f.log.WarnContext(ctx, "pieces of the log not removed", "job", u.index.JobID, "error", err)
	}
	return recorded, nil
}

// maxSkew is how far the agent's clock may be off. When a job is removed is counted from the time the agent says.
const maxSkew = 24 * time.Hour

const maxReason = 64

// checkEnd says what is wrong with what is common to the ends of attempts and jobs.
func (f *Function) checkEnd(index *job.Index, at time.Time, reason job.Reason, exitCode *int) error {
	if at.Before(index.CreatedAt.Add(-maxSkew)) || at.After(f.now().Add(maxSkew)) {
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

// decode reads a record: one JSON value that has no other fields than it may. Only a body that arrived whole is looked at, so
// that one that was cut off is not called invalid.
func decode(r io.Reader, into any) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return job.Invalid("body", "is not the JSON that this record needs: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return job.Invalid("body", "has something after its JSON value")
	}
	return nil
}
