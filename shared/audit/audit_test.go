package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/audit"
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

// sink keeps the records that it gets.
type sink []audit.Record

func (s *sink) Offer(_ context.Context, r audit.Record) { *s = append(*s, r) }

func now() time.Time { return time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC) }

// fixture is a router with every route, a guard, and an audit log.
type fixture struct {
	t      *testing.T
	router *api.Router
	keys   token.Keys
	logged bytes.Buffer
	sent   sink
	answer api.Handler // nil: 200
	calls  int
}

// later is a clock that goes on for a second with each record, so that none is left out.
func (f *fixture) later() time.Time {
	f.calls++
	return now().Add(time.Duration(f.calls) * time.Second)
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	keys, err := token.New([]byte(strings.Repeat("k", token.MinKeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, keys: keys}
	log := slog.New(slog.NewJSONHandler(&f.logged, nil))
	f.router = api.NewRouter(slog.New(slog.DiscardHandler)).Audited(audit.New(log, &f.sent, f.later)).
		Guarded(guard.New(guard.Deps{Identify: guard.Asserted(keys, now), Tokens: keys, Now: now,
			Owners: owners{own: "ann", foreign: "bob"}}))
	for _, route := range routes.All() {
		if route == routes.GetHealth || route == routes.LogDeadLetter { // a router has the one, and another service the other
			continue
		}
		f.router.Handle(route, func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
			if f.answer != nil {
				return f.answer(w, r, p)
			}
			return nil
		})
	}
	return f
}

// bearer returns what sets a bearer token.
func bearer(text string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) }
}

