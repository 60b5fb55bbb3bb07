package form_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// The parts of forms, by the short names that tables need.
var field, file, script, part = formtest.Field, formtest.File, formtest.Script, formtest.Raw

// usual reads forms within the bounds that a server has by default.
func usual() *form.Reader {
	return form.NewReader(form.Limits{TotalBytes: 4 << 30, FieldBytes: 1 << 20, Files: 100, NameBytes: 200})
}

// oddArgs are arguments that something on the way might take for something else.
func oddArgs() []string {
	return []string{
		"", " ", "$(X)", "$$(X)", "${HOME}", "`id`", "a\nb", "a\r\nb", "\t", `"`, `'`, `\`, `\"`, `\u0041`, "<&>",
		"ä€😀\u200b\ufffd", "\u2028",
		"--", "-rf", "*", "~", "%s%n", "a,b", "\x01\x7f", "]", `["x"]`, "--" + boundary,
	}
}

func TestEveryField(t *testing.T) {
	args, err := json.Marshal(oddArgs())
	if err != nil {
		t.Fatal(err)
	}
	fields := []formtest.Part{
		field("runtime", "python"), field("entrypoint", "a b.py"), field("args", string(args)), field("arg", ""),
		field("arg", "last $(X)\n"),
		field("env", `{"A":"1 \"2\"\n","lower.case-1":"","EMPTY":"","PATHS":"$(A)"}`),
		field("labels", `{"team":"data","example.com/stage":""}`),
		field("image", "registry.example:5000/python@sha256:0123"), field("cpu", "500m"), field("memory", "1.5Gi"),
		field("timeoutSeconds", "1"), field("ttlSecondsAfterFinished", "0"), field("retries", "100"),
		field("dependencies", "off"),
	}
	contents := []formtest.Part{file("a b.py", "print(1)\n"), file("data.bin", "\x00\xff")}
	want := job.Spec{
		Runtime: "python", Entrypoint: "a b.py", Args: append(oddArgs(), "", "last $(X)\n"),
		Env:    map[string]string{"A": "1 \"2\"\n", "lower.case-1": "", "EMPTY": "", "PATHS": "$(A)"},
		Labels: map[string]string{"team": "data", "example.com/stage": ""},
		Image:  "registry.example:5000/python@sha256:0123", CPU: "500m", Memory: "1.5Gi", TimeoutSeconds: 1, Retries: 100,
		Dependencies: job.DependenciesOff,
	}
	backwards := slices.Clone(fields)
	slices.Reverse(backwards)
	swap := func(list []formtest.Part) []formtest.Part { // the two "arg" keep their order
		i := slices.IndexFunc(list, func(p formtest.Part) bool { return p.Header == fields[3].Header })
		list[i], list[i+1] = list[i+1], list[i]
		return list
	}
	for name, parts := range map[string][]formtest.Part{
		"before the files":  slices.Concat(fields, contents),
		"after the files":   slices.Concat(contents, fields),
		"between the files": slices.Concat(contents[:1], fields, contents[1:]),
		"backwards":         slices.Concat(contents, swap(backwards)),
	} {
		t.Run(name, func(t *testing.T) {
			files := saver{}
			got, err := usual().Read(submit(t, formtest.Encode(parts...), nil), job.Spec{}, files.save)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(saver{"a b.py": "print(1)\n", "data.bin": "\x00\xff"}, files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGoodParts are parts that are written in another way than ours.
func TestGoodParts(t *testing.T) {
	for name, test := range map[string]struct{ header, file, content string }{
		"8bit": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"\r\nContent-Transfer-Encoding: 8bit", "b",
			"=3D"},
		"nested multipart": {
			"Content-Disposition: form-data; name=\"files\"; filename=\"b\"\r\nContent-Type: multipart/mixed; boundary=inner",
			"b",
			"--inner\r\nContent-Disposition: file; filename=\"c\"\r\n\r\nx\r\n--inner--",
		},
		"compressed": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"\r\nContent-Encoding: gzip",
			"b", "\x1f\x8b"},
		"tokens":     {"Content-Disposition: form-data; name=files; filename=b", "b", "x"},
		"lower case": {"content-disposition: form-data; name=\"files\"; filename=\"b\"", "b", "x"},
		"upper case": {"CONTENT-DISPOSITION: FORM-DATA; NAME=\"files\"; FILENAME=\"b\"", "b", "x"},
		"extended": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"; " +
			"filename*=UTF-8''%e2%82%ac%20b", "€ b", "x"},
		"escaped quote":     {`Content-Disposition: form-data; name="files"; filename="b\"c"`, `b"c`, "x"},
		"a browser's quote": {`Content-Disposition: form-data; name="files"; filename="b%22c"`, `b"c`, "x"},
		"continued": {"Content-Disposition: form-data; name=\"files\"; filename*0=\"b\"; filename*1=\"c\"", "bc",
			"x"},
		"folded": {"Content-Disposition: form-data;\r\n name=\"files\";\r\n filename=\"b\"", "b", "x"},
		"many other headers": {"Content-Disposition: form-data; name=\"files\"; filename=\"b\"" +
			strings.Repeat("\r\nX: y", 100), "b", "x"},
		"spaces around things": {"Content-Disposition:   form-data ; name=\"files\" ; filename=\"b\"  ", "b", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			files := saver{}
			r := submit(t, formtest.Encode(script(part(test.header, test.content))...), nil)
			if _, err := usual().Read(r, job.Spec{}, files.save); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(saver{"a.py": "print(1)\n", test.file: test.content}, files); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGoodBodies are forms around which there is more, or less, than usual.
func TestGoodBodies(t *testing.T) {
	whole := formtest.Encode(script()...)
	for name, test := range map[string]struct {
		body   string
		header http.Header
	}{
		"no last line break":   {strings.TrimSuffix(whole, "\r\n"), nil},
		"preamble":             {"This is a form.\r\n\r\n" + whole, nil},
		"epilogue":             {whole + "That was a form.", nil},
		"space after boundary": {strings.ReplaceAll(whole, boundary+"\r\n", boundary+" \t\r\n"), nil},
		"LF only":              {strings.ReplaceAll(whole, "\r\n", "\n"), nil},
		"quoted boundary":      {whole, http.Header{"Content-Type": {`multipart/form-data; boundary="` + boundary + `"`}}},
		"upper case type":      {whole, http.Header{"Content-Type": {`Multipart/Form-Data; Boundary=` + boundary}}},
		"other parameters":     {whole, http.Header{"Content-Type": {contentType + "; charset=utf-8"}}},
		"70 characters": {strings.ReplaceAll(whole, boundary, strings.Repeat("b", 70)),
			http.Header{"Content-Type": {"multipart/form-data; boundary=" + strings.Repeat("b", 70)}}},
		"one character": {strings.ReplaceAll(whole, boundary, "Q"),
			http.Header{"Content-Type": {"multipart/form-data; boundary=Q"}}},
		"identity coding": {whole, http.Header{"Content-Encoding": {"identity"}}},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/chunked=%t", name, chunked), func(t *testing.T) {
				r := submit(t, test.body, test.header)
				if chunked {
					r.ContentLength = -1
				}
				files := saver{}
				got, err := usual().Read(r, job.Spec{}, files.save)
				if err != nil {
					t.Fatal(err)
				}
				if len(files) != 1 || got.Spec.Entrypoint != "a.py" {
					t.Errorf("got %+v with %v", got, files)
				}
			})
		}
	}
}

// TestBoundsAreInclusive sends as much as there may be.
func TestBoundsAreInclusive(t *testing.T) {
	hundred := append(formtest.Files(99), script()...)
	for name, parts := range map[string][]formtest.Part{
		"files": hundred,
		"smallest and largest": script(
			field("cpu", "1m"), field("memory", "1Mi"), field("timeoutSeconds", "315360000"),
			field("ttlSecondsAfterFinished", "0315360000"), field("retries", "0"),
			field("arg", strings.Repeat("a", job.MaxArgBytes)), field("env", `{"`+strings.Repeat("A", 256)+`":""}`),
			field("args", "[]"+strings.Repeat(" ", 1<<20-2)),
		),
		"other": script(field("cpu", "1e3"), field("memory", "1Pi"), field("labels", "{}"), field("env", "{}"),
			field("image", "")),
		"arguments": script(formtest.Repeat(field("arg", "x"), 9_998)...),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := usual().Read(submit(t, formtest.Encode(parts...), nil), job.Spec{}, saver{}.save)
			if err != nil {
				t.Fatal(err)
			}
			if name == "files" && len(got.Files) != 100 {
				t.Errorf("got %d files", len(got.Files))
			}
		})
	}
}
