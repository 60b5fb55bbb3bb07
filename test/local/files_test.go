package local

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// TestPrograms runs uploaded programs beside the entrypoint, and unpacks what they leave as
// programs again.
func TestPrograms(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	f := script("./tool && ! [ -x data ] && printf '#!/bin/sh\\necho made' >results/made && chmod +x results/made && " +
		"chmod u+s results/made && cp data results/\n")
	f.files["tool"], f.files["data"] = "#!/bin/sh\necho tool $0\n", "data"
	j := s.submit(f)
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if got := j.logs("tail=all"); got != "tool ./tool\n" {
		t.Errorf("log %q", got)
	}
	resp, data := j.call(http.MethodGet, "/outputs/"+j.ID+"?format=zip")
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	got := map[string]fs.FileMode{}
	for _, file := range z.File {
		got[file.Name] = file.Mode()
	}
	if diff := cmp.Diff(map[string]fs.FileMode{"made": 0o755, "data": 0o644, "stdout.log": 0o644, "stderr.log": 0o644},
		got); diff != "" {
		t.Errorf("modes in the archive (-want +got):\n%s", diff)
	}
}

// TestJavaSources runs programs of several sources.
func TestJavaSources(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	form := func(helper string) form {
		return form{runtime: "java", entrypoint: "Main.java", fields: []string{"arg=$x y"}, files: map[string]string{
			"Helper.java": helper,
			"Main.java":   `package app; class Main { public static void main(String[] a) { System.out.println(Helper.text() + a[0]); } }`,
		}}
	}
	j := s.submit(form(`package app; class Helper { static String text() { return "helped "; } }`))
	got := j.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	if log := j.logs("tail=all"); log != "helped $x y\n" || got.NotCollected != nil {
		t.Errorf("log %q, not collected %+v", log, got.NotCollected)
	}
	broken := s.submit(form("package app; class Helper {\n static String text() { return 1; } }")).wait()
	must(t, broken, job.Failed, job.ReasonError)
	if want := "it could not be compiled: Helper.java:2: error: incompatible types"; !strings.HasPrefix(broken.Message,
		want) || *broken.ExitCode != 1 {
		t.Errorf("exit code %d, message %q, want %q", *broken.ExitCode, broken.Message, want)
	}
}

// TestLeftBehind has a program write where nothing is collected, and what no storage takes.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	j := s.submit(script("echo log; mkdir -p results/stdout.log results/empty .cache/x; echo x >results/stdout.log/x; " +
		"echo x >out.csv; echo more >>data; echo x >.cache/x/y; echo x >results/kept\n"))
	got := j.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	if diff := cmp.Diff(&job.NotCollected{Count: 3, Names: []string{"data", "out.csv", ".cache/"}},
		got.NotCollected); diff != "" {
		t.Errorf("not collected (-want +got):\n%s", diff)
	}
	want := &job.Outputs{Count: 3, Bytes: 6, OmittedCount: 2, Omitted: []job.Omitted{
		{Name: "empty", Reason: "is an empty folder; only files are stored"},
		{Name: "stdout.log", Reason: "is the name of the program's own log; give the file another one"},
	}}
	if diff := cmp.Diff(want, got.Outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	if log := j.output("stdout.log"); log != "log\n" {
		t.Errorf("the log is %q", log)
	}
}
