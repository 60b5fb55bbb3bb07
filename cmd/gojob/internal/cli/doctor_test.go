package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/settings"
)

// newApp is the command line of a user without any files.
func newApp(t *testing.T, env map[string]string) (a *app, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	dir := t.TempDir()
	return &app{
		stdin: strings.NewReader(""), stdout: stdout, stderr: stderr, now: time.Now,
		getenv: func(name string) string { return env[name] },
		dirs:   settings.Dirs{Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state")},
	}, stdout, stderr
}

// description is what a server that knows all says of its API.
const description = `openapi: 3.1.0
info:
  version: 1.0.0
paths:
  /api/v1/whoami:
  /api/v1/jobs/{jobID}/token:
  /api/v1/jobs/{jobID}/rerun:
  /api/v1/jobs/{jobID}/share:
  /api/v1/keys:
  /api/v1/templates:
        archive: {}
        stdin: {}
`

// fake is a server whose answers are replaced, by path.
func fake(answers map[string]http.HandlerFunc) http.Handler {
	text := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	all := map[string]http.HandlerFunc{
		"/healthz":       text("text/plain", "ok\n"),
		"/api/v1/server": text("application/json", `{"version":"v1.2.3","commit":"c","date":"d","go":"go","auth":{"modes":["keys"]}}`),
		"/openapi.yaml":  text("application/yaml", description),
		"/api/v1/whoami": text("application/json", `{"owner":"ann","role":"user","via":"key k3v9x0q2ab"}`),
		"/api/v1/jobs":   text("application/json", `{"items":[]}`),
	}
	for path, answer := range answers {
		all[path] = answer
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := all[r.URL.Path]; answer != nil {
			answer(w, r)
			return
		}
		problem(http.StatusNotFound, "There is no such path; GET /openapi.yaml lists all paths.")(w, r)
	})
}

