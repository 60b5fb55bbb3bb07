package templates_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/intake"
	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/token"
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

func TestTemplateLife(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("report", "", script(field("args", `["a","$$.b"]`), field("env", `{"A":"1","B":"2"}`),
		field("labels", `{"team":"x"}`))...)
	if owner, ok := w.Keys.VerifyOwner(made.Token); !ok || owner != made.Owner || made.Version != 1 {
		t.Fatalf("got %+v", made)
	}
	first := w.Accepted(w.StartTemplate("report", made.Token, field("arg", "more"), field("env", `{"B":"3","C":"4"}`)))
	index := w.Index(first.JobID)
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
	if !w.Keys.Verify(first.Token, first.JobID, token.User) {
		t.Error("the job's token is not its token")
	}

	replaced := w.PutTemplate("report", made.Token, field("runtime", "python"), field("entrypoint", "a.py"),
		file("a.py", "print(2)\n"))
	if replaced.Version != 2 || replaced.Token != made.Token {
		t.Errorf("replaced: got %+v", replaced)
	}
	second := w.Accepted(w.StartTemplate("report", made.Token, field("args", `["only"]`)))
	if got := w.Index(second.JobID); !slices.Equal(got.Args, []string{"only"}) || got.Env != nil ||
		got.Template.Version != 2 {
		t.Errorf("second job: got %+v", got)
	}
	if a, b := w.File(first.JobID, "a.py"), w.File(second.JobID, "a.py"); a != "print(1)\n" || b != "print(2)\n" {
		t.Errorf("files: got %q and %q", a, b)
	}

	shown := w.Want(
		http.StatusOK,
		w.Call(http.MethodGet, "/api/v1/templates/report", "", admissiontest.Bearer(made.Token)...),
	)
	if s := string(shown.Text); !strings.Contains(s, `"version":2`) || strings.Contains(s, "token") ||
		strings.Contains(s, "folder") {
		t.Errorf("shown: %s", s)
	}
	list := w.Want(http.StatusOK, w.Call(http.MethodGet, "/api/v1/templates", ""))
	if s := string(list.Text); !strings.Contains(s, `"name":"report"`) || strings.Contains(s, "args") ||
		strings.Contains(s, string(made.Owner)) {
		t.Errorf("list: %s", s)
	}
	w.Want(
		http.StatusNoContent,
		w.Call(http.MethodDelete, "/api/v1/templates/report", "", admissiontest.Bearer(made.Token)...),
	)
	w.Want(http.StatusNotFound, w.StartTemplate("report", made.Token))
	if got := w.File(first.JobID, "a.py"); got != "print(1)\n" {
		t.Errorf("file of the first job: got %q", got)
	}
	for _, path := range w.Tree() {
		if strings.Contains(path, "template") {
			t.Errorf("left: %s", path)
		}
	}
	// The name is free again, and the old token opens nothing of the new owner.
	other := w.PutTemplate("report", "", script()...)
	w.Want(http.StatusForbidden, w.StartTemplate("report", made.Token))
	if other.Owner == made.Owner {
		t.Error("the new owner is the old one")
	}
}

