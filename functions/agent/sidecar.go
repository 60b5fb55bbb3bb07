package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/spool"
)

// errFetch means that the uploaded files could not be fetched.
var errFetch = errors.New("the uploaded files could not be fetched")

// run brings the files, claims the attempt once the program could begin, ships the logs while it
// runs, and stores and reports what it left. ctx ends when the pod's other container has ended:
// then nothing more happens there, and what is there is collected. Before that it does not
// return, since Kubernetes would start it again. The exit code tells the pod's Job whether another
// attempt follows; 0 says that this is not known here, or that the program succeeded.
func (s *sidecar) run(ctx context.Context) (code int, err error) {
	t, err := s.prepare(ctx)
	if err != nil {
		return 0, err
	}
	if t.Failed != "" {
		s.log.Error("files not fetched", "error", t.Failed)
		<-ctx.Done()
		return 0, fmt.Errorf("%w: %s", errFetch, t.Failed)
	}
	var finished done
	var ready struct{}
	if t.Index == nil || s.workspace().ReadRecord(doneRecord, &finished) == nil {
		<-ctx.Done() // nothing to do, or all done before this was started again
		return finished.Code, nil
	}
	if t.Prepare {
		run, code, err := s.install(ctx, t)
		if err != nil || ctx.Err() != nil && !run {
			return 0, err
		}
		if !run {
			return s.finish(ctx, done{Code: code})
		}
	}
	if await(ctx, s.workspace(), readyRecord, &ready) != nil {
		// The program's container never began, and Kubernetes knows why.
		<-ctx.Done()
		return finished.Code, nil //nolint:nilerr // see above
	}
	attempt, err := s.claimAndStart(ctx, t)
	if err != nil {
		return 0, err
	}
	if attempt.Number > 0 {
		if finished.Code, err = s.shipAndCollect(ctx, t, attempt); err != nil {
			return 0, err
		}
	}
	return s.finish(ctx, finished)
}

// finish records that nothing more is to be done, and waits until the pod ends.
func (s *sidecar) finish(ctx context.Context, d done) (code int, err error) {
	if err := s.workspace().WriteRecord(doneRecord, d); err != nil {
		return 0, err
	}
	<-ctx.Done()
	return d.Code, nil
}

// verdict is the exit code that tells the pod's Job whether another attempt follows this one.
func verdict(index *job.Index, a job.Attempt) int {
	switch {
	case a.ExitCode != nil && *a.ExitCode == 0: // the pod has not failed
		return 0
	case index.MayRetry(a.Number, a.Reason, a.ExitCode):
		return executor.PodRetry
	}
	return executor.PodNoRetry
}

// claimAndStart claims the attempt and lets exec begin. An attempt without a number means that
// there is none to make.
func (s *sidecar) claimAndStart(ctx context.Context, t *task) (job.Attempt, error) {
	restarted := s.started()
	attempt, err := s.claim(ctx, t.Index)
	switch {
	case isMoot(err):
		return job.Attempt{}, s.start(start{Why: err.Error()})
	case err != nil:
		return job.Attempt{}, errors.Join(err, s.start(start{Why: err.Error(), Failed: true}))
	case restarted: // and does not know how much of the log was shipped
		if t.Log, err = s.client.logState(ctx); err != nil {
			return job.Attempt{}, err
		}
	default: // one that was restarted has passed them before
		if err := s.passSecrets(ctx, t.Index); err != nil {
			return job.Attempt{}, s.failStart(ctx, attempt, err)
		}
	}
	return attempt, s.start(start{Number: attempt.Number})
}

// failStart records that an attempt that was claimed could not start, and lets exec fail, so that
// Kubernetes tries another pod if the job has an attempt left.
func (s *sidecar) failStart(ctx context.Context, attempt job.Attempt, cause error) error {
	switch {
	case isMoot(cause):
		return s.start(start{Why: cause.Error()})
	case ctx.Err() != nil: // the pod ends, and Kubernetes knows why
		return cause
	}
	s.log.Error("the attempt cannot start", "error", cause)
	now := time.Now().UTC()
	attempt.FinishedAt, attempt.Reason, attempt.Message = &now, job.ReasonStartFailed, cause.Error()
	err := s.client.endAttempt(context.WithoutCancel(ctx), attempt)
	if isMoot(err) {
		err = nil // nobody needs it any more
	}
	return errors.Join(err, s.start(start{Why: cause.Error(), Failed: true}))
}

