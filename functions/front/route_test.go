package front_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"go-job-orchestrator/functions/front"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/settings"
)

const id = "fe5df73070535f3b1d397b4f85a949ff"

// TestWakes has the function started that most requests need, as soon as front starts itself.
func TestWakes(t *testing.T) {
	called := make(chan string, 1)
	next := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.URL.Path }))
	defer next.Close()
	newFixture(t, "WAKE="+next.URL)
	if got := <-called; got != "/healthz" {
		t.Errorf("called %s", got)
	}
}

func TestRoutes(t *testing.T) {
	w := newFixture(t)
	for _, test := range []struct{ method, path, backend string }{
		{"POST", "/api/v1/jobs", "submit"},
		{"POST", "/events?template=nightly", "submit"},
		{"OPTIONS", "/events?template=nightly", "submit"},
		{"GET", "/api/v1/templates", "submit"},
		{"PUT", "/api/v1/templates/x", "submit"},
		{"GET", "/api/v1/templates/x", "submit"},
		{"DELETE", "/api/v1/templates/x", "submit"},
		{"POST", "/api/v1/templates/x/jobs", "submit"},
		{"GET", "/api/v1/jobs", "status"},
		{"GET", "/api/v1/jobs?limit=2&label=a%3Db&label=c", "status"},
		{"GET", "/api/v1/jobs?limit=%zz;x", "status"}, // the function says what is wrong with it
		{"GET", "/api/v1/jobs/" + id, "status"},
		{"GET", "/api/v1/jobs/" + id + "/events", "status"},
		{"GET", "/api/v1/server", "status"},
		{"GET", "/api/v1/jobs/" + id + "/token", "submit"},
		{"GET", "/api/v1/jobs/" + id + "/logs?follow=true", "logs"},
		{"POST", "/api/v1/jobs/" + id + "/cancel", "cancel"},
		{"DELETE", "/api/v1/jobs/" + id, "cancel"},
		{"GET", "/artifacts/" + id + "/index.json", "artifacts"},
		{"HEAD", "/artifacts/" + id + "/a%20b", "artifacts"},
		{"GET", "/artifacts/" + id + "/inputs%2Fdeep/a", "artifacts"},
		{"GET", "/outputs/" + id, "outputs"},
		{"GET", "/outputs/" + id + "/", "outputs"},
		{"HEAD", "/outputs/" + id + "/x", "outputs"},
		{"GET", "/outputs/" + id + "/%E2%82%AC/..%20/...?format=zip", "outputs"},
		{"GET", "/outputs/" + id + "/%252e%252e/x", "outputs"}, // a name that looks encoded
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			got, _ := w.do(w.request(test.method, test.path, nil))
			if got.StatusCode != http.StatusOK || got.Header.Get("Backend") != test.backend {
				t.Fatalf("got %s from %q, want %s", got.Status, got.Header.Get("Backend"), test.backend)
			}
			if want := test.method + " " + test.path; got.Header.Get("Got") != want {
				t.Errorf("%s got %q, want %q", test.backend, got.Header.Get("Got"), want)
			}
			if want := strings.TrimPrefix(w.servers[test.backend].URL, "http://"); got.Header.Get("Got-Host") != want {
				t.Errorf("Host: got %q, want that of the function, %q", got.Header.Get("Got-Host"), want)
			}
		})
	}
}

// TestTable demands that each public call of the table reaches its function, and that other calls
// do not.
func TestTable(t *testing.T) {
	values := strings.NewReplacer(":id", id, "*filename", "deep/er%2Fname", ":name", "x", ":number", "1", ":segment", "s",
		":stream", "stdout")
	for exposed, w := range map[bool]*fixture{true: newFixture(t, "EXPOSE_ARTIFACT_UPLOADS=true"), false: newFixture(t)} {
		for _, r := range routes.All() {
			want := ""
			if r.Reach == routes.Public || exposed && r.Reach == routes.Pods {
				want = string(r.Function.Service())
			}
			own := r.Function == routes.Every || r.Function == routes.Gateway || r.Function == routes.Metrics
			if own {
				want = ""
			}
			got, _ := w.do(w.request(r.Method, values.Replace(r.Path), nil))
			if got.Header.Get("Backend") != want {
				t.Errorf("%s, uploads %t: got %s from %q, want %q", r, exposed, got.Status, got.Header.Get("Backend"), want)
			}
			if unreachable := want == "" && !own; unreachable && got.StatusCode != http.StatusNotFound &&
				got.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s, uploads %t: got %s, want nothing there", r, exposed, got.Status)
			}
		}
	}
}

