package origin_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/origin"
)

// guarded serves one answer behind a guard.
func guarded(t *testing.T, c origin.Config) *httptest.Server {
	t.Helper()
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
	s := httptest.NewServer(origin.Guard(open(t, c), nil, answer, slog.New(slog.DiscardHandler)))
	t.Cleanup(s.Close)
	return s
}

// send sends a request as it is written, and returns the status and the body of the answer.
func send(t *testing.T, s *httptest.Server, raw string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

func TestHost(t *testing.T) {
	s := guarded(t, origin.Config{})
	here := s.Listener.Addr().String()
	for _, test := range []struct {
		name, raw string
		want      int
	}{
		{"its address", "GET / HTTP/1.1\r\nHost: " + here + "\r\n\r\n", 200},
		{"localhost", "GET / HTTP/1.1\r\nHost: LOCALHOST.:1\r\n\r\n", 200},
		{"another name", "GET / HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n", 421},
		{"another name that sends a form", "POST / HTTP/1.1\r\nHost: evil.example\r\nOrigin: " +
			"http://evil.example\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n\r\n", 421},
		{"a name that others vouch for", "GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: " +
			"localhost\r\nForwarded: host=localhost\r\nX-Original-Host: localhost\r\n\r\n", 421},
		{"an allowed name that others speak against", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Host: " +
			"evil.example\r\n\r\n", 200},
		{"none", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
		{"an empty one", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 421},
		{"none, of an old client", "GET / HTTP/1.0\r\n\r\n", 421},
		{"its name, of an old client", "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", 200},
		{"characters of no name", "GET / HTTP/1.1\r\nHost: local host\r\n\r\n", 400},
		{"no ASCII", "GET / HTTP/1.1\r\nHost: l\xc3\xb3calhost\r\n\r\n", 400},
		{"no ASCII, escaped", "GET http://l%C3%B3calhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		{"somebody at it", "GET / HTTP/1.1\r\nHost: user@localhost\r\n\r\n", 400},
		{"a target with another name", "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		// RFC 9112, section 3.2.2
		{"a target with its name", "GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200},
		{"a target with somebody at it", "GET http://user@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		{"a tunnel", "CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
	} {
		r, body := send(t, s, test.raw)
		if r.StatusCode != test.want {
			t.Errorf("%s: %s %q; want %d", test.name, r.Status, body, test.want)
		}
		if strings.Contains(body, "secret") != (test.want == 200) {
			t.Errorf("%s: the answer is %q", test.name, body)
		}
		if test.want != 421 {
			continue
		}
		var p api.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != 421 || p.Title != "Misdirected Request" ||
			!strings.Contains(p.Detail, "ALLOWED_HOSTS") || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %q (%v)", test.name, body, err)
		}
	}
	_, body := send(t, s, "GET / HTTP/1.1\r\nHost: "+strings.Repeat("evil.", 5000)+"example\r\n\r\n")
	if len(body) > 500 {
		t.Errorf("the answer to a long name has %d bytes", len(body))
	}
}

func TestOtherSites(t *testing.T) {
	s := guarded(t, origin.Config{})
	here := s.URL
	for _, test := range []struct {
		name    string
		methods string
		header  map[string]string
		want    int
	}{
		{"a program", "GET HEAD POST PUT DELETE OPTIONS", nil, 200},
		{"a page of this server", "GET HEAD POST PUT DELETE",
			map[string]string{"Origin": here, "Sec-Fetch-Site": "same-origin"}, 200},
		{"the address bar", "GET POST", map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate",
			"Sec-Fetch-Dest": "document"}, 200},
		{"a page of this server in an old browser", "GET POST", map[string]string{"Origin": here}, 200},
		{"a page of another site", "GET HEAD POST PUT DELETE OPTIONS", map[string]string{"Origin": "https://evil.example",
			"Sec-Fetch-Site": "cross-site"}, 403},
		{"a page of another site in an old browser", "GET HEAD POST PUT DELETE OPTIONS",
			map[string]string{"Origin": "https://evil.example"}, 403},
		{"a script or an image of a page of another site", "GET", map[string]string{"Sec-Fetch-Site": "cross-site",
			"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403},
		{"a frame in a page of another site", "GET", map[string]string{"Sec-Fetch-Site": "cross-site",
			"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"a page of another port", "GET POST", map[string]string{"Origin": "http://127.0.0.1:1",
			"Sec-Fetch-Site": "same-site"}, 403},
		{"a sandboxed frame or a local file", "GET POST", map[string]string{"Origin": "null"}, 403},
		{"a link on a page of another site", "GET", map[string]string{"Sec-Fetch-Site": "cross-site",
			"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200},
		{"a form of a page of another site", "POST", map[string]string{"Sec-Fetch-Site": "cross-site",
			"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403},
		{"a value that no browser sends", "GET POST", map[string]string{"Sec-Fetch-Site": "Same-Origin"}, 403},
	} {
		for method := range strings.FieldsSeq(test.methods) {
			r, err := http.NewRequestWithContext(t.Context(), method, here, nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			got, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = got.Body.Close()
			if got.StatusCode != test.want {
				t.Errorf("%s, %s: %s; want %d", test.name, method, got.Status, test.want)
			}
			for name := range got.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s, %s: %s permits another site to read", test.name, method, fmt.Sprint(name))
				}
			}
		}
	}
}
