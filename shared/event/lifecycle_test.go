package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
)

func notice(step job.Step) job.Notice {
	return job.Notice{
		Step: step, At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Hops: 2,
		Trace: job.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b"},
		Status: &job.Status{Summary: job.Summary{JobID: id, Phase: job.Failed}, Args: []string{"x"},
			Template: &job.Origin{Name: "report", Version: 3}},
	}
}

func TestOf(t *testing.T) {
	n := notice(job.StepFailed)
	e := event.Of("http://orchestrator", n)
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	status, err := json.Marshal(n.Status)
	if err != nil {
		t.Fatal(err)
	}
	var wantData any
	if err := json.Unmarshal(status, &wantData); err != nil {
		t.Fatal(err)
	}
	const kind = "io.github.go-job-orchestrator.job.failed.v1"
	want := map[string]any{
		"specversion": "1.0", "id": string(id) + "." + kind, "type": kind, "source": "http://orchestrator",
		"subject": string(id),
		"time":    "2026-03-01T12:00:00Z", "datacontenttype": "application/json", "data": wantData, "template": "report",
		"jobhops":     2.0,
		"traceparent": n.Trace.Parent, "tracestate": "a=b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if gotID, step, ours := event.StepOf(e); gotID != id || step != job.StepFailed || !ours {
		t.Errorf("StepOf: %s, %s, %v", gotID, step, ours)
	}
}

func TestOfLongArguments(t *testing.T) {
	n := notice(job.StepSubmitted)
	n.Status.Args = []string{strings.Repeat("\x01", 1<<20)}
	n.Status.Files = []job.File{{Name: "a"}}
	e := event.Of("http://orchestrator", n)
	var s job.Status
	if err := json.Unmarshal(e.Data(), &s); err != nil || len(e.Data()) > 256<<10 || s.JobID != id || len(s.Args) > 0 {
		t.Errorf("data of %d bytes: %v", len(e.Data()), err)
	}
	if len(n.Status.Args) != 1 || len(n.Status.Files) != 1 {
		t.Error("the notice was changed")
	}
}

func TestStepOf(t *testing.T) {
	for kind, subject := range map[string]string{
		"com.example.succeeded.v1": string(id), "io.github.go-job-orchestrator.job.succeeded.v2": string(id),
		"io.github.go-job-orchestrator.job.succeeded.v1": "../x", "": string(id),
	} {
		e := submitted()
		e.SetType(kind)
		e.SetSubject(subject)
		if _, step, ours := event.StepOf(e); ours {
			t.Errorf("%q about %q is taken for %s", kind, subject, step)
		}
	}
}

// ear is a sink that keeps what it hears, and where that is recorded.
type ear struct {
	heard    []string
	recorded []string
	err      error
}

func (e *ear) Send(_ context.Context, c cloudevent.Event) error {
	if e.err == nil {
		e.heard = append(e.heard, c.Type())
	}
	return e.err
}

func (e *ear) Published(_ context.Context, id job.ID, step job.Step) error {
	e.recorded = append(e.recorded, string(id)+" "+string(step))
	return nil
}

func TestOutboxSink(t *testing.T) {
	e := &ear{}
	sink := &event.OutboxSink{Sink: e, Outbox: e}
	if err := sink.Send(t.Context(), event.Of("s", notice(job.StepStarted))); err != nil {
		t.Fatal(err)
	}
	foreign := submitted()
	foreign.SetType("com.example")
	if err := sink.Send(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	e.err = errors.New("down")
	if err := sink.Send(t.Context(), event.Of("s", notice(job.StepFailed))); !errors.Is(err, e.err) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{string(id) + " started"}, e.recorded); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestRouter(t *testing.T) {
	launcher, outside := &ear{}, &ear{}
	router := event.Router{Launcher: launcher, Outside: outside}
	for _, step := range []job.Step{job.StepSubmitted, job.StepStarted} {
		if err := router.Send(t.Context(), event.Of("s", notice(step))); err != nil {
			t.Fatal(err)
		}
	}
	again := event.NewLaunch("s", id, time.Now())
	if err := router.Send(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{event.Submitted, event.Launch}, launcher.heard); diff != "" {
		t.Errorf("the launcher heard (-want +got):\n%s", diff)
	}
	want := []string{event.Submitted, event.Type(job.StepStarted)} // nobody is told outside that a job is launched again
	if diff := cmp.Diff(want, outside.heard); diff != "" {
		t.Errorf("outside heard (-want +got):\n%s", diff)
	}
	outside.err = errors.New("down")
	err := router.Send(t.Context(), event.Of("s", notice(job.StepSubmitted)))
	if !errors.Is(err, outside.err) || len(launcher.heard) != 3 {
		t.Errorf("with nobody outside: %v; launcher heard %q", err, launcher.heard)
	}
	alone := event.Router{Launcher: launcher}
	if err := alone.Send(t.Context(), event.Of("s", notice(job.StepFailed))); err != nil || len(launcher.heard) != 3 {
		t.Errorf("alone: %v; launcher heard %q", err, launcher.heard)
	}
}

// TestRouterWaits demands that whoever wants to wait for a slow sink can do so through a Router.
func TestRouterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		slow := event.NewAsyncSink(sinkFunc(func(context.Context, cloudevent.Event) error {
			time.Sleep(time.Second)
			return down
		}), slog.New(slog.DiscardHandler))
		router := event.Router{Launcher: &ear{}, Outside: slow}
		e := event.Of("s", notice(job.StepFailed))
		if err := event.SendAndWait(t.Context(), router, e); !errors.Is(err, down) {
			t.Errorf("SendAndWait: %v; want the sink's answer", err)
		}
		if err := router.Send(t.Context(), e); err != nil {
			t.Errorf("Send: %v; want nil, since the sink is slow", err)
		}
		slow.Drain()
	})
}

// TestNewLaunch demands that two are two events.
func TestNewLaunch(t *testing.T) {
	now := time.Now()
	first, second := event.NewLaunch("s", id, now), event.NewLaunch("s", id, now.Add(time.Minute))
	if first.ID() == second.ID() || first.Validate() != nil || first.Subject() != string(id) {
		t.Errorf("got %s and %s", first, second)
	}
	if _, step, ours := event.StepOf(first); ours {
		t.Errorf("it is taken for the step %s", step)
	}
}
