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
	keys(g, h)
	redelivery(g, h)
	g.try("an event that only claims its owner", func(fail func(string, ...any)) {
		a, err := g.server.send(requestedJob("claim", requestedData(), "ce-owner: "+string(h.mine.Owner)))
		if err != nil || a.status != http.StatusAccepted {
			fail("%s %v", brief(a), err)
			return
		}
		if got, err := g.server.send(get(a.header.Get("Location")+"/token",
			bearer(h.mine.Token))); err != nil || got.status != http.StatusForbidden {
			fail("the owner that it claims gets its token: %s %v", brief(got), err)
		}
	})
	g.try("an event with its owner's token", func(fail func(string, ...any)) {
		a, err := g.server.send(requestedJob("true owner", requestedData(), bearer(h.mine.Token)))
		if err != nil || a.status != http.StatusAccepted {
			fail("%s %v", brief(a), err)
			return
		}
		if got, err := g.server.send(get(a.header.Get("Location")+"/token",
			bearer(h.mine.Token))); err != nil || got.status != http.StatusOK {
			fail("the owner does not get its token: %s %v", brief(got), err)
		}
		if got, err := g.server.send(get(a.header.Get("Location")+"/token",
			bearer(h.theirs.Token))); err != nil || got.status != http.StatusForbidden {
			fail("another owner gets its token: %s %v", brief(got), err)
		}
	})
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
	for _, owner := range []string{string(h.mine.Owner), string(ghost), "x", "../x", strings.Repeat("f", 32)} {
		rows = append(rows, row{name: "requested for owner " + owner, status: []int{403, 422},
			req: requestedJob("o"+owner, requestedData(`"owner":"`+owner+`"`))})
	}
	job1 := bearer(h.done.Token)
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"nonsense": {[]string{bearer("x")}, 401}, "a job's token": {[]string{job1}, 401},
		"Basic":                {[]string{"Authorization: Basic eDp5"}, 401},
		"an owner without MAC": {[]string{bearer(string(h.mine.Owner) + ".")}, 401},
		"a forged MAC":         {[]string{bearer(string(h.mine.Owner) + "." + h.theirs.Token[33:])}, 401},
		"two tokens":           {[]string{bearer(h.mine.Token), bearer(h.theirs.Token)}, 400},
	} {
		rows = append(rows,
			refused(test.status, "", "requested with "+name, requestedJob("b"+name, requestedData(), test.header...)),
			refused(test.status, "", "event with "+name, cloudEvent("mine", "b"+name, test.header...)))
	}
	// Outputs are handed on between jobs of one owner only.
	for _, step := range []string{"succeeded", "failed", "cancelled"} {
		rows = append(rows,
			refused(403, "withOutputs", "outputs of a job without owner, "+step, over("mine", step, h.done.ID)),
			refused(403, "withOutputs", "outputs of another owner, "+step, over("theirs", step, h.owned)),
			refused(403, "withOutputs", "outputs of another owner with his name, "+step,
				over("theirs", step, h.owned, "ce-owner: "+string(h.mine.Owner))),
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
	// Templates are their owner's.
	theirs := bearer(h.theirs.Token)
	rows = append(rows,
		refused(401, "", "replace without token", put("mine", script("true\n"))),
		refused(403, "", "replace with another's", put("mine", script("true\n"), theirs)),
		refused(403, "", "replace with a job's", put("mine", script("true\n"), job1)),
		refused(401, "", "replace with a guessed key", put("mine", script("true\n"), "Idempotency-Key: x")),
		refused(403, "", "remove another's", request{method: http.MethodDelete, target: "/api/v1/templates/mine",
			header: []string{theirs}}),
		refused(403, "", "show another's", get("/api/v1/templates/mine", theirs)),
		refused(403, "", "start another's", post("/api/v1/templates/mine/jobs", encode(), theirs)),
		refused(401, "", "start without token", post("/api/v1/templates/mine/jobs", encode())),
		refused(422, "files", "start with files", post("/api/v1/templates/mine/jobs", encode(file("run", "x")),
			bearer(h.mine.Token))),
		refused(422, "runtime", "start with another runtime",
			post("/api/v1/templates/mine/jobs", encode(text("runtime", "python")), bearer(h.mine.Token))),
		refused(422, "labels", "start with labels", post("/api/v1/templates/mine/jobs", encode(text("labels", "{}")),
			bearer(h.mine.Token))),
		refused(403, "", "an owner's token of another's job", get("/api/v1/jobs/"+string(h.owned)+"/token", theirs)),
		refused(403, "", "an owner's token of a job without owner",
			get("/api/v1/jobs/"+string(h.done.ID)+"/token", bearer(h.mine.Token))),
	)
	for i := range rows {
		if strings.HasPrefix(rows[i].name, "start with ") {
			rows[i].field = "" // which one it names is the form's
		}
	}
	return rows
}

// keys uses one Idempotency-Key for requests of different kinds. They must not affect each other.
func keys(g *group, h *house) {
	const key = "Idempotency-Key: shared"
	ids := map[job.ID]string{}
	begin := func(name string, r request) {
		g.try("one key: "+name, func(fail func(string, ...any)) {
			var j begun
			a, err := g.server.send(r)
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
	begin("a form", with().with(key))
	begin("my template", post("/api/v1/templates/mine/jobs", encode(), key, bearer(h.mine.Token)))
	begin("their template", post("/api/v1/templates/theirs/jobs", encode(), key, bearer(h.theirs.Token)))
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
func redelivery(g *group, h *house) {
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
		if x, y := at(cloudEvent("mine", "both")), at(cloudEvent("theirs", "both")); x == y {
			fail("both started %s", x)
		}
	})
}
