package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/token"
)

// Launcher makes a Kubernetes Job of a job.
type Launcher struct {
	client   *Client
	recorder *ending.Recorder
	keys     token.Keys
	settings *Settings
	secrets  secret.Catalog
	log      *slog.Logger
}

// Open returns a backend that has the cluster of a client run the jobs whose records these are.
func Open(env *platform.Env, c *Client, records *ledger.Ledger) (backend.Backend, error) {
	settings, settingsErr := load(env)
	keys, keysErr := env.Keys()
	e, err := newRecorder(env, records)
	schedule, scheduleErr := openSchedule(env, c)
	if err := errors.Join(settingsErr, keysErr, err, scheduleErr); err != nil {
		return backend.Backend{}, err
	}
	b := withoutLauncher(c, e)
	b.Launcher, b.Profiles = NewLauncher(c, e, keys, settings, env.Log), settings.profiles
	b.Publish, b.Expect = c, schedule.Hasten
	return b, nil
}

// OpenInCluster is Open for the cluster that this process runs in.
func OpenInCluster(env *platform.Env, records *ledger.Ledger) (backend.Backend, error) {
	c, err := InCluster(env)
	b, openErr := Open(env, c, records)
	return b, errors.Join(openErr, err)
}

// OpenWithoutLauncher is Open for a function that launches nothing, in the cluster that it runs in.
// A function that does not run in a cluster gets what the records offer.
func OpenWithoutLauncher(env *platform.Env, records *ledger.Ledger) (backend.Backend, error) {
	e, recorderErr := newRecorder(env, records)
	c, err := InCluster(env)
	if errors.Is(err, ErrNoCluster) {
		return backend.Remote(), recorderErr
	}
	if err := errors.Join(recorderErr, err); err != nil {
		return backend.Backend{}, err
	}
	b := withoutLauncher(c, e)
	b.Publish = c
	return b, nil
}

func withoutLauncher(c *Client, e *ending.Recorder) backend.Backend {
	b := backend.Backend{Observer: NewObserver(c, e), Stopper: NewStopper(c), Admission: backend.AnyRuntime{}}
	for _, r := range runtimes.All() { // images bring them
		b.Runtimes = append(b.Runtimes, backend.Runtime{Name: r.Name})
	}
	return b
}

// NewLauncher returns a Launcher.
func NewLauncher(c *Client, e *ending.Recorder, keys token.Keys, s *Settings, log *slog.Logger) *Launcher {
	return &Launcher{
		client: c, recorder: e, keys: keys, settings: s, secrets: secret.NewPublished(e.Store, keys), log: log,
	}
}

func newRecorder(env *platform.Env, records *ledger.Ledger) (*ending.Recorder, error) {
	s, err := env.Store()
	if err != nil {
		return nil, err
	}
	return &ending.Recorder{Ledger: records, Store: s, Now: env.Now}, nil
}

// Launch makes sure that the job's Job and the Secret of its token exist. Both have names that
// follow from the job's ID, so that doing it twice, or after a launcher that died in between, makes
// nothing twice. The Job comes first, since the Secret is to go with it; a pod that is faster waits
// for its Secret.
func (l *Launcher) Launch(ctx context.Context, index *job.Index) error {
	if over, err := l.recorder.Job(ctx, index, nil); over || err != nil { // cancelled before it began
		return err
	}
	message, err := l.checkSecrets(ctx, index)
	if err != nil {
		return err
	}
	if message != "" {
		return l.fail(ctx, index, "the job cannot have its secrets: "+message)
	}
	made, err := l.create(ctx, index)
	switch {
	case errors.Is(err, errNoProfile): // there may have been one when the Job was created
		if made, err = l.client.getJob(ctx, index.JobName); errors.Is(err, job.ErrNotFound) {
			return l.withoutProfile(ctx, index)
		}
	case errors.Is(err, job.ErrExists):
		if made, err = l.client.getJob(ctx, index.JobName); errors.Is(err, job.ErrNotFound) {
			return nil // ended and gone between the two
		}
	case errors.Is(err, job.ErrInvalid):
		return l.refused(ctx, index, err)
	}
	if err != nil {
		return err
	}
	err = l.client.createSecret(ctx, tokenSecret(made, l.keys.Derive(token.Agent, index.JobID)))
	if errors.Is(err, job.ErrExists) {
		return nil
	}
	return err
}

// create creates the Job. Its profile is as it is now.
func (l *Launcher) create(ctx context.Context, index *job.Index) (*batchv1.Job, error) {
	j, err := l.settings.buildWithProfile(index)
	if err != nil {
		return nil, err
	}
	return l.client.createJob(ctx, j)
}

// profileDelay is more than the kubelet takes to put a changed ConfigMap into a pod: submit may have a
// new profile before this function has it.
const profileDelay = 3 * time.Minute

// withoutProfile ends a job whose profile does not exist, unless the profile may still come.
func (l *Launcher) withoutProfile(ctx context.Context, index *job.Index) error {
	if l.recorder.Now().Sub(index.CreatedAt) < profileDelay {
		return fmt.Errorf("profile %s does not exist here yet: %w", index.Profile, job.ErrUnavailable)
	}
	l.log.Error("the job's profile does not exist", "job", index.JobID, "profile", index.Profile)
	_, err := l.recorder.Job(ctx, index, &executor.Verdict{
		Over: true, Phase: job.Failed, Reason: job.ReasonStartFailed, Message: profile.Gone(index.Profile),
	})
	return err
}

// refused ends a job that Kubernetes will never take, whatever the number of tries.
func (l *Launcher) refused(ctx context.Context, index *job.Index, cause error) error {
	l.log.Error("Kubernetes refuses the job", "job", index.JobID, "error", cause)
	return l.fail(ctx, index, "Kubernetes refuses the Job: "+cause.Error())
}

// fail ends a job that cannot be launched.
func (l *Launcher) fail(ctx context.Context, index *job.Index, message string) error {
	_, err := l.recorder.Job(ctx, index, &executor.Verdict{
		Over: true, Phase: job.Failed, Reason: job.ReasonStartFailed, Message: message,
	})
	return err
}

// Stopper deletes the Jobs of jobs.
type Stopper struct{ client *Client }

// NewStopper returns a Stopper.
func NewStopper(c *Client) *Stopper { return &Stopper{client: c} }

// removeGrace is how many seconds a program has to end of which nothing will be kept.
const removeGrace = 1

// Stop deletes the job's Job. Its pods get SIGTERM and, unless nothing is to be kept, time to store
// what there is.
func (s *Stopper) Stop(ctx context.Context, id job.ID, remove bool) error {
	if err := s.client.deleteJob(ctx, id.Name()); err != nil || !remove {
		return err
	}
	pods, err := s.client.pods(ctx, id.Name())
	if err != nil {
		return err
	}
	for _, p := range pods {
		if err := s.client.deletePod(ctx, p.Name, removeGrace); err != nil {
			return err
		}
	}
	return nil
}
