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
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/template"
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
	made := w.PutTemplate("report", "ann", script(field("args", `["a","$$.b"]`), field("env", `{"A":"1","B":"2"}`),
		field("labels", `{"team":"x"}`))...)
	if made.Owner != "ann" || made.Version != 1 {
		t.Fatalf("got %+v", made)
	}
	first := w.Accepted(w.StartTemplate("report", made.Owner, field("arg", "more"), field("env", `{"B":"3","C":"4"}`)))
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

	replaced := w.PutTemplate("report", made.Owner, field("runtime", "python"), field("entrypoint", "a.py"),
		file("a.py", "print(2)\n"))
	if replaced.Version != 2 || replaced.Owner != made.Owner {
		t.Errorf("replaced: got %+v", replaced)
	}
	second := w.Accepted(w.StartTemplate("report", made.Owner, field("args", `["only"]`)))
	if got := w.Index(second.JobID); !slices.Equal(got.Args, []string{"only"}) || got.Env != nil ||
		got.Template.Version != 2 {
		t.Errorf("second job: got %+v", got)
	}
	if a, b := w.File(first.JobID, "a.py"), w.File(second.JobID, "a.py"); a != "print(1)\n" || b != "print(2)\n" {
		t.Errorf("files: got %q and %q", a, b)
	}

	shown := w.Want(
		http.StatusOK,
		w.Call(http.MethodGet, "/api/v1/templates/report", "", admissiontest.By(made.Owner)...),
	)
	if s := string(shown.Text); !strings.Contains(s, `"version":2`) || strings.Contains(s, "token") ||
		strings.Contains(s, "folder") {
		t.Errorf("shown: %s", s)
	}
	list := w.Want(http.StatusOK, w.Call(http.MethodGet, "/api/v1/templates", ""))
	if s := string(list.Text); !strings.Contains(s, `"name":"report"`) || strings.Contains(s, "args") {
		t.Errorf("list: %s", s)
	}
	w.Want(
		http.StatusNoContent,
		w.Call(http.MethodDelete, "/api/v1/templates/report", "", admissiontest.By(made.Owner)...),
	)
	w.Want(http.StatusNotFound, w.StartTemplate("report", made.Owner))
	if got := w.File(first.JobID, "a.py"); got != "print(1)\n" {
		t.Errorf("file of the first job: got %q", got)
	}
	for _, path := range w.Tree() {
		if strings.Contains(path, "template") {
			t.Errorf("left: %s", path)
		}
	}
	// The name is free again, and the old owner sees nothing of the new one's.
	w.PutTemplate("report", "bob", script()...)
	w.Want(http.StatusNotFound, w.StartTemplate("report", made.Owner))
}

