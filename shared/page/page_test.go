package page

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/api"
)

// most is how many bytes a browser may have to load.
const most = 40 << 10

// TestPacked makes sure that what is embedded was packed from the sources as they are.
func TestPacked(t *testing.T) {
	h := sha256.New()
	dir := os.DirFS("src")
	var names []string
	if err := fs.WalkDir(dir, ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s %d\n", name, len(data))
		h.Write(data)
	}
	if hex.EncodeToString(h.Sum(nil)) != sources {
		t.Error("shared/page/src has changed since it was packed; run make page")
	}
	total := 0
	files, err := packed.ReadDir("packed")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += int(info.Size())
	}
	if total > most {
		t.Errorf("the page has %d bytes, and may have %d", total, most)
	}
}

// sessions answers with which of its methods was called.
type sessions struct{}

func say(w http.ResponseWriter, what string) error {
	_, err := io.WriteString(w, what)
	return err
}

func (sessions) LogIn(w http.ResponseWriter, _ *http.Request) error  { return say(w, "in") }
func (sessions) LogOut(w http.ResponseWriter, _ *http.Request) error { return say(w, "out") }
func (sessions) Depart(w http.ResponseWriter, _ *http.Request) error { return say(w, "depart") }
func (sessions) Arrive(w http.ResponseWriter, _ *http.Request) error { return say(w, "arrive") }

func request(t *testing.T, s Sessions, method, path string, header ...string) *http.Response {
	t.Helper()
	router := api.NewRouter(slog.New(slog.DiscardHandler))
	Mount(router, s)
	r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	router.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, got *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPaths asks for every kind of path.
func TestPaths(t *testing.T) {
	for _, test := range []struct {
		method, path, accept string
		status               int
		kind, caching, want  string // of the answer: Content-Type, Cache-Control or Location, a part of the body
	}{
		{"GET", "/ui/", "", 200, "text/html; charset=utf-8", "no-cache", "<title>Jobs"},
		{"GET", "/ui/jobs/fe5dd73070535f3b1d397b4f85a949fd", "", 200, "text/html; charset=utf-8", "no-cache", version},
		{"GET", "/ui/static/" + version + "/app.js", "", 200, "text/javascript; charset=utf-8", forever, "render"},
		{"GET", "/ui/static/" + version + "/app.css", "", 200, "text/css; charset=utf-8", forever, "--bg"},
		{"GET", "/ui/static/" + version + "/icon.svg", "", 200, "image/svg+xml", forever, "<svg"},
		{"GET", "/ui/static/old/app.js", "", 200, "text/javascript; charset=utf-8", "no-store", "render"},
		{"GET", "/ui/static/" + version + "/none.js", "", 404, "application/problem+json", "no-store", "no such path"},
		{"GET", "/ui/static/" + version + "/../../page.go", "", 404, "application/problem+json", "no-store", ""},
		{"GET", "/ui", "", 303, "text/html; charset=utf-8", "/ui/", ""},
		{"GET", "/", "text/html,*/*;q=0.8", 303, "text/html; charset=utf-8", "/ui/", ""},
		{"GET", "/", "*/*", 404, "application/problem+json", "no-store", "openapi.yaml"},
		{"GET", "/ui/login/oidc", "", 200, "text/plain; charset=utf-8", "", "depart"},
		{"GET", "/ui/login/callback", "", 200, "text/plain; charset=utf-8", "", "arrive"},
		{"POST", "/ui/session", "", 200, "text/plain; charset=utf-8", "", "in"},
		{"DELETE", "/ui/session", "", 200, "text/plain; charset=utf-8", "", "out"},
		{"POST", "/ui/", "", 405, "application/problem+json", "no-store", ""},
	} {
		got := request(t, sessions{}, test.method, test.path, "Accept", test.accept)
		body := text(t, got)
		kind := got.Header.Get("Content-Type")
		if kind == "" {
			kind = http.DetectContentType([]byte(body))
		}
		if got.StatusCode != test.status || kind != test.kind || !strings.Contains(body, test.want) {
			t.Errorf("%s %s: %s, %s, %.100q", test.method, test.path, got.Status, kind, body)
		}
		if caching := got.Header.Get("Cache-Control") + got.Header.Get("Location"); caching != test.caching {
			t.Errorf("%s %s: %q, want %q", test.method, test.path, caching, test.caching)
		}
		if got.StatusCode == http.StatusOK && test.caching != "" && got.Header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s %s has no policy", test.method, test.path)
		}
	}
}

// TestCoding asks with and without compression, and for what the client has already.
func TestCoding(t *testing.T) {
	path := "/ui/static/" + version + "/app.js"
	plain := request(t, nil, "GET", path)
	whole := text(t, plain)
	for accept, want := range map[string]string{"gzip": "gzip", "br, gzip;q=0.5": "gzip", "gzip;q=0": "", "br": "", "": ""} {
		got := request(t, nil, "GET", path, "Accept-Encoding", accept)
		if got.Header.Get("Content-Encoding") != want || got.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %v", accept, got.Header)
		}
		body := text(t, got)
		if length := got.Header.Get("Content-Length"); length != strconv.Itoa(len(body)) {
			t.Errorf("%q: %s bytes are announced, and %d come", accept, length, len(body))
		}
		if want != "" {
			data, err := unpack([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			body = string(data)
		}
		if body != whole {
			t.Errorf("%q: %d bytes, want %d", accept, len(body), len(whole))
		}
		tag := got.Header.Get("ETag")
		again := request(t, nil, "GET", path, "Accept-Encoding", accept, "If-None-Match", tag)
		if again.StatusCode != http.StatusNotModified || tag == "" {
			t.Errorf("%q: %s for what the client has", accept, again.Status)
		}
	}
}

// TestHead asks for headers alone, as checks of links and proxies do.
func TestHead(t *testing.T) {
	for _, path := range []string{"/ui/", "/ui/static/" + version + "/app.js", "/ui/static/" + version + "/none.js"} {
		whole, head := request(t, nil, "GET", path), request(t, nil, "HEAD", path)
		if diff := cmp.Diff(whole.Header, head.Header); diff != "" || head.StatusCode != whole.StatusCode {
			t.Errorf("%s: %s and %s, headers (-GET +HEAD):\n%s", path, whole.Status, head.Status, diff)
		}
		if body := text(t, head); whole.StatusCode == http.StatusOK && body != "" {
			t.Errorf("%s has a body of %d bytes", path, len(body))
		}
	}
}

// TestNoSessions serves the page where nobody can log in by it.
func TestNoSessions(t *testing.T) {
	for _, path := range []string{"/ui/login/oidc", "/ui/login/callback"} {
		if got := request(t, nil, "GET", path); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, got.Status)
		}
	}
	if got := request(t, nil, "POST", "/ui/session"); got.StatusCode != http.StatusNotFound {
		t.Error(got.Status)
	}
}

// TestSources makes sure that no source makes a document of a text, keeps a token where other pages
// could find it, or names another host.
func TestSources(t *testing.T) {
	banned := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|\beval\(|` +
		`new Function|localStorage\.setItem\([^r]|document\.cookie`)
	files, err := fs.Glob(os.DirFS("src"), "*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile("src/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if found := banned.Find(data); found != nil {
			t.Errorf("%s has %s", name, found)
		}
		for _, url := range regexp.MustCompile(`https?://[a-z][^'"\s]*`).FindAllString(string(data), -1) {
			if url != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names %s", name, url)
			}
		}
	}
}
