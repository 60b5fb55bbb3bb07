package contract

import (
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
)

// testInputs has programs read, lists jobs by their names, and runs jobs again.
func testInputs(t *testing.T, to *client) {
	request := script(t, "cat; echo \"args $*\"; exit 4", field{name: "stdin", value: "one\ntwo\n"},
		field{name: "name", value: "Nightly report"}, field{name: "retries", value: "3"},
		field{name: "retryOn", value: `["3","10-20","OOMKilled"]`}, field{name: "dependencies", value: "off"})
	s := to.submit(t, request)
	over := to.ended(t, s)
	if over.Phase != job.Failed || len(over.Attempts) != 1 || over.Name != "Nightly report" || over.Stdin == nil ||
		len(over.RetryOn) != 3 || over.Dependencies != "off" {
		t.Errorf("got %+v", over)
	}
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs", s.bearer()).body), "one\ntwo\nargs \n")
	read := to.call(t, http.StatusOK, http.MethodGet, s.artifact(".stdin"), s.bearer())
	if string(read.body) != "one\ntwo\n" {
		t.Errorf("the input is %q", read.body)
	}
	to.call(t, http.StatusOK, http.MethodHead, s.artifact(".stdin"), s.bearer())
	to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), s.bearer())
	list := to.call(t, http.StatusOK, http.MethodGet, "/api/v1/jobs?name=Nightly+report")
	contains(t, string(list.body), `"name":"Nightly report"`)
	if others := to.call(t, http.StatusOK, http.MethodGet, "/api/v1/jobs?name=Nightly"); strings.Contains(
		string(others.body), string(s.JobID)) {
		t.Errorf("another name finds the job: %s", others.body)
	}
	to.call(t, http.StatusBadRequest, http.MethodGet, "/api/v1/jobs?name=%0a")
	to.call(t, http.StatusBadRequest, http.MethodGet, "/api/v1/jobs?name=")

	key := header("Idempotency-Key", "run it again")
	changed := form(t, field{name: "args", value: `["x"]`}, field{name: "name", value: ""}, field{name: "stdin", filename: "in.txt",
		value: "three\n"}, field{name: "retries", value: "0"}, field{name: "retryOn", value: "[]"})
	again := as[submitted](t, to.call(t, http.StatusCreated, http.MethodPost, s.path()+"/rerun", changed, key,
		header("Prefer", "wait=60")))
	if got := to.ended(t, again); got.RerunOf != s.JobID || got.Name != "" || len(got.RetryOn) != 0 {
		t.Errorf("again: got %+v", got)
	}
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, again.path()+"/logs", again.bearer()).body), "three\nargs x\n")
	to.call(t, http.StatusOK, http.MethodGet, again.artifact("index.json"), again.bearer())
	if same := as[submitted](t, to.call(t, http.StatusCreated, http.MethodPost, s.path()+"/rerun", changed, key)); same !=
		again {
		t.Errorf("sent again: got %+v, want %+v", same, again)
	}
	to.call(t, http.StatusUnprocessableEntity, http.MethodPost, s.path()+"/rerun", key)
	to.call(t, http.StatusCreated, http.MethodPost, s.path()+"/rerun", header("Prefer", "wait=60"))
	to.call(t, http.StatusNoContent, http.MethodDelete, again.path(), again.bearer())
	to.call(t, http.StatusGone, http.MethodPost, s.path()+"/rerun", changed, key)
	to.call(t, http.StatusNotFound, http.MethodPost, again.path()+"/rerun")
	testRefusedReruns(t, to, s)
	testInputsOfOthers(t, to)
}

func testRefusedReruns(t *testing.T, to *client, s submitted) {
	for want, body := range map[string]option{
		"files":   form(t, file("run", "true")),
		"nmae":    form(t, field{name: "nmae", value: "x"}),
		"cpu":     form(t, field{name: "cpu", value: "x"}),
		"retryOn": form(t, field{name: "retries", value: "0"}),
	} {
		got := to.call(t, http.StatusUnprocessableEntity, http.MethodPost, s.path()+"/rerun", body)
		contains(t, problem(t, got), want)
	}
	to.call(t, http.StatusBadRequest, http.MethodPost, s.path()+"/rerun", header("Idempotency-Key", ""))
	to.call(t, http.StatusUnsupportedMediaType, http.MethodPost, s.path()+"/rerun", content("application/json", []byte("{}")))
	to.call(t, http.StatusRequestEntityTooLarge, http.MethodPost, s.path()+"/rerun",
		form(t, field{name: "stdin", filename: "in.txt", value: strings.Repeat("x", 2<<20)}))
}

// testInputsOfOthers gives jobs of templates and of events something to read.
func testInputsOfOthers(t *testing.T, to *client) {
	v := to.put(t, "reads", script(t, "cat", field{name: "stdin", value: "in"}, field{name: "name", value: "By default"},
		field{name: "retries", value: "1"}, field{name: "retryOn", value: `["Error"]`}))
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, v.path()).body), `"defaultName":"By default"`)
	s := as[submitted](t, to.call(t, http.StatusCreated, http.MethodPost, v.path()+"/jobs",
		form(t, field{name: "stdin", value: "other"}, field{name: "name", value: "Once"})))
	if got := to.ended(t, s); got.Name != "Once" {
		t.Errorf("of a template: got %+v", got)
	}
	got := to.accepted(t, "/events", cloudEvent("reads", "io.github.go-job-orchestrator.job.requested.v1", map[string]any{
		"runtime": "binary", "entrypoint": "run", "stdinBase64": "aW4=", "name": "By event", "retries": 1,
		"retryOn": []string{"3"}, "files": []map[string]string{{"name": "run", "content": "IyEvYmluL3NoCmNhdAo="}}}))
	n := as[submitted](t, to.call(t, http.StatusOK, http.MethodGet, got.Header.Get("Location")+"/token"))
	if got := to.ended(t, n); got.Name != "By event" || got.Phase != job.Succeeded {
		t.Errorf("of an event: got %+v", got)
	}
	to.call(t, http.StatusNoContent, http.MethodDelete, v.path())
}

// ended waits for the end of a job.
func (c *client) ended(t *testing.T, s submitted) job.Status {
	t.Helper()
	c.call(t, http.StatusOK, http.MethodGet, s.path(), s.bearer(), header("Prefer", "wait=60"))
	return c.status(t, s)
}
