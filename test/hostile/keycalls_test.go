package hostile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const keysPath = "/api/v1/keys"

// makeKey is a request for a key.
func makeKey(body string, header ...string) request {
	return request{method: http.MethodPost, target: keysPath, body: body, as: admin,
		header: append([]string{"Content-Type: application/json"}, header...)}
}

// keyMade is the answer to it.
type keyMade struct{ ID, Owner, Role, Key string }

func madeKey(t *testing.T, srv *server, body string) keyMade {
	t.Helper()
	var k keyMade
	srv.must(t, http.StatusCreated, makeKey(body), &k)
	return k
}

// keyCalls attack the calls about keys.
func keyCalls(g *group, h *house) {
	g.refuse(keyCallRows(g, h))
	g.refuse(keyFieldRows(h))
	listsOfKeys(g)
	lastAdmin(g)
	lifeOfKeys(g)
}

// keyCallRows are calls by those who may not make them, and requests that are none for a key.
func keyCallRows(g *group, h *house) []row {
	var rows []row
	revoke := func(id string) request {
		return request{method: http.MethodDelete, target: keysPath + "/" + id, as: admin}
	}
	for name, r := range map[string]request{
		"list": get(keysPath), "make an admin": makeKey(`{"name":"x","role":"admin"}`), "revoke": revoke(h.made),
		"make a key of another": makeKey(`{"name":"x","owner":"theirs","role":"read"}`),
		"replace my own":        makeKey(`{"replaces":"` + keyID(g.s.callers[mine]) + `","role":"admin"}`),
		"replace an admin's":    makeKey(`{"replaces":"` + keyID(g.s.callers[admin]) + `"}`),
		"revoke an admin's":     revoke(keyID(g.s.callers[admin])), "large": makeKey(strings.Repeat(" ", 10<<20)),
	} {
		rows = append(rows,
			refused(403, "", name+" as a user", r.by(mine)), refused(403, "", name+" as a reader", r.by(reader)),
			refused(401, "", name+" as nobody", r.by(nobody)),
			refused(401, "", name+" with a job's token", r.by(nobody).with(bearer(h.done.Token))))
		for _, caller := range []string{expired, revoked} {
			bad := refused(401, "", name+" as "+caller, r.by(caller))
			bad.req.elsewhere = true
			rows = append(rows, bad)
		}
	}
	for _, id := range []string{
		"x", "none", "%00", "%2e%2e", "..%2fkeys.json", "%ff", strings.Repeat("a", 5000), "*", "%0a",
		strings.ToUpper(h.made), h.made + "%20", h.made + "x", g.s.callers[admin], string(h.done.ID),
	} {
		rows = append(rows, refused(404, "", fmt.Sprintf("revoke %.40s", id), revoke(id)))
	}
	for _, method := range []string{"PUT", "PATCH", "GET", "HEAD", "POST"} {
		rows = append(rows, refused(405, "", method+" of a key", request{method: method, target: keysPath + "/" + h.made,
			as: admin}))
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", formType, "application/jsonx",
		";"} {
		r := makeKey(`{"name":"x","role":"user"}`)
		r.header = []string{"Content-Type: " + kind}
		rows = append(rows, refused(415, "", "a key as "+kind, r))
	}
	cut := makeKey(`{"name":"x"`, "Content-Length: 99")
	cut.cut = true
	large := `{"name":"` + strings.Repeat("x", 10<<20) + `","role":"user"}`
	return append(rows,
		refused(413, "body", "10 MB", makeKey(large)), refused(413, "body", "10 MB in chunks", makeKey(large).chunked()),
		refused(413, "body", "10 MB of blanks", makeKey(strings.Repeat(" ", 10<<20))),
		refused(413, "body", "17 KB", makeKey(`{"name":"`+strings.Repeat("x", 17<<10)+`"}`)),
		refused(415, "", "compressed", makeKey("x", "Content-Encoding: gzip")),
		refused(400, "body", "cut off", cut),
		refused(403, "", "from another site", makeKey(`{"name":"x","role":"admin"}`, "Origin: https://elsewhere.example")),
		refused(421, "", "rebound", makeKey(`{"name":"x","role":"admin"}`, "Host: evil.example")),
	)
}

