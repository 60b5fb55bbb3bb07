package admission_test

import (
	"encoding/base64"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/dependencies"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/platform"
)

// open returns the controller of a command with these settings.
func open(vars map[string]string) (*admission.Controller, error) {
	env := platform.New(vars, slog.New(slog.DiscardHandler))
	events, err := event.Open(env, nil)
	if err != nil {
		return nil, err
	}
	return admission.New(admission.Deps{Env: env, Events: events, Backend: backend.AnyRuntime{}})
}

// TestOpen reads settings, and names all that are wrong before anything is served.
func TestOpen(t *testing.T) {
	vars := map[string]string{"STORAGE_DIR": t.TempDir(), "TOKEN_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"K_SINK": "http://localhost:1"}
	c, err := open(vars)
	if err != nil {
		t.Fatal(err)
	}
	want := admission.Settings{
		MaxUpload: 4 << 30, MaxField: 1 << 20, MaxFiles: 100, MaxName: 200, MaxEntries: 50_000, MaxUnpacked: 8 << 30,
		MinFree: 256 << 20, UploadTimeout: time.Hour, DefaultTTL: 86400, MaxChained: 1000,
		Dependencies: dependencies.Online,
	}
	if diff := cmp.Diff(want, c.Settings); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{
		"DEFAULT_TTL_SECONDS": "-1", "UPLOAD_TIMEOUT": "0s", "MAX_FILES": "0", "MAX_NAME_BYTES": "0",
		"MAX_UPLOAD_BYTES": "many", "MAX_FIELD_BYTES": "x", "MIN_FREE_BYTES": "-1Gi", "MAX_CHAINED_JOBS": "0",
		"TOKEN_KEYS": "", "K_SINK": "", "STORAGE_DIR": "/dev/null/x",
	} {
		bad := map[string]string{}
		for k, v := range vars {
			bad[k] = v
		}
		bad[name] = value
		_, err := open(bad)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: got error %v", name, value, err)
		}
	}
}

// TestBadBounds makes sure that all faults of the settings are reported, and together.
func TestBadBounds(t *testing.T) {
	vars := map[string]string{
		"STORAGE_DIR": t.TempDir(),
		"TOKEN_KEYS":  base64.StdEncoding.EncodeToString([]byte(admissiontest.Key)),
		"K_SINK":      "http://sink.example",
	}
	check := func(more map[string]string) error {
		maps.Copy(more, vars)
		_, err := open(more)
		return err
	}
	err := check(map[string]string{
		"DEFAULT_MEMORY": "8Gi", "MAX_MEMORY": "4Gi", "DEFAULT_CPU": "lots", "MAX_CPU": "1e309",
		"DEFAULT_TIMEOUT_SECONDS": "-1", "MAX_TIMEOUT_SECONDS": "9999999999",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{
		"DEFAULT_MEMORY, MAX_MEMORY: the default, 8Gi, is more than a job may ask for, 4Gi",
		"DEFAULT_CPU: \"lots\"", "MAX_CPU: \"1e309\"", "DEFAULT_TIMEOUT_SECONDS: -1", "MAX_TIMEOUT_SECONDS: 9999999999",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	for _, pair := range [][2]string{{"CPU", "500m"}, {"TIMEOUT_SECONDS", "10"}} {
		bad := map[string]string{"DEFAULT_" + pair[0]: "600", "MAX_" + pair[0]: pair[1]}
		if err := check(bad); err == nil || !strings.Contains(err.Error(), "DEFAULT_"+pair[0]+", MAX_"+pair[0]) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := check(map[string]string{"MAX_TIMEOUT_SECONDS": "soon"}); err == nil ||
		!strings.Contains(err.Error(), "MAX_TIMEOUT_SECONDS: ") {
		t.Errorf("no number: %v", err)
	}
	good := map[string]string{"DEFAULT_MEMORY": "", "MAX_MEMORY": "0", "DEFAULT_CPU": "1", "MAX_CPU": "1000m",
		"DEFAULT_TIMEOUT_SECONDS": "0", "MAX_TIMEOUT_SECONDS": "60"}
	if err := check(good); err != nil {
		t.Errorf("good ones: %v", err)
	}
}
