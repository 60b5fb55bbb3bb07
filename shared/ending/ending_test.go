package ending_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
)

const id job.ID = "fe6aa1b2c3d4000102030405060708ff"

// bucket is one in a directory with one job, which may be tried twice.
type bucket struct {
	*ledgertest.Fixture
	recorder *ending.Recorder
	index    *job.Index
}

// now is when everything happens that a test looks at.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{Fixture: ledgertest.Open(t, t.TempDir(), func() time.Time { return now })}
	b.recorder = &ending.Recorder{Ledger: b.Ledger, Store: b.Store, Now: b.Now}
	b.index = b.Job(func(i *job.Index) {
		i.JobID, i.Retries = id, 1
		b.Must(b.Ledger.BeginUpload(t.Context(), id))
	})
	return b
}

func (b *bucket) put(keys ...string) {
	b.T.Helper()
	for _, key := range keys {
		_, err := b.Store.Put(b.T.Context(), key, strings.NewReader(key))
		b.Must(err)
	}
}

func (b *bucket) start(n int) job.Attempt {
	b.T.Helper()
	return b.Start(b.index, n)
}

// end records how an attempt ended that was started.
func (b *bucket) end(a job.Attempt, reason job.Reason) {
	b.T.Helper()
	b.Must(b.Ledger.EndAttempt(b.T.Context(), id, ended(a, reason)))
}

func ended(a job.Attempt, reason job.Reason) job.Attempt {
	code := 0
	if reason != job.ReasonCompleted {
		code = 1
	}
	a.FinishedAt, a.ExitCode, a.Reason = &now, &code, reason
	return a
}

// wholeLog stores a log as an agent does that has seen its end.
func (b *bucket) wholeLog() {
	b.put(ledger.ResultKey(id, job.StdoutFile), ledger.ResultKey(id, job.StderrFile), ledger.OrderKey(id))
}

// left returns which parts of the log there are.
func (b *bucket) left() (whole, segments bool) {
	b.T.Helper()
	whole, err := b.Store.Exists(b.T.Context(), ledger.ResultKey(id, job.StdoutFile))
	b.Must(err)
	list, err := b.Store.List(b.T.Context(), ledger.LogPrefix(id), "", 10)
	b.Must(err)
	return whole, len(list) > 0
}

// end is how a job is to have ended; nil: it is not over.
type end struct {
	phase    job.Phase
	reason   job.Reason
	attempts int
	code     *int
	outputs  *job.Outputs
	files    []job.File
}

var (
	zero, one = 0, 1
	outputs   = &job.Outputs{Count: 1, Bytes: 3}
	files     = []job.File{{Name: "out.txt", Size: 3}}
	gaveUp    = &executor.Verdict{Over: true, Phase: job.Failed, Reason: job.ReasonStarting, Message: "no image"}
)

func TestJob(t *testing.T) {
	for name, test := range map[string]struct {
		before          func(b *bucket)
		last            *executor.Verdict
		want            *end
		whole, segments bool // what is left of the log, which had segments
	}{
		"waits": {before: func(*bucket) {}, segments: true},
		"cancelled while it waits": {before: func(b *bucket) { b.Must(b.Ledger.RequestCancel(b.T.Context(), id)) },
			want: &end{phase: job.Cancelled, reason: job.ReasonCancelled}, segments: true},
		"could not start": {before: func(*bucket) {}, last: gaveUp,
			want: &end{phase: job.Failed, reason: job.ReasonStarting}, segments: true},
		"runs":                         {before: func(b *bucket) { b.start(1) }, segments: true},
		"runs, whatever the last word": {before: func(b *bucket) { b.start(1) }, last: gaveUp, segments: true},
		"cancelled while it runs": {before: func(b *bucket) {
			b.start(1)
			b.Must(b.Ledger.RequestCancel(b.T.Context(), id))
		}, segments: true},
		"failed, and is tried again": {before: func(b *bucket) { b.end(b.start(1), job.ReasonError) }, segments: true},
		"failed, and is not tried again": {before: func(b *bucket) { b.end(b.start(1), job.ReasonError) }, last: gaveUp,
			want: &end{phase: job.Failed, reason: job.ReasonStarting, attempts: 1, code: &one}, segments: true},
		"failed, and cancelled": {before: func(b *bucket) {
			b.end(b.start(1), job.ReasonError)
			b.Must(b.Ledger.RequestCancel(b.T.Context(), id))
		}, want: &end{phase: job.Cancelled, reason: job.ReasonCancelled, attempts: 1, code: &one}, segments: true},
		"failed twice": {before: func(b *bucket) {
			b.end(b.start(1), job.ReasonError)
			b.end(b.start(2), job.ReasonError)
		}, want: &end{phase: job.Failed, reason: job.ReasonError, attempts: 2, code: &one}, segments: true},
		"succeeded, and its outputs are recorded": {before: func(b *bucket) {
			a := ended(b.start(1), job.ReasonCompleted)
			a.Outputs = outputs
			b.wholeLog()
			b.Must(b.Ledger.PutOutputs(b.T.Context(), id, files))
			b.Must(b.Ledger.EndAttempt(b.T.Context(), id, a))
		}, want: &end{phase: job.Succeeded, reason: job.ReasonCompleted, attempts: 1, code: &zero, outputs: outputs,
			files: files}, whole: true},
		"killed, and its agent reported outputs": {before: func(b *bucket) {
			b.end(b.start(1), job.ReasonError)
			a := b.start(2)
			b.wholeLog()
			reported := ended(a, "")
			reported.Outputs = outputs
			b.Must(b.Ledger.PutReport(b.T.Context(), id, ledger.Report{Attempt: reported, Files: files}))
			b.end(a, job.ReasonOOMKilled)
		}, want: &end{phase: job.Failed, reason: job.ReasonOOMKilled, attempts: 2, code: &one, outputs: outputs,
			files: files}, whole: true},
		"the whole log is of an earlier attempt": {before: func(b *bucket) {
			a := b.start(1)
			b.wholeLog()
			b.Must(b.Ledger.PutReport(b.T.Context(), id, ledger.Report{Attempt: ended(a, ""), Files: files}))
			b.end(a, job.ReasonError)
			b.end(b.start(2), job.ReasonError)
		}, want: &end{phase: job.Failed, reason: job.ReasonError, attempts: 2, code: &one}, segments: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBucket(t)
			b.put(ledger.LogPrefix(id) + "0001")
			test.before(b)
			for range 2 { // after a crash it is done again
				over, err := b.recorder.Job(t.Context(), b.index, test.last)
				if err != nil || over != (test.want != nil) {
					t.Fatalf("Job: %t, %v; want %t", over, err, test.want != nil)
				}
			}
			b.wantEnd(test.want)
			if whole, segments := b.left(); whole != test.whole || segments != test.segments {
				t.Errorf("left of the log: whole %t, segments %t; want %t, %t", whole, segments, test.whole, test.segments)
			}
		})
	}
}

