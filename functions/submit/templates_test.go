package submit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/token"
)

// call makes any request; header is name and value in turn.
func (w *world) call(method, path string, body string, header ...string) reply {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return w.do(r)
}

// want fails unless the answer has the status.
func (w *world) want(status int, got reply) reply {
	w.t.Helper()
	if got.StatusCode != status {
		w.t.Fatalf("%s %s: got %s, want %d: %.500s", got.Request.Method, got.Request.URL.Path, got.Status, status, got.body)
	}
	return got
}

type savedTemplate struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Owner   job.ID `json:"owner"`
	Token   string `json:"token"`
}

func as[T any](t testing.TB, got reply) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(got.body, &value); err != nil {
		t.Fatalf("%v: %s", err, got.body)
	}
	return value
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// put makes or replaces a template.
func (w *world) put(name, token string, parts ...part) savedTemplate {
	w.t.Helper()
	header := []string{"Content-Type", contentType}
	status := http.StatusCreated
	if token != "" {
		header = append(header, bearer(token)...)
	}
	got := w.call(http.MethodPut, "/api/v1/templates/"+name, encode(parts...), header...)
	if got.StatusCode == http.StatusOK {
		status = http.StatusOK
	}
	return as[savedTemplate](w.t, w.want(status, got))
}

func (w *world) start(name, token string, parts ...part) reply {
	w.t.Helper()
	if len(parts) == 0 {
		return w.call(http.MethodPost, "/api/v1/templates/"+name+"/jobs", "", bearer(token)...)
	}
	return w.call(http.MethodPost, "/api/v1/templates/"+name+"/jobs", encode(parts...),
		append(bearer(token), "Content-Type", contentType)...)
}

