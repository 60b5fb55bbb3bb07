package outputs_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// finished is when the jobs of these tests end.
func finished() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

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

// stores are the kinds of buckets that everything is tested on.
func stores(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("directory", func(t *testing.T) { test(t, newWorld(t, t.TempDir())) })
	t.Run("bucket", func(t *testing.T) { test(t, newWorld(t, "")) })
}

func newWorld(t testing.TB, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir}
	var err error
	if dir == "" {
		w.store = store.OpenBucket(memblob.OpenBucket(nil), store.Extension{})
	} else if w.store, err = store.OpenDir(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.keys, err = token.New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	w.ledger = ledger.New(w.store, time.Now)
	env := platform.New(map[string]string{}, slog.New(slog.DiscardHandler))
	env.SetStore(w.store)
	env.SetKeys(w.keys)
	f, err := outputs.New(env)
	if err != nil {
		t.Fatal(err)
	}
	router := api.NewRouter(slog.New(slog.DiscardHandler))
	f.Mount(router)
	w.server = httptest.NewServer(router)
	t.Cleanup(w.server.Close)
	w.index = w.newJob()
	w.id = w.index.JobID
	return w
}

func (w *world) newJob() *job.Index {
	w.t.Helper()
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	index := &job.Index{JobID: id, JobName: id.Name(), CreatedAt: time.Now().UTC(),
		Spec: job.Spec{Runtime: "python", Entrypoint: "a.py"}}
	if err := w.ledger.Accept(w.t.Context(), index); err != nil {
		w.t.Fatal(err)
	}
	return index
}

// store stores outputs and their list, and ends the job.
func (w *world) finish(files map[string][]byte) []job.File {
	w.t.Helper()
	list := w.put(files)
	w.end(list)
	return list
}

func (w *world) put(files map[string][]byte) []job.File {
	w.t.Helper()
	var list []job.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d, err := w.store.Put(w.t.Context(), ledger.ResultKey(w.id, name), bytes.NewReader(files[name]))
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, job.File{Name: name, Size: d.Size, SHA256: d.SHA256})
	}
	return list
}

func (w *world) end(list []job.File) {
	w.t.Helper()
	if err := w.ledger.PutOutputs(w.t.Context(), w.id, list); err != nil {
		w.t.Fatal(err)
	}
	end := job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: finished()}
	if _, _, err := w.ledger.Finish(w.t.Context(), w.index, end); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) url(name string) string {
	segments := strings.Split(name, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return "/outputs/" + string(w.id) + "/" + strings.Join(segments, "/")
}

func (w *world) user() string { return "Bearer " + w.keys.Derive(token.User, w.id) }

// send makes a request with the user's token and the given pairs of header names and values.
func (w *world) send(method, target string, headers ...string) (*http.Response, []byte) {
	w.t.Helper()
	resp, data, err := w.try(method, target, headers...)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, data
}

func (w *world) try(method, target string, headers ...string) (*http.Response, []byte, error) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", w.user())
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp, data, err
}

// wantProblem checks that an answer is a problem, and returns it.
func wantProblem(t *testing.T, resp *http.Response, body []byte, status int) api.Problem {
	t.Helper()
	var p api.Problem
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %q %q, want a problem with status %d", resp.StatusCode, resp.Header.Get("Content-Type"), body,
			status)
	}
	if resp.Request.Method != http.MethodHead {
		if err := json.Unmarshal(body, &p); err != nil || p.Status != status {
			t.Fatalf("problem %q: %v", body, err)
		}
	}
	for _, name := range []string{"ETag", "Content-Disposition", "Repr-Digest"} {
		if resp.Header.Get(name) != "" {
			t.Errorf("problem with %s: %q", name, resp.Header.Get(name))
		}
	}
	return p
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestList(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		resp, body := w.send(http.MethodGet, "/outputs/"+string(w.id))
		if p := wantProblem(t, resp, body, http.StatusConflict); !strings.Contains(p.Detail, "Not yet") {
			t.Errorf("before the end: %q", p.Detail)
		}
		w.finish(map[string][]byte{"stdout.log": []byte("hello\n"), "stderr.log": nil, "b/c.bin": {1, 2}, "B": {3},
			"a.json": []byte("{}")})
		for _, target := range []string{"/outputs/" + string(w.id), "/outputs/" + string(w.id) + "/"} {
			resp, body = w.send(http.MethodGet, target)
			var got struct{ Items []job.File }
			if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
			}
			want := []job.File{
				{Name: "B", Size: 1, SHA256: sha([]byte{3}), ContentType: "application/octet-stream"},
				{Name: "a.json", Size: 2, SHA256: sha([]byte("{}")), ContentType: "application/json"},
				{Name: "b/c.bin", Size: 2, SHA256: sha([]byte{1, 2}), ContentType: "application/octet-stream"},
				{Name: "stderr.log", Size: 0, SHA256: sha(nil), ContentType: "text/plain; charset=utf-8"},
				{Name: "stdout.log", Size: 6, SHA256: sha([]byte("hello\n")), ContentType: "text/plain; charset=utf-8"},
			}
			if diff := cmp.Diff(want, got.Items); diff != "" {
				t.Errorf("%s (-want +got):\n%s", target, diff)
			}
			if resp, body := w.send(http.MethodHead, target); resp.StatusCode != http.StatusOK || len(body) != 0 {
				t.Errorf("HEAD: got %d %q", resp.StatusCode, body)
			}
		}
	})
}

