package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
)

const testJob job.ID = "fe6aa1b2c3d4000102030405060708ff"

func clientOf(t *testing.T, h http.HandlerFunc) *client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &client{base: server.URL, id: testJob, token: "secret", http: server.Client(), wait: time.Microsecond,
		patience: time.Minute, log: slog.New(slog.DiscardHandler)}
}

// TestPutIsRepeated sends a file again, whole, until it is taken.
func TestPutIsRepeated(t *testing.T) {
	var n atomic.Int32
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.URL.EscapedPath(), "/artifacts/"+string(testJob)+"/upload/a%20b/%C3%BC%3F%23%25"; got != want {
			t.Errorf("path %s, want %s", got, want)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("Authorization: %s", got)
		}
		if r.ContentLength != 5 {
			t.Errorf("the length is said to be %d", r.ContentLength)
		}
		switch n.Add(1) {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != "hello" {
				t.Errorf("body %q, %v", body, err)
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"name":"a b/ü?#%","size":5,"sha256":"x"}`)
		}
	})
	got, err := c.PutResult(t.Context(), "a b/ü?#%", io.NewSectionReader(strings.NewReader("hello"), 0, 5))
	if want := (job.File{Name: "a b/ü?#%", Size: 5, SHA256: "x"}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got := n.Load(); got != 4 {
		t.Errorf("%d calls, want 4", got)
	}
}

// TestConnections stores several outputs at a time, again and again, over as many connections.
func TestConnections(t *testing.T) {
	const atOnce, rounds = 4, 10
	var opened atomic.Int32
	var together sync.WaitGroup // so that each needs a connection of its own
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		together.Done()
		together.Wait()
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"name":"a","size":5}`+"\n")
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := newClient(server.URL, testJob, "secret", time.Minute, slog.New(slog.DiscardHandler))
	for range rounds {
		together.Add(atOnce)
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() {
				if _, err := c.PutResult(t.Context(), "a", strings.NewReader("hello")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if n := opened.Load(); n > 2*atOnce { // one may not be back yet when the next round begins
		t.Errorf("%d connections for %d uploads, %d at a time", n, rounds*atOnce, atOnce)
	}
}

// TestRefusals makes sure that what will not be taken is not sent again, and that the caller is
// told why.
func TestRefusals(t *testing.T) {
	for status, kind := range map[int]error{
		401: job.ErrUnauthorized, 403: job.ErrForbidden, 404: job.ErrNotFound, 409: job.ErrConflict, 413: job.ErrTooLarge,
		422: job.ErrInvalid,
	} {
		var n atomic.Int32
		c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
			n.Add(1)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"detail":"because of this"}`)
		})
		_, err := c.claimNext(t.Context(), agentwire.Claim{Owner: "me"})
		if !errors.Is(err, kind) || !strings.Contains(err.Error(), "because of this") || n.Load() != 1 {
			t.Errorf("%d: %v after %d calls", status, err, n.Load())
		}
	}
}

// TestOlderServer waits for a server that is about to be replaced by one that knows the agent's
// calls.
func TestOlderServer(t *testing.T) {
	older, newer := api.NewRouter(slog.New(slog.DiscardHandler)), api.NewRouter(slog.New(slog.DiscardHandler))
	newer.Guarded(anyone{})
	newer.Handle(routes.ClaimAttempt, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
		api.WriteJSON(w, http.StatusCreated, job.Attempt{Number: 1})
		return nil
	})
	var n atomic.Int32
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) < 3 {
			older.ServeHTTP(w, r)
			return
		}
		newer.ServeHTTP(w, r)
	})
	if a, err := c.claimNext(t.Context(), agentwire.Claim{Owner: "me"}); err != nil || a.Number != 1 || n.Load() != 3 {
		t.Errorf("got %+v, %v after %d calls", a, err, n.Load())
	}
}

// TestGivesUp makes sure that a service that stays away is not waited for without end.
func TestGivesUp(t *testing.T) {
	var n atomic.Int32
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.WriteHeader(http.StatusInsufficientStorage)
	})
	c.patience = time.Second
	if err := c.PutLog(t.Context(), "x", []byte("data")); !errors.Is(err, job.ErrExhausted) || n.Load() < 2 {
		t.Errorf("%v after %d calls", err, n.Load())
	}
	c.patience = time.Hour
	n.Store(0)
	unseekable := struct{ io.Reader }{strings.NewReader("once")}
	if err := c.send(t.Context(), routes.UploadOutput, []string{"x"}, unseekable, nil); err == nil || n.Load() != 1 {
		t.Errorf("a stream was sent %d times: %v", n.Load(), err)
	}
	n.Store(0)
	c.wait = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.PutLog(ctx, "x", nil) }()
	for n.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel: %v", err)
	}
}

// TestAnswers reads what the service should never send.
func TestAnswers(t *testing.T) {
	body := ""
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	for _, body = range []string{"", "{", "[]", `{"jobID":5}`} {
		if _, err := c.index(t.Context()); err == nil || !strings.Contains(err.Error(), "index") {
			t.Errorf("an index of %q: %v", body, err)
		}
		if _, err := c.PutResult(t.Context(), "x", bytes.NewReader(nil)); body != `{"jobID":5}` && err == nil {
			t.Errorf("a stored file of %q is taken for one", body)
		}
	}
}

func TestNewRemote(t *testing.T) {
	path := t.TempDir() + "/token"
	for _, id := range []string{"", "x", "../" + string(testJob), strings.ToUpper(string(testJob))} {
		if _, err := newSidecar(paths{}, Settings{JobID: id, TokenFile: path}, slog.Default()); err == nil ||
			!strings.Contains(err.Error(), "JOB_ID") {
			t.Errorf("JOB_ID=%q: %v", id, err)
		}
	}
	s := Settings{JobID: string(testJob), TokenFile: path, BaseURL: "http://x/"}
	if _, err := newSidecar(paths{}, s, slog.Default()); err == nil || !strings.Contains(err.Error(), "TOKEN_FILE") {
		t.Errorf("without a token: %v", err)
	}
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := newSidecar(paths{}, s, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if r.client.base != "http://x" || r.client.token != "secret" {
		t.Errorf("base %q, token %q", r.client.base, r.client.token)
	}
}

// TestDirect sends an output to a URL of the bucket, without the token, and what the bucket does
// not take to the function.
func TestDirect(t *testing.T) {
	content := strings.Repeat("x", directFrom)
	want := job.File{Name: "a", Size: directFrom, SHA256: hexSum(content)}
	for name, test := range map[string]struct {
		size   int
		link   int // the function's answer to the request for a URL
		bucket int // the bucket's to the file; 0: it hangs up
		direct bool
	}{
		"taken":     {directFrom, 201, 200, true},
		"small":     {directFrom - 1, 201, 200, false},
		"no URL":    {directFrom, 404, 200, false},
		"broken":    {directFrom, 422, 200, false},
		"forbidden": {directFrom, 201, 403, false},
		"away":      {directFrom, 201, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string // by path, what came
			bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" || r.Header.Get("X-Kind") != "BlockBlob" || r.ContentLength != directFrom {
					t.Errorf("the bucket got %v and %d bytes", r.Header, r.ContentLength)
				}
				if test.bucket == 0 {
					panic(http.ErrAbortHandler)
				}
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != content {
					t.Errorf("the bucket got %d bytes, %v", len(body), err)
				}
				sent = append(sent, "bucket")
				w.WriteHeader(test.bucket)
			}))
			defer bucket.Close()
			c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/links") {
					w.WriteHeader(test.link)
					_, _ = io.WriteString(w, `{"url":"`+bucket.URL+`/a?signature=1","headers":{"X-Kind":"BlockBlob"}}`)
					return
				}
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != content[:test.size] {
					t.Errorf("the function got %d bytes, %v", len(body), err)
				}
				sent = append(sent, "function")
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"name":"a"}`)
			})
			got, err := c.PutResult(t.Context(), "a", io.NewSectionReader(strings.NewReader(content), 0, int64(test.size)))
			if err != nil {
				t.Fatal(err)
			}
			if last := sent[len(sent)-1]; (last == "bucket") != test.direct {
				t.Errorf("sent to %q", sent)
			}
			if test.direct && got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestNoSecondTry asks for no URL when there was none, or when what it led to did not work.
func TestNoSecondTry(t *testing.T) {
	for name, link := range map[string]string{"none": "", "nobody listens": "http://127.0.0.1:1/?signature=1",
		"not a URL": "http://[::1"} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			asked := 0
			c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case !strings.HasSuffix(r.URL.Path, "/links"):
					w.WriteHeader(http.StatusCreated)
					_, _ = io.WriteString(w, `{"name":"a"}`)
				case link == "":
					asked++
					w.WriteHeader(http.StatusNotFound)
				default:
					asked++
					w.WriteHeader(http.StatusCreated)
					_, _ = io.WriteString(w, `{"url":"`+link+`"}`)
				}
			})
			c.log = slog.New(slog.NewTextHandler(&log, nil))
			for range 2 {
				if _, err := c.PutResult(t.Context(), "a", bytes.NewReader(make([]byte, directFrom))); err != nil {
					t.Fatal(err)
				}
			}
			if asked != 1 || strings.Contains(log.String(), "signature") ||
				(link != "") != strings.Contains(log.String(), "WARN") {
				t.Errorf("asked %d times; log: %s", asked, log.String())
			}
		})
	}
}

// TestRedirect fetches a file from where the function sends us, which is not told the token.
func TestRedirect(t *testing.T) {
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the bucket was told the token")
		}
		_, _ = io.WriteString(w, "content")
	}))
	defer bucket.Close()
	server := httptest.NewServer(http.RedirectHandler(bucket.URL+"/a", http.StatusTemporaryRedirect))
	defer server.Close()
	body, err := newClient(server.URL, testJob, "secret", time.Minute, slog.New(slog.DiscardHandler)).Open(t.Context(),
		"a")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// anyone lets in every request.
type anyone struct{}

func (anyone) Admit(r *http.Request, _ httprouter.Params, _ routes.Route) (*http.Request, error) {
	return r, nil
}
