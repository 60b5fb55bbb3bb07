package events_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
)

// TestEventNamesNoOwner demands that an event gives nobody a job who has not proved to be who they
// are.
func TestEventNamesNoOwner(t *testing.T) {
	w := newServer(t)
	victim := w.PutTemplate("any", "", script()...)
	for name, more := range map[string]string{
		"an owner": `"owner":"` + victim.Owner + `",`, "capitals": `"OWNER":"` + victim.Owner + `",`,
		"none": `"owner":"",`, "null": `"owner":null,`,
	} {
		before := w.Tree()
		p := w.Problem(send(w, "", requestData(more), requestHeader("1")...), http.StatusUnprocessableEntity)
		if len(p.Errors) != 1 || p.Errors[0].Field != "owner" || !strings.Contains(p.Detail, "whose key") {
			t.Errorf("%s: got %+v", name, p)
		}
		if diff := cmp.Diff(before, w.Tree()); diff != "" {
			t.Errorf("%s: something is left (-before +after):\n%s", name, diff)
		}
	}
	another := w.Accepted(w.Post(script()...))
	for name, credentials := range map[string][]string{
		"a job's token": admissiontest.Bearer(another.Token), "nonsense": admissiontest.Bearer("x"),
		"other credentials": {"Authorization", "Basic eDp5"}, "nothing": {"Authorization", ""},
	} {
		for _, query := range []string{"", "?template=any"} {
			got := send(w, query, requestData(), append(requestHeader("2"), credentials...)...)
			w.Problem(got, http.StatusUnauthorized)
			if got.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", name)
			}
		}
	}
	if n := len(w.Jobs()); n != 1 {
		t.Errorf("there are %d jobs, want 1", n)
	}
}

// TestWhoMayStartByEvents sends an event by the Broker and by callers for templates that are marked
// for it, and for one that is not.
func TestWhoMayStartByEvents(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("plain", "ann", script()...)
	w.PutTemplate("any", "ann", script(formtest.Field("eventTypes", "*"))...)
	w.PutTemplate("types", "ann", script(formtest.Field("eventTypes", "other,com.example.*"))...)
	w.PutTemplate("sources", "ann", script(formtest.Field("eventSources", "/elsewhere"))...)
	w.PutTemplate("old", "", script()...)
	w.BeforeOwners("old")
	broker := admissiontest.By(guardtest.Nobody)
	for name, test := range map[string]struct {
		template string
		sender   []string
		status   int
		owner    string
	}{
		"the broker, unmarked":        {"plain", broker, 403, ""},
		"the broker, any":             {"any", broker, 202, "ann"},
		"the broker, a type":          {"types", broker, 202, "ann"},
		"the broker, another source":  {"sources", broker, 403, ""},
		"the broker, unknown":         {"none", broker, 404, ""},
		"the broker, an old template": {"old", broker, 202, job.LocalOwner},
		"its owner":                   {"plain", admissiontest.By("ann"), 202, "ann"},
		"its owner, another source":   {"sources", admissiontest.By("ann"), 202, "ann"},
		"an admin":                    {"plain", nil, 202, "ann"},
		"another, unmarked":           {"plain", admissiontest.By("bob"), 404, ""},
		"another, marked":             {"any", admissiontest.By("bob"), 404, ""},
		"who may only look":           {"any", admissiontest.By("ann/read"), 403, ""},
		"the broker, its own":         {"", broker, 202, job.LocalOwner},
		"a caller's own":              {"", admissiontest.By("bob"), 202, "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			header, data, query := eventHeader(name), "{}", "?template="+test.template
			if test.template == "" {
				header, data, query = requestHeader(name), requestData(), ""
			}
			header = append(without(header, "Ce-Type"), "Ce-Type", map[bool]string{true: "com.example.a",
				false: "io.github.go-job-orchestrator.job.requested.v1"}[test.template != ""])
			got := send(w, query, data, append(header, test.sender...)...)
			if test.status != http.StatusAccepted {
				w.Problem(got, test.status)
				return
			}
			if owner := w.Index(started(w, got)).Owner; owner != test.owner {
				t.Errorf("the job belongs to %q, want %q", owner, test.owner)
			}
		})
	}
}

