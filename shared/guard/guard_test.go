package guard_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

const (
	own     job.ID = "fe6aa1b2c3d4000102030405060708f1" // ann's
	foreign job.ID = "fe6aa1b2c3d4000102030405060708f2" // bob's
	unknown job.ID = "fe6aa1b2c3d4000102030405060708f3"
)

type owners map[job.ID]string

func (o owners) OwnerOf(_ context.Context, id job.ID) (string, error) {
	if owner, known := o[id]; known {
		return owner, nil
	}
	return "", job.Refuse(job.ErrNotFound, "", "no such job")
}

var now = time.Unix(1_800_000_000, 0)

// credentials are what requests are sent with, by name. Each changes a request for the job own.
func credentials(k, others token.Keys) map[string]func(*http.Request) {
	bearer := func(text string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
	}
	caller := func(owner string, role access.Role, via string, keys token.Keys, at time.Time) func(*http.Request) {
		return func(r *http.Request) {
			if err := access.Assert(r, access.Caller{Owner: owner, Role: role, Via: via}, keys, at); err != nil {
				panic(err)
			}
		}
	}
	return map[string]func(*http.Request){
		"none":              func(*http.Request) {},
		"open":              caller(access.Local, access.Admin, access.Open, k, now),
		"admin":             caller("root", access.Admin, "key", k, now),
		"user":              caller("ann", access.User, "key", k, now),
		"read":              caller("ann", access.Read, "key", k, now),
		"other's user":      caller("bob", access.User, "key", k, now),
		"no role":           caller("ann", "", "key", k, now),
		"forged":            caller("root", access.Admin, "key", others, now),
		"expired":           caller("root", access.Admin, "key", k, now.Add(-2*time.Minute)),
		"for another path":  func(r *http.Request) { r.Header.Set(access.AssertionHeader, assertionFor(k, "GET", "/healthz")) },
		"job token":         bearer(k.Derive(token.User, own)),
		"other's job token": bearer(k.Derive(token.User, foreign)),
		"agent's":           bearer(k.Derive(token.Agent, own)),
		"other agent's":     bearer(k.Derive(token.Agent, foreign)),
		"shared":            bearer(k.Share(own, now.Add(time.Second))),
		"shared, expired":   bearer(k.Share(own, now)),
		"shared, other's":   bearer(k.Share(foreign, now.Add(time.Hour))),
		"nonsense":          bearer("nonsense"),
		"basic":             func(r *http.Request) { r.SetBasicAuth("a", "b") },
	}
}

func assertionFor(k token.Keys, method, path string) string {
	r, _ := http.NewRequestWithContext(context.Background(), method, path, nil)
	if err := access.Assert(r, access.Caller{Owner: "root", Role: access.Admin}, k, now); err != nil {
		panic(err)
	}
	return r.Header.Get(access.AssertionHeader)
}

// kinds of calls, each with what its answer is by credential. 200 is that of the function.
func kinds(names map[string]func(*http.Request)) map[string]map[string]int {
	all := func(status int, others map[string]int) map[string]int {
		m := map[string]int{}
		for name := range names {
			m[name] = status
		}
		for name, s := range others {
			m[name] = s
		}
		return m
	}
	forged := map[string]int{"forged": 401, "expired": 401, "for another path": 401}
	with := func(m map[string]int) map[string]int {
		for name, s := range forged {
			m[name] = s
		}
		return m
	}
	return map[string]map[string]int{
		"anyone": all(200, nil),
		"look at mine": all(401, with(map[string]int{"open": 200, "admin": 200, "user": 200, "read": 200,
			"other's user": 200, "no role": 403})),
		"change mine": all(401, with(map[string]int{"open": 200, "admin": 200, "user": 200, "read": 403,
			"other's user": 200, "no role": 403})),
		"manage": all(401, with(map[string]int{"open": 200, "admin": 200, "user": 403, "read": 403, "other's user": 403,
			"no role": 403})),
		"tell the token": all(401, with(map[string]int{"open": 200, "admin": 200, "user": 200, "read": 403,
			"other's user": 404, "no role": 403})),
		"write outputs": all(403, with(map[string]int{"none": 401, "basic": 401, "open": 401, "admin": 401, "user": 401,
			"read": 401, "other's user": 401, "no role": 401, "agent's": 200, "job token": 200})),
		"look at a job": all(403, with(map[string]int{"none": 401, "basic": 401, "open": 200, "admin": 200, "user": 200,
			"read": 200, "other's user": 404, "job token": 200, "shared": 200, "shared, expired": 401})),
		"change a job": all(403, with(map[string]int{"none": 401, "basic": 401, "open": 200, "admin": 200, "user": 200,
			"read": 403, "other's user": 404, "job token": 200})),
		"read outputs": all(403, with(map[string]int{"none": 401, "basic": 401, "open": 401, "admin": 200, "user": 200,
			"read": 200, "other's user": 404, "job token": 200, "shared": 200, "shared, expired": 401})),
		"read files": all(403, with(map[string]int{"none": 401, "basic": 401, "open": 401, "admin": 200, "user": 200,
			"read": 200, "other's user": 404, "job token": 200, "agent's": 200})),
		"agent": all(403, with(map[string]int{"none": 401, "basic": 401, "open": 401, "admin": 401, "user": 401, "read": 401,
			"other's user": 401, "no role": 401, "agent's": 200})),
	}
}

