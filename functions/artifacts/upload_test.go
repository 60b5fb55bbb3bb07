package artifacts_test

import (
	"bufio"
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
	"go-job-orchestrator/shared/upload/uploadtest"
)

func TestUpload(t *testing.T) {
	names := []string{
		"a.txt", "two words", `"quoted"`, "naïve – 日本語 🎉", strings.Repeat("x", 200), "x.attrs", "x.attrs~", "%", "%2e%2e",
		"a?b#c", ".hidden", "-rf", "...",
		"deep/er/still/file", "nested/.job", ".jobs/x", ".job2", "upload", "index.json", "status.json", "x.tmp",
		"stdout.log", " ", "a:b*", "__0x2f__",
	}
	stores(t, func(t *testing.T, w *fixture) {
		for _, name := range names {
			for range 2 { // again is harmless
				resp, body := w.Put(name, "content of "+name)
				want := job.File{Name: name, Size: int64(len("content of " + name)),
					SHA256: uploadtest.SHA256("content of " + name)}
				var got job.File
				if err := json.Unmarshal(body, &got); err != nil || resp.StatusCode != http.StatusCreated {
					t.Fatalf("%q: %d %s %v", name, resp.StatusCode, body, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%q (-want +got):\n%s", name, diff)
				}
				if got, _ := w.Stored(name); got != "content of "+name {
					t.Errorf("%q: stored %q", name, got)
				}
			}
		}
		if got := w.Results(); len(got) != len(names) {
			t.Errorf("%d files are stored, want %d: %q", len(got), len(names), got)
		}
	})
}

func TestUploadNames(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		tests := map[string]int{
			"": 422, "..": 422, "../x": 422, "a/../b": 422, "a//b": 422, "/a": 422, "a/": 422, "./a": 422, "a/.": 422,
			"%2e%2e%2fx": 422, "a%2f..%2f..%2fx": 422,
			"a%00b": 422, "a%0ab": 422, "a%7fb": 422, "%ff": 422, "a%5cb": 422, strings.Repeat("x", 201): 422,
			strings.Repeat("x/", 501) + "x": 422,
			"stdout.log/x":                  422, "stderr.log/x/y": 422, "stdout.log/": 422,
			".job": 422, ".job/": 422, ".job/x": 422, ".job/..": 422, ".job/../x": 422, ".job/log/a": 422,
			".job/log/%2e%2e%2fx": 422, ".job/index.json": 422,
			".job/outputs.json": 422, ".job/outputs.json%00": 422, ".job/attempts/next/start": 422, ".job/attempts/1/end": 422,
		}
		for target, want := range tests {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.HTTP.URL, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Opaque = "//" + req.URL.Host + "/artifacts/" + string(w.ID) + "/upload/" + target // as it is
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
			if resp.StatusCode != want {
				t.Errorf("%s: got %d %s, want %d", target, resp.StatusCode, body, want)
				continue
			}
			uploadtest.WantProblem(t, resp, body, want)
		}
		if got := w.Results(); len(got) != 0 {
			t.Errorf("stored: %q", got)
		}
	})
}

