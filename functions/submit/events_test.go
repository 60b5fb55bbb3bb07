package submit_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// eventHeader is an event in binary mode with JSON data.
func eventHeader(id string, more ...string) []string {
	return append([]string{
		"Ce-Specversion", "1.0", "Ce-Id", id, "Ce-Source", "/tests", "Ce-Type", "com.example.made", "Content-Type",
		"application/json",
	}, more...)
}

func (w *world) event(query, body string, header ...string) reply {
	w.t.Helper()
	return w.call(http.MethodPost, "/events"+query, body, header...)
}

// started returns the job of an event that was taken.
func (w *world) started(got reply) job.ID {
	w.t.Helper()
	if got.StatusCode != http.StatusAccepted || len(got.body) > 0 {
		w.t.Fatalf("got %s, want 202 without a body: %s", got.Status, got.body)
	}
	id, found := strings.CutPrefix(got.Header.Get("Location"), "/api/v1/jobs/")
	if !found {
		w.t.Fatalf("Location: got %q", got.Header.Get("Location"))
	}
	return job.ID(id)
}

func TestEventStartsTemplate(t *testing.T) {
	w := newWorld(t)
	made := w.put("resize", "", script(field("args", `["--name","$.data.name","$.subject"]`),
		field("env", `{"A":"1","CE_ID":"mine"}`))...)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	body := "{ \"name\" : \"a b\" }\n"
	id := w.started(w.event("?template=resize", body, eventHeader("1", "Ce-Subject", "s/1", "Ce-Traceparent", parent,
		"Ce-Jobhops", "2")...))
	index := w.index(id)
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
	if got := w.artifact(id, "event.data"); got != body {
		t.Errorf("event.data: got %q", got)
	}
	if got := w.artifact(id, "event.json"); !strings.Contains(got, `"data":{"name":"a b"}`) ||
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
	sent := w.sink.sent()
	if e := sent[len(sent)-1]; e.Type() != event.Submitted || e.Extensions()["template"] != "resize" ||
		e.Extensions()["traceparent"] != parent ||
		strings.Contains(string(e.Data()), w.keys.Derive("user", id)) || !strings.Contains(string(e.Data()), string(id)) {
		t.Errorf("event of the job: %s", e)
	}
}

