package reap_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/functions/reap"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
)

// place is where jobs run. It says the same of each, and notes what it is told to do.
type place struct {
	says    job.Observation
	err     error
	stopped []job.ID
	gaveUp  []string // why
}

func (p *place) Observe(context.Context, job.ID) (job.Observation, error)   { return p.says, p.err }
func (p *place) RecordEnd(context.Context, job.ID) (job.Observation, error) { return p.says, p.err }

func (p *place) GiveUp(_ context.Context, _ job.ID, why job.Observation) error {
	p.gaveUp = append(p.gaveUp, why.Message)
	return nil
}

func (p *place) Stop(_ context.Context, id job.ID, remove bool) error {
	if !remove {
		p.stopped = append(p.stopped, id)
	}
	return p.err
}

// TestObserves looks after a job that runs elsewhere, by what is said of it there.
func TestObserves(t *testing.T) {
	starting := job.Observation{Reason: job.ReasonStarting}
	stuck := job.Observation{Reason: job.ReasonPullBackOff, Message: "no such image", Stuck: true}
	lost := job.Observation{Lost: true}
	for name, test := range map[string]struct {
		says   job.Observation
		err    error
		age    time.Duration // of the job, and of what is said of it
		launch bool
		giveUp bool
	}{
		"runs":                     {job.Observation{}, nil, time.Hour, false, false},
		"is starting":              {starting, nil, time.Minute, false, false},
		"is starting for too long": {starting, nil, time.Minute + time.Second, true, false},
		"waits for room":           {job.Observation{Reason: job.ReasonUnschedulable}, nil, time.Hour, false, false},
		"cannot start yet":         {stuck, nil, 15 * time.Minute, false, false},
		"cannot start":             {stuck, nil, 15*time.Minute + time.Second, false, true},
		"was launched just now":    {lost, nil, 29 * time.Second, false, false},
		"was not launched":         {lost, nil, 31 * time.Second, true, false},
		"is over":                  {job.Observation{Over: true, Lost: true}, nil, time.Hour, false, false},
		"is not known any more":    {lost, job.ErrNotFound, time.Hour, false, false},
		"cannot be asked about":    {lost, job.ErrUnavailable, time.Hour, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			p := &place{says: test.says, err: test.err}
			p.says.Since = f.clock()
			f.observed(p)
			id := f.job(60).JobID
			f.pass(test.age)
			_, err := f.reap.Once(t.Context())
			if failed := errors.Is(test.err, job.ErrUnavailable); (err != nil) != failed {
				t.Errorf("the round: %v", err)
			}
			if got := f.relaunched(); slices.Contains(got, id) != test.launch {
				t.Errorf("relaunched: %s, want it: %t", got, test.launch)
			}
			if test.giveUp != (len(p.gaveUp) == 1) || test.giveUp &&
				(!strings.Contains(p.gaveUp[0], "START_TIMEOUT") || !strings.Contains(p.gaveUp[0], test.says.Message)) {
				t.Errorf("gave up: %q, want it: %t", p.gaveUp, test.giveUp)
			}
			if len(p.stopped) > 0 {
				t.Errorf("stopped: %s", p.stopped)
			}
		})
	}
}

// TestStopsTheCancelled stops a job whose cancel got no further than its record.
func TestStopsTheCancelled(t *testing.T) {
	f := newFixture(t)
	p := &place{}
	f.observed(p)
	f.job(60)
	cancelled := f.job(60).JobID
	f.Must(f.Ledger.RequestCancel(t.Context(), cancelled))
	f.once(reap.Result{})
	if !slices.Equal(p.stopped, []job.ID{cancelled}) {
		t.Errorf("stopped: %s, want %s", p.stopped, cancelled)
	}
}

// observed has the reaper ask where jobs run.
func (f *fixture) observed(p *place) {
	f.T.Helper()
	var err error
	f.reap, err = reap.New(reap.Deps{Env: f.Env("ORCH_BASE_URL=http://jobs.example"),
		Events: &event.Events{Sink: f, Ledger: f.Ledger}, Observer: p, Stopper: p})
	f.Must(err)
}
