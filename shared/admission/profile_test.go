package admission_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/template"
)

const profiles = `
profiles:
  small:
    max: {memory: 512Mi, cpu: 1, timeoutSeconds: 60}
  gpu:
    defaults: {memory: 16Gi, timeoutSeconds: 3600}
    max: {memory: 64Gi, timeoutSeconds: 86400}
  operators:
    roles: [admin]
    max: {cpu: 64}
`

// profiled sets the profiles of a server.
func profiled(t *testing.T, document string) admissiontest.Option {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return admissiontest.Setting("PROFILES_FILE", path)
}

func as(ctx context.Context, role access.Role) context.Context {
	return access.With(ctx, access.Caller{Owner: "ann", Role: role})
}

// message returns that of the fault of a field, or "".
func message(err error, field string) string {
	var faults *job.Faults
	if errors.As(err, &faults) {
		for _, f := range faults.List {
			if f.Field == field {
				return f.Message
			}
		}
	}
	return ""
}

// TestProfiles commits jobs of profiles, whose bounds replace those of the server.
func TestProfiles(t *testing.T) {
	server := admission.Bounds{DefaultMemory: "1Gi", MaxMemory: "2Gi", DefaultCPU: "500m", MaxCPU: "2", DefaultTimeout: 600}
	withDefault := strings.Replace(profiles, "small:\n", "small:\n    default: true\n", 1)
	for name, test := range map[string]struct {
		document, profile string
		role              access.Role
		asks, gets        amounts
		has               string            // the profile of the job
		faults            map[string]string // parts of their messages, when it is refused
	}{
		"none": {profiles, "", access.User, amounts{}, amounts{"1Gi", "500m", "600"}, "", nil},
		"its defaults, and the server's": {profiles, "gpu", access.User, amounts{},
			amounts{"16Gi", "500m", "3600"}, "gpu", nil},
		"more than the server's": {profiles, "gpu", access.User, amounts{"64Gi", "", "86400"},
			amounts{"64Gi", "500m", "86400"}, "gpu", nil},
		"more than its own": {profiles, "gpu", access.User, amounts{"65Gi", "3", "86401"}, amounts{}, "",
			map[string]string{"memory": "the most is 64Gi (profile gpu)", "cpu": "the most is 2 (MAX_CPU)",
				"timeoutSeconds": "the most is 86400 (profile gpu)"}},
		"its maximum is the default, if the server's is more": {profiles, "small", access.User, amounts{},
			amounts{"512Mi", "500m", "60"}, "small", nil},
		"the default one": {withDefault, "", access.User, amounts{}, amounts{"512Mi", "500m", "60"}, "small", nil},
		"more than the default one": {withDefault, "", access.User, amounts{"1Gi", "", ""}, amounts{}, "",
			map[string]string{"memory": "the most is 512Mi (profile small)"}},
		"another than the default one": {withDefault, "gpu", access.User, amounts{}, amounts{"16Gi", "500m", "3600"}, "gpu", nil},
		"of admins":                    {profiles, "operators", access.Admin, amounts{"", "64", ""}, amounts{"1Gi", "64", "600"}, "operators", nil},
		"not of users": {profiles, "operators", access.User, amounts{"", "64", ""}, amounts{}, "",
			map[string]string{"profile": "is not a profile that you can use here; there is gpu, small"}},
		"without a caller": {profiles, "gpu", "", amounts{}, amounts{}, "", map[string]string{"profile": "no profile that you can use"}},
		"misspelt":         {profiles, "gpus", access.User, amounts{}, amounts{}, "", map[string]string{"profile": "did you mean gpu?"}},
		"no name": {profiles, "G P U", access.User, amounts{}, amounts{}, "",
			map[string]string{"profile": "is not the name of a profile"}},
		"where there are none": {"", "gpu", access.Admin, amounts{}, amounts{}, "", map[string]string{"profile": "leave the field out"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := admissiontest.New(t, nil, bounded(server), profiled(t, test.document))
			d := python()
			d.Profile, d.Memory, d.CPU = test.profile, test.asks[0], test.asks[1]
			d.TimeoutSeconds = atoi(test.asks[2])
			d.Faults = d.Validate()
			ctx := t.Context()
			if test.role != "" {
				ctx = as(ctx, test.role)
			}
			index, err := commit(ctx, w.Controller(), d, "a.py=x")
			if len(test.faults) > 0 {
				var faults *job.Faults
				if !errors.As(err, &faults) || len(faults.List) != len(test.faults) {
					t.Fatalf("got %v", err)
				}
				for field, part := range test.faults {
					if !strings.Contains(message(err, field), part) {
						t.Errorf("%s: %q is not in: %v", field, part, err)
					}
				}
				w.WantNothing()
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			recorded := w.Index(index.JobID)
			if diff := cmp.Diff(test.gets, amountsOf(&recorded.Spec)); diff != "" || recorded.Profile != test.has {
				t.Errorf("the job has profile %q (-want +got):\n%s", recorded.Profile, diff)
			}
		})
	}
}

func atoi(s string) (n int64) {
	for _, c := range s {
		n = 10*n + int64(c-'0')
	}
	return n
}

// TestTemplateProfiles starts jobs of a template whose profile the caller may not use, as an event
// without a caller does.
func TestTemplateProfiles(t *testing.T) {
	w := admissiontest.New(t, nil, profiled(t, profiles))
	c := w.Controller()
	save := func(name, profile string) *template.Version {
		t.Helper()
		d := python()
		d.Profile = profile
		templates := template.NewStore(w.Store, w.Deps.Env.Now)
		id, err := job.NewID(w.Deps.Env.Now(), w.Deps.Env.Random)
		if err != nil {
			t.Fatal(err)
		}
		if err := templates.Begin(t.Context(), name, id); err != nil {
			t.Fatal(err)
		}
		file, err := c.Put(t.Context(), template.FileKey(name, id, "a.py"), "a.py", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := templates.Save(t.Context(), template.Draft{Folder: id, Template: template.Template{
			Name: name, Owner: "ann", Spec: d.Spec, Files: []job.File{file}}})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	start := func(ctx context.Context, v *template.Version, profile string) (string, error) {
		index, err := c.FromTemplate(ctx, v, admission.Start{Change: func(spec job.Spec) (job.Spec, error) {
			if profile != "" {
				spec.Profile = profile
			}
			return spec, nil
		}})
		if err != nil {
			return "", err
		}
		return w.Index(index.JobID).Profile, nil
	}
	operators, gone := save("o", "operators"), save("g", "gone")
	if got, err := start(t.Context(), operators, ""); got != "operators" || err != nil {
		t.Errorf("by an event: %q, %v", got, err)
	}
	if got, err := start(as(t.Context(), access.User), operators, ""); got != "operators" || err != nil {
		t.Errorf("by its owner: %q, %v", got, err)
	}
	if got, err := start(as(t.Context(), access.User), operators, "gpu"); got != "gpu" || err != nil {
		t.Errorf("with another profile: %q, %v", got, err)
	}
	if _, err := start(as(t.Context(), access.User), save("s", "gpu"), "operators"); message(err, "profile") == "" {
		t.Errorf("with a profile that the caller may not use: %v", err)
	}
	if _, err := start(t.Context(), gone, ""); !strings.Contains(message(err, "profile"), "gone does not exist any more") {
		t.Errorf("whose profile is gone: %v", err)
	}
}

// TestProfileSettings demands that all faults are named, also those of the server's own bounds.
func TestProfileSettings(t *testing.T) {
	for name, test := range map[string]struct {
		document string
		want     []string
	}{
		"fits": {"profiles: {a: {defaults: {memory: 2Gi}}, b: {defaults: {memory: 4Gi}, max: {memory: 4Gi}}}", nil},
		"faults": {"profiles: {a: {defaults: {memory: 4Gi, cpu: 3}}, b: {defaults: {timeoutSeconds: 9}, max: {timeoutSeconds: 8}}, c: {x: 1}}",
			[]string{"profiles.a.defaults.memory: 4Gi is more than a job may ask for, 2Gi (MAX_MEMORY)",
				"profiles.a.defaults.cpu: 3 is more than a job may ask for, 2 (MAX_CPU)",
				"profiles.b.defaults.timeoutSeconds: 9 is more than a job may ask for, 8 (profile b)", "profiles.c.x"}},
	} {
		w := admissiontest.New(t, nil, bounded(admission.Bounds{MaxMemory: "2Gi", MaxCPU: "2"}), profiled(t, test.document))
		_, err := admission.New(w.Deps)
		if len(test.want) == 0 && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, part := range test.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q is not in: %v", name, part, err)
			}
		}
	}
}
