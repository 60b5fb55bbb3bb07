package agentapi_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/upload/uploadtest"
)

// fixture is a server with one job on it. It takes outputs as well, as the service on Knative does.
type fixture struct{ *uploadtest.Server }

// stores are the kinds of buckets that everything is tested on.
func stores(t *testing.T, test func(t *testing.T, w *fixture)) {
	t.Run("directory", func(t *testing.T) { test(t, newFixture(t, t.TempDir())) })
	t.Run("bucket", func(t *testing.T) { test(t, newFixture(t, "")) })
}

func newFixture(t testing.TB, dir string, settings ...string) *fixture {
	t.Helper()
	return &fixture{uploadtest.New(t, dir, []uploadtest.Opener{
		func(env *platform.Env, l *ledger.Ledger) (serve.Function, error) {
			return artifacts.New(artifacts.Deps{Env: env, Ledger: l})
		},
		func(env *platform.Env, l *ledger.Ledger) (serve.Function, error) {
			return agentapi.New(agentapi.Deps{Env: env, Ledger: l})
		},
	}, settings...)}
}

// path is a path below the job.
func (w *fixture) path(rest string) string { return "/agent/v1/jobs/" + string(w.ID) + "/" + rest }

// call makes a call with the agent's token. It is named by its method and what follows the job in
// its path.
func (w *fixture) call(name string, body io.Reader, headers ...string) (*http.Response, []byte) {
	w.T.Helper()
	method, rest, _ := strings.Cut(name, " ")
	return w.Send(method, w.path(rest), body, headers...)
}

// record makes a call that brings a record, and checks the status.
func (w *fixture) record(name string, value any, status int) []byte {
	w.T.Helper()
	text, isText := value.(string)
	if !isText {
		data, err := json.Marshal(value)
		if err != nil {
			w.T.Fatal(err)
		}
		text = string(data)
	}
	resp, body := w.call(name, strings.NewReader(text))
	if resp.StatusCode != status {
		w.T.Fatalf("%s: got %d %s, want %d", name, resp.StatusCode, body, status)
	}
	if status >= http.StatusBadRequest {
		uploadtest.WantProblem(w.T, resp, body, status)
	}
	return body
}

// A path that is none of an attempt's or a segment's is not there, however it is written.
func TestPaths(t *testing.T) {
	w := newFixture(t, t.TempDir())
	for name, want := range map[string]int{
		"attempts/1/start": 404, "attempts/-1/end": 404, "attempts/0/end": 404, "attempts/01/end": 404,
		"attempts/+1/end": 404, "attempts/102/end": 404,
		"attempts/1/": 404, "attempts/1/stop": 404, "attempts/x/end": 404, "attempts/99999999999999999999/end": 404,
		"attempts/next/end": 404, "attempts/1%2F2/end": 404,
		"log/segments/": 404, "log/segments/a/b": 404, "log/segments/..": 422, "log/segments/%2e%2e%2fx": 404,
		"log/segments/x": 422, "outputs/x": 404, "x": 404, "": 404,
		"attempts": 405, "links": 405, "log": 405,
	} {
		resp, body := w.call("PUT "+name, strings.NewReader("x"))
		if resp.StatusCode != want {
			t.Errorf("%s: got %d %s, want %d", name, resp.StatusCode, body, want)
			continue
		}
		uploadtest.WantProblem(t, resp, body, want)
	}
}

func TestUnknownJob(t *testing.T) {
	w := newFixture(t, t.TempDir())
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for path, method := range map[string]string{"log": http.MethodGet, "log/order": http.MethodGet,
		"log/streams/stdout": http.MethodGet, "outputs": http.MethodPut} {
		target := "/agent/v1/jobs/" + string(id) + "/" + path
		resp, body := w.Send(method, target, nil, "Authorization", w.Bearer(token.Agent, id))
		uploadtest.WantProblem(t, resp, body, http.StatusNotFound)
		resp, body = w.Send(method, target, nil)
		uploadtest.WantProblem(t, resp, body, http.StatusForbidden)
	}
}

