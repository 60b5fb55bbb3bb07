package events_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// over ends a job that left outputs.
func over(w *admissiontest.Server, id job.ID, outputs map[string]string) {
	w.T.Helper()
	var files []job.File
	for _, name := range []string{"report/table.csv", "stdout.log"} {
		d, err := w.Store.Put(w.T.Context(), ledger.ResultKey(id, name), strings.NewReader(outputs[name]))
		if err != nil {
			w.T.Fatal(err)
		}
		files = append(files, job.File{Name: name, Size: d.Size, SHA256: d.SHA256})
	}
	if err := w.Ledger.PutOutputs(w.T.Context(), id, files); err != nil {
		w.T.Fatal(err)
	}
	if _, _, err := w.Ledger.Finish(w.T.Context(), w.Index(id),
		job.Terminal{Phase: job.Succeeded, FinishedAt: time.Now()}); err != nil {
		w.T.Fatal(err)
	}
}

// lifecycleHeader is an event in binary mode as a job sends it, or somebody who says to be one.
func lifecycleHeader(step job.Step, id job.ID, more ...string) []string {
	kind := event.Type(step)
	header := []string{
		"Ce-Specversion", "1.0", "Ce-Id", string(id) + "." + kind, "Ce-Source", "http://jobs.example", "Ce-Type", kind,
		"Ce-Subject", string(id), "Content-Type", "application/json",
	}
	return append(header, more...)
}

// TestOwnFirstSteps demands that a template is never started by one of its own jobs being submitted
// or started.
func TestOwnFirstSteps(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("a", "", script()...)
	w.PutTemplate("b", made.Owner, script()...)
	id := w.Accepted(w.StartTemplate("a", made.Owner)).JobID
	for _, step := range []job.Step{job.StepSubmitted, job.StepStarted} {
		for name, more := range map[string][]string{"as it is": nil, "with another's name": {"Ce-Template", "b"}} {
			before := len(w.Jobs())
			p := w.Problem(send(w, "?template=a", "{}", lifecycleHeader(step, id, more...)...), http.StatusUnprocessableEntity)
			if !strings.Contains(p.Detail, "filter for type") || len(w.Jobs()) != before {
				t.Errorf("%s, %s: got %q", step, name, p.Detail)
			}
		}
		started(w, send(w, "?template=b", "{}", lifecycleHeader(step, id)...))
	}
	w.Problem(send(w, "?template=a", "{}", lifecycleHeader(job.StepStarted, "00000000000000000000000000000000",
		"Ce-Template", "a")...), http.StatusUnprocessableEntity)
	started(w, send(w, "?template=a", "{}", lifecycleHeader(job.StepSucceeded, id)...))
}