func problem(status int, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d,"detail":%q}`, http.StatusText(status), status, detail)
	}
}

func plain(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// TestDoctor finds each fault of a server, and says what to do about it.
func TestDoctor(t *testing.T) {
	skewed := func(by time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			_, _ = io.WriteString(w, `{"version":"v1","auth":{"modes":["open"]}}`)
		}
	}
	for name, c := range map[string]struct {
		answers map[string]http.HandlerFunc
		wrong   bool
		want    []string
	}{
		"fine":            {nil, false, []string{"ok     storage", "knows all that gojob needs"}},
		"another server":  {map[string]http.HandlerFunc{"/healthz": plain(200, "<html>")}, true, []string{"is no server of the Go Job Orchestrator", "check the URL and the port"}},
		"nothing there":   {map[string]http.HandlerFunc{"/healthz": plain(404, "")}, true, []string{"it answers 404 to GET /healthz"}},
		"a proxy's error": {map[string]http.HandlerFunc{"/healthz": plain(502, "")}, true, []string{"502", "tell its operator"}},
		"a name that it does not answer to": {map[string]http.HandlerFunc{"/healthz": problem(421, "not a name")}, true,
			[]string{"have the operator add 127.0.0.1 to ALLOWED_HOSTS"}},
		"a redirect": {map[string]http.HandlerFunc{"/healthz": http.RedirectHandler("https://x.example.com/", http.StatusMovedPermanently).ServeHTTP}, true,
			[]string{"it redirects GET /healthz to https://x.example.com/", "log in at the URL that it redirects to"}},
		"very old": {map[string]http.HandlerFunc{"/api/v1/server": problem(404, "There is no such path")}, true,
			[]string{"the server is too old for this gojob: it has no GET /api/v1/server"}},
		"not ours": {map[string]http.HandlerFunc{"/api/v1/server": plain(200, "{}")}, true, []string{"its answer to GET /api/v1/server is something else"}},
		"old": {map[string]http.HandlerFunc{"/openapi.yaml": plain(200, strings.Replace(description, "rerun", "again", 1))}, true,
			[]string{"the server (v1.2.3) is too old for: rerun;"}},
		"new": {map[string]http.HandlerFunc{"/openapi.yaml": plain(200, strings.Replace(description, "1.0.0", "2.0.0", 1))}, true,
			[]string{"the server (v1.2.3) is too new for this gojob"}},
		"a clock ahead":        {map[string]http.HandlerFunc{"/api/v1/server": skewed(time.Minute)}, true, []string{"WRONG  clock", "behind the server"}},
		"a clock behind":       {map[string]http.HandlerFunc{"/api/v1/server": skewed(-time.Hour)}, true, []string{"WRONG  clock", "ahead of the server"}},
		"a clock nearly right": {map[string]http.HandlerFunc{"/api/v1/server": skewed(12 * time.Second)}, false, []string{"note   clock"}},
		"a revoked key": {map[string]http.HandlerFunc{"/api/v1/whoami": problem(401, "nobody has this key")}, true,
			[]string{"the server does not take key k3v9x0q2ab in GOJOB_TOKEN: nobody has this key", "set GOJOB_TOKEN to another key"}},
		"no role": {map[string]http.HandlerFunc{"/api/v1/whoami": problem(403, "no role")}, true, []string{"ask an admin for a role"}},
		"no storage": {map[string]http.HandlerFunc{"/api/v1/jobs": problem(503, "the storage does not answer")}, true,
			[]string{"WRONG  storage", "the storage does not answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(fake(c.answers))
			defer server.Close()
			a, stdout, stderr := newApp(t, map[string]string{"GOJOB_URL": server.URL, "GOJOB_TOKEN": "gojob_k3v9x0q2ab_secret"})
			code := a.run(t.Context(), []string{"gojob", "doctor"})
			if want := map[bool]int{true: exitError}[c.wrong]; code != want {
				t.Errorf("ended with %d, want %d", code, want)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("does not say %q", want)
				}
			}
			if all := stdout.String() + stderr.String(); strings.Contains(all, "secret") {
				t.Error("repeats the key")
			}
			if c.wrong && !strings.Contains(stdout.String(), "do: ") {
				t.Error("does not say what to do")
			}
			if t.Failed() {
				t.Logf("%s%s", stdout, stderr)
			}
		})
	}
}

// certificate is one that nobody has signed.
func certificate(t *testing.T, expires time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: expires.Add(-time.Hour), NotAfter: expires, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestDoctorConnection finds what is wrong below HTTP.
func TestDoctorConnection(t *testing.T) {
	serveTLS := func(c tls.Certificate) string {
		s := httptest.NewUnstartedServer(fake(nil))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{c}}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	open := httptest.NewServer(fake(nil))
	defer open.Close()
	closed := httptest.NewServer(fake(nil))
	closed.Close()
	for name, c := range map[string]struct{ url, text, do string }{
		"nobody listens":    {closed.URL, "nothing listens at 127.0.0.1:", "start the server (make run)"},
		"an unknown CA":     {serveTLS(certificate(t, time.Now().Add(time.Hour))), "signed by nobody that this machine knows", "export SSL_CERT_FILE=ca.pem"},
		"plain, not TLS":    {strings.Replace(open.URL, "http:", "https:", 1), "does not speak TLS at this port", "use " + open.URL},
		"a name of nothing": {"https://no-such-host.invalid", "the name no-such-host.invalid has no address", "check the URL"},
	} {
		a, stdout, _ := newApp(t, map[string]string{"GOJOB_URL": c.url})
		if code := a.run(t.Context(), []string{"gojob", "doctor"}); code != exitError {
			t.Errorf("%s: ended with %d", name, code)
		}
		if got := stdout.String(); !strings.Contains(got, c.text) || !strings.Contains(got, c.do) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestOldServer says that a server is too old when it does not know a call, a field or a parameter.
func TestOldServer(t *testing.T) {
	server := httptest.NewServer(fake(map[string]http.HandlerFunc{
		"/api/v1/jobs": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"type":"about:blank","title":"Bad Request","status":400,"detail":"name: is not a parameter of this call; there are: limit",`+
				`"errors":[{"field":"name","message":"is not a parameter of this call; there are: limit"}]}`)
		},
	}))
	defer server.Close()
	for _, line := range []string{"ls -n words", "key ls", "template ls"} {
		a, _, stderr := newApp(t, map[string]string{"GOJOB_URL": server.URL})
		a.run(t.Context(), append([]string{"gojob"}, strings.Fields(line)...))
		if !strings.Contains(stderr.String(), "the server (version v1.2.3) is too old for this command of gojob") {
			t.Errorf("%s: %s", line, stderr)
		}
	}
}
