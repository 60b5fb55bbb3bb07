package api_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
)

// meter notes what it is told.
type meter struct{ told []string }

func (m *meter) Answered(route routes.Route, _ *http.Request, status int, _ time.Duration) {
	name := "none"
	if route != (routes.Route{}) {
		name = route.String()
	}
	m.told = append(m.told, fmt.Sprint(name, " ", status))
}

// TestMeter makes sure that each answer is told once, with the status that the client got, whether
// or not something around the router knows the status.
func TestMeter(t *testing.T) {
	m := &meter{}
	router := api.NewRouter(slog.New(slog.DiscardHandler)).Measured(m)
	var answer func(w http.ResponseWriter) error
	router.Handle(routes.AllowEvents, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
		return answer(w)
	})
	for name, h := range map[string]http.Handler{"bare": router, "paced": api.Paced(router, time.Minute)} {
		for _, test := range []struct {
			method, path string
			answer       func(w http.ResponseWriter) error
			want         string
		}{
			{"OPTIONS", "/events", func(http.ResponseWriter) error { return nil }, "OPTIONS /events 200"},
			{"OPTIONS", "/events", func(w http.ResponseWriter) error {
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusAccepted)
				return nil
			}, "OPTIONS /events 202"},
			{"OPTIONS", "/events", func(http.ResponseWriter) error { return job.ErrUnavailable }, "OPTIONS /events 503"},
			{"OPTIONS", "/events", func(http.ResponseWriter) error { panic("x") }, "OPTIONS /events 500"},
			{"GET", "/nothing", nil, "none 404"},
			{"PUT", "/healthz", nil, "none 405"},
			{"GET", "/healthz", nil, "GET /healthz 200"},
		} {
			m.told, answer = nil, test.answer
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil))
			if got := strings.Join(m.told, ", "); got != test.want {
				t.Errorf("%s: %s %s: told %q, want %q", name, test.method, test.path, got, test.want)
			}
		}
	}
}

// TestMeterLeavesFiles makes sure that the kernel still sends files: the writer that the handler has
// is the one of the pacer.
func TestMeterLeavesFiles(t *testing.T) {
	router := api.NewRouter(slog.New(slog.DiscardHandler)).Measured(&meter{})
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	router.Handle(routes.AllowEvents, func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Errorf("%T cannot send files", w)
		}
		_, err = io.Copy(w, file)
		return err
	})
	w := httptest.NewRecorder()
	api.Paced(router, time.Minute).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "OPTIONS", "/events", nil))
	if w.Body.String() != "content" {
		t.Errorf("got %q", w.Body)
	}
}
