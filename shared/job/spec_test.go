package job_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

func goodSpec() job.Spec {
	return job.Spec{Runtime: "python", Entrypoint: "main.py"}
}

// faultyFields returns the fields at fault, sorted.
func faultyFields(t *testing.T, err error) []string {
	t.Helper()
	fields := []string{}
	if err == nil {
		return fields
	}
	var faults *job.Faults
	if !errors.As(err, &faults) || !errors.Is(err, job.ErrInvalid) {
		t.Fatalf("error %v; want Faults of kind ErrInvalid", err)
	}
	for _, f := range faults.List {
		if f.Message == "" || !strings.Contains(err.Error(), f.Field+": "+f.Message) {
			t.Errorf("fault %+v is empty or not in %q", f, err)
		}
		fields = append(fields, f.Field)
	}
	slices.Sort(fields)
	return fields
}

func TestValidate(t *testing.T) {
	many := map[string]string{}
	for i := range 33 {
		many[fmt.Sprint("l", i)] = "v"
	}
	for _, test := range []struct {
		name   string
		change func(*job.Spec)
		want   []string
	}{
		{"nothing wrong", func(*job.Spec) {}, nil},
		{"all set", func(s *job.Spec) {
			*s = job.Spec{Runtime: "binary", Entrypoint: "prog", Args: []string{"", "-x", "日本", "a\nb"},
				Env:    map[string]string{"A": "", "b.c-d": "x\ty", "1": "é"},
				Labels: map[string]string{"team": "", "example.com/x": "A_b.c-9"},
				Image:  "registry.example.com:5000/a/b:1@sha256:" + strings.Repeat("0", 64), Profile: "gpu-1", CPU: "500m", Memory: "1Gi",
				TimeoutSeconds: job.MaxSeconds, TTLSecondsAfterFinished: job.MaxSeconds, Retries: job.MaxRetries}
		}, nil},
		{"everything wrong", func(s *job.Spec) {
			*s = job.Spec{Args: []string{"ok", "\x00", "\xff"}, Env: map[string]string{"": "x", "A=B": "x", "PATH": "x",
				"OK": "\x00"},
				Labels: map[string]string{"-": "x", "ok": "not ok"}, Image: "not an image", Profile: "GPU", CPU: "many", Memory: "1",
				TimeoutSeconds: -1, TTLSecondsAfterFinished: -1, Retries: -1}
		}, []string{`args[1]`, `args[2]`, "cpu", `env[""]`, `env["A=B"]`, `env["OK"]`, `env["PATH"]`, "image",
			`labels["-"]`, `labels["ok"]`, "memory", "profile", "retries", "timeoutSeconds", "ttlSecondsAfterFinished"}},
		{"to be inferred", func(s *job.Spec) { s.Runtime, s.Entrypoint = "", "" }, nil},
		{"entrypoint in a folder", func(s *job.Spec) { s.Entrypoint = "pkg/main.py" }, nil},
		{"entrypoint above", func(s *job.Spec) { s.Entrypoint = "../main.py" }, []string{"entrypoint"}},
		{"entrypoint out of a folder", func(s *job.Spec) { s.Entrypoint = "a/../../main.py" }, []string{"entrypoint"}},
		{"absolute entrypoint", func(s *job.Spec) { s.Entrypoint = "/bin/sh" }, []string{"entrypoint"}},
		{"largest argument", func(s *job.Spec) { s.Args = []string{strings.Repeat("x", job.MaxArgBytes)} }, nil},
		{"too large an argument", func(s *job.Spec) { s.Args = []string{strings.Repeat("x", job.MaxArgBytes+1)} },
			[]string{"args[0]"}},
		{"largest variable", func(s *job.Spec) { s.Env = map[string]string{"A": strings.Repeat("x", job.MaxArgBytes-2)} },
			nil},
		{"too large a variable",
			func(s *job.Spec) { s.Env = map[string]string{"A": strings.Repeat("x", job.MaxArgBytes-1)} }, []string{`env["A"]`}},
		{"too much together", func(s *job.Spec) { s.Args = slices.Repeat([]string{strings.Repeat("x", 1<<17-10)}, 8) }, nil},
		{"too much together with pointers", func(s *job.Spec) { s.Args = make([]string, 1<<20/9+1) }, []string{"args"}},
		{"too much together with variables", func(s *job.Spec) {
			s.Args = slices.Repeat([]string{strings.Repeat("x", 1<<17-10)}, 8)
			s.Env = map[string]string{"A": strings.Repeat("x", 1000)}
		}, []string{"args"}},
		{"most labels", func(s *job.Spec) { s.Labels = many; delete(many, "l0") }, nil},
		{"too many labels", func(s *job.Spec) { s.Labels = many; many["l0"] = "v" }, []string{"labels"}},
		{"reserved labels", func(s *job.Spec) {
			s.Labels = map[string]string{job.TemplateLabel: "x", "GO-job-orchestrator/x": "x",
				"go-job-orchestrator.github.io/job-id": "x", "kueue.x-k8s.io/queue-name": "x"}
		}, []string{`labels["GO-job-orchestrator/x"]`, `labels["go-job-orchestrator.github.io/job-id"]`,
			`labels["go-job-orchestrator/template"]`, `labels["kueue.x-k8s.io/queue-name"]`}},
		{"labels beside those", func(s *job.Spec) {
			s.Labels = map[string]string{"go-job-orchestrator": "x", "x.go-job-orchestrator/template": "x",
				"go-job-orchestrator.example.com/x": "x"}
		}, nil},
		{"too long a time", func(s *job.Spec) {
			s.TimeoutSeconds, s.TTLSecondsAfterFinished = job.MaxSeconds+1,
				job.MaxSeconds+1
		}, []string{"timeoutSeconds", "ttlSecondsAfterFinished"}},
		{"packages left to the server", func(s *job.Spec) { s.Dependencies = job.DependenciesAuto }, nil},
		{"no packages", func(s *job.Spec) { s.Dependencies = job.DependenciesOff }, nil},
		{"packages of another kind", func(s *job.Spec) { s.Dependencies = "online" }, []string{"dependencies"}},
		{"too many retries", func(s *job.Spec) { s.Retries = job.MaxRetries + 1 }, []string{"retries"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := goodSpec()
			test.change(&s)
			if test.want == nil {
				test.want = []string{}
			}
			if diff := cmp.Diff(test.want, faultyFields(t, s.Validate())); diff != "" {
				t.Errorf("fields at fault (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnvNames(t *testing.T) {
	good := []string{"A", "a", "_", "1A", "A.B", "A-B", "a b"[:1], "!", "~", "HOMEX", "path", "LD_PRELOAD",
		strings.Repeat("N", 256)}
	bad := append([]string{"", "=", "A=", "=A", "A B", " A", "A\t", "A\n", "A\x00", "É", "变", "\xff", "A\x7f",
		strings.Repeat("N", 257)}, job.ReservedEnv()...)
	for _, name := range good {
		s := goodSpec()
		s.Env = map[string]string{name: "v"}
		if err := s.Validate(); err != nil {
			t.Errorf("variable %q: %v", name, err)
		}
	}
	for _, name := range bad {
		s := goodSpec()
		s.Env = map[string]string{name: "v"}
		if diff := cmp.Diff([]string{fmt.Sprintf("env[%q]", name)}, faultyFields(t, s.Validate())); diff != "" {
			t.Errorf("variable %.20q (-want +got):\n%s", name, diff)
		}
	}
}

func TestCheckLabel(t *testing.T) {
	long63, long64 := strings.Repeat("x", 63), strings.Repeat("x", 64)
	for _, test := range []struct {
		key, value string
		ok         bool
	}{
		{"a", "", true}, {"a", "b", true}, {"A-b_c.9", "A-b_c.9", true}, {"example.com/a", "b", true},
		{"x-y.z0/a", "", true}, {long63, long63, true},
		{strings.Repeat("d", 253) + "/a", "", true},
		{"", "", false}, {long64, "", false}, {"a", long64, false}, {"-a", "", false}, {"a-", "", false}, {".a", "", false},
		{"a_", "", false}, {"a b", "", false}, {"a", "b c", false},
		{"a", "-", false}, {"a", "b-", false}, {"/a", "", false}, {"a/", "", false}, {"a/b/c", "", false},
		{"Example.com/a", "", false}, {"a..b/c", "", false}, {"-a/b", "", false},
		{strings.Repeat("d", 254) + "/a", "", false}, {"é", "", false}, {"a", "é", false}, {"a\n", "", false},
		{"a", "b\n", false}, {"a=b", "", false}, {"a", "b=c", false}, {"a,b", "", false},
	} {
		if message := job.CheckLabel(test.key, test.value); (message == "") != test.ok {
			t.Errorf("CheckLabel(%.20q, %.20q) = %q; want ok %v", test.key, test.value, message, test.ok)
		}
	}
}

func TestImages(t *testing.T) {
	for image, ok := range map[string]bool{
		"": true, "python": true, "python:3.13-slim": true, "docker.io/library/python@sha256:" +
			strings.Repeat("a", 64): true, "localhost:5000/x": true, strings.Repeat("x", 512): true,
		" python": false, "python ": false, "-x": false, "/x": false, "a b": false, "x\n": false, "é": false, "x;y": false,
		"$(x)": false, strings.Repeat("x", 513): false,
	} {
		s := goodSpec()
		s.Image = image
		if err := s.Validate(); (err == nil) != ok {
			t.Errorf("image %.20q: %v; want ok %v", image, err, ok)
		}
	}
}

func TestFaults(t *testing.T) {
	err := fmt.Errorf("submit: %w", job.Refuse(job.ErrGone, "key", "is gone"))
	if !errors.Is(err, job.ErrGone) || errors.Is(err, job.ErrInvalid) || err.Error() != "submit: key: is gone" {
		t.Errorf("Refuse gives %v", err)
	}
	if err := job.Invalid("", "no field"); err.Error() != "no field" || !errors.Is(err, job.ErrInvalid) {
		t.Errorf("Invalid gives %v", err)
	}
}

func TestPhases(t *testing.T) {
	want := map[job.Phase]bool{job.Pending: false, job.Running: false, job.Succeeded: true, job.Failed: true,
		job.Cancelled: true}
	got := map[job.Phase]bool{}
	for _, p := range job.Phases() {
		got[p] = p.Terminal()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("phases that are terminal (-want +got):\n%s", diff)
	}
}
