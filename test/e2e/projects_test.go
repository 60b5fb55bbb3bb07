//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/test/projects"
)

// TestProjects runs the projects of examples/ in pods, sent as archives, and files with folders in
// their names.
func TestProjects(t *testing.T) {
	t.Parallel()
	all := append(projects.All(t, "../../examples"),
		projects.Project{Name: "links", Format: job.Tar, Data: projects.Links(t), Fields: []string{"entrypoint=run"},
			Inferred: job.Inferred{Runtime: "binary"}, Log: "../run\nlinked\n"},
		projects.Project{Name: "many files", Format: job.TarZstd, Data: projects.Large(t, 2000),
			Inferred: job.Inferred{Runtime: "binary", Entrypoint: "run"}, Log: "2000\n"})
	for _, p := range all {
		t.Run(p.Name, func(t *testing.T) {
			j := installed(t).submit(t, form{archive: p.Data, fields: pairs(p.Fields)})
			j.ends("Succeeded", "Completed")
			if log := j.logs("tail=all&stream=stdout"); log != p.Log {
				t.Errorf("log %q, want %q", log, p.Log)
			}
			var got job.Status
			_, data := j.call(http.MethodGet, "/api/v1/jobs/"+j.ID)
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&p.Inferred, got.Inferred); diff != "" || got.Files[0].Archive != p.Format ||
				!projects.OnlyCaches(got.NotCollected) {
				t.Errorf("%+v, not collected %+v, inferred (-want +got):\n%s", got.Files[0], got.NotCollected, diff)
			}
		})
	}
	f := script("python", "pkg/main.py", "import pkg.m; print(open('data/x/y').read(), pkg.m.x)")
	f.files["pkg/m.py"], f.files["data/x/y"] = strings.NewReader("x = 1"), strings.NewReader("text")
	j := installed(t).submit(t, f)
	j.ends("Succeeded", "Completed")
	if log := j.logs("tail=all"); log != "text 1\n" {
		t.Errorf("folders: log %q", log)
	}
	resp, body := installed(t).post(t, form{archive: projects.Escape(t)})
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(body), "escaped.py") {
		t.Errorf("an escape: %s %s", resp.Status, body)
	}
}

// pairs are fields that are written as name=value.
func pairs(fields []string) (list [][2]string) {
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		list = append(list, [2]string{name, value})
	}
	return list
}
