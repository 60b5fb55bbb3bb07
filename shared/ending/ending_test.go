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
	"go-job-orchestrator/shared/store"
)

const id job.ID = "fe6aa1b2c3d4000102030405060708ff"

// bucket is one in a directory with one job, which may be tried twice.
type bucket struct {
	*testing.T
	store    *store.Store
	ledger   *ledger.Ledger
	recorder *ending.Recorder
	index    *job.Index
}

// now is when everything happens that a test looks at.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newBucket(t *testing.T) *bucket {
	t.Helper()
	s, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	clock := func() time.Time { return now }
	l := ledger.New(s, clock)
	b := &bucket{T: t, store: s, ledger: l, recorder: &ending.Recorder{Ledger: l, Store: s, Now: clock}, index: &job.Index{
		JobID: id, JobName: id.Name(), CreatedAt: id.Created(),
		Spec: job.Spec{Runtime: "python", Entrypoint: "main.py", Retries: 1, TTLSecondsAfterFinished: 60},
	}}
	b.must(l.BeginUpload(t.Context(), id), l.Accept(t.Context(), b.index))
	return b
}

func (b *bucket) must(errs ...error) {
	b.Helper()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
}

func (b *bucket) put(keys ...string) {
	b.Helper()
	for _, key := range keys {
		_, err := b.store.Put(b.Context(), key, strings.NewReader(key))
		b.must(err)
	}
}

func (b *bucket) start(n int) job.Attempt {
	b.Helper()
	a, err := b.ledger.StartAttempt(b.Context(), id, n, "test", nil)
	b.must(err)
	return a
}

// end records how an attempt ended that was started.
func (b *bucket) end(a job.Attempt, reason job.Reason) {
	b.Helper()
	b.must(b.ledger.EndAttempt(b.Context(), id, ended(a, reason)))
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
	b.Helper()
	whole, err := b.store.Exists(b.Context(), ledger.ResultKey(id, job.StdoutFile))
	b.must(err)
	list, err := b.store.List(b.Context(), ledger.LogPrefix(id), "", 10)
	b.must(err)
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
		"cancelled while it waits": {before: func(b *bucket) { b.must(b.ledger.RequestCancel(b.Context(), id)) },
			want: &end{phase: job.Cancelled, reason: job.ReasonCancelled}, segments: true},
		"could not start": {before: func(*bucket) {}, last: gaveUp,
			want: &end{phase: job.Failed, reason: job.ReasonStarting}, segments: true},
		"runs":                         {before: func(b *bucket) { b.start(1) }, segments: true},
		"runs, whatever the last word": {before: func(b *bucket) { b.start(1) }, last: gaveUp, segments: true},
		"cancelled while it runs": {before: func(b *bucket) {
			b.start(1)
			b.must(b.ledger.RequestCancel(b.Context(), id))
		}, segments: true},
		"failed, and is tried again": {before: func(b *bucket) { b.end(b.start(1), job.ReasonError) }, segments: true},
		"failed, and is not tried again": {before: func(b *bucket) { b.end(b.start(1), job.ReasonError) }, last: gaveUp,
			want: &end{phase: job.Failed, reason: job.ReasonStarting, attempts: 1, code: &one}, segments: true},
		"failed, and cancelled": {before: func(b *bucket) {
			b.end(b.start(1), job.ReasonError)
			b.must(b.ledger.RequestCancel(b.Context(), id))
		}, want: &end{phase: job.Cancelled, reason: job.ReasonCancelled, attempts: 1, code: &one}, segments: true},
		"failed twice": {before: func(b *bucket) {
			b.end(b.start(1), job.ReasonError)
			b.end(b.start(2), job.ReasonError)
		}, want: &end{phase: job.Failed, reason: job.ReasonError, attempts: 2, code: &one}, segments: true},
		"succeeded, and its outputs are recorded": {before: func(b *bucket) {
			a := ended(b.start(1), job.ReasonCompleted)
			a.Outputs = outputs
			b.wholeLog()
			b.must(b.ledger.PutOutputs(b.Context(), id, files), b.ledger.EndAttempt(b.Context(), id, a))
		}, want: &end{phase: job.Succeeded, reason: job.ReasonCompleted, attempts: 1, code: &zero, outputs: outputs,
			files: files}, whole: true},
		"killed, and its agent reported outputs": {before: func(b *bucket) {
			b.end(b.start(1), job.ReasonError)
			a := b.start(2)
			b.wholeLog()
			reported := ended(a, "")
			reported.Outputs = outputs
			b.must(b.ledger.PutReport(b.Context(), id, ledger.Report{Attempt: reported, Files: files}))
			b.end(a, job.ReasonOOMKilled)
		}, want: &end{phase: job.Failed, reason: job.ReasonOOMKilled, attempts: 2, code: &one, outputs: outputs,
			files: files}, whole: true},
		"the whole log is of an earlier attempt": {before: func(b *bucket) {
			a := b.start(1)
			b.wholeLog()
			b.must(b.ledger.PutReport(b.Context(), id, ledger.Report{Attempt: ended(a, ""), Files: files}))
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
	b.Helper()
	got, err := b.ledger.Terminal(b.Context(), id)
	if want == nil {
		if !errors.Is(err, job.ErrNotFound) {
			b.Errorf("Terminal = %+v, %v; want none", got, err)
		}
		return
	}
	b.must(err)
	list, err := b.ledger.Outputs(b.Context(), id)
	b.must(err)
	terminal := &job.Terminal{
		JobID: id, Phase: want.phase, Reason: want.reason, ExitCode: want.code, FinishedAt: now,
		ExpiresAt: now.Add(time.Minute), Outputs: want.outputs,
	}
	if want.attempts > 0 {
		terminal.StartedAt = &now
	}
	if diff := cmp.Diff(terminal, got, cmpopts.IgnoreFields(job.Terminal{}, "Message", "Attempts")); diff != "" {
		b.Errorf("end (-want +got):\n%s", diff)
	}
	if len(got.Attempts) != want.attempts {
		b.Errorf("%d attempts, want %d", len(got.Attempts), want.attempts)
	}
	if diff := cmp.Diff(want.files, list, cmpopts.EquateEmpty()); diff != "" {
		b.Errorf("outputs (-want +got):\n%s", diff)
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
	b.must(err)
	if got == nil || got.Phase != job.Succeeded || got.JobID != id || !got.ExpiresAt.Equal(now.Add(time.Minute)) {
		t.Errorf("Terminal = %+v", got)
	}
	b.wantEnd(nil)
	if attempts, err := b.ledger.Attempts(t.Context(), id); err != nil || attempts[0].FinishedAt != nil {
		t.Errorf("attempts: %+v, %v", attempts, err)
	}
}
