package artifacts_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/upload/uploadtest"
)

// fixture is a server with one job on it.
type fixture struct{ *uploadtest.Server }

// stores are the kinds of buckets that everything is tested on.
func stores(t *testing.T, test func(t *testing.T, w *fixture)) {
	t.Run("directory", func(t *testing.T) { test(t, newFixture(t, t.TempDir())) })
	t.Run("bucket", func(t *testing.T) { test(t, newFixture(t, "")) })
}

func newFixture(t testing.TB, dir string, settings ...string) *fixture {
	t.Helper()
	open := func(env *platform.Env, l *ledger.Ledger) (serve.Function, error) {
		return artifacts.New(artifacts.Deps{Env: env, Ledger: l})
	}
	return &fixture{uploadtest.New(t, dir, []uploadtest.Opener{open}, settings...)}
}

func (w *fixture) file(name string) string { return routes.GetArtifact.URL(string(w.ID), name) }

func (w *fixture) upload(name string) string { return routes.UploadOutput.URL(string(w.ID), name) }

func TestGet(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		for name, want := range map[string]string{"main.py": "print()", `we"ird – ü?#%.attrs`: "weird",
			"status.json.bak": ""} {
			for _, scope := range []token.Scope{token.Agent, token.User} {
				resp, body := w.Send(http.MethodGet, w.file(name), nil, "Authorization", w.Bearer(scope, w.ID))
				if resp.StatusCode != http.StatusOK || string(body) != want || resp.Header.Get("ETag") != `"`+
					uploadtest.SHA256(want)+`"` || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s: got %d %q %v", name, resp.StatusCode, body, resp.Header)
				}
				resp, body = w.Send(http.MethodHead, w.file(name), nil)
				if resp.StatusCode != http.StatusOK || len(body) != 0 || resp.ContentLength != int64(len(want)) {
					t.Errorf("HEAD %s: got %d %d %q", name, resp.StatusCode, resp.ContentLength, body)
				}
			}
		}
		resp, body := w.Send(http.MethodGet, w.file("main.py"), nil, "Range", "bytes=2-3")
		if resp.StatusCode != http.StatusPartialContent || string(body) != "in" {
			t.Errorf("range: got %d %q", resp.StatusCode, body)
		}
		resp, body = w.Send(http.MethodGet, w.file("main.py")+"?x=1", nil)
		uploadtest.WantProblem(t, resp, body, http.StatusBadRequest)
	})
}

func TestGetIndex(t *testing.T) {
	w := newFixture(t, t.TempDir())
	resp, body := w.Send(http.MethodGet, w.file("index.json"), nil)
	var got job.Index
	if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
	}
	want := *w.Index
	want.Owner = job.LocalOwner
	if diff := cmp.Diff(&want, &got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if resp, body := w.Send(http.MethodHead, w.file("index.json"), nil); resp.StatusCode != http.StatusOK ||
		len(body) != 0 {
		t.Errorf("HEAD: %d %q", resp.StatusCode, body)
	}
}

// The agent of a job that is being removed still has to end it.
func TestGetWhileRemoved(t *testing.T) {
	w := newFixture(t, t.TempDir())
	if err := w.Ledger.RequestRemoval(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	if resp, body := w.Send(http.MethodGet, w.file("main.py"), nil); resp.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	w.End()
	if err := w.Ledger.Remove(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main.py", "index.json"} {
		resp, body := w.Send(http.MethodGet, w.file(name), nil)
		uploadtest.WantProblem(t, resp, body, http.StatusNotFound)
	}
	resp, body := w.Put("late", "x")
	uploadtest.WantProblem(t, resp, body, http.StatusNotFound)
	if got := w.Results(); len(got) != 0 {
		t.Errorf("stored after the removal: %v", got)
	}
}

func TestGetOnlyUploads(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		w.Put("result.txt", "x")
		w.End()
		tests := map[string]int{
			"result.txt": 404, "results%2Fresult.txt": 404, "..": 404, "%2e%2e": 404, "%2e%2e%2f": 404,
			"%2e%2e%2findex.json": 404,
			"main.py%00":          404, "MAIN.PY": 404, "main.py/": 404, "./main.py": 404, "": 404, "upload": 404,
			"main.py.attrs": 404, "results/result.txt": 404,
			"%ff": 404, "index.json%00": 404, "Index.json": 404,
		}
		for target, want := range tests {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				req, err := http.NewRequestWithContext(t.Context(), method, w.HTTP.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.URL.Opaque = "//" + req.URL.Host + "/artifacts/" + string(w.ID) + "/" + target // as it is
				req.Header.Set("Authorization", w.Bearer(token.Agent, w.ID))
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				uploadtest.WantProblem(t, resp, body, want)
			}
		}
	})
}

func TestUnknownJob(t *testing.T) {
	w := newFixture(t, t.TempDir())
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for method, path := range map[string]string{http.MethodGet: "/index.json", http.MethodPut: "/upload/a"} {
		resp, body := w.Send(method, "/artifacts/"+string(id)+path, nil, "Authorization", w.Bearer(token.Agent, id))
		uploadtest.WantProblem(t, resp, body, http.StatusNotFound)
		resp, body = w.Send(method, "/artifacts/"+string(id)+path, nil)
		uploadtest.WantProblem(t, resp, body, http.StatusForbidden)
	}
}

func TestSettings(t *testing.T) {
	env := platform.New(map[string]string{"MAX_OUTPUT_BYTES": "lots", "STORAGE_DIR": t.TempDir()},
		slog.New(slog.DiscardHandler))
	_, err := artifacts.New(artifacts.Deps{Env: env})
	if err == nil || !strings.Contains(err.Error(), "MaxOutput") && !strings.Contains(err.Error(), "MAX_OUTPUT_BYTES") ||
		!strings.Contains(err.Error(), "TOKEN_KEYS") {
		t.Errorf("got %v, want both faults", err)
	}
}
