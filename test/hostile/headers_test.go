package hostile

import (
	"fmt"
	"net/http"
	"strings"
)

// line is a request written by hand.
func line(text string) request { return request{method: http.MethodGet, raw: text} }

// headerRows are malformed requests, and headers with values that are not allowed.
func headerRows() []row {
	const ok = "GET /api/v1/jobs HTTP/1.1\r\n" + keyed + "Host: ADDRESS\r\nConnection: close\r\n"
	const event = "POST /events HTTP/1.1\r\nHost: ADDRESS\r\n" + keyed
	raw := func(name, text string, status ...int) row {
		r := row{name: name, req: line(text), status: append(status, closed), plain: true}
		r.req.cut = true
		return r
	}
	rows := []row{
		raw("no request", "hello\r\n\r\n", 400), raw("nothing but lines", "\r\n\r\n\r\n", 400),
		raw("zeros", strings.Repeat("\x00", 2000)+"\r\n\r\n", 400),
		raw("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"+strings.Repeat("\x00", 300)+"\r\n\r\n", 400),
		raw("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 404, 405, 421, 505),
		raw("HTTP/9.9", "GET / HTTP/9.9\r\nHost: ADDRESS\r\n\r\n", 400, 505),
		raw("HTTP/0.9", "GET /\r\n\r\n", 400), raw("no version", "GET / HTTP\r\nHost: ADDRESS\r\n\r\n", 400),
		raw("blank in the method", "G ET / HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 400),
		raw("odd method", "G{}T / HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 400, 405),
		raw("four words", "GET / HTTP/1.1 x\r\nHost: ADDRESS\r\n\r\n", 400),
		raw("header without colon", ok+"Hello\r\n\r\n", 400),
		raw("blank before the colon", ok+"Range : bytes=0-1\r\n\r\n", 400),
		raw("header without name", ok+": x\r\n\r\n", 400),
		raw("NUL in a value", ok+"X: a\x00b\r\n\r\n", 400), raw("NUL in a name", ok+"X\x00: a\r\n\r\n", 400),
		raw("CR in a value", ok+"X: a\rb\r\n\r\n", 400),
		raw("DEL in a value", ok+"X: a\x7fb\r\n\r\n", 400), raw("blank line first", ok+" X: y\r\n\r\n", 200, 400),
		raw("large header", ok+"X: "+strings.Repeat("x", 100<<10)+"\r\n\r\n", 431),
		raw("many headers", ok+strings.Repeat("X: y\r\n", 20_000)+"\r\n", 431),
		raw("many names", ok+flood(8000)+"\r\n", 431), raw("long target",
			"GET /"+strings.Repeat("a", 100<<10)+" HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 414, 431),
		raw("long query", "GET /api/v1/jobs?"+strings.Repeat("a", 100<<10)+" HTTP/1.1\r\nHost: ADDRESS\r\n\r\n", 414, 431),
		raw("two lengths", event+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
			400),
		raw("lengths in one", event+"Content-Length: 1, 2\r\n\r\nxx", 400),
		raw("length below nothing", event+"Content-Length: -1\r\n\r\nxx", 400),
		raw("length with a sign", event+"Content-Length: +2\r\n\r\nxx", 400),
		raw("length in hexadecimal", event+"Content-Length: 0x2\r\n\r\nxx", 400),
		raw("huge length", event+"Content-Length: 99999999999999999999\r\n\r\nxx", 400),
		raw("encoding we do not know", event+"Transfer-Encoding: gzip\r\n\r\nxx", 400,
			501),
		raw("two encodings", event+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
			400, 501),
		raw("encoding twice",
			event+"Transfer-Encoding: chunked\r\nTransfer-Encoding: "+
				"chunked\r\n\r\n0\r\n\r\n", 400, 501),
		raw("encoding that looks chunked",
			event+"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, 501),
		raw("a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", 400, 404, 405, 421),
		raw("smuggled request",
			event+"Content-Length: 6\r\nTransfer-Encoding: chunked\r\nConnection: "+
				"close\r\n\r\n0\r\n\r\nX", 400),
	}
	for _, target := range []string{
		"/", "/api", "/api/v1", "/api/v1/jobs/", "//api/v1/jobs", "/api//v1/jobs", "/./api/v1/jobs", "/api/v1/../v1/jobs",
		"/%2e%2e/", "/%2e%2e/%2e%2e/etc/passwd",
		"/api/v1/jobs%00", "/api/v1/jobs%2f", "/API/v1/jobs", "/api/v1/jobs;x=y", "/metrics/", "/debug/pprof/",
		"/debug/vars", "/.env", "/admin", "/gui", "/events/",
		"/index.html", "/" + strings.Repeat("a/", 5000), "/outputs", "/artifacts", "/outputs/", "/api/v2/jobs",
		"/.local/token.key", "/data", "/%c0%af",
	} {
		rows = append(rows, row{name: fmt.Sprintf("path %.40s", target), req: get(target), status: []int{404, 405, 401}})
	}
	rows = append(rows, row{name: "path with a bad escape", req: get("/%zz"), status: []int{400}, plain: true})
	for _, method := range []string{"PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "HEAD", "PROPFIND", "get", "LINK"} {
		rows = append(rows, refused(405, "", "method "+method, request{method: method, target: "/api/v1/jobs"}))
	}
	for _, header := range []string{
		"X-HTTP-Method-Override: DELETE", "X-Original-URL: /admin", "X-Forwarded-Host: evil.example",
		"Forwarded: host=evil.example", "Upgrade: h2c", "Upgrade: websocket",
		"Range: bytes=0-1", "If-None-Match: *", "Accept: text/html;q=x", "Accept-Encoding: gzip;q=9",
		"Cookie: " + strings.Repeat("a=b;", 5000), "X-Real-IP: 127.0.0.1",
		"TE: trailers, deflate", "traceparent: 00-" + strings.Repeat("f", 5000), "Gojob-Assertion: x",
		"Prefer: wait=-1", "Accept-Language: " + strings.Repeat("x,", 5000),
	} {
		rows = append(rows, row{name: fmt.Sprintf("header %.40s", header), req: get("/api/v1/jobs").with(header),
			status: []int{200}})
	}
	return rows
}

func flood(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: y\r\n", i)
	}
	return b.String()
}

// hostRows are requests that another site makes a browser send to the server: DNS rebinding, and
// cross-site forms.
func hostRows() []row {
	var rows []row
	for _, host := range []string{
		"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "evil.localhost.example",
		"evil.example:localhost", "jobs.example.evil.example",
		"x.jobs.example", "x.ci.example", "ci.example.evil", "169.254.169.254", "0.0.0.0", "0.0.0.0:80", "10.0.0.1",
		"[::ffff:10.0.0.1]", "[fe80::1]", "2130706433", "0x7f000001",
		"xn--lcalhost-03a", "localhost@evil.example", "localhost/evil.example", "localhost,evil.example",
		"evil.example#localhost", "", "a b", "[::1", "::1.evil.example", "*",
	} {
		for _, r := range []request{get("/api/v1/jobs"), with(), cloudEvent("x", "host"), get("/outputs/" + string(ghost)),
			get("/api/v1/templates")} {
			r.header = append(r.header, "Host: "+host)
			rows = append(rows, row{name: fmt.Sprintf("%s %s at %q", r.method, r.target, host), req: r,
				status: []int{400, 421}, plain: true})
		}
	}
	for _, host := range []string{"ADDRESS", "127.0.0.1", "localhost", "localhost:8080", "LOCALHOST", "[::1]:80",
		"jobs.example:8080", "jobs.example", "ci.example", "ci.example:443"} {
		rows = append(rows, row{name: "known host " + host, req: get("/api/v1/jobs", "Host: "+host), status: []int{200}})
	}
	const rebound = "Host: evil.example:8080"
	for _, method := range []request{with(), cloudEvent("x", "cross"), put("cross", script("true\n")),
		{method: http.MethodDelete, target: "/api/v1/jobs/" + string(ghost)}} {
		name := method.method + " " + method.target
		rows = append(rows, refused(421, "", "rebound "+name, method.with(rebound, "Origin: http://evil.example:8080")))
		for _, header := range []string{
			"Origin: https://elsewhere.example", "Origin: null", "Origin: http://evil.example:8080",
			"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:1",
		} {
			rows = append(rows, refused(403, "", name+" with "+header, method.with(header)))
		}
	}
	abs := func(name, target, host string, status ...int) row {
		head := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + keyed + "Connection: close\r\n\r\n"
		return row{name: name, req: line(head), status: status, plain: true}
	}
	return append(rows,
		abs("absolute form elsewhere", "http://evil.example/api/v1/jobs", "ADDRESS", 400, 421),
		abs("absolute form of ours", "http://ADDRESS/api/v1/jobs", "evil.example", 200, 400, 421),
		abs("absolute form without host", "http:///api/v1/jobs", "ADDRESS", 200, 400, 421),
		abs("two hosts", "/api/v1/jobs", "ADDRESS\r\nHost: evil.example", 400),
		row{name: "no host", req: line("GET /api/v1/jobs HTTP/1.1\r\nConnection: close\r\n\r\n"), status: []int{400},
			plain: true},
		row{name: "HTTP/1.0 without host", req: line("GET /api/v1/jobs HTTP/1.0\r\n\r\n"), status: []int{400, 421}},
	)
}
