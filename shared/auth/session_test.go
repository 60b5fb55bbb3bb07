package auth_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/token"
)

// keyring is the keys of a gateway.
type keyring struct {
	access.Keyring
	now func() time.Time
}

func (k *keyring) Lookup(key string) (access.Caller, error) {
	found, err := k.Keyring.Lookup(key, k.now())
	if err != nil {
		return access.Caller{}, err
	}
	return found.Caller(), nil
}

// browser is a browser that has logged in, and its gateway.
type browser struct {
	t       *testing.T
	gateway *auth.Gateway
	ring    *keyring
	key, id string
	now     time.Time
	tokens  token.Keys
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{t: t, now: time.Unix(1_800_000_000, 0)}
	clock := func() time.Time { return b.now }
	var err error
	if b.tokens, err = token.New([]byte(strings.Repeat("k", token.MinKeyBytes))); err != nil {
		t.Fatal(err)
	}
	b.ring = &keyring{now: clock}
	if _, _, err := b.ring.Add(access.FirstKey(), b.now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	text, made, err := b.ring.Add(access.Request{Name: "ann", Role: access.User}, b.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.key, b.id = text, made.ID
	b.gateway = auth.New(auth.Deps{Keys: b.ring, Sealer: b.tokens, Log: slog.New(slog.DiscardHandler), Now: clock})
	return b
}

// logIn returns the status of a login, and the cookie of the session.
func (b *browser) logIn(kind, body string) (status int, cookie *http.Cookie) {
	b.t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/ui/session", strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	if err := b.gateway.LogIn(w, r); err != nil {
		api.WriteError(w, r, slog.New(slog.DiscardHandler), err)
	}
	if list := w.Result().Cookies(); len(list) > 0 {
		cookie = list[0]
	}
	return w.Code, cookie
}

// caller returns whom the gateway takes the sender of a request for, or the status of its refusal.
func (b *browser) caller(method, cookie string, header ...string) (access.Caller, int) {
	b.t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, "/api/v1/jobs", nil)
	r.AddCookie(&http.Cookie{Name: auth.SessionCookie, Value: cookie})
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got, err := b.gateway.Identify(r)
	if err != nil {
		w := httptest.NewRecorder()
		api.WriteError(w, r, slog.New(slog.DiscardHandler), err)
		return access.Caller{}, w.Code
	}
	c, _ := access.From(got.Context())
	return c, http.StatusOK
}

const jsonType = "application/json"

// TestSession follows a session through its life.
func TestSession(t *testing.T) {
	b := newBrowser(t)
	status, cookie := b.logIn(jsonType, `{"key":"`+b.key+`"}`)
	if status != http.StatusOK || cookie == nil || cookie.Name != "__Host-gojob" || !cookie.HttpOnly || !cookie.Secure ||
		cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 12*60*60 {
		t.Fatalf("%d %v", status, cookie)
	}
	if strings.Contains(cookie.Value, b.key) {
		t.Error("the cookie has the key in the clear")
	}
	ann := access.Caller{Owner: "ann", Role: access.User, Via: "key " + b.id}
	want := func(what, method, value string, c access.Caller, status int, header ...string) {
		t.Helper()
		if got, code := b.caller(method, value, header...); got != c || code != status {
			t.Errorf("%s: %d %+v, want %d %+v", what, code, got, status, c)
		}
	}
	none := access.Caller{}
	want("to read", "GET", cookie.Value, ann, 200)
	want("to change something", "POST", cookie.Value, ann, 200, auth.PageHeader, "1")
	want("to change something, by another page", "POST", cookie.Value, none, 403)
	want("to delete, by another page", "DELETE", cookie.Value, none, 403)
	want("beside other credentials, which count", "GET", cookie.Value, none, 401, "Authorization", "Bearer "+b.key+"x")
	flipped := []byte(cookie.Value)
	flipped[len(flipped)/2] ^= 1
	want("forged", "GET", string(flipped), none, 401)
	want("no session", "GET", "x", none, 401)
	sealed, err := b.tokens.Seal([]byte(`{"owner":"ann","role":"admin","until":9999999999}`), "another purpose")
	if err != nil {
		t.Fatal(err)
	}
	want("sealed for another purpose", "GET", string(sealed), none, 401)

	b.now = b.now.Add(auth.SessionLifetime - time.Second)
	want("in the last second", "GET", cookie.Value, ann, 200)
	b.now = b.now.Add(time.Second)
	want("after its time", "GET", cookie.Value, none, 401)
	b.now = b.now.Add(-time.Hour)
	if err := b.ring.Remove(b.id, b.now); err != nil {
		t.Fatal(err)
	}
	want("with a revoked key", "GET", cookie.Value, none, 401)
}

// TestBadLogins sends logins that are none.
func TestBadLogins(t *testing.T) {
	b := newBrowser(t)
	for name, test := range map[string]struct {
		kind, body string
		status     int
	}{
		"a form":       {"application/x-www-form-urlencoded", "key=" + b.key, 415},
		"nothing":      {jsonType, "", 400},
		"no key":       {jsonType, `{"key":""}`, 400},
		"no object":    {jsonType, `"` + b.key + `"`, 400},
		"a typo":       {jsonType, `{"key":"` + b.key + `x"}`, 401},
		"another text": {jsonType, `{"key":"hello"}`, 401},
		"a long text":  {jsonType, `{"key":"` + strings.Repeat("x", 30_000) + `"}`, 413},
	} {
		if status, cookie := b.logIn(test.kind, test.body); status != test.status || cookie != nil {
			t.Errorf("%s: %d %v, want %d", name, status, cookie, test.status)
		}
	}
	for range 20 {
		b.logIn(jsonType, `{"key":"gojob_x"}`)
	}
	if status, _ := b.logIn(jsonType, `{"key":"gojob_x"}`); status != http.StatusTooManyRequests {
		t.Errorf("after many failed logins: %d", status)
	}
	if status, cookie := b.logIn(jsonType, `{"key":"`+b.key+`"}`); status != http.StatusOK || cookie == nil {
		t.Errorf("a good key after them: %d", status)
	}
}

// TestOpenSession logs in where everybody may call: there is no session to begin, and none counts.
func TestOpenSession(t *testing.T) {
	b := newBrowser(t)
	_, cookie := b.logIn(jsonType, `{"key":"`+b.key+`"}`)
	b.gateway = auth.New(auth.Deps{Open: true, Sealer: b.tokens, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if status, made := b.logIn(jsonType, `{}`); status != http.StatusOK || made != nil {
		t.Errorf("%d %v", status, made)
	}
	if c, status := b.caller("POST", cookie.Value); status != http.StatusOK || c.Owner != access.Local {
		t.Errorf("%d %+v", status, c)
	}
}