// wantEnd compares the records of the job's end.
func (b *bucket) wantEnd(want *end) {
	b.T.Helper()
	got, err := b.Ledger.Terminal(b.T.Context(), id)
	if want == nil {
		if !errors.Is(err, job.ErrNotFound) {
			b.T.Errorf("Terminal = %+v, %v; want none", got, err)
		}
		return
	}
	b.Must(err)
	list, err := b.Ledger.Outputs(b.T.Context(), id)
	b.Must(err)
	terminal := &job.Terminal{
		JobID: id, Phase: want.phase, Reason: want.reason, ExitCode: want.code, FinishedAt: now,
		ExpiresAt: now.Add(time.Minute), Outputs: want.outputs,
	}
	if want.attempts > 0 {
		terminal.StartedAt = &now
	}
	if diff := cmp.Diff(terminal, got, cmpopts.IgnoreFields(job.Terminal{}, "Message", "Attempts")); diff != "" {
		b.T.Errorf("end (-want +got):\n%s", diff)
	}
	if len(got.Attempts) != want.attempts {
		b.T.Errorf("%d attempts, want %d", len(got.Attempts), want.attempts)
	}
	if diff := cmp.Diff(want.files, list, cmpopts.EquateEmpty()); diff != "" {
		b.T.Errorf("outputs (-want +got):\n%s", diff)
	}
}

// TestAttempt records attempts until none follows, and demands that a report that comes too late
// changes nothing.
func TestAttempt(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	first := b.start(1)
	if over, err := b.recorder.Attempt(t.Context(), b.index, ended(first, job.ReasonError)); over || err != nil {
		t.Errorf("after the first: over %t, %v", over, err)
	}
	if over, err := b.recorder.Attempt(t.Context(), b.index, ended(b.start(2), job.ReasonCompleted)); !over || err != nil {
		t.Errorf("after the second: over %t, %v", over, err)
	}
	want := &end{phase: job.Succeeded, reason: job.ReasonCompleted, attempts: 2, code: &zero}
	b.wantEnd(want)
	if over, err := b.recorder.Attempt(t.Context(), b.index, ended(first, job.ReasonCompleted)); !over || err != nil {
		t.Errorf("reported again: over %t, %v", over, err)
	}
	b.wantEnd(want)
}

// TestTerminalWritesNothing asks for the end of a job that is over and not recorded.
func TestTerminalWritesNothing(t *testing.T) {
	t.Parallel()
	b := newBucket(t)
	a := ended(b.start(1), job.ReasonCompleted)
	got, err := b.recorder.Terminal(t.Context(), b.index, []job.Attempt{a}, nil)
	b.Must(err)
	if got == nil || got.Phase != job.Succeeded || got.JobID != id || !got.ExpiresAt.Equal(now.Add(time.Minute)) {
		t.Errorf("Terminal = %+v", got)
	}
	b.wantEnd(nil)
	if attempts, err := b.Ledger.Attempts(t.Context(), id); err != nil || attempts[0].FinishedAt != nil {
		t.Errorf("attempts: %+v, %v", attempts, err)
	}
}
