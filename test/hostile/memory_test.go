package hostile

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// memoryAttacks have many clients send at a time what a server keeps in memory, and keep it there
// by falling silent.
func (s *suite) memoryAttacks(t *testing.T) {
	srv := s.launch(t, s.all, folder(t), "REAP_INTERVAL=1h", "GOMEMLIMIT=256MiB", "UPLOAD_TIMEOUT=30s",
		"MAX_FIELD_BYTES=256Ki")
	srv.template(t, "plain", script("true\n"))
	const bound = 384 << 20
	s.run(t, "memory", srv, bound, func(g *group) {
		before := g.server.files(g.T)
		g.silent("header of a part", 60, formHead("POST", "/api/v1/jobs")+"--"+boundary+"\r\nX: ",
			strings.Repeat("x", 10_000_000))
		g.silent("header of a template's part", 30, formHead("PUT", "/api/v1/templates/x")+"--"+boundary+"\r\nX: ",
			strings.Repeat("x", 10_000_000))
		g.silent("many headers of a part", 30, formHead("POST", "/api/v1/jobs")+"--"+boundary+"\r\n",
			strings.Repeat("X: y\r\n", 1_500_000))
		g.silent("a field", 60,
			formHead("POST", "/api/v1/jobs")+"--"+boundary+"\r\nContent-Disposition: form-data; name=\"arg\"\r\n\r\n",
			strings.Repeat("x", 10_000_000))
		g.silent("an event", 60,
			"POST /events?template=plain HTTP/1.1\r\nHost: ADDRESS\r\n"+keyed+"Content-Type: "+
				"application/cloudevents+json\r\nContent-Length: 4000000\r\n\r\n", strings.Repeat("[", 3_900_000))
		g.silent("a form without a key", 60, strings.Replace(formHead("POST", "/api/v1/jobs"), keyed, "", 1)+"--"+boundary+
			"\r\nX: ", strings.Repeat("x", 10_000_000))
		g.silent("a key", 60, "POST /api/v1/keys HTTP/1.1\r\nHost: ADDRESS\r\nContent-Length: 99999999\r\n"+keyed+"\r\n",
			strings.Repeat("[", 10_000_000))
		g.silent("a header of the request", 60, "GET / HTTP/1.1\r\nHost: ADDRESS\r\nX: ", strings.Repeat("x", 60_000))
		g.silent("nothing", 100, "", "")
		g.unchanged(before)
		g.crowd(40)
	})
}

func formHead(method, target string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: ADDRESS\r\n" + keyed + formType + "\r\nContent-Length: 99999999\r\n\r\n"
}

// silent opens connections that send something and then nothing, and demands that others are
// answered meanwhile.
func (g *group) silent(name string, n int, head, rest string) {
	g.Helper()
	g.try(name, func(fail func(string, ...any)) {
		g.server.resetPeak()
		var all sync.WaitGroup
		conns := make([]net.Conn, n)
		for i := range conns {
			conn, err := net.Dial("tcp", g.server.addr)
			if err != nil {
				fail("connection %d: %v", i, err)
				return
			}
			defer conn.Close()
			conns[i] = conn
			all.Go(func() {
				_ = conn.SetDeadline(time.Now().Add(3 * time.Second)) // a server that has read enough reads no more
				_, _ = io.WriteString(conn, g.server.fill(head)+rest)
			})
		}
		all.Wait()
		if a, err := g.server.send(get("/api/v1/jobs")); err != nil || a.status != http.StatusOK {
			fail("others get no answer: %s %v", brief(a), err)
		}
		if peak := g.server.peak(g.T); peak > 320<<20 {
			fail("%d connections take %s", n, mebi(peak))
		}
	})
}

// crowd sends many large events at the same moment. Some may be told to come again.
func (g *group) crowd(n int) {
	g.try("many large events", func(fail func(string, ...any)) {
		g.server.resetPeak()
		var all sync.WaitGroup
		statuses, errs := make([]int, n), make([]error, n)
		for i := range n {
			all.Go(func() {
				r := cloudEvent("plain", fmt.Sprint("crowd", i))
				r.body = `{"text":"` + strings.Repeat("x", 3_900_000) + `"}`
				a, err := g.server.send(r)
				if errs[i] = err; err == nil {
					statuses[i] = a.status
				}
			})
		}
		all.Wait()
		taken := 0
		for i, status := range statuses {
			if status == http.StatusAccepted {
				taken++
			} else if status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests &&
				status != http.StatusRequestEntityTooLarge {
				fail("event %d got %d %v", i, status, errs[i])
			}
		}
		if taken == 0 {
			fail("no event was taken: %v", statuses)
		}
		if peak := g.server.peak(g.T); peak > 384<<20 {
			fail("%d events of 4 MB take %s", n, mebi(peak))
		}
	})
}
