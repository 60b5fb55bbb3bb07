package admissiontest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
)

// Reply is an answer that was read to its end.
type Reply struct {
	*http.Response
	Text []byte
}

// Request is a submit with a body.
func (s *Server) Request(body io.Reader, header http.Header) *http.Request {
	s.T.Helper()
	r, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.HTTP.URL+"/api/v1/jobs", body)
	if err != nil {
		s.T.Fatal(err)
	}
	r.Header.Set("Content-Type", formtest.ContentType)
	maps.Copy(r.Header, header)
	return r
}

// Do makes a request.
func (s *Server) Do(r *http.Request) Reply {
	s.T.Helper()
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		s.T.Fatal(err)
	}
	return s.Read(got)
}

// Read reads an answer to its end.
func (s *Server) Read(got *http.Response) Reply {
	s.T.Helper()
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return Reply{got, text}
}

// Dial connects to the server.
func (s *Server) Dial() *net.TCPConn {
	s.T.Helper()
	var d net.Dialer
	conn, err := d.DialContext(s.T.Context(), "tcp", s.HTTP.Listener.Addr().String())
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// Call makes any request; header is name and value in turn.
func (s *Server) Call(method, path, body string, header ...string) Reply {
	s.T.Helper()
	r, err := http.NewRequestWithContext(s.T.Context(), method, s.HTTP.URL+path, strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return s.Do(r)
}

// Bearer is a token as headers for Call.
func Bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// Post submits a form.
func (s *Server) Post(parts ...formtest.Part) Reply {
	s.T.Helper()
	return s.Do(s.Request(strings.NewReader(formtest.Encode(parts...)), nil))
}

// PostKeyed submits a form with an idempotency key.
func (s *Server) PostKeyed(key string, parts ...formtest.Part) Reply {
	s.T.Helper()
	return s.Do(s.Request(strings.NewReader(formtest.Encode(parts...)), http.Header{"Idempotency-Key": {key}}))
}

// Template is the answer to PUT of a template.
type Template struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Owner   string `json:"owner"`
}

// By is a caller of role user as headers for Call; empty: an admin.
func By(owner string) []string {
	if owner == "" {
		return nil
	}
	return []string{guardtest.Caller, owner}
}

// PutTemplate makes or replaces a template for a caller; empty: an admin.
func (s *Server) PutTemplate(name, caller string, parts ...formtest.Part) Template {
	s.T.Helper()
	header := append([]string{"Content-Type", formtest.ContentType}, By(caller)...)
	got := s.Call(http.MethodPut, "/api/v1/templates/"+name, formtest.Encode(parts...), header...)
	if got.StatusCode != http.StatusOK {
		s.Want(http.StatusCreated, got)
	}
	return As[Template](s.T, got)
}

// StartTemplate starts a job from a template for a caller, with a form if there are parts.
func (s *Server) StartTemplate(name, caller string, parts ...formtest.Part) Reply {
	s.T.Helper()
	path := "/api/v1/templates/" + name + "/jobs"
	if len(parts) == 0 {
		return s.Call(http.MethodPost, path, "", By(caller)...)
	}
	return s.Call(http.MethodPost, path, formtest.Encode(parts...),
		append(By(caller), "Content-Type", formtest.ContentType)...)
}

// Want fails unless the answer has the status.
func (s *Server) Want(status int, got Reply) Reply {
	s.T.Helper()
	if got.StatusCode != status {
		s.T.Fatalf("%s %s: got %s, want %d: %.500s", got.Request.Method, got.Request.URL.Path, got.Status, status, got.Text)
	}
	return got
}

// As decodes an answer.
func As[T any](t testing.TB, got Reply) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(got.Text, &value); err != nil {
		t.Fatalf("%v: %s", err, got.Text)
	}
	return value
}

// Accepted is the answer to a submit.
type Accepted struct {
	JobID     job.ID        `json:"jobID"`
	JobName   string        `json:"jobName"`
	Namespace string        `json:"namespace"`
	Token     string        `json:"token"`
	Phase     job.Phase     `json:"phase"`
	CreatedAt time.Time     `json:"createdAt"`
	Inferred  *job.Inferred `json:"inferred"`
}

// Accepted demands that a job was accepted.
func (s *Server) Accepted(got Reply) Accepted {
	s.T.Helper()
	if got.StatusCode != http.StatusCreated {
		s.T.Fatalf("got %s, want 201: %s", got.Status, got.Text)
	}
	var a Accepted
	d := json.NewDecoder(bytes.NewReader(got.Text))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		s.T.Fatal(err)
	}
	if want := "/api/v1/jobs/" + string(a.JobID); got.Header.Get("Location") != want {
		s.T.Errorf("Location: got %q, want %q", got.Header.Get("Location"), want)
	}
	return a
}

// Problem demands an error as users are promised them.
func (s *Server) Problem(got Reply, status int) api.Problem {
	s.T.Helper()
	if got.StatusCode != status {
		s.T.Fatalf("got %s, want %d: %.500s", got.Status, status, got.Text)
	}
	if kind := got.Header.Get("Content-Type"); kind != "application/problem+json" {
		s.T.Errorf("Content-Type: got %q", kind)
	}
	p := As[api.Problem](s.T, got)
	if p.Status != status || p.Title != http.StatusText(status) || p.Type == "" || p.Detail == "" {
		s.T.Errorf("problem: got %+v", p)
	}
	return p
}

// WantFaults demands an error with faults of exactly these fields.
func (s *Server) WantFaults(got Reply, fields ...string) {
	s.T.Helper()
	found := map[string]bool{}
	for _, f := range s.Problem(got, http.StatusUnprocessableEntity).Errors {
		found[f.Field] = true
	}
	if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(found))); diff != "" {
		s.T.Errorf("faults (-want +got):\n%s%s", diff, got.Text)
	}
}

// BeforeOwners makes the record of a template one of a version that knew no callers.
func (s *Server) BeforeOwners(name string) {
	s.T.Helper()
	path := filepath.Join(s.Dir, ".orchestrator/template", name, "00000001.json")
	data, err := os.ReadFile(path)
	if err != nil {
		s.T.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(data, &record); err != nil {
		s.T.Fatal(err)
	}
	delete(record, "caller")
	record["owner"] = "fe6aa1b2c3d4000102030405060708ff"
	if data, err = json.Marshal(record); err != nil {
		s.T.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.T.Fatal(err)
	}
}