// TestAllow compares the methods that the front allows with the description of the API, with the
// agents' uploads and without.
func TestAllow(t *testing.T) {
	parameter := regexp.MustCompile(`\{[^}]+\}`)
	const upload = "/artifacts/{jobID}/upload/{filename}"
	for exposed, w := range map[bool]*fixture{true: newFixture(t, "EXPOSE_ARTIFACT_UPLOADS=true"), false: newFixture(t)} {
		for path, methods := range describedMethods(t) {
			if strings.HasPrefix(path, "/artifacts/") && !strings.HasSuffix(path, "{filename}") {
				continue // one of the files that may have any name
			}
			var want []string
			if exposed || path != upload {
				want = methods
			}
			if path == upload { // as a file that is read, it may have this name
				want = append(want, "GET", "HEAD")
			}
			if path == "/api/v1/jobs/events" { // as the ID of a job, which it is not
				want = append(want, "DELETE")
			}
			slices.Sort(want)
			for _, method := range []string{"PROBE", "OPTIONS"} {
				if slices.Contains(want, method) {
					continue // it reaches the function, which says itself what it allows
				}
				got, body := w.do(w.request(method, parameter.ReplaceAllString(path, "x"), nil))
				w.problem(got, body, http.StatusMethodNotAllowed)
				if allow := got.Header.Get("Allow"); allow != strings.Join(want, ", ") {
					t.Errorf("%s %s, uploads %t: Allow is %q, want %q", method, path, exposed, allow, want)
				}
			}
		}
	}
}

// describedMethods returns the methods of each path of the description of the API.
func describedMethods(t *testing.T) map[string][]string {
	t.Helper()
	var document struct {
		Paths map[string]map[string]any
	}
	if err := yaml.Unmarshal(openapi.Document(), &document); err != nil {
		t.Fatal(err)
	}
	methods := map[string][]string{}
	for path, item := range document.Paths {
		for key := range item {
			if method := strings.ToUpper(key); key != "parameters" {
				methods[path] = append(methods[path], method)
			}
		}
	}
	return methods
}

// TestDocumentedCalls demands that each call of the description reaches a function, and no other
// method does.
func TestDocumentedCalls(t *testing.T) {
	w := newFixture(t, "EXPOSE_ARTIFACT_UPLOADS=true")
	parameter := regexp.MustCompile(`\{[^}]+\}`)
	calls := 0
	for path, methods := range describedMethods(t) {
		path = parameter.ReplaceAllString(path, "x")
		for _, method := range methods {
			calls++
			got, _ := w.do(w.request(method, path, nil))
			own := path == "/healthz" || path == "/openapi.yaml" || path == "/metrics"
			if got.StatusCode != http.StatusOK || own != (got.Header.Get("Backend") == "") {
				t.Errorf("%s %s: got %s from %q", method, path, got.Status, got.Header.Get("Backend"))
			}
		}
	}
	if calls < 15 {
		t.Errorf("only %d calls are described", calls)
	}
}

func TestNothingElse(t *testing.T) {
	w := newFixture(t)
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/", 404}, // launch's and deadletter's
		{"GET", "/", 404},
		{"GET", "/metric", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/api/v1", 404},
		{"GET", "/api/v1/jobs/", 404},
		{"GET", "/api/v1/jobs/" + id + "/", 404},
		{"GET", "/api/v1/jobs/" + id + "/other", 404},
		{"GET", "/API/v1/jobs", 404},
		{"GET", "/artifacts", 404},
		{"GET", "/outputs", 404},
		{"POST", "/events/x", 404},
		{"GET", "/api/v1/templatesx", 404},
		{"PUT", "/api/v1/jobs", 405},
		{"HEAD", "/api/v1/jobs", 405},
		{"POST", "/api/v1/jobs/" + id + "/logs", 405},
		{"DELETE", "/outputs/" + id + "/x", 405},
		{"POST", "/artifacts/" + id + "/x", 405},
		{"DELETE", "/artifacts/" + id + "/x", 405},
		{"PUT", "/artifacts/" + id + "/upload/x", 405}, // agents have a way of their own
		{"PUT", "/artifacts/" + id + "/upload/.job/outputs.json", 405},
		{"POST", "/api/v1/templates", 405},
		{"HEAD", "/api/v1/templates/x", 405},
		{"GET", "/api/v1/templates/x/jobs", 405},
		{"GET", "/api/v1/templates/x/y", 404},
		{"GET", "/outputs/", 404},
		{"PUT", "/artifacts/x", 404},
		{"GET", "/events", 405},
		{"OPTIONS", "/api/v1/jobs", 405},
		{"TRACE", "/api/v1/jobs", 405},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			got, body := w.do(w.request(test.method, test.path, nil))
			if got.Header.Get("Backend") != "" {
				t.Fatalf("%s answered", got.Header.Get("Backend"))
			}
			if test.method == "HEAD" {
				if got.StatusCode != test.status {
					t.Errorf("got %s", got.Status)
				}
				return
			}
			w.problem(got, body, test.status)
			if test.status == 405 && got.Header.Get("Allow") == "" {
				t.Error("Allow does not say what is possible")
			}
		})
	}
}