// artifact reads a file of a job from the bucket.
func (w *world) artifact(id job.ID, name string) string {
	w.t.Helper()
	r, err := w.store.Open(w.t.Context(), ledger.FileKey(id, name), 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func TestTemplateLife(t *testing.T) {
	w := newWorld(t)
	made := w.put("report", "", script(field("args", `["a","$$.b"]`), field("env", `{"A":"1","B":"2"}`),
		field("labels", `{"team":"x"}`))...)
	if owner, ok := w.keys.VerifyOwner(made.Token); !ok || owner != made.Owner || made.Version != 1 {
		t.Fatalf("got %+v", made)
	}
	first := w.accepted(w.start("report", made.Token, field("arg", "more"), field("env", `{"B":"3","C":"4"}`)))
	index := w.index(first.JobID)
	want := job.Spec{
		Runtime: "python", Entrypoint: "a.py", Args: []string{"a", "$.b", "more"},
		Env:    map[string]string{"A": "1", "B": "3", "C": "4"},
		Labels: map[string]string{"team": "x", "go-job-orchestrator/template": "report"}, TTLSecondsAfterFinished: 86400,
	}
	if diff := cmp.Diff(want, index.Spec); diff != "" {
		t.Errorf("specification (-want +got):\n%s", diff)
	}
	if index.Owner != made.Owner || *index.Template != (job.Origin{Name: "report", Version: 1}) {
		t.Errorf("origin: got %+v of %s", index.Template, index.Owner)
	}
	if !w.keys.Verify(first.Token, first.JobID, token.User) {
		t.Error("the job's token is not its token")
	}

	replaced := w.put("report", made.Token, field("runtime", "python"), field("entrypoint", "a.py"),
		file("a.py", "print(2)\n"))
	if replaced.Version != 2 || replaced.Token != made.Token {
		t.Errorf("replaced: got %+v", replaced)
	}
	second := w.accepted(w.start("report", made.Token, field("args", `["only"]`)))
	if got := w.index(second.JobID); !slices.Equal(got.Args, []string{"only"}) || got.Env != nil ||
		got.Template.Version != 2 {
		t.Errorf("second job: got %+v", got)
	}
	if a, b := w.artifact(first.JobID, "a.py"), w.artifact(second.JobID, "a.py"); a != "print(1)\n" || b != "print(2)\n" {
		t.Errorf("files: got %q and %q", a, b)
	}

	shown := w.want(http.StatusOK, w.call(http.MethodGet, "/api/v1/templates/report", "", bearer(made.Token)...))
	if s := string(shown.body); !strings.Contains(s, `"version":2`) || strings.Contains(s, "token") ||
		strings.Contains(s, "folder") {
		t.Errorf("shown: %s", s)
	}
	list := w.want(http.StatusOK, w.call(http.MethodGet, "/api/v1/templates", ""))
	if s := string(list.body); !strings.Contains(s, `"name":"report"`) || strings.Contains(s, "args") ||
		strings.Contains(s, string(made.Owner)) {
		t.Errorf("list: %s", s)
	}
	w.want(http.StatusNoContent, w.call(http.MethodDelete, "/api/v1/templates/report", "", bearer(made.Token)...))
	w.want(http.StatusNotFound, w.start("report", made.Token))
	if got := w.artifact(first.JobID, "a.py"); got != "print(1)\n" {
		t.Errorf("file of the first job: got %q", got)
	}
	for _, path := range w.tree() {
		if strings.Contains(path, "template") {
			t.Errorf("left: %s", path)
		}
	}
	// The name is free again, and the old token opens nothing of the new owner.
	other := w.put("report", "", script()...)
	w.want(http.StatusForbidden, w.start("report", made.Token))
	if other.Owner == made.Owner {
		t.Error("the new owner is the old one")
	}
}

// TestTemplateModes takes the modes of a template's files to its jobs, which may run it as they
// are.
func TestTemplateModes(t *testing.T) {
	w := newWorld(t)
	made := w.put("tool", "", field("runtime", "binary"), field("entrypoint", "run"), file("run", "x"),
		file("helper", "#!/bin/sh"), file("data", "y"))
	got := map[string]string{}
	for _, f := range w.index(w.accepted(w.start("tool", made.Token)).JobID).Files {
		got[f.Name] = f.Mode
	}
	if diff := cmp.Diff(map[string]string{"run": "0755", "helper": "0755", "data": ""}, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

func TestTemplateTokens(t *testing.T) {
	w := newWorld(t)
	mine, foreign := w.put("mine", "", script()...), w.put("foreign", "", script()...)
	if also := w.put("also", mine.Token, script()...); also.Owner != mine.Owner {
		t.Errorf("a template made with a token belongs to %s", also.Owner)
	}
	ofJob := w.accepted(w.post(script()...))
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"none":          {nil, http.StatusUnauthorized},
		"basic":         {[]string{"Authorization", "Basic dTpw"}, http.StatusUnauthorized},
		"another's":     {bearer(foreign.Token), http.StatusForbidden},
		"a job's":       {bearer(ofJob.Token), http.StatusForbidden},
		"forged":        {bearer(string(mine.Owner) + foreign.Token[32:]), http.StatusForbidden},
		"cut":           {bearer(mine.Token[:60]), http.StatusForbidden},
		"the owner":     {bearer(string(mine.Owner)), http.StatusForbidden},
		"sent twice":    {append(bearer(mine.Token), bearer(mine.Token)...), http.StatusBadRequest},
		"of the scope":  {bearer(string(mine.Owner) + "." + w.keys.Derive(token.User, mine.Owner)), http.StatusForbidden},
		"agent's scope": {bearer(string(mine.Owner) + "." + w.keys.Derive(token.Agent, mine.Owner)), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			form := append([]string{"Content-Type", contentType}, test.header...)
			for call, got := range map[string]reply{
				"show":    w.call(http.MethodGet, "/api/v1/templates/mine", "", test.header...),
				"delete":  w.call(http.MethodDelete, "/api/v1/templates/mine", "", test.header...),
				"replace": w.call(http.MethodPut, "/api/v1/templates/mine", encode(script()...), form...),
				"start":   w.call(http.MethodPost, "/api/v1/templates/mine/jobs", "", test.header...),
			} {
				if got.StatusCode != test.status {
					t.Errorf("%s: got %s, want %d", call, got.Status, test.status)
				}
			}
		})
	}
	if v := w.put("mine", mine.Token, script()...); v.Version != 2 {
		t.Errorf("version: got %d; somebody replaced it", v.Version)
	}
}

// TestNamesOfNoTemplate asks for names that no template can have, some of which no storage can look
// for.
func TestNamesOfNoTemplate(t *testing.T) {
	w := newWorld(t)
	token := w.put("report", "", script()...).Token
	for _, name := range []string{"a%00", "%2e%2e", "REPORT", "report%00", "%ff", strings.Repeat("a", 300)} {
		w.want(http.StatusNotFound, w.call(http.MethodGet, "/api/v1/templates/"+name, "", bearer(token)...))
		w.want(http.StatusNotFound, w.call(http.MethodDelete, "/api/v1/templates/"+name, "", bearer(token)...))
		w.want(http.StatusNotFound, w.start(name, token))
	}
}

func TestJobToken(t *testing.T) {
	w := newWorld(t)
	mine, foreign := w.put("mine", "", script()...), w.put("foreign", "", script()...)
	a := w.accepted(w.start("mine", mine.Token))
	plain := w.accepted(w.post(script()...))
	get := func(id job.ID, header ...string) reply {
		return w.call(http.MethodGet, "/api/v1/jobs/"+string(id)+"/token", "", header...)
	}
	got := as[map[string]string](t, w.want(http.StatusOK, get(a.JobID, bearer(mine.Token)...)))
	if got["token"] != a.Token || got["jobID"] != string(a.JobID) {
		t.Errorf("got %v", got)
	}
	w.want(http.StatusForbidden, get(a.JobID, bearer(foreign.Token)...))
	w.want(http.StatusForbidden, get(a.JobID, bearer(a.Token)...))
	w.want(http.StatusForbidden, get(plain.JobID, bearer(mine.Token)...))
	w.want(http.StatusForbidden, get("00000000000000000000000000000000", bearer(mine.Token)...))
	w.want(http.StatusForbidden, get("nothing", bearer(mine.Token)...))
	w.want(http.StatusUnauthorized, get(a.JobID))
	if err := w.ledger.RequestRemoval(t.Context(), a.JobID); err != nil {
		t.Fatal(err)
	}
	w.want(http.StatusForbidden, get(a.JobID, bearer(mine.Token)...))
}

func TestRefusedTemplates(t *testing.T) {
	w := newWorld(t)
	many := `{"a":"b"`
	for i := range 31 {
		many += fmt.Sprintf(`,"l%d":"x"`, i)
	}
	for name, test := range map[string]struct {
		template string
		parts    []part
		status   int
		want     string
	}{
		"bad name":      {"Upper", script(), http.StatusUnprocessableEntity, "name"},
		"long name":     {strings.Repeat("a", 64), script(), http.StatusUnprocessableEntity, "name"},
		"event's file":  {"a", script(file("event.json", "{}")), http.StatusUnprocessableEntity, "event.json"},
		"inputs":        {"a", script(file("inputs", "")), http.StatusUnprocessableEntity, "inputs"},
		"bad reference": {"a", script(field("args", `["ok","$.a["]`)), http.StatusUnprocessableEntity, "args[1]"},
		"as a job": {"a", []part{field("runtime", "cobol"), field("entrypoint", "x"), file("a.py", "")},
			http.StatusUnprocessableEntity, "cobol"},
		"both": {"a", script(field("args", `["$."]`), field("cpu", "half")), http.StatusUnprocessableEntity,
			"cpu"},
		"32 labels":        {"a", script(field("labels", many+"}")), http.StatusUnprocessableEntity, "31"},
		"unknown field":    {"a", script(field("schedule", "daily")), http.StatusUnprocessableEntity, "schedule"},
		"a name in folder": {"a%2Fb", script(), http.StatusNotFound, "path"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.call(http.MethodPut, "/api/v1/templates/"+test.template, encode(test.parts...), "Content-Type", contentType)
			if p := w.problem(got, test.status); !strings.Contains(p.Detail, test.want) {
				t.Errorf("got %q, want something with %q", p.Detail, test.want)
			}
			w.wantNothing()
		})
	}
	whole := encode(script()...)
	w.problem(w.call(http.MethodPut, "/api/v1/templates/a", whole[:len(whole)-9], "Content-Type", contentType),
		http.StatusBadRequest)
	w.problem(w.call(http.MethodPut, "/api/v1/templates/a", "{}", "Content-Type", "application/json"),
		http.StatusUnsupportedMediaType)
	w.wantNothing()
}

func TestRefusedStarts(t *testing.T) {
	w := newWorld(t)
	made := w.put("a", "", script(field("args", `["$.data.x"]`))...)
	before := len(w.tree())
	for name, test := range map[string]struct {
		parts []part
		want  string
	}{
		"reference without an event": {[]part{field("arg", "x")}, "args[0]"},
		"file":                       {[]part{field("args", "[]"), file("b", "")}, "files"},
		"another field":              {[]part{field("args", "[]"), field("runtime", "node")}, "runtime"},
		"no JSON":                    {[]part{field("args", "a b")}, "args"},
		"args twice":                 {[]part{field("args", "[]"), field("args", "[]")}, "args"},
		"reserved variable":          {[]part{field("args", "[]"), field("env", `{"PATH":"x"}`)}, "PATH"},
		"too long":                   {[]part{field("args", "[]"), field("arg", strings.Repeat("x", 128<<10))}, "args[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := w.problem(w.start("a", made.Token, test.parts...), http.StatusUnprocessableEntity); !strings.Contains(
				p.Detail, test.want) {
				t.Errorf("got %q, want something with %q", p.Detail, test.want)
			}
			if after := len(w.tree()); after != before {
				t.Errorf("something is left: %q", w.tree())
			}
		})
	}
	w.accepted(w.start("a", made.Token, field("args", "[]")))
}

