package download_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/store"
)

// bucket counts what is asked of a bucket.
type bucket struct {
	*store.Store
	opens, stats atomic.Int64
}

func (b *bucket) Open(ctx context.Context, key string, offset, length int64) (*store.Reader, error) {
	b.opens.Add(1)
	return b.Store.Open(ctx, key, offset, length)
}

func (b *bucket) Stat(ctx context.Context, key string) (store.Info, error) {
	b.stats.Add(1)
	return b.Store.Stat(ctx, key)
}

// server serves files of one bucket, whose keys are their names.
type server struct {
	*httptest.Server
	t      *testing.T
	bucket *bucket
	files  map[string]job.File
}

// each serves the files from each kind of bucket.
func each(t *testing.T, files map[string]string, test func(t *testing.T, s *server)) {
	t.Helper()
	ledgertest.Each(t, func(t *testing.T, f *ledgertest.Fixture) {
		s := &server{t: t, bucket: &bucket{Store: f.Store}, files: map[string]job.File{}}
		for name, content := range files {
			s.put(name, content)
		}
		source := download.From(s.bucket)
		s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := download.Name(r.URL.Path)
			if err := source.Serve(w, r, name, s.files[name]); err != nil {
				api.WriteError(w, r, slog.New(slog.DiscardHandler), err)
			}
		}))
		t.Cleanup(s.Close)
		test(t, s)
	})
}

func (s *server) put(name, content string) {
	s.t.Helper()
	d, err := s.bucket.Put(s.t.Context(), name, strings.NewReader(content))
	if err != nil {
		s.t.Fatal(err)
	}
	s.files[name] = job.File{Name: name, Size: d.Size, SHA256: d.SHA256}
}

func (s *server) send(method, name string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	got, body := ledgertest.Send(s.t, method, s.URL+"/"+name, nil, headers...)
	return got, string(body)
}

// random returns a text that does not repeat itself.
func random(n int) string {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return string(data)
}

func TestHeaders(t *testing.T) {
	const content = "<html>hello</html>"
	each(t, map[string]string{"sub/page.html": content}, func(t *testing.T, s *server) {
		sum := sha256.Sum256([]byte(content))
		want := map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Content-Length": fmt.Sprint(len(content)),
			"ETag":                    `"` + hex.EncodeToString(sum[:]) + `"`,
			"Content-Disposition":     `attachment; filename="page.html"; filename*=UTF-8''page.html`,
			"X-Content-Type-Options":  "nosniff",
			"Content-Security-Policy": "sandbox", "Cache-Control": "private, no-cache", "Accept-Ranges": "bytes",
			"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":",
		}
		for method, wantBody := range map[string]string{http.MethodGet: content, http.MethodHead: ""} {
			resp, body := s.send(method, "sub/page.html")
			got := map[string]string{}
			for name := range want {
				got[name] = resp.Header.Get(name)
			}
			if diff := cmp.Diff(want, got); diff != "" || resp.StatusCode != http.StatusOK || body != wantBody {
				t.Errorf("%s: %d %q, headers (-want +got):\n%s", method, resp.StatusCode, body, diff)
			}
		}
	})
}

func TestRanges(t *testing.T) {
	const n = 300_000
	data := random(n)
	each(t, map[string]string{"data.bin": data, "empty": ""}, func(t *testing.T, s *server) {
		for _, test := range []struct {
			spec     string
			from, to int
		}{
			{"0-0", 0, 1}, {"0-", 0, n}, {"5-9", 5, 10}, {"299999-", n - 1, n}, {"-1", n - 1, n}, {"-70000", n - 70_000, n},
			{"-999999", 0, n}, {"100000-200000", 100_000, 200_001}, {"299990-400000", n - 10, n},
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				resp, body := s.send(method, "data.bin", "Range", "bytes="+test.spec)
				want := data[test.from:test.to]
				if got := resp.Header.Get("Content-Range"); resp.StatusCode != http.StatusPartialContent ||
					got != fmt.Sprintf("bytes %d-%d/%d", test.from, test.to-1, n) || resp.ContentLength != int64(len(want)) {
					t.Errorf("%s %s: got %d %q, %d bytes", method, test.spec, resp.StatusCode, got, resp.ContentLength)
				}
				if method == http.MethodHead {
					want = ""
				}
				if body != want {
					t.Errorf("%s %s: other bytes", method, test.spec)
				}
			}
		}
		for _, spec := range []string{"300000-", "400000-500000", "-0", "9-5", "a-b", "--"} {
			resp, body := s.send(http.MethodGet, "data.bin", "Range", "bytes="+spec)
			ledgertest.WantProblem(t, resp, []byte(body), http.StatusRequestedRangeNotSatisfiable)
			if got := resp.Header.Get("Content-Range"); got != "bytes */300000" {
				t.Errorf("%s: Content-Range %q", spec, got)
			}
		}
		resp, body := s.send(http.MethodGet, "empty", "Range", "bytes=0-10")
		if resp.StatusCode != http.StatusOK || body != "" {
			t.Errorf("range of nothing: got %d %q", resp.StatusCode, body)
		}
	})
}

func TestMultipleRanges(t *testing.T) {
	data := random(300_000)
	each(t, map[string]string{"data.bin": data}, func(t *testing.T, s *server) {
		resp, body := s.send(http.MethodGet, "data.bin", "Range", "bytes=200000-200009, 0-4,-3")
		_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil || resp.StatusCode != http.StatusPartialContent {
			t.Fatalf("%d: %v", resp.StatusCode, err)
		}
		parts := multipart.NewReader(strings.NewReader(body), params["boundary"])
		for _, want := range []string{data[200_000:200_010], data[:5], data[len(data)-3:]} {
			p, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(p)
			if err != nil || string(got) != want {
				t.Errorf("%s: got %x, want %x (%v)", p.Header.Get("Content-Range"), got, want, err)
			}
		}
		if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last part: %v", err)
		}
		many := "bytes=0-0" + strings.Repeat(",2-2", 100)
		if resp, body := s.send(http.MethodGet, "data.bin", "Range", many); resp.StatusCode != http.StatusOK ||
			body != data {
			t.Errorf("many ranges: got %d and %d bytes, want the whole", resp.StatusCode, len(body))
		}
	})
}