// TestOutputsOfClaims demands that what an event says of a job opens nothing: not whose it is, nor
// that it is over.
func TestOutputsOfClaims(t *testing.T) {
	w := newServer(t)
	mine := w.PutTemplate("mine", "ann", script()...)
	const query = "?template=mine&withOutputs=true"
	free := started(w, send(w, "", requestData(), requestHeader("free")...))
	over(w, free, nil)
	w.Problem(send(w, query, "{}", lifecycleHeader(job.StepSucceeded, free)...), http.StatusForbidden)

	own := started(w, send(w, "", requestData(), append(requestHeader("own"), admissiontest.By(mine.Owner)...)...))
	p := w.Problem(send(w, query, "{}", lifecycleHeader(job.StepSucceeded, own)...), http.StatusUnprocessableEntity)
	if !strings.Contains(p.Detail, "it has not") {
		t.Errorf("of a job that is not over: got %q", p.Detail)
	}
	over(w, own, map[string]string{"report/table.csv": "a,b\n", "stdout.log": ""})
	w.Problem(send(w, query, "{}", lifecycleHeader(job.StepFailed, own)...), http.StatusUnprocessableEntity)
	w.Problem(send(w, query, "{}", lifecycleHeader(job.StepStarted, own)...), http.StatusUnprocessableEntity)
	next := started(w, send(w, query, "{}", lifecycleHeader(job.StepSucceeded, own)...))
	if got := w.File(next, "inputs/report/table.csv"); got != "a,b\n" {
		t.Errorf("input: got %q", got)
	}
}

// TestForgedEvent demands that an event with the source and id of another, and other content, does
// not take its place.
func TestForgedEvent(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("a", "", script()...)
	plain := eventHeader("1", "Ce-Subject", "s", "Ce-Time", "2026-01-02T03:04:05Z", "Ce-Kind", "x")
	real := started(w, send(w, "?template=a", `{"n": 1}`, plain...))
	changed := func(name, value string) []string { return append(without(plain, name), name, value) }
	seen := map[job.ID]string{real: "the real one"}
	for name, got := range map[string]admissiontest.Reply{
		"data":       send(w, "?template=a", `{"n": 2}`, plain...),
		"type":       send(w, "?template=a", `{"n": 1}`, changed("Ce-Type", "com.example.other")...),
		"subject":    send(w, "?template=a", `{"n": 1}`, changed("Ce-Subject", "other")...),
		"extension":  send(w, "?template=a", `{"n": 1}`, changed("Ce-Kind", "y")...),
		"schema":     send(w, "?template=a", `{"n": 1}`, changed("Ce-Dataschema", "http://s.example/x")...),
		"media type": send(w, "?template=a", `{"n": 1}`, changed("Content-Type", "text/plain")...),
		"inputs":     send(w, "?template=a", `{"n": 1}`, append(without(plain, "Ce-Subject"), "Ce-Subject", "")...),
	} {
		id := started(w, got)
		if other, found := seen[id]; found {
			t.Errorf("another %s: got the job of %s", name, other)
		}
		seen[id] = name
	}
	for name, got := range map[string]admissiontest.Reply{
		"again":      send(w, "?template=a", `{"n": 1}`, plain...),
		"made again": send(w, "?template=a", `{"n": 1}`, changed("Ce-Time", "2026-01-02T03:04:06Z")...),
		"through a Broker": send(w, "?template=a", `{"n": 1}`, append(slices.Clone(plain), "Ce-Knativearrivaltime",
			"2026-01-02T03:04:07Z", "Ce-Knativebrokerttl", "254",
			"Ce-Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Ce-Tracestate", "a=b", "Ce-Jobhops",
			"3")...),
		"in structured mode": send(w, "?template=a",
			`{"data":{"n":1},"specversion":"1.0","id":"1","source":"/tests","type":"com.example.made","subject":"s","time":"2026-01-02T04:04:05+01:00","kind":"x"}`,
			"Content-Type", "application/cloudevents+json"),
		"in a batch": send(w, "?template=a",
			`[{"specversion":"1.0","id":"1","source":"/tests","type":"com.example.made","subject":"s","time":"2026-01-02T03:04:05Z","kind":"x","datacontenttype":"application/json; charset=UTF-8","data":{ "n" : 1 }}]`,
			"Content-Type", "application/cloudevents-batch+json"),
	} {
		if id := started(w, got); id != real {
			t.Errorf("%s: got another job", name)
		}
	}
}

