package openapi_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/openapi"
)

func TestMount(t *testing.T) {
	router := api.NewRouter(slog.New(slog.DiscardHandler))
	openapi.Mount(router)
	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi.yaml", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status: got %d, want 200", w.Code)
	}
	if got := w.Header().Get("Content-Type"); got != "application/yaml" {
		t.Errorf("content type: got %q, want application/yaml", got)
	}
	if !bytes.Equal(w.Body.Bytes(), openapi.Document()) {
		t.Error("what is served is not the description")
	}
}

func TestDocument(t *testing.T) {
	for name, document := range map[string]func() []byte{"API": openapi.Document, "agent": openapi.AgentDocument} {
		if !bytes.HasPrefix(document(), []byte("openapi: 3.1.")) {
			t.Errorf("%s: got %.40q, want a description in OpenAPI 3.1", name, document())
		}
		clear(document())
		if document()[0] == 0 {
			t.Errorf("%s: a change of the returned bytes changes the description", name)
		}
	}
}