// TestDeliveries delivers events several times, at once and one after the other.
func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	made := w.put("a", "", script()...)
	w.put("b", made.Token, script()...)
	first := w.started(w.event("?template=a", "{}", eventHeader("1")...))
	var wait sync.WaitGroup
	var mu sync.Mutex
	ids := map[job.ID]bool{}
	for n := range 12 {
		wait.Go(func() {
			id := w.started(w.event("?template=a", "{}", eventHeader(fmt.Sprint(2+n%2), "Ce-Knativearrivaltime",
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
	if again := w.started(w.event("?template=a", "{}", eventHeader("1")...)); again != first {
		t.Errorf("delivered again: got %s, want %s", again, first)
	}
	if other := w.started(w.event("?template=b", "{}", eventHeader("1")...)); other == first {
		t.Error("another template was not started")
	}
	if other := w.started(w.event("?template=a", "{}",
		append([]string{"Ce-Source", "/other"}, without(eventHeader("1"), "Ce-Source")...)...)); other == first {
		t.Error("the same ID of another source was not started")
	}
	list := w.want(http.StatusOK, w.call(http.MethodGet, "/api/v1/jobs?label=go-job-orchestrator/template=a&limit=500",
		""))
	if n := strings.Count(string(list.body), `"jobID"`); n != 4 {
		t.Errorf("of template a there are %d jobs, want 4", n)
	}
	// What has become of template and job is nothing to who delivers again.
	w.want(http.StatusNoContent, w.call(http.MethodDelete, "/api/v1/templates/a", "", bearer(made.Token)...))
	if again := w.started(w.event("?template=a", "{}", eventHeader("1")...)); again != first {
		t.Errorf("without the template: got %s, want %s", again, first)
	}
	if _, _, err := w.ledger.Finish(t.Context(), w.index(first),
		job.Terminal{Phase: job.Succeeded, FinishedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := w.ledger.Remove(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	got := w.want(http.StatusAccepted, w.event("?template=a", "{}", eventHeader("1")...))
	if where := got.Header.Get("Location"); where != "" || len(got.body) > 0 {
		t.Errorf("of a removed job: Location %q, body %q", where, got.body)
	}
}

// TestBrokerAnswers holds the answers to what a Broker makes of them: it delivers again after 404,
// 409 and 5xx, and gives up after other 4xx.
func TestBrokerAnswers(t *testing.T) {
	full := place{full: true}
	w := newWorld(t, func(d *submit.Deps) {
		d.Env.Vars["EVENT_TYPES"], d.Env.Vars["EVENT_SOURCES"] = "com.example.*,exact,io.github.*", "/tests,https://*"
		d.Env.Vars["MAX_EVENT_BYTES"] = "1000"
	})
	w.put("a", "", script(field("args", `["$.data.x"]`))...)
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
			before := w.tree()
			p := w.problem(w.event(test.query, test.body, test.header...), test.status)
			if !strings.Contains(p.Detail, test.want) {
				t.Errorf("got %q, want something with %q", p.Detail, test.want)
			}
			if diff := cmp.Diff(before, w.tree()); diff != "" {
				t.Errorf("something is left (-before +after):\n%s", diff)
			}
		})
	}
	w.started(w.event("?template=a", `{"x":1}`, append([]string{"Ce-Type", "exact", "Ce-Source", "https://x"},
		without(without(eventHeader("1"), "Ce-Type"), "Ce-Source")...)...))

	busy := newWorld(t, func(d *submit.Deps) { d.Admission = full })
	busy.put("a", "", script()...)
	busy.problem(busy.event("?template=a", "{}", eventHeader("1")...), http.StatusServiceUnavailable)
	tight := newWorld(t, func(d *submit.Deps) { d.Env.Vars["MIN_FREE_BYTES"] = "1Pi" })
	tight.problem(tight.event("", requestData(), requestHeader("1")...), http.StatusInsufficientStorage)
	tight.wantNothing()
}

func without(header []string, name string) []string {
	var left []string
	for i := 0; i < len(header); i += 2 {
		if header[i] != name {
			left = append(left, header[i], header[i+1])
		}
	}
	return left
}

func requestHeader(id string) []string {
	return append([]string{"Ce-Type", "io.github.go-job-orchestrator.job.requested.v1"},
		without(eventHeader(id), "Ce-Type")...)
}

func requestData(more ...string) string {
	return `{"runtime":"python","entrypoint":"a.py","args":["$.data"],` + strings.Join(more, "") +
		`"files":[{"name":"a.py","content":"` + base64.StdEncoding.EncodeToString([]byte("print(1)\n")) + `"}]}`
}

func TestRequestedJob(t *testing.T) {
	w := newWorld(t)
	owner := w.put("any", "", script()...)
	owned := func(id string) []string { return append(requestHeader(id), bearer(owner.Token)...) }
	data := requestData(`"ttlSecondsAfterFinished":5,`)
	id := w.started(w.event("", data, owned("1")...))
	index := w.index(id)
	if index.Owner != owner.Owner || index.TTLSecondsAfterFinished != 5 ||
		!slices.Equal(index.Args, []string{"$.data"}) || index.Template != nil {
		t.Errorf("got %+v", index)
	}
	if got := w.artifact(id, "a.py"); got != "print(1)\n" {
		t.Errorf("file: got %q", got)
	}
	if again := w.started(w.event("", data, owned("1")...)); again != id {
		t.Errorf("delivered again: got %s, want %s", again, id)
	}
	if other := w.started(w.event("", data, requestHeader("1")...)); other == id || w.index(other).Owner != "" {
		t.Error("without the owner's token the event got the owner's job")
	}
	w.want(http.StatusOK, w.call(http.MethodGet, "/api/v1/jobs/"+string(id)+"/token", "", bearer(owner.Token)...))
	free := w.started(w.event("", requestData(), requestHeader("2")...))
	w.want(http.StatusForbidden, w.call(http.MethodGet, "/api/v1/jobs/"+string(free)+"/token", "", bearer(owner.Token)...))
	for name, data := range map[string]string{
		"runtime":    strings.Replace(requestData(), "python", "cobol", 1),
		"entrypoint": strings.Replace(requestData(), `"entrypoint":"a.py"`, `"entrypoint":"b.py"`, 1),
		"base64":     strings.Replace(requestData(), `content":"`, `content":"*`, 1),
	} {
		if p := w.problem(w.event("", data, requestHeader("3")...), http.StatusUnprocessableEntity); !strings.Contains(
			p.Detail, name) {
			t.Errorf("%s: got %q", name, p.Detail)
		}
	}
}

func TestBatchOfEvents(t *testing.T) {
	w := newWorld(t)
	w.put("a", "", script(field("args", `["$.data.x"]`))...)
	one := func(id, data string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/tests","type":"t","data":%s}`, id, data)
	}
	send := func(events ...string) reply {
		return w.event("?template=a", "["+strings.Join(events, ",")+"]", "Content-Type", "application/cloudevents-batch+json")
	}
	got := w.want(http.StatusAccepted, send(one("1", `{"x":1}`), one("2", `{"x":2}`), one("1", `{"x":1}`)))
	if links := got.Header.Values("Link"); len(links) != 3 || links[0] != links[2] || links[0] == links[1] ||
		got.Header.Get("Location") != "" || len(got.body) > 0 {
		t.Errorf("got %q, %q", links, got.body)
	}
	w.started(send(one("3", `{"x":3}`)))
	w.want(http.StatusAccepted, send())
	// The good ones run although one is bad, and a second delivery changes nothing.
	for range 2 {
		w.problem(send(one("4", `{"x":4}`), one("5", `{}`), one("6", `{"x":6}`)), http.StatusUnprocessableEntity)
	}
	list := w.want(http.StatusOK, w.call(http.MethodGet, "/api/v1/jobs?limit=500", ""))
	if n := strings.Count(string(list.body), `"jobID"`); n != 5 {
		t.Errorf("there are %d jobs, want 5", n)
	}
}

// over ends a job that left outputs.
func (w *world) over(id job.ID, outputs map[string]string) {
	w.t.Helper()
	var files []job.File
	for _, name := range []string{"report/table.csv", "stdout.log"} {
		d, err := w.store.Put(w.t.Context(), ledger.ResultKey(id, name), strings.NewReader(outputs[name]))
		if err != nil {
			w.t.Fatal(err)
		}
		files = append(files, job.File{Name: name, Size: d.Size, SHA256: d.SHA256})
	}
	if err := w.ledger.PutOutputs(w.t.Context(), id, files); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.ledger.Finish(w.t.Context(), w.index(id),
		job.Terminal{Phase: job.Succeeded, FinishedAt: time.Now()}); err != nil {
		w.t.Fatal(err)
	}
}

func TestChain(t *testing.T) {
	w := newWorld(t)
	mine := w.put("first", "", script()...)
	w.put("second", mine.Token, script()...)
	w.put("foreign", "", script()...)
	first := w.accepted(w.start("first", mine.Token)).JobID
	w.over(first, map[string]string{"report/table.csv": "a,b\n", "stdout.log": "out\n"})
	succeeded := func(id job.ID) []string {
		kind := event.Type(job.StepSucceeded)
		return append([]string{"Ce-Type", kind, "Ce-Subject", string(id)},
			without(eventHeader(string(id)+"."+kind), "Ce-Type")...)
	}
	second := w.started(w.event("?template=second&withOutputs=true", "{}", succeeded(first)...))
	if got := w.artifact(second, "inputs/report/table.csv"); got != "a,b\n" {
		t.Errorf("input: got %q", got)
	}
	if index := w.index(second); len(index.Files) != 5 || index.Hops != 1 {
		t.Errorf("got %+v", index)
	}
	without := w.started(w.event("?template=first", "{}", succeeded(first)...))
	if index := w.index(without); len(index.Files) != 3 {
		t.Errorf("outputs came unasked: %+v", index.Files)
	}
	// Whoever can send events must not get at the outputs of others: the event proves nothing.
	w.problem(w.event("?template=foreign&withOutputs=true", "{}", succeeded(first)...), http.StatusForbidden)
	plain := w.accepted(w.post(script()...)).JobID
	w.over(plain, nil)
	w.problem(w.event("?template=second&withOutputs=true", "{}", succeeded(plain)...), http.StatusForbidden)
	w.problem(w.event("?template=second&withOutputs=true", "{}", succeeded("00000000000000000000000000000000")...),
		http.StatusForbidden)
}
