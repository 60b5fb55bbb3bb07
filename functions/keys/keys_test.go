package keys_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/functions/keys"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/token"
)

var begin = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)

// fixture is the function over a real file.
type fixture struct {
	t      *testing.T
	path   string
	file   *access.File
	router *api.Router
	log    bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "keys.json")}
	log := slog.New(slog.NewJSONHandler(&f.log, nil))
	now := func() time.Time { return begin }
	var err error
	if f.file, err = access.OpenFile(f.path, now, log); err != nil {
		t.Fatal(err)
	}
	f.router = api.NewRouter(log).Guarded(guardtest.New(token.Keys{}, nil))
	keys.New(keys.Deps{Store: f.file, Now: now, Random: rand.Reader, Log: log}).Mount(f.router)
	return f
}

// call sends a request as a caller with a role; without one it has no caller.
func (f *fixture) call(role access.Role, method, path, body string) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(guardtest.Caller, guardtest.Nobody)
	if role != "" {
		r.Header.Set(guardtest.Caller, "root/"+string(role))
	}
	w := httptest.NewRecorder()
	f.router.ServeHTTP(w, r)
	return w
}

// key is what answers say of one.
type key struct {
	ID, Name, Owner, Role, Key, Replaces, SHA256 string
	ExpiresAt                                    *time.Time
	Expired                                      bool
}

func (f *fixture) make(body string) key {
	f.t.Helper()
	w := f.call(access.Admin, http.MethodPost, "/api/v1/keys", body)
	var k key
	if err := json.Unmarshal(w.Body.Bytes(), &k); err != nil || w.Code != http.StatusCreated || k.Key == "" {
		f.t.Fatalf("%s: %d %s", body, w.Code, w.Body)
	}
	if got := w.Header().Get("Location"); got != "/api/v1/keys/"+k.ID {
		f.t.Errorf("Location %q of key %s", got, k.ID)
	}
	return k
}

func (f *fixture) list() []key {
	f.t.Helper()
	w := f.call(access.Admin, http.MethodGet, "/api/v1/keys", "")
	var page struct{ Items []key }
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
		f.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return page.Items
}

func TestLifeOfAKey(t *testing.T) {
	f := newFixture(t)
	root := f.make(`{"name":"root","role":"admin"}`)
	ci := f.make(`{"name":"ci","owner":"ann@example.com","role":"user","expiresIn":"30d"}`)
	if ci.Owner != "ann@example.com" || ci.Role != "user" || !ci.ExpiresAt.Equal(begin.AddDate(0, 0, 30)) {
		t.Errorf("made %+v", ci)
	}
	next := f.make(`{"replaces":"` + ci.ID + `","grace":"1h"}`)
	if next.Owner != "ann@example.com" || next.Role != "user" || next.Name != "ci" || next.Replaces != ci.ID {
		t.Errorf("the next is %+v", next)
	}
	for _, k := range f.list() {
		if k.Key != "" || k.SHA256 != "" {
			t.Errorf("the list shows %+v", k)
		}
		if k.ID == ci.ID && !k.ExpiresAt.Equal(begin.Add(time.Hour)) {
			t.Errorf("the replaced key expires at %s", k.ExpiresAt)
		}
	}
	for _, k := range []key{root, ci, next} {
		if c, err := f.file.Lookup(k.Key); err != nil || c.Owner != k.Owner || string(c.Role) != k.Role {
			t.Errorf("key %s is %+v, %v", k.ID, c, err)
		}
	}
	if w := f.call(access.Admin, http.MethodDelete, "/api/v1/keys/"+next.ID, ""); w.Code != http.StatusNoContent {
		t.Errorf("revoke: %d %s", w.Code, w.Body)
	}
	if _, err := f.file.Lookup(next.Key); err == nil {
		t.Error("a revoked key is still valid")
	}
	for path, status := range map[string]int{"/api/v1/keys/" + next.ID: 404, "/api/v1/keys/x": 404,
		"/api/v1/keys/" + root.ID: 409} {
		if w := f.call(access.Admin, http.MethodDelete, path, ""); w.Code != status {
			t.Errorf("DELETE %s: %d %s, want %d", path, w.Code, w.Body, status)
		}
	}
	stored, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []key{root, ci, next} {
		if strings.Contains(f.log.String()+string(stored), k.Key[17:50]) {
			t.Error("a key is in the log or the file")
		}
	}
	if n := strings.Count(f.log.String(), `"by":"root"`); n != 4 {
		t.Errorf("%d lines say who did what, want 4:\n%s", n, f.log.String())
	}
}

