package ledgertest

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"go-job-orchestrator/shared/api"
)

// Try makes a request with the given pairs of header names and values, and returns the answer and
// its body. The error is the transport's; an answer that is cut off is one.
func Try(t testing.TB, method, url string, body io.Reader, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	return got, data, err
}

// Send is Try for a request that must have an answer.
func Send(t testing.TB, method, url string, body io.Reader, headers ...string) (*http.Response, []byte) {
	t.Helper()
	got, data, err := Try(t, method, url, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return got, data
}

// WantProblem demands an error in the form of all errors, without a header that describes a file.
func WantProblem(t testing.TB, got *http.Response, body []byte, status int) api.Problem {
	t.Helper()
	var p api.Problem
	if kind := got.Header.Get("Content-Type"); got.StatusCode != status || kind != "application/problem+json" {
		t.Fatalf("got %d %q %q, want a problem with status %d", got.StatusCode, kind, body, status)
	}
	for _, name := range []string{"ETag", "Content-Disposition", "Repr-Digest"} {
		if got.Header.Get(name) != "" {
			t.Errorf("problem with %s: %q", name, got.Header.Get(name))
		}
	}
	if got.Request.Method == http.MethodHead {
		return p
	}
	if err := json.Unmarshal(body, &p); err != nil || p.Status != status || p.Detail == "" {
		t.Fatalf("problem %q: %v", body, err)
	}
	return p
}
