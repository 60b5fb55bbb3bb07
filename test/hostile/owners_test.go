package hostile

import (
	"fmt"
	"net/http"
	"strings"

	"go-job-orchestrator/shared/job"
)

// owners try to get what belongs to others by events, keys and names.
func owners(g *group, h *house) {
	g.refuse(ownerRows(g, h))
	g.refuse(listOwnerRows())
	g.refuse(shareRows(h))
	lists(g, h)
	identities(g)
	idempotency(g)
	redelivery(g)
	claims(g)
}

// claims are events that say whose they are. The key alone counts.
func claims(g *group) {
	for name, test := range map[string]struct{ sender, claim, owner, other string }{
		"an event that only claims its owner": {theirs, mine, theirs, mine},
		"an event with its owner's key":       {mine, theirs, mine, theirs},
		"an admin's event":                    {admin, mine, admin, mine},
	} {
		g.try(name, func(fail func(string, ...any)) {
			a, err := g.server.send(requestedJob(name, requestedData(), "ce-owner: "+test.claim, "ce-caller: "+test.claim,
				"ce-role: admin").by(test.sender))
			if err != nil || a.status != http.StatusAccepted {
				fail("%s %v", brief(a), err)
				return
			}
			location := a.header.Get("Location")
			for caller, want := range map[string]int{test.owner: 200, test.other: 404, admin: 200, nobody: 401} {
				if got, err := g.server.send(get(location + "/token").by(caller)); err != nil || got.status != want {
					fail("%s asks for its token: %s %v, want %d", caller, brief(got), err, want)
				}
			}
		})
	}
}

// over is a forged event that says that a job is over.
func over(template, step string, id job.ID, header ...string) request {
	return request{method: http.MethodPost, target: "/events?withOutputs=true&template=" + template,
		body: `{"jobID":"` + string(id) + `"}`, header: append([]string{
			"ce-specversion: 1.0", "ce-id: " + string(id) + "-" + step + template, "ce-source: /hostile",
			"ce-subject: " + string(id),
			"ce-type: io.github.go-job-orchestrator.job." + step + ".v1", "Content-Type: application/json",
		}, header...)}
}

func ownerRows(g *group, h *house) []row {
	var rows []row
	for _, owner := range []string{mine, "local", string(ghost), "x", "../x", strings.Repeat("f", 32)} {
		rows = append(rows, row{name: "requested for owner " + owner, status: []int{403, 422},
			req: requestedJob("o"+owner, requestedData(`"owner":"`+owner+`"`)).by(theirs)})
	}
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"nothing": {[]string{"Authorization: "}, 401}, "nonsense": {[]string{bearer("x")}, 401},
		"a job's token": {[]string{bearer(h.done.Token)}, 401}, "Basic": {[]string{"Authorization: Basic eDp5"}, 401},
		"an agent's token": {[]string{bearer(h.agent(g.s, h.running.ID))}, 401},
		"a reader's key":   {[]string{bearer(g.s.callers[reader])}, 403},
		"an expired key":   {[]string{bearer(g.s.callers[expired])}, 401},
		"two keys":         {[]string{bearer(g.s.callers[mine]), bearer(g.s.callers[theirs])}, 400},
	} {
		rows = append(rows,
			refused(test.status, "", "requested with "+name, requestedJob("b"+name, requestedData(), test.header...)),
			refused(test.status, "", "event with "+name, cloudEvent("mine", "b"+name, test.header...)))
	}
	// Outputs are handed on between jobs of one owner only.
	for _, step := range []string{"succeeded", "failed", "cancelled"} {
		rows = append(rows,
			refused(403, "withOutputs", "outputs of another owner, "+step, over("theirs", step, h.owned).by(theirs)),
			refused(403, "withOutputs", "outputs of another owner to mine, "+step, over("mine", step, h.other.ID)),
			refused(403, "withOutputs", "outputs of another owner by an admin, "+step,
				over("mine", step, h.other.ID).by(admin)),
			refused(403, "withOutputs", "outputs of another owner with his name, "+step,
				over("theirs", step, h.owned, "ce-owner: "+mine, "ce-template: mine").by(theirs)),
			refused(404, "", "outputs for another owner's template, "+step, over("mine", step, h.owned).by(theirs)),
			refused(403, "withOutputs", "outputs of nothing, "+step, over("mine", step, ghost)))
	}
	for _, step := range []string{"submitted", "started", "reaped", "requested", "x"} {
		rows = append(rows, row{name: "outputs at " + step, req: over("mine", step, h.owned), status: []int{403, 422}})
	}
	for _, subject := range []string{"", "..", "../" + string(h.owned), strings.ToUpper(string(h.owned)),
		string(h.owned) + "x"} {
		r := over("mine", "succeeded", h.owned)
		for i, header := range r.header {
			if strings.HasPrefix(header, "ce-subject") {
				r.header[i] = "ce-subject: " + subject
			}
		}
		rows = append(rows, row{name: fmt.Sprintf("outputs of %q", subject), req: r, status: []int{400, 403, 422}})
	}
	return append(rows, templateRows(h)...)
}

