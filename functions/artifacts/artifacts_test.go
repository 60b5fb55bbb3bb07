package artifacts_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// world is a server with one job on it.
type world struct {
	t      testing.TB
	dir    string // empty without one
	store  *store.Store
	ledger *ledger.Ledger
	keys   token.Keys
	server *httptest.Server
	id     job.ID
	index  *job.Index
}

// maxOutput is MAX_OUTPUT_BYTES in these tests.
const maxOutput = 2 << 20

// stores are the kinds of buckets that everything is tested on.
func stores(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("directory", func(t *testing.T) { test(t, newWorld(t, t.TempDir())) })
	t.Run("bucket", func(t *testing.T) { test(t, newWorld(t, "")) })
}

func newWorld(t testing.TB, dir string, settings ...string) *world {
	t.Helper()
	w := &world{t: t, dir: dir}
	var err error
	if dir == "" {
		w.store = store.OpenBucket(memblob.OpenBucket(nil), store.Backend{})
	} else if w.store, err = store.OpenDir(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.keys, err = token.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	w.ledger = ledger.New(w.store, time.Now)
	vars := map[string]string{"MAX_OUTPUT_BYTES": "2Mi"}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		vars[name] = value
	}
	env := platform.New(vars, slog.New(slog.DiscardHandler))
	env.SetStore(w.store)
	env.SetKeys(w.keys)
	f, err := artifacts.New(artifacts.Deps{Env: env, Ledger: w.ledger})
	if err != nil {
		t.Fatal(err)
	}
	router := api.NewRouter(slog.New(slog.DiscardHandler))
	f.Mount(router)
	w.server = httptest.NewServer(router)
	t.Cleanup(w.server.Close)
	w.index = w.newJob(map[string]string{"main.py": "print()", `we"ird – ü?#%.attrs`: "weird", "status.json.bak": ""})
	w.id = w.index.JobID
	return w
}

func (w *world) newJob(files map[string]string) *job.Index {
	w.t.Helper()
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	index := &job.Index{
		JobID: id, JobName: id.Name(), CreatedAt: time.Now().UTC(), Token: "sha256:x",
		Spec: job.Spec{Runtime: "python", Entrypoint: "main.py", Args: []string{"a"}, Env: map[string]string{"SECRET": "s"}, TTLSecondsAfterFinished: 60, Retries: 1},
	}
	for name, content := range files {
		d, err := w.store.Put(w.t.Context(), ledger.FileKey(id, name), strings.NewReader(content))
		if err != nil {
			w.t.Fatal(err)
		}
		index.Files = append(index.Files, job.File{Name: name, Size: d.Size, SHA256: d.SHA256})
	}
	if err := w.ledger.Accept(w.t.Context(), index); err != nil {
		w.t.Fatal(err)
	}
	return index
}

func (w *world) end() {
	w.t.Helper()
	t := job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now().UTC()}
	if _, _, err := w.ledger.Finish(w.t.Context(), w.index, t); err != nil {
		w.t.Fatal(err)
	}
}

