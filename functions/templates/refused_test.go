package templates_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
)

func TestRefusedTemplates(t *testing.T) {
	w := newServer(t)
	many := `{"a":"b"`
	for i := range 31 {
		many += fmt.Sprintf(`,"l%d":"x"`, i)
	}
	for name, test := range map[string]struct {
		template string
		parts    []formtest.Part
		status   int
		want     string
	}{
		"bad name":      {"Upper", script(), http.StatusUnprocessableEntity, "name"},
		"long name":     {strings.Repeat("a", 64), script(), http.StatusUnprocessableEntity, "name"},
		"event's file":  {"a", script(file("event.json", "{}")), http.StatusUnprocessableEntity, "event.json"},
		"inputs":        {"a", script(file("inputs", "")), http.StatusUnprocessableEntity, "inputs"},
		"bad reference": {"a", script(field("args", `["ok","$.a["]`)), http.StatusUnprocessableEntity, "args[1]"},
		"as a job": {"a", []formtest.Part{field("runtime", "cobol"), field("entrypoint", "x"), file("a.py", "")},
			http.StatusUnprocessableEntity, "cobol"},
		"both": {"a", script(field("args", `["$."]`), field("cpu", "half")), http.StatusUnprocessableEntity,
			"cpu"},
		"32 labels":        {"a", script(field("labels", many+"}")), http.StatusUnprocessableEntity, "31"},
		"unknown field":    {"a", script(field("schedule", "daily")), http.StatusUnprocessableEntity, "schedule"},
		"a name in folder": {"a%2Fb", script(), http.StatusNotFound, "path"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.Call(
				http.MethodPut,
				"/api/v1/templates/"+test.template,
				encode(test.parts...),
				"Content-Type",
				formtest.ContentType,
			)
			if p := w.Problem(got, test.status); !strings.Contains(p.Detail, test.want) {
				t.Errorf("got %q, want something with %q", p.Detail, test.want)
			}
			w.WantNothing()
		})
	}
	whole := encode(script()...)
	w.Problem(w.Call(http.MethodPut, "/api/v1/templates/a", whole[:len(whole)-9], "Content-Type", formtest.ContentType),
		http.StatusBadRequest)
	w.Problem(w.Call(http.MethodPut, "/api/v1/templates/a", "{}", "Content-Type", "application/json"),
		http.StatusUnsupportedMediaType)
	w.WantNothing()
}

func TestRefusedStarts(t *testing.T) {
	w := newServer(t)
	made := w.PutTemplate("a", "", script(field("args", `["$.data.x"]`))...)
	before := len(w.Tree())
	for name, test := range map[string]struct {
		parts []formtest.Part
		want  string
	}{
		"reference without an event": {[]formtest.Part{field("arg", "x")}, "args[0]"},
		"file":                       {[]formtest.Part{field("args", "[]"), file("b", "")}, "files"},
		"another field":              {[]formtest.Part{field("args", "[]"), field("runtime", "node")}, "runtime"},
		"no JSON":                    {[]formtest.Part{field("args", "a b")}, "args"},
		"args twice":                 {[]formtest.Part{field("args", "[]"), field("args", "[]")}, "args"},
		"reserved variable":          {[]formtest.Part{field("args", "[]"), field("env", `{"PATH":"x"}`)}, "PATH"},
		"too long": {[]formtest.Part{field("args", "[]"), field("arg", strings.Repeat("x", 128<<10))},
			"args[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			if p := w.Problem(w.StartTemplate("a", made.Owner, test.parts...),
				http.StatusUnprocessableEntity); !strings.Contains(
				p.Detail,
				test.want,
			) {
				t.Errorf("got %q, want something with %q", p.Detail, test.want)
			}
			if after := len(w.Tree()); after != before {
				t.Errorf("something is left: %q", w.Tree())
			}
		})
	}
	w.Accepted(w.StartTemplate("a", made.Owner, field("args", "[]")))
}