// TestNotYet asks for outputs in every phase. That there is none yet is another answer than that
// there will be none.
func TestNotYet(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		ask := func(phase string) {
			t.Helper()
			for target, status := range map[string]int{
				"/outputs/" + string(w.id): 409, "/outputs/" + string(w.id) + "?format=zip": 409, w.url("a"): 404,
				w.url("stdout.log"): 404,
			} {
				resp, body := w.send(http.MethodGet, target)
				p := wantProblem(t, resp, body, status)
				if !strings.Contains(p.Detail, "Not yet") || !strings.Contains(p.Detail, "it is "+phase) {
					t.Errorf("%s of a job that is %s: %q", target, phase, p.Detail)
				}
			}
		}
		ask("Pending")
		if _, err := w.ledger.StartAttempt(t.Context(), w.id, 1, "owner", nil); err != nil {
			t.Fatal(err)
		}
		ask("Running")
		w.finish(map[string][]byte{"b": []byte("x")})
		resp, body := w.send(http.MethodGet, w.url("a"))
		if p := wantProblem(t, resp, body, http.StatusNotFound); strings.Contains(p.Detail, "yet") ||
			!strings.Contains(p.Detail, `no output "a"`) {
			t.Errorf("of a job that is over: %q", p.Detail)
		}
	})
}

// A list recorded as null is still a list.
func TestListOfNothing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.end(nil)
	if _, body := w.send(http.MethodGet, "/outputs/"+string(w.id)); string(body) != "{\"items\":[]}\n" {
		t.Errorf("got %s", body)
	}
}

func TestDownload(t *testing.T) {
	content := []byte("<html>hello</html>")
	stores(t, func(t *testing.T, w *world) {
		w.finish(map[string][]byte{"sub/page.html": content})
		sum := sha256.Sum256(content)
		want := map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Content-Length": fmt.Sprint(len(content)), "ETag": `"` + sha(content) +
				`"`,
			"Content-Disposition":     `attachment; filename="page.html"; filename*=UTF-8''page.html`,
			"X-Content-Type-Options":  "nosniff",
			"Content-Security-Policy": "sandbox", "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes",
			"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":",
		}
		for method, wantBody := range map[string][]byte{http.MethodGet: content, http.MethodHead: {}} {
			resp, body := w.send(method, w.url("sub/page.html"))
			got := map[string]string{}
			for name := range want {
				got[name] = resp.Header.Get(name)
			}
			if diff := cmp.Diff(want, got); diff != "" || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %d, headers (-want +got):\n%s", method, resp.StatusCode, diff)
			}
			if !bytes.Equal(body, wantBody) {
				t.Errorf("%s: got %q, want %q", method, body, wantBody)
			}
		}
	})
}

// An unknown job, one that is being removed, and what is no ID look the same to whoever has no
// token for them.
func TestUnknownJobs(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.finish(map[string][]byte{"a": []byte("x")})
	unknown, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{string(unknown), "x", strings.ToUpper(string(w.id)), ".."} {
		resp, body := w.send(http.MethodGet, "/outputs/"+url.PathEscape(id)+"/a")
		wantProblem(t, resp, body, http.StatusForbidden)
	}
	resp, body := w.send(http.MethodGet, "/outputs/"+string(unknown), "Authorization", "Bearer "+
		w.keys.Derive(token.User, unknown))
	wantProblem(t, resp, body, http.StatusNotFound)
	if err := w.ledger.RequestRemoval(t.Context(), w.id); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/outputs/" + string(w.id), w.url("a"), "/outputs/" + string(w.id) + "?format=zip"} {
		resp, body = w.send(http.MethodGet, target)
		wantProblem(t, resp, body, http.StatusNotFound)
	}
}

