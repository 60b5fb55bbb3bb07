package local

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/test/projects"
)

// TestProjects runs the projects of examples/, sent as archives.
func TestProjects(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	for _, p := range projects.All(t, "../../examples") {
		j := s.submit(form{archive: string(p.Data), fields: p.Fields})
		got := j.wait()
		must(t, got, job.Succeeded, job.ReasonCompleted)
		if log := j.logs("tail=all&stream=stdout"); log != p.Log {
			t.Errorf("%s: log %q, want %q", p.Name, log, p.Log)
		}
		if diff := cmp.Diff(&p.Inferred, got.Inferred); diff != "" {
			t.Errorf("%s: inferred (-want +got):\n%s", p.Name, diff)
		}
		if f := got.Files[0]; f.Archive != p.Format || f.Entries == 0 || f.Unpacked == 0 || !projects.OnlyCaches(got.NotCollected) {
			t.Errorf("%s: %+v, not collected %+v", p.Name, f, got.NotCollected)
		}
		resp, data := j.call(http.MethodGet, "/artifacts/"+j.ID+"/"+got.Files[0].Name)
		if resp.StatusCode != http.StatusOK || string(data) != string(p.Data) {
			t.Errorf("%s: the archive is answered with %s and %d bytes", p.Name, resp.Status, len(data))
		}
	}
}

// TestFolders sends files with folders in their names, one of which is told to be the program, and
// reads them again.
func TestFolders(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	j := s.submit(form{entrypoint: "pkg/main.py", files: map[string]string{
		"pkg/__init__.py": "", "pkg/main.py": "import pkg.m; print(open('data/x/y').read(), pkg.m.x)", "pkg/m.py": "x = 1",
		"data/x/y": "text"}})
	got := j.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	if log := j.logs("tail=all"); log != "text 1\n" || !projects.OnlyCaches(got.NotCollected) {
		t.Errorf("log %q, not collected %+v", log, got.NotCollected)
	}
	for _, name := range []string{"data/x/y", "data%2Fx%2Fy"} {
		if resp, data := j.call(http.MethodGet, "/artifacts/"+j.ID+"/"+name); string(data) != "text" {
			t.Errorf("%s: %s %s", name, resp.Status, data)
		}
	}
}

// TestOneFile sends nothing but a file.
func TestOneFile(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	resp, data, err := s.post(form{files: map[string]string{"hello.py": "print('hello')"}})
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s %v", resp.Status, data, err)
	}
	var answer struct{ Inferred job.Inferred }
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Fatal(err)
	}
	if want := (job.Inferred{Runtime: "python", Entrypoint: "hello.py"}); answer.Inferred != want {
		t.Errorf("inferred %+v", answer.Inferred)
	}
}

// TestArchives sends archives with links, with many files, and such that are refused.
func TestArchives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	links := s.submit(form{archive: string(projects.Links(t)), entrypoint: "run"})
	must(t, links.wait(), job.Succeeded, job.ReasonCompleted)
	if log := links.logs("tail=all"); log != "../run\nlinked\n" {
		t.Errorf("log %q", log)
	}
	large := s.submit(form{archive: string(projects.Large(t, 5000))})
	got := large.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	if log := large.logs("tail=all"); strings.TrimSpace(log) != "5000" || got.NotCollected != nil {
		t.Errorf("log %q, not collected %+v", log, got.NotCollected)
	}
	for name, test := range map[string]struct {
		form form
		want string
	}{
		"escape":     {form{archive: string(projects.Escape(t))}, `archive: \"../escaped.py\": contains \"..\"`},
		"no archive": {form{archive: "text"}, "archive: is not an archive"},
		"no program": {form{archive: string(projects.Links(t)), runtime: "binary", entrypoint: "nun"}, "did you mean run?"},
		"ambiguous": {form{files: map[string]string{"a.py": "", "b.js": ""}},
			"several files can be run: "},
	} {
		resp, data, err := s.post(test.form)
		if err != nil || resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(data), test.want) {
			t.Errorf("%s: %s %s %v, want %q", name, resp.Status, data, err, test.want)
		}
	}
	if found, err := filepath.Glob(filepath.Join(dir, "escaped.py")); err != nil || len(found) > 0 {
		t.Errorf("escaped: %q, %v", found, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "escaped.py")); err == nil {
		t.Error("a file lies above the storage")
	}
}
