package hostile

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// route is one call of the table of routes. Test/contract holds that to the descriptions.
type route struct{ routes.Route }

// anyone reports whether the call needs no credentials.
func (c route) anyone() bool { return c.Role == routes.Anyone }

// served lists the routes that the one process answers, so that a new route is attacked without a
// change here.
func served() []route {
	var list []route
	for _, r := range routes.All() {
		if r.Reach != routes.Cluster {
			list = append(list, route{r})
		}
	}
	return list
}

// target is the path of a call on which right credentials would do something.
func (c route) target(id job.ID, template string) string {
	if c.Route == routes.WatchJobs { // it does not end, unless it is refused for this
		return c.Path + "?limit=1"
	}
	return strings.NewReplacer(":id", string(id), ":name", template, "*filename", "run", ":number", "1",
		":segment", "000000000000-000000000000", ":stream", "stdout").Replace(c.Path)
}

// tokenRows are every call with every kind of wrong credentials, and with right ones in odd shapes.
// Shared/guard/guardmatrix says what each call answers to each sender.
func tokenRows(g *group, h *house) []row {
	var rows []row
	for _, c := range served() {
		if c.Function == routes.Gateway {
			continue // the page and its logins
		}
		a := attempt{s: g.s, h: h, route: c, id: h.running.ID, want: guardmatrix.WantByKey}
		if c.anyone() {
			rows = append(rows, a.anyoneRows()...)
			continue
		}
		a.noneRows()
		a.senderRows(a.senders())
		a.keyRows()
		a.jobTokenRows()
		a.oddRows()
		a.assertionRows()
		rows = append(append(rows, a.rows...), a.rightRows()...)
	}
	return rows
}

// attempt makes the rows of one call.
type attempt struct {
	s *suite
	h *house
	route
	id   job.ID // a running job of the caller mine
	want func(routes.Route, guardmatrix.Sender) int
	rows []row
}

// of is the status that a call answers to a sender.
func (a *attempt) of(sender guardmatrix.Sender) int { return a.want(a.Route, sender) }

func (a *attempt) add(name string, status []int, header ...string) {
	req := request{method: a.Method, target: a.target(a.id, "mine"), header: header, as: nobody, elsewhere: true}
	a.rows = append(a.rows, row{name: a.String() + " with " + name, req: req, status: status})
}

// good is the strongest text that opens the call.
func (a *attempt) good() string {
	switch {
	case a.Tokens.Opens(routes.User):
		return a.s.userToken(string(a.id))
	case a.Tokens.Opens(routes.Agent):
		return a.s.keys.Derive(token.Agent, a.id)
	}
	return a.s.callers[admin]
}

// noneRows have no credentials that could be looked at.
func (a *attempt) noneRows() {
	none := []int{a.of(guardmatrix.Nothing)}
	a.add("nothing", none)
	for kind, secret := range map[string]string{"key": a.s.callers[admin], "token": a.good()} {
		basic := func(user string) string {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
		}
		for _, value := range []string{
			"", " ", "Bearer", "Bearer ", "Bearer   ", basic("user"), basic(""), "Basic " + secret, "Token " + secret,
			"ApiKey " + secret, secret, "Digest username=x", "Bearer:" + secret, "Bearer=" + secret,
			"Bearertoken " + secret, "JWT " + secret, "Bearer\t" + secret, "\"Bearer\" " + secret,
		} {
			a.add(fmt.Sprintf("%.20q and a %s", value, kind), none, "Authorization: "+value)
		}
		a.add("a cookie with a "+kind, none, "Cookie: token="+secret+"; Authorization=Bearer "+secret)
		a.add("other headers with a "+kind, none, "X-Authorization: Bearer "+secret, "X-Api-Key: "+secret,
			"Proxy-Authorization: Bearer "+secret, "X-Forwarded-Authorization: Bearer "+secret, "Api-Key: "+secret,
			"X-Amz-Security-Token: "+secret, "X-Forwarded-User: root", "X-Remote-User: root", "Remote-User: root")
		for _, name := range []string{"access_token", "token", "key", "api_key", "Authorization", "authorization"} {
			a.add(name+" in the query, a "+kind, none)
			a.rows[len(a.rows)-1].req.target += "?" + name + "=" + secret
		}
	}
}

// senders are those of the matrix that a request can be from.
func (a *attempt) senders() map[guardmatrix.Sender]string {
	now := time.Now()
	agents := func(id job.ID) string { return a.s.keys.Derive(token.Agent, id) }
	return map[guardmatrix.Sender]string{
		guardmatrix.Admin: a.s.callers[admin], guardmatrix.User: a.s.callers[mine], guardmatrix.Reader: a.s.callers[reader],
		guardmatrix.OtherUser: a.s.callers[theirs], guardmatrix.ExpiredKey: a.s.callers[expired],
		guardmatrix.RevokedKey: a.s.callers[revoked], guardmatrix.MistypedKey: flip(a.s.callers[admin], 30),
		guardmatrix.JobToken: a.s.userToken(string(a.id)), guardmatrix.OtherJobToken: a.h.other.Token,
		guardmatrix.AgentToken: agents(a.id), guardmatrix.OtherAgent: agents(a.h.other.ID),
		guardmatrix.Shared:        a.s.keys.Share(a.id, now.Add(time.Hour)),
		guardmatrix.ExpiredShared: a.s.keys.Share(a.id, now.Add(-time.Second)),
		guardmatrix.OtherShared:   a.s.keys.Share(a.h.other.ID, now.Add(time.Hour)),
		guardmatrix.Nonsense:      "x",
	}
}