// TestTraversal tries to reach a function by the path of another, or by a path that the front has
// not looked up. It writes the requests itself, because clients clean their paths.
func TestTraversal(t *testing.T) {
	w := newFixture(t)
	for _, path := range []string{
		"/outputs/../api/v1/jobs",
		"/outputs/%2e%2e/api/v1/jobs",
		"/outputs/.%2E/x",
		"/outputs/" + id + "/..%2f..%2fapi",
		"/outputs/" + id + "/../../../",
		"/outputs/" + id + "/./x",
		"/outputs/" + id + "//x",
		"/outputs//" + id,
		"/outputs/" + id + "/%2Fetc",
		"/artifacts/" + id + "/..",
		"/artifacts/..",
		"/artifacts/%2e%2e%2f",
		"/api/v1/templates/../jobs",
		"/api/v1/templates/x/..%2f..",
		"/api/v1/jobs/..",
		"/api/v1/jobs/.",
		"/api/v1/jobs/%2e%2e/logs",
		"/api/v1/jobs//logs",
		"//outputs/x",
		"/outputs/..;/x/../y",
	} {
		got := w.raw("GET " + path + " HTTP/1.1\r\nHost: jobs.example\r\nConnection: close\r\n\r\n")
		if got.Header.Get("Backend") != "" || !slices.Contains([]int{400, 404, 405}, got.StatusCode) {
			t.Errorf("GET %s: got %s from %q", path, got.Status, got.Header.Get("Backend"))
		}
		if kind := got.Header.Get("Content-Type"); kind != "application/problem+json" {
			t.Errorf("GET %s: content type %q", path, kind)
		}
	}
	for name, target := range map[string]string{
		"absolute form":         "http://launch.job-orchestrator.svc.cluster.local/api/v1/jobs",
		"absolute, other port":  "http://127.0.0.1:1/api/v1/jobs",
		"encoded slash in path": "/api%2Fv1/jobs",
	} {
		got := w.raw("GET " + target + " HTTP/1.1\r\nHost: launch.job-orchestrator.svc.cluster.local\r\nConnection: " +
			"close\r\n\r\n")
		want := strings.TrimPrefix(w.servers["status"].URL, "http://")
		if got.Header.Get("Backend") != "status" || got.Header.Get("Got-Host") != want {
			t.Errorf("%s: got %s from %q for %q, want status for its own host", name, got.Status, got.Header.Get("Backend"),
				got.Header.Get("Got-Host"))
		}
	}
}

func TestOwnPaths(t *testing.T) {
	w := newFixture(t)
	got, body := w.do(w.request("GET", "/openapi.yaml", nil))
	if got.StatusCode != http.StatusOK || string(body) != string(openapi.Document()) {
		t.Errorf("/openapi.yaml: got %s, %.60q", got.Status, body)
	}
	for _, server := range w.servers {
		server.Close()
	}
	if got, _ := w.do(w.request("GET", "/healthz", nil)); got.StatusCode != http.StatusOK {
		t.Errorf("/healthz: got %s; a function that is scaled to zero does not make the front ill", got.Status)
	}
}

