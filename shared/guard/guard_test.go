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
	"go-job-orchestrator/shared/guard/guardmatrix"
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
func credentials(k, others token.Keys) map[guardmatrix.Sender]func(*http.Request) {
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
	return map[guardmatrix.Sender]func(*http.Request){
		guardmatrix.Nothing:       func(*http.Request) {},
		guardmatrix.Open:          caller(access.Local, access.Admin, access.Open, k, now),
		guardmatrix.Admin:         caller("root", access.Admin, "key", k, now),
		guardmatrix.User:          caller(guardmatrix.Ann, access.User, "key", k, now),
		guardmatrix.Reader:        caller(guardmatrix.Ann, access.Read, "key", k, now),
		guardmatrix.OtherUser:     caller(guardmatrix.Bob, access.User, "key", k, now),
		guardmatrix.NoRole:        caller(guardmatrix.Ann, "", "key", k, now),
		guardmatrix.Forged:        caller("root", access.Admin, "key", others, now),
		guardmatrix.Outdated:      caller("root", access.Admin, "key", k, now.Add(-2*time.Minute)),
		guardmatrix.ForAnother:    func(r *http.Request) { r.Header.Set(access.AssertionHeader, assertionFor(k, "GET", "/healthz")) },
		guardmatrix.JobToken:      bearer(k.Derive(token.User, own)),
		guardmatrix.OtherJobToken: bearer(k.Derive(token.User, foreign)),
		guardmatrix.AgentToken:    bearer(k.Derive(token.Agent, own)),
		guardmatrix.OtherAgent:    bearer(k.Derive(token.Agent, foreign)),
		guardmatrix.Shared:        bearer(k.Share(own, now.Add(time.Second))),
		guardmatrix.ExpiredShared: bearer(k.Share(own, now)),
		guardmatrix.OtherShared:   bearer(k.Share(foreign, now.Add(time.Hour))),
		guardmatrix.Nonsense:      bearer("nonsense"),
		guardmatrix.Basic:         func(r *http.Request) { r.SetBasicAuth("a", "b") },
	}
}

func assertionFor(k token.Keys, method, path string) string {
	r, _ := http.NewRequestWithContext(context.Background(), method, path, nil)
	if err := access.Assert(r, access.Caller{Owner: "root", Role: access.Admin}, k, now); err != nil {
		panic(err)
	}
	return r.Header.Get(access.AssertionHeader)
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
		Owners: owners{own: guardmatrix.Ann, foreign: guardmatrix.Bob}, Now: func() time.Time { return now }})
	for _, route := range routes.All() {
		for sender, set := range credentials(k, keysOf(t, "b")) {
			if got, want := admit(t, g, route, own, set), guardmatrix.Want(route, sender); got != want {
				t.Errorf("%s with %s: %d, want %d", route, sender, got, want)
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
		Owners: owners{own: guardmatrix.Ann, foreign: guardmatrix.Bob}, Now: func() time.Time { return now }})
	for name, set := range credentials(k, keysOf(t, "b")) {
		switch name {
		case guardmatrix.OtherUser, guardmatrix.OtherJobToken, guardmatrix.OtherAgent, guardmatrix.OtherShared:
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

// TestOutside answers only public calls from outside, whatever they are sent with, and looks there as
// if there were no others.
func TestOutside(t *testing.T) {
	k := keysOf(t, "a")
	outside := false
	g := guard.New(guard.Deps{Identify: guard.Asserted(k, func() time.Time { return now }), Tokens: k,
		Owners: owners{own: guardmatrix.Ann, foreign: guardmatrix.Bob}, Now: func() time.Time { return now },
		Outside: func(*http.Request) bool { return outside }})
	agent := credentials(k, k)[guardmatrix.AgentToken]
	for _, route := range routes.All() {
		outside = false
		want := admit(t, g, route, own, agent)
		if route.Reach != routes.Public {
			want = http.StatusNotFound
		}
		outside = true
		if got := admit(t, g, route, own, agent); got != want {
			t.Errorf("%s from outside: %d, want %d", route, got, want)
		}
	}
}

// TestCallerIsPassedOn makes sure that the function learns who calls.
func TestCallerIsPassedOn(t *testing.T) {
	k := keysOf(t, "a")
	g := guard.New(guard.Deps{Identify: guard.Asserted(k, func() time.Time { return now }), Tokens: k,
		Owners: owners{own: guardmatrix.Ann}, Now: func() time.Time { return now }})
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

// TestKnownCaller makes sure that a call which everybody may make knows its caller where the answer
// depends on the caller, and that bad credentials are like none.
func TestKnownCaller(t *testing.T) {
	k := keysOf(t, "a")
	g := guard.New(guard.Deps{Identify: guard.Asserted(k, func() time.Time { return now }), Tokens: k,
		Now: func() time.Time { return now }})
	all := credentials(k, keysOf(t, "b"))
	for sender, owner := range map[guardmatrix.Sender]string{
		guardmatrix.Nothing: "", guardmatrix.User: guardmatrix.Ann, guardmatrix.Open: access.Local,
		guardmatrix.Forged: "", guardmatrix.Outdated: "", guardmatrix.JobToken: "",
	} {
		for route, want := range map[routes.Route]string{routes.GetServer: owner, routes.GetHealth: ""} {
			r := httptest.NewRequestWithContext(t.Context(), route.Method, route.Path, nil)
			all[sender](r)
			admitted, err := g.Admit(r, nil, route)
			if err != nil {
				t.Fatal(err)
			}
			if c, _ := access.From(admitted.Context()); c.Owner != want {
				t.Errorf("%s with %s: the caller is %q, want %q", route, sender, c.Owner, want)
			}
		}
	}
}