func TestRoles(t *testing.T) {
	f := newFixture(t)
	k := f.make(`{"name":"root","role":"admin"}`)
	for role, status := range map[access.Role]int{"": 401, access.Read: 403, access.User: 403} {
		for _, call := range [][2]string{{"GET", "/api/v1/keys"}, {"POST", "/api/v1/keys"}, {"DELETE", "/api/v1/keys/" + k.ID}} {
			w := f.call(role, call[0], call[1], `{"name":"mine","role":"admin"}`)
			if w.Code != status || strings.Contains(w.Body.String(), k.ID) {
				t.Errorf("%s %s as %q: %d %s, want %d", call[0], call[1], role, w.Code, w.Body, status)
			}
		}
	}
	if n := len(f.list()); n != 1 {
		t.Errorf("%d keys are there, want 1", n)
	}
}

func TestBadRequests(t *testing.T) {
	f := newFixture(t)
	root := f.make(`{"name":"root","role":"admin"}`)
	for body, want := range map[string]struct {
		status int
		fields string
	}{
		``:                          {400, "body"},
		`[]`:                        {400, "body"},
		`{"name":1}`:                {400, "name"},
		`{"nam":"a","role":"user"}`: {400, "body"},
		`{"name":"a","role":"user"}{"name":"b","role":"user"}`: {400, "body"},
		`{}`:                           {422, "name role"},
		`{"name":"a b","role":"root"}`: {422, "name role"},
		`{"name":"a","role":"user","owner":"\u0000"}`:                                    {422, "owner"},
		`{"name":"a","role":"user","expiresIn":"soon"}`:                                  {422, "expiresIn"},
		`{"name":"a","role":"user","expiresIn":"-1h"}`:                                   {422, "expiresIn"},
		`{"name":"a","role":"user","expiresIn":"0d"}`:                                    {422, "expiresIn"},
		`{"name":"a","role":"user","expiresIn":"99999d"}`:                                {422, "expiresIn"},
		`{"name":"a","role":"user","expiresAt":"2026-05-01T08:00:00Z"}`:                  {422, "expiresAt"},
		`{"name":"a","role":"user","expiresAt":"2027-05-01T08:00:00Z","expiresIn":"1h"}`: {422, "expiresIn"},
		`{"name":"a","role":"user","expiresAt":""}`:                                      {422, "expiresAt"},
		`{"name":"a","role":"user","expiresAt":"tomorrow"}`:                              {422, "expiresAt"},
		`{"name":"a","role":"user","grace":"1h"}`:                                        {422, "grace"},
		`{"replaces":"` + root.ID + `","grace":"x"}`:                                     {422, "grace"},
		`{"replaces":"0000000000"}`:                                                      {404, ""},
		`{"name":"` + strings.Repeat("a", 20<<10) + `","role":"user"}`:                   {413, "body"},
	} {
		w := f.call(access.Admin, http.MethodPost, "/api/v1/keys", body)
		var p api.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%.80s: %d %s", body, w.Code, w.Body)
		}
		if strings.Contains(p.Detail, "keys.request") || strings.Contains(p.Detail, "2006") {
			t.Errorf("%.80s: the answer is for people who write Go: %s", body, p.Detail)
		}
		var fields []string
		for _, e := range p.Errors {
			fields = append(fields, e.Field)
		}
		if got := strings.Join(fields, " "); w.Code != want.status || got != want.fields {
			t.Errorf("%.80s: %d, fields %q, %s; want %d, %q", body, w.Code, got, p.Detail, want.status, want.fields)
		}
	}
	if n := len(f.list()); n != 1 {
		t.Errorf("%d keys are there, want 1", n)
	}
	r := httptest.NewRequestWithContext(access.With(t.Context(), access.Caller{Owner: "root", Role: access.Admin}),
		http.MethodPost, "/api/v1/keys", strings.NewReader(`{"name":"a","role":"user"}`))
	r.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	f.router.ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("as text/plain, which a page of another site can send: %d %s", w.Code, w.Body)
	}
}
