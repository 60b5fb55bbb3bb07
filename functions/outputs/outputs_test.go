package outputs_test

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/token"
)

// finished is when the jobs of these tests end.
func finished() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

// fixture is a server with one job on it.
type fixture struct {
	*ledgertest.Fixture
	server *httptest.Server
	id     job.ID
	index  *job.Index
}

// each runs a test with each kind of bucket.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	ledgertest.Each(t, func(t *testing.T, b *ledgertest.Fixture) { test(t, serve(t, b)) })
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return serve(t, ledgertest.New(t))
}

func serve(t testing.TB, b *ledgertest.Fixture) *fixture {
	t.Helper()
	function, err := outputs.New(b.Env())
	b.Must(err)
	f := &fixture{Fixture: b, server: b.Serve(function), index: b.Job()}
	f.id = f.index.JobID
	return f
}

// finish stores outputs and their list, and ends the job.
func (f *fixture) finish(files map[string]string) {
	f.T.Helper()
	f.end(f.put(files))
}

func (f *fixture) put(files map[string]string) []job.File {
	f.T.Helper()
	var list []job.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, f.Output(f.id, name, files[name]))
	}
	return list
}

func (f *fixture) end(list []job.File) {
	f.T.Helper()
	f.Must(f.Ledger.PutOutputs(f.T.Context(), f.id, list))
	f.Finish(f.index, job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: finished()})
}

func (f *fixture) url(name string) string {
	segments := strings.Split(name, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return f.all() + "/" + strings.Join(segments, "/")
}

func (f *fixture) user() string { return f.Bearer(token.User, f.id) }

// all is the path of the list of outputs.
func (f *fixture) all() string { return "/outputs/" + string(f.id) }

// send makes a request with the user's token and the given pairs of header names and values.
func (f *fixture) send(method, target string, headers ...string) (*http.Response, []byte) {
	f.T.Helper()
	headers = append([]string{"Authorization", f.user()}, headers...)
	return ledgertest.Send(f.T, method, f.server.URL+target, nil, headers...)
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		resp, body := f.send(http.MethodGet, f.all())
		if p := ledgertest.WantProblem(t, resp, body, http.StatusConflict); !strings.Contains(p.Detail, "Not yet") {
			t.Errorf("before the end: %q", p.Detail)
		}
		f.finish(map[string]string{"stdout.log": "hello\n", "stderr.log": "", "b/c.bin": "\x01\x02", "B": "\x03",
			"a.json": "{}"})
		for _, target := range []string{f.all(), f.all() + "/"} {
			resp, body = f.send(http.MethodGet, target)
			var got struct{ Items []job.File }
			if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
			}
			want := []job.File{
				{Name: "B", Size: 1, SHA256: sha("\x03"), ContentType: "application/octet-stream"},
				{Name: "a.json", Size: 2, SHA256: sha("{}"), ContentType: "application/json"},
				{Name: "b/c.bin", Size: 2, SHA256: sha("\x01\x02"), ContentType: "application/octet-stream"},
				{Name: "stderr.log", Size: 0, SHA256: sha(""), ContentType: "text/plain; charset=utf-8"},
				{Name: "stdout.log", Size: 6, SHA256: sha("hello\n"), ContentType: "text/plain; charset=utf-8"},
			}
			if diff := cmp.Diff(want, got.Items); diff != "" {
				t.Errorf("%s (-want +got):\n%s", target, diff)
			}
			if resp, body := f.send(http.MethodHead, target); resp.StatusCode != http.StatusOK || len(body) != 0 {
				t.Errorf("HEAD: got %d %q", resp.StatusCode, body)
			}
		}
	})
}

// TestNotYet asks for outputs in every phase. That there is none yet is another answer than that
// there will be none.
func TestNotYet(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ask := func(phase string) {
			t.Helper()
			for target, status := range map[string]int{
				f.all(): 409, f.all() + "?format=zip": 409, f.url("a"): 404,
				f.url("stdout.log"): 404,
			} {
				resp, body := f.send(http.MethodGet, target)
				p := ledgertest.WantProblem(t, resp, body, status)
				if !strings.Contains(p.Detail, "Not yet") || !strings.Contains(p.Detail, "it is "+phase) {
					t.Errorf("%s of a job that is %s: %q", target, phase, p.Detail)
				}
			}
		}
		ask("Pending")
		if _, err := f.Ledger.StartAttempt(t.Context(), f.id, 1, "owner", nil); err != nil {
			t.Fatal(err)
		}
		ask("Running")
		f.finish(map[string]string{"b": "x"})
		resp, body := f.send(http.MethodGet, f.url("a"))
		if p := ledgertest.WantProblem(t, resp, body, http.StatusNotFound); strings.Contains(p.Detail, "yet") ||
			!strings.Contains(p.Detail, `no output "a"`) {
			t.Errorf("of a job that is over: %q", p.Detail)
		}
	})
}

