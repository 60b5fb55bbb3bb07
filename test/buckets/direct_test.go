//go:build s3 && gs && azblob

package buckets

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// service is the functions that bytes move through, over a bucket of a server, and one job.
type service struct {
	*server
	t      *testing.T
	env    *platform.Env
	ledger *ledger.Ledger
	keys   token.Keys
	url    string
	client *http.Client // follows nothing
	job    *job.Index
}

// input is what the job's user uploaded.
const input = "print('hello')\n"

func (s *server) serve(t *testing.T) *service {
	t.Helper()
	key := make([]byte, token.MinKeyBytes)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	v := &service{server: s, t: t, client: &http.Client{CheckRedirect: func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	v.env = platform.New(map[string]string{"TOKEN_KEYS": base64.StdEncoding.EncodeToString(key), "SIGNED_URL_TTL": "5m",
		"MAX_OUTPUT_BYTES": "16Mi"}, slog.Default())
	bucket := s.fresh(t)
	v.env.SetStore(bucket)
	var err error
	if v.ledger, err = v.env.Ledger(); err != nil {
		t.Fatal(err)
	}
	a, err := artifacts.New(artifacts.Deps{Env: v.env, Ledger: v.ledger})
	if err != nil {
		t.Fatal(err)
	}
	p, err := agentapi.New(agentapi.Deps{Env: v.env, Ledger: v.ledger})
	if err != nil {
		t.Fatal(err)
	}
	o, err := outputs.New(v.env)
	if err != nil {
		t.Fatal(err)
	}
	if v.keys, err = v.env.Keys(); err != nil {
		t.Fatal(err)
	}
	router := api.NewRouter(v.env.Log).Guarded(guardtest.New(v.keys, v.ledger))
	a.Mount(router)
	p.Mount(router)
	o.Mount(router)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	v.url = server.URL
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Put(t.Context(), ledger.FileKey(id, "run.py"), strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	v.job = &job.Index{
		JobID: id, JobName: id.Name(), Namespace: "default", CreatedAt: id.Created(),
		Spec:  job.Spec{Runtime: "python", Entrypoint: "run.py", TTLSecondsAfterFinished: 3600},
		Files: []job.File{{Name: "run.py", Size: int64(len(input)), SHA256: sum(input)}},
	}
	if err := v.ledger.Accept(t.Context(), v.job); err != nil {
		t.Fatal(err)
	}
	return v
}

func sum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// call makes a call of the API and returns the answer, whose status must be want.
func (v *service) call(
	scope token.Scope, method, path, body string, want int, headers ...string,
) (*http.Response, string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+v.keys.Derive(scope, v.job.JobID))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if resp.StatusCode != want {
		v.t.Fatalf("%s %s: %s, want %d: %s", method, path, resp.Status, want, data)
	}
	return resp, string(data)
}

// link asks for a URL to send an output to.
func (v *service) link(name string, size int) agentwire.Link {
	v.t.Helper()
	_, body := v.call(token.Agent, http.MethodPost, routes.LinkOutput.URL(string(v.job.JobID)),
		fmt.Sprintf(`{"name":%q,"size":%d}`, name, size), http.StatusCreated)
	var link agentwire.Link
	if err := json.Unmarshal([]byte(body), &link); err != nil || link.URL == "" {
		v.t.Fatalf("link %s: %v", body, err)
	}
	return link
}

// manifest ends the outputs: the given one and two empty logs, if they are as they are said to be.
func (v *service) manifest(content string, want int) {
	v.t.Helper()
	files := []job.File{{Name: "big.bin", Size: int64(len(content)), SHA256: sum(content)}}
	text, err := json.Marshal(agentwire.Manifest{Files: files})
	if err != nil {
		v.t.Fatal(err)
	}
	v.call(token.Agent, http.MethodPut, routes.RecordOutputs.URL(string(v.job.JobID)), string(text), want)
}

// TestDirect has files and outputs move past the functions.
func TestDirect(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		v := s.serve(t)
		id := string(v.job.JobID)
		for _, scope := range []token.Scope{token.User, token.Agent} {
			resp, body := v.call(scope, http.MethodGet, "/artifacts/"+id+"/run.py", "", http.StatusTemporaryRedirect)
			if body != "" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("redirect: %v %q", resp.Header, body)
			}
			if resp, body := fetch(t, http.MethodGet, local(s, resp.Header.Get("Location")), "",
				nil); resp.StatusCode != http.StatusOK || body != input {
				t.Errorf("download: %s %q", resp.Status, body)
			}
		}

		content := strings.Repeat("0123456789abcdef", 1<<16)
		if s.name == "gs" { // whose emulator takes no signed PUT
			v.call(token.Agent, http.MethodPut, "/artifacts/"+id+"/upload/big.bin", content, http.StatusCreated)
		} else {
			link := v.link("big.bin", len(content))
			v.manifest(content, http.StatusUnprocessableEntity) // it has not come
			if resp, body := fetch(t, http.MethodPut, link.URL, content, link.Headers); resp.StatusCode >= 300 {
				t.Fatalf("upload: %s %s", resp.Status, body)
			}
			v.manifest(content+"x", http.StatusUnprocessableEntity)
		}
		v.manifest(content, http.StatusCreated)
		v.call(token.Agent, http.MethodPost, routes.LinkOutput.URL(id), `{"name":"big.bin","size":1}`, http.StatusConflict)

		path := "/outputs/" + id + "/big.bin"
		resp, _ := v.call(token.User, http.MethodGet, path, "", http.StatusTemporaryRedirect)
		if _, body := fetch(t, http.MethodGet, local(s, resp.Header.Get("Location")), "", nil); body != content {
			t.Errorf("%d bytes came, want %d", len(body), len(content))
		}
		resp, _ = v.call(token.User, http.MethodGet, path, "", http.StatusTemporaryRedirect, "Range", "bytes=16-19")
		resp, body := fetch(t, http.MethodGet, local(s, resp.Header.Get("Location")), "",
			map[string]string{"Range": "bytes=16-19"})
		if resp.StatusCode != http.StatusPartialContent || body != "0123" {
			t.Errorf("part: %s %q", resp.Status, body)
		}
		// Requests with conditions on entity tags are answered by the function itself.
		tag := `"` + sum(content) + `"`
		v.call(token.User, http.MethodHead, path, "", http.StatusOK)
		v.call(token.User, http.MethodGet, path, "", http.StatusNotModified, "If-None-Match", tag)
		if _, body := v.call(token.User, http.MethodGet, path, "", http.StatusPartialContent, "Range", "bytes=0-2",
			"If-Range", tag); body != "012" {
			t.Errorf("part by condition: %q", body)
		}
		v.call(token.User, http.MethodGet, "/outputs/"+id+"/other", "", http.StatusNotFound)
	})
}

