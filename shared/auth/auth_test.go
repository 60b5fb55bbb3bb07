package auth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/oidc"
	"go-job-orchestrator/shared/settings"
)

// ring is a keyring with its clock.
type ring struct {
	access.Keyring
	now time.Time
}

func (r *ring) Lookup(key string) (access.Caller, error) {
	k, err := r.Keyring.Lookup(key, r.now)
	if err != nil {
		return access.Caller{}, err
	}
	return k.Caller(), nil
}

func (r *ring) add(t *testing.T, q access.Request) string {
	t.Helper()
	text, _, err := r.Add(q, r.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// issuer answers each token with what is in it; shared/oidc has a real one in its tests.
type issuer map[string]error

func (i issuer) Authenticate(_ context.Context, token string) (access.Caller, error) {
	if err, known := i[token]; known {
		return access.Caller{}, err
	}
	return access.Caller{Owner: token, Role: access.User, Via: "oidc"}, nil
}

func TestIdentify(t *testing.T) {
	now := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	keys := &ring{now: now}
	soon := now
	good := keys.add(t, access.Request{Name: "ci", Owner: "ann", Role: access.User})
	expired := keys.add(t, access.Request{Name: "old", Role: access.Admin, ExpiresAt: &soon})
	stranger := (&ring{now: now}).add(t, access.Request{Name: "root", Role: access.Admin})
	id := issuer{"a.b.bad": oidc.ErrToken, "a.b.norole": oidc.ErrNoRole, "a.b.down": oidc.ErrUnavailable}
	for name, test := range map[string]struct {
		open, keys, oidc bool
		authorization    []string
		owner            string // empty: nobody
		status           int    // 0: passes
	}{
		"open, nothing sent":       {open: true, owner: access.Local},
		"open, a job's token":      {open: true, authorization: []string{"Bearer x"}, owner: access.Local},
		"open, a bad key":          {open: true, authorization: []string{"Bearer gojob_x"}, owner: access.Local},
		"nothing sent":             {keys: true},
		"a key":                    {keys: true, authorization: []string{"Bearer " + good}, owner: "ann"},
		"a key, scheme in capital": {keys: true, authorization: []string{"BEARER " + good}, owner: "ann"},
		"a key with a typo":        {keys: true, authorization: []string{"Bearer " + good[:len(good)-1] + "_"}, status: 401},
		"an expired key":           {keys: true, authorization: []string{"Bearer " + expired}, status: 401},
		"a key of another server":  {keys: true, authorization: []string{"Bearer " + stranger}, status: 401},
		"a key where none is":      {oidc: true, authorization: []string{"Bearer " + good}, status: 401},
		"a key beside tokens":      {keys: true, oidc: true, authorization: []string{"Bearer " + good}, owner: "ann"},
		"two headers":              {keys: true, authorization: []string{"Bearer " + good, "Bearer " + good}, status: 400},
		"a job's token":            {keys: true, oidc: true, authorization: []string{"Bearer abcdef"}},
		"other credentials":        {keys: true, authorization: []string{"Basic eDp5"}},
		"an issuer's token":        {oidc: true, authorization: []string{"Bearer a.b.c"}, owner: "a.b.c"},
		"a token without oidc":     {keys: true, authorization: []string{"Bearer a.b.c"}},
		"a bad token":              {oidc: true, authorization: []string{"Bearer a.b.bad"}, status: 401},
		"a token without a role":   {oidc: true, authorization: []string{"Bearer a.b.norole"}, status: 403},
		"an issuer that is down":   {oidc: true, authorization: []string{"Bearer a.b.down"}, status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			d := auth.Deps{Open: test.open, Now: func() time.Time { return now },
				Log: slog.New(slog.NewJSONHandler(&logged, nil))}
			if test.keys {
				d.Keys = keys
			}
			if test.oidc {
				d.Issuer = id
			}
			// The key is at the wrong place of the path as well, as that of a key to be revoked may be.
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/keys/"+good, nil)
			r.Header["Authorization"] = test.authorization
			r.Header.Set(access.AssertionHeader, "forged")
			got, err := auth.New(d).Identify(r)
			if test.status != 0 {
				checkProblem(t, err, test.status)
				for _, secret := range []string{good, expired, stranger} {
					if strings.Contains(logged.String()+err.Error(), secret[18:50]) {
						t.Errorf("a key is in the log or the answer: %s %v", logged.String(), err)
					}
				}
				if test.status == 401 && !strings.Contains(logged.String(), "login failed") {
					t.Error("a failed login is not in the log")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c, found := access.From(got.Context()); found != (test.owner != "") || c.Owner != test.owner {
				t.Errorf("caller %+v %t, want %q", c, found, test.owner)
			}
			if got.Header.Get(access.AssertionHeader) != "" {
				t.Error("the client's assertion is still there")
			}
		})
	}
}

func checkProblem(t *testing.T, err error, status int) {
	t.Helper()
	w := httptest.NewRecorder()
	if err == nil {
		t.Fatalf("no error, want %d", status)
	}
	api.WriteError(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil),
		slog.New(slog.DiscardHandler), err)
	var p api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != status || p.Detail == "" {
		t.Errorf("%+v %v, want %d", p, err, status)
	}
}

// TestFailures has one address fail again and again. It gets 429; a good key and other addresses
// get what is theirs.
func TestFailures(t *testing.T) {
	now := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	keys := &ring{now: now}
	good := keys.add(t, access.Request{Name: "ci", Role: access.User})
	var logged bytes.Buffer
	g := auth.New(auth.Deps{Keys: keys, Issuer: issuer{"a.b.down": oidc.ErrUnavailable},
		Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	ask := func(address, key string) error {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/jobs", nil)
		r.RemoteAddr = net.JoinHostPort(address, "1234")
		r.Header.Set("Authorization", "Bearer "+key)
		_, err := g.Identify(r)
		return err
	}
	for range 10 {
		checkProblem(t, ask("192.0.2.1", "gojob_guess"), 401)
	}
	for range 100 {
		checkProblem(t, ask("192.0.2.1", "gojob_guess"), 429)
	}
	if n := strings.Count(logged.String(), "login failed"); n != 10 {
		t.Errorf("%d lines in the log, want 10", n)
	}
	checkProblem(t, ask("192.0.2.2", "gojob_guess"), 401)
	if err := ask("192.0.2.1", good); err != nil {
		t.Errorf("a good key from that address: %v", err)
	}
	now = now.Add(6 * time.Second)
	checkProblem(t, ask("192.0.2.1", "gojob_guess"), 401)
	checkProblem(t, ask("192.0.2.1", "gojob_guess"), 429)
	// So are tokens that an issuer would have to check that does not answer.
	for n := range 20 {
		status := 503
		if n >= 10 {
			status = 429
		}
		checkProblem(t, ask("192.0.2.4", "a.b.down"), status)
	}
	if err := ask("192.0.2.4", "a.b.c"); err != nil {
		t.Errorf("a good token from that address: %v", err)
	}
	// All addresses of an IPv6 network count as one.
	for n := range 20 {
		status := 401
		if n >= 10 {
			status = 429
		}
		checkProblem(t, ask(fmt.Sprintf("2001:db8:0:1::%x", n), "gojob_guess"), status)
	}
	checkProblem(t, ask("2001:db8:0:2::1", "gojob_guess"), 401)
	checkProblem(t, ask("fe80::1%eth0", "gojob_guess"), 401)
	checkProblem(t, ask("::ffff:192.0.2.3", "gojob_guess"), 401)
	// Nobody can fill the memory with addresses.
	for n := range 50_000 {
		_ = ask(fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255), "gojob_guess")
	}
	if n := auth.Addresses(g); n > 10_000 {
		t.Errorf("%d addresses are kept", n)
	}
	now = now.Add(time.Hour)
	_ = ask("192.0.2.1", "gojob_guess")
	if n := auth.Addresses(g); n != 1 {
		t.Errorf("%d addresses are kept an hour later, want 1", n)
	}
}

// TestProxy has requests come through a proxy to a gateway that is open. One on loopback warns, once.
func TestProxy(t *testing.T) {
	for name, test := range map[string]struct {
		loopback bool
		header   string
		want     int
	}{
		"no proxy": {loopback: true, header: "X-Other"}, "X-Forwarded-For": {loopback: true, header: "X-Forwarded-For", want: 1},
		"Forwarded": {loopback: true, header: "Forwarded", want: 1}, "warned at the start": {header: "X-Forwarded-For"},
	} {
		var logged bytes.Buffer
		g := auth.New(auth.Deps{Open: true, Loopback: test.loopback, Now: time.Now,
			Log: slog.New(slog.NewTextHandler(&logged, nil))})
		for range 3 {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/jobs", nil)
			r.Header.Set(test.header, "192.0.2.1")
			if _, err := g.Identify(r); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := strings.Count(logged.String(), "AUTH=keys"); n != test.want {
			t.Errorf("%s: %d warnings, want %d: %s", name, n, test.want, logged.String())
		}
	}
}

func TestSettings(t *testing.T) {
	for name, test := range map[string]struct {
		words  []string
		issuer string
		want   string
	}{
		"auto": {[]string{"auto"}, "", ""}, "open": {[]string{"open"}, "", ""}, "keys": {[]string{"keys"}, "", ""},
		"both":            {[]string{"keys", "oidc"}, "https://id.example.com", ""},
		"a word":          {[]string{"none"}, "", "AUTH"},
		"open and keys":   {[]string{"open", "keys"}, "", "AUTH"},
		"no issuer":       {[]string{"oidc"}, "", "OIDC_ISSUER"},
		"issuer for what": {[]string{"keys"}, "https://id.example.com", "OIDC_ISSUER"},
	} {
		s := auth.Settings{Auth: test.words}
		s.Issuer, s.Audience, s.OwnerClaim = test.issuer, "gojob", "sub"
		if err := s.Check(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	unused := auth.Settings{Auth: []string{"keys"}}
	unused.ClientID = "cli"
	if err := unused.Check(); err == nil || !strings.Contains(err.Error(), "OIDC_CLIENT_ID") {
		t.Errorf("a client without oidc: %v", err)
	}
	if err := errors.Join((&auth.Settings{Auth: []string{"x", "y"}}).Check()); err == nil ||
		!strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("%v does not name both faults", err)
	}
}

// TestLogin holds what the gateway says of itself against what a function behind it says with the same
// settings.
func TestLogin(t *testing.T) {
	vars := map[string]string{"OIDC_ISSUER": "https://id.example.com", "OIDC_AUDIENCE": "gojob", "OIDC_CLIENT_ID": "cli"}
	for words, want := range map[string]access.Login{
		"keys": {Modes: []string{"keys"}}, "auto": {Modes: []string{"keys"}}, "open": {Modes: []string{"open"}},
		"oidc": {Modes: []string{"oidc"}, Issuer: "https://id.example.com", ClientID: "cli", Audience: "gojob"},
		"keys,oidc": {Modes: []string{"keys", "oidc"}, Issuer: "https://id.example.com", ClientID: "cli",
			Audience: "gojob"},
	} {
		set := map[string]string{"AUTH": words}
		if strings.Contains(words, "oidc") {
			maps.Copy(set, vars)
		}
		env := settings.New(set, slog.New(slog.DiscardHandler))
		var gateway auth.Settings
		var behind access.LoginSettings
		if err := errors.Join(env.Load(&gateway), env.Load(&behind)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, gateway.Login(false)); diff != "" {
			t.Errorf("AUTH=%s (-want +got):\n%s", words, diff)
		}
		if diff := cmp.Diff(want, behind.Login(false)); diff != "" {
			t.Errorf("AUTH=%s, behind the gateway (-want +got):\n%s", words, diff)
		}
	}
	loopback := access.LoginSettings{Auth: []string{"auto"}}
	if got := loopback.Login(true).Modes; !slices.Equal(got, []string{"open"}) {
		t.Errorf("AUTH=auto on loopback is %v", got)
	}
}
