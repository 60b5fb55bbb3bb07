package templates_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

func input(content string) formtest.Part {
	return formtest.Raw(`Content-Disposition: form-data; name="stdin"; filename="in.txt"`, content)
}

// TestTemplateInputs starts jobs with the template's input, name and causes of retries, and with
// others.
func TestTemplateInputs(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("report", "ann", script(input("in"), field("name", "Report"), field("retries", "1"),
		field("retryOn", `["3"]`))...)
	for name, test := range map[string]struct {
		parts     []formtest.Part
		stdin     string
		named     string
		arguments int
	}{
		"as it is":       {nil, "in", "Report", 0},
		"another input":  {[]formtest.Part{input("other")}, "other", "Report", 0},
		"an empty input": {[]formtest.Part{field("stdin", "")}, "", "Report", 0},
		"another name":   {[]formtest.Part{field("name", "Report for Bob"), field("arg", "x")}, "in", "Report for Bob", 1},
		"no name":        {[]formtest.Part{field("name", "")}, "in", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			id := w.Accepted(w.StartTemplate("report", "ann", test.parts...)).JobID
			index := w.Index(id)
			if index.Stdin == nil || index.Stdin.Name != job.StdinFile || w.File(id, job.StdinFile) != test.stdin ||
				index.Stdin.Size != int64(len(test.stdin)) || len(index.Files) != 1 {
				t.Errorf("it reads %q: %+v", w.File(id, job.StdinFile), index)
			}
			if index.Name != test.named || !slices.Equal(index.RetryOn, []string{"3"}) || len(index.Args) != test.arguments {
				t.Errorf("got %+v", index.Spec)
			}
		})
	}
	got := w.Want(http.StatusOK, w.Call(http.MethodGet, "/api/v1/templates/report", "", admissiontest.By("ann")...))
	var shown struct {
		Name        string
		DefaultName string
		RetryOn     []string
		Stdin       *job.File
	}
	if err := json.Unmarshal(got.Text, &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Name != "report" || shown.DefaultName != "Report" || len(shown.RetryOn) != 1 || shown.Stdin == nil ||
		shown.Stdin.Size != 2 {
		t.Errorf("GET shows %s", got.Text)
	}
	// The next version has no input, and neither have its jobs.
	w.PutTemplate("report", "ann", script()...)
	if index := w.Index(w.Accepted(w.StartTemplate("report", "ann")).JobID); index.Stdin != nil || index.Name != "" {
		t.Errorf("got %+v", index)
	}
}

// TestStartKeys sends starts with inputs more than once.
func TestStartKeys(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("report", "", script(input("in"))...)
	start := func(parts ...formtest.Part) (int, job.ID) {
		got := w.Call(http.MethodPost, "/api/v1/templates/report/jobs", encode(parts...), "Content-Type",
			formtest.ContentType, "Idempotency-Key", "k")
		if got.StatusCode != http.StatusCreated {
			return got.StatusCode, ""
		}
		return got.StatusCode, w.Accepted(got).JobID
	}
	_, first := start(input("a"))
	if _, same := start(field("stdin", "a")); same != first {
		t.Errorf("the same: got %s, want %s", same, first)
	}
	for _, other := range []formtest.Part{input("b"), field("name", "x"), field("arg", "a")} {
		if code, id := start(input("a"), other); code != http.StatusUnprocessableEntity {
			t.Errorf("another: got %d, %s", code, id)
		}
	}
}

// TestRefusedTemplateInputs leaves nothing of inputs whose request is refused.
func TestRefusedTemplateInputs(t *testing.T) {
	w := newServer(t)
	put := w.Call(http.MethodPut, "/api/v1/templates/a", encode(script(input("x"), field("retryOn", `["3"]`))...),
		"Content-Type", formtest.ContentType)
	if p := w.Problem(put, http.StatusUnprocessableEntity); !strings.Contains(p.Detail, "needs retries") {
		t.Errorf("got %q", p.Detail)
	}
	w.WantNothing()
	w.PutTemplate("report", "", script()...)
	before := len(w.Tree())
	for _, bad := range [][]formtest.Part{
		{input("x"), field("cpu", "1")}, {input("x"), input("y")}, {input("x"), field("name", "a\nb")},
	} {
		w.Problem(w.StartTemplate("report", "", bad...), http.StatusUnprocessableEntity)
		if after := len(w.Tree()); after != before {
			t.Errorf("%d files and folders are left", after-before)
		}
	}
}