// templateRows are calls about templates by those who do not own them.
func templateRows(h *house) []row {
	replace, start := put("mine", script("true\n")), post("/api/v1/templates/mine/jobs", encode())
	show, remove := get("/api/v1/templates/mine"), request{method: http.MethodDelete, target: "/api/v1/templates/mine"}
	jobs := func(r request) request { return r.with(bearer(h.done.Token)) }
	var rows []row
	for name, r := range map[string]request{"replace": replace, "start": start, "show": show, "remove": remove} {
		rows = append(rows, refused(401, "", name+" without key", r.by(nobody)),
			refused(401, "", name+" with a job's token", jobs(r)),
			refused(401, "", name+" with a guessed key", r.by(nobody).with("Idempotency-Key: x")))
		if name != "replace" {
			rows = append(rows, refused(404, "", name+" another's", r.by(theirs)),
				refused(404, "", name+" another's with its version", r.by(theirs).with("If-Match: *")))
		}
		if name != "show" {
			rows = append(rows, refused(403, "", name+" as a reader", r.by(reader)))
		}
	}
	rows = append(rows,
		refused(409, "name", "replace another's", replace.by(theirs)),
		refused(409, "name", "replace another's with a key", replace.by(theirs).with("Idempotency-Key: x")),
		refused(409, "name", "replace another's for its owner",
			put("mine", script("true\n", text("owner", mine))).by(theirs)),
	)
	for field, parts := range map[string][]part{"files": {file("run", "x")}, "runtime": {text("runtime", "python")},
		"labels": {text("labels", "{}")}, "owner": {text("owner", theirs)}, "eventTypes": {text("eventTypes", "*")}} {
		rows = append(rows, refused(422, "", "start with "+field, post("/api/v1/templates/mine/jobs", encode(parts...))))
	}
	for _, field := range []string{"eventTypes", "eventSources"} {
		for _, value := range []string{"", " ", "a**", ",", "a,", "*a", "a*b", strings.Repeat("x,", 9999) + "x",
			strings.Repeat("x", 257)} {
			rows = append(rows, refused(422, field, fmt.Sprintf("template with %s %.20q", field, value),
				put("marked", script("true\n", text(field, value)))))
		}
	}
	return rows
}