func TestTemplateKeys(t *testing.T) {
	w := newServer(t)
	put := func(key string, parts ...formtest.Part) admissiontest.Reply {
		return w.Call(http.MethodPut, "/api/v1/templates/a", encode(parts...), "Content-Type", formtest.ContentType,
			"Idempotency-Key", key)
	}
	first := admissiontest.As[admissiontest.Template](t, w.Want(http.StatusCreated, put("k", script()...)))
	again := admissiontest.As[admissiontest.Template](t, w.Want(http.StatusCreated, put("k", script()...)))
	if again != first {
		t.Errorf("sent again: got %+v, want %+v", again, first)
	}
	w.Want(http.StatusUnprocessableEntity, put("k", script(field("arg", "x"))...))

	start := func(key string, parts ...formtest.Part) admissiontest.Reply {
		return w.Call(http.MethodPost, "/api/v1/templates/a/jobs", encode(parts...),
			"Content-Type", formtest.ContentType, "Idempotency-Key", key)
	}
	a := w.Accepted(start("1", field("arg", "x")))
	w.PutTemplate("a", "", field("runtime", "python"), field("entrypoint", "a.py"), file("a.py", "other"))
	if b := w.Accepted(start("1", field("arg", "x"))); b.JobID != a.JobID || b.Token != a.Token {
		t.Errorf("sent again after a replacement: got %+v, want %+v", b, a)
	}
	w.Want(http.StatusUnprocessableEntity, start("1", field("arg", "y")))
	if c := w.Accepted(start("2", field("arg", "x"))); c.JobID == a.JobID {
		t.Error("another key gave the same job")
	}
}

// TestKeysOfOthers demands that no way in gives the job, or the token, that another way, or another
// owner, got with the same key.
func TestKeysOfOthers(t *testing.T) {
	w := newServer(t)
	const key = "the same"
	one, two := w.PutTemplate("one", "ann", script()...), w.PutTemplate("two", "bob", script()...)
	start := func(name, owner string) admissiontest.Reply {
		return w.Call(http.MethodPost, "/api/v1/templates/"+name+"/jobs", "",
			append(admissiontest.By(owner), "Idempotency-Key", key)...)
	}
	form := w.Accepted(w.PostKeyed(key, script()...))
	first, second := w.Accepted(start("one", one.Owner)), w.Accepted(start("two", two.Owner))
	if form.JobID == first.JobID || first.JobID == second.JobID {
		t.Error("two of them share a job")
	}
	if again := w.Accepted(start("one", one.Owner)); again.JobID != first.JobID || again.Token != first.Token {
		t.Errorf("sent again: got %+v, want %+v", again, first)
	}
	w.Problem(start("one", two.Owner), http.StatusNotFound)
	admins := w.Accepted(start("one", ""))
	if admins.JobID == first.JobID || w.Index(admins.JobID).Owner != one.Owner {
		t.Errorf("an admin gets %s of %s", admins.JobID, w.Index(admins.JobID).Owner)
	}

	// Forms of two callers.
	post := func(owner string) admissiontest.Reply {
		return w.Call(http.MethodPost, "/api/v1/jobs", encode(script()...),
			append(admissiontest.By(owner), "Content-Type", formtest.ContentType, "Idempotency-Key", key)...)
	}
	ann, bob := w.Accepted(post("ann")), w.Accepted(post("bob"))
	if ann.JobID == bob.JobID || ann.JobID == form.JobID {
		t.Error("two callers share a job")
	}
	if again := w.Accepted(post("ann")); again.JobID != ann.JobID {
		t.Errorf("sent again: got %s, want %s", again.JobID, ann.JobID)
	}
	// Versions of a template.
	put := func(owner string) admissiontest.Reply {
		header := append([]string{"Content-Type", formtest.ContentType, "Idempotency-Key", key}, admissiontest.By(owner)...)
		return w.Call(http.MethodPut, "/api/v1/templates/three", encode(script()...), header...)
	}
	three := admissiontest.As[admissiontest.Template](t, w.Want(http.StatusCreated, put("ann")))
	if again := admissiontest.As[admissiontest.Template](t, w.Want(http.StatusCreated, put("ann"))); again != three {
		t.Errorf("sent again: got %+v, want %+v", again, three)
	}
	w.Problem(put("bob"), http.StatusConflict)
}