// TestLinksRefused asks for URLs that nobody gets.
func TestLinksRefused(t *testing.T) {
	each(t, func(t *testing.T, s *server) {
		v := s.serve(t)
		path := routes.LinkOutput.URL(string(v.job.JobID))
		v.call(token.User, http.MethodPost, path, `{"name":"a","size":1}`, http.StatusForbidden)
		for body, want := range map[string]int{
			`{"name":"../a","size":1}`: 422, `{"name":"a","size":-1}`: 422, `{"name":"a","size":16777217}`: 413,
			`{"name":".job/x","size":1}`: 422,
			`{"name":"","size":1}`:       422, `{`: 422, `[]`: 422,
		} {
			v.call(token.Agent, http.MethodPost, path, body, want)
		}
	})
}

// TestLate has an output come by its URL when the job has been removed: the reaper finds it.
func TestLate(t *testing.T) {
	for _, name := range []string{"s3", "azblob"} {
		t.Run(name, func(t *testing.T) {
			v := running[name].serve(t)
			ctx := t.Context()
			link := v.link("late.bin", 4)
			_, _, err := v.ledger.Finish(ctx, v.job, job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted,
				FinishedAt: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			if err := v.ledger.Remove(ctx, v.job.JobID); err != nil {
				t.Fatal(err)
			}
			if resp, body := fetch(t, http.MethodPut, link.URL, "late", link.Headers); resp.StatusCode >= 300 {
				t.Fatalf("upload: %s %s", resp.Status, body)
			}
			if err := v.ledger.SweepLinks(ctx); err != nil {
				t.Fatal(err)
			}
			if got := v.stored(ctx); len(got) != 2 {
				t.Errorf("swept before its time: %q", got)
			}
			bucket, err := v.env.Store()
			if err != nil {
				t.Fatal(err)
			}
			later := ledger.New(bucket, func() time.Time { return time.Now().Add(4 * time.Hour) })
			if err := later.SweepLinks(ctx); err != nil {
				t.Fatal(err)
			}
			if got := v.stored(ctx); len(got) != 0 {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// stored lists the blobs of the job, and the marks of its links.
func (v *service) stored(ctx context.Context) []string {
	v.t.Helper()
	bucket, err := v.env.Store()
	if err != nil {
		v.t.Fatal(err)
	}
	var all []string
	for _, prefix := range []string{string(v.job.JobID) + "/", ledger.Reserved + "links/"} {
		keys, err := bucket.List(ctx, prefix, "", 100)
		if err != nil {
			v.t.Fatal(err)
		}
		all = append(all, keys...)
	}
	return all
}
