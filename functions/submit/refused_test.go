package submit_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// named is a form with a runtime and an entrypoint.
func named(runtime, entrypoint string, more ...formtest.Part) []formtest.Part {
	return append([]formtest.Part{field("runtime", runtime), field("entrypoint", entrypoint)}, more...)
}

// TestRefused sends what is refused for other reasons than its form, and a few forms. Package form
// tests what else can be wrong with a form.
func TestRefused(t *testing.T) {
	aPy := file("a.py", "")
	keys := func(keys ...string) http.Header { return http.Header{"Idempotency-Key": keys} }
	const tooFull = "MIN_FREE_BYTES"
	for name, test := range map[string]struct {
		parts   []formtest.Part
		header  http.Header
		chunked bool
		option  admissiontest.Option
		status  int    // 422 if 0
		field   string // of one of the errors; none are expected without
		message string // a part of that error's message, or of the detail without a field
	}{
		"a file's name": {parts: named("python", "a.py", file("..", "x")), field: "files", message: "not a file name"},
		"a value":       {parts: script(field("cpu", "x")), field: "cpu", message: "quantity"},
		"not a form": {header: http.Header{"Content-Type": {"application/json"}}, status: 415,
			message: "multipart/form-data"},
		"unknown runtime": {parts: named("cobol", "a.py", aPy), field: "runtime",
			message: `"cobol" is not a runtime; there are: python`},
		"runtime by case": {parts: named("Python", "a.py", aPy), field: "runtime", message: "not a runtime"},
		"long runtime": {parts: named(strings.Repeat("x", 1<<20), "a.py", aPy), field: "runtime",
			message: "not a runtime"},
		"no such file": {parts: named("python", "b.py", aPy), field: "entrypoint",
			message: `no uploaded file is named "b.py"; uploaded: a.py`},
		"option for java": {parts: named("java", "-version", file("a.jar", "")), field: "entrypoint", message: "Java class"},
		"not installed": {parts: script(), option: admissiontest.Refusing("runtime",
			"python is not installed on this machine"),
			field: "runtime", message: "not installed"},
		"image": {parts: script(field("image", "python:3.13")), option: admissiontest.Refusing("image",
			"images need Kubernetes"),
			field: "image", message: "Kubernetes"},
		"backend away": {parts: script(), option: failing(fmt.Errorf("no answer: %w", job.ErrUnavailable)), status: 503,
			message: "try again"},
		"backend broken": {parts: script(), option: failing(io.ErrNoProgress), status: 500, message: "Something went wrong"},
		"queue full": {parts: script(), option: admissiontest.On(admissiontest.Backend{Full: true}), status: 503,
			message: "MAX_QUEUED_JOBS"},
		"disk full": {parts: script(), option: admissiontest.Setting(tooFull, "1Pi"), status: 507,
			message: "not enough storage"},
		"disk full, length unknown": {parts: script(), chunked: true, option: admissiontest.Setting(tooFull, "1Pi"),
			status:  507,
			message: "not enough storage"},
		"larger than may be, and than the disk": {parts: script(file("b", strings.Repeat("b", 4096))),
			option: func(d *admission.Deps) {
				maxUpload(4096)(d)
				admissiontest.Setting(tooFull, "1Pi")(d)
			}, status: 413, field: "files", message: "MAX_UPLOAD_BYTES"},
		"larger than may be, length unknown": {parts: script(file("b", strings.Repeat("b", 2<<20))), chunked: true,
			option: maxUpload(1 << 20), status: 413, field: "files", message: "1048576 bytes (MAX_UPLOAD_BYTES)"},
		"two keys": {parts: script(), header: keys("a", "b"), status: 400, field: "Idempotency-Key",
			message: "more than once"},
		"the same key twice": {parts: script(), header: keys("a", "a"), status: 400, field: "Idempotency-Key",
			message: "more than once"},
		"empty key": {parts: script(), header: keys(""), status: 400, field: "Idempotency-Key",
			message: "1 to 255 characters"},
		"blank key": {parts: script(), header: keys("   "), status: 400, field: "Idempotency-Key",
			message: "1 to 255 characters"},
		"256 characters of key": {parts: script(), header: keys(strings.Repeat("k", 256)), status: 400,
			field:   "Idempotency-Key",
			message: "1 to 255 characters"},
		"key of a bad form": {parts: script(field("cpu", "x")), header: keys("k"), field: "cpu", message: "quantity"},
		"more than may be asked for": {parts: script(field("memory", "2Gi")), option: admissiontest.Setting("MAX_MEMORY",
			"1Gi"),
			field: "memory", message: "MAX_MEMORY"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newServer(t)
			if test.option != nil {
				w = newServer(t, test.option)
			}
			r := w.Request(strings.NewReader(encode(test.parts...)), test.header)
			if test.chunked {
				r.ContentLength = -1
			}
			got := w.Do(r)
			w.WantNothing()
			if test.status == 0 {
				test.status = http.StatusUnprocessableEntity
			}
			p := w.Problem(got, test.status)
			if retry := got.Header.Get("Retry-After"); (retry != "") != (test.status == http.StatusServiceUnavailable) {
				t.Errorf("Retry-After: got %q", retry)
			}
			if test.field == "" && strings.Contains(p.Detail, test.message) {
				return
			}
			if !slices.ContainsFunc(p.Errors, func(f job.Fault) bool {
				return f.Field == test.field && strings.Contains(f.Message, test.message)
			}) || len(w.Sink.Sent()) > 0 {
				t.Errorf("got %+v, want one of the field %s with %q", p, test.field, test.message)
			}
		})
	}
}