func TestQuery(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.finish(map[string][]byte{"a": []byte("x")})
	tests := []struct{ target, field string }{
		{"?format=rar", "format"}, {"?format=", "format"}, {"?format=ZIP", "format"}, {"?format=zip&format=zip", "format"},
		{"?fromat=zip", "fromat"}, {"?format=zip&x=1", "x"}, {"/?y", "y"}, {"?%zz", "query"}, {"?format=zip;x", "query"},
		{"/a?format=zip", "format"}, {"/a?%zz", "query"},
	}
	for _, test := range tests {
		t.Run(test.target, func(t *testing.T) {
			resp, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+test.target)
			p := wantProblem(t, resp, body, http.StatusBadRequest)
			if len(p.Errors) != 1 || p.Errors[0].Field != test.field {
				t.Errorf("got %+v, want the field %s", p.Errors, test.field)
			}
		})
	}
}

// weirdNames are names that file systems, URLs, headers or buckets take for something else.
func weirdNames() []string {
	return []string{
		"plain.txt", "two words", `"quoted".txt`, "naïve – 日本語 🎉.txt", strings.Repeat("x", 200), strings.Repeat("ü", 100),
		"x.attrs", "x.attrs~", "%", "%2e%2e",
		"100%25.txt", "a?b", "a#b", "a&b=c;d", ".hidden", "-rf", "...", "..a", "a..", "nested/deeper/file", "nested/.job",
		"$HOME", "'", "~", "a+b", " leading", "trailing ",
		"x.tmp", "index.json", "status.json", "con", "a:b", "*", "<script>", "é", "e\u0301", "\u202egnp.exe", "\u00a0",
		"upload", "__0x2f__",
	}
}

func TestWeirdNames(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		files := map[string][]byte{}
		for _, name := range weirdNames() {
			files[name] = []byte("content of " + name)
		}
		w.finish(files)
		for name, want := range files {
			resp, body := w.send(http.MethodGet, w.url(name))
			if resp.StatusCode != http.StatusOK || !bytes.Equal(body, want) {
				t.Errorf("%q: got %d %q", name, resp.StatusCode, body)
				continue
			}
			disposition, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
			if err != nil || disposition != "attachment" || params["filename"] != path.Base(name) {
				t.Errorf("%q: Content-Disposition %q is %v, %v", name, resp.Header.Get("Content-Disposition"), params, err)
			}
		}
		for _, format := range []string{"zip", "tar.gz"} {
			_, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+"?format="+format)
			got := map[string][]byte{}
			for _, e := range unpack(t, format, body) {
				got[e.name] = e.content
			}
			if diff := cmp.Diff(files, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", format, diff)
			}
		}
	})
}

// What is not in the list of outputs is not there, whatever lies in the bucket.
func TestOnlyWhatIsListed(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.put(map[string][]byte{"unlisted": []byte("x"), "sub/unlisted": []byte("x")})
		if _, err := w.store.Put(ctx, ledger.FileKey(w.id, "input.txt"), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		w.finish(map[string][]byte{"listed": []byte("y"), "sub/listed": []byte("y"), "x.attrs": []byte("z")})
		targets := []string{
			"unlisted", "sub/unlisted", "sub", "sub/", "sub//listed", "/listed", "//listed", "./listed", "listed/", "listed/.",
			"sub/../listed",
			"..", "../index.json", "../input.txt", "%2e%2e/index.json", "%2e%2e%2findex.json", "..%2findex.json",
			"sub%2f..%2f..%2findex.json",
			"listed%00", "%00", "listed.attrs", "x.attrs~", "x.attrs%7e", "LISTED", "listed%20", "%5c..%5cindex.json",
			"..%5c..%5cindex.json", "%2flisted", "%ff",
			"../../" + ".orchestrator/run/" + string(w.id) + "/outputs.json",
		}
		for _, target := range targets {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				req, err := http.NewRequestWithContext(ctx, method, w.server.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.URL.Opaque = "//" + req.URL.Host + "/outputs/" + string(w.id) + "/" + target // as it is
				req.Header.Set("Authorization", w.user())
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				wantProblem(t, resp, body, http.StatusNotFound)
			}
		}
		// An escaped slash is a slash.
		if resp, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+
			"/sub%2Flisted"); resp.StatusCode != http.StatusOK || string(body) != "y" {
			t.Errorf("escaped slash: got %d %q", resp.StatusCode, body)
		}
	})
}

