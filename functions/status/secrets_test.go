package status_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/secret"
)

// catalog is the operator's secrets.
type catalog struct{ err error }

func (c catalog) Entries(context.Context) ([]secret.Entry, error) {
	return []secret.Entry{{Name: "db", Roles: []access.Role{access.User}}, {Name: "root",
		Roles: []access.Role{access.Admin}}}, c.err
}

// TestServerSecrets asks, as different callers, which secrets there are.
func TestServerSecrets(t *testing.T) {
	f := ledgertest.New(t)
	for name, test := range map[string]struct {
		caller *access.Caller
		err    error
		code   int
		want   []string
	}{
		"nobody":   {nil, nil, http.StatusOK, nil},
		"a reader": {&access.Caller{Owner: "r", Role: access.Read}, nil, http.StatusOK, nil},
		"a user":   {&access.Caller{Owner: "u", Role: access.User}, nil, http.StatusOK, []string{"db"}},
		"an admin": {&access.Caller{Owner: "a", Role: access.Admin}, nil, http.StatusOK, []string{"db", "root"}},
		"not to be read": {&access.Caller{Owner: "u", Role: access.User}, job.ErrUnavailable,
			http.StatusServiceUnavailable, nil},
	} {
		function, err := status.New(status.Deps{Env: f.Env(), Secrets: catalog{test.err}})
		f.Must(err)
		router := api.NewRouter(slog.New(slog.DiscardHandler))
		function.Mount(router)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/server", nil)
		if test.caller != nil {
			r = r.WithContext(access.With(r.Context(), *test.caller))
		}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		var got struct{ Secrets []string }
		f.Must(json.Unmarshal(w.Body.Bytes(), &got))
		if diff := cmp.Diff(test.want, got.Secrets); diff != "" || w.Code != test.code {
			t.Errorf("%s: %d (-want +got):\n%s", name, w.Code, diff)
		}
	}
}