// The agent of a job that is being removed still has to end it.
func TestWhileRemoved(t *testing.T) {
	w := newFixture(t, t.TempDir())
	w.record("POST attempts", `{"owner":"pod-1"}`, http.StatusCreated)
	if err := w.Ledger.RequestRemoval(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	if resp, body := w.call("GET log", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	w.record("PUT attempts/1/end", end(1), http.StatusCreated)
}

// A name that is both a file's and a folder's is not stored, so it is not among the outputs.
func TestManifestFileAndFolder(t *testing.T) {
	w := newFixture(t, t.TempDir())
	w.Put("a", "x")
	w.Put("d/e", "x")
	for _, name := range []string{"a/b", "d"} {
		m := agentwire.Manifest{Files: []job.File{{Name: name, Size: 1, SHA256: uploadtest.SHA256("x")}}}
		w.record("PUT outputs", m, http.StatusUnprocessableEntity)
	}
}

func TestWhenOver(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		w.End()
		for name, body := range map[string]string{
			"POST attempts": `{"owner":"me"}`, "PUT attempts/1/end": `{}`, "PUT attempts/1/report": `{}`, "PUT outputs": `{}`,
			"POST links": `{}`, "PUT log/order": "",
			"PUT log/segments/000000000000-000000000000": "x",
		} {
			if data := w.record(name, body, http.StatusConflict); !strings.Contains(string(data), "over") {
				t.Errorf("%s: %s", name, data)
			}
		}
		if got := w.Results(); len(got) != 0 {
			t.Errorf("stored %q", got)
		}
	})
}

// TestRecordsThatStall demands that a record that does not come to its end is not waited for, and
// leaves nothing.
func TestRecordsThatStall(t *testing.T) {
	w := newFixture(t, t.TempDir(), "UPLOAD_TIMEOUT=500ms")
	for _, path := range []string{w.path("outputs"), w.path("log/segments/0-0")} {
		for _, drip := range []bool{false, true} {
			if r, body := w.Stall(http.MethodPut, path, drip); r.StatusCode < 400 || r.StatusCode >= 500 {
				t.Errorf("%s, drip %t: %s %s", path, drip, r.Status, body)
			}
		}
	}
	if got := w.Results(); len(got) > 0 {
		t.Errorf("stored: %q", got)
	}
}

// TestFormerCalls has a pod of an older version go on after an upgrade.
func TestFormerCalls(t *testing.T) {
	w := newFixture(t, t.TempDir())
	former := func(method, path, body string) (int, string) {
		t.Helper()
		resp, data := w.Send(method, "/artifacts/"+string(w.ID)+"/"+path, strings.NewReader(body))
		return resp.StatusCode, string(data)
	}
	const segment = `{"stdout":0,"stderr":0,"runs":[{"stream":"stdout","bytes":2}]}` + "\nhi"
	record := func(value any) string {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	retried, last := end(1), end(2)
	for _, call := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", "upload/.job/attempts/next/start", `{"owner":"pod-1","limits":null}`, 201, `"number":1`},
		{"PUT", "upload/.job/log/000000000000-000000000000", segment, 204, ""},
		{"PUT", "upload/.job/attempts/1/end", record(retried), 201, `"reason":"Error"`},
		{"PUT", "upload/.job/attempts/next/start", `{"owner":"pod-2"}`, 201, `"number":2`},
		{"GET", "status.json", "", 200, `"stdout":2`},
		{"GET", "results?stream=stdout", "", 200, "hi"},
		{"GET", "results?stream=stderr", "", 200, ""},
		{"GET", "results?stream=order", "", 200, "\x00"},
		{"GET", "results?stream=stdin", "", 400, "stream"},
		{"GET", "results?stream=stdout&tail=1", "", 400, "stream"},
		{"PUT", "upload/a", "a", 201, `"a"`},
		{"PUT", "upload/.job/link", `{"name":"b","size":1}`, 404, "no such job or file"},
		{"PUT", "upload/.job/order", "", 204, ""},
		{"PUT", "upload/.job/outputs.json", record(agentwire.Manifest{Files: []job.File{file("a", "a")}}), 201, `"a"`},
		{"PUT", "upload/.job/attempts/2/report", record(agentwire.Report{Attempt: last}), 204, ""},
		{"PUT", "upload/.job/attempts/2/end", record(last), 201, `"number":2`},
		{"PUT", "upload/.job/attempts/next/start", `{"owner":"pod-3"}`, 409, "over"},
		// What was no call of theirs is a name that is reserved, or a path that there is not.
		{"PUT", "upload/.job/none", "x", 422, "reserved"},
		{"PUT", "upload/.job/outputs.json/x", "x", 422, "reserved"},
		{"PUT", "upload/.job/attempts/1/start", "x", 404, "no such path"},
		{"GET", "results", "", 404, "no such job or file"},
	} {
		status, body := former(call.method, call.path, call.body)
		if status != call.status || !strings.Contains(body, call.want) {
			t.Errorf("%s %s: got %d %q, want %d with %q", call.method, call.path, status, body, call.status, call.want)
		}
	}
	// For the user these are names of files.
	for path, want := range map[string]int{"status.json": 404, "results": 404, "results?stream=stdout": 400} {
		resp, body := w.Send(http.MethodGet, "/artifacts/"+string(w.ID)+"/"+path, nil, "Authorization",
			w.Bearer(token.User, w.ID))
		uploadtest.WantProblem(t, resp, body, want)
	}
	resp, body := w.Send(http.MethodPut, "/artifacts/"+string(w.ID)+"/upload/.job/attempts/next/start", nil,
		"Authorization", w.Bearer(token.User, w.ID))
	uploadtest.WantProblem(t, resp, body, http.StatusUnprocessableEntity)
}