func escape(name string) string {
	segments := strings.Split(name, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.Join(segments, "/")
}

func (w *world) file(name string) string {
	return "/artifacts/" + string(w.id) + "/" + escape(name)
}

func (w *world) upload(name string) string {
	return "/artifacts/" + string(w.id) + "/upload/" + escape(name)
}

func (w *world) bearer(scope token.Scope, id job.ID) string {
	return "Bearer " + w.keys.Derive(scope, id)
}

// send makes a request with the agent's token and the given pairs of header names and values.
func (w *world) send(method, target string, body io.Reader, headers ...string) (*http.Response, []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+target, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", w.bearer(token.Agent, w.id))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, data
}

func (w *world) put(name, body string, headers ...string) (*http.Response, []byte) {
	w.t.Helper()
	return w.send(http.MethodPut, w.upload(name), strings.NewReader(body), headers...)
}

// record puts a record and checks the status.
func (w *world) record(name string, value any, status int) []byte {
	w.t.Helper()
	text, isText := value.(string)
	if !isText {
		data, err := json.Marshal(value)
		if err != nil {
			w.t.Fatal(err)
		}
		text = string(data)
	}
	resp, body := w.put(".job/"+name, text)
	if resp.StatusCode != status {
		w.t.Fatalf("%s: got %d %s, want %d", name, resp.StatusCode, body, status)
	}
	if status >= http.StatusBadRequest {
		wantProblem(w.t, resp, body, status)
	}
	return body
}

// stored reads an output from the bucket, or returns false.
func (w *world) stored(name string) (string, bool) {
	w.t.Helper()
	r, err := w.store.Open(w.t.Context(), ledger.ResultKey(w.id, name), 0, -1)
	if err != nil {
		return "", false
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data), true
}

// results lists every file below the job's results, temporary ones included.
func (w *world) results() []string {
	w.t.Helper()
	prefix := string(w.id) + "/results/"
	if w.dir == "" {
		keys, err := w.store.List(w.t.Context(), prefix, "", 100_000)
		if err != nil {
			w.t.Fatal(err)
		}
		return keys
	}
	names := []string{}
	err := filepath.WalkDir(filepath.Join(w.dir, filepath.FromSlash(prefix)), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(w.dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return nil // nothing was ever stored
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func wantProblem(t testing.TB, resp *http.Response, body []byte, status int) api.Problem {
	t.Helper()
	var p api.Problem
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %q %q, want a problem with status %d", resp.StatusCode, resp.Header.Get("Content-Type"), body, status)
	}
	if resp.Request.Method == http.MethodHead {
		return p
	}
	if err := json.Unmarshal(body, &p); err != nil || p.Status != status || p.Detail == "" {
		t.Fatalf("problem %q: %v", body, err)
	}
	return p
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestGet(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		for name, want := range map[string]string{"main.py": "print()", `we"ird – ü?#%.attrs`: "weird", "status.json.bak": ""} {
			for _, scope := range []token.Scope{token.Agent, token.User} {
				resp, body := w.send(http.MethodGet, w.file(name), nil, "Authorization", w.bearer(scope, w.id))
				if resp.StatusCode != http.StatusOK || string(body) != want || resp.Header.Get("ETag") != `"`+sha(want)+`"` || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: got %d %q %v", name, resp.StatusCode, body, resp.Header)
				}
				resp, body = w.send(http.MethodHead, w.file(name), nil)
				if resp.StatusCode != http.StatusOK || len(body) != 0 || resp.ContentLength != int64(len(want)) {
					t.Errorf("HEAD %s: got %d %d %q", name, resp.StatusCode, resp.ContentLength, body)
				}
			}
		}
		resp, body := w.send(http.MethodGet, w.file("main.py"), nil, "Range", "bytes=2-3")
		if resp.StatusCode != http.StatusPartialContent || string(body) != "in" {
			t.Errorf("range: got %d %q", resp.StatusCode, body)
		}
		resp, body = w.send(http.MethodGet, w.file("main.py")+"?x=1", nil)
		wantProblem(t, resp, body, http.StatusBadRequest)
	})
}

func TestGetIndex(t *testing.T) {
	w := newWorld(t, t.TempDir())
	resp, body := w.send(http.MethodGet, w.file("index.json"), nil)
	var got job.Index
	if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
	}
	if diff := cmp.Diff(w.index, &got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if resp, body := w.send(http.MethodHead, w.file("index.json"), nil); resp.StatusCode != http.StatusOK || len(body) != 0 {
		t.Errorf("HEAD: %d %q", resp.StatusCode, body)
	}
}

// The agent of a job that is being removed still has to end it.
func TestGetWhileRemoved(t *testing.T) {
	w := newWorld(t, t.TempDir())
	if err := w.ledger.RequestRemoval(t.Context(), w.id); err != nil {
		t.Fatal(err)
	}
	if resp, body := w.send(http.MethodGet, w.file("main.py"), nil); resp.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	w.end()
	if err := w.ledger.Remove(t.Context(), w.id); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main.py", "index.json"} {
		resp, body := w.send(http.MethodGet, w.file(name), nil)
		wantProblem(t, resp, body, http.StatusNotFound)
	}
	resp, body := w.put("late", "x")
	wantProblem(t, resp, body, http.StatusNotFound)
	if got := w.results(); len(got) != 0 {
		t.Errorf("stored after the removal: %v", got)
	}
}

