package api_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go-job-orchestrator/shared/api"
)

// TestPathsInTheLog has clients send a key or a token at the wrong place of a path.
func TestPathsInTheLog(t *testing.T) {
	const id = "fe5dd46fab601d553605e8fb2b81df10"
	for path, want := range map[string]string{
		"/api/v1/jobs":            "/api/v1/jobs",
		"/outputs/" + id + "/a b": "/outputs/" + id + "/a b",
		"/api/v1/keys/gojob_k3v9x0q2ab_dGlMoiyrlfxX1rTnyFf3vA7NUtFOY6aF0kDQHBwtnOAmp48dd":     "/api/v1/keys/…",
		"/api/v1/jobs/x3PcU5M3kDRr5MLpu-bIx64OYuUCcfcXwtRBTwqIqzA/logs":                       "/api/v1/jobs/…/logs",
		"/outputs/" + id + "/d/1796113675.jqqdfzBBkz0XmMZn4R3GUh94p3P-dAoQXlkf3cc6CyE/eyJh.c": "/outputs/" + id + "/d/…/eyJh.c",
		"/" + strings.Repeat("a", 32) + "/" + strings.Repeat("a", 33):                         "/" + strings.Repeat("a", 32) + "/…",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL.Path = path
		if got := api.LogPath(r); got != want {
			t.Errorf("%s is logged as %s, want %s", path, got, want)
		}
		var logged strings.Builder
		api.WriteError(httptest.NewRecorder(), r, slog.New(slog.NewTextHandler(&logged, nil)), errors.New("broken"))
		if !strings.Contains(logged.String(), want) || path != want && strings.Contains(logged.String(), path) {
			t.Errorf("%s: the log has %s, want %s", path, logged.String(), want)
		}
	}
}