// TestTemplateModes takes the modes of a template's files to its jobs, which may run it as they
// are.
func TestTemplateModes(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("tool", "", field("runtime", "binary"), field("entrypoint", "run"), file("run", "x"),
		file("helper", "#!/bin/sh"), file("data", "y"))
	got := map[string]string{}
	for _, f := range w.Index(w.Accepted(w.StartTemplate("tool", made.Owner)).JobID).Files {
		got[f.Name] = f.Mode
	}
	if diff := cmp.Diff(map[string]string{"run": "0755", "helper": "0755", "data": ""}, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

// TestTemplateOwners has everybody but its owner call for a template.
func TestTemplateOwners(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("mine", "ann", script()...)
	for name, test := range map[string]struct {
		caller                      string
		show, list, replace, change int
	}{
		"the owner":           {"ann", 200, 1, 200, 201},
		"another":             {"bob", 404, 0, 409, 404},
		"who may only look":   {"ann/read", 200, 1, 403, 403},
		"another who may not": {"bob/read", 404, 0, 403, 403},
		"an admin":            {"root/admin", 200, 1, 200, 201},
	} {
		t.Run(name, func(t *testing.T) {
			by := admissiontest.By(test.caller)
			form := append([]string{"Content-Type", formtest.ContentType}, by...)
			w.Want(test.show, w.Call(http.MethodGet, "/api/v1/templates/mine", "", by...))
			w.Want(test.replace, w.Call(http.MethodPut, "/api/v1/templates/mine", encode(script()...), form...))
			w.Want(test.change, w.Call(http.MethodPost, "/api/v1/templates/mine/jobs", "", by...))
			if test.change != http.StatusCreated {
				w.Want(test.change, w.Call(http.MethodDelete, "/api/v1/templates/mine", "", by...))
			}
			shown := admissiontest.As[template.Template](t, w.Call(http.MethodGet, "/api/v1/templates/mine", ""))
			if shown.Owner != "ann" {
				t.Errorf("it belongs to %s now", shown.Owner)
			}
		})
	}
}

// TestStartableByEvents reads which events may start a template.
func TestStartableByEvents(t *testing.T) {
	w := newServer(t)
	for name, test := range map[string]struct {
		types, sources string // "-": not sent
		want           *template.Events
		field          string // with a fault
	}{
		"not said":      {"-", "-", nil, ""},
		"types":         {"com.example.*, b", "-", &template.Events{Types: []string{"com.example.*", "b"}, Sources: []string{"*"}}, ""},
		"sources":       {"-", "/uploads", &template.Events{Types: []string{"*"}, Sources: []string{"/uploads"}}, ""},
		"both":          {"a", "b", &template.Events{Types: []string{"a"}, Sources: []string{"b"}}, ""},
		"empty":         {"", "-", nil, "eventTypes"},
		"a gap":         {"a,,b", "-", nil, "eventTypes"},
		"a star inside": {"-", "a*b", nil, "eventSources"},
		"too long":      {"-", strings.Repeat("a", 300), nil, "eventSources"},
		"too many":      {strings.Repeat("a,", 40) + "a", "-", nil, "eventTypes"},
	} {
		parts := script()
		if test.types != "-" {
			parts = append(parts, field("eventTypes", test.types))
		}
		if test.sources != "-" {
			parts = append(parts, field("eventSources", test.sources))
		}
		got := w.Call(http.MethodPut, "/api/v1/templates/a", encode(parts...), "Content-Type", formtest.ContentType)
		if test.field != "" {
			if p := w.Problem(got, http.StatusUnprocessableEntity); p.Errors[0].Field != test.field {
				t.Errorf("%s: got %+v", name, p)
			}
			continue
		}
		shown := admissiontest.As[template.Template](t, w.Call(http.MethodGet, "/api/v1/templates/a", ""))
		if diff := cmp.Diff(test.want, shown.Events); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if p := w.Problem(w.Post(append(script(), field("eventTypes", "*"))...), http.StatusUnprocessableEntity); p.Errors[0].Field !=
		"eventTypes" {
		t.Errorf("a job: got %+v", p)
	}
}

// TestNamesOfNoTemplate asks for names that no template can have, some of which no storage can look
// for.
func TestNamesOfNoTemplate(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("report", "", script()...)
	for _, name := range []string{"a%00", "%2e%2e", "REPORT", "report%00", "%ff", strings.Repeat("a", 300)} {
		w.Want(http.StatusNotFound, w.Call(http.MethodGet, "/api/v1/templates/"+name, ""))
		w.Want(http.StatusNotFound, w.Call(http.MethodDelete, "/api/v1/templates/"+name, ""))
		w.Want(http.StatusNotFound, w.StartTemplate(name, ""))
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
			w.PutTemplate("a", made.Owner, version(n+1)...)
		}
	})
	var mu sync.Mutex
	var ids []job.ID
	for range 3 {
		wait.Go(func() {
			for range 15 {
				got := w.StartTemplate("a", made.Owner)
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

// TestTemplateOfProject keeps a template of an archive, without saying how it is run, and starts a
// job from it.
func TestTemplateOfProject(t *testing.T) {
	for _, format := range job.ArchiveFormats() {
		w := newServer(t)
		data := string(archivetest.Make(t, format, "run", "#!/bin/sh", "lib/x", "y"))
		got := w.Want(http.StatusCreated, w.Call(http.MethodPut, "/api/v1/templates/p", encode(formtest.Archive("p", data)),
			"Content-Type", formtest.ContentType))
		if want := `"inferred":{"runtime":"binary","entrypoint":"run"}`; !strings.Contains(string(got.Text), want) {
			t.Errorf("%s: got %s, want %s in it", format, got.Text, want)
		}
		index := w.Index(w.Accepted(w.StartTemplate("p", "")).JobID)
		if f := index.Files[0]; f.Archive != format || f.Entries != 3 || f.Unpacked != 10 || index.Entrypoint != "run" {
			t.Errorf("%s: got %+v", format, index)
		}
		if w.File(index.JobID, "p") != data {
			t.Errorf("%s: the job has another archive", format)
		}
		before := len(w.Tree())
		bad := encode(formtest.Archive("p", string(archivetest.Make(t, format, "run", "#!/bin/sh", "inputs/x", ""))))
		w.WantFaults(w.Call(http.MethodPut, "/api/v1/templates/q", bad, "Content-Type", formtest.ContentType), "archive")
		if after := len(w.Tree()); after != before {
			t.Errorf("%s: %d blobs were left", format, after-before)
		}
	}
}