// caller returns what sets who calls.
func (f *fixture) caller(owner string, role access.Role, via string) func(*http.Request) {
	return func(r *http.Request) {
		if err := access.Assert(r, access.Caller{Owner: owner, Role: role, Via: via}, f.keys, now()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// call makes a call, and returns the lines that the log has of it.
func (f *fixture) call(request string, set func(*http.Request)) []map[string]any {
	f.t.Helper()
	f.logged.Reset()
	f.sent = nil
	method, path, _ := strings.Cut(request, " ")
	r := httptest.NewRequestWithContext(f.t.Context(), method, path, strings.NewReader("x"))
	r.RemoteAddr = "192.0.2.7:4711"
	set(r)
	func() {
		defer func() { _ = recover() }() // net/http's to catch
		f.router.ServeHTTP(httptest.NewRecorder(), r)
	}()
	var lines []map[string]any
	for line := range bytes.Lines(f.logged.Bytes()) {
		var one map[string]any
		if err := json.Unmarshal(line, &one); err != nil {
			f.t.Fatal(err)
		}
		if one["level"] != "INFO" || one["msg"] != "audit" {
			f.t.Errorf("%s: %s", request, line)
		}
		for _, name := range []string{"time", "level", "msg"} {
			delete(one, name)
		}
		lines = append(lines, one)
	}
	return lines
}

// answered returns a handler that answers with a status and a Location.
func answered(status int, location string) api.Handler {
	return func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) error {
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(status)
		return nil
	}
}

// failed returns a handler that returns an error.
func failed(err error) api.Handler {
	return func(http.ResponseWriter, *http.Request, httprouter.Params) error { return err }
}

func TestRecords(t *testing.T) {
	f := newFixture(t)
	ann := f.caller("ann", access.User, "key abcdefghij")
	root := f.caller("root", access.Admin, "oidc")
	reader := f.caller("ann", access.Read, "oidc")
	agent := bearer(f.keys.Derive(token.Agent, own))
	none := func(*http.Request) {}
	who := map[string]any{"owner": "ann", "role": "user", "via": "key abcdefghij", "from": "192.0.2.7"}
	admin := map[string]any{"owner": "root", "role": "admin", "via": "oidc", "from": "192.0.2.7"}
	strangers := map[string]any{"from": "192.0.2.7"}
	line := func(who map[string]any, more ...any) map[string]any {
		m := map[string]any{}
		for k, v := range who {
			m[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	about := func(route routes.Route, status float64, more ...any) []any {
		return append([]any{"method", route.Method, "route", route.Path, "status", status}, more...)
	}
	of := func(id job.ID) string { return "/api/v1/jobs/" + string(id) }
	gone := func(_ http.ResponseWriter, r *http.Request, _ httprouter.Params) error { return r.Context().Err() }
	for name, test := range map[string]struct {
		request string
		set     func(*http.Request)
		answer  api.Handler
		want    map[string]any // nil: no record
	}{
		// changes
		"a submit": {"POST /api/v1/jobs", ann, answered(201, of(own)),
			line(who, about(routes.SubmitJob, 201, "job", string(own))...)},
		"a submit that is not valid": {"POST /api/v1/jobs", ann, failed(job.ErrInvalid),
			line(who, about(routes.SubmitJob, 422)...)},
		"a submit whose client goes": {"POST /api/v1/jobs", func(r *http.Request) {
			ann(r)
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			*r = *r.WithContext(ctx)
		}, gone, line(who, about(routes.SubmitJob, 499)...)},
		"a panic": {"POST /api/v1/jobs", ann, func(http.ResponseWriter, *http.Request, httprouter.Params) error {
			panic("broken")
		}, line(who, about(routes.SubmitJob, 500)...)},
		"a cancel": {"POST " + of(own) + "/cancel?x=y", ann, answered(200, ""),
			line(who, about(routes.CancelJob, 200, "job", string(own))...)},
		"a removal by an admin": {"DELETE " + of(foreign), root, answered(204, ""),
			line(admin, about(routes.RemoveJob, 204, "job", string(foreign))...)},
		"a cancel by token": {"POST " + of(own) + "/cancel", bearer(f.keys.Derive(token.User, own)), nil,
			line(strangers, about(routes.CancelJob, 200, "job", string(own), "via", "job token")...)},
		"a template": {"PUT /api/v1/templates/nightly", ann, answered(201, "/api/v1/templates/nightly"),
			line(who, about(routes.PutTemplate, 201, "template", "nightly")...)},
		"a start": {"POST /api/v1/templates/nightly/jobs", ann, answered(201, of(own)),
			line(who, about(routes.StartTemplate, 201, "template", "nightly", "job", string(own))...)},
		"an event": {"POST /events?template=nightly", ann, answered(202, of(own)),
			line(who, about(routes.ReceiveEvent, 202, "job", string(own))...)},
		"a key": {"POST /api/v1/keys", root, answered(201, "/api/v1/keys/abcdefghij"),
			line(admin, about(routes.MakeKey, 201, "key", "abcdefghij")...)},
		"a key that is revoked": {"DELETE /api/v1/keys/abcdefghij", root, answered(204, ""),
			line(admin, about(routes.RevokeKey, 204, "key", "abcdefghij")...)},
		"an upload by the user": {"PUT /artifacts/" + string(own) + "/upload/a.txt", bearer(f.keys.Derive(token.User, own)),
			answered(201, ""), line(strangers, about(routes.UploadOutput, 201, "job", string(own), "via",
				"job token")...)},
		// refusals
		"nobody": {"GET /api/v1/jobs", none, nil, line(strangers, about(routes.ListJobs, 401)...)},
		"nobody who submits": {"POST /api/v1/jobs", none, nil,
			line(strangers, about(routes.SubmitJob, 401)...)},
		"a role that does not do": {"POST /api/v1/jobs", reader, nil, line(who, append(about(routes.SubmitJob, 403),
			"role", "read", "via", "oidc")...)},
		"a user who asks for keys": {"GET /api/v1/keys", ann, nil, line(who, about(routes.ListKeys, 403)...)},
		"somebody else's job": {"GET " + of(foreign), ann, nil,
			line(who, about(routes.GetJob, 404, "job", string(foreign))...)},
		"another job's token": {"GET " + of(foreign), bearer(f.keys.Derive(token.User, own)), nil,
			line(strangers, about(routes.GetJob, 403, "job", string(foreign))...)},
		"a forged assertion": {"GET /api/v1/jobs", func(r *http.Request) { r.Header.Set(access.AssertionHeader, "x.y") }, nil,
			line(strangers, about(routes.ListJobs, 401)...)},
		"somebody else's template": {"GET /api/v1/templates/x", ann, failed(access.Foreign(job.Refuse(job.ErrNotFound,
			"template", "there is no template x"))),
			line(who, about(routes.GetTemplate, 404, "template", "x")...)},
		"a program that acts as the agent of another job": {"POST /agent/v1/jobs/" + string(foreign) + "/attempts",
			bearer(f.keys.Derive(token.Agent, own)), nil,
			line(strangers, about(routes.ClaimAttempt, 403, "job", string(foreign))...)},
		"nobody who sends an event": {"POST /events", none, nil, line(strangers, about(routes.ReceiveEvent, 401)...)},
		// what is not recorded
		"an unknown template": {"GET /api/v1/templates/x", ann, failed(job.Refuse(job.ErrNotFound, "template", "no")), nil},
		"a list":              {"GET /api/v1/jobs", ann, nil, nil},
		"a job":               {"GET " + of(own), ann, nil, nil},
		"an unknown job":      {"GET " + of(unknown), ann, nil, nil},
		"an unknown file":     {"GET /outputs/" + string(own) + "/x", ann, failed(job.ErrNotFound), nil},
		"a broken read":       {"GET " + of(own), ann, failed(context.DeadlineExceeded), nil},
		"a shared job":        {"GET " + of(own), bearer(f.keys.Share(own, now().Add(time.Hour))), nil, nil},
		"the health":          {"GET /healthz", none, nil, nil},
		"a handshake":         {"OPTIONS /events", none, nil, nil},
		"a launch":            {"POST /", none, answered(403, ""), nil},
		"an agent":            {"POST /agent/v1/jobs/" + string(own) + "/attempts", agent, nil, nil},
		"an agent's upload":   {"PUT /artifacts/" + string(own) + "/upload/a", agent, nil, nil},
		"a path there isn't":  {"GET /nothing", none, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f.t, f.answer = t, test.answer
			got := f.call(test.request, test.set)
			var want []map[string]any
			if test.want != nil {
				want = append(want, test.want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the log (-want +got):\n%s", diff)
			}
			sent := len(want)
			if strings.HasPrefix(test.request, "POST /events") {
				sent = 0 // its record could start a job, whose record starts another one, and so on
			}
			if len(f.sent) != sent {
				t.Fatalf("the sink has %+v, want %d", f.sent, sent)
			}
			if at := now().Add(time.Duration(f.calls) * time.Second); sent > 0 && (f.sent[0].Time != at ||
				f.sent[0].Route != test.want["route"]) {
				t.Errorf("the sink has %+v", f.sent)
			}
		})
	}
}

// TestGateway has calls come to a router that passes them on. Only what it refuses is recorded.
func TestGateway(t *testing.T) {
	f := newFixture(t)
	f.router.PassesOn()
	ann := f.caller("ann", access.User, "oidc")
	for request, want := range map[string]int{
		"POST /api/v1/jobs": 0, "DELETE /api/v1/jobs/" + string(own): 0, "GET /api/v1/jobs/" + string(foreign): 1,
		"GET /api/v1/keys": 1,
	} {
		f.answer = answered(201, "")
		if got := f.call(request, ann); len(got) != want {
			t.Errorf("%s: %v, want %d lines", request, got, want)
		}
	}
	f.answer = nil
	if got := f.call("POST /api/v1/jobs", func(*http.Request) {}); len(got) != 1 || got[0]["status"] != 401.0 {
		t.Errorf("nobody who submits: %v", got)
	}
}

// TestBroker has events come from the Broker, which has no credentials.
func TestBroker(t *testing.T) {
	f := newFixture(t)
	f.router.Guarded(guard.New(guard.Deps{Identify: guard.Asserted(f.keys, now), Tokens: f.keys, Now: now, Broker: true}))
	for status, answer := range map[float64]api.Handler{202: answered(202, "/api/v1/jobs/"+string(own)),
		403: failed(job.ErrForbidden)} {
		f.answer = answer
		got := f.call("POST /events", func(*http.Request) {})
		if len(got) != 1 || got[0]["via"] != "broker" || got[0]["status"] != status || len(f.sent) > 0 {
			t.Errorf("%v; sent: %v", got, f.sent)
		}
	}
}

// TestNoSecrets makes every call with every kind of credentials, also at wrong places. None of them
// may be in the log or in what is sent.
func TestNoSecrets(t *testing.T) {
	f := newFixture(t)
	ring := &access.Keyring{}
	key, _, err := ring.Add(access.Request{Name: "ci", Role: access.Admin}, now(), randomly{})
	if err != nil {
		t.Fatal(err)
	}
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"
	secrets := map[string]string{
		"key": key, "JSON Web Token": jwt, "job token": f.keys.Derive(token.User, own),
		"other's job token": f.keys.Derive(token.User, foreign), "agent's": f.keys.Derive(token.Agent, own),
		"shared": f.keys.Share(own, now().Add(time.Hour)), "expired": f.keys.Share(own, now()),
	}
	root := f.caller("root", access.Admin, "oidc")
	count := 0
	check := func(name, secret string) {
		t.Helper()
		all := f.logged.String() + fmt.Sprintf("%+v", f.sent)
		count += len(f.sent)
		if strings.Contains(all, secret) || strings.Contains(all, secret[len(secret)/2:]) {
			t.Errorf("%s: a secret is in the log: %s", name, all)
		}
	}
	for kind, secret := range secrets {
		for _, route := range routes.All() {
			if route == routes.LogDeadLetter || route.Path == "/healthz" {
				continue
			}
			path := func(id, name string) string {
				return route.Method + " " + strings.NewReplacer(":id", id, ":name", name, ":number", "1", ":segment", "s",
					":stream", "stdout", "*filename", "a.txt").Replace(route.Path) + "?token=" + secret + "&access_token=" + secret
			}
			f.answer = answered(201, "/api/v1/jobs/"+secret)
			name := kind + ", " + route.String()
			f.call(path(string(own), "x"), bearer(secret))
			check(name, secret)
			f.call(path(secret, secret), root) // somebody has mixed up what belongs where
			check(name, secret)
			f.call(path(string(own), "x"), func(r *http.Request) {
				root(r)
				r.Header.Set("X-Forwarded-For", secret)
				r.Header.Set("User-Agent", secret)
				r.RemoteAddr = "127.0.0.1:1"
			})
			check(name, secret)
		}
	}
	if count < 200 {
		t.Errorf("only %d records were looked at", count)
	}
}

// randomly is not random.
type randomly struct{}

func (randomly) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}

// TestFlood makes a lot of calls that are refused, and changes between them. All changes are
// recorded, and so many of the others, with how many are left out.
func TestFlood(t *testing.T) {
	at := now()
	var logged bytes.Buffer
	l := audit.New(slog.New(slog.NewTextHandler(&logged, nil)), nil, func() time.Time { return at })
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/jobs", nil)
	call := func(status int) {
		l.Call(r, audit.Call{Route: routes.SubmitJob, Value: func(string) string { return "" }, Status: status})
	}
	for range 1000 {
		call(401)
		call(201)
	}
	lines := func(what string) int { return strings.Count(logged.String(), what) }
	if lines("status=201") != 1000 || lines("status=401") != 200 {
		t.Errorf("%d changes and %d refusals are recorded, want 1000 and 200", lines("status=201"), lines("status=401"))
	}
	at = at.Add(time.Second)
	logged.Reset()
	for range 30 {
		call(401)
	}
	if lines("status=401") != 20 || lines("leftOut") != 1 {
		t.Errorf("a second later: %s", logged.String())
	}
}

// TestOrigin looks at where calls are said to come from.
func TestOrigin(t *testing.T) {
	f := newFixture(t)
	for name, test := range map[string]struct {
		remote    string
		forwarded []string
		from, via string
	}{
		"a client":                     {"192.0.2.7:1", nil, "192.0.2.7", ""},
		"a client that says something": {"192.0.2.7:1", []string{"198.51.100.1"}, "192.0.2.7", ""},
		"IPv6":                         {"[2001:db8::1]:1", nil, "2001:db8::1", ""},
		"IPv4 in IPv6":                 {"[::ffff:192.0.2.7]:1", nil, "192.0.2.7", ""},
		"a proxy on this machine":      {"127.0.0.1:1", []string{"192.0.2.7"}, "127.0.0.1", "192.0.2.7"},
		"proxies of a cluster": {"10.1.2.3:1", []string{"192.0.2.7, 10.1.2.4", "10.1.2.5"}, "10.1.2.3",
			"192.0.2.7, 10.1.2.4, 10.1.2.5"},
		"what the client has added": {"10.1.2.3:1", []string{"<script>, 192.0.2.7,10.1.2.4"}, "10.1.2.3",
			"192.0.2.7, 10.1.2.4"},
		"with ports": {"10.1.2.3:1", []string{"192.0.2.7:81, [2001:db8::1]:80, [2001:db8::2]"}, "10.1.2.3",
			"192.0.2.7, 2001:db8::1, 2001:db8::2"},
		"only nonsense": {"10.1.2.3:1", []string{"unknown"}, "10.1.2.3", ""},
		"too many": {"10.1.2.3:1", []string{strings.Repeat("1.1.1.1, ", 10_000) + "192.0.2.7"}, "10.1.2.3",
			strings.Repeat("1.1.1.1, ", 27) + "192.0.2.7"},
		"an unknown place": {"@", []string{"192.0.2.7"}, "", ""},
	} {
		got := f.call("POST /api/v1/jobs", func(r *http.Request) {
			r.RemoteAddr = test.remote
			r.Header["X-Forwarded-For"] = test.forwarded
		})
		if len(got) != 1 {
			t.Fatalf("%s: %v", name, got)
		}
		from, _ := got[0]["from"].(string)
		via, _ := got[0]["forwardedFor"].(string)
		if from != test.from || via != test.via {
			t.Errorf("%s: from %q, forwarded for %q; want %q and %q", name, from, via, test.from, test.via)
		}
	}
}