func TestTemplateKeys(t *testing.T) {
	w := newWorld(t)
	put := func(key string, parts ...part) reply {
		return w.call(http.MethodPut, "/api/v1/templates/a", encode(parts...), "Content-Type", contentType,
			"Idempotency-Key", key)
	}
	first := as[savedTemplate](t, w.want(http.StatusCreated, put("k", script()...)))
	again := as[savedTemplate](t, w.want(http.StatusCreated, put("k", script()...)))
	if again != first {
		t.Errorf("sent again: got %+v, want %+v", again, first)
	}
	w.want(http.StatusUnprocessableEntity, put("k", script(field("arg", "x"))...))
	w.want(http.StatusUnauthorized, put("other", script()...))

	start := func(key string, parts ...part) reply {
		return w.call(http.MethodPost, "/api/v1/templates/a/jobs", encode(parts...),
			append(bearer(first.Token), "Content-Type", contentType, "Idempotency-Key", key)...)
	}
	a := w.accepted(start("1", field("arg", "x")))
	w.put("a", first.Token, field("runtime", "python"), field("entrypoint", "a.py"), file("a.py", "other"))
	if b := w.accepted(start("1", field("arg", "x"))); b.JobID != a.JobID || b.Token != a.Token {
		t.Errorf("sent again after a replacement: got %+v, want %+v", b, a)
	}
	w.want(http.StatusUnprocessableEntity, start("1", field("arg", "y")))
	if c := w.accepted(start("2", field("arg", "x"))); c.JobID == a.JobID {
		t.Error("another key gave the same job")
	}
}

