package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
)

// ScheduleSettings name the CronJob of the reaper.
type ScheduleSettings struct {
	// CronJob is its name; empty: there is none, or its schedule is the operator's alone.
	CronJob string `env:"REAP_CRONJOB"`
}

// The two schedules of the reaper. An operator's own, which is neither of them, is left alone.
const (
	EveryMinute      = "* * * * *"
	EveryFiveMinutes = "*/5 * * * *"
)

const (
	// calledAnnotation has the time at which a function last asked for a round every minute.
	calledAnnotation = domain + "called-at"
	// quiet is how long nobody must have asked before rounds become rare: longer than Knative keeps
	// the pod of a function that nobody calls, so that the next job finds launch at its start.
	quiet = 3 * time.Minute
	// hastenEvery is how often a process asks at most.
	hastenEvery = time.Minute
	// hastenAfter keeps the call away from the start of the job's pod, on whose node it may work. The
	// process lives for longer.
	hastenAfter   = 10 * time.Second
	hastenTimeout = 10 * time.Second
	hastenTries   = 3
)

// Schedule says how often the reaper's CronJob makes a round: every minute while there are jobs, and
// every five minutes otherwise. Nil, and one without a CronJob, change nothing.
type Schedule struct {
	client *Client
	name   string
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	begun   bool
	pending bool
	last    time.Time
}

// OpenSchedule returns the schedule of the CronJob that the settings name, in the cluster that this
// process runs in. It is nil if they name none.
func OpenSchedule(env *platform.Env) (*Schedule, error) {
	c, err := InCluster(env)
	if errors.Is(err, ErrNoCluster) {
		return nil, nil //nolint:nilnil // nothing has a schedule there
	}
	if err != nil {
		return nil, err
	}
	return openSchedule(env, c)
}

func openSchedule(env *platform.Env, c *Client) (*Schedule, error) {
	var s ScheduleSettings
	if err := env.Load(&s); err != nil {
		return nil, err
	}
	if s.CronJob == "" {
		return nil, nil //nolint:nilnil // see OpenSchedule
	}
	return NewSchedule(c, s.CronJob, env.Now, env.Log), nil
}

// NewSchedule returns the schedule of a CronJob in the client's namespace.
func NewSchedule(c *Client, name string, now func() time.Time, log *slog.Logger) *Schedule {
	return &Schedule{client: c, name: name, now: now, log: log}
}

// Hasten has the reaper come every minute from now on. It returns at once, and may be called for
// each job: it calls the API server once a minute at most. What is asked for within this minute is
// done at its end, so that a round that saw no job meanwhile cannot be the last word.
func (s *Schedule) Hasten() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending {
		return
	}
	wait := hastenAfter
	if s.begun {
		wait = max(wait, hastenEvery-s.now().Sub(s.last))
	}
	s.begun, s.pending = true, true
	time.AfterFunc(wait, s.hasten)
}

func (s *Schedule) hasten() {
	s.mu.Lock()
	s.pending, s.last = false, s.now()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), hastenTimeout)
	defer cancel()
	if err := s.HastenNow(ctx); err != nil {
		s.log.Warn("the reaper's schedule was not set; lost events and expired jobs may wait for five minutes", "cronjob",
			s.name, "error", err)
	}
}

// HastenNow sets the schedule to EveryMinute, and the time at which that was asked for.
func (s *Schedule) HastenNow(ctx context.Context) error {
	var err error
	for range hastenTries {
		var c *batchv1.CronJob
		if c, err = s.client.getCronJob(ctx, s.name); err != nil || !isOurs(c) {
			return err
		}
		if err = s.set(ctx, c, EveryMinute, s.now()); !errors.Is(err, job.ErrConflict) {
			return err
		}
	}
	return err
}

// Begin looks at the schedule before a round. The function that it returns sets the schedule after
// it: idle says that for five minutes there is nothing to do. The schedule stays as it is if
// somebody has asked for rounds since.
func (s *Schedule) Begin(ctx context.Context) (end func(ctx context.Context, idle bool) error, err error) {
	if s == nil {
		return func(context.Context, bool) error { return nil }, nil
	}
	c, err := s.client.getCronJob(ctx, s.name)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, idle bool) error {
		want := EveryMinute
		if idle && s.now().Sub(calledAt(c)) > quiet {
			want = EveryFiveMinutes
		}
		if !isOurs(c) || c.Spec.Schedule == want {
			return nil
		}
		err := s.set(ctx, c, want, calledAt(c))
		if errors.Is(err, job.ErrConflict) && want == EveryFiveMinutes {
			return nil // a job comes
		}
		if errors.Is(err, job.ErrConflict) {
			return s.HastenNow(ctx)
		}
		return err
	}, nil
}

// set changes the CronJob unless it has changed since it was read.
func (s *Schedule) set(ctx context.Context, read *batchv1.CronJob, schedule string, called time.Time) error {
	meta := map[string]any{"resourceVersion": read.ResourceVersion}
	if !called.IsZero() {
		meta["annotations"] = map[string]string{calledAnnotation: called.UTC().Format(time.RFC3339)}
	}
	patch, err := json.Marshal(map[string]any{"metadata": meta, "spec": map[string]string{"schedule": schedule}})
	if err != nil {
		return fmt.Errorf("encode cronjob: %w", err)
	}
	return kind(s.client.batch.Patch(types.MergePatchType).Namespace(s.client.namespace).Resource("cronjobs").Name(s.name).
		Body(patch).Do(ctx).Error(), "patch cronjob")
}

func isOurs(c *batchv1.CronJob) bool {
	return c.Spec.Schedule == EveryMinute || c.Spec.Schedule == EveryFiveMinutes
}

// calledAt is zero if nobody has asked for rounds yet.
func calledAt(c *batchv1.CronJob) time.Time {
	at, err := time.Parse(time.RFC3339, c.Annotations[calledAnnotation])
	if err != nil {
		return time.Time{}
	}
	return at
}

func (c *Client) getCronJob(ctx context.Context, name string) (*batchv1.CronJob, error) {
	var out batchv1.CronJob
	err := c.batch.Get().Namespace(c.namespace).Resource("cronjobs").Name(name).Do(ctx).Into(&out)
	return &out, kind(err, "get cronjob")
}