// keyFieldRows are an admin's requests for keys that nobody may have.
func keyFieldRows(h *house) []row {
	var rows []row
	field := func(name string, values ...string) {
		for _, value := range values {
			data, err := json.Marshal(value)
			if err != nil {
				data = []byte(err.Error())
			}
			body := `{"name":"x","role":"user","` + name + `":` + string(data) + `}`
			if name == "role" {
				body = `{"name":"x","role":` + string(data) + `}`
			}
			if name == "name" {
				body = `{"role":"user","name":` + string(data) + `}`
			}
			r := refused(422, name, fmt.Sprintf("%s %.30q", name, value), makeKey(body))
			rows = append(rows, r)
		}
	}
	owners := []string{
		"\x00", "a\x00b", "a\nb", "a\rb", "\x1b[31ma", "a\tb", " a", "a ", "a b", "a\\b", "<script>", "ü", "\u202ea",
		"a\u200bb", `"`, "😀", strings.Repeat("a", 256), strings.Repeat("a", 10_000), "a\u007fb", "\ufeffa",
	}
	field("owner", owners...)
	field("name", append(owners, "", "-a", "a-", ".", "..", "../x", "/etc/x", "a,b", "a=b", "a;b", "'", "$(id)", "%00",
		"*", strings.Repeat("a", 65))...)
	field("role", "", "root", "Admin", "ADMIN", "admin ", "admin,user", "*", "owner", "none", "anyone", "admin\x00",
		strings.Repeat("admin", 100))
	field("expiresIn", "-1h", "x", "1", "1e9d", "99999999h", "9999999999d", "1h1", "0s", "0d", "NaN", "\x00",
		strings.Repeat("9", 1000)+"h")
	field("expiresAt", "1970-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00Z",
		time.Now().Add(-time.Second).Format(time.RFC3339))
	field("expiresAt", "yesterday", "", "2026-13-01T00:00:00Z", "1", "9999999-01-01T00:00:00Z", "2026-01-01")
	field("grace", "1h", "-1h", "x")
	for _, body := range []string{
		"", "x", "null x", "[]", "1", `"x"`, "{", `{"id":"aaaaaaaaaa"}`,
		`{"name":"x","role":"user","sha256":"` + strings.Repeat("0", 64) + `"}`, `{"name":"x","role":"user"}{}`,
		`{"name":"x","role":"user","key":"gojob_x"}`, `{"name":"x","role":"user","createdAt":"2026-01-01T00:00:00Z"}`,
		strings.Repeat("[", 16_000), strings.Repeat(`{"name":`, 1500), `{"name":"x","role":"user",}`, "{name:1}",
		`{"name":"x","role":"user","admin":true}`, "\xff\xfe",
	} {
		rows = append(rows, refused(400, "body", fmt.Sprintf("body %.40q", body), makeKey(body)))
	}
	for body, name := range map[string]string{`{"name":1}`: "name", `{"name":["x"]}`: "name", `{"role":{}}`: "role"} {
		rows = append(rows, refused(400, name, "body "+body, makeKey(body)))
	}
	for _, body := range []string{"null", "{}", `{"Name":"","role":"user"}`, `{"replaces":""}`} {
		rows = append(rows, refused(422, "name", "body "+body, makeKey(body)))
	}
	for _, id := range []string{"x", "aaaaaaaaaa", "../x", "\\u0000", strings.Repeat("a", 5000), string(h.done.ID),
		strings.ToUpper(h.made), "*"} {
		rows = append(rows, refused(404, "", fmt.Sprintf("replaces %.30s", id), makeKey(`{"replaces":"`+id+`"}`)))
	}
	replace := func(more string) request { return makeKey(`{"replaces":"` + h.made + `",` + more + `}`) }
	return append(rows,
		refused(422, "grace", "replaces with grace below nothing", replace(`"grace":"-1s"`)),
		refused(422, "grace", "replaces with endless grace", replace(`"grace":"999999h"`)),
		refused(422, "role", "replaces with a role", replace(`"role":"root"`)),
		refused(422, "name", "replaces with a name", replace(`"name":"a b"`)),
		refused(422, "expiresAt", "replaces with an end", replace(`"expiresAt":"1970-01-01T00:00:00Z"`)),
		refused(422, "expiresIn", "two ends", makeKey(
			`{"name":"x","role":"user","expiresIn":"1h","expiresAt":"2999-01-01T00:00:00Z"}`)),
	)
}

