package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/runtimes"
)

// The packages of a program are installed before its attempt is claimed. The sidecar decides what is
// to be done, since it has the token; exec runs the installer, since it has the program's image and
// limits. They speak by numbered records: step-1.json, stepped-1.json, step-2.json and so on.
func stepRecord(n int) string    { return fmt.Sprintf("step-%d.json", n) }
func steppedRecord(n int) string { return fmt.Sprintf("stepped-%d.json", n) }

// order tells exec what to do next. Without a Step there is nothing more to install.
type order struct {
	Step      *prepare.Step      `json:"step,omitempty"`
	Installed *prepare.Installed `json:"installed,omitempty"`
	Failed    string             `json:"failed,omitempty"` // why no program is to be run
	Retry     bool               `json:"retry,omitempty"`  // the pod is to fail, so that another is tried
	Code      int                `json:"code,omitempty"`   // the exit code of the sidecar, if it is restarted after this
}

// stepped tells the sidecar how a step ended.
type stepped struct {
	prepare.Outcome
	Interrupted bool   `json:"interrupted,omitempty"` // the pod ends
	Fault       string `json:"fault,omitempty"`       // of the platform
}

// remote is the installer's run as the sidecar sees it.
type remote struct {
	workspace executor.Workspace
	n         int
}

func (r *remote) run(ctx context.Context, s prepare.Step) (prepare.Outcome, error) {
	r.n++
	if err := r.workspace.WriteRecord(stepRecord(r.n), order{Step: &s}); err != nil {
		return prepare.Outcome{}, err
	}
	var out stepped
	err := await(ctx, r.workspace, steppedRecord(r.n), &out)
	switch {
	case err != nil:
		return prepare.Outcome{}, err
	case out.Interrupted:
		return prepare.Outcome{}, executor.ErrInterrupted
	case out.Fault != "":
		return prepare.Outcome{}, errors.New(out.Fault)
	}
	return out.Outcome, nil
}

// end tells exec that nothing more is to be installed.
func (r *remote) end(o order) error {
	r.n++
	return r.workspace.WriteRecord(stepRecord(r.n), o)
}

// install has the packages of the job installed. It reports whether the program is to be run; if not,
// all is recorded, and code is the exit code of the sidecar.
func (s *sidecar) install(ctx context.Context, t *task) (run bool, code int, err error) {
	w := s.workspace()
	r := &remote{workspace: w}
	var before order
	if w.ReadRecord(stepRecord(1), &before) == nil { // this was started anew
		return s.installAgain(r)
	}
	kind, err := runtimes.Find(t.Index.Runtime)
	if err != nil {
		return false, 0, err
	}
	e := &executor.Task{
		Index: t.Index, Number: 1, Workspace: w, StoreRetry: time.Second, Log: s.log, To: s.client, Limits: s.settings.Limits,
		Packages: &executor.Packages{
			Service: s.client, Run: r.run, Interpreter: kind.Interpreter, Files: w.Files(), Temp: w.Temp(),
			RetryPause: time.Second,
		},
	}
	e.Timing = t.Timing
	result := e.Install(ctx)
	t.Timing = e.Timing
	if result == nil {
		return true, 0, r.end(order{Installed: e.Installed})
	}
	if ctx.Err() != nil { // Kubernetes knows why
		return false, 0, nil //nolint:nilerr // see above
	}
	attempt, err := s.claim(ctx, t.Index)
	if isMoot(err) {
		return false, 0, r.end(order{Failed: err.Error()})
	}
	if err != nil {
		return false, 0, errors.Join(err, r.end(order{Failed: err.Error(), Retry: true}))
	}
	e.Last = func(e executor.Exit) bool { return !t.Index.MayRetry(attempt.Number, e.Why(), nil) }
	storing := context.WithoutCancel(ctx)
	ended := e.Fail(storing, *result)
	record := ended.Record(attempt, time.Now())
	err = s.client.endAttempt(storing, record)
	if isMoot(err) {
		err = nil
	}
	code = verdict(t.Index, record)
	err = errors.Join(err, r.end(order{Failed: ended.Exit.Message, Retry: !e.Last(ended.Exit), Code: code}))
	return false, code, err
}

// installAgain goes on after a restart of the sidecar: with the program if its packages are there,
// with the end that was recorded if they could not be installed, else with another pod.
func (s *sidecar) installAgain(r *remote) (run bool, code int, err error) {
	for {
		var o order
		if err := r.workspace.ReadRecord(stepRecord(r.n+1), &o); err != nil {
			break
		}
		if r.n++; o.Step == nil {
			return o.Failed == "", o.Code, nil
		}
	}
	return false, 0, r.end(order{Failed: "the agent was restarted while packages were installed", Retry: true})
}

// install runs the steps that the sidecar orders. It returns what they installed; run is false when
// no program is to be run.
func (r *runner) install(ctx context.Context, e *executor.Task) (installed *prepare.Installed, run bool, err error) {
	l, err := r.workspace().OpenPrepareLog()
	if err != nil {
		return nil, false, err
	}
	defer l.Close()
	for n := 1; ; n++ {
		var o order
		if err := await(ctx, r.workspace(), stepRecord(n), &o); err != nil {
			return nil, false, err
		}
		switch {
		case o.Failed != "" && o.Retry:
			return nil, false, errors.New(o.Failed)
		case o.Failed != "":
			r.log.Info("nothing to run", "why", o.Failed)
			return nil, false, nil
		case o.Step == nil:
			return o.Installed, true, nil
		}
		s := *o.Step
		if found, err := exec.LookPath(s.Path); err == nil {
			s.Path = found
		}
		s.Env = environment(r.environ, s.Env)
		var out stepped
		out.Outcome, err = e.RunStep(ctx, l, s)
		if err != nil {
			out = stepped{Interrupted: ctx.Err() != nil, Fault: err.Error()}
		}
		if err := r.workspace().WriteRecord(steppedRecord(n), out); err != nil {
			return nil, false, err
		}
	}
}

// The client is prepare.Service, by calls to agentapi.
var _ prepare.Service = (*client)(nil)

func (c *client) Plan(ctx context.Context, s *prepare.Sources) (*prepare.Plan, error) {
	s.Service = c.base
	var plan *prepare.Plan
	err := c.record(ctx, routes.PlanPackages, nil, s, &plan)
	if errors.Is(err, io.EOF) { // an empty answer: there is nothing to install
		return nil, nil //nolint:nilnil // see prepare.Service
	}
	return plan, err
}

func (c *client) Claim(ctx context.Context, key string) (prepare.Turn, error) {
	var claimed prepare.Claimed
	err := c.record(ctx, routes.ClaimPackages, []string{key}, struct{}{}, &claimed)
	return claimed.Turn, err
}

func (c *client) OpenPackages(ctx context.Context, key string) (io.ReadCloser, error) {
	return c.get(ctx, routes.GetPackages.URL(string(c.id), key))
}

func (c *client) StorePackages(ctx context.Context, key string, tar io.Reader) error {
	return c.send(ctx, routes.PutPackages, []string{key}, tar, nil)
}

func (c *client) Release(ctx context.Context, key string) error {
	return c.record(ctx, routes.ReleasePackages, []string{key}, struct{}{}, nil)
}