func TestSettings(t *testing.T) {
	env := platform.New(map[string]string{"UPLOAD_TIMEOUT": "soon", "STORAGE_DIR": t.TempDir()},
		slog.New(slog.DiscardHandler))
	_, err := agentapi.New(agentapi.Deps{Env: env})
	if err == nil || !strings.Contains(err.Error(), "UPLOAD_TIMEOUT") || !strings.Contains(err.Error(), "TOKEN_KEYS") {
		t.Errorf("got %v, want both faults", err)
	}
}

// Whatever the path and the body: no fault of the server, and nothing stored outside the job's
// results.
func FuzzRecords(f *testing.F) {
	w := newFixture(f, f.TempDir())
	for _, name := range []string{"attempts", "links", "attempts/1/end", "attempts/1/report", "outputs", "log/order",
		"log/segments/000000000001-000000000001", "log/segments/x", "../x"} {
		f.Add(name, `{"owner":"x"}`)
	}
	f.Add("outputs", `{"files":[{"name":"a","size":1,"sha256":"x"}],"order":{"runs":[{"stream":"stdout","bytes":1}]}}`)
	f.Add("attempts/1/end",
		`{"number":1,"startedAt":"2026-01-01T00:00:00Z","finishedAt":"2026-01-01T00:00:00Z","reason":"Error"}`)
	router := w.HTTP.Config.Handler
	f.Fuzz(func(t *testing.T, name, body string) {
		for _, path := range []string{w.path(name), "/artifacts/" + string(w.ID) + "/upload/.job/" + name} {
			for _, method := range []string{http.MethodPut, http.MethodPost} {
				req := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
				req.URL = &url.URL{Path: path}
				req.Header.Set("Authorization", w.Bearer(token.Agent, w.ID))
				rec := httptest.NewRecorder()
				router.ServeHTTP(rec, req)
				// An attempt may be another input's, with another owner.
				if rec.Code >= http.StatusInternalServerError && rec.Code != http.StatusServiceUnavailable {
					t.Errorf("%s %q: %d %s", method, path, rec.Code, rec.Body)
				}
			}
		}
		keys, err := w.Store.List(t.Context(), string(w.ID)+"/", "", 100_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if rest := strings.TrimPrefix(key, string(w.ID)+"/"); !strings.HasPrefix(rest, "results/") &&
				!strings.HasPrefix(rest, "main.py") &&
				!strings.HasPrefix(rest, "we") && rest != "status.json.bak" && rest != "index.json" && rest != "status.json" {
				t.Errorf("%q stored %q", name, key)
			}
		}
	})
}
