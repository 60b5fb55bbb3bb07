package submit_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/token"
)

// lifecycleHeader is an event in binary mode as a job sends it, or somebody who says to be one.
func lifecycleHeader(step job.Step, id job.ID, more ...string) []string {
	kind := event.Type(step)
	header := []string{
		"Ce-Specversion", "1.0", "Ce-Id", string(id) + "." + kind, "Ce-Source", "http://jobs.example", "Ce-Type", kind,
		"Ce-Subject", string(id), "Content-Type", "application/json",
	}
	return append(header, more...)
}

// TestEventNamesNoOwner demands that an event gives nobody a job who has not proved to be who they
// are.
func TestEventNamesNoOwner(t *testing.T) {
	w := newWorld(t)
	victim := w.put("any", "", script()...)
	for name, more := range map[string]string{
		"an owner": `"owner":"` + string(victim.Owner) + `",`, "capitals": `"OWNER":"` + string(victim.Owner) + `",`,
		"none": `"owner":"",`, "null": `"owner":null,`,
	} {
		before := w.tree()
		p := w.problem(w.event("", requestData(more), requestHeader("1")...), http.StatusUnprocessableEntity)
		if len(p.Errors) != 1 || p.Errors[0].Field != "owner" || !strings.Contains(p.Detail, "Authorization: Bearer") {
			t.Errorf("%s: got %+v", name, p)
		}
		if diff := cmp.Diff(before, w.tree()); diff != "" {
			t.Errorf("%s: something is left (-before +after):\n%s", name, diff)
		}
	}
	another := w.accepted(w.post(script()...))
	for name, credentials := range map[string][]string{
		"a job's token": bearer(another.Token), "nonsense": bearer("x"),
		"an owner without proof": bearer(string(victim.Owner) + "."),
		"another scope":          bearer(string(victim.Owner) + "." + w.keys.Derive(token.User, victim.Owner)),
		"other credentials":      {"Authorization", "Basic eDp5"}, "nothing": {"Authorization", ""},
	} {
		for _, query := range []string{"", "?template=any"} {
			got := w.event(query, requestData(), append(requestHeader("2"), credentials...)...)
			w.problem(got, http.StatusUnauthorized)
			if got.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", name)
			}
		}
	}
	if n := len(w.jobs()); n != 1 {
		t.Errorf("there are %d jobs, want 1", n)
	}
}

