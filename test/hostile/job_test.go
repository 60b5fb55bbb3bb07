package hostile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

const boundary = "hostile-boundary"

// part is one part of a form, its header as it stands.
type part struct{ header, body string }

func text(name, value string) part {
	return part{fmt.Sprintf("Content-Disposition: form-data; name=%q\r\n", name), value}
}

// file is an uploaded file. Its name is quoted as it is, but for quotes and backslashes.
func file(name, content string) part {
	name = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
	return part{`Content-Disposition: form-data; name="files"; filename="` + name + "\"\r\n", content}
}

// archive is an uploaded archive.
func archive(name, content string) part {
	return part{`Content-Disposition: form-data; name="archive"; filename="` + name + "\"\r\n", content}
}

// encode makes the body of a form.
func encode(parts ...part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--" + boundary + "\r\n" + p.header + "\r\n" + p.body + "\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.String()
}

const formType = "Content-Type: multipart/form-data; boundary=" + boundary

func post(target, body string, header ...string) request {
	return request{method: http.MethodPost, target: target, header: append([]string{formType}, header...), body: body}
}

// submit is a request with a whole form.
func submit(parts ...part) request { return post("/api/v1/jobs", encode(parts...)) }

// script is the parts of a job that runs a shell script.
func script(text string, more ...part) []part {
	return program("binary", "run", "#!/bin/sh\n"+text, more...)
}

func python(source string, more ...part) []part { return program("python", "main.py", source, more...) }

func program(runtime, entrypoint, source string, more ...part) []part {
	return append([]part{text("runtime", runtime), text("entrypoint", entrypoint), file(entrypoint, source)}, more...)
}

// with is a job that would run but for some of its parts.
func with(more ...part) request { return submit(script("true\n", more...)...) }

// begun is a job that was accepted.
type begun struct {
	srv   *server
	ID    job.ID `json:"jobID"`
	Token string `json:"token"`
}

func (srv *server) begin(t *testing.T, parts ...part) *begun {
	t.Helper()
	return srv.beginBy(t, submit(parts...))
}

func (srv *server) beginBy(t *testing.T, r request) *begun {
	t.Helper()
	j := &begun{srv: srv}
	srv.must(t, http.StatusCreated, r, j)
	return j
}

// must makes a request that has to succeed.
func (srv *server) must(t *testing.T, status int, r request, into any) *answer {
	t.Helper()
	a, err := srv.send(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.target, err)
	}
	if a.status != status {
		t.Fatalf("%s %s: got %d, want %d: %.500s", r.method, r.target, a.status, status, a.body)
	}
	if into != nil {
		if err := json.Unmarshal(a.body, into); err != nil {
			t.Fatalf("%s %s: %v", r.method, r.target, err)
		}
	}
	return a
}

func (j *begun) path() string { return "/api/v1/jobs/" + string(j.ID) }

func (j *begun) status(t *testing.T) job.Status {
	t.Helper()
	var s job.Status
	j.srv.must(t, http.StatusOK, get(j.path(), bearer(j.Token)), &s)
	return s
}

// wait waits until the job is over.
func (j *begun) wait(t *testing.T) job.Status {
	t.Helper()
	var last job.Status
	end := time.Now().Add(2 * patience)
	for !last.Phase.Terminal() {
		if time.Now().After(end) {
			t.Fatalf("job %s is not over: %+v", j.ID, last)
		}
		j.srv.must(t, http.StatusOK, get(j.path(), bearer(j.Token), "Prefer: wait=10"), &last)
	}
	return last
}

func (j *begun) logs(t *testing.T, query string) string {
	t.Helper()
	return string(j.srv.must(t, http.StatusOK, get(j.path()+"/logs?"+query, bearer(j.Token)), nil).body)
}

// says waits until the job's log has a text.
func (j *begun) says(t *testing.T, text string) {
	t.Helper()
	until(t, fmt.Sprintf("job %s says %q", j.ID, text), func() bool {
		return strings.Contains(j.logs(t, "tail=all"),
			text)
	})
}

// cancel ends the job and returns how it is then.
func (j *begun) cancel(t *testing.T) job.Status {
	t.Helper()
	a, err := j.srv.send(request{method: http.MethodPost, target: j.path() + "/cancel",
		header: []string{bearer(j.Token)}})
	if err != nil || !slices.Contains([]int{http.StatusOK, http.StatusAccepted, http.StatusConflict}, a.status) {
		t.Errorf("cancel: %v %v", a, err)
	}
	return j.wait(t)
}

func (j *begun) remove(t *testing.T) {
	t.Helper()
	a, err := j.srv.send(request{method: http.MethodDelete, target: j.path(), header: []string{bearer(j.Token)}})
	if err != nil || a.status != http.StatusNoContent && a.status != http.StatusAccepted {
		t.Errorf("remove: %v %v", a, err)
	}
}

// template is a stored template.
type stored struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
}

func put(name string, parts []part, header ...string) request {
	return request{
		method: http.MethodPut, target: "/api/v1/templates/" + name, header: append([]string{formType}, header...),
		body: encode(parts...),
	}
}

func (srv *server) template(t *testing.T, name string, parts []part, header ...string) stored {
	t.Helper()
	var s stored
	srv.must(t, http.StatusCreated, put(name, parts, header...), &s)
	return s
}

func parse(data []byte, into any) error { return json.Unmarshal(data, into) }