// A list recorded as null is still a list.
func TestListOfNothing(t *testing.T) {
	f := newFixture(t)
	f.end(nil)
	if _, body := f.send(http.MethodGet, f.all()); string(body) != "{\"items\":[]}\n" {
		t.Errorf("got %s", body)
	}
}

// TestDownload has one row for what shared/download's tests cover.
func TestDownload(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.finish(map[string]string{"sub/page.html": "0123456789"})
		etag := `"` + sha("0123456789") + `"`
		for _, test := range []struct {
			method  string
			headers []string
			status  int
			body    string
		}{
			{http.MethodGet, nil, http.StatusOK, "0123456789"},
			{http.MethodHead, nil, http.StatusOK, ""},
			{http.MethodGet, []string{"Range", "bytes=2-3"}, http.StatusPartialContent, "23"},
			{http.MethodGet, []string{"If-None-Match", etag}, http.StatusNotModified, ""},
		} {
			resp, body := f.send(test.method, f.url("sub/page.html"), test.headers...)
			if resp.StatusCode != test.status || string(body) != test.body || resp.Header.Get("ETag") != etag ||
				resp.Header.Get("Content-Security-Policy") != "sandbox" {
				t.Errorf("%s %v: got %d %q %v, want %d %q", test.method, test.headers, resp.StatusCode, body, resp.Header,
					test.status, test.body)
			}
		}
		resp, body := f.send(http.MethodGet, f.url("sub/page.html"), "Range", "bytes=10-")
		ledgertest.WantProblem(t, resp, body, http.StatusRequestedRangeNotSatisfiable)
	})
}

// An unknown job, one that is being removed, and what is no ID look the same to whoever has no
// token for them.
func TestUnknownJobs(t *testing.T) {
	f := newFixture(t)
	f.finish(map[string]string{"a": "x"})
	unknown, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{string(unknown), "x", strings.ToUpper(string(f.id)), ".."} {
		resp, body := f.send(http.MethodGet, "/outputs/"+url.PathEscape(id)+"/a")
		ledgertest.WantProblem(t, resp, body, http.StatusForbidden)
	}
	resp, body := f.send(http.MethodGet, "/outputs/"+string(unknown), "Authorization", "Bearer "+
		f.Keys.Derive(token.User, unknown))
	ledgertest.WantProblem(t, resp, body, http.StatusNotFound)
	if err := f.Ledger.RequestRemoval(t.Context(), f.id); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{f.all(), f.url("a"), f.all() + "?format=zip"} {
		resp, body = f.send(http.MethodGet, target)
		ledgertest.WantProblem(t, resp, body, http.StatusNotFound)
	}
}

