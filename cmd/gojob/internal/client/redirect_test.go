package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go-job-orchestrator/cmd/gojob/internal/client"
)

// TestRedirects follows redirects within the server, and for files to elsewhere without the token. No
// other server gets the token, and no call becomes another one.
func TestRedirects(t *testing.T) {
	var leaked []string
	elsewhere := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked = append(leaked, r.URL.Path)
		}
		_, _ = io.WriteString(w, `{"from":"elsewhere"}`)
	})
	bucket, secure := httptest.NewServer(elsewhere), httptest.NewTLSServer(elsewhere)
	defer bucket.Close()
	defer secure.Close()
	mux := http.NewServeMux()
	for path, to := range map[string]string{
		"/outputs/x": bucket.URL + "/file", "/api/v1/jobs": bucket.URL + "/api/v1/jobs", "/outputs/loop": "/outputs/loop",
		"/artifacts/moved": "/artifacts/here", "/api/v1/secure": secure.URL + "/api",
	} {
		mux.Handle(path, http.RedirectHandler(to, http.StatusTemporaryRedirect))
	}
	mux.HandleFunc("/artifacts/here", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"from":"`+r.Header.Get("Authorization")+`"}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(base, client.Token("secret"))
	for _, test := range []struct{ method, path, want string }{
		{http.MethodGet, "/outputs/x", "elsewhere"},
		{http.MethodGet, "/artifacts/moved", "Bearer secret"},
		{http.MethodGet, "/api/v1/jobs", "it redirects GET /api/v1/jobs to " + bucket.URL},
		{http.MethodGet, "/api/v1/secure", "it redirects GET /api/v1/secure to " + secure.URL},
		{http.MethodPost, "/api/v1/jobs", "it redirects POST /api/v1/jobs to " + bucket.URL},
		{http.MethodDelete, "/artifacts/moved", "it redirects DELETE /artifacts/moved to /artifacts/here"},
		{http.MethodGet, "/outputs/loop", "it redirects GET /outputs/loop"},
	} {
		var answer struct{ From string }
		_, err := c.JSON(t.Context(), client.Call{Method: test.method, Path: test.path}, &answer)
		var refused *client.Error
		switch {
		case err == nil && answer.From != test.want:
			t.Errorf("%s %s: answered by %q, want %q", test.method, test.path, answer.From, test.want)
		case err != nil && (!errors.As(err, &refused) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s %s: %v; want %s", test.method, test.path, err, test.want)
		}
	}
	if leaked != nil {
		t.Errorf("the token reached another server: %v", leaked)
	}
}

// TestEncryptedStays sends a file's request that began encrypted nowhere without encryption.
func TestEncryptedStays(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/file", http.StatusFound))
	defer secure.Close()
	base, err := url.Parse(secure.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(base, client.Token("secret"))
	c.Trust(secure.Certificate())
	_, err = c.JSON(t.Context(), client.Call{Method: http.MethodGet, Path: "/outputs/x"}, nil)
	if err == nil || !strings.Contains(err.Error(), "it redirects GET /outputs/x to "+plain.URL) {
		t.Errorf("%v", err)
	}
}