func TestLinkIsNotListed(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.finish(map[string][]byte{"a": []byte("x")})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(w.dir, string(w.id), "results", "link")); err != nil {
		t.Fatal(err)
	}
	resp, body := w.send(http.MethodGet, w.url("link"))
	wantProblem(t, resp, body, http.StatusNotFound)
}

func randomBytes(t testing.TB, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRanges(t *testing.T) {
	data := randomBytes(t, 300_000)
	n := len(data)
	stores(t, func(t *testing.T, w *world) {
		w.finish(map[string][]byte{"data.bin": data, "empty": nil})
		single := []struct {
			spec     string
			from, to int
		}{
			{"0-0", 0, 1}, {"0-", 0, n}, {"5-9", 5, 10}, {"299999-", n - 1, n}, {"-1", n - 1, n}, {"-70000", n - 70_000, n},
			{"-999999", 0, n},
			{"100000-200000", 100_000, 200_001}, {"299990-400000", n - 10, n},
		}
		for _, test := range single {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				resp, body := w.send(method, w.url("data.bin"), "Range", "bytes="+test.spec)
				want := data[test.from:test.to]
				if got := resp.Header.Get("Content-Range"); resp.StatusCode != http.StatusPartialContent ||
					got != fmt.Sprintf("bytes %d-%d/%d", test.from, test.to-1, n) {
					t.Errorf("%s %s: got %d %q", method, test.spec, resp.StatusCode, got)
				}
				if resp.Header.Get("Content-Length") != fmt.Sprint(len(want)) {
					t.Errorf("%s %s: Content-Length %s, want %d", method, test.spec, resp.Header.Get("Content-Length"), len(want))
				}
				if method == http.MethodHead {
					want = nil
				}
				if !bytes.Equal(body, want) {
					t.Errorf("%s %s: other bytes", method, test.spec)
				}
			}
		}
		for _, spec := range []string{"300000-", "400000-500000", "-0", "9-5", "a-b", "--"} {
			resp, body := w.send(http.MethodGet, w.url("data.bin"), "Range", "bytes="+spec)
			wantProblem(t, resp, body, http.StatusRequestedRangeNotSatisfiable)
			if got := resp.Header.Get("Content-Range"); got != "bytes */300000" {
				t.Errorf("%s: Content-Range %q", spec, got)
			}
		}
		resp, body := w.send(http.MethodGet, w.url("empty"), "Range", "bytes=0-10")
		if resp.StatusCode != http.StatusOK || len(body) != 0 {
			t.Errorf("range of nothing: got %d %q", resp.StatusCode, body)
		}
	})
}

func TestMultipleRanges(t *testing.T) {
	data := randomBytes(t, 300_000)
	stores(t, func(t *testing.T, w *world) {
		w.finish(map[string][]byte{"data.bin": data})
		resp, body := w.send(http.MethodGet, w.url("data.bin"), "Range", "bytes=200000-200009, 0-4,-3")
		_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil || resp.StatusCode != http.StatusPartialContent {
			t.Fatalf("%d: %v", resp.StatusCode, err)
		}
		parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for _, want := range [][]byte{data[200_000:200_010], data[:5], data[len(data)-3:]} {
			p, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(p)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: got %x, want %x (%v)", p.Header.Get("Content-Range"), got, want, err)
			}
		}
		if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last part: %v", err)
		}
		many := "bytes=0-0"
		for i := range 100 {
			many += fmt.Sprintf(",%d-%d", i*2, i*2)
		}
		resp, body = w.send(http.MethodGet, w.url("data.bin"), "Range", many)
		if resp.StatusCode != http.StatusOK || !bytes.Equal(body, data) {
			t.Errorf("many ranges: got %d and %d bytes, want the whole", resp.StatusCode, len(body))
		}
	})
}

