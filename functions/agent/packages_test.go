package agent

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/dependencies/indextest"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/secret"
)

// needs is a Python program that needs a package, in a pod whose orchestrator has an index with a
// password. Once the program runs the index is closed for it.
const needs = `# /// script
# dependencies = ["small"]
# ///
import os, small, sys, urllib.error, urllib.request
print(small.value, sys.prefix.endswith("/.venv"), [n for n in os.environ if n.startswith(("PIP_", "UV_"))])
`

// withPython has the interpreter itself come first in PATH, not a shim of a version manager.
func withPython(t *testing.T) {
	t.Helper()
	m := runtimes.Detect(t.Context(), os.Getenv("PATH"), os.Getenv("HOME"))
	if err := m.Check("python"); err != nil {
		t.Skip(err)
	}
	t.Setenv("PATH", m.SearchPath())
}

func isPython(i *job.Index) { i.Runtime = "python" }

func TestPackages(t *testing.T) {
	withPython(t)
	x := &indextest.Index{User: "robot", Password: "index-password", Absolute: true, Wheels: []indextest.Wheel{
		{Name: "small", Version: "1.0", Files: map[string]string{"small.py": "value = 42\n"}},
	}}
	index := httptest.NewServer(x)
	defer index.Close()
	at := strings.Replace(index.URL, "://", "://robot:index-password@", 1) + "/simple"
	w := newFixtureWith(t, "PIP_INDEX_URL="+at, needs, isPython)
	// The job is pending while its packages are installed.
	var seen job.Status
	x.Fail = func(http.ResponseWriter, *http.Request) bool {
		if s, err := w.Ledger.Status(t.Context(), w.index.JobID); err == nil {
			seen = *s
		}
		return false
	}
	p := w.pod("one")
	if got := p.run(); got != 0 {
		t.Errorf("the program's container ended with %d: %s", got, p.out["exec"])
	}
	end := w.terminal(job.Succeeded, job.ReasonCompleted)
	if got := w.log(); got != "42 True []\n" {
		t.Errorf("log %q", got)
	}
	if seen.Phase != job.Pending || seen.Reason != job.ReasonPreparing {
		t.Errorf("while it installed the job was %s (%s)", seen.Phase, seen.Reason)
	}
	if log := w.output(job.PrepareLogFile); !strings.Contains(log, "Successfully installed small-1.0") ||
		strings.Contains(log, x.Password) {
		t.Errorf("prepare.log: %s", log)
	}
	if end.Outputs.NotCollected != nil {
		t.Errorf("not collected: %+v", end.Outputs.NotCollected)
	}
	// The installer's way to the index is closed once the program began.
	if len(x.Asked()) == 0 {
		t.Fatal("the index was asked nothing")
	}
}

// TestPackagesAndSecrets gives a program both: its secrets come only once its packages are installed.
func TestPackagesAndSecrets(t *testing.T) {
	withPython(t)
	index := httptest.NewServer(&indextest.Index{Wheels: []indextest.Wheel{
		{Name: "small", Version: "1.0", Files: map[string]string{"small.py": "value = 42\n"}},
	}})
	defer index.Close()
	set := secret.Set{"OWN": secret.Text("hunter2hunter2")}
	program := "# /// script\n# dependencies = [\"small\"]\n# ///\n" +
		"import os, small\nprint(small.value, len(os.environ[\"OWN\"]), os.environ[\"OWN\"])\n"
	w := newFixtureWith(t, "PIP_INDEX_URL="+index.URL+"/simple", program, isPython,
		withSecrets(set, 0))
	w.seal(set)
	p := w.pod("one")
	p.paths()
	if got := p.run(); got != 0 {
		t.Errorf("the program's container ended with %d: %s", got, p.out["exec"])
	}
	w.terminal(job.Succeeded, job.ReasonCompleted)
	if got := w.log(); got != "42 14 ***\n" {
		t.Errorf("log %q", got)
	}
}

func TestPackagesFail(t *testing.T) {
	withPython(t)
	index := httptest.NewServer(&indextest.Index{})
	defer index.Close()
	w := newFixtureWith(t, "PIP_INDEX_URL="+index.URL+"/simple", needs, isPython, retries(2))
	p := w.pod("one")
	if got := p.run(); got != 0 {
		t.Errorf("the program's container ended with %d: %s", got, p.out["exec"])
	}
	end := w.terminal(job.Failed, job.ReasonDependenciesFailed)
	if len(end.Attempts) != 1 || end.ExitCode != nil || !strings.Contains(end.Message, "small") {
		t.Errorf("recorded %+v", end)
	}
	if log := w.output(job.PrepareLogFile); !strings.Contains(log, "No matching distribution found for small") {
		t.Errorf("prepare.log: %s", log)
	}
	want := p.verdict
	if err := os.Remove(filepath.Join(p.dir, "workspace", doneRecord)); err != nil { // it died just before
		t.Fatal(err)
	}
	sidecar := p.start("sidecar")
	w.until("the sidecar is done again", func() bool {
		_, err := os.Stat(filepath.Join(p.dir, "workspace", doneRecord))
		return err == nil
	})
	if p.stop(sidecar); p.verdict != want || want != executor.PodNoRetry {
		t.Errorf("the sidecar ended with %d, and %d when it was started anew", want, p.verdict)
	}
}

// TestPackagesOff leaves a program alone where nothing is installed.
func TestPackagesOff(t *testing.T) {
	withPython(t)
	w := newFixtureWith(t, "DEPENDENCIES=off",
		"# /// script\n# dependencies = [\"small\"]\n# ///\nprint('ran')\n", isPython)
	if got := w.pod("one").run(); got != 0 {
		t.Errorf("ended with %d", got)
	}
	w.terminal(job.Succeeded, job.ReasonCompleted)
}
