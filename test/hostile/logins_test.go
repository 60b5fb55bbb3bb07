package hostile

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// logins floods a server with keys that nobody has.
func (s *suite) logins(t *testing.T) {
	srv := s.launch(t, s.all, folder(t), "REAP_INTERVAL=1h")
	s.run(t, "logins", srv, memoryBound, func(g *group) {
		before := g.server.files(g.T)
		floods(g)
		manyAddresses(g)
		forgiven(g)
		g.unchanged(before)
	})
	s.count("keys.json", len(badDocuments()))
	t.Run("keys.json", s.documents)
}

// guess is a call with a key of the right form that nobody has.
func (g *group) guess() request {
	return get("/api/v1/jobs", bearer(g.s.callers[revoked]))
}

// floods fails again and again from one address, and demands that good keys and tokens work there all
// the while.
func floods(g *group) {
	begin := time.Now()
	var refused, limited, others atomic.Int64
	stop := make(chan struct{})
	var good sync.WaitGroup
	good.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, caller := range []string{mine, theirs, admin, reader} {
				if a, err := g.server.send(get("/api/v1/jobs").by(caller)); err != nil || a.status != http.StatusOK {
					g.Errorf("%s: meanwhile the key of %s gets %s %v", g.name, caller, brief(a), err)
					return
				}
			}
			if a, err := g.server.send(get("/api/v1/jobs/"+string(ghost), bearer(g.s.userToken(string(ghost))))); err != nil ||
				a.status != http.StatusNotFound {
				g.Errorf("%s: meanwhile a token gets %s %v", g.name, brief(a), err)
				return
			}
		}
	})
	const attempts = 1000
	rows := make([]int, attempts)
	for i := range rows {
		rows[i] = i
	}
	each(rows, func(i int) {
		r := g.guess()
		switch i % 4 {
		case 1:
			r = get("/api/v1/whoami", bearer(fmt.Sprint("gojob_", i)))
		case 2:
			r = with().with(bearer(g.s.callers[expired]))
		case 3:
			r = makeKey(`{"name":"x","role":"admin"}`, bearer("gojob_"+strings.Repeat("A", 30_000)))
		}
		a, err := g.server.send(r)
		if err != nil {
			g.Errorf("%s: %v", g.name, err)
			return
		}
		if fault := a.fault(r.method, ""); fault != "" {
			g.Errorf("%s: %s", g.name, fault)
		}
		switch a.status {
		case http.StatusUnauthorized:
			refused.Add(1)
		case http.StatusTooManyRequests:
			limited.Add(1)
		default:
			others.Add(1)
		}
	})
	close(stop)
	good.Wait()
	g.s.count(g.name, attempts)
	most := 10 + int64(time.Since(begin)/(6*time.Second)) + 1 // docs/security.md, Callers
	if refused.Load() > most || refused.Load() < 10 || others.Load() > 0 {
		g.Errorf("%s: %d got 401, %d got 429, %d another answer; want at most %d times 401", g.name, refused.Load(),
			limited.Load(), others.Load(), most)
	}
	if n := int64(strings.Count(g.server.output.String(), "login failed")); n > most {
		g.Errorf("%s: %d failed logins are in the log; want at most %d", g.name, n, most)
	}
}

// manyAddresses fails from many addresses. Each of them has its own count.
func manyAddresses(g *group) {
	const attempts = 4000
	rows := make([]request, attempts)
	for i := range rows {
		rows[i] = g.guess()
		rows[i].elsewhere = true
	}
	each(rows, func(r request) {
		if a, err := g.server.send(r); err != nil || a.status != http.StatusUnauthorized {
			g.Errorf("%s: from another address: %s %v", g.name, brief(a), err)
		}
	})
	g.s.count(g.name, attempts)
}

// forgiven demands that an address may fail again a while later.
func forgiven(g *group) {
	g.try("a while later", func(fail func(string, ...any)) {
		if !within(patience, func() bool {
			a, err := g.server.send(g.guess())
			return err == nil && a.status == http.StatusUnauthorized
		}) {
			fail("it still gets 429")
		}
	})
}

// badDocuments are keyrings that somebody has edited. No server may start with them, and no error may
// have a line of them.
func badDocuments() map[string]string {
	const sum = "0000000000000000000000000000000000000000000000000000000000000000"
	key := func(id, name, role, sum string) string {
		return fmt.Sprintf(`{"id":%q,"name":%q,"role":%q,"sha256":%q}`, id, name, role, sum)
	}
	good := key("aaaaaaaaaa", "a", "admin", sum)
	all := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + "]}" }
	return map[string]string{
		"no JSON": "x", "a list": "[]", "cut off": `{"keys":[`, "two documents": all(good) + all(good), "zeros": "\x00\x00",
		"an unknown field": `{"keys":[],"open":true}`,
		"a field of a key": strings.Replace(all(good), "{\"id", "{\"x\":1,\"id", 1),
		"twice":            all(good, good), "an unknown role": all(key("aaaaaaaaaa", "a", "root", sum)),
		"no role": all(key("aaaaaaaaaa", "a", "", sum)), "no hash": all(key("aaaaaaaaaa", "a", "admin", "")),
		"a hash in capitals": all(key("aaaaaaaaaa", "a", "admin", strings.Repeat("A", 64))),
		"a short ID":         all(key("a", "a", "admin", sum)), "a name": all(key("aaaaaaaaaa", "a b", "admin", sum)),
		"a key in place of its hash": all(key("aaaaaaaaaa", "a", "admin", "gojob_aaaaaaaaaa_"+strings.Repeat("secret", 8))),
		"deep":                       strings.Repeat("[", 100_000), "large": all(good) + strings.Repeat(" ", 1<<20),
		"many": all(slicesOf(1001, func(i int) string { return key(fmt.Sprintf("a%09d", i), "a", "user", sum) })...),
	}
}

func slicesOf(n int, one func(i int) string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = one(i)
	}
	return list
}

// documents starts servers with keyrings that are none.
func (s *suite) documents(t *testing.T) {
	for name, document := range badDocuments() {
		path := filepath.Join(folder(t), "keys.json")
		if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		srv := &server{command: s.all}
		srv.spawn(t, []string{"PATH=/usr/bin:/bin", "HOME=/", "STORAGE_DIR=" + folder(t), "PORT=0", "AUTH=keys",
			"KEYS_FILE=" + path})
		ended := within(patience, func() bool {
			select {
			case <-srv.stopped:
				return true
			default:
				return strings.Contains(srv.output.String(), "Listening")
			}
		})
		text := srv.output.String()
		srv.kill()
		if !ended || strings.Contains(text, "Listening") || !strings.Contains(text, "key") || strings.Contains(text,
			"secretsecretsecret") || len(text) > 16<<10 {
			t.Errorf("keys.json: %s: it started, did not say why not, or showed a key: %.500s", name, text)
		}
	}
}