// listsOfKeys demands that a list of keys has no hash, which could be tried without asking the
// server.
func listsOfKeys(g *group) {
	g.try("hashes in the list", func(fail func(string, ...any)) {
		a, err := g.server.send(get(keysPath).by(admin))
		if err != nil || a.status != http.StatusOK || strings.Contains(strings.ToLower(string(a.body)), "sha256") {
			fail("%s %v", brief(a), err)
		}
		for _, k := range g.s.ring.Keys {
			if strings.Contains(string(a.body), k.SHA256) {
				fail("it has the hash of %s", k.Name)
			}
		}
	})
}

// lastAdmin tries to take the last lasting key of an admin away, after which nobody could make
// another.
func lastAdmin(g *group) {
	id := keyID(g.s.callers[admin])
	replace := func(more string) request { return makeKey(`{"replaces":"` + id + `","grace":"0s"` + more + `}`) }
	g.refuse([]row{
		refused(409, "", "revoke the last admin", request{method: http.MethodDelete, target: keysPath + "/" + id, as: admin}),
		refused(409, "", "replace the last admin by a user", replace(`,"role":"user"`)),
		refused(409, "", "replace the last admin by a reader", replace(`,"role":"read"`)),
		refused(409, "", "replace the last admin by one for a minute", replace(`,"expiresIn":"1m"`)),
		refused(409, "", "replace the last admin until then",
			makeKey(`{"replaces":"`+id+`","expiresIn":"30d"}`)),
	})
}

// lifeOfKeys demands that keys which end do so at once, for each call.
func lifeOfKeys(g *group) {
	status := func(key string) int {
		a, err := g.server.send(request{method: http.MethodGet, target: "/api/v1/whoami", header: []string{bearer(key)},
			elsewhere: true})
		if err != nil {
			g.Errorf("%s: who am I: %v", g.name, err)
			return 0
		}
		return a.status
	}
	for name, end := range map[string]func(k keyMade){
		"revoked": func(k keyMade) {
			revoke := request{method: http.MethodDelete, target: keysPath + "/" + k.ID, as: admin}
			g.server.must(g.T, http.StatusNoContent, revoke, nil)
		},
		"replaced": func(k keyMade) {
			next := madeKey(g.T, g.server, `{"replaces":"`+k.ID+`","grace":"0s"}`)
			if next.Owner != theirs || next.Role != "admin" || status(next.Key) != http.StatusOK {
				g.Errorf("%s: the next key is of %s, %s", g.name, next.Owner, next.Role)
			}
			g.server.must(g.T, http.StatusNoContent, request{method: http.MethodDelete, target: keysPath + "/" + next.ID,
				header: []string{bearer(next.Key)}}, nil) // its own
			if got := status(next.Key); got != http.StatusUnauthorized {
				g.Errorf("%s: a key that has revoked itself gets %d", g.name, got)
			}
		},
	} {
		g.try("a key that is "+name, func(fail func(string, ...any)) {
			k := madeKey(g.T, g.server, `{"name":"short","owner":"theirs","role":"admin"}`)
			if got := status(k.Key); got != http.StatusOK {
				fail("before it gets %d", got)
			}
			end(k)
			if got := status(k.Key); got != http.StatusUnauthorized {
				fail("it gets %d", got)
			}
		})
	}
	g.try("a key that expires", func(fail func(string, ...any)) {
		k := madeKey(g.T, g.server, `{"name":"short","role":"admin","expiresIn":"2s"}`)
		if !within(soon, func() bool { return status(k.Key) == http.StatusUnauthorized }) {
			fail("it goes on to open calls")
		}
	})
}