func TestConditions(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.finish(map[string][]byte{"a": []byte("0123456789")})
		etag := `"` + sha([]byte("0123456789")) + `"`
		first, _ := w.send(http.MethodGet, w.url("a"))
		modified := first.Header.Get("Last-Modified")
		tests := []struct {
			headers []string
			want    int
			body    string
		}{
			{[]string{"If-None-Match", etag}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", "W/" + etag}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", `"x", ` + etag}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", "*"}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", `"x"`}, http.StatusOK, "0123456789"},
			{[]string{"If-Match", etag}, http.StatusOK, "0123456789"},
			{[]string{"If-Match", "*"}, http.StatusOK, "0123456789"},
			{[]string{"If-Match", `"x"`}, http.StatusPreconditionFailed, ""},
			{[]string{"If-Match", "W/" + etag}, http.StatusPreconditionFailed, ""},
			{[]string{"If-Modified-Since", modified}, http.StatusNotModified, ""},
			{[]string{"If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"}, http.StatusPreconditionFailed, ""},
			{[]string{"Range", "bytes=2-3", "If-Range", etag}, http.StatusPartialContent, "23"},
			{[]string{"Range", "bytes=2-3", "If-Range", `"x"`}, http.StatusOK, "0123456789"},
			{[]string{"Range", "bytes=2-3", "If-Range", "W/" + etag}, http.StatusOK, "0123456789"},
			{[]string{"Range", "bytes=2-3", "If-Range", modified}, http.StatusPartialContent, "23"},
			{[]string{"Range", "bytes=2-3", "If-Match", `"x"`}, http.StatusPreconditionFailed, ""},
			{[]string{"Range", "bytes=2-3", "If-None-Match", etag}, http.StatusNotModified, ""},
		}
		for _, test := range tests {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				t.Run(method+strings.Join(test.headers, " "), func(t *testing.T) {
					resp, body := w.send(method, w.url("a"), test.headers...)
					if test.want == http.StatusPreconditionFailed {
						wantProblem(t, resp, body, test.want)
						return
					}
					want := test.body
					if method == http.MethodHead {
						want = ""
					}
					if resp.StatusCode != test.want || string(body) != want {
						t.Errorf("got %d %q, want %d %q", resp.StatusCode, body, test.want, want)
					}
					if resp.Header.Get("ETag") != etag {
						t.Errorf("ETag %q", resp.Header.Get("ETag"))
					}
				})
			}
		}
	})
}

func TestMethods(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.finish(map[string][]byte{"a": []byte("x")})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		for _, target := range []string{"/outputs/" + string(w.id), w.url("a")} {
			resp, body := w.send(method, target)
			wantProblem(t, resp, body, http.StatusMethodNotAllowed)
		}
	}
}

// entry is one file of an archive.
type entry struct {
	name     string
	content  []byte
	modified time.Time
	mode     fs.FileMode
}

func unpack(t testing.TB, format string, data []byte) []entry {
	t.Helper()
	var entries []entry
	add := func(name string, modified time.Time, mode fs.FileMode, r io.Reader) {
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		entries = append(entries, entry{name, content, modified.UTC(), mode})
	}
	if format == "zip" {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			add(f.Name, f.Modified, f.Mode(), r)
			r.Close()
		}
		return entries
	}
	g, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(g); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			t.Errorf("%s has type %c", h.Name, h.Typeflag)
		}
		add(h.Name, h.ModTime, h.FileInfo().Mode(), r)
	}
}

func TestArchives(t *testing.T) {
	files := map[string][]byte{"stdout.log": []byte(strings.Repeat("line\n", 1000)), "stderr.log": nil,
		"pic.png": randomBytes(t, 5000)}
	for i := range 1000 {
		files[fmt.Sprintf("dir%d/file%04d.txt", i%10, i)] = fmt.Appendf(nil, "content %d", i)
	}
	stores(t, func(t *testing.T, w *world) {
		w.finish(files)
		types := map[string]string{"zip": "application/zip", "tar.gz": "application/gzip"}
		for format, contentType := range types {
			target := "/outputs/" + string(w.id) + "?format=" + format
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				resp, body := w.send(method, target)
				want := fmt.Sprintf(`attachment; filename="run-%s.%s"`, w.id, format)
				if got := resp.Header.Get("Content-Disposition"); resp.StatusCode != http.StatusOK ||
					!strings.HasPrefix(got, want) || resp.Header.Get("Content-Type") != contentType {
					t.Errorf("%s: got %d %q %q", format, resp.StatusCode, got, resp.Header.Get("Content-Type"))
				}
				if method == http.MethodHead {
					if len(body) != 0 {
						t.Errorf("HEAD has a body of %d bytes", len(body))
					}
					continue
				}
				got := map[string][]byte{}
				var names []string
				for _, e := range unpack(t, format, body) {
					got[e.name], names = e.content, append(names, e.name)
					if !e.modified.Equal(finished()) {
						t.Errorf("%s was modified %v, want %v", e.name, e.modified, finished())
					}
				}
				if !slices.IsSorted(names) || len(names) != len(files) {
					t.Errorf("%s has %d names, want %d in order", format, len(names), len(files))
				}
				if diff := cmp.Diff(files, got, cmp.Transformer("string", func(b []byte) string { return string(b) })); diff != "" {
					t.Errorf("%s (-want +got):\n%s", format, diff)
				}
			}
		}
	})
}