func TestGetOnlyUploads(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.put("result.txt", "x")
		w.end()
		tests := map[string]int{
			"result.txt": 404, "results%2Fresult.txt": 404, "..": 404, "%2e%2e": 404, "%2e%2e%2f": 404, "%2e%2e%2findex.json": 404,
			"main.py%00": 404, "MAIN.PY": 404, "main.py/": 404, "./main.py": 404, "": 404, "upload": 404, "main.py.attrs": 404, "results/result.txt": 404,
			"%ff": 404, "index.json%00": 404, "Index.json": 404,
		}
		for target, want := range tests {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				req, err := http.NewRequestWithContext(t.Context(), method, w.server.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.URL.Opaque = "//" + req.URL.Host + "/artifacts/" + string(w.id) + "/" + target // as it is
				req.Header.Set("Authorization", w.bearer(token.Agent, w.id))
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				wantProblem(t, resp, body, want)
			}
		}
	})
}

func TestTokens(t *testing.T) {
	w := newWorld(t, t.TempDir())
	other := w.newJob(nil).JobID
	user, agent := w.bearer(token.User, w.id), w.bearer(token.Agent, w.id)
	tests := []struct {
		name      string
		values    []string
		read, put int
	}{
		{"agent", []string{agent}, 200, 201},
		{"user", []string{user}, 200, 403},
		{"none", nil, 401, 401},
		{"other scheme", []string{"Basic abc"}, 401, 401},
		{"malformed", []string{"Bearer !!"}, 403, 403},
		{"another job's", []string{w.bearer(token.Agent, other)}, 403, 403},
		{"another job's user", []string{w.bearer(token.User, other)}, 403, 403},
		{"two", []string{agent, agent}, 400, 400},
	}
	calls := []struct{ method, target, body string }{
		{http.MethodGet, w.file("main.py"), ""}, {http.MethodHead, w.file("main.py"), ""}, {http.MethodGet, w.file("index.json"), ""},
		{http.MethodPut, w.upload("out"), "x"}, {http.MethodPut, w.upload(".job/attempts/next/start"), `{"owner":"me"}`},
		{http.MethodPut, w.upload(".job/outputs.json"), `{`}, {http.MethodPut, w.upload(".job/attempts/1/end"), `{`}, {http.MethodPut, w.upload(".job/log/x"), ``},
		{http.MethodPut, w.upload(".job/attempts/1/end"), `{`}, {http.MethodPut, w.upload(".job/unknown"), `{`},
	}
	for _, test := range tests {
		for _, call := range calls {
			t.Run(test.name+call.method+call.target, func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), call.method, w.server.URL+call.target, strings.NewReader(call.body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header["Authorization"] = test.values
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				want := test.read
				if call.method == http.MethodPut {
					want = test.put
				}
				got := resp.StatusCode
				if want == http.StatusCreated && (got == http.StatusUnprocessableEntity || got == http.StatusNotFound) {
					return // let in, to be refused for what it sent
				}
				if got != want {
					t.Errorf("got %d, want %d", got, want)
				}
			})
		}
	}
}

func TestUnknownJob(t *testing.T) {
	w := newWorld(t, t.TempDir())
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for method, path := range map[string]string{http.MethodGet: "/index.json", http.MethodPut: "/upload/a"} {
		resp, body := w.send(method, "/artifacts/"+string(id)+path, nil, "Authorization", w.bearer(token.Agent, id))
		wantProblem(t, resp, body, http.StatusNotFound)
		resp, body = w.send(method, "/artifacts/"+string(id)+path, nil)
		wantProblem(t, resp, body, http.StatusForbidden)
	}
}

func TestSettings(t *testing.T) {
	env := platform.New(map[string]string{"MAX_OUTPUT_BYTES": "lots", "STORAGE_DIR": t.TempDir()}, slog.New(slog.DiscardHandler))
	_, err := artifacts.New(artifacts.Deps{Env: env})
	if err == nil || !strings.Contains(err.Error(), "MaxOutput") && !strings.Contains(err.Error(), "MAX_OUTPUT_BYTES") || !strings.Contains(err.Error(), "TOKEN_KEYS") {
		t.Errorf("got %v, want both faults", err)
	}
}