// A name can be a file's or a folder's. A bucket that is no directory has no folders and takes
// both.
func TestUploadFileAndFolder(t *testing.T) {
	w := newFixture(t, t.TempDir())
	w.Put("a", "x")
	w.Put("d/e", "x")
	for _, name := range []string{"a/b", "a/b/c", "d"} {
		resp, body := w.Put(name, "y")
		p := uploadtest.WantProblem(t, resp, body, http.StatusConflict)
		if !strings.Contains(p.Detail, "folder") {
			t.Errorf("%s: %q", name, p.Detail)
		}
	}
	if diff := cmp.Diff([]string{string(w.ID) + "/results/a", string(w.ID) + "/results/d/e"}, w.Results()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUploadSize(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		exact := strings.Repeat("x", uploadtest.MaxOutput)
		for name, body := range map[string]io.Reader{"sized": strings.NewReader(exact),
			"chunked": uploadtest.Unsized{Reader: strings.NewReader(exact)}} {
			if resp, data := w.Send(http.MethodPut, w.upload(name), body); resp.StatusCode != http.StatusCreated {
				t.Errorf("%s: got %d %s", name, resp.StatusCode, data)
			}
		}
		stored := w.Results()
		for _, body := range []io.Reader{strings.NewReader(exact + "x"),
			uploadtest.Unsized{Reader: strings.NewReader(exact + "x")}} {
			resp, data := w.Send(http.MethodPut, w.upload("large"), body)
			p := uploadtest.WantProblem(t, resp, data, http.StatusRequestEntityTooLarge)
			if !strings.Contains(p.Detail, "2097152") {
				t.Errorf("detail %q", p.Detail)
			}
		}
		if diff := cmp.Diff(stored, w.Results()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A body that is too large is refused before it is sent.
func TestUploadTooLargeEarly(t *testing.T) {
	w := newFixture(t, t.TempDir())
	answer := w.raw("Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n", false)
	if !strings.HasPrefix(answer, "HTTP/1.1 413 ") {
		t.Errorf("got %q", answer)
	}
}

// raw sends a PUT of cut/off.bin whose headers and body are given, closes its side or everything,
// and returns what is answered.
func (w *fixture) raw(rest string, abort bool) string {
	w.T.Helper()
	var d net.Dialer
	conn, err := d.DialContext(w.T.Context(), "tcp", w.HTTP.Listener.Addr().String())
	if err != nil {
		w.T.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s", w.upload("cut/off.bin"),
		w.Bearer(token.Agent, w.ID), rest)
	if abort {
		time.Sleep(20 * time.Millisecond) // for the server to begin
		return ""
	}
	if !strings.Contains(rest, "100-continue") {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			w.T.Fatal(err)
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
		stores(t, func(t *testing.T, w *fixture) {
			want := []string{}
			if before {
				w.Put("cut/off.bin", "older")
				want = w.Results()
			}
			for name, rest := range tests {
				if answer := w.raw(rest, false); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
					t.Errorf("%s: got %q", name, answer)
				}
				w.raw(rest, true)
			}
			w.HTTP.Close() // waits for the handlers
			if diff := cmp.Diff(want, w.Results()); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			if got, _ := w.Stored("cut/off.bin"); before && got != "older" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A Content-Length that is too short makes a shorter file; what follows is another, malformed
// request.
func TestUploadLengthTooShort(t *testing.T) {
	w := newFixture(t, t.TempDir())
	if answer := w.raw("Content-Length: 3\r\n\r\nabcdef", false); !strings.HasPrefix(answer, "HTTP/1.1 201 ") {
		t.Errorf("got %q", answer)
	}
	if got, _ := w.Stored("cut/off.bin"); got != "abc" {
		t.Errorf("stored %q", got)
	}
}

func TestDigests(t *testing.T) {
	right, wrong := uploadtest.Digest("content"), uploadtest.Digest("other")
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
		{"hexadecimal", []string{"Content-Digest", "sha-256=" + uploadtest.SHA256("content")}, 400},
		{"short", []string{"Content-Digest", "sha-256=:YWJj:"}, 400},
		{"encoded", []string{"Content-Encoding", "gzip"}, 415},
		{"not encoded", []string{"Content-Encoding", "identity"}, 201},
		{"partial", []string{"Content-Range", "bytes 0-6/100"}, 400},
	}
	stores(t, func(t *testing.T, w *fixture) {
		for i, test := range tests {
			name := fmt.Sprintf("file%d", i)
			resp, body := w.Put(name, "content", test.headers...)
			if resp.StatusCode != test.want {
				t.Errorf("%s: got %d %s, want %d", test.name, resp.StatusCode, body, test.want)
			}
			got, stored := w.Stored(name)
			if stored != (test.want == 201) || stored && got != "content" {
				t.Errorf("%s: stored %v %q", test.name, stored, got)
			}
			if test.want != 201 {
				if p := uploadtest.WantProblem(t, resp, body, test.want); test.want == 422 &&
					p.Errors[0].Field != test.headers[len(test.headers)-2] {
					t.Errorf("%s: %+v", test.name, p.Errors)
				}
			}
		}
		w.Put("file0", "content")
		if resp, _ := w.Put("file0", "changed", "Content-Digest", right); resp.StatusCode != 422 {
			t.Errorf("changed on the way: got %d", resp.StatusCode)
		}
		if got, _ := w.Stored("file0"); got != "content" {
			t.Errorf("stored %q", got)
		}
		// A digest is checked of an empty and of a chunked body as well.
		if resp, _ := w.Put("empty", "", "Content-Digest", right); resp.StatusCode != 422 {
			t.Errorf("empty: got %d", resp.StatusCode)
		}
		if resp, _ := w.Send(http.MethodPut, w.upload("chunked"), uploadtest.Unsized{Reader: strings.NewReader("other")},
			"Repr-Digest", right); resp.StatusCode != 422 {
			t.Errorf("chunked: got %d", resp.StatusCode)
		}
	})
}

// Of several that store one name at once, one is stored, whole.
func TestConcurrentUploads(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.HTTP.URL+w.upload("one"),
					strings.NewReader(strings.Repeat(string(rune('a'+i)), 500_000)))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", w.Bearer(token.Agent, w.ID))
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
		got, _ := w.Stored("one")
		if len(got) != 500_000 || strings.Trim(got, got[:1]) != "" {
			t.Errorf("stored %d bytes of several", len(got))
		}
		if names := w.Results(); len(names) != 1 {
			t.Errorf("stored %q", names)
		}
	})
}

func TestUploadMemory(t *testing.T) {
	w := newFixture(t, t.TempDir())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const files = 32
	for i := range files {
		body := uploadtest.Unsized{Reader: io.LimitReader(zeros{}, uploadtest.MaxOutput)}
		if resp, data := w.Send(http.MethodPut, w.upload(fmt.Sprint(i)), body); resp.StatusCode != http.StatusCreated {
			t.Fatalf("%d %s", resp.StatusCode, data)
		}
	}
	runtime.ReadMemStats(&after)
	if perFile := (after.TotalAlloc - before.TotalAlloc) / files; perFile > uploadtest.MaxOutput/2 {
		t.Errorf("%d bytes were allocated for each file of %d", perFile, uploadtest.MaxOutput)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestUploadWhenOver(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		w.End()
		resp, data := w.Put("a", "x")
		p := uploadtest.WantProblem(t, resp, data, http.StatusConflict)
		if !strings.Contains(p.Detail, "over") {
			t.Errorf("%q", p.Detail)
		}
		if got := w.Results(); len(got) != 0 {
			t.Errorf("stored %q", got)
		}
	})
}

// Whatever the name and the body: no fault of the server, and nothing stored outside the job's
// results.
func FuzzUpload(f *testing.F) {
	w := newFixture(f, f.TempDir())
	for _, name := range []string{"a", "../x", "a/../../x", ".job/log/x", ".job/attempts/next/start", ".job/outputs.json",
		"\x00", "a//b", "..", "x.attrs"} {
		f.Add(name, `{"owner":"x"}`)
	}
	router := w.HTTP.Config.Handler
	f.Fuzz(func(t *testing.T, name, body string) {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", strings.NewReader(body))
		req.URL = &url.URL{Path: "/artifacts/" + string(w.ID) + "/upload/" + name}
		req.Header.Set("Authorization", w.Bearer(token.Agent, w.ID))
		rec := httptest.NewRecorder()
		router.ServeHTTP(rec, req)
		if rec.Code >= http.StatusInternalServerError {
			t.Errorf("%q: %d %s", name, rec.Code, rec.Body)
		}
		if rec.Code == http.StatusCreated && job.CheckOutputName(strings.TrimPrefix(name, "/")) != "" {
			t.Errorf("%q was stored", name)
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