// TestReservedNames goes through the names that the system gives a meaning to, by every way in.
func TestReservedNames(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("a", "", script(field("env", `{"CE_SUBJECT":"mine","CE_ID":"mine","A":"1"}`))...)
	for _, label := range []string{
		"go-job-orchestrator/template", "go-job-orchestrator/anything", "Go-Job-Orchestrator/template",
		"GO-JOB-ORCHESTRATOR/x", "go-job-orchestrator/",
		"go-job-orchestrator.github.io/job-id", "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class",
	} {
		labels := field("labels", `{"`+label+`":"a"}`)
		for way, got := range map[string]admissiontest.Reply{
			"form": w.Post(script(labels)...),
			"template": w.Call(http.MethodPut, "/api/v1/templates/b", encode(script(labels)...), "Content-Type",
				formtest.ContentType),
			"requested": send(w, "", requestData(`"labels":{"`+label+`":"a"},`), requestHeader("1")...),
		} {
			p := w.Problem(got, http.StatusUnprocessableEntity)
			if len(p.Errors) != 1 || !strings.HasPrefix(p.Errors[0].Field, `labels["`) ||
				!strings.Contains(p.Detail, "reserved") {
				t.Errorf("%s, %s: got %+v", label, way, p)
			}
		}
		w.Problem(w.StartTemplate("a", made.Owner, labels), http.StatusUnprocessableEntity)
	}
	for _, label := range []string{"go-job-orchestrator", "x.go-job-orchestrator/template",
		"my-go-job-orchestrator/template", "app.kubernetes.io/part-of"} {
		w.Accepted(w.Post(script(field("labels", `{"`+label+`":"a"}`))...))
	}
	job := w.Accepted(w.StartTemplate("a", made.Owner))
	if got := w.Index(job.JobID).Labels; !cmp.Equal(got, map[string]string{"go-job-orchestrator/template": "a"}) {
		t.Errorf("labels of a template's job: got %v", got)
	}
	// Variables of an event's attributes are the event's alone.
	env := w.Index(started(w, send(w, "?template=a", "{}", eventHeader("7")...))).Env
	if _, found := env["CE_SUBJECT"]; found || env["CE_ID"] != "7" || env["A"] != "1" {
		t.Errorf("variables: got %v", env)
	}
	for _, name := range []string{"JOB_ID", "JOB_ATTEMPT", "OUTPUT_DIR", "PATH", "HOME", "LANG", "TMPDIR"} {
		p := w.Problem(w.StartTemplate("a", made.Owner, field("env", `{"`+name+`":"x"}`)), http.StatusUnprocessableEntity)
		if len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Field, name) {
			t.Errorf("%s: got %+v", name, p)
		}
		w.Problem(w.Post(script(field("env", `{"`+name+`":"x"}`))...), http.StatusUnprocessableEntity)
	}
	for _, name := range []string{"event.json", "event.data", "inputs", "index.json", "status.json", "results"} {
		w.Problem(w.Call(http.MethodPut, "/api/v1/templates/b", encode(script(file(name, "x"))...), "Content-Type",
			formtest.ContentType), http.StatusUnprocessableEntity)
		files := `{"name":"` + name + `","content":""},`
		w.Problem(send(w, "", strings.Replace(requestData(), `"files":[`, `"files":[`+files, 1), requestHeader("8")...),
			http.StatusUnprocessableEntity)
	}
}