func TestQuery(t *testing.T) {
	f := newFixture(t)
	f.finish(map[string]string{"a": "x"})
	tests := []struct{ target, field string }{
		{"?format=rar", "format"}, {"?format=", "format"}, {"?format=ZIP", "format"}, {"?format=zip&format=zip", "format"},
		{"?fromat=zip", "fromat"}, {"?format=zip&x=1", "x"}, {"/?y", "y"}, {"?%zz", "query"}, {"?format=zip;x", "query"},
		{"/a?format=zip", "format"}, {"/a?%zz", "query"},
	}
	for _, test := range tests {
		t.Run(test.target, func(t *testing.T) {
			resp, body := f.send(http.MethodGet, f.all()+test.target)
			p := ledgertest.WantProblem(t, resp, body, http.StatusBadRequest)
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
	each(t, func(t *testing.T, f *fixture) {
		files := map[string]string{}
		for _, name := range weirdNames() {
			files[name] = "content of " + name
		}
		f.finish(files)
		for name, want := range files {
			resp, body := f.send(http.MethodGet, f.url(name))
			if resp.StatusCode != http.StatusOK || string(body) != want {
				t.Errorf("%q: got %d %q", name, resp.StatusCode, body)
				continue
			}
			disposition, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
			if err != nil || disposition != "attachment" || params["filename"] != path.Base(name) {
				t.Errorf("%q: Content-Disposition %q is %v, %v", name, resp.Header.Get("Content-Disposition"), params, err)
			}
		}
		_, body := f.send(http.MethodGet, f.all()+"?format=zip")
		if diff := cmp.Diff(files, f.unzip(body)); diff != "" {
			t.Errorf("zip (-want +got):\n%s", diff)
		}
	})
}

// unzip returns the files of a zip, which all must have the time of the job's end.
func (f *fixture) unzip(data []byte) map[string]string {
	f.T.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	f.Must(err)
	files := map[string]string{}
	for _, file := range z.File {
		r, err := file.Open()
		f.Must(err)
		content, err := io.ReadAll(r)
		f.Must(err)
		files[file.Name] = string(content)
		if !file.Modified.Equal(finished()) {
			f.T.Errorf("%s was modified %v, want %v", file.Name, file.Modified, finished())
		}
	}
	return files
}

// TestArchives has one row for what shared/download's tests cover.
func TestArchives(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		types := map[string]string{"zip": "application/zip", "tar.gz": "application/gzip"}
		for format := range types {
			resp, body := f.send(http.MethodGet, f.all()+"?format="+format)
			if p := ledgertest.WantProblem(t, resp, body, http.StatusConflict); !strings.Contains(p.Detail, "Not yet") {
				t.Errorf("detail %q", p.Detail)
			}
		}
		files := map[string]string{"a": "x", "dir/b": "y"}
		f.finish(files)
		for format, contentType := range types {
			want := fmt.Sprintf(`attachment; filename="run-%s.%s"`, f.id, format)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				resp, body := f.send(method, f.all()+"?format="+format)
				if got := resp.Header.Get("Content-Disposition"); resp.StatusCode != http.StatusOK ||
					!strings.HasPrefix(got, want) || resp.Header.Get("Content-Type") != contentType {
					t.Errorf("%s: got %d %q %q", format, resp.StatusCode, got, resp.Header.Get("Content-Type"))
				}
				switch {
				case method == http.MethodHead && len(body) > 0:
					t.Errorf("HEAD has a body of %d bytes", len(body))
				case method == http.MethodGet && format == "zip":
					if diff := cmp.Diff(files, f.unzip(body)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
			}
		}
	})
}

func TestArchiveOfNothing(t *testing.T) {
	f := newFixture(t)
	f.end([]job.File{})
	if resp, body := f.send(http.MethodGet, f.all()+"?format=zip"); resp.StatusCode != http.StatusOK ||
		len(f.unzip(body)) != 0 {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

// An archive that cannot be completed must not look complete.
func TestArchiveCutOff(t *testing.T) {
	big := make([]byte, 1<<20) // more than what is buffered
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, f *fixture) {
		f.finish(map[string]string{"a": string(big), "b": "x"})
		f.Must(f.Store.Remove(t.Context(), ledger.ResultKey(f.id, "b")))
		for _, format := range []string{"zip", "tar.gz"} {
			_, body, err := ledgertest.Try(t, http.MethodGet, f.server.URL+f.all()+"?format="+format, nil,
				"Authorization", f.user())
			if err == nil {
				t.Errorf("%s: got %d bytes and no error", format, len(body))
			}
		}
	})
}

// What is not in the list of outputs is not there, whatever lies in the bucket.
func TestOnlyWhatIsListed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.put(map[string]string{"unlisted": "x", "sub/unlisted": "x"})
		if _, err := f.Store.Put(ctx, ledger.FileKey(f.id, "input.txt"), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		f.finish(map[string]string{"listed": "y", "sub/listed": "y", "x.attrs": "z"})
		targets := []string{
			"unlisted", "sub/unlisted", "sub", "sub/", "sub//listed", "/listed", "//listed", "./listed", "listed/", "listed/.",
			"sub/../listed",
			"..", "../index.json", "../input.txt", "%2e%2e/index.json", "%2e%2e%2findex.json", "..%2findex.json",
			"sub%2f..%2f..%2findex.json",
			"listed%00", "%00", "listed.attrs", "x.attrs~", "x.attrs%7e", "LISTED", "listed%20", "%5c..%5cindex.json",
			"..%5c..%5cindex.json", "%2flisted", "%ff",
			"../../" + ".orchestrator/run/" + string(f.id) + "/outputs.json",
		}
		for _, target := range targets {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				req, err := http.NewRequestWithContext(ctx, method, f.server.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.URL.Opaque = "//" + req.URL.Host + f.all() + "/" + target // as it is
				req.Header.Set("Authorization", f.user())
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				ledgertest.WantProblem(t, resp, body, http.StatusNotFound)
			}
		}
		// An escaped slash is a slash.
		if resp, body := f.send(http.MethodGet, f.all()+
			"/sub%2Flisted"); resp.StatusCode != http.StatusOK || string(body) != "y" {
			t.Errorf("escaped slash: got %d %q", resp.StatusCode, body)
		}
	})
}

