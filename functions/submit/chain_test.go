package submit_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/job"
)

// TestOwnFirstSteps demands that a template is never started by one of its own jobs being submitted
// or started.
func TestOwnFirstSteps(t *testing.T) {
	w := newWorld(t)
	made := w.put("a", "", script()...)
	w.put("b", made.Token, script()...)
	id := w.accepted(w.start("a", made.Token)).JobID
	for _, step := range []job.Step{job.StepSubmitted, job.StepStarted} {
		for name, more := range map[string][]string{"as it is": nil, "with another's name": {"Ce-Template", "b"}} {
			before := len(w.jobs())
			p := w.problem(w.event("?template=a", "{}", lifecycleHeader(step, id, more...)...), http.StatusUnprocessableEntity)
			if !strings.Contains(p.Detail, "filter for type") || len(w.jobs()) != before {
				t.Errorf("%s, %s: got %q", step, name, p.Detail)
			}
		}
		w.started(w.event("?template=b", "{}", lifecycleHeader(step, id)...))
	}
	w.problem(w.event("?template=a", "{}", lifecycleHeader(job.StepStarted, "00000000000000000000000000000000",
		"Ce-Template", "a")...), http.StatusUnprocessableEntity)
	w.started(w.event("?template=a", "{}", lifecycleHeader(job.StepSucceeded, id)...))
}

// TestHopsAreRecorded demands that a chain ends however short its events say that it is.
func TestHopsAreRecorded(t *testing.T) {
	w := newWorld(t)
	made := w.put("a", "", script()...)
	id := w.accepted(w.start("a", made.Token)).JobID
	root := id
	for n := range 16 {
		id = w.started(w.event("?template=a", "{}", lifecycleHeader(job.StepSucceeded, id, "Ce-Jobhops", "0")...))
		if index := w.index(id); index.Hops != n+1 || index.Root != root {
			t.Fatalf("job %d: got %d hops from %s", n+1, index.Hops, index.Root)
		}
	}
	p := w.problem(w.event("?template=a", "{}", lifecycleHeader(job.StepSucceeded, id, "Ce-Jobhops", "0")...),
		http.StatusUnprocessableEntity)
	if !strings.Contains(p.Detail, "16 jobs have started each other") {
		t.Errorf("got %q", p.Detail)
	}
	// The same when the job is gone, and with it its index.
	if _, _, err := w.ledger.Finish(t.Context(), w.index(id),
		job.Terminal{Phase: job.Succeeded, FinishedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := w.ledger.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.problem(w.event("?template=a", "{}", lifecycleHeader(job.StepReaped, id)...), http.StatusUnprocessableEntity)
}

// TestChainThatBranches sends the events of many jobs of one chain at once, and demands that no
// more are started than may be.
func TestChainThatBranches(t *testing.T) {
	const most, clients = 20, 12
	w := newWorld(t, func(d *submit.Deps) { d.Env.Vars["MAX_CHAINED_JOBS"] = strconv.Itoa(most) })
	made := w.put("a", "", script()...)
	w.put("b", made.Token, script()...)
	root := w.accepted(w.start("a", made.Token)).JobID
	other := w.accepted(w.start("a", made.Token)).JobID
	var mu sync.Mutex
	statuses := map[int]int{}
	started := []job.ID{root}
	var wait sync.WaitGroup
	for client := range clients {
		wait.Go(func() {
			for n := range 10 {
				mu.Lock()
				id := started[(n*7+client)%len(started)]
				mu.Unlock()
				got := w.event("?template=b", fmt.Sprintf(`{"n":%d}`, n*clients+client), lifecycleHeader(job.StepSucceeded, id)...)
				mu.Lock()
				statuses[got.StatusCode]++
				if path, found := strings.CutPrefix(got.Header.Get("Location"), "/api/v1/jobs/"); found {
					started = append(started, job.ID(path))
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(started) != most+1 || statuses[http.StatusAccepted] != most ||
		statuses[http.StatusUnprocessableEntity] != 10*clients-most {
		t.Errorf("%d jobs in the chain, want %d; answers %v", len(started), most+1, statuses)
	}
	if n := len(w.jobs()); n != most+2 {
		t.Errorf("there are %d jobs, want %d", n, most+2)
	}
	p := w.problem(w.event("?template=b", `{"n":"last"}`, lifecycleHeader(job.StepFailed, started[most])...),
		http.StatusUnprocessableEntity)
	if !strings.Contains(p.Detail, "MAX_CHAINED_JOBS") {
		t.Errorf("got %q", p.Detail)
	}
	again := w.started(w.event("?template=b", `{"n":1}`, lifecycleHeader(job.StepSucceeded, other)...))
	if twice := w.started(w.event("?template=b", `{"n":1}`,
		lifecycleHeader(job.StepSucceeded, other)...)); twice != again || w.index(again).Root != other {
		t.Errorf("another chain: got %s and %s", again, twice)
	}
}

// TestDeliveriesOfOneStepCountOnce delivers one event many times at once.
func TestDeliveriesOfOneStepCountOnce(t *testing.T) {
	w := newWorld(t, func(d *submit.Deps) { d.Env.Vars["MAX_CHAINED_JOBS"] = "1" })
	made := w.put("a", "", script()...)
	root := w.accepted(w.start("a", made.Token)).JobID
	w.started(w.event("?template=a", "{}", lifecycleHeader(job.StepSucceeded, root)...))
	w.started(w.event("?template=a", "{}", lifecycleHeader(job.StepSucceeded, root)...))
	if n, err := w.ledger.ChainLength(t.Context(), root, 10); n != 1 || err != nil {
		t.Errorf("the chain has %d jobs, %v; want 1", n, err)
	}
	// What is refused after it was counted does not count.
	roomy := newWorld(t, func(d *submit.Deps) { d.Env.Vars["MAX_CHAINED_JOBS"] = "50" })
	made = roomy.put("a", "", script()...)
	root = roomy.accepted(roomy.start("a", made.Token)).JobID
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() { roomy.started(roomy.event("?template=a", "{}", lifecycleHeader(job.StepSucceeded, root)...)) })
	}
	wait.Wait()
	if n, err := roomy.ledger.ChainLength(t.Context(), root, 10); n != 1 || err != nil {
		t.Errorf("the chain has %d jobs, %v; want 1", n, err)
	}
}
