package drivers_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/drivers"
)

// TestOpen opens what every program can, whatever drivers it has.
func TestOpen(t *testing.T) {
	for _, address := range []string{"mem://", "file://" + (&url.URL{Path: t.TempDir()}).EscapedPath(),
		"file://localhost" + t.TempDir()} {
		s, err := drivers.Open(t.Context(), address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if _, err := s.Put(t.Context(), "job/a", strings.NewReader("x")); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		if got, err := s.Read(t.Context(), "job/a"); err != nil || string(got) != "x" {
			t.Errorf("%s: %q, %v", address, got, err)
		}
		if _, ok, err := s.Link(t.Context(), "job/a", store.Link{Method: http.MethodGet, Expiry: time.Minute}); ok ||
			err != nil {
			t.Errorf("%s: a link, %v", address, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestRefused has addresses that lead nowhere. What they say may be secret.
func TestRefused(t *testing.T) {
	for address, want := range map[string]string{
		"":                        "is no kind of bucket",
		"/data":                   "is no kind of bucket",
		"ftp://me:secret@host/":   "is no kind of bucket",
		"s3://":                   "s3://<bucket>",
		"gs:///x":                 "gs://<bucket>",
		"file://data":             "file:///<absolute path>",
		"file:data":               "file:///<absolute path>",
		"file:///data?x=y":        "without parameters",
		"s3://secret\x7f%zz:8080": "is not a URL",
	} {
		_, err := drivers.Open(t.Context(), address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want an error with %q", address, err, want)
		}
	}
}