func TestHeaders(t *testing.T) {
	w := newFixture(t)
	r := w.request("GET", "/api/v1/jobs", nil)
	r.Host = "jobs.example"
	r.Header.Set("Authorization", "Bearer x")
	r.Header.Set("Upgrade", "h2c")
	r.Header.Set("Connection", "Upgrade")
	got, _ := w.do(r)
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "jobs.example", "X-Forwarded-Proto": "http",
		"Authorization": "Bearer x", "Upgrade": "",
	} {
		if got := got.Header.Get("Got-" + name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	r = w.request("GET", "/api/v1/jobs", nil)
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	r.Header.Set("X-Forwarded-Host", "jobs.example")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("Accept-Encoding", "identity")
	got, _ = w.do(r)
	for name, want := range map[string]string{
		"X-Forwarded-For": "192.0.2.1, 127.0.0.1", "X-Forwarded-Host": "jobs.example", "X-Forwarded-Proto": "https",
		"Accept-Encoding": "identity",
	} {
		if got := got.Header.Get("Got-" + name); got != want {
			t.Errorf("behind an ingress, %s: got %q, want %q", name, got, want)
		}
	}
}

func TestSettings(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	needed := func(more ...string) map[string]string {
		vars := map[string]string{"TOKEN_KEYS": tokenKeys, "KEYS_FILE": filepath.Join(t.TempDir(), "keys.json")}
		for i := 0; i < len(more); i += 2 {
			vars[more[i]] = more[i+1]
		}
		return vars
	}
	if _, err := front.Open(settings.New(needed("NAMESPACE", "jobs"), log)); err != nil {
		t.Errorf("nothing else set: %v", err)
	}
	_, err := front.Open(settings.New(map[string]string{
		"SUBMIT_URL": "submit", "STATUS_URL": "ftp://status", "LOGS_URL": "http://", "ARTIFACTS_URL": "http://a/b",
		"OUTPUTS_URL": "http://user:secret@a", "CANCEL_URL": "http://a?b", "KEYS_URL": "/keys",
	}, log))
	if err == nil {
		t.Fatal("no fault was found")
	}
	for _, name := range []string{"SUBMIT_URL", "STATUS_URL", "LOGS_URL", "ARTIFACTS_URL", "OUTPUTS_URL", "CANCEL_URL",
		"KEYS_URL", "KEYS_FILE", "TOKEN_KEYS"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in %q", name, err)
		}
	}
	for _, good := range []string{"http://a", "https://a.b:8443/", "http://[::1]:80"} {
		if _, err := front.Open(settings.New(needed("SUBMIT_URL", good), log)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// TestExposedUploads opens the agents' calls to those outside the cluster.
func TestExposedUploads(t *testing.T) {
	for value, want := range map[string]int{"true": 200, "1": 200, "false": 405, "": 405} {
		w := newFixture(t, "EXPOSE_ARTIFACT_UPLOADS="+value)
		got, _ := w.do(w.request("PUT", "/artifacts/"+id+"/upload/deep/er%2Fname", strings.NewReader("x")))
		if got.StatusCode != want || (got.Header.Get("Backend") == "artifacts") != (want == 200) {
			t.Errorf("%q: %s from %q", value, got.Status, got.Header.Get("Backend"))
		}
		if allow := got.Header.Get("Allow"); want == 405 && allow != "GET, HEAD" {
			t.Errorf("%q: Allow is %q, want what a file of this name allows", value, allow)
		}
		if got, _ := w.do(w.request("GET", "/artifacts/"+id+"/a", nil)); got.StatusCode != 200 {
			t.Errorf("%q: downloads get %s", value, got.Status)
		}
	}
	env := settings.New(map[string]string{"EXPOSE_ARTIFACT_UPLOADS": "perhaps"}, slog.New(slog.DiscardHandler))
	if _, err := front.Open(env); err == nil || !strings.Contains(err.Error(), "EXPOSE_ARTIFACT_UPLOADS") {
		t.Errorf("perhaps: %v", err)
	}
}

// TestBrowsers makes sure that functions do not check a page's requests against a Host other than
// the one that the browser sent.
func TestBrowsers(t *testing.T) {
	w := newFixture(t)
	r := w.request("POST", "/api/v1/jobs", nil)
	r.Header.Set("Origin", w.front.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	got, _ := w.do(r)
	if got.StatusCode != 200 || got.Header.Get("Got-Origin")+got.Header.Get("Got-Sec-Fetch-Site") != "" {
		t.Errorf("%s, the function was told %q and %q", got.Status, got.Header.Get("Got-Origin"),
			got.Header.Get("Got-Sec-Fetch-Site"))
	}
}
