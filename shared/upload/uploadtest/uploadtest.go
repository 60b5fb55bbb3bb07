// Package uploadtest is a server with one job on it, for tests of the functions that take uploads.
package uploadtest

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/token"
)

// Server is a server with one job on it.
type Server struct {
	*ledgertest.Fixture
	HTTP  *httptest.Server
	ID    job.ID
	Index *job.Index
}

// MaxOutput is the server's MAX_OUTPUT_BYTES.
const MaxOutput = 2 << 20

// Opener opens a function of the server, with its settings and its records.
type Opener func(*platform.Env, *ledger.Ledger) (serve.Function, error)

// New starts a server of functions on a bucket that is a folder, or in memory where dir is empty.
// Settings are NAME=value.
func New(t testing.TB, dir string, open []Opener, settings ...string) *Server {
	t.Helper()
	w := &Server{Fixture: ledgertest.Open(t, dir, time.Now)}
	env := w.Env(append([]string{"MAX_OUTPUT_BYTES=2Mi"}, settings...)...)
	var functions []serve.Function
	for _, one := range open {
		f, err := one(env, w.Ledger)
		w.Must(err)
		functions = append(functions, f)
	}
	w.HTTP = w.Serve(functions...)
	w.Index = w.NewJob(map[string]string{"main.py": "print()", `we"ird – ü?#%.attrs`: "weird", "status.json.bak": ""})
	w.ID = w.Index.JobID
	return w
}

// NewJob accepts another job with these files.
func (w *Server) NewJob(files map[string]string) *job.Index {
	w.T.Helper()
	return w.Job(func(index *job.Index) {
		index.Token = "sha256:x"
		index.Spec = job.Spec{Runtime: "python", Entrypoint: "main.py", Args: []string{"a"},
			Env: map[string]string{"SECRET": "s"}, TTLSecondsAfterFinished: 60, Retries: 1}
		for name, content := range files {
			index.Files = append(index.Files, w.File(index.JobID, name, content))
		}
	})
}

// End ends the job.
func (w *Server) End() {
	w.T.Helper()
	w.Finish(w.Index, job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now().UTC()})
}

// Send makes a request with the agent's token and the given pairs of header names and values.
func (w *Server) Send(method, target string, body io.Reader, headers ...string) (*http.Response, []byte) {
	w.T.Helper()
	headers = append([]string{"Authorization", w.Bearer(token.Agent, w.ID)}, headers...)
	return ledgertest.Send(w.T, method, w.HTTP.URL+target, body, headers...)
}

// Put stores an output.
func (w *Server) Put(name, body string, headers ...string) (*http.Response, []byte) {
	w.T.Helper()
	return w.Send(http.MethodPut, routes.UploadOutput.URL(string(w.ID), name), strings.NewReader(body), headers...)
}

// Stall sends a request whose body does not end, drop by drop or not at all, and returns the
// answer.
func (w *Server) Stall(method, target string, drip bool) (*http.Response, []byte) {
	w.T.Helper()
	var d net.Dialer
	c, err := d.DialContext(w.T.Context(), "tcp", w.HTTP.Listener.Addr().String())
	if err != nil {
		w.T.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 1000000\r\n\r\n{",
		method, target, w.Bearer(token.Agent, w.ID))
	if drip {
		go func() {
			for {
				if _, err := io.WriteString(c, " "); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		w.T.Fatalf("%s: %v", target, err)
	}
	body, _ := io.ReadAll(r.Body)
	return r, body
}

// Stored reads an output from the bucket, or returns false.
func (w *Server) Stored(name string) (string, bool) {
	w.T.Helper()
	r, err := w.Store.Open(w.T.Context(), ledger.ResultKey(w.ID, name), 0, -1)
	if err != nil {
		return "", false
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		w.T.Fatal(err)
	}
	return string(data), true
}

// Results lists every file below the job's results, temporary ones included.
func (w *Server) Results() []string {
	w.T.Helper()
	prefix := string(w.ID) + "/results/"
	if w.Dir == "" {
		keys, err := w.Store.List(w.T.Context(), prefix, "", 100_000)
		if err != nil {
			w.T.Fatal(err)
		}
		return keys
	}
	names := []string{}
	err := filepath.WalkDir(filepath.Join(w.Dir, filepath.FromSlash(prefix)),
		func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				name, _ := filepath.Rel(w.Dir, path)
				names = append(names, filepath.ToSlash(name))
			}
			return nil // nothing was ever stored
		})
	if err != nil {
		w.T.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// WantProblem demands an error in the form of all errors.
func WantProblem(t testing.TB, resp *http.Response, body []byte, status int) api.Problem {
	t.Helper()
	return ledgertest.WantProblem(t, resp, body, status)
}

// SHA256 is the hash of a text, in hexadecimal digits.
func SHA256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Digest is a text's Content-Digest.
func Digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// Unsized hides the length of a body, which then is sent in chunks.
type Unsized struct{ io.Reader }
