package one_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go-job-orchestrator/functions/keys"
	"go-job-orchestrator/functions/one"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// open opens the API with these settings, over a backend that runs nothing. asked counts how often
// the backend is told that a job is about to come.
func open(t *testing.T, settings map[string]string) (h http.Handler, asked *int, err error) {
	t.Helper()
	vars := map[string]string{
		"AUTH": "open", "STORAGE_DIR": t.TempDir(), "TOKEN_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"ORCH_BASE_URL": "http://jobs.space.svc.cluster.local",
	}
	maps.Copy(vars, settings)
	asked = new(int)
	functions, err := one.Open(platform.New(vars, slog.New(slog.DiscardHandler)), one.Deps{
		Backend: func(*platform.Env, *ledger.Ledger) (backend.Backend, error) {
			b := backend.Remote()
			b.Expect = func() { *asked++ }
			return b, nil
		},
		Keyring: func(*platform.Env) (keys.Store, error) { return nil, nil }, //nolint:nilnil // no keys are made
	})
	if err != nil {
		return nil, asked, err
	}
	return functions.Router, asked, nil
}

// TestOutside makes the calls of agents at the names by which pods and others reach the Service.
func TestOutside(t *testing.T) {
	const inside, public = "jobs.space.svc.cluster.local", "jobs.space.example.com"
	mapped := http.Header{"K-Original-Host": {public}}
	for name, test := range map[string]struct {
		settings map[string]string
		host     string
		header   http.Header
		hidden   bool
	}{
		"from a pod":         {nil, inside, nil, false},
		"with a port":        {nil, inside + ":80", nil, false},
		"in capitals":        {nil, strings.ToUpper(inside), nil, false},
		"at the public URL":  {nil, public, nil, true},
		"at a shorter name":  {nil, "jobs.space", nil, true},
		"by a DomainMapping": {nil, inside, mapped, true},
		"where pods call": {map[string]string{"ARTIFACTS_URL": "http://agents.example:8080"}, "agents.example:8080", nil,
			false},
		"where pods call, by IPv6": {map[string]string{"ARTIFACTS_URL": "http://[fd00::1]:8080"}, "[fd00::1]:8080", nil,
			false},
		"by IPv6 without a port":  {map[string]string{"ARTIFACTS_URL": "http://[fd00::1]"}, "[fd00::1]", nil, false},
		"at another IPv6 address": {map[string]string{"ARTIFACTS_URL": "http://[fd00::1]"}, "[fd00::2]", nil, true},
		"where pods do not call":  {map[string]string{"ARTIFACTS_URL": "http://agents.example"}, inside, nil, true},
		"exposed":                 {map[string]string{"EXPOSE_ARTIFACT_UPLOADS": "true"}, public, nil, false},
		"exposed by a mapping":    {map[string]string{"EXPOSE_ARTIFACT_UPLOADS": "true"}, inside, mapped, false},
		"exposed, called by pods": {map[string]string{"EXPOSE_ARTIFACT_UPLOADS": "true"}, inside, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, err := open(t, test.settings)
			if err != nil {
				t.Fatal(err)
			}
			call := func(method, path string) (int, api.Problem) {
				t.Helper()
				r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
				r.Host = test.host
				maps.Copy(r.Header, test.header)
				r.Header.Set("Authorization", "Bearer x")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				var p api.Problem
				_ = json.Unmarshal(w.Body.Bytes(), &p)
				return w.Code, p
			}
			const job = "/fe6aa1b2c3d4000102030405060708f1"
			for _, path := range []string{"/agent/v1/jobs" + job + "/attempts", "/agent/v1/jobs" + job + "/plan"} {
				code, problem := call(http.MethodPost, path)
				want := http.StatusForbidden // it is no token of that job
				if test.hidden {
					want = http.StatusNotFound
				}
				if code != want || test.hidden && !strings.Contains(problem.Detail, "no such path") {
					t.Errorf("%s: %d %s, want %d", path, code, problem.Detail, want)
				}
			}
			if code, problem := call(http.MethodGet, "/api/v1/jobs"); code != http.StatusOK {
				t.Errorf("a public call: %d %s", code, problem.Detail)
			}
		})
	}
}

// TestExpect tells the backend that a job comes: at the start, and before a job is read.
func TestExpect(t *testing.T) {
	h, asked, err := open(t, nil)
	if err != nil || *asked != 1 {
		t.Fatalf("asked %d times at the start, %v", *asked, err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/jobs", strings.NewReader("no form"))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if *asked != 2 {
		t.Errorf("asked %d times, want 2", *asked)
	}
}

// TestFaults names all faults of the settings at once.
func TestFaults(t *testing.T) {
	_, _, err := open(t, map[string]string{"ARTIFACTS_URL": "here", "AUTH": "nobody", "FOLLOW_TIMEOUT": "never"})
	for _, name := range []string{"ARTIFACTS_URL", "AUTH", "FOLLOW_TIMEOUT"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
}