// TestHopsAreRecorded demands that a chain ends however short its events say that it is.
func TestHopsAreRecorded(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("a", "", script()...)
	id := w.Accepted(w.StartTemplate("a", made.Owner)).JobID
	root := id
	for n := range 16 {
		id = started(w, send(w, "?template=a", "{}", lifecycleHeader(job.StepSucceeded, id, "Ce-Jobhops", "0")...))
		if index := w.Index(id); index.Hops != n+1 || index.Root != root {
			t.Fatalf("job %d: got %d hops from %s", n+1, index.Hops, index.Root)
		}
	}
	p := w.Problem(send(w, "?template=a", "{}", lifecycleHeader(job.StepSucceeded, id, "Ce-Jobhops", "0")...),
		http.StatusUnprocessableEntity)
	if !strings.Contains(p.Detail, "16 jobs have started each other") {
		t.Errorf("got %q", p.Detail)
	}
	// The same when the job is gone, and with it its index.
	if _, _, err := w.Ledger.Finish(t.Context(), w.Index(id),
		job.Terminal{Phase: job.Succeeded, FinishedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := w.Ledger.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.Problem(send(w, "?template=a", "{}", lifecycleHeader(job.StepReaped, id)...), http.StatusUnprocessableEntity)
}

// TestChainThatBranches sends the events of many jobs of one chain at once, and demands that no
// more are started than may be.
func TestChainThatBranches(t *testing.T) {
	const most, clients = 20, 12
	w := newServer(t, admissiontest.Setting("MAX_CHAINED_JOBS", strconv.Itoa(most)))
	made := w.PutTemplate("a", "", script()...)
	w.PutTemplate("b", made.Owner, script()...)
	root := w.Accepted(w.StartTemplate("a", made.Owner)).JobID
	other := w.Accepted(w.StartTemplate("a", made.Owner)).JobID
	var mu sync.Mutex
	statuses := map[int]int{}
	chain := []job.ID{root}
	var wait sync.WaitGroup
	for client := range clients {
		wait.Go(func() {
			for n := range 10 {
				mu.Lock()
				id := chain[(n*7+client)%len(chain)]
				mu.Unlock()
				got := send(w, "?template=b", fmt.Sprintf(`{"n":%d}`, n*clients+client), lifecycleHeader(job.StepSucceeded, id)...)
				mu.Lock()
				statuses[got.StatusCode]++
				if path, found := strings.CutPrefix(got.Header.Get("Location"), "/api/v1/jobs/"); found {
					chain = append(chain, job.ID(path))
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(chain) != most+1 || statuses[http.StatusAccepted] != most ||
		statuses[http.StatusUnprocessableEntity] != 10*clients-most {
		t.Errorf("%d jobs in the chain, want %d; answers %v", len(chain), most+1, statuses)
	}
	if n := len(w.Jobs()); n != most+2 {
		t.Errorf("there are %d jobs, want %d", n, most+2)
	}
	p := w.Problem(send(w, "?template=b", `{"n":"last"}`, lifecycleHeader(job.StepFailed, chain[most])...),
		http.StatusUnprocessableEntity)
	if !strings.Contains(p.Detail, "MAX_CHAINED_JOBS") {
		t.Errorf("got %q", p.Detail)
	}
	again := started(w, send(w, "?template=b", `{"n":1}`, lifecycleHeader(job.StepSucceeded, other)...))
	if twice := started(w, send(w, "?template=b", `{"n":1}`,
		lifecycleHeader(job.StepSucceeded, other)...)); twice != again || w.Index(again).Root != other {
		t.Errorf("another chain: got %s and %s", again, twice)
	}
}

func TestChain(t *testing.T) {
	w := newServer(t)
	mine := w.PutTemplate("first", "", script()...)
	w.PutTemplate("second", mine.Owner, script()...)
	w.PutTemplate("foreign", "bob", script()...)
	first := w.Accepted(w.StartTemplate("first", mine.Owner)).JobID
	over(w, first, map[string]string{"report/table.csv": "a,b\n", "stdout.log": "out\n"})
	succeeded := func(id job.ID) []string {
		kind := event.Type(job.StepSucceeded)
		return append([]string{"Ce-Type", kind, "Ce-Subject", string(id)},
			without(eventHeader(string(id)+"."+kind), "Ce-Type")...)
	}
	second := started(w, send(w, "?template=second&withOutputs=true", "{}", succeeded(first)...))
	if got := w.File(second, "inputs/report/table.csv"); got != "a,b\n" {
		t.Errorf("input: got %q", got)
	}
	if index := w.Index(second); len(index.Files) != 5 || index.Hops != 1 {
		t.Errorf("got %+v", index)
	}
	without := started(w, send(w, "?template=first", "{}", succeeded(first)...))
	if index := w.Index(without); len(index.Files) != 3 {
		t.Errorf("outputs came unasked: %+v", index.Files)
	}
	// Whoever can send events must not get at the outputs of others: the event proves nothing.
	w.Problem(send(w, "?template=foreign&withOutputs=true", "{}", succeeded(first)...), http.StatusForbidden)
	plain := w.Accepted(w.StartTemplate("foreign", "bob")).JobID
	over(w, plain, nil)
	w.Problem(send(w, "?template=second&withOutputs=true", "{}", succeeded(plain)...), http.StatusForbidden)
	w.Problem(send(w, "?template=second&withOutputs=true", "{}", succeeded("00000000000000000000000000000000")...),
		http.StatusForbidden)
}