func TestLinkIsNotListed(t *testing.T) {
	f := newFixture(t)
	f.finish(map[string]string{"a": "x"})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(f.Dir, string(f.id), "results", "link")); err != nil {
		t.Fatal(err)
	}
	resp, body := f.send(http.MethodGet, f.url("link"))
	ledgertest.WantProblem(t, resp, body, http.StatusNotFound)
}

func TestMethods(t *testing.T) {
	f := newFixture(t)
	f.finish(map[string]string{"a": "x"})
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		for _, target := range []string{f.all(), f.url("a")} {
			resp, body := f.send(method, target)
			ledgertest.WantProblem(t, resp, body, http.StatusMethodNotAllowed)
		}
	}
}

// Before anything was written there is an ordinary error.
func TestArchiveWithoutItsFirstFile(t *testing.T) {
	f := newFixture(t)
	f.finish(map[string]string{"a": "x", "b": "y"})
	if err := f.Store.Remove(t.Context(), ledger.ResultKey(f.id, "a")); err != nil {
		t.Fatal(err)
	}
	resp, body := f.send(http.MethodGet, f.all()+"?format=zip")
	ledgertest.WantProblem(t, resp, body, http.StatusNotFound)
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
	f := newFixture(t)
	d, err := f.Store.Put(t.Context(), ledger.ResultKey(f.id, "big"), io.LimitReader(&pattern{}, size))
	if err != nil {
		t.Fatal(err)
	}
	f.end([]job.File{{Name: "big", Size: d.Size, SHA256: d.SHA256}})
	for _, target := range []string{f.url("big"), f.all() + "?format=zip", f.all() +
		"?format=tar.gz"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.server.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", f.user())
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

func TestNew(t *testing.T) {
	env := platform.New(map[string]string{"STORAGE_DIR": filepath.Join(t.TempDir(), "none", "x")},
		slog.New(slog.DiscardHandler))
	if err := os.WriteFile(filepath.Dir(env.Vars["STORAGE_DIR"]), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := outputs.New(env); err == nil || !strings.Contains(err.Error(), "STORAGE_DIR") {
		t.Errorf("without a bucket: %v", err)
	}
}

// Whatever the path and the query: no fault of the server, and no bytes but those of listed
// outputs.
func FuzzPath(f *testing.F) {
	j := newFixture(f)
	secret := []byte("never listed")
	if _, err := j.Store.Put(f.Context(), ledger.FileKey(j.id, "secret"), bytes.NewReader(secret)); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(j.Dir, string(j.id), "results.txt"), secret, 0o600); err != nil &&
		!errors.Is(err, fs.ErrExist) {
		f.Fatal(err)
	}
	names := map[string]string{}
	for _, name := range weirdNames() {
		names[name] = "content"
		f.Add(name, "")
	}
	j.finish(names)
	router := j.server.Config.Handler
	for _, name := range []string{"../secret", "..", "/", "//x", "\x00", "a/../b", "../../" + string(j.id) + "/secret",
		strings.Repeat("a/", 600)} {
		f.Add(name, "format=zip")
	}
	f.Fuzz(func(t *testing.T, name, query string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.URL = &url.URL{Path: j.all() + "/" + name, RawQuery: query}
		req.Header.Set("Authorization", j.user())
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
		f := newFixture(t)
		f.index = f.Job(func(i *job.Index) { i.Retries = retries })
		f.id = f.index.JobID
		f.Start(f.index, 1)
		files := f.put(map[string]string{"a.txt": "kept"})
		check := func(visible bool) {
			t.Helper()
			status := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[visible]
			if resp, body := f.send(http.MethodGet, f.url("a.txt")); resp.StatusCode != status || visible &&
				string(body) != "kept" {
				t.Errorf("with %d retries: got %s: %s", retries, resp.Status, body)
			}
			_, list := f.send(http.MethodGet, f.all())
			if strings.Contains(string(list), "a.txt") != visible {
				t.Errorf("with %d retries: the list is %s", retries, list)
			}
			if !visible {
				status = http.StatusConflict
			}
			if resp, body := f.send(http.MethodGet, f.all()+"?format=zip"); resp.StatusCode != status {
				t.Errorf("with %d retries, all: got %s: %.200s", retries, resp.Status, body)
			}
			if resp, _ := f.send(http.MethodGet, f.url("b.txt")); resp.StatusCode != http.StatusNotFound {
				t.Errorf("what is not there: got %s", resp.Status)
			}
		}
		check(false)
		at := finished()
		report := ledger.Report{Attempt: job.Attempt{Number: 1, Reason: job.ReasonInterrupted, FinishedAt: &at}, Files: files}
		if err := f.Ledger.PutReport(t.Context(), f.id, report); err != nil {
			t.Fatal(err)
		}
		check(visible)
	}
}
