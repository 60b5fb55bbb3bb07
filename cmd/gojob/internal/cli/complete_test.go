package cli

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestComplete completes from the server, and is silent where it does not answer, or not in time.
func TestComplete(t *testing.T) {
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	server := httptest.NewServer(fake(map[string]http.HandlerFunc{
		"/api/v1/server":    answer(`{"auth":{"modes":["open"]},"profiles":[{"name":"gpu","description":"one\tGPU"},{"name":"large"}]}`),
		"/api/v1/templates": answer(`{"items":[{"name":"resize"},{"name":"thumb"}]}`),
		"/api/v1/keys":      answer(`{"items":[{"id":"k3v9x0q2ab","name":"ann","role":"user"}]}`),
		"/api/v1/jobs": answer(`{"items":[{"jobID":"fe5dd2b0d4d9a5e09601b10d5a28a3f1","name":"words","phase":"Running"},` +
			`{"jobID":"fe5dd2b0d4e0a5e09601b10d5a28a3f1","name":"words","phase":"Failed"},{"jobID":"fe5dd2b0d4e1a5e09601b10d5a28a3f1","phase":"Failed"}]}`),
	}))
	defer server.Close()
	done := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(done)
	complete := func(url string, line ...string) (string, time.Duration) {
		a, stdout, stderr := newApp(t, map[string]string{"GOJOB_URL": url})
		begin := time.Now()
		if code := a.run(context.Background(), append([]string{"gojob", "__complete"}, line...)); code != 0 {
			t.Errorf("%q: ended with %d: %s", line, code, stderr)
		}
		words, _, _ := strings.Cut(stdout.String(), ":")
		return words, time.Since(begin)
	}
	for line, want := range map[string]string{
		"run --profile ":  "gpu\tone\\tGPU\nlarge\n",
		"template get ":   "resize\nthumb\n",
		"template run th": "resize\nthumb\n",
		"key rm ":         "k3v9x0q2ab\tann user\n",
		"get w":           "words\tfe5dd2b0d4d9 Running\n",
		"rm fe5dd2b0d4e":  "fe5dd2b0d4e0\twords Failed\nfe5dd2b0d4e1\tFailed\n",
		"get words ":      "",
		"context use ":    "",
		"ls --phase ":     "Pending\nRunning\nSucceeded\nFailed\nCancelled\n",
		"completion ":     "bash\nzsh\nfish\npowershell\n",
	} {
		if got, _ := complete(server.URL, strings.Split(line, " ")...); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for _, url := range []string{slow.URL, "http://127.0.0.1:1", "not a URL"} {
		if got, took := complete(url, "get", ""); got != "" || took > 10*completeTimeout {
			t.Errorf("%s: %q after %s", url, got, took)
		}
	}
}
