package submit_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// TestProjects submits nothing but an archive of each format, twice with one key.
func TestProjects(t *testing.T) {
	w := newServer(t)
	for _, format := range job.ArchiveFormats() {
		data := string(archivetest.Make(t, format, "project/main.py", "print(1)", "project/lib/m.py", "x"))
		parts := []formtest.Part{formtest.Archive("project.bin", data)}
		got := w.PostKeyed("key of "+format, parts...)
		a := w.Accepted(got)
		index := w.Index(a.JobID)
		f := described("project.bin", data)
		f.Archive, f.Entries, f.Unpacked = format, 4, 9
		if diff := cmp.Diff([]job.File{f}, index.Files); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", format, diff)
		}
		want := &job.Inferred{Runtime: "python", Entrypoint: "project/main.py"}
		if index.Runtime != want.Runtime || index.Entrypoint != want.Entrypoint {
			t.Errorf("%s: %s %s", format, index.Runtime, index.Entrypoint)
		}
		if w.File(a.JobID, "project.bin") != data {
			t.Errorf("%s: another archive is stored", format)
		}
		again := w.PostKeyed("key of "+format, parts...)
		if w.Accepted(again).JobID != a.JobID {
			t.Errorf("%s: sent again it is another job", format)
		}
		status := w.Want(http.StatusOK, w.Call(http.MethodGet, "/api/v1/jobs/"+string(a.JobID), ""))
		for name, text := range map[string][]byte{"answer": got.Text, "second answer": again.Text, "status": status.Text} {
			var answer struct{ Inferred *job.Inferred }
			if err := json.Unmarshal(text, &answer); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, answer.Inferred); diff != "" {
				t.Errorf("%s: %s: inferred (-want +got):\n%s", format, name, diff)
			}
		}
	}
	sent := w.Accepted(w.Post(script()...))
	if text, err := json.Marshal(w.Index(sent.JobID)); err != nil || strings.Contains(string(text), "inferred") {
		t.Errorf("nothing was inferred: %s, %v", text, err)
	}
}

// TestWarnings demands that what is in an archive is warned of like files, also when the request is
// sent again.
func TestWarnings(t *testing.T) {
	w := newServer(t)
	packed := formtest.Archive("p.zip", string(archivetest.Make(t, job.Zip, "p/main.py", "", "p/pyproject.toml", "")))
	for name, parts := range map[string][]formtest.Part{
		"archive": {packed}, "files": {file("p/main.py", ""), file("p/pyproject.toml", "")},
	} {
		for range 2 {
			var answer struct{ Warnings []string }
			if err := json.Unmarshal(w.Want(http.StatusCreated, w.PostKeyed(name, parts...)).Text, &answer); err != nil {
				t.Fatal(err)
			}
			if len(answer.Warnings) != 1 || !strings.HasPrefix(answer.Warnings[0], "p/pyproject.toml: ") {
				t.Errorf("%s: got %q", name, answer.Warnings)
			}
		}
	}
}

// TestRefusedProjects demands that nothing is left of archives and files that cannot be run.
func TestRefusedProjects(t *testing.T) {
	w := newServer(t, admissiontest.Setting("MAX_ARCHIVE_ENTRIES", "10"),
		admissiontest.Setting("MAX_UNPACKED_BYTES", "1Ki"))
	many := []string{}
	for i := range 11 {
		many = append(many, fmt.Sprintf("f%d.py", i), "")
	}
	for _, format := range job.ArchiveFormats() {
		pack := func(pairs ...string) formtest.Part {
			return formtest.Archive("p", string(archivetest.Make(t, format, pairs...)))
		}
		for name, test := range map[string]struct {
			parts []formtest.Part
			field string
			want  string
		}{
			"traversal": {[]formtest.Part{pack("../x", "")}, "archive", `contains ".."`},
			"duplicate": {[]formtest.Part{pack("x.py", "", "x.py", "")}, "archive", "twice"},
			"too many": {[]formtest.Part{pack(many...)}, "archive",
				"more than 10 files and folders (MAX_ARCHIVE_ENTRIES)"},
			"too large": {[]formtest.Part{pack("x.py", strings.Repeat("x", 1025))}, "archive",
				"1024 bytes (MAX_UNPACKED_BYTES)"},
			"a file in both": {[]formtest.Part{file("x.py", ""), pack("x.py", "")}, "archive", `"x.py" is there twice`},
			"ambiguous":      {[]formtest.Part{pack("x.py", "", "y.py", "")}, "entrypoint", "x.py (python), y.py (python)"},
			"nothing to run": {[]formtest.Part{pack("x.txt", "")}, "runtime", "is required"},
			"no entrypoint": {append(script()[:1], field("entrypoint", "main.py"), pack("p/main.py", "", "p/x", "")),
				"entrypoint", "did you mean p/main.py?"},
			"entrypoint only": {[]formtest.Part{field("entrypoint", "x"), pack("x", "text", "y.py", "")}, "runtime",
				"does not follow"},
			"an unknown field": {[]formtest.Part{field("x", "y"), field("entrypoint", "main.py"), field("runtime", "python"),
				pack("main.py", "")}, "x", "not a field"},
			"another fault": {[]formtest.Part{pack("x.py", ""), field("cpu", "x")}, "cpu", "x"},
		} {
			p := w.Problem(w.Post(test.parts...), http.StatusUnprocessableEntity)
			if len(p.Errors) == 0 || strings.Contains(p.Detail,
				"no uploaded file") != (name == "no entrypoint") ||
				!strings.HasPrefix(p.Errors[0].Field, test.field) || !strings.Contains(p.Detail, test.want) {
				t.Errorf("%s, %s: got %+v, want %s with %q", format, name, p, test.field, test.want)
			}
			w.WantNothing()
		}
	}
}
