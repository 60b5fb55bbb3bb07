package events_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/intake"
	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/serve"
)

// The parts of forms, by the short names that tables need.
var field, file, script, encode = formtest.Field, formtest.File, formtest.Script, formtest.Encode

// newServer starts a server of the functions by which jobs come in, and of status.
func newServer(t testing.TB, options ...admissiontest.Option) *admissiontest.Server {
	t.Helper()
	return admissiontest.New(t, []admissiontest.Opener{openAll, openStatus}, options...)
}

func openAll(d admission.Deps) (serve.Function, error) { return intake.Open(d) }

func openStatus(d admission.Deps) (serve.Function, error) {
	return status.New(status.Deps{Env: d.Env})
}

// send sends an event.
func send(w *admissiontest.Server, query, body string, header ...string) admissiontest.Reply {
	w.T.Helper()
	return w.Call(http.MethodPost, "/events"+query, body, header...)
}

// started returns the job of an event that was taken.
func started(w *admissiontest.Server, got admissiontest.Reply) job.ID {
	w.T.Helper()
	if got.StatusCode != http.StatusAccepted || len(got.Text) > 0 {
		w.T.Fatalf("got %s, want 202 without a body: %s", got.Status, got.Text)
	}
	id, found := strings.CutPrefix(got.Header.Get("Location"), "/api/v1/jobs/")
	if !found {
		w.T.Fatalf("Location: got %q", got.Header.Get("Location"))
	}
	return job.ID(id)
}

// eventHeader is an event in binary mode with JSON data.
func eventHeader(id string, more ...string) []string {
	return append([]string{
		"Ce-Specversion", "1.0", "Ce-Id", id, "Ce-Source", "/tests", "Ce-Type", "com.example.made", "Content-Type",
		"application/json",
	}, more...)
}

func TestEventStartsTemplate(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("resize", "", script(field("args", `["--name","$.data.name","$.subject"]`),
		field("env", `{"A":"1","CE_ID":"mine"}`))...)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	body := "{ \"name\" : \"a b\" }\n"
	id := started(w, send(w, "?template=resize", body, eventHeader("1", "Ce-Subject", "s/1", "Ce-Traceparent", parent,
		"Ce-Jobhops", "2")...))
	index := w.Index(id)
	if diff := cmp.Diff([]string{"--name", "a b", "s/1"}, index.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	wantEnv := map[string]string{
		"A": "1", "CE_ID": "1", "CE_SOURCE": "/tests", "CE_TYPE": "com.example.made", "CE_SPECVERSION": "1.0",
		"CE_SUBJECT":         "s/1",
		"CE_DATACONTENTTYPE": "application/json", "CE_TRACEPARENT": parent, "CE_JOBHOPS": "2",
	}
	if diff := cmp.Diff(wantEnv, index.Env); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if index.Owner != made.Owner || index.Trace.Parent != parent || index.Hops != 2 || index.Template.Name != "resize" {
		t.Errorf("got %+v", index)
	}
	if got := w.File(id, "event.data"); got != body {
		t.Errorf("event.data: got %q", got)
	}
	if got := w.File(id, "event.json"); !strings.Contains(got, `"data":{"name":"a b"}`) ||
		!strings.Contains(got, `"subject":"s/1"`) {
		t.Errorf("event.json: got %s", got)
	}
	names := []string{}
	for _, f := range index.Files {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"a.py", "event.data", "event.json"}) {
		t.Errorf("files: got %q", names)
	}
	sent := w.Sink.Sent()
	if e := sent[len(sent)-1]; e.Type() != event.Submitted || e.Extensions()["template"] != "resize" ||
		e.Extensions()["traceparent"] != parent ||
		strings.Contains(string(e.Data()), w.Keys.Derive("user", id)) || !strings.Contains(string(e.Data()), string(id)) {
		t.Errorf("event of the job: %s", e)
	}
}