// TestReplacedWhileStarting starts jobs while others replace the template all the time: each has
// the files of one version.
func TestReplacedWhileStarting(t *testing.T) {
	w := newWorld(t)
	version := func(n int) []part {
		return []part{field("runtime", "python"), field("entrypoint", "a.py"), field("arg", fmt.Sprint(n)),
			file("a.py", fmt.Sprint(n)), file("b", strings.Repeat(fmt.Sprint(n), 1000))}
	}
	made := w.put("a", "", version(0)...)
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := range 30 {
			w.put("a", made.Token, version(n+1)...)
		}
	})
	var mu sync.Mutex
	var ids []job.ID
	for range 3 {
		wait.Go(func() {
			for range 15 {
				got := w.start("a", made.Token)
				if got.StatusCode == http.StatusServiceUnavailable { // replaced five times during one start
					continue
				}
				mu.Lock()
				ids = append(ids, w.accepted(got).JobID)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(ids) < 15 {
		t.Errorf("only %d jobs started", len(ids))
	}
	for _, id := range ids {
		n := w.index(id).Args[0]
		if a, b := w.artifact(id, "a.py"), w.artifact(id, "b"); a != n || b != strings.Repeat(n, 1000) {
			t.Errorf("job of version %s has %q and %.20q", n, a, b)
		}
	}
}

func TestWaitForJob(t *testing.T) {
	w := newWorld(t)
	end := func(id job.ID) {
		_, _, err := w.ledger.Finish(t.Context(), w.index(id),
			job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now()})
		if err != nil {
			t.Error(err)
		}
	}
	type waited struct {
		JobID job.ID      `json:"jobID"`
		Phase job.Phase   `json:"phase"`
		Job   *job.Status `json:"job"`
	}
	go func() { // whoever runs the job
		for {
			ids, err := w.ledger.Active(t.Context(), "", 1)
			if err != nil {
				return
			}
			if len(ids) == 1 {
				if w.store.Watchers(ledger.JobPrefix(ids[0])) > 0 { // it is waited for
					end(ids[0])
					return
				}
			}
		}
	}()
	got := w.want(http.StatusCreated, w.do(w.request(bytes.NewReader([]byte(encode(script()...))),
		http.Header{"Prefer": {"respond-async, wait=55"}})))
	if a := as[waited](t, got); a.Phase != job.Succeeded || a.Job == nil || a.Job.Reason != job.ReasonCompleted {
		t.Errorf("got %s", got.body)
	}
	if n := w.store.Watchers(ledger.JobPrefix(as[waited](t, got).JobID)); n != 0 {
		t.Errorf("%d still watch a job that was answered for", n)
	}
	if applied := got.Header.Get("Preference-Applied"); applied != "wait=55" {
		t.Errorf("Preference-Applied: got %q", applied)
	}
	got = w.want(http.StatusCreated, w.do(w.request(bytes.NewReader([]byte(encode(script()...))),
		http.Header{"Prefer": {"wait=1"}})))
	if a := as[waited](t, got); a.Phase != job.Pending || a.Job == nil {
		t.Errorf("time up: got %s", got.body)
	}
}

func TestTraceIsKept(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := newWorld(t)
	for name, test := range map[string]struct {
		parent, state string
		want          job.Trace
	}{
		"both":      {parent, "a=b", job.Trace{Parent: parent, State: "a=b"}},
		"no parent": {"", "a=b", job.Trace{}},
		"bad":       {"00-xyz", "", job.Trace{}},
		"zeros":     {"00-00000000000000000000000000000000-b7ad6b7169203331-01", "", job.Trace{}},
		"ff":        {"ff" + parent[2:], "", job.Trace{}},
		"long":      {parent, strings.Repeat("a", 513), job.Trace{Parent: parent}},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.accepted(w.do(w.request(strings.NewReader(encode(script()...)),
				http.Header{"Traceparent": {test.parent}, "Tracestate": {test.state}})))
			if got := w.index(a.JobID).Trace; got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			events := w.sink.sent()
			sent, _ := events[len(events)-1].Extensions()["traceparent"].(string)
			if sent != test.want.Parent {
				t.Errorf("event: got %q", sent)
			}
		})
	}
}
