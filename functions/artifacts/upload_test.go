package artifacts_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

func TestUpload(t *testing.T) {
	names := []string{
		"a.txt", "two words", `"quoted"`, "naïve – 日本語 🎉", strings.Repeat("x", 200), "x.attrs", "x.attrs~", "%", "%2e%2e", "a?b#c", ".hidden", "-rf", "...",
		"deep/er/still/file", "nested/.job", ".jobs/x", ".job2", "upload", "index.json", "status.json", "x.tmp", "stdout.log", " ", "a:b*", "__0x2f__",
	}
	stores(t, func(t *testing.T, w *world) {
		for _, name := range names {
			for range 2 { // again is harmless
				resp, body := w.put(name, "content of "+name)
				want := job.File{Name: name, Size: int64(len("content of " + name)), SHA256: sha("content of " + name)}
				var got job.File
				if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusCreated {
					t.Fatalf("%q: %d %s %v", name, resp.StatusCode, body, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%q (-want +got):\n%s", name, diff)
				}
				if got, _ := w.stored(name); got != "content of "+name {
					t.Errorf("%q: stored %q", name, got)
				}
			}
		}
		if got := w.results(); len(got) != len(names) {
			t.Errorf("%d files are stored, want %d: %q", len(got), len(names), got)
		}
	})
}

func TestUploadNames(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		tests := map[string]int{
			"": 422, "..": 422, "../x": 422, "a/../b": 422, "a//b": 422, "/a": 422, "a/": 422, "./a": 422, "a/.": 422, "%2e%2e%2fx": 422, "a%2f..%2f..%2fx": 422,
			"a%00b": 422, "a%0ab": 422, "a%7fb": 422, "%ff": 422, "a%5cb": 422, strings.Repeat("x", 201): 422, strings.Repeat("x/", 501) + "x": 422,
			"stdout.log/x": 422, "stderr.log/x/y": 422, "stdout.log/": 422,
			".job": 422, ".job/": 404, ".job/x": 404, ".job/..": 404, ".job/../x": 404, ".job/log": 404, ".job/log/a/b": 404, ".job/log/": 422, ".job/log/..": 422, ".job/log/%2e%2e%2fx": 404,
			".job/attempts/1/start": 404, ".job/attempts/-1/end": 404, ".job/attempts/01/end": 404, ".job/attempts/+1/end": 404, ".job/attempts/102/end": 404,
			".job/attempts/1/": 404, ".job/attempts/1/stop": 404, ".job/attempts/x/end": 404, ".job/attempts/99999999999999999999/end": 404, ".job/status.json/": 404,
			".job/outputs.json%00": 404, ".job/index.json": 404,
		}
		for target, want := range tests {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.server.URL, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Opaque = "//" + req.URL.Host + "/artifacts/" + string(w.id) + "/upload/" + target // as it is
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
			if resp.StatusCode != want {
				t.Errorf("%s: got %d %s, want %d", target, resp.StatusCode, body, want)
				continue
			}
			wantProblem(t, resp, body, want)
		}
		if got := w.results(); len(got) != 0 {
			t.Errorf("stored: %q", got)
		}
	})
}