// idempotency uses one Idempotency-Key for requests of different kinds and callers. They must not
// affect each other.
func idempotency(g *group) {
	const key = "Idempotency-Key: shared"
	ids := map[job.ID]string{}
	begin := func(name string, r request) {
		g.try("one key: "+name, func(fail func(string, ...any)) {
			var j begun
			a, err := g.server.send(r.with(key))
			if err != nil || a.status != http.StatusCreated {
				fail("%s %v", brief(a), err)
				return
			}
			if err := parse(a.body, &j); err != nil {
				fail("%v", err)
			}
			if other, twice := ids[j.ID]; twice {
				fail("it got the job of: %s", other)
			}
			ids[j.ID] = name
		})
	}
	begin("a form", with())
	begin("the same form of another", with().by(theirs))
	begin("the same form of an admin", with().by(admin))
	begin("my template", post("/api/v1/templates/mine/jobs", encode()))
	begin("my template, by an admin", post("/api/v1/templates/mine/jobs", encode()).by(admin))
	begin("their template", post("/api/v1/templates/theirs/jobs", encode()).by(theirs))
	for caller, status := range map[string]int{reader: http.StatusForbidden, nobody: http.StatusUnauthorized} {
		g.s.count(g.name, 1)
		g.one(refused(status, "", "one key: "+caller, with().with(key).by(caller)))
	}
	g.try("one key: the same form again", func(fail func(string, ...any)) {
		var j begun
		a, err := g.server.send(with().with(key))
		if err != nil || a.status != http.StatusCreated || parse(a.body, &j) != nil || ids[j.ID] != "a form" {
			fail("%s %v", brief(a), err)
		}
	})
	g.try("one key: another form", func(fail func(string, ...any)) {
		a, err := g.server.send(with(text("retries", "1")).with(key))
		if err != nil || a.status != http.StatusUnprocessableEntity || a.fault("POST", "Idempotency-Key") != "" {
			fail("%s %v", brief(a), err)
		}
	})
	g.try("one key: an event", func(fail func(string, ...any)) {
		a, err := g.server.send(cloudEvent("mine", "shared", key))
		if err != nil || a.status != http.StatusAccepted || ids[job.ID(strings.TrimPrefix(a.header.Get("Location"),
			"/api/v1/jobs/"))] != "" {
			fail("%s %v", brief(a), err)
		}
	})
}

// redelivery sends one event several times, and others that pretend to be it.
func redelivery(g *group) {
	at := func(r request) string {
		a, err := g.server.send(r)
		if err != nil || a.status != http.StatusAccepted || a.header.Get("Location") == "" {
			g.Errorf("%s: event: %v %v", g.name, a, err)
			return ""
		}
		return a.header.Get("Location")
	}
	forged := cloudEvent("mine", "order-1")
	forged.body = `{"name":"forged"}`
	first := at(forged)
	g.try("a forged event swallows the real one", func(fail func(string, ...any)) {
		if got := at(cloudEvent("mine", "order-1")); got == first {
			fail("both started %s", got)
		}
	})
	g.try("an event that is delivered again", func(fail func(string, ...any)) {
		if a, b := at(cloudEvent("mine", "order-1")), at(cloudEvent("mine", "order-1")); a != b || a == first {
			fail("it started %s and %s", a, b)
		}
	})
	g.try("another type with the same id", func(fail func(string, ...any)) {
		r := cloudEvent("mine", "order-1")
		r.header[3] = "ce-type: com.example.other"
		if got := at(r); got == first || got == at(cloudEvent("mine", "order-1")) {
			fail("it started nothing: %s", got)
		}
	})
	g.try("source and id that run into each other", func(fail func(string, ...any)) {
		a, b := cloudEvent("mine", "b/c"), cloudEvent("mine", "c")
		a.header[2], b.header[2] = "ce-source: /a", "ce-source: /a/b"
		if x, y := at(a), at(b); x == y {
			fail("both started %s", x)
		}
	})
	g.try("one event for two templates", func(fail func(string, ...any)) {
		if x, y := at(cloudEvent("mine", "both")), at(cloudEvent("theirs", "both").by(theirs)); x == y {
			fail("both started %s", x)
		}
	})
	g.try("one event of two callers", func(fail func(string, ...any)) {
		r := requestedJob("two", requestedData())
		x, y, again := at(r), at(r.by(theirs)), at(r)
		if x == y || again != x {
			fail("they started %s, %s and %s", x, y, again)
		}
	})
}
