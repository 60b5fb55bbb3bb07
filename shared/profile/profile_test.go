package profile_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/profile"
)

const whole = `
profiles:
  small:
    default: true
    max: {cpu: 1, memory: 1Gi}
  gpu:
    description: One GPU
    roles: [admin, user]
    defaults: {cpu: 4, memory: 16Gi, timeoutSeconds: 3600}
    max: {cpu: "8", memory: 64Gi, timeoutSeconds: 86400}
    kubernetes:
      images: {python: "registry.example.com/cuda:12"}
      queue: gpu
      pod:
        spec:
          nodeSelector: {gpu: "true"}
    process:
      env: {CUDA_VISIBLE_DEVICES: "0"}
      readPaths: [/opt/models]
      maxProcesses: 100
      maxOpenFiles: 4096
      maxWorkspaceBytes: 100Gi
      maxWorkspaceFiles: 0
  operators:
    roles: [admin]
  empty:
`

func parse(t *testing.T, document string) *profile.Set {
	t.Helper()
	s, err := profile.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParse(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	want := []*profile.Profile{
		{Name: "empty"},
		{
			Name: "gpu", Description: "One GPU", Roles: []access.Role{access.Admin, access.User},
			Defaults: profile.Amounts{CPU: "4", Memory: "16Gi", TimeoutSeconds: 3600},
			Max:      profile.Amounts{CPU: "8", Memory: "64Gi", TimeoutSeconds: 86400},
			Kubernetes: profile.Kubernetes{
				Images: map[string]string{"python": "registry.example.com/cuda:12"}, Queue: "gpu",
				Pod: []byte(`{"spec":{"nodeSelector":{"gpu":"true"}}}`),
			},
			Process: profile.Process{
				Env: map[string]string{"CUDA_VISIBLE_DEVICES": "0"}, ReadPaths: []string{"/opt/models"},
				MaxProcesses: n(100), MaxOpenFiles: n(4096), MaxWorkspaceBytes: "100Gi", MaxWorkspaceFiles: n(0),
			},
		},
		{Name: "operators", Roles: []access.Role{access.Admin}},
		{Name: "small", Default: true, Max: profile.Amounts{CPU: "1", Memory: "1Gi"}},
	}
	if diff := cmp.Diff(want, parse(t, whole).All()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, document := range []string{"", "\n", "profiles:\n", "profiles: {}\n", "# nothing\n", "{}", "null"} {
		if got := parse(t, document).All(); len(got) != 0 {
			t.Errorf("%q: got %d profiles", document, len(got))
		}
	}
}

// TestFaults demands every fault of a document at once, each with its path.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct{ document, want string }{
		"no YAML":         {"profiles: [", ":"},
		"a list":          {"- x", ":"},
		"a text":          {"x", ":"},
		"a key twice":     {"profiles:\n  a: {}\n  b: {}\n  a: {}\n  b: {}\n", ": :"},
		"of another kind": {"profiles: [a]", "profiles:"},
		"unknown fields": {"more: 1\nprofiles: {a: {more: 1, max: {gpu: 1}, process: {deny: 1, limits: {x: 1}}, kubernetes: {spec: {}}}}",
			"more: profiles.a.kubernetes.spec: profiles.a.max.gpu: profiles.a.more: profiles.a.process.deny: profiles.a.process.limits:"},
		"case of letters": {"profiles: {a: {Max: {}, max: {CPU: 1}}}", "profiles.a.Max: profiles.a.max.CPU:"},
		"names": {"profiles: {A: {}, a_b: {}, '': {}, a.b: {}, -a: {}, " + strings.Repeat("a", 64) + ": {}}",
			"profiles.-a: profiles.: profiles.A: profiles.a.b: profiles.a_b: profiles." + strings.Repeat("a", 64) + ":"},
		"types": {"profiles: {a: {description: 1}, b: {roles: admin}, c: {default: 'yes'}, d: {max: 1}, e: {max: {cpu: true}}," +
			" f: {max: {timeoutSeconds: 1m}}, g: {process: {env: {A: 1}}}, h: {process: {readPaths: /x}}, i: []}",
			"profiles.a.description: profiles.b.roles: profiles.c.default: profiles.d.max: profiles.e.max: " +
				"profiles.f.max.timeoutSeconds: profiles.g.process.env: profiles.h.process.readPaths: profiles.i:"},
		"roles": {"profiles: {a: {roles: [read, admin, root, '']}}", "profiles.a.roles[0]: profiles.a.roles[2]: profiles.a.roles[3]:"},
		"defaults": {"profiles: {a: {default: true}, b: {default: true}, c: {default: true, roles: [admin]}}",
			"profiles.b.default: profiles.c.default: profiles.c.default:"},
		"amounts": {"profiles: {a: {max: {cpu: 0, memory: 5, timeoutSeconds: -1}, defaults: {cpu: many, memory: 1e309," +
			" timeoutSeconds: 315360001}}}",
			"profiles.a.defaults.cpu: profiles.a.defaults.memory: profiles.a.defaults.timeoutSeconds: profiles.a.max.cpu: " +
				"profiles.a.max.memory: profiles.a.max.timeoutSeconds:"},
		"kubernetes": {"profiles: {a: {kubernetes: {images: {python: 'a b', perl: x, node: ''}, queue: A}}}",
			"profiles.a.kubernetes.images.node: profiles.a.kubernetes.images.perl: profiles.a.kubernetes.images.python: " +
				"profiles.a.kubernetes.queue:"},
		"process": {"profiles: {a: {process: {env: {PATH: x, 'A B': x, OK: x}, readPaths: [x, /a/../b, /a/, /ok, ''], maxProcesses: 0," +
			" maxOpenFiles: 63, maxWorkspaceBytes: -1, maxWorkspaceFiles: -1}}}",
			`profiles.a.process.env["A B"]: profiles.a.process.env["PATH"]: profiles.a.process.maxOpenFiles: ` +
				"profiles.a.process.maxProcesses: profiles.a.process.maxWorkspaceBytes: profiles.a.process.maxWorkspaceFiles: " +
				"profiles.a.process.readPaths[0]: profiles.a.process.readPaths[1]: profiles.a.process.readPaths[2]: profiles.a.process.readPaths[4]:"},
		"large": {"profiles: {a: {description: " + strings.Repeat("x", 501) + ", process: {env: {A: " + strings.Repeat("x", 1<<16) + "}}}}",
			"profiles.a.description: profiles.a.process.env:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := profile.Parse([]byte(test.document))
			var faults *job.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got %v", err)
			}
			var got []string
			for _, f := range faults.List {
				if f.Message == "" || strings.ContainsAny(f.Message, "\n") {
					t.Errorf("%s: message %q", f.Field, f.Message)
				}
				got = append(got, f.Field+":")
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("fields (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func TestTooMany(t *testing.T) {
	var document strings.Builder
	document.WriteString("profiles:\n")
	for i := range 101 {
		fmt.Fprintf(&document, "  p%d: {}\n", i)
	}
	if _, err := profile.Parse([]byte(document.String())); err == nil || !strings.Contains(err.Error(), "at most 100") {
		t.Errorf("got %v", err)
	}
}

// TestCheck demands that a profile which the caller may not use looks like none.
func TestCheck(t *testing.T) {
	s := parse(t, whole)
	const user, admin = "is not a profile that you can use here; there is empty, gpu, small",
		"is not a profile that you can use here; there is empty, gpu, operators, small"
	for _, test := range []struct {
		name string
		role access.Role
		want string
	}{
		{"gpu", access.User, ""}, {"gpu", access.Admin, ""}, {"operators", access.Admin, ""},
		{"operators", access.User, user}, {"other", access.User, user}, {"other", access.Admin, admin},
		{"gpus", access.User, user + "; did you mean gpu?"}, {"operator", access.User, user},
		{"operator", access.Admin, admin + "; did you mean operators?"},
		{"gpu", access.Read, "there is no profile that you can use here; leave the field out"},
		{"gpu", "", "there is no profile that you can use here; leave the field out"},
	} {
		if got := s.Check(test.name, test.role); got != test.want {
			t.Errorf("%s by %q: got %q, want %q", test.name, test.role, got, test.want)
		}
	}
	if got := new(profile.Set).Check("gpu", access.Admin); !strings.HasPrefix(got, "there is no profile") {
		t.Errorf("without profiles: %q", got)
	}
}

func TestList(t *testing.T) {
	s := parse(t, whole)
	want := []profile.Listed{
		{Name: "empty"},
		{Name: "gpu", Description: "One GPU", Defaults: &profile.Amounts{CPU: "4", Memory: "16Gi", TimeoutSeconds: 3600},
			Max: &profile.Amounts{CPU: "8", Memory: "64Gi", TimeoutSeconds: 86400}},
		{Name: "small", Default: true, Max: &profile.Amounts{CPU: "1", Memory: "1Gi"}},
	}
	if diff := cmp.Diff(want, s.List(access.User)); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	want = slices.Insert(want, 2, profile.Listed{Name: "operators"})
	if diff := cmp.Diff(want, s.List(access.Admin)); diff != "" {
		t.Errorf("admins (-want +got):\n%s", diff)
	}
	for _, role := range []access.Role{access.Read, ""} {
		if got := s.List(role); len(got) > 0 {
			t.Errorf("%q: got %v", role, got)
		}
	}
}

func TestOf(t *testing.T) {
	s := parse(t, whole)
	for name, want := range map[string]string{"": "small", "gpu": "gpu", "operators": "operators"} {
		if got := s.Of(&job.Spec{Profile: name}); got == nil || got.Name != want {
			t.Errorf("%q: got %v", name, got)
		}
	}
	if got := s.Of(&job.Spec{Profile: "gone"}); got != nil {
		t.Errorf("gone: got %v", got)
	}
	if got := parse(t, "profiles: {a: {}}").Of(&job.Spec{}); got != nil {
		t.Errorf("without a default: got %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a: &a [1]\nb: *a"))
	f.Fuzz(func(t *testing.T, document []byte) {
		s, err := profile.Parse(document)
		if s == nil {
			t.Fatal("no set")
		}
		var faults *job.Faults
		if err != nil && (!errors.As(err, &faults) || len(faults.List) == 0) {
			t.Errorf("got %v", err)
		}
	})
}
