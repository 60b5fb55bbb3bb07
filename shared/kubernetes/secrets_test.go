package kubernetes

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/secret"
)

// TestEntries lists labelled Secrets, in two pages and without their values.
func TestEntries(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/api/v1/namespaces/jobs/secrets" || q.Get("labelSelector") != "go-job-orchestrator.github.io/secret=true" ||
			!strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
			t.Errorf("asked for %s as %s", r.URL, r.Header.Get("Accept"))
		}
		item := func(name, roles string) map[string]any {
			return map[string]any{"metadata": map[string]any{"name": name,
				"annotations": map[string]string{"go-job-orchestrator.github.io/roles": roles}}}
		}
		page := map[string]any{"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
			"metadata": map[string]any{"continue": "more"},
			"items":    []any{item("root", "admin"), item("db", "")}}
		if q.Get("continue") == "more" {
			page["metadata"], page["items"] = map[string]any{}, []any{item("api.v1", "admin, user"), item("typo", "amdin")}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page)
	}))
	t.Cleanup(server.Close)
	client, err := NewClient(&rest.Config{Host: server.URL}, "jobs")
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []secret.Entry{
		{Name: "api.v1", Keyed: true, Roles: []access.Role{access.Admin, access.User}},
		{Name: "db", Keyed: true, Roles: []access.Role{access.User}},
		{Name: "root", Keyed: true, Roles: []access.Role{access.Admin}}, {Name: "typo", Keyed: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// entries is a catalog.
type entries []secret.Entry

func (e entries) Entries(context.Context) ([]secret.Entry, error) { return e, nil }

// TestLaunchWithoutSecrets launches jobs whose secrets the operator does not offer any more.
func TestLaunchWithoutSecrets(t *testing.T) {
	made := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made++
		http.Error(w, "{}", http.StatusServiceUnavailable)
	}))
	t.Cleanup(server.Close)
	client, err := NewClient(&rest.Config{Host: server.URL}, "jobs")
	if err != nil {
		t.Fatal(err)
	}
	f := ledgertest.New(t)
	l := NewLauncher(client, &ending.Recorder{Ledger: f.Ledger, Store: f.Store, Now: time.Now}, f.Keys, withSettings(t, nil),
		slog.New(slog.DiscardHandler))
	l.secrets = entries{{Name: "db", Keyed: true, Roles: []access.Role{access.User}},
		{Name: "root", Keyed: true, Roles: []access.Role{access.Admin}}}
	launch := func(secrets ...job.Secret) (*job.Index, error) {
		index := f.Job(func(i *job.Index) { i.Secrets = secrets })
		return index, l.Launch(t.Context(), index)
	}
	for _, one := range []job.Secret{
		{Name: "A", From: "gone", Role: "admin"}, {Name: "A", From: "root", Role: "user"}, {Name: "A", From: "db"},
		{Name: "A", From: "token-keys", Role: "admin"},
	} {
		index, err := launch(job.Secret{Name: "OWN"}, one)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Ledger.Terminal(t.Context(), index.JobID)
		if err != nil || got.Reason != job.ReasonStartFailed || !strings.Contains(got.Message, "secret.A") {
			t.Errorf("%+v: got %+v, %v", one, got, err)
		}
	}
	if made > 0 {
		t.Error("the API server was asked for a Job")
	}
	if _, err := launch(job.Secret{Name: "A", From: "db/password", Role: "user"}); err == nil || made == 0 {
		t.Errorf("with its secret: %v after %d calls", err, made)
	}
}