// start tells exec whether to start. It also writes the record under its former name: when a pod's
// sidecar is restarted with a newer image, the exec beside it is of the earlier version.
func (s *sidecar) start(record start) error {
	return errors.Join(s.workspace().WriteRecord(startRecord, record), s.workspace().WriteRecord(formerStart, record))
}

// started reports whether a sidecar of this pod has told exec before, perhaps one of an earlier
// version.
func (s *sidecar) started() bool {
	var before start
	return s.workspace().ReadRecord(startRecord, &before) == nil || s.workspace().ReadRecord(formerStart, &before) == nil
}

// claim asks for an attempt, for as long as the pod lives: another's may first have to be found
// dead.
func (s *sidecar) claim(ctx context.Context, index *job.Index) (job.Attempt, error) {
	for {
		a, err := s.client.claimNext(ctx, agentwire.Claim{Owner: s.settings.Owner, Limits: limits(&index.Spec)})
		if err == nil || !errors.Is(err, job.ErrUnavailable) || ctx.Err() != nil {
			return a, err
		}
		s.log.Warn("no attempt yet; asking again", "error", err)
	}
}

func limits(s *job.Spec) *job.Limits {
	l := &job.Limits{CPU: "no limit", Memory: "no limit"}
	if s.CPU != "" {
		l.CPU = s.CPU + " (cgroup of the container)"
	}
	if s.Memory != "" {
		l.Memory = s.Memory + " (cgroup of the container)"
	}
	return l
}

// shipAndCollect ships the log while the program runs, then stores what it left and reports its
// end. It returns the exit code for run.
func (s *sidecar) shipAndCollect(ctx context.Context, t *task, attempt job.Attempt) (code int, err error) {
	// What there is gets stored for whatever reason the pod ends.
	storing := context.WithoutCancel(ctx)
	to := &results{client: s.client}
	e := &executor.Task{
		Index: t.Index, Number: attempt.Number, Workspace: s.workspace(), To: to, StoreRetry: time.Second, Log: s.log,
		Ship: func(log spool.Files) executor.Shipper { return joblog.NewShipper(log, t.Log, s.client.PutLog) },
		Last: func(e executor.Exit) bool {
			to.unsure = unsure(e)
			return to.unsure || !t.Index.MayRetry(attempt.Number, e.Why(), &e.Code)
		},
		Limits: s.settings.Limits, Timing: t.Timing,
	}
	result := e.Collect(storing, s.ended(ctx))
	record := result.Record(attempt, time.Now())
	err = s.report(storing, record, to)
	switch {
	case isMoot(err):
		s.log.Info("the end was not needed any more", "error", err)
		return 0, nil
	case err != nil || to.unsure:
		return 0, err
	}
	return verdict(t.Index, record), nil
}

func (s *sidecar) report(ctx context.Context, a job.Attempt, to *results) error {
	if to.unsure {
		return s.client.reportAttempt(ctx, agentwire.Report{Attempt: a, Manifest: agentwire.Manifest{Files: to.files}})
	}
	return s.client.endAttempt(ctx, a)
}

// unsure reports whether the pod itself cannot tell why the program ended: the program was killed
// or stopped from outside, or its whole container is gone without a record.
func unsure(e executor.Exit) bool {
	return e.Reason == job.ReasonInterrupted || e.Reason == "" && e.Signal == "SIGKILL"
}

// ended is closed once the program has ended, or its container must have.
func (s *sidecar) ended(ctx context.Context) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var any struct{}
		_ = await(ctx, s.workspace(), executor.ExitRecord, &any) // what is in it, and whether it is one, is for Collect
	}()
	return ended
}

// results is the orchestrator as the place for what a program left. The list of an attempt whose
// end is unsure goes with its report.
type results struct {
	*client
	unsure bool
	files  []job.File // what the report has
}

var _ executor.Results = (*results)(nil)

func (r *results) PutManifest(ctx context.Context, files []job.File) error {
	if r.unsure {
		r.files = files
		return nil
	}
	return r.client.PutManifest(ctx, files)
}

// writeTerminationMessage leaves a message for people who look at the pod.
func writeTerminationMessage(path string, err error) {
	const most = 4096 // Kubernetes cuts it off there
	text := err.Error()
	_ = os.WriteFile(path, []byte(text[:min(len(text), most)]), 0o600) // there is nobody left to tell
}
