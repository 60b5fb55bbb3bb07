package local

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
)

// TestProfiles runs jobs whose profiles give them variables, paths and limits. The file changes while
// the server runs.
func TestProfiles(t *testing.T) {
	models, err := os.MkdirTemp("/var/tmp", "models-") // programs have a /tmp of their own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(models) })
	if err := errors.Join(os.Chmod(models, 0o755),
		os.WriteFile(filepath.Join(models, "weights"), []byte("forty-two\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "profiles.yaml")
	write := func(document string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file+".new", []byte(document), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	document := `profiles:
  models:
    description: With models
    defaults: {memory: 300Mi}
    max: {memory: 400Mi}
    process:
      env: {MODEL: small, OVERRIDDEN: profile}
      readPaths: [` + models + `]
      maxOpenFiles: 100
    kubernetes:
      pod: {spec: {nodeSelector: {gpu: "true"}}}
`
	write(document)
	s := start(t, t.TempDir(), "PROFILES_FILE="+file, "MAX_MEMORY=200Mi")
	read := "cat " + models + "/weights; echo $MODEL $OVERRIDDEN; ulimit -n"
	j := s.submit(script(read, "profile=models", `env={"OVERRIDDEN":"user"}`))
	status := j.wait()
	must(t, status, job.Succeeded, job.ReasonCompleted)
	if got := j.logs(""); got != "forty-two\nsmall user\n100\n" || status.Profile != "models" || status.Memory != "300Mi" {
		t.Errorf("profile %q, memory %q, and the log is %q", status.Profile, status.Memory, got)
	}
	// A job without the profile has none of it. Where there is no sandbox it can read everything.
	j = s.submit(script("echo $MODEL.; ulimit -n; cat " + models + "/weights"))
	status = j.wait()
	if got := j.logs("stream=stdout"); !strings.HasPrefix(got, ".\n1024\n") || status.Memory != "200Mi" {
		t.Errorf("without a profile: memory %q, and the log is %q", status.Memory, got)
	}
	refused := func(part string, fields ...string) {
		t.Helper()
		resp, body, err := s.post(script("true", fields...))
		if err != nil || resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(body), part) {
			t.Errorf("%q: %v %s", fields, err, body)
		}
	}
	refused("did you mean models?", "profile=model")
	refused("the most is 400Mi (profile models)", "profile=models", "memory=401Mi")
	refused("the most is 200Mi (MAX_MEMORY)", "memory=201Mi")
	if got := s.described(); !strings.Contains(got, `"profiles":[{"name":"models","description":"With models",`+
		`"defaults":{"memory":"300Mi"},"max":{"memory":"400Mi"}}]`) {
		t.Errorf("the server says %s", got)
	}

	// A faulty file changes nothing, and every fault is logged.
	write(strings.Replace(document, "max:", "maximum:", 1) + "  other: {roles: [nobody], process: {readPaths: [" + s.dir + "]}}\n")
	s.until("the faults are logged", func() bool {
		s.described()
		log := s.output.String()
		return strings.Contains(log, "profiles.models.maximum: ") && strings.Contains(log, "profiles.other.roles[0]: ") &&
			strings.Contains(log, "profiles.other.process.readPaths[0]: ")
	})
	must(t, s.submit(script(read, "profile=models")).wait(), job.Succeeded, job.ReasonCompleted)

	// A job whose profile is gone when it starts again fails, and says why.
	j = s.submit(script("sleep 1; exit 1", "profile=models", "retries=4"))
	write("profiles: {}\n")
	status = j.wait()
	if status.Phase != job.Failed || status.Reason != job.ReasonStartFailed ||
		!strings.Contains(status.Message, "the profile models does not exist any more") {
		t.Errorf("%s %s: %s", status.Phase, status.Reason, status.Message)
	}
	refused("there is no profile that you can use here", "profile=models")
}

// described is what the server says of itself.
func (s *server) described() string {
	s.t.Helper()
	resp, err := http.Get(s.url + "/api/v1/server")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