func TestZipMethods(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.finish(map[string][]byte{"a.txt": []byte("x"), "b.png": []byte("x"), "c.tar.gz": []byte("x"), "d": []byte("x"),
		"e.log": nil})
	_, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+"?format=zip")
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint16{}
	for _, f := range z.File {
		got[f.Name] = f.Method
	}
	want := map[string]uint16{"a.txt": zip.Deflate, "b.png": zip.Store, "c.tar.gz": zip.Store, "d": zip.Deflate,
		"e.log": zip.Store}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestArchiveModes unpacks programs as programs, and nothing with more rights than that.
func TestArchiveModes(t *testing.T) {
	w := newWorld(t, t.TempDir())
	files := w.put(map[string][]byte{"data": []byte("x"), "tool": []byte("#!/bin/sh\n"), "odd": []byte("x")})
	for i, f := range files {
		files[i].Mode = map[string]string{"tool": "0755", "odd": "6777"}[f.Name]
	}
	w.end(files)
	for _, format := range []string{"zip", "tar.gz"} {
		_, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+"?format="+format)
		got := map[string]fs.FileMode{}
		for _, e := range unpack(t, format, body) {
			got[e.name] = e.mode
		}
		if diff := cmp.Diff(map[string]fs.FileMode{"data": 0o644, "tool": 0o755, "odd": 0o644}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}

func TestArchiveOfNothing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for _, format := range []string{"zip", "tar.gz"} {
		resp, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+"?format="+format)
		p := wantProblem(t, resp, body, http.StatusConflict)
		if !strings.Contains(p.Detail, "Not yet") {
			t.Errorf("detail %q", p.Detail)
		}
	}
	w.end([]job.File{})
	for _, format := range []string{"zip", "tar.gz"} {
		resp, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+"?format="+format)
		if entries := unpack(t, format, body); resp.StatusCode != http.StatusOK || len(entries) != 0 {
			t.Errorf("%s: got %d and %v", format, resp.StatusCode, entries)
		}
	}
}

// An archive that cannot be completed must not look complete.
func TestArchiveCutOff(t *testing.T) {
	big := randomBytes(t, 1<<20) // more than what is buffered
	lose := map[string]func(w *world) error{
		"missing": func(w *world) error { return w.store.Remove(t.Context(), ledger.ResultKey(w.id, "b")) },
		"longer": func(w *world) error {
			_, err := w.store.Put(t.Context(), ledger.ResultKey(w.id, "b"), strings.NewReader("longer than before"))
			return err
		},
	}
	for name, f := range lose {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, w *world) {
				w.finish(map[string][]byte{"a": big, "b": []byte("x"), "c": big})
				if err := f(w); err != nil {
					t.Fatal(err)
				}
				for _, format := range []string{"zip", "tar.gz"} {
					_, body, err := w.try(http.MethodGet, "/outputs/"+string(w.id)+"?format="+format)
					if err == nil {
						t.Errorf("%s: got %d bytes and no error", format, len(body))
					}
				}
			})
		})
	}
}

// Before anything was written there is an ordinary error.
func TestArchiveWithoutItsFirstFile(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.finish(map[string][]byte{"a": []byte("x"), "b": []byte("y")})
	if err := w.store.Remove(t.Context(), ledger.ResultKey(w.id, "a")); err != nil {
		t.Fatal(err)
	}
	resp, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+"?format=zip")
	wantProblem(t, resp, body, http.StatusNotFound)
}