// A name can be a file's or a folder's. A bucket that is no directory has no folders and takes both.
func TestUploadFileAndFolder(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.put("a", "x")
	w.put("d/e", "x")
	for _, name := range []string{"a/b", "a/b/c", "d"} {
		resp, body := w.put(name, "y")
		p := wantProblem(t, resp, body, http.StatusConflict)
		if !strings.Contains(p.Detail, "folder") {
			t.Errorf("%s: %q", name, p.Detail)
		}
	}
	w.record("outputs.json", `{"files":[{"name":"a/b","size":1,"sha256":"`+sha("x")+`"}],"order":{"runs":[]}}`, http.StatusUnprocessableEntity)
	w.record("outputs.json", `{"files":[{"name":"d","size":1,"sha256":"`+sha("x")+`"}],"order":{"runs":[]}}`, http.StatusUnprocessableEntity)
	if diff := cmp.Diff([]string{string(w.id) + "/results/a", string(w.id) + "/results/d/e"}, w.results()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// unsized hides the length of a body, which then is sent in chunks.
type unsized struct{ io.Reader }

func TestUploadSize(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		exact := strings.Repeat("x", maxOutput)
		for name, body := range map[string]io.Reader{"sized": strings.NewReader(exact), "chunked": unsized{strings.NewReader(exact)}} {
			if resp, data := w.send(http.MethodPut, w.upload(name), body); resp.StatusCode != http.StatusCreated {
				t.Errorf("%s: got %d %s", name, resp.StatusCode, data)
			}
		}
		stored := w.results()
		for _, body := range []io.Reader{strings.NewReader(exact + "x"), unsized{strings.NewReader(exact + "x")}} {
			resp, data := w.send(http.MethodPut, w.upload("large"), body)
			p := wantProblem(t, resp, data, http.StatusRequestEntityTooLarge)
			if !strings.Contains(p.Detail, "2097152") {
				t.Errorf("detail %q", p.Detail)
			}
		}
		if diff := cmp.Diff(stored, w.results()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A body that is too large is refused before it is sent.
func TestUploadTooLargeEarly(t *testing.T) {
	w := newWorld(t, t.TempDir())
	answer := w.raw("Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n", false)
	if !strings.HasPrefix(answer, "HTTP/1.1 413 ") {
		t.Errorf("got %q", answer)
	}
}

// raw sends a PUT of cut/off.bin whose headers and body are given, closes its side or everything, and returns what is
// answered.
func (w *world) raw(rest string, abort bool) string {
	w.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(w.t.Context(), "tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s", w.upload("cut/off.bin"), w.bearer(token.Agent, w.id), rest)
	if abort {
		time.Sleep(20 * time.Millisecond) // for the server to begin
		return ""
	}
	if !strings.Contains(rest, "100-continue") {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil { //nolint:forcetypeassert // it was dialled
			w.t.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return line
}

// What did not arrive whole is not stored, and does not harm what was.
func TestUploadCutOff(t *testing.T) {
	long := strings.Repeat("y", 300_000)
	tests := map[string]string{
		"length too long":   "Content-Length: 1000000\r\n\r\n" + long,
		"no body":           "Content-Length: 10\r\n\r\n",
		"no last chunk":     "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"in a chunk":        "Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + long,
		"malformed chunk":   "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
		"without chunk end": "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
	}
	for _, before := range []bool{false, true} {
		stores(t, func(t *testing.T, w *world) {
			want := []string{}
			if before {
				w.put("cut/off.bin", "older")
				want = w.results()
			}
			for name, rest := range tests {
				if answer := w.raw(rest, false); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
					t.Errorf("%s: got %q", name, answer)
				}
				w.raw(rest, true)
			}
			w.server.Close() // waits for the handlers
			if diff := cmp.Diff(want, w.results()); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			if got, _ := w.stored("cut/off.bin"); before && got != "older" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A Content-Length that is too short makes a shorter file; what follows is another, malformed request.
func TestUploadLengthTooShort(t *testing.T) {
	w := newWorld(t, t.TempDir())
	if answer := w.raw("Content-Length: 3\r\n\r\nabcdef", false); !strings.HasPrefix(answer, "HTTP/1.1 201 ") {
		t.Errorf("got %q", answer)
	}
	if got, _ := w.stored("cut/off.bin"); got != "abc" {
		t.Errorf("stored %q", got)
	}
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func TestDigests(t *testing.T) {
	right, wrong := digestOf("content"), digestOf("other")
	tests := []struct {
		name    string
		headers []string
		want    int
	}{
		{"right", []string{"Content-Digest", right}, 201},
		{"right repr", []string{"Repr-Digest", right}, 201},
		{"both", []string{"Content-Digest", right, "Repr-Digest", right}, 201},
		{"several algorithms", []string{"Content-Digest", "sha-512=:YWJj:, " + right}, 201},
		{"unknown algorithm only", []string{"Content-Digest", "md5=:YWJj:"}, 201},
		{"wrong", []string{"Content-Digest", wrong}, 422},
		{"wrong repr", []string{"Repr-Digest", wrong}, 422},
		{"one wrong", []string{"Content-Digest", right, "Repr-Digest", wrong}, 422},
		{"no base64", []string{"Content-Digest", "sha-256=:!!:"}, 400},
		{"hexadecimal", []string{"Content-Digest", "sha-256=" + sha("content")}, 400},
		{"short", []string{"Content-Digest", "sha-256=:YWJj:"}, 400},
		{"encoded", []string{"Content-Encoding", "gzip"}, 415},
		{"not encoded", []string{"Content-Encoding", "identity"}, 201},
		{"partial", []string{"Content-Range", "bytes 0-6/100"}, 400},
	}
	stores(t, func(t *testing.T, w *world) {
		for i, test := range tests {
			name := fmt.Sprintf("file%d", i)
			resp, body := w.put(name, "content", test.headers...)
			if resp.StatusCode != test.want {
				t.Errorf("%s: got %d %s, want %d", test.name, resp.StatusCode, body, test.want)
			}
			got, stored := w.stored(name)
			if stored != (test.want == 201) || stored && got != "content" {
				t.Errorf("%s: stored %v %q", test.name, stored, got)
			}
			if test.want != 201 {
				if p := wantProblem(t, resp, body, test.want); test.want == 422 && p.Errors[0].Field != test.headers[len(test.headers)-2] {
					t.Errorf("%s: %+v", test.name, p.Errors)
				}
			}
		}
		w.put("file0", "content")
		if resp, _ := w.put("file0", "changed", "Content-Digest", right); resp.StatusCode != 422 {
			t.Errorf("changed on the way: got %d", resp.StatusCode)
		}
		if got, _ := w.stored("file0"); got != "content" {
			t.Errorf("stored %q", got)
		}
		// A digest is checked of an empty and of a chunked body as well.
		if resp, _ := w.put("empty", "", "Content-Digest", right); resp.StatusCode != 422 {
			t.Errorf("empty: got %d", resp.StatusCode)
		}
		if resp, _ := w.send(http.MethodPut, w.upload("chunked"), unsized{strings.NewReader("other")}, "Repr-Digest", right); resp.StatusCode != 422 {
			t.Errorf("chunked: got %d", resp.StatusCode)
		}
	})
}

// Of several that store one name at once, one is stored, whole.
func TestConcurrentUploads(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.server.URL+w.upload("one"), strings.NewReader(strings.Repeat(string(rune('a'+i)), 500_000)))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", w.bearer(token.Agent, w.id))
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusCreated {
					t.Errorf("got %d", resp.StatusCode)
				}
			})
		}
		all.Wait()
		got, _ := w.stored("one")
		if len(got) != 500_000 || strings.Trim(got, got[:1]) != "" {
			t.Errorf("stored %d bytes of several", len(got))
		}
		if names := w.results(); len(names) != 1 {
			t.Errorf("stored %q", names)
		}
	})
}

func TestUploadMemory(t *testing.T) {
	w := newWorld(t, t.TempDir())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const files = 32
	for i := range files {
		body := unsized{io.LimitReader(zeros{}, maxOutput)}
		if resp, data := w.send(http.MethodPut, w.upload(fmt.Sprint(i)), body); resp.StatusCode != http.StatusCreated {
			t.Fatalf("%d %s", resp.StatusCode, data)
		}
	}
	runtime.ReadMemStats(&after)
	if perFile := (after.TotalAlloc - before.TotalAlloc) / files; perFile > maxOutput/2 {
		t.Errorf("%d bytes were allocated for each file of %d", perFile, maxOutput)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestUploadWhenOver(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.end()
		for name, body := range map[string]string{
			"a": "x", ".job/attempts/next/start": `{"owner":"me"}`, ".job/attempts/1/end": `{}`, ".job/outputs.json": `{}`, ".job/log/000000000000-000000000000": "x",
		} {
			resp, data := w.put(name, body)
			p := wantProblem(t, resp, data, http.StatusConflict)
			if !strings.Contains(p.Detail, "over") {
				t.Errorf("%s: %q", name, p.Detail)
			}
		}
		if got := w.results(); len(got) != 0 {
			t.Errorf("stored %q", got)
		}
	})
}

// Whatever the name and the body: no fault of the server, and nothing stored outside the job's results.
func FuzzUpload(f *testing.F) {
	w := newWorld(f, f.TempDir())
	for _, name := range []string{"a", "../x", "a/../../x", ".job/log/x", ".job/attempts/next/start", ".job/attempts/1/end", ".job/outputs.json", ".job/log/000000000001-000000000001", "\x00", "a//b", "..", "x.attrs"} {
		f.Add(name, `{"owner":"x"}`)
	}
	f.Add(".job/outputs.json", `{"files":[{"name":"a","size":1,"sha256":"x"}],"order":{"runs":[{"stream":"stdout","bytes":1}]}}`)
	f.Add(".job/attempts/1/end", `{"number":1,"startedAt":"2026-01-01T00:00:00Z","finishedAt":"2026-01-01T00:00:00Z","reason":"Error"}`)
	router := w.server.Config.Handler
	f.Fuzz(func(t *testing.T, name, body string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", strings.NewReader(body))
		req.URL = &url.URL{Path: "/artifacts/" + string(w.id) + "/upload/" + name}
		req.Header.Set("Authorization", w.bearer(token.Agent, w.id))
		rec := httptest.NewRecorder()
		router.ServeHTTP(rec, req)
		if rec.Code >= http.StatusInternalServerError {
			t.Errorf("%q: %d %s", name, rec.Code, rec.Body)
		}
		if rec.Code == http.StatusCreated && !strings.HasPrefix(name, job.PrivateDir) && job.CheckOutputName(strings.TrimPrefix(name, "/")) != "" {
			t.Errorf("%q was stored", name)
		}
		keys, err := w.store.List(t.Context(), string(w.id)+"/", "", 100_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if rest := strings.TrimPrefix(key, string(w.id)+"/"); !strings.HasPrefix(rest, "results/") && !strings.HasPrefix(rest, "main.py") &&
				!strings.HasPrefix(rest, "we") && rest != "status.json.bak" && rest != "index.json" && rest != "status.json" {
				t.Errorf("%q stored %q", name, key)
			}
		}
	})
}