// senderRows are the senders that the call does not let in.
func (a *attempt) senderRows(senders map[guardmatrix.Sender]string) {
	for sender, text := range senders {
		a.s.leaks.add(text)
		if want := a.of(sender); want != http.StatusOK {
			a.add(string(sender), []int{want}, bearer(text))
		}
	}
}

// keyRows are texts that were made from the key of an admin.
func (a *attempt) keyRows() {
	key, unknown := a.s.callers[admin], a.s.callers[revoked]
	id := keyID(key)
	for name, text := range map[string]string{
		"a typo": flip(key, 20), "a typo in its ID": flip(key, 8), "a typo at its end": flip(key, len(key)-1),
		"cut": key[:len(key)-1], "cut in the middle": key[:30], "no secret": key[:17], "no checksum": key[:len(key)-6],
		"the checksum of another": key[:len(key)-6] + unknown[len(unknown)-6:],
		"the prefix alone":        "gojob_", "more after it": key + "A", "twice": key + key, "two in one": key + " " + key,
		"a comma": key + "," + key, "one of another ID": strings.Replace(unknown, keyID(unknown), id, 1),
		"an ID of punctuation": "gojob_../../../x_" + key[17:], "not ASCII": key[:20] + "é" + key[22:],
		"long": "gojob_" + strings.Repeat("A", 40_000), "its hash": "gojob_" + token.Hash(key),
	} {
		a.add("a key, "+name, []int{http.StatusUnauthorized}, bearer(text))
	}
	other := []int{a.of(guardmatrix.Nonsense)} // these do not look like keys
	for name, text := range map[string]string{
		"in capitals": strings.ToUpper(key), "its hash alone": strings.TrimPrefix(token.Hash(key), "sha256:"),
		"in quotes": `"` + key + `"`, "its secret alone": key[17:], "without its prefix": key[6:], "its ID": id,
		"in base64": base64.StdEncoding.EncodeToString([]byte(key)), "escaped": "%67ojob_" + key[6:],
		"JWT without key": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290Iiwicm9sZSI6ImFkbWluIn0.",
	} {
		a.add("a key, "+name, other, bearer(text))
	}
}

// jobTokenRows are texts that were made from tokens of the job.
func (a *attempt) jobTokenRows() {
	good, shared := a.good(), a.s.keys.Share(a.id, time.Now().Add(time.Hour))
	if strings.HasPrefix(good, "gojob_") {
		good = a.s.userToken(string(a.id))
	}
	end, code, _ := strings.Cut(shared, ".")
	old, _ := token.New([]byte("a key that was taken out long ago"))
	other := []int{a.of(guardmatrix.Nonsense)}
	for name, text := range map[string]string{
		"zeros": strings.Repeat("0", 43), "long nonsense": strings.Repeat("A", 40_000), "punctuation": "' OR 1=1 --",
		"path": "../../../token.key", "not ASCII": "tökén", "first bit off": flip(good, 0),
		"last character off": flip(good, len(good)-1), "middle off": flip(good, len(good)/2), "cut": good[:len(good)-1],
		"one more": good + "A", "padded": good + "=", "in capitals": strings.ToUpper(good), "twice": good + good,
		"two in one": good + " " + good, "with comma": good + "," + good, "in quotes": `"` + good + `"`,
		"job's of an old key": old.Derive(token.User, a.id), "agent's of an old key": old.Derive(token.Agent, a.id),
		"shared by an old key": old.Share(a.id, time.Now().Add(time.Hour)), "hash": token.Hash(good), "id": string(a.id),
		"owner's of earlier versions": a.s.keys.Owner(a.id), "shared, cut": shared[:len(shared)-1],
		"shared, for longer": "9" + shared, "shared, for ever": "99999999999999999999." + code, "shared, no end": "." + code,
		"shared, no code": end + ".", "shared, its code alone": code, "shared, a sign": "+" + shared,
		"shared, twice": shared + "." + code, "shared, one bit off": flip(shared, len(shared)-1),
		"shared, the job's as code": end + "." + good,
	} {
		a.add("a token, "+name, other, bearer(text))
	}
}