// A file that is not the recorded one is our fault, and is never sent under the recorded one's
// ETag.
func TestChangedFile(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.finish(map[string][]byte{"a": []byte("x"), "b": []byte("y")})
		if _, err := w.store.Put(t.Context(), ledger.ResultKey(w.id, "a"), strings.NewReader("longer")); err != nil {
			t.Fatal(err)
		}
		if err := w.store.Remove(t.Context(), ledger.ResultKey(w.id, "b")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is known that there are no files
			resp, body := w.send(http.MethodHead, w.url("a"))
			wantProblem(t, resp, body, http.StatusInternalServerError)
			resp, body = w.send(http.MethodGet, w.url("b"), "Range", "bytes=0-")
			wantProblem(t, resp, body, http.StatusNotFound)
		}
	})
}

// pattern is bytes without end that cost no memory.
type pattern struct{ at byte }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = p.at
		p.at++
	}
	return len(b), nil
}

// Large outputs are streamed: what the process holds meanwhile does not grow with them.
func TestMemory(t *testing.T) {
	const size = 64 << 20
	w := newWorld(t, t.TempDir())
	d, err := w.store.Put(t.Context(), ledger.ResultKey(w.id, "big"), io.LimitReader(&pattern{}, size))
	if err != nil {
		t.Fatal(err)
	}
	w.end([]job.File{{Name: "big", Size: d.Size, SHA256: d.SHA256}})
	for _, target := range []string{w.url("big"), "/outputs/" + string(w.id) + "?format=zip", "/outputs/" + string(w.id) +
		"?format=tar.gz"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", w.user())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		runtime.ReadMemStats(&after)
		if err != nil || n == 0 {
			t.Fatalf("%s: %d bytes, %v", target, n, err)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 8<<20 {
			t.Errorf("%s: %d bytes were allocated", target, allocated)
		}
	}
}

// A client that goes away in the middle of many ranges leaves nothing that still reads.
func TestClientGoesAway(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.finish(map[string][]byte{"big": make([]byte, 8<<20)})
		for _, headers := range [][]string{{"Range", "bytes=0-4000000,4000001-8000000"}, {"Range", "bytes=1-"}, {"X", "y"}} {
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+w.url("big"), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", w.user())
			req.Header.Set(headers[0], headers[1])
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil {
				t.Error(err)
			}
			cancel()
			resp.Body.Close()
		}
		w.server.Close() // waits for the handlers
	})
}

func TestNew(t *testing.T) {
	env := platform.New(map[string]string{"STORAGE_DIR": t.TempDir()}, slog.New(slog.DiscardHandler))
	if _, err := outputs.New(env); err == nil || !strings.Contains(err.Error(), "TOKEN_KEYS") {
		t.Errorf("without keys: %v", err)
	}
}

// countingBucket counts what is asked of a bucket without files.
type countingBucket struct {
	*store.Store
	opens, stats atomic.Int64
}

func (b *countingBucket) Open(ctx context.Context, key string, offset, length int64) (*store.Reader, error) {
	b.opens.Add(1)
	return b.Store.Open(ctx, key, offset, length)
}

func (b *countingBucket) Stat(ctx context.Context, key string) (store.Info, error) {
	b.stats.Add(1)
	return b.Store.Stat(ctx, key)
}

// Every request to a remote bucket costs time and money: a download takes one, and one that needs
// no bytes reads none.
func TestRequestsToABucket(t *testing.T) {
	w := newWorld(t, "")
	w.finish(map[string][]byte{"a": []byte("0123456789")})
	b := &countingBucket{Store: w.store}
	router := api.NewRouter(slog.New(slog.DiscardHandler))
	env := platform.New(nil, slog.New(slog.DiscardHandler))
	env.SetStore(w.store)
	env.SetKeys(w.keys)
	f, err := outputs.New(env)
	if err != nil {
		t.Fatal(err)
	}
	f.SetBucket(b)
	f.Mount(router)
	tests := []struct {
		name    string
		method  string
		headers []string
		opens   int64
		stats   int64
	}{
		{"whole, the first request", http.MethodGet, nil, 1, 0},
		{"whole", http.MethodGet, nil, 1, 0},
		{"head", http.MethodHead, nil, 0, 1},
		{"range", http.MethodGet, []string{"Range", "bytes=2-3"}, 1, 1},
		{"not modified", http.MethodGet, []string{"If-None-Match", "*"}, 0, 1},
		{"two ranges", http.MethodGet, []string{"Range", "bytes=2-3,7-8"}, 2, 1},
	}
	for _, test := range tests {
		b.opens.Store(0)
		b.stats.Store(0)
		req := httptest.NewRequestWithContext(t.Context(), test.method, w.url("a"), nil)
		req.Header.Set("Authorization", w.user())
		if test.headers != nil {
			req.Header.Set(test.headers[0], test.headers[1])
		}
		router.ServeHTTP(httptest.NewRecorder(), req)
		if b.opens.Load() != test.opens || b.stats.Load() != test.stats {
			t.Errorf("%s: %d reads and %d looks, want %d and %d", test.name, b.opens.Load(), b.stats.Load(), test.opens,
				test.stats)
		}
	}
}

