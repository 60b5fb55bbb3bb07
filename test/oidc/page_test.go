package oidc_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// tab is a browser that has the page of a gateway open. It keeps cookies as browsers do for a loopback
// address, where they are secure without TLS.
type tab struct {
	t       *testing.T
	base    string
	cookies map[string]string
}

// visit asks the gateway for a path, and returns the answer.
func (b *tab) visit(method, path string, header ...string) *http.Response {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { got.Body.Close() })
	for _, c := range got.Cookies() {
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
			b.t.Errorf("a cookie is not protected: %s", c)
		}
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return got
}

// to demands that an answer leads somewhere, and returns where.
func to(t *testing.T, got *http.Response) *url.URL {
	t.Helper()
	at, err := got.Location()
	if err != nil || got.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s: %v", got.Status, err)
	}
	return at
}

// logIn has a person log in at the issuer, and returns the path to which the issuer sends the browser.
func (b *tab) logIn(i *issuer, back, user string) string {
	b.t.Helper()
	at := to(b.t, b.visit(http.MethodGet, "/ui/login/oidc?back="+url.QueryEscape(back)))
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, at.String(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	got, err := i.browser().Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	got.Body.Close()
	answer := submitAt(b.t, i, got.Request.URL.String(), user)
	back, found := strings.CutPrefix(answer, b.base)
	if !found {
		b.t.Fatalf("the issuer leads to %s", answer)
	}
	return back
}

// submitAt fills in the form of the issuer, and follows it until it leaves.
func submitAt(t *testing.T, i *issuer, page, user string) string {
	t.Helper()
	client := i.browser()
	leaves := ""
	client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/ui/") {
			leaves = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page,
		strings.NewReader(url.Values{"user": {user}, "password": {password}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if leaves == "" {
		body, _ := io.ReadAll(got.Body)
		t.Fatalf("%s: %s", got.Status, body)
	}
	return leaves
}

// TestPage logs people in by a browser, as the page does.
func TestPage(t *testing.T) {
	i := newIssuer(t, users{"ann": "developers", "eve": "guests"}, "cli")
	base, _ := gateway(t, i)
	b := &tab{t: t, base: base, cookies: map[string]string{}}
	back := b.logIn(i, "/ui/jobs/fe5dd73070535f3b1d397b4f85a949ff", "ann")
	if at := to(t, b.visit(http.MethodGet, back)); at.Path != "/ui/jobs/fe5dd73070535f3b1d397b4f85a949ff" {
		t.Errorf("the login ends at %s", at)
	}
	whoami := func() string {
		got := b.visit(http.MethodGet, "/api/v1/whoami")
		body, err := io.ReadAll(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		return got.Status + " " + string(body)
	}
	if got := whoami(); !strings.Contains(got, `{"owner":"ann","role":"user","via":"oidc"}`) {
		t.Error(got)
	}
	b.visit(http.MethodDelete, "/ui/session")
	if got := whoami(); !strings.HasPrefix(got, "401") || len(b.cookies) != 0 {
		t.Errorf("after logging out: %s %v", got, b.cookies)
	}

	// A code cannot be used in another browser, twice, or with another state.
	stolen := b.logIn(i, "/ui/", "ann")
	other := &tab{t: t, base: base, cookies: map[string]string{}}
	forged := strings.Replace(stolen, "state=", "state=x", 1)
	for name, visit := range map[string]func() *http.Response{
		"another browser": func() *http.Response { return other.visit(http.MethodGet, stolen) },
		"another state":   func() *http.Response { return b.visit(http.MethodGet, forged) },
	} {
		if at := to(t, visit()); at.RequestURI() != "/ui/login?failed=state" {
			t.Errorf("%s: it leads to %s", name, at)
		}
	}
	// Who has no role is told so, and the issuer's refusal as well. No login leads to another site.
	if at := to(t, b.visit(http.MethodGet, b.logIn(i, "/ui/", "eve"))); at.RequestURI() != "/ui/login?failed=role" {
		t.Errorf("without a role: %s", at)
	}
	begun := to(t, b.visit(http.MethodGet, "/ui/login/oidc"))
	denied := "/ui/login/callback?error=access_denied&state=" + begun.Query().Get("state")
	if at := to(t, b.visit(http.MethodGet, denied)); at.RequestURI() != "/ui/login?failed=denied" {
		t.Errorf("refused: %s", at)
	}
	if at := to(t, b.visit(http.MethodGet, b.logIn(i, "https://evil.example.com/ui/", "ann"))); at.String() != base+"/ui/" {
		t.Errorf("it leads to %s", at)
	}
	if q := begun.Query(); q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("client_secret") != "" {
		t.Errorf("the login begins with %s", begun)
	}
}
