package kubernetes

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
)

var update = flag.Bool("update", false, "write the golden files anew")

func withSettings(t *testing.T, vars map[string]string) *Settings {
	t.Helper()
	all := map[string]string{"AGENT_IMAGE": "registry.example/agent@sha256:0123",
		"ARTIFACTS_URL": "http://artifacts.jobs.svc.cluster.local"}
	for name, value := range vars {
		all[name] = value
	}
	s, err := load(platform.New(all, nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func index(change ...func(*job.Index)) *job.Index {
	id := job.ID("fe5df73070535f3b1d397b4f85a949ff")
	i := &job.Index{
		JobID: id, JobName: id.Name(), CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
		Spec: job.Spec{Runtime: "python", Entrypoint: "main.py", Args: []string{"$(HOME)"},
			Env: map[string]string{"A": "$(B)"}},
	}
	for _, f := range change {
		f(i)
	}
	return i
}

func golden(t *testing.T, name string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", path, diff)
	}
	if strings.Contains(string(got), "$(") {
		t.Error("something of the user's is where Kubernetes would expand it")
	}
}

func TestBuild(t *testing.T) {
	golden(t, "plain.yaml", withSettings(t, nil).build(index()))
	golden(t, "full.yaml", withSettings(t, map[string]string{
		"DATA_HOST_PATH": "/srv/data", "JOB_RUNTIME_CLASS": "gvisor", "JOB_USER": "1234", "KILL_GRACE": "3s",
		"COLLECT_TIMEOUT": "1m", "IMAGE_JAVA": "jdk:1",
	}).build(index(func(i *job.Index) {
		i.Runtime, i.Entrypoint, i.CPU, i.Memory, i.Retries, i.TimeoutSeconds, i.Queue = "java", "Main.java", "1500m",
			"1.5Gi", 3, 90, "team"
		i.Labels = map[string]string{
			"team": "data", "app.kubernetes.io/name": "mine", queueLabel: "other", "applyset.kubernetes.io/part-of": "x",
			"kubernetes.io/x":              "x",
			"batch.kubernetes.io/job-name": "x", "x.k8s.io/x": "x", domain + "job-id": "other",
		}
	})))
	golden(t, "secret.yaml", tokenSecret(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "run-1", UID: types.UID("u-1")}},
		"a-token"))
}

// TestBuildSecrets makes sure that a Job names secrets of the operator's and has no value.
func TestBuildSecrets(t *testing.T) {
	golden(t, "secrets.yaml", withSettings(t, nil).build(index(func(i *job.Index) {
		i.Secrets = []job.Secret{
			{Name: "OWN"}, {Name: "PASSWORD", From: "db/password", Role: "user"},
			{Name: "TOKEN", From: "api.v1", Role: "admin"}, {Name: "USER_NAME", From: "db/user", Role: "user"},
		}
	})))
}

func TestImage(t *testing.T) {
	s := withSettings(t, map[string]string{"IMAGE_NODE": "node:mine"})
	for runtime, want := range map[string]string{"python": "python:3.13-slim", "node": "node:mine",
		"java": "eclipse-temurin:21-jdk", "binary": "debian:stable-slim"} {
		if got := s.image(&job.Spec{Runtime: runtime}); got != want {
			t.Errorf("%s runs in %q, want %q", runtime, got, want)
		}
	}
	if got := s.image(&job.Spec{Runtime: "node", Image: "own:1"}); got != "own:1" {
		t.Errorf("a job's own image became %q", got)
	}
}

func TestSettings(t *testing.T) {
	for name, vars := range map[string]map[string]string{
		"AGENT_IMAGE": {}, "JOB_USER": {"JOB_USER": "0"}, "DATA_HOST_PATH": {"DATA_HOST_PATH": "data"},
		"KILL_GRACE":      {"KILL_GRACE": "0s"},
		"COLLECT_TIMEOUT": {"COLLECT_TIMEOUT": "10ms"}, "KEEP_FINISHED_JOBS": {"KEEP_FINISHED_JOBS": "1m"},
		"MAX_OUTPUT_BYTES": {"MAX_OUTPUT_BYTES": "lots"},
	} {
		if name != "AGENT_IMAGE" {
			vars["AGENT_IMAGE"] = "x"
		}
		if _, err := load(platform.New(vars, nil)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
