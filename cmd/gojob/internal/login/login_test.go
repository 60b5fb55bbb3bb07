package login

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/settings"
)

// issuer answers as an issuer does, with what a test says of it. test/oidc has a real one.
type issuer struct {
	*httptest.Server
	discovery map[string]any
	tokens    []string // the answers of the token endpoint, one after the other
	asked     []string // what it was asked for
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(i.discovery)
	})
	mux.HandleFunc("/device", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		i.asked = append(i.asked, r.PostForm.Encode())
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"device_code":"d","user_code":"ABCD","verification_uri":"https://id/device","expires_in":60,"interval":1}`)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		i.asked = append(i.asked, r.PostForm.Encode())
		text := i.tokens[0]
		i.tokens = i.tokens[1:]
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(text, `"error"`) {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write([]byte(text))
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	i.discovery = map[string]any{
		"issuer": i.URL, "device_authorization_endpoint": i.URL + "/device", "token_endpoint": i.URL + "/token",
		"scopes_supported": []string{"openid", "offline_access", "email", "phone"},
	}
	return i
}

// jwt is a token that expires at a time.
func jwt(at int64) string {
	return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, at)) + ".c2ln"
}

// TestDevice gets the token that the audience asks for, with the time at which it really ends.
func TestDevice(t *testing.T) {
	i := newIssuer(t)
	answer := fmt.Sprintf(`{"access_token":%q,"id_token":%q,"refresh_token":"r1","expires_in":5,"token_type":"Bearer"}`, jwt(2000), jwt(1000))
	i.tokens = []string{`{"error":"authorization_pending"}`, answer, answer}
	var shown string
	prompt := func(page, code, _ string, _ time.Time) { shown = page + " " + code }
	got, err := Device(t.Context(), Server{Issuer: i.URL, ClientID: "cli", Audience: "cli"}, prompt)
	if err != nil || got.Token != jwt(1000) || got.Expires.Unix() != 1000 || got.Refresh != "r1" || shown != "https://id/device ABCD" {
		t.Errorf("%+v, %v, shown: %s", got, err, shown)
	}
	if want := "client_id=cli&scope=openid+offline_access+email"; i.asked[0] != want {
		t.Errorf("asked for %s, want %s", i.asked[0], want)
	}
	i.asked = nil
	got, err = Device(t.Context(), Server{Issuer: i.URL, ClientID: "cli", Audience: "https://api"}, prompt)
	if err != nil || got.Token != jwt(2000) || got.Expires.Unix() != 2000 {
		t.Errorf("another audience: %+v, %v", got, err)
	}
	if !strings.Contains(i.asked[0], "audience=https%3A%2F%2Fapi") || !strings.Contains(i.asked[0], "resource=https%3A%2F%2Fapi") {
		t.Errorf("asked for %s", i.asked[0])
	}
}

// TestRefused says what an issuer refuses, and trusts none that is not encrypted or calls itself
// otherwise.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*issuer, *Server)
		want   string
	}{
		"refused":        {func(i *issuer, _ *Server) { i.tokens = []string{`{"error":"access_denied"}`} }, "the login was refused"},
		"too late":       {func(i *issuer, _ *Server) { i.tokens = []string{`{"error":"expired_token"}`} }, "nobody typed the code in time"},
		"unknown":        {func(i *issuer, _ *Server) { i.tokens = []string{`{"error":"strange","error_description":"why"}`} }, "strange why"},
		"no ID token":    {func(i *issuer, _ *Server) { i.tokens = []string{`{"access_token":"a","token_type":"Bearer"}`} }, "gave no ID token"},
		"no device flow": {func(i *issuer, _ *Server) { delete(i.discovery, "device_authorization_endpoint") }, "has no device flow"},
		"another issuer": {func(i *issuer, _ *Server) { i.discovery["issuer"] = "https://other.example.com" }, "calls itself https://other.example.com"},
		"plain endpoint": {func(i *issuer, _ *Server) { i.discovery["token_endpoint"] = "http://id.example.com/token" }, "is not https"},
		"plain issuer":   {func(_ *issuer, s *Server) { s.Issuer = "http://id.example.com" }, "is not https"},
		"no client":      {func(_ *issuer, s *Server) { s.ClientID = "" }, "ask its operator to set OIDC_CLIENT_ID"},
		"not there":      {func(i *issuer, _ *Server) { i.Close() }, "does not answer"},
		"no issuer":      {func(_ *issuer, s *Server) { s.Issuer += "/other" }, "answered 404 Not Found"},
	} {
		i := newIssuer(t)
		s := Server{Issuer: i.URL, ClientID: "cli", Audience: "cli"}
		c.change(i, &s)
		if got, err := Device(t.Context(), s, func(string, string, string, time.Time) {}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want %s", name, got, err, c.want)
		}
	}
}

// TestRefresh keeps a refresh token that was not replaced, and follows no redirect with it.
func TestRefresh(t *testing.T) {
	i := newIssuer(t)
	old := settings.OIDC{Issuer: i.URL, ClientID: "cli", Audience: "api", TokenURL: i.URL + "/token", Refresh: "r1"}
	i.tokens = []string{`{"access_token":"opaque","expires_in":3600,"token_type":"Bearer"}`}
	got, err := Refresh(t.Context(), old)
	if err != nil || got.Token != "opaque" || got.Refresh != "r1" || time.Until(got.Expires) < 59*time.Minute {
		t.Errorf("%+v, %v", got, err)
	}
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer thief.Close()
	moved := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	old.TokenURL = moved.URL
	if got, err := Refresh(t.Context(), old); err == nil {
		t.Errorf("%+v", got)
	}
	old.Refresh = ""
	if got, err := Refresh(t.Context(), old); err == nil || err.Error() != "the login has expired" {
		t.Errorf("%+v, %v", got, err)
	}
}