func TestConditions(t *testing.T) {
	const content = "0123456789"
	each(t, map[string]string{"a": content}, func(t *testing.T, s *server) {
		first, _ := s.send(http.MethodGet, "a")
		etag, modified := first.Header.Get("ETag"), first.Header.Get("Last-Modified")
		for _, test := range []struct {
			headers []string
			want    int
			body    string
		}{
			{[]string{"If-None-Match", etag}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", "W/" + etag}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", `"x", ` + etag}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", "*"}, http.StatusNotModified, ""},
			{[]string{"If-None-Match", `"x"`}, http.StatusOK, content},
			{[]string{"If-Match", etag}, http.StatusOK, content},
			{[]string{"If-Match", "*"}, http.StatusOK, content},
			{[]string{"If-Match", `"x"`}, http.StatusPreconditionFailed, ""},
			{[]string{"If-Match", "W/" + etag}, http.StatusPreconditionFailed, ""},
			{[]string{"If-Modified-Since", modified}, http.StatusNotModified, ""},
			{[]string{"If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"}, http.StatusPreconditionFailed, ""},
			{[]string{"Range", "bytes=2-3", "If-Range", etag}, http.StatusPartialContent, "23"},
			{[]string{"Range", "bytes=2-3", "If-Range", `"x"`}, http.StatusOK, content},
			{[]string{"Range", "bytes=2-3", "If-Range", "W/" + etag}, http.StatusOK, content},
			{[]string{"Range", "bytes=2-3", "If-Range", modified}, http.StatusPartialContent, "23"},
			{[]string{"Range", "bytes=2-3", "If-Match", `"x"`}, http.StatusPreconditionFailed, ""},
			{[]string{"Range", "bytes=2-3", "If-None-Match", etag}, http.StatusNotModified, ""},
		} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				t.Run(method+strings.Join(test.headers, " "), func(t *testing.T) {
					resp, body := s.send(method, "a", test.headers...)
					if test.want == http.StatusPreconditionFailed {
						ledgertest.WantProblem(t, resp, []byte(body), test.want)
						return
					}
					want := test.body
					if method == http.MethodHead {
						want = ""
					}
					if resp.StatusCode != test.want || body != want || resp.Header.Get("ETag") != etag {
						t.Errorf("got %d %q %s, want %d %q", resp.StatusCode, body, resp.Header.Get("ETag"), test.want, want)
					}
				})
			}
		}
	})
}

// A file that is not the recorded one is our fault. It is never sent under the ETag of the recorded
// one.
func TestChangedFile(t *testing.T) {
	each(t, map[string]string{"a": "x", "b": "y"}, func(t *testing.T, s *server) {
		if _, err := s.bucket.Put(t.Context(), "a", strings.NewReader("longer")); err != nil {
			t.Fatal(err)
		}
		if err := s.bucket.Remove(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time it is known whether the bucket has files
			resp, body := s.send(http.MethodHead, "a")
			ledgertest.WantProblem(t, resp, []byte(body), http.StatusInternalServerError)
			resp, body = s.send(http.MethodGet, "b", "Range", "bytes=0-")
			ledgertest.WantProblem(t, resp, []byte(body), http.StatusNotFound)
		}
	})
}

// A client that goes away in the middle of many ranges leaves no reader behind.
func TestClientGoesAway(t *testing.T) {
	each(t, map[string]string{"big": string(make([]byte, 8<<20))}, func(t *testing.T, s *server) {
		for _, headers := range [][]string{{"Range", "bytes=0-4000000,4000001-8000000"}, {"Range", "bytes=1-"}, {"X", "y"}} {
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/big", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(headers[0], headers[1])
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil {
				t.Error(err)
			}
			cancel()
			resp.Body.Close()
		}
		s.Close() // waits for the handlers
	})
}

// Every request to a remote bucket costs time and money. A download takes one, and an answer
// without bytes reads none.
func TestRequestsToABucket(t *testing.T) {
	each(t, map[string]string{"a": "0123456789"}, func(t *testing.T, s *server) {
		if strings.HasSuffix(t.Name(), "/directory") {
			t.Skip("a file of this machine costs nothing")
		}
		for _, test := range []struct {
			name, method string
			headers      []string
			opens, stats int64
		}{
			{"whole, the first request", http.MethodGet, nil, 1, 0},
			{"whole", http.MethodGet, nil, 1, 0},
			{"head", http.MethodHead, nil, 0, 1},
			{"range", http.MethodGet, []string{"Range", "bytes=2-3"}, 1, 1},
			{"not modified", http.MethodGet, []string{"If-None-Match", "*"}, 0, 1},
			{"two ranges", http.MethodGet, []string{"Range", "bytes=2-3,7-8"}, 2, 1},
		} {
			s.bucket.opens.Store(0)
			s.bucket.stats.Store(0)
			s.send(test.method, "a", test.headers...)
			if opens, stats := s.bucket.opens.Load(), s.bucket.stats.Load(); opens != test.opens || stats != test.stats {
				t.Errorf("%s: %d reads and %d looks, want %d and %d", test.name, opens, stats, test.opens, test.stats)
			}
		}
	})
}
