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
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
)

// The bounds of records: a manifest has ten thousand files with long names.
const (
	maxRecord   = 1 << 20
	maxManifest = 16 << 20
	maxOrder    = spool.MaxRecords * spool.RecordSize
)

// recordReceiver returns what takes the record of a name below .job/. Every record may be sent again, since its answer may have been
// lost.
func (f *Function) recordReceiver(name string) (*receiver, error) {
	parts := strings.Split(name, "/")
	switch {
	case name == "outputs.json":
		return &receiver{limit: maxManifest, store: f.manifest}, nil
	case len(parts) == 2 && parts[0] == "log":
		return &receiver{limit: joblog.MaxSegment, store: f.segment(parts[1])}, nil
	case name == "order":
		return &receiver{limit: maxOrder, store: f.order}, nil
	case name == "link":
		return &receiver{limit: maxRecord, store: f.link}, nil
	case name == "attempts/next/start":
		return &receiver{limit: maxRecord, store: f.startNext}, nil
	case len(parts) == 3 && parts[0] == "attempts":
		n, valid := attemptNumber(parts[1])
		if valid && parts[2] == "end" {
			return &receiver{limit: maxRecord, store: f.end(n)}, nil
		}
		if valid && parts[2] == "report" {
			return &receiver{limit: maxManifest, store: f.report(n)}, nil
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

// order takes the order of the whole log. It may come again, until the list of outputs is stored.
func (f *Function) order(ctx context.Context, u upload) (any, error) {
	id := u.index.JobID
	if err := f.stillTaken(ctx, id); err != nil {
		return nil, err
	}
	if err := logstore.PutOrder(ctx, f.store, id, u.body); err != nil {
		return nil, err
	}
	return nil, f.stillThere(ctx, id, ledger.OrderKey(id))
}

// claim asks for an attempt. Owner tells those who ask apart.
type claim struct {
	Owner  string      `json:"owner"`
	Limits *job.Limits `json:"limits"`
}

const maxOwner = 256

func decodeClaim(ctx context.Context, b *body) (claim, error) {
	var c claim
	if err := decode(ctx, b, &c); err != nil {
		return c, err
	}
	if c.Owner == "" || len(c.Owner) > maxOwner || !utf8.ValidString(c.Owner) || strings.ContainsFunc(c.Owner, unicode.IsControl) {
		return c, job.Invalid("owner", fmt.Sprintf("must have from 1 to %d bytes, none of them a control character", maxOwner))
	}
	return c, nil
}

// startNext claims the attempt that is due, whatever its number: a pod does not know which one it is. While another's has not ended
// the answer is 503, since that may have died and somebody will find out.
func (f *Function) startNext(ctx context.Context, u upload) (any, error) {
	c, err := decodeClaim(ctx, u.body)
	if err != nil {
		return nil, err
	}
	id := u.index.JobID
	attempts, err := f.ledger.Attempts(ctx, id)
	if err != nil {
		return nil, err
	}
	n := len(attempts)
	if n == 0 || attempts[n-1].FinishedAt != nil {
		if over, err := f.ender.Job(ctx, u.index, nil); err != nil || over { // whoever ended the attempt did not get to this
			return nil, errors.Join(err, errOver())
		}
		return f.claim(ctx, id, n+1, c)
	}
	owner, err := f.ledger.Owner(ctx, id, n)
	if err != nil {
		return nil, err
	}
	if owner != c.Owner {
		return nil, errTaken(n)
	}
	return f.claim(ctx, id, n, c)
}

func (f *Function) claim(ctx context.Context, id job.ID, n int, c claim) (any, error) {
	a, err := f.ledger.StartAttempt(ctx, id, n, c.Owner, c.Limits)
	first := err == nil
	if errors.Is(err, job.ErrExists) { // perhaps by the same owner, whose answer was lost
		a, err = f.ledger.StartedBy(ctx, id, n, c.Owner)
	}
	if errors.Is(err, job.ErrExists) {
		return nil, errTaken(n)
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

func errTaken(n int) error {
	return job.Refuse(job.ErrUnavailable, "", fmt.Sprintf("attempt %d is somebody else's and has not ended; do not run anything, and ask again until it has", n))
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
		if err := decode(ctx, u.body, &a); err != nil {
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
		return f.recordEnd(ctx, u.index, a)
	}
}

// report takes what an agent saw of the end of attempt n when it cannot know the reason: somebody stopped its container. Unless that was
// the job's user, who looks at Kubernetes next will find out.
func (f *Function) report(n int) func(context.Context, upload) (any, error) {
	return func(ctx context.Context, u upload) (any, error) {
		var r struct {
			Attempt  job.Attempt       `json:"attempt"`
			Manifest executor.Manifest `json:"manifest"`
		}
		if err := decode(ctx, u.body, &r); err != nil {
			return nil, err
		}
		if r.Attempt.Number != n {
			return nil, job.Invalid("attempt.number", fmt.Sprintf("must be %d, as in the path", n))
		}
		if r.Attempt.FinishedAt == nil {
			return nil, job.Invalid("attempt.finishedAt", "is required")
		}
		if err := f.checkEnd(u.index, *r.Attempt.FinishedAt, r.Attempt.Reason, r.Attempt.ExitCode); err != nil {
			return nil, err
		}
		if err := f.checkManifest(ctx, u.index.JobID, &r.Manifest); err != nil {
			return nil, err
		}
		if err := f.ledger.PutReport(ctx, u.index.JobID, ledger.Report{Attempt: r.Attempt, Files: r.Manifest.Files}); err != nil {
			return nil, err
		}
		cancelled, err := f.ledger.CancelRequested(ctx, u.index.JobID)
		if err != nil || !cancelled {
			return nil, err
		}
		r.Attempt.Reason, r.Attempt.Message = job.ReasonCancelled, "cancelled by its user"
		return f.recordEnd(ctx, u.index, r.Attempt)
	}
}

// recordEnd records the end of an attempt, and that of the job if no other follows.
func (f *Function) recordEnd(ctx context.Context, index *job.Index, a job.Attempt) (any, error) {
	attempts, err := f.ledger.Attempts(ctx, index.JobID)
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
	_, err = f.ender.Attempt(ctx, index, begun)
	return begun, err
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
func decode(ctx context.Context, b *body, into any) error {
	data, err := budget.ReadAll(ctx, b, b.length, b.limit)
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