// TestOutputsOfClaims demands that what an event says of a job opens nothing: not whose it is, nor
// that it is over.
func TestOutputsOfClaims(t *testing.T) {
	w := newWorld(t)
	mine := w.put("mine", "", script()...)
	const query = "?template=mine&withOutputs=true"
	free := w.started(w.event("", requestData(), requestHeader("free")...))
	w.over(free, nil)
	w.problem(w.event(query, "{}", lifecycleHeader(job.StepSucceeded, free)...), http.StatusForbidden)

	// Two that belong to nobody have no owner in common.
	d := template.Draft{Folder: free}
	d.Name, d.CreatedAt, d.Spec, d.Files = "old", time.Now(), w.index(free).Spec, nil
	if _, err := template.NewStore(w.store, time.Now).Save(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	w.problem(w.event("?template=old&withOutputs=true", "{}", lifecycleHeader(job.StepSucceeded, free)...),
		http.StatusForbidden)

	own := w.started(w.event("", requestData(), append(requestHeader("own"), bearer(mine.Token)...)...))
	p := w.problem(w.event(query, "{}", lifecycleHeader(job.StepSucceeded, own)...), http.StatusUnprocessableEntity)
	if !strings.Contains(p.Detail, "it has not") {
		t.Errorf("of a job that is not over: got %q", p.Detail)
	}
	w.over(own, map[string]string{"report/table.csv": "a,b\n", "stdout.log": ""})
	w.problem(w.event(query, "{}", lifecycleHeader(job.StepFailed, own)...), http.StatusUnprocessableEntity)
	w.problem(w.event(query, "{}", lifecycleHeader(job.StepStarted, own)...), http.StatusUnprocessableEntity)
	next := w.started(w.event(query, "{}", lifecycleHeader(job.StepSucceeded, own)...))
	if got := w.artifact(next, "inputs/report/table.csv"); got != "a,b\n" {
		t.Errorf("input: got %q", got)
	}
}

// TestForgedEvent demands that an event with the source and id of another, and other content, does
// not take its place.
func TestForgedEvent(t *testing.T) {
	w := newWorld(t)
	w.put("a", "", script()...)
	plain := eventHeader("1", "Ce-Subject", "s", "Ce-Time", "2026-01-02T03:04:05Z", "Ce-Kind", "x")
	real := w.started(w.event("?template=a", `{"n": 1}`, plain...))
	changed := func(name, value string) []string { return append(without(plain, name), name, value) }
	seen := map[job.ID]string{real: "the real one"}
	for name, got := range map[string]reply{
		"data":       w.event("?template=a", `{"n": 2}`, plain...),
		"type":       w.event("?template=a", `{"n": 1}`, changed("Ce-Type", "com.example.other")...),
		"subject":    w.event("?template=a", `{"n": 1}`, changed("Ce-Subject", "other")...),
		"extension":  w.event("?template=a", `{"n": 1}`, changed("Ce-Kind", "y")...),
		"schema":     w.event("?template=a", `{"n": 1}`, changed("Ce-Dataschema", "http://s.example/x")...),
		"media type": w.event("?template=a", `{"n": 1}`, changed("Content-Type", "text/plain")...),
		"inputs":     w.event("?template=a", `{"n": 1}`, append(without(plain, "Ce-Subject"), "Ce-Subject", "")...),
	} {
		id := w.started(got)
		if other, found := seen[id]; found {
			t.Errorf("another %s: got the job of %s", name, other)
		}
		seen[id] = name
	}
	for name, got := range map[string]reply{
		"again":      w.event("?template=a", `{"n": 1}`, plain...),
		"made again": w.event("?template=a", `{"n": 1}`, changed("Ce-Time", "2026-01-02T03:04:06Z")...),
		"through a Broker": w.event("?template=a", `{"n": 1}`, append(slices.Clone(plain), "Ce-Knativearrivaltime",
			"2026-01-02T03:04:07Z", "Ce-Knativebrokerttl", "254",
			"Ce-Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Ce-Tracestate", "a=b", "Ce-Jobhops",
			"3")...),
		"in structured mode": w.event("?template=a",
			`{"data":{"n":1},"specversion":"1.0","id":"1","source":"/tests","type":"com.example.made","subject":"s","time":"2026-01-02T04:04:05+01:00","kind":"x"}`,
			"Content-Type", "application/cloudevents+json"),
		"in a batch": w.event("?template=a",
			`[{"specversion":"1.0","id":"1","source":"/tests","type":"com.example.made","subject":"s","time":"2026-01-02T03:04:05Z","kind":"x","datacontenttype":"application/json; charset=UTF-8","data":{ "n" : 1 }}]`,
			"Content-Type", "application/cloudevents-batch+json"),
	} {
		if id := w.started(got); id != real {
			t.Errorf("%s: got another job", name)
		}
	}
}

// TestKeysOfOthers demands that no way in gives the job, or the token, that another way, or another
// owner, got with the same key.
func TestKeysOfOthers(t *testing.T) {
	w := newWorld(t)
	const key = "the same"
	one, two := w.put("one", "", script()...), w.put("two", "", script()...)
	start := func(name, token string) reply {
		return w.call(http.MethodPost, "/api/v1/templates/"+name+"/jobs", "",
			append(bearer(token), "Idempotency-Key", key)...)
	}
	form := w.accepted(w.keyed(key, script()...))
	first, second := w.accepted(start("one", one.Token)), w.accepted(start("two", two.Token))
	if form.JobID == first.JobID || first.JobID == second.JobID {
		t.Error("two of them share a job")
	}
	if again := w.accepted(start("one", one.Token)); again.JobID != first.JobID || again.Token != first.Token {
		t.Errorf("sent again: got %+v, want %+v", again, first)
	}
	w.problem(start("one", two.Token), http.StatusForbidden)

	// The version that was made with a token is not for who has the key alone; the first, which made
	// the token, is.
	put := func(credentials ...string) reply {
		header := append([]string{"Content-Type", contentType, "Idempotency-Key", key}, credentials...)
		return w.call(http.MethodPut, "/api/v1/templates/three", encode(script()...), header...)
	}
	three := as[savedTemplate](t, w.want(http.StatusCreated, put()))
	if again := as[savedTemplate](t, w.want(http.StatusCreated, put())); again.Token != three.Token || again.Version != 1 {
		t.Errorf("sent again: got %+v, want %+v", again, three)
	}
	next := as[savedTemplate](t, w.want(http.StatusOK, put(bearer(three.Token)...)))
	if next.Version != 2 {
		t.Errorf("with the token: got version %d, want 2", next.Version)
	}
	w.problem(put(), http.StatusUnauthorized)
}

// TestReservedNames goes through the names that the system gives a meaning to, by every way in.
func TestReservedNames(t *testing.T) {
	w := newWorld(t)
	made := w.put("a", "", script(field("env", `{"CE_SUBJECT":"mine","CE_ID":"mine","A":"1"}`))...)
	for _, label := range []string{
		"go-job-orchestrator/template", "go-job-orchestrator/anything", "Go-Job-Orchestrator/template",
		"GO-JOB-ORCHESTRATOR/x", "go-job-orchestrator/",
		"go-job-orchestrator.github.io/job-id", "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class",
	} {
		labels := field("labels", `{"`+label+`":"a"}`)
		for way, got := range map[string]reply{
			"form":      w.post(script(labels)...),
			"template":  w.call(http.MethodPut, "/api/v1/templates/b", encode(script(labels)...), "Content-Type", contentType),
			"requested": w.event("", requestData(`"labels":{"`+label+`":"a"},`), requestHeader("1")...),
		} {
			p := w.problem(got, http.StatusUnprocessableEntity)
			if len(p.Errors) != 1 || !strings.HasPrefix(p.Errors[0].Field, `labels["`) ||
				!strings.Contains(p.Detail, "reserved") {
				t.Errorf("%s, %s: got %+v", label, way, p)
			}
		}
		w.problem(w.start("a", made.Token, labels), http.StatusUnprocessableEntity)
	}
	for _, label := range []string{"go-job-orchestrator", "x.go-job-orchestrator/template",
		"my-go-job-orchestrator/template", "app.kubernetes.io/part-of"} {
		w.accepted(w.post(script(field("labels", `{"`+label+`":"a"}`))...))
	}
	job := w.accepted(w.start("a", made.Token))
	if got := w.index(job.JobID).Labels; !cmp.Equal(got, map[string]string{"go-job-orchestrator/template": "a"}) {
		t.Errorf("labels of a template's job: got %v", got)
	}
	// Variables of an event's attributes are the event's alone.
	env := w.index(w.started(w.event("?template=a", "{}", eventHeader("7")...))).Env
	if _, found := env["CE_SUBJECT"]; found || env["CE_ID"] != "7" || env["A"] != "1" {
		t.Errorf("variables: got %v", env)
	}
	for _, name := range []string{"JOB_ID", "JOB_ATTEMPT", "OUTPUT_DIR", "PATH", "HOME", "LANG", "TMPDIR"} {
		p := w.problem(w.start("a", made.Token, field("env", `{"`+name+`":"x"}`)), http.StatusUnprocessableEntity)
		if len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Field, name) {
			t.Errorf("%s: got %+v", name, p)
		}
		w.problem(w.post(script(field("env", `{"`+name+`":"x"}`))...), http.StatusUnprocessableEntity)
	}
	for _, name := range []string{"event.json", "event.data", "inputs", "index.json", "status.json", "results"} {
		w.problem(w.call(http.MethodPut, "/api/v1/templates/b", encode(script(file(name, "x"))...), "Content-Type",
			contentType), http.StatusUnprocessableEntity)
		files := `{"name":"` + name + `","content":""},`
		w.problem(w.event("", strings.Replace(requestData(), `"files":[`, `"files":[`+files, 1), requestHeader("8")...),
			http.StatusUnprocessableEntity)
	}
}