// TestTemplateModes takes the modes of a template's files to its jobs, which may run it as they
// are.
func TestTemplateModes(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("tool", "", field("runtime", "binary"), field("entrypoint", "run"), file("run", "x"),
		file("helper", "#!/bin/sh"), file("data", "y"))
	got := map[string]string{}
	for _, f := range w.Index(w.Accepted(w.StartTemplate("tool", made.Token)).JobID).Files {
		got[f.Name] = f.Mode
	}
	if diff := cmp.Diff(map[string]string{"run": "0755", "helper": "0755", "data": ""}, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

func TestTemplateTokens(t *testing.T) {
	w := newServer(t)
	mine, foreign := w.PutTemplate("mine", "", script()...), w.PutTemplate("foreign", "", script()...)
	if also := w.PutTemplate("also", mine.Token, script()...); also.Owner != mine.Owner {
		t.Errorf("a template made with a token belongs to %s", also.Owner)
	}
	ofJob := w.Accepted(w.Post(script()...))
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"none":      {nil, http.StatusUnauthorized},
		"basic":     {[]string{"Authorization", "Basic dTpw"}, http.StatusUnauthorized},
		"another's": {admissiontest.Bearer(foreign.Token), http.StatusForbidden},
		"a job's":   {admissiontest.Bearer(ofJob.Token), http.StatusForbidden},
		"forged":    {admissiontest.Bearer(string(mine.Owner) + foreign.Token[32:]), http.StatusForbidden},
		"cut":       {admissiontest.Bearer(mine.Token[:60]), http.StatusForbidden},
		"the owner": {admissiontest.Bearer(string(mine.Owner)), http.StatusForbidden},
		"sent twice": {append(admissiontest.Bearer(mine.Token), admissiontest.Bearer(mine.Token)...),
			http.StatusBadRequest},
		"of the scope": {admissiontest.Bearer(string(mine.Owner) + "." + w.Keys.Derive(token.User, mine.Owner)),
			http.StatusForbidden},
		"agent's scope": {admissiontest.Bearer(string(mine.Owner) + "." + w.Keys.Derive(token.Agent, mine.Owner)),
			http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			form := append([]string{"Content-Type", formtest.ContentType}, test.header...)
			for call, got := range map[string]admissiontest.Reply{
				"show":    w.Call(http.MethodGet, "/api/v1/templates/mine", "", test.header...),
				"delete":  w.Call(http.MethodDelete, "/api/v1/templates/mine", "", test.header...),
				"replace": w.Call(http.MethodPut, "/api/v1/templates/mine", encode(script()...), form...),
				"start":   w.Call(http.MethodPost, "/api/v1/templates/mine/jobs", "", test.header...),
			} {
				if got.StatusCode != test.status {
					t.Errorf("%s: got %s, want %d", call, got.Status, test.status)
				}
			}
		})
	}
	if v := w.PutTemplate("mine", mine.Token, script()...); v.Version != 2 {
		t.Errorf("version: got %d; somebody replaced it", v.Version)
	}
}

// TestNamesOfNoTemplate asks for names that no template can have, some of which no storage can look
// for.
func TestNamesOfNoTemplate(t *testing.T) {
	w := newServer(t)
	token := w.PutTemplate("report", "", script()...).Token
	for _, name := range []string{"a%00", "%2e%2e", "REPORT", "report%00", "%ff", strings.Repeat("a", 300)} {
		w.Want(http.StatusNotFound, w.Call(http.MethodGet, "/api/v1/templates/"+name, "", admissiontest.Bearer(token)...))
		w.Want(http.StatusNotFound, w.Call(http.MethodDelete, "/api/v1/templates/"+name, "", admissiontest.Bearer(token)...))
		w.Want(http.StatusNotFound, w.StartTemplate(name, token))
	}
}

// TestReplacedWhileStarting starts jobs while others replace the template all the time: each has
// the files of one version.
func TestReplacedWhileStarting(t *testing.T) {
	w := newServer(t)
	version := func(n int) []formtest.Part {
		return []formtest.Part{field("runtime", "python"), field("entrypoint", "a.py"), field("arg", fmt.Sprint(n)),
			file("a.py", fmt.Sprint(n)), file("b", strings.Repeat(fmt.Sprint(n), 1000))}
	}
	made := w.PutTemplate("a", "", version(0)...)
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := range 30 {
			w.PutTemplate("a", made.Token, version(n+1)...)
		}
	})
	var mu sync.Mutex
	var ids []job.ID
	for range 3 {
		wait.Go(func() {
			for range 15 {
				got := w.StartTemplate("a", made.Token)
				if got.StatusCode == http.StatusServiceUnavailable { // replaced five times during one start
					continue
				}
				mu.Lock()
				ids = append(ids, w.Accepted(got).JobID)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(ids) < 15 {
		t.Errorf("only %d jobs started", len(ids))
	}
	for _, id := range ids {
		n := w.Index(id).Args[0]
		if a, b := w.File(id, "a.py"), w.File(id, "b"); a != n || b != strings.Repeat(n, 1000) {
			t.Errorf("job of version %s has %q and %.20q", n, a, b)
		}
	}
}