// failing is a backend that cannot check a job.
func failing(err error) admissiontest.Option {
	return admissiontest.On(admissiontest.Backend{Fault: func(*job.Spec) error { return err }})
}

// TestAllFaults demands that whoever makes several mistakes is told of all at once.
func TestAllFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		deps  admissiontest.Option
		parts []formtest.Part
		want  []string
	}{
		{"values", nil, script(field("cpu", "x"), field("memory", "1"), field("env", "[]"), field("retries", "-1"),
			field("args", `["\u0000","a","\u0000"]`)),
			[]string{"args[0]", "args[2]", "cpu", "env", "memory", "retries"}},
		{"everything", nil, []formtest.Part{
			field("cpu", "x"), field("extra", "1"), file("..", "x"), field("cpu", "y"), file("/b", "x"),
			field("entrypoint", ""), field("memory", "huge"),
		}, []string{"cpu", "cpu", "extra", "files", "files", "memory"}},
		{"nothing", nil, nil, []string{"files"}},
		{"nothing to infer from", nil, []formtest.Part{file("a", "x"), field("cpu", "x")},
			[]string{"cpu", "entrypoint", "runtime"}},
		{"value and missing file", nil, []formtest.Part{field("runtime", "python"), field("entrypoint", "a.py"), field("cpu",
			"x")},
			[]string{"cpu", "files"}},
		{"value and entrypoint", nil, []formtest.Part{field("runtime", "python"), field("entrypoint", "b.py"), file("a.py",
			""),
			field("cpu", "x")}, []string{"cpu", "entrypoint"}},
		{"value and runtime", nil, []formtest.Part{field("runtime", "cobol"), field("entrypoint", "a.py"), file("a.py", ""),
			field("cpu", "x")}, []string{"cpu", "runtime"}},
		{"value and platform", admissiontest.Refusing("image", "no images here"), script(field("cpu", "x"), field("image",
			"y")),
			[]string{"cpu", "image"}},
		{"platform and entrypoint", admissiontest.Refusing("runtime", "not installed"),
			[]formtest.Part{field("runtime", "python"), field("entrypoint", "b.py"), file("a.py", "")},
			[]string{"entrypoint", "runtime"}},
		{"a file's name does not make the entrypoint wrong as well", nil,
			[]formtest.Part{field("runtime", "python"), field("entrypoint", "a.py"), file("/x/a.py", "")}, []string{"files"}},
		{"an unknown field does not make the entrypoint wrong as well", nil, append([]formtest.Part{field("x", "y")},
			script()...),
			[]string{"x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := []admissiontest.Option{}
			if test.deps != nil {
				options = append(options, test.deps)
			}
			w := newServer(t, options...)
			p := w.Problem(w.Post(test.parts...), http.StatusUnprocessableEntity)
			var got []string
			for _, e := range p.Errors {
				got = append(got, e.Field)
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("fields: got %q, want %q", got, test.want)
			}
			w.WantNothing()
		})
	}
}