// Whatever the path and the query: no fault of the server, and no bytes but those of listed
// outputs.
func FuzzPath(f *testing.F) {
	w := newWorld(f, f.TempDir())
	secret := []byte("never listed")
	if _, err := w.store.Put(f.Context(), ledger.FileKey(w.id, "secret"), bytes.NewReader(secret)); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, string(w.id), "results.txt"), secret, 0o600); err != nil &&
		!errors.Is(err, fs.ErrExist) {
		f.Fatal(err)
	}
	names := map[string][]byte{}
	for _, name := range weirdNames() {
		names[name] = []byte("content")
		f.Add(name, "")
	}
	w.finish(names)
	router := w.server.Config.Handler
	for _, name := range []string{"../secret", "..", "/", "//x", "\x00", "a/../b", "../../" + string(w.id) + "/secret",
		strings.Repeat("a/", 600)} {
		f.Add(name, "format=zip")
	}
	f.Fuzz(func(t *testing.T, name, query string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.URL = &url.URL{Path: "/outputs/" + string(w.id) + "/" + name, RawQuery: query}
		req.Header.Set("Authorization", w.user())
		rec := httptest.NewRecorder()
		router.ServeHTTP(rec, req)
		_, listed := names[name]
		switch {
		case rec.Code >= http.StatusInternalServerError:
			t.Errorf("%q ? %q: %d %s", name, query, rec.Code, rec.Body)
		case bytes.Contains(rec.Body.Bytes(), secret):
			t.Errorf("%q ? %q: not to be seen", name, query)
		case rec.Code == http.StatusOK && !listed && name != "":
			t.Errorf("%q ? %q: %d", name, query, rec.Code)
		}
	})
}

// TestReported has an agent whose program was stopped from outside: what it stored can be read
// before anybody has found out why and recorded the end, unless another attempt may follow.
func TestReported(t *testing.T) {
	for retries, visible := range []bool{true, false} {
		w := newWorld(t, t.TempDir())
		w.index = w.newJob()
		w.index.Retries = retries
		id, err := job.NewID(time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w.index.JobID, w.id = id, id
		if err := w.ledger.Accept(t.Context(), w.index); err != nil {
			t.Fatal(err)
		}
		if _, err := w.ledger.StartAttempt(t.Context(), w.id, 1, "mine", nil); err != nil {
			t.Fatal(err)
		}
		files := w.put(map[string][]byte{"a.txt": []byte("kept")})
		check := func(visible bool) {
			t.Helper()
			status := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[visible]
			if resp, body := w.send(http.MethodGet, w.url("a.txt")); resp.StatusCode != status || visible &&
				string(body) != "kept" {
				t.Errorf("with %d retries: got %s: %s", retries, resp.Status, body)
			}
			_, list := w.send(http.MethodGet, "/outputs/"+string(w.id))
			if strings.Contains(string(list), "a.txt") != visible {
				t.Errorf("with %d retries: the list is %s", retries, list)
			}
			if !visible {
				status = http.StatusConflict
			}
			if resp, body := w.send(http.MethodGet, "/outputs/"+string(w.id)+"?format=zip"); resp.StatusCode != status {
				t.Errorf("with %d retries, all: got %s: %.200s", retries, resp.Status, body)
			}
			if resp, _ := w.send(http.MethodGet, w.url("b.txt")); resp.StatusCode != http.StatusNotFound {
				t.Errorf("what is not there: got %s", resp.Status)
			}
		}
		check(false)
		at := finished()
		report := ledger.Report{Attempt: job.Attempt{Number: 1, Reason: job.ReasonInterrupted, FinishedAt: &at}, Files: files}
		if err := w.ledger.PutReport(t.Context(), w.id, report); err != nil {
			t.Fatal(err)
		}
		check(visible)
	}
}