// TestDeliveries delivers events several times, at once and one after the other.
func TestDeliveries(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("a", "", script()...)
	w.PutTemplate("b", made.Owner, script()...)
	first := started(w, send(w, "?template=a", "{}", eventHeader("1")...))
	var wait sync.WaitGroup
	var mu sync.Mutex
	ids := map[job.ID]bool{}
	for n := range 12 {
		wait.Go(func() {
			id := started(w, send(w, "?template=a", "{}", eventHeader(fmt.Sprint(2+n%2), "Ce-Knativearrivaltime",
				fmt.Sprint(n))...))
			mu.Lock()
			defer mu.Unlock()
			ids[id] = true
		})
	}
	wait.Wait()
	if len(ids) != 2 || ids[first] {
		t.Errorf("two events, delivered six times each, started %v", ids)
	}
	if again := started(w, send(w, "?template=a", "{}", eventHeader("1")...)); again != first {
		t.Errorf("delivered again: got %s, want %s", again, first)
	}
	if other := started(w, send(w, "?template=b", "{}", eventHeader("1")...)); other == first {
		t.Error("another template was not started")
	}
	if other := started(w, send(w, "?template=a", "{}",
		append([]string{"Ce-Source", "/other"}, without(eventHeader("1"), "Ce-Source")...)...)); other == first {
		t.Error("the same ID of another source was not started")
	}
	list := w.Want(http.StatusOK, w.Call(http.MethodGet, "/api/v1/jobs?label=go-job-orchestrator/template=a&limit=500",
		""))
	if n := strings.Count(string(list.Text), `"jobID"`); n != 4 {
		t.Errorf("of template a there are %d jobs, want 4", n)
	}
	// What has become of template and job is nothing to who delivers again.
	w.Want(http.StatusNoContent, w.Call(http.MethodDelete, "/api/v1/templates/a", "", admissiontest.By(made.Owner)...))
	if again := started(w, send(w, "?template=a", "{}", eventHeader("1")...)); again != first {
		t.Errorf("without the template: got %s, want %s", again, first)
	}
	if _, _, err := w.Ledger.Finish(t.Context(), w.Index(first),
		job.Terminal{Phase: job.Succeeded, FinishedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := w.Ledger.Remove(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	got := w.Want(http.StatusAccepted, send(w, "?template=a", "{}", eventHeader("1")...))
	if where := got.Header.Get("Location"); where != "" || len(got.Text) > 0 {
		t.Errorf("of a removed job: Location %q, body %q", where, got.Text)
	}
}

// TestBrokerAnswers holds the answers to what a Broker makes of them: it delivers again after 404,
// 409 and 5xx, and gives up after other 4xx.
func TestBrokerAnswers(t *testing.T) {
	full := admissiontest.Backend{Full: true}
	w := newServer(t, func(d *admission.Deps) {
		d.Env.Vars["EVENT_TYPES"], d.Env.Vars["EVENT_SOURCES"] = "com.example.*,exact,io.github.*", "/tests,https://*"
		d.Env.Vars["MAX_EVENT_BYTES"] = "1000"
	})
	w.PutTemplate("a", "", script(field("args", `["$.data.x"]`))...)
	for name, test := range map[string]struct {
		query, body string
		header      []string
		status      int
		want        string
	}{
		"unknown template":  {"?template=none", "{}", eventHeader("1"), 404, "none"},
		"no template":       {"", "{}", eventHeader("1"), 422, "template"},
		"empty template":    {"?template=", "{}", eventHeader("1"), 422, "template"},
		"template no name":  {"?template=A/B", "{}", eventHeader("1"), 422, "template"},
		"unknown parameter": {"?tempalte=a", "{}", eventHeader("1"), 400, "tempalte"},
		"two templates":     {"?template=a&template=b", "{}", eventHeader("1"), 400, "template"},
		"no event":          {"?template=a", "{}", []string{"Content-Type", "application/json"}, 400, "CloudEvent"},
		"malformed":         {"?template=a", "{", eventHeader("1"), 400, "data"},
		"too large": {"?template=a", `"` + strings.Repeat("x", 1000) + `"`, eventHeader("1"), 413,
			"MAX_EVENT_BYTES"},
		"no such part": {"?template=a", "{}", eventHeader("1"), 422, "args[0]"},
		"type not admitted": {"?template=a", "{}",
			append([]string{"Ce-Type", "exact.not"}, without(eventHeader("1"), "Ce-Type")...), 403, "EVENT_TYPES"},
		"source not admitted": {"?template=a", "{}",
			append([]string{"Ce-Source", "/tests/x"}, without(eventHeader("1"), "Ce-Source")...), 403, "EVENT_SOURCES"},
		"unknown version": {"", "{}", append([]string{"Ce-Type", "io.github.go-job-orchestrator.job.requested.v2"},
			without(eventHeader("1"), "Ce-Type")...), 422, "version"},
		"unknown spec version": {"?template=a", "{}",
			append([]string{"Ce-Specversion", "2.0"}, without(eventHeader("1"), "Ce-Specversion")...), 400, "CloudEvent"},
		"in circles": {"?template=a", "{}", eventHeader("1", "Ce-Jobhops", "17"), 422, "Trigger"},
		"between us": {"?template=a", "{}", []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s",
			"Ce-Type", event.Launch}, 422, "type"},
		"an audit record": {"?template=a", "{}", []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s",
			"Ce-Type", event.Audit}, 422, "type"},
		"a cut escape":    {"?template=a", "{}", eventHeader("1", "Ce-Subject", "50%"), 400, "subject"},
		"a bad extension": {"?template=a", "{}", eventHeader("1", "Ce-Other", "%c0%a0"), 400, "other"},
		"an older version": {"?template=a", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`,
			[]string{"Content-Type", "application/cloudevents+json"}, 400, "specversion"},
		"outputs of no job":   {"?template=a&withOutputs=true", `{"x":1}`, eventHeader("1"), 422, "withOutputs"},
		"outputs and no job":  {"?withOutputs=true", `{"x":1}`, eventHeader("1"), 400, "withOutputs"},
		"outputs neither":     {"?template=a&withOutputs=yes", `{"x":1}`, eventHeader("1"), 400, "withOutputs"},
		"argument with a NUL": {"?template=a", `{"x":"\u0000"}`, eventHeader("1"), 422, "args[0]"},
		"attribute no variable": {"?template=a", `{"x":"y"}`, eventHeader("1", "Ce-Big", strings.Repeat("x", 200<<10)), 422,
			"big"},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.Tree()
			p := w.Problem(send(w, test.query, test.body, test.header...), test.status)
			if !strings.Contains(p.Detail, test.want) {
				t.Errorf("got %q, want something with %q", p.Detail, test.want)
			}
			if diff := cmp.Diff(before, w.Tree()); diff != "" {
				t.Errorf("something is left (-before +after):\n%s", diff)
			}
		})
	}
	started(w, send(w, "?template=a", `{"x":1}`, append([]string{"Ce-Type", "exact", "Ce-Source", "https://x"},
		without(without(eventHeader("1"), "Ce-Type"), "Ce-Source")...)...))

	busy := newServer(t, func(d *admission.Deps) { d.Backend = full })
	busy.PutTemplate("a", "", script()...)
	busy.Problem(send(busy, "?template=a", "{}", eventHeader("1")...), http.StatusServiceUnavailable)
	tight := newServer(t, admissiontest.Setting("MIN_FREE_BYTES", "1Pi"))
	tight.Problem(send(tight, "", requestData(), requestHeader("1")...), http.StatusInsufficientStorage)
	tight.WantNothing()
}
