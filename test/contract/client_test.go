package contract

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
)

// client makes calls, each of which is checked against the description.
type client struct {
	base string
	http *http.Client
	key  string // sent with calls that have no other credentials; may be empty
}

// with returns a client whose calls have other credentials; an empty key stands for none.
func (c *client) with(key string) *client { return &client{base: c.base, http: c.http, key: key} }

func (c *contract) client(base string, next http.RoundTripper) *client {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{base: base, http: &http.Client{Transport: checked{contract: c, next: next}, CheckRedirect: stay}}
}

// reply is an answer that was read.
type reply struct {
	*http.Response
	body []byte
}

// option is something about a request.
type option func(*http.Request)

func bearer(token string) option { return header("Authorization", "Bearer "+token) }

// header adds a header; the same may be sent twice.
func header(name, value string) option {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func content(contentType string, body []byte) option {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", contentType)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
}

// blanks is a body of so many bytes.
func blanks(n int64) option {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Body, r.ContentLength = io.NopCloser(io.LimitReader(blank{}, n)), n
	}
}

type blank struct{}

func (blank) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func octets(body string) option { return content("application/octet-stream", []byte(body)) }

func record(t *testing.T, value any) option {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return content("application/json", data)
}

// call makes a call and demands a status.
func (c *client) call(t *testing.T, want int, method, path string, options ...option) *reply {
	t.Helper()
	got, err := c.try(t.Context(), method, path, options...)
	if err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != want {
		t.Fatalf("%s %s: got %s, want %d\n%s", method, path, got.Status, want, excerpt(got.body))
	}
	return got
}

func (c *client) try(ctx context.Context, method, path string, options ...option) (*reply, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		o(r)
	}
	if _, sent := r.Header["Authorization"]; !sent && c.key != "" {
		bearer(c.key)(r)
	}
	got, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := drain(&got.Body)
	return &reply{got, body}, err
}

// as decodes the body of an answer.
func as[T any](t *testing.T, r *reply) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(r.body, &value); err != nil {
		t.Fatalf("%v\n%s", err, excerpt(r.body))
	}
	return value
}

// field is one part of a form; one with a filename is a file.
type field struct{ name, filename, value string }

func file(name, content string) field { return field{"files", name, content} }

// form is a whole form.
func form(t *testing.T, fields ...field) option {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, f := range fields {
		var part io.Writer
		var err error
		if f.filename != "" {
			part, err = w.CreateFormFile(f.name, f.filename)
		} else {
			part, err = w.CreateFormField(f.name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, f.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return content(w.FormDataContentType(), body.Bytes())
}

// script is a job that runs a shell script on any machine.
func script(t *testing.T, text string, more ...field) option {
	t.Helper()
	fields := []field{{name: "runtime", value: "binary"}, {name: "entrypoint", value: "run"},
		file("run", "#!/bin/sh\n"+text+"\n")}
	return form(t, append(fields, more...)...)
}

// submitted is what is known of a job that was submitted.
type submitted struct {
	JobID job.ID
	Token string
}

func (c *client) submit(t *testing.T, options ...option) submitted {
	t.Helper()
	return as[submitted](t, c.call(t, http.StatusCreated, http.MethodPost, "/api/v1/jobs", options...))
}

func (s submitted) path() string { return "/api/v1/jobs/" + string(s.JobID) }

func (s submitted) artifact(name string) string { return "/artifacts/" + string(s.JobID) + "/" + name }

func (s submitted) outputs() string { return "/outputs/" + string(s.JobID) }

func (s submitted) output(name string) string {
	return s.outputs() + "/" + strings.ReplaceAll(name, "/", "%2F")
}

func (s submitted) bearer() option { return bearer(s.Token) }

// status asks how the job fares.
func (c *client) status(t *testing.T, s submitted) job.Status {
	t.Helper()
	return as[job.Status](t, c.call(t, http.StatusOK, http.MethodGet, s.path(), s.bearer()))
}

// problem is the body of an error.
func problem(t *testing.T, r *reply) string {
	t.Helper()
	p := as[struct{ Detail string }](t, r)
	if p.Detail == "" {
		t.Errorf("%s without a detail: %s", r.Status, r.body)
	}
	return p.Detail
}

// contains demands that text holds what it should.
func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("got %q, want something with %q", fmt.Sprintf("%.500s", text), want)
	}
}
