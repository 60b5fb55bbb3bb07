package origin_test

import (
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/origin"
)

func sites(t *testing.T, entries ...string) *origin.Sites {
	t.Helper()
	s, err := origin.NewSites(entries)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// permitting serves one answer behind a guard that lets in pages of these sites. The path / has GET,
// HEAD and POST. Every other path has no call.
func permitting(t *testing.T, s *origin.Sites) *httptest.Server {
	t.Helper()
	handles := func(method, path string) bool {
		return path == "/" && slices.Contains([]string{"GET", "HEAD", "POST"}, method)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handles(r.Method, r.URL.Path) {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Location", "/x")
		_, _ = io.WriteString(w, "secret")
	})
	server := httptest.NewServer(origin.Guard(open(t, origin.Config{}), s, s.Before(h, handles),
		slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	return server
}

// corsHeaders returns those headers of an answer that browsers look at.
func corsHeaders(h http.Header) map[string]string {
	found := map[string]string{}
	for name, values := range h {
		if rest, is := strings.CutPrefix(name, "Access-Control-"); is {
			found[rest] = strings.Join(values, "|")
		}
	}
	return found
}

// TestSites sends requests for pages of several origins by several methods.
func TestSites(t *testing.T) {
	s := permitting(t, sites(t, "https://app.example.com", "http://localhost:3000"))
	exposed := "Location, Preference-Applied, Content-Disposition, Content-Range, Accept-Ranges, Etag, Repr-Digest, " +
		"Link, Log-Position, Job-Phase, Allow, Retry-After, Www-Authenticate"
	read := func(from string) map[string]string {
		return map[string]string{"Allow-Origin": from, "Expose-Headers": exposed}
	}
	for _, test := range []struct {
		origin, methods string
		want            int
		header          map[string]string
	}{
		{"https://app.example.com", "GET HEAD POST", 200, read("https://app.example.com")},
		{"https://app.example.com", "PUT DELETE", 405, read("https://app.example.com")},
		{"http://localhost:3000", "GET HEAD POST", 200, read("http://localhost:3000")},
		{"", "GET HEAD POST", 200, nil},     // a program
		{s.URL, "GET HEAD POST", 200, nil},  // a page of the server itself
		{"null", "GET HEAD POST", 403, nil}, // a sandboxed frame
		{"https://evil.example", "GET HEAD POST PUT DELETE OPTIONS", 403, nil},
		{"http://app.example.com", "GET HEAD POST PUT DELETE OPTIONS", 403, nil}, // another scheme
		{"https://app.example.com:8443", "GET HEAD POST PUT DELETE OPTIONS", 403, nil},
		{"http://localhost", "GET HEAD POST PUT DELETE OPTIONS", 403, nil},
		{"https://app.example.com.evil.example", "GET POST", 403, nil},
		{"https://evil.example/https://app.example.com", "GET POST", 403, nil},
		{"https://app.example.com, https://evil.example", "GET POST", 403, nil},
		{"https://sub.app.example.com", "GET POST", 403, nil},
		{"https://app.example.com/", "GET POST", 403, nil}, // no browser writes it so
	} {
		for method := range strings.FieldsSeq(test.methods) {
			for _, fetch := range []string{"cross-site", "same-site", ""} {
				if fetch != "" && (test.origin == "" || test.origin == s.URL) {
					continue
				}
				header := http.Header{}
				if test.origin != "" {
					header.Set("Origin", test.origin)
				}
				if fetch != "" {
					header.Set("Sec-Fetch-Site", fetch)
					header.Set("Sec-Fetch-Mode", "cors")
				}
				got := ask(t, s, method, "/", header)
				if got.StatusCode != test.want {
					t.Errorf("%s from %s (%s): %s, want %d", method, test.origin, fetch, got.Status, test.want)
				}
				want := test.header
				if want == nil {
					want = map[string]string{}
				}
				if diff := cmp.Diff(want, corsHeaders(got.Header)); diff != "" {
					t.Errorf("%s from %s (%s) (-want +got):\n%s", method, test.origin, fetch, diff)
				}
				if !strings.Contains(strings.Join(got.Header.Values("Vary"), ","), "Origin") && got.StatusCode != 403 {
					t.Errorf("%s from %s (%s): a cache may give the answer to another site: Vary is %q", method, test.origin,
						fetch, got.Header.Values("Vary"))
				}
			}
		}
	}
	if got := ask(t, s, "GET", "/", http.Header{"Origin": {"https://app.example.com", "https://app.example.com"}}); got.
		StatusCode != 403 {
		t.Errorf("two origins: %s", got.Status)
	}
	// An image in a page of such a site has no Origin, and cannot be told from one in another page.
	if got := ask(t, s, "GET", "/", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"},
		"Sec-Fetch-Dest": {"image"}}); got.StatusCode != 403 {
		t.Errorf("an image: %s", got.Status)
	}
}

func ask(t *testing.T, s *httptest.Server, method, path string, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Body.Close()
	return got
}

// TestPreflight asks as a browser does before it sends what a page wants to send.
func TestPreflight(t *testing.T) {
	s := permitting(t, sites(t, "https://app.example.com"))
	const app = "https://app.example.com"
	granted := func(method, headers string) map[string]string {
		m := map[string]string{"Allow-Origin": app, "Allow-Methods": method, "Max-Age": "7200"}
		if headers != "" {
			m["Allow-Headers"] = headers
		}
		return m
	}
	for _, test := range []struct {
		name, origin, path, method, headers string
		status                              int
		want                                map[string]string
	}{
		{"without headers", app, "/", "POST", "", 204, granted("POST", "")},
		{"with the usual headers", app, "/", "POST", "authorization,content-type,idempotency-key,prefer", 204,
			granted("POST", "authorization,content-type,idempotency-key,prefer")},
		{"to go on reading", app, "/", "GET", "authorization,last-event-id,range", 204,
			granted("GET", "authorization,last-event-id,range")},
		{"with a header that no call has", app, "/", "POST", "authorization,x-forwarded-for", 204, map[string]string{}},
		{"with an assertion", app, "/", "POST", "gojob-assertion", 204, map[string]string{}},
		{"with cookies", app, "/", "POST", "cookie", 204, map[string]string{}},
		{"for a method that the path does not have", app, "/", "DELETE", "authorization", 405, map[string]string{}},
		{"for a method that no call has", app, "/", "TRACE", "", 405, map[string]string{}},
		{"for a path that there is not", app, "/x", "POST", "", 405, map[string]string{}},
		{"of another site", "https://evil.example", "/", "POST", "authorization", 403, map[string]string{}},
		{"of no site", "null", "/", "POST", "authorization", 403, map[string]string{}},
	} {
		header := http.Header{"Origin": {test.origin}, "Access-Control-Request-Method": {test.method},
			"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"cors"}}
		if test.headers != "" {
			header.Set("Access-Control-Request-Headers", test.headers)
		}
		got := ask(t, s, http.MethodOptions, test.path, header)
		if got.StatusCode != test.status {
			t.Errorf("%s: %s, want %d", test.name, got.Status, test.status)
		}
		if diff := cmp.Diff(test.want, corsHeaders(got.Header)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestHeadersOfTheAPI demands that pages may send every header that the description of the API has,
// and read every header of its answers, but for those that are for other clients.
func TestHeadersOfTheAPI(t *testing.T) {
	var document any
	if err := yaml.Unmarshal(openapi.Document(), &document); err != nil {
		t.Fatal(err)
	}
	sent, answered := map[string]bool{}, map[string]bool{}
	collect(document, sent, answered)
	if len(sent) < 10 || len(answered) < 10 {
		t.Fatalf("only %v and %v were found", sent, answered)
	}
	const app = "https://app.example.com"
	s := permitting(t, sites(t, app))
	servers := []string{"WebHook-Request-Origin", "WebHook-Request-Rate", "Content-Digest", "Repr-Digest"}
	for name := range sent {
		if slices.Contains(servers, name) {
			continue
		}
		got := ask(t, s, http.MethodOptions, "/", http.Header{"Origin": {app}, "Access-Control-Request-Method": {"POST"},
			"Access-Control-Request-Headers": {strings.ToLower(name)}})
		if got.Header.Get("Access-Control-Allow-Headers") == "" {
			t.Errorf("pages may not send %s", name)
		}
	}
	browsers := []string{"Cache-Control", "Content-Security-Policy", "Content-Type", "Content-Length", "Last-Modified",
		"Vary", "Referrer-Policy", "X-Content-Type-Options", "WebHook-Allowed-Origin", "WebHook-Allowed-Rate"}
	exposed := strings.Split(ask(t, s, "GET", "/", http.Header{"Origin": {app}}).Header.
		Get("Access-Control-Expose-Headers"), ", ")
	for name := range answered {
		if !slices.Contains(browsers, name) && !slices.Contains(exposed, http.CanonicalHeaderKey(name)) {
			t.Errorf("pages may not read %s", name)
		}
	}
}

// collect finds the headers of requests and answers in an OpenAPI description.
func collect(node any, sent, answered map[string]bool) {
	switch n := node.(type) {
	case []any:
		for _, one := range n {
			collect(one, sent, answered)
		}
	case map[string]any:
		if name, is := n["name"].(string); is && n["in"] == "header" {
			sent[name] = true
		}
		_, response := n["description"]
		headers, _ := n["headers"].(map[string]any)
		for name := range headers {
			if response {
				answered[name] = true
			}
		}
		for _, one := range n {
			collect(one, sent, answered)
		}
	}
}

func TestOrigins(t *testing.T) {
	for entry, want := range map[string]string{
		"https://app.example.com": "https://app.example.com", " https://app.example.com ": "https://app.example.com",
		"HTTPS://App.Example.com": "https://app.example.com", "https://app.example.com:443": "https://app.example.com",
		"http://localhost:80": "http://localhost", "https://a:80": "https://a:80", "http://[::1]:3000": "http://[::1]:3000",
		"http://[0:0::1]": "http://[::1]", "http://192.0.2.7:8080": "http://192.0.2.7:8080",
	} {
		s := permitting(t, sites(t, entry))
		if got := ask(t, s, "GET", "/", http.Header{"Origin": {want}}); got.StatusCode != 200 ||
			got.Header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s: a page of %s gets %s %v", entry, want, got.Status, got.Header)
		}
	}
	faults := []string{"*", "https://*.example.com", "null", "app.example.com", "//app.example.com", "https://",
		"https:app", "https://app.example.com/", "https://app.example.com/x", "https://app.example.com?",
		"https://app.example.com?x", "https://app.example.com#", "https://app.example.com#x",
		"https://user@app.example.com", "ftp://app.example.com", "https://app.example.com:", "https://app.example.com:x",
		"https://app.example.com:70000", "https://app_é.example", "https://app.example.com.", "https://a b",
		"https://a\nb", "http://[::1%25eth0]", "file:///x", "https://:80"}
	for _, entry := range faults {
		if _, err := origin.NewSites([]string{"https://good.example", entry}); err == nil ||
			!strings.Contains(err.Error(), "CORS_ORIGINS") || strings.Contains(err.Error(), "good") {
			t.Errorf("%q: %v", entry, err)
		}
	}
	if _, err := origin.NewSites(faults); err == nil || strings.Count(err.Error(), "CORS_ORIGINS: ") != len(faults) {
		t.Errorf("%v does not name %d faults", err, len(faults))
	}
	for _, none := range [][]string{nil, {""}, {" ", ""}} {
		s := permitting(t, sites(t, none...))
		if got := ask(t, s, "GET", "/", http.Header{"Origin": {""}}); len(corsHeaders(got.Header)) > 0 ||
			got.Header.Get("Vary") != "" {
			t.Errorf("without sites: %s %v", got.Status, got.Header)
		}
	}
}