// kindOf says by hand what each call is, so that a change of the table shows.
func kindOf(r routes.Route) string {
	switch r.String() {
	case "GET /healthz", "GET /openapi.yaml", "GET /api/v1/server", "POST /", "OPTIONS /events":
		return "anyone"
	case "GET /api/v1/jobs/:id/token":
		return "tell the token"
	case "GET /api/v1/jobs", "GET /api/v1/whoami", "GET /api/v1/templates", "GET /api/v1/templates/:name":
		return "look at mine"
	case "POST /api/v1/jobs", "PUT /api/v1/templates/:name",
		"DELETE /api/v1/templates/:name", "POST /api/v1/templates/:name/jobs", "POST /events":
		return "change mine"
	case "GET /api/v1/keys", "POST /api/v1/keys", "DELETE /api/v1/keys/:id":
		return "manage"
	case "GET /api/v1/jobs/:id", "GET /api/v1/jobs/:id/events", "GET /api/v1/jobs/:id/logs":
		return "look at a job"
	case "DELETE /api/v1/jobs/:id", "POST /api/v1/jobs/:id/cancel", "POST /api/v1/jobs/:id/share":
		return "change a job"
	case "GET /outputs/:id", "HEAD /outputs/:id", "GET /outputs/:id/*filename", "HEAD /outputs/:id/*filename":
		return "read outputs"
	case "GET /artifacts/:id/*filename", "HEAD /artifacts/:id/*filename":
		return "read files"
	}
	if strings.HasPrefix(r.Path, "/agent/") {
		return "agent"
	}
	if r == routes.UploadOutput {
		return "write outputs"
	}
	return ""
}

func keysOf(t *testing.T, secret string) token.Keys {
	t.Helper()
	k, err := token.New([]byte(strings.Repeat(secret, token.MinKeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestMatrix sends every call with every kind of credentials.
func TestMatrix(t *testing.T) {
	k := keysOf(t, "a")
	g := guard.New(guard.Deps{Identify: guard.Asserted(k, func() time.Time { return now }), Tokens: k,
		Owners: owners{own: "ann", foreign: "bob"}, Now: func() time.Time { return now }})
	for _, route := range routes.All() {
		want, known := kinds(credentials(k, k))[kindOf(route)]
		if !known {
			t.Errorf("%s has no kind", route)
			continue
		}
		for name, set := range credentials(k, keysOf(t, "b")) {
			if got := admit(t, g, route, own, set); got != want[name] {
				t.Errorf("%s with %s: %d, want %d", route, name, got, want[name])
			}
		}
	}
}

// admit returns the status of the answer to a call for a job.
func admit(t *testing.T, g *guard.Guard, route routes.Route, id job.ID, set func(*http.Request)) int {
	t.Helper()
	path := strings.NewReplacer(":id", string(id), ":name", "x", ":number", "1", ":segment", "s", ":stream", "stdout",
		"*filename", "a.txt").Replace(route.Path)
	r := httptest.NewRequestWithContext(t.Context(), route.Method, path, nil)
	set(r)
	_, err := g.Admit(r, httprouter.Params{{Key: "id", Value: string(id)}}, route)
	if err == nil {
		return http.StatusOK
	}
	w := httptest.NewRecorder()
	api.WriteError(w, r, slog.New(slog.DiscardHandler), err)
	var p api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Detail == "" {
		t.Errorf("%s: %s %v", route, w.Body, err)
	}
	return w.Code
}

// TestUnknownLooksForeign asks for jobs of others and for jobs that do not exist. No answer may tell
// one from the other.
func TestUnknownLooksForeign(t *testing.T) {
	k := keysOf(t, "a")
	g := guard.New(guard.Deps{Identify: guard.Asserted(k, func() time.Time { return now }), Tokens: k,
		Owners: owners{own: "ann", foreign: "bob"}, Now: func() time.Time { return now }})
	for name, set := range credentials(k, keysOf(t, "b")) {
		if strings.HasPrefix(name, "other") || strings.HasSuffix(name, "other's") {
			continue // these open the foreign job
		}
		if a, b := admit(t, g, routes.GetJob, foreign, set), admit(t, g, routes.GetJob, unknown, set); a != b {
			t.Errorf("with %s: %d for a foreign job, %d for an unknown one", name, a, b)
		}
	}
}

// TestBroker has events come without credentials: from the Broker where the network lets in only the
// Broker, and from anybody elsewhere.
func TestBroker(t *testing.T) {
	k := keysOf(t, "a")
	for _, broker := range []bool{true, false} {
		g := guard.New(guard.Deps{Identify: guard.Asserted(k, func() time.Time { return now }), Tokens: k, Broker: broker,
			Owners: owners{}, Now: func() time.Time { return now }})
		none := func(*http.Request) {}
		want := map[bool]int{true: 200, false: 401}[broker]
		if got := admit(t, g, routes.ReceiveEvent, own, none); got != want {
			t.Errorf("an event, broker %t: %d, want %d", broker, got, want)
		}
		if got := admit(t, g, routes.SubmitJob, own, none); got != 401 {
			t.Errorf("a job, broker %t: %d, want 401", broker, got)
		}
	}
}

// TestCallerIsPassedOn makes sure that the function learns who calls.
func TestCallerIsPassedOn(t *testing.T) {
	k := keysOf(t, "a")
	g := guard.New(guard.Deps{Identify: guard.Asserted(k, func() time.Time { return now }), Tokens: k,
		Owners: owners{own: "ann"}, Now: func() time.Time { return now }})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/jobs", nil)
	want := access.Caller{Owner: "ann", Role: access.User, Via: "oidc"}
	if err := access.Assert(r, want, k, now); err != nil {
		t.Fatal(err)
	}
	admitted, err := g.Admit(r, nil, routes.ListJobs)
	if err != nil {
		t.Fatal(err)
	}
	if got, found := access.From(admitted.Context()); !found || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