// oddRows have credentials that proxies and servers may take for different ones.
func (a *attempt) oddRows() {
	key, good := a.s.callers[admin], a.good()
	for name, two := range map[string][2]string{
		"two keys": {bearer(key), bearer(a.s.callers[mine])}, "one key twice": {bearer(key), bearer(key)},
		"two tokens": {bearer(good), bearer(a.h.other.Token)}, "one token twice": {bearer(good), bearer(good)},
		"a key and a token": {bearer(key), bearer(good)}, "Basic and a key": {"Authorization: Basic x", bearer(key)},
		"a key and nothing": {bearer(key), "Authorization: "}, "small letters": {bearer(key), "authorization: Bearer " + key},
	} {
		a.add(name, []int{http.StatusBadRequest}, two[0], two[1])
	}
	a.add("a huge token", []int{http.StatusRequestHeaderFieldsTooLarge, closed}, bearer(strings.Repeat("A", 100_000)))
	a.rows[len(a.rows)-1].plain = true
	for name, text := range map[string]string{"key": key, "token": good} {
		a.add("NUL in the "+name, []int{http.StatusBadRequest}, bearer(text+"\x00"))
		a.rows[len(a.rows)-1].plain = true
	}
}

// assertionRows pretend to come from the gateway. The one process is the gateway itself, and believes
// nobody, not even with the right key.
func (a *attempt) assertionRows() {
	old, _ := token.New([]byte("a key that was taken out long ago"))
	target := a.target(a.id, "mine")
	assert := func(keys token.Keys, path string, age time.Duration) string {
		r := &http.Request{Method: a.Method, URL: &url.URL{Path: path}, Header: http.Header{}}
		root := access.Caller{Owner: "root", Role: access.Admin, Via: "key"}
		if err := access.Assert(r, root, keys, time.Now().Add(-age)); err != nil {
			panic(err)
		}
		return access.AssertionHeader + ": " + r.Header.Get(access.AssertionHeader)
	}
	right := assert(a.s.keys, target, 0)
	for name, header := range map[string]string{
		"right": right, "forged": assert(old, target, 0), "for another path": assert(a.s.keys, "/elsewhere", 0),
		"old": assert(a.s.keys, target, time.Hour), "nonsense": access.AssertionHeader + ": x",
		"in small letters": strings.ToLower(access.AssertionHeader) + right[len(access.AssertionHeader):],
	} {
		a.add("an assertion, "+name, []int{a.of(guardmatrix.Nothing)}, header)
		a.add("an assertion twice, "+name, []int{a.of(guardmatrix.Nothing)}, header, header)
		if want := a.of(guardmatrix.Reader); want != http.StatusOK {
			a.add("an assertion beside a key, "+name, []int{want}, bearer(a.s.callers[reader]), header)
		}
	}
	a.add("a broker's headers", []int{a.of(guardmatrix.Nothing)}, "ce-specversion: 1.0", "ce-id: x", "ce-source: /x",
		"ce-type: "+requestedType, "K-Network-Probe: queue", "Knative-Serving-Namespace: x", "User-Agent: Knative")
}

// rightRows have right credentials for things that do not exist: they are accepted, and the answer
// says that there is nothing, or what the request lacks.
func (a *attempt) rightRows() []row {
	right := map[guardmatrix.Sender]string{guardmatrix.User: a.s.callers[mine], guardmatrix.Reader: a.s.callers[reader],
		guardmatrix.Admin: a.s.callers[admin], guardmatrix.JobToken: a.s.userToken(string(ghost)),
		guardmatrix.AgentToken: a.s.keys.Derive(token.Agent, ghost),
		guardmatrix.Shared:     a.s.keys.Share(ghost, time.Now().Add(time.Hour))}
	var rows []row
	for sender, text := range right {
		a.s.leaks.add(text)
		status := []int{a.of(sender)}
		if status[0] == http.StatusOK {
			status = []int{http.StatusNotFound}
			if !strings.ContainsAny(a.Path, ":*") || a.Route == routes.PutTemplate {
				status = []int{http.StatusOK, http.StatusBadRequest, http.StatusUnsupportedMediaType}
			}
		}
		for _, shape := range []string{"Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer  ", "  Bearer "} {
			rows = append(rows, row{name: fmt.Sprintf("%s with %s as %q", a, sender, shape), status: status,
				req: request{method: a.Method, target: a.target(ghost, "nosuch"),
					header: []string{"Authorization: " + shape + text + " "}}})
		}
	}
	return rows
}

// anyoneRows are for calls that need no credentials. Wrong ones give no more access, and no less.
func (a *attempt) anyoneRows() []row {
	for kind, value := range map[string]string{
		"nonsense": "Bearer x", "Basic": "Basic eDp5", "nothing": "Bearer ", "a job's token": "Bearer " + a.h.other.Token,
		"long": "Bearer " + strings.Repeat("A", 40_000), "a key with a typo": "Bearer " + flip(a.s.callers[admin], 20),
		"an expired key": "Bearer " + a.s.callers[expired], "a revoked key": "Bearer " + a.s.callers[revoked],
		"a long key": "Bearer gojob_" + strings.Repeat("A", 40_000),
	} {
		a.add(kind, []int{http.StatusOK, http.StatusNoContent}, "Authorization: "+value)
	}
	// What the call answers may depend on the caller, whom the function is told then.
	a.add("an admin's key", []int{http.StatusOK, http.StatusNoContent}, "Authorization: Bearer "+a.s.callers[admin],
		"Owner: root")
	return a.rows
}

// flip changes one character.
func flip(text string, at int) string {
	b := []byte(text)
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}
