package function

import (
	"bytes"
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	middleware "knative.dev/func-go/http"
	"sigs.k8s.io/yaml"

	"go-job-orchestrator/functions/keys"
	"go-job-orchestrator/functions/one"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/kubernetes"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// The interfaces that func's middleware looks for in the result of New.
var (
	_ middleware.Handler           = (*Function)(nil)
	_ middleware.Starter           = (*Function)(nil)
	_ middleware.Stopper           = (*Function)(nil)
	_ middleware.ReadinessReporter = (*Function)(nil)
)

// TestShape looks at this package as func does before it writes the main: at all Go files, tests
// included, for functions named New and Handle, of which there must be one.
func TestShape(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 2 {
		t.Fatalf("got %q, %v", files, err)
	}
	var found []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Name.Name != "function" {
			t.Errorf("%s is of package %s", file, parsed.Name.Name)
		}
		for _, declaration := range parsed.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if ok && f.Recv == nil && (f.Name.Name == "New" || f.Name.Name == "Handle") {
				found = append(found, f.Name.Name)
			}
		}
	}
	if !slices.Equal(found, []string{"New"}) {
		t.Errorf("got %q, want New alone", found)
	}
}

// described is the part of func.yaml's schema, 0.36.0, that the project uses.
type described struct {
	SpecVersion string    `json:"specVersion"`
	Name        string    `json:"name"`
	Runtime     string    `json:"runtime"`
	Namespace   string    `json:"namespace"`
	Created     time.Time `json:"created"`
	Build       struct {
		BuildEnvs []variable `json:"buildEnvs"`
	} `json:"build"`
	Run struct {
		Volumes []struct {
			Claim *struct {
				Name string `json:"claimName"`
			} `json:"persistentVolumeClaim"`
			EmptyDir *struct{} `json:"emptyDir"`
			Secret   string    `json:"secret"`
			Path     string    `json:"path"`
		} `json:"volumes"`
		Envs []variable `json:"envs"`
	} `json:"run"`
	Deploy struct {
		Namespace       string            `json:"namespace"`
		ServiceAccount  string            `json:"serviceAccountName"`
		HealthEndpoints map[string]string `json:"healthEndpoints"`
		Options         struct {
			Scale     map[string]int `json:"scale"`
			Resources struct {
				Requests map[string]string `json:"requests"`
				Limits   map[string]string `json:"limits"`
			} `json:"resources"`
		} `json:"options"`
	} `json:"deploy"`
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func TestDescription(t *testing.T) {
	text, err := os.ReadFile("func.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d described
	if err := yaml.UnmarshalStrict(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.SpecVersion != "0.36.0" || d.Runtime != "go" || d.Name == "" || d.Created.IsZero() ||
		d.Namespace != d.Deploy.Namespace {
		t.Errorf("got %+v", d)
	}
	keys := ""
	for _, v := range d.Run.Volumes {
		sources := 0
		for _, has := range []bool{v.Claim != nil, v.EmptyDir != nil, v.Secret != ""} {
			if has {
				sources++
			}
		}
		if !filepath.IsAbs(v.Path) || sources != 1 {
			t.Errorf("volume %+v; want one source and a path", v)
		}
		if v.Secret == kubernetes.KeysSecret {
			keys = v.Path
		}
	}
	if want := keys + "/" + kubernetes.KeysEntry; keys == "" || want != one.InCluster().KeysFile {
		t.Errorf("the keys are mounted at %q, and read from %s", keys, one.InCluster().KeysFile)
	}
	var names []string
	for _, v := range d.Run.Envs {
		names = append(names, v.Name)
		if v.Name == "TOKEN_KEYS" && !strings.HasPrefix(v.Value, "{{ secret:") {
			t.Errorf("TOKEN_KEYS: got %q; secrets are in the cluster", v.Value)
		}
	}
	for _, name := range []string{"TOKEN_KEYS", "AGENT_IMAGE", "ARTIFACTS_URL", ""} {
		if !slices.Contains(names, name) {
			t.Errorf("%q is not set", name)
		}
	}
}

// recorder is a launcher that records its calls.
type recorder chan job.ID

func (r recorder) Launch(_ context.Context, index *job.Index) error {
	r <- index.JobID
	return nil
}

func recording(r recorder) backend.Backend {
	b := backend.Remote()
	b.Launcher = r
	return b
}

func settings(t *testing.T) map[string]string {
	return map[string]string{"AUTH": "open", "STORAGE_DIR": t.TempDir(), "TOKEN_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"REAP_INTERVAL": "1h"}
}

// noKeyring is for tests that make no keys.
func noKeyring(*platform.Env) (keys.Store, error) { return nil, nil } //nolint:nilnil // it is not used

// serveHere serves the function through func's middleware, with a server that gives requests little
// time.
func serveHere(t *testing.T) (*httptest.Server, recorder) {
	t.Helper()
	launched := make(recorder, 10)
	f := New()
	f.log = slog.New(slog.DiscardHandler)
	f.deps.Backend = func(*platform.Env, *ledger.Ledger) (backend.Backend, error) { return recording(launched), nil }
	f.deps.Keyring = noKeyring
	service := middleware.New(f)
	server := httptest.NewUnstartedServer(service.Handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = limit, limit
	server.Start()
	if ready, err := f.Ready(t.Context()); ready || err != nil {
		t.Errorf("before Start: ready %v, %v", ready, err)
	}
	if err := f.Start(t.Context(), settings(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		if err := f.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server, launched
}

// limit is what the middleware has 30 s for.
const limit = 300 * time.Millisecond

func call(t *testing.T, server *httptest.Server, method, path, bearer, kind string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	r.Header.Set("Content-Type", kind)
	got, err := server.Client().Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	t.Cleanup(func() { got.Body.Close() })
	return got
}

func form(t *testing.T) (kind string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, value := range map[string]string{"runtime": "binary", "entrypoint": "hello"} {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	part, err := w.CreateFormFile("files", "hello")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(part, "#!/bin/sh\necho hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

// slowly is a body that takes longer than the server's limits.
type slowly struct {
	rest []byte
	sent bool
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	if s.sent {
		time.Sleep(2 * limit) // the time that passes is what is tested
	}
	s.sent = true
	n := copy(p, s.rest[:(len(s.rest)+1)/2])
	if n < 20 {
		n = copy(p, s.rest)
	}
	s.rest = s.rest[n:]
	return n, nil
}

// TestWholeAPI has one job accepted slowly, launched, looked at, followed for longer than the
// server allows, cancelled and removed.
func TestWholeAPI(t *testing.T) {
	server, launched := serveHere(t)
	kind, body := form(t)
	got := call(t, server, "POST", "/api/v1/jobs", "", kind, &slowly{rest: body})
	var accepted struct {
		JobID job.ID
		Token string
	}
	if err := json.NewDecoder(got.Body).Decode(&accepted); err != nil || got.StatusCode != http.StatusCreated {
		t.Fatalf("submit: got %s, %v", got.Status, err)
	}
	select {
	case id := <-launched:
		if id != accepted.JobID {
			t.Errorf("launched %s, want %s", id, accepted.JobID)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("submit's event did not reach launch")
	}
	path := "/api/v1/jobs/" + string(accepted.JobID)
	for name, status := range map[string]int{
		"/api/v1/jobs": 200, path: 200, path + "/logs": 200, "/outputs/" + string(accepted.JobID): 409,
		"/artifacts/" + string(accepted.JobID) + "/hello": 200, "/openapi.yaml": 200, "/healthz": 200,
		"/health/readiness": 200, "/nothing": 404,
	} {
		if got := call(t, server, "GET", name, accepted.Token, "", nil); got.StatusCode != status {
			t.Errorf("GET %s: got %s", name, got.Status)
		}
	}
	if got := call(t, server, "POST", "/", "", "application/json",
		strings.NewReader("{}")); got.StatusCode != http.StatusNotFound {
		t.Errorf("POST /: got %s; launch is not for the public", got.Status)
	}
	followed := call(t, server, "GET", path+"/logs?follow=true", accepted.Token, "", nil)
	time.Sleep(2 * limit) // see above
	if got := call(t, server, "POST", path+"/cancel", accepted.Token, "", nil); got.StatusCode != http.StatusOK {
		t.Errorf("cancel: got %s", got.Status)
	}
	if _, err := io.Copy(io.Discard, followed.Body); err != nil || followed.Trailer.Get("Job-Phase") != "Cancelled" {
		t.Errorf("follow: %v, trailers %v; want the job's end", err, followed.Trailer)
	}
	if got := call(t, server, "DELETE", path, accepted.Token, "", nil); got.StatusCode != http.StatusNoContent {
		t.Errorf("delete: got %s", got.Status)
	}
}

func TestFaultsInSettings(t *testing.T) {
	for name, change := range map[string]func(map[string]string){
		"TOKEN_KEYS":       func(s map[string]string) { delete(s, "TOKEN_KEYS") },
		"MAX_UPLOAD_BYTES": func(s map[string]string) { s["MAX_UPLOAD_BYTES"] = "lots" },
		"STORAGE_DIR":      func(s map[string]string) { s["STORAGE_DIR"] = "/dev/null/x" },
	} {
		f := New()
		f.log = slog.New(slog.DiscardHandler)
		f.deps.Backend = func(*platform.Env, *ledger.Ledger) (backend.Backend, error) { return recording(make(recorder)), nil }
		f.deps.Keyring = noKeyring
		s := settings(t)
		change(s)
		if err := f.Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want an error that names %s", err, name)
		}
		if err := f.Stop(t.Context()); err != nil {
			t.Errorf("Stop without a start: %v", err)
		}
	}
}

// TestNames makes sure that func's own server does not answer to a host name that a page of another
// site could have.
func TestNames(t *testing.T) {
	server, _ := serveHere(t)
	for host, want := range map[string]int{"localhost": http.StatusOK, "evil.example": http.StatusMisdirectedRequest} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/jobs", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		got, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = got.Body.Close()
		if got.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, got.Status, want)
		}
	}
}
