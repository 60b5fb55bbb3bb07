package form_test

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// bad is a form that must be refused, and what its sender must be told.
type bad struct {
	name    string
	parts   []formtest.Part
	body    string      // instead of parts
	header  http.Header // on top of the usual
	chunked bool
	limit   int64  // of all bytes; 4 GiB if 0
	status  int    // 422 if 0
	field   string // of one of the errors; none are expected without
	message string // a part of that error's message, or of the detail without a field
}

func TestBadInput(t *testing.T) {
	all := slices.Concat(badNames(), badValues(), badFields(), badBodies())
	t.Logf("%d bad inputs", len(all))
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) { b.isRefused(t) })
	}
}

// read reads a form as a function does, and returns the problem that is answered.
func read(t *testing.T, r *http.Request, limit int64) (*form.Job, *httptest.ResponseRecorder, api.Problem) {
	t.Helper()
	reader := form.NewReader(form.Limits{TotalBytes: limit, FieldBytes: 1 << 20, Files: 100, NameBytes: 200,
		Archive: archive.Limits{Entries: 100, Unpacked: 1 << 20}})
	got, err := reader.Read(r, job.Spec{TTLSecondsAfterFinished: 86400}, saver{}.save)
	answer := httptest.NewRecorder()
	var p api.Problem
	if err != nil {
		api.WriteError(answer, r, slog.New(slog.DiscardHandler), err)
		if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
	}
	return got, answer, p
}

// submit is a request with a form.
func submit(t *testing.T, body string, header http.Header) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	maps.Copy(r.Header, header)
	return r
}

func (b bad) isRefused(t *testing.T) {
	if b.parts != nil {
		b.body = formtest.Encode(b.parts...)
	}
	r := submit(t, b.body, b.header)
	if b.chunked {
		r.ContentLength = -1
	}
	_, answer, p := read(t, r, cmp.Or(b.limit, 4<<30))
	if want := cmp.Or(b.status, http.StatusUnprocessableEntity); answer.Code != want || p.Status != want {
		t.Fatalf("got %d %+v, want %d", answer.Code, p, want)
	}
	if answer.Body.Len() > 16<<10 {
		t.Errorf("the answer has %d bytes", answer.Body.Len())
	}
	if b.field == "" {
		if !strings.Contains(p.Detail, b.message) {
			t.Errorf("detail: got %q, want %q in it", p.Detail, b.message)
		}
		return
	}
	for _, e := range p.Errors {
		if strings.HasPrefix(e.Field, b.field) && strings.Contains(e.Message, b.message) {
			if !strings.Contains(p.Detail, e.Message) {
				t.Errorf("detail: got %q, want %q in it", p.Detail, e.Message)
			}
			return
		}
	}
	t.Errorf("errors: got %+v, want one of the field %s with %q", p.Errors, b.field, b.message)
}

// TestManyFaults demands that a hostile form gets no hostile answer.
func TestManyFaults(t *testing.T) {
	for name, parts := range map[string][]formtest.Part{
		"fields":    script(formtest.Repeat(field("x", "y"), 1000)...),
		"arguments": script(formtest.Repeat(field("arg", "\x00"), 9000)...),
		"variables": script(field("env", "{"+strings.Repeat(`"A=`+strings.Repeat("x", 100)+`":"",`, 1)+`"B=":""}`)),
		"names":     script(formtest.Repeat(file("..", "y"), 1000)...),
	} {
		t.Run(name, func(t *testing.T) {
			_, answer, p := read(t, submit(t, formtest.Encode(parts...), nil), 4<<30)
			if answer.Code != http.StatusUnprocessableEntity || len(p.Errors) > 40 || answer.Body.Len() > 32<<10 {
				t.Errorf("%d: %d errors in %d bytes", answer.Code, len(p.Errors), answer.Body.Len())
			}
		})
	}
}
