package hostile

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
)

// eventParts are the groups about events, with the limits that servers have by default.
func (s *suite) eventParts(t *testing.T) {
	sink := &circle{}
	target := httptest.NewServer(sink)
	t.Cleanup(target.Close)
	srv := s.launch(t, s.all, folder(t), "REAP_INTERVAL=1h", "MAX_CHAINED_JOBS=20",
		"EVENT_TYPES=com.example.*,io.github.go-job-orchestrator.*", "K_SINK="+target.URL,
		"MAX_CONCURRENT_JOBS=4", "GOMEMLIMIT=256MiB", "MAX_FIELD_BYTES=256Ki")
	sink.server.Store(srv)
	srv.template(t, "plain", script("true\n"))
	s.run(t, "events", srv, 256<<20, func(g *group) { g.refuse(eventRows(g)); loops(g, sink) })
	s.run(t, "JSONPath", srv, 384<<20, jsonPaths)
}

func eventRows(g *group) []row {
	const form = "Content-Type: application/cloudevents+json"
	const batchType = "Content-Type: application/cloudevents-batch+json"
	send := func(body string, header ...string) request {
		return request{method: http.MethodPost, target: "/events?template=plain", header: header, body: body}
	}
	bin := func(leave string, more ...string) request {
		r := send("{}", more...)
		for _, header := range []string{"ce-specversion: 1.0", "ce-id: e", "ce-source: /hostile",
			"ce-type: com.example.test", "Content-Type: application/json"} {
			if leave == "" || !strings.HasPrefix(header, leave) {
				r.header = append(r.header, header)
			}
		}
		return r
	}
	one := `{"specversion":"1.0","id":"e","source":"/hostile","type":"com.example.test"}`
	var rows []row
	for name, r := range map[string]request{
		"nothing": send(""), "no event": send("{}", "Content-Type: application/json"), "a form": send(whole(), formType),
		"no version": bin("ce-specversion"), "no id": bin("ce-id"),
		"no source": bin("ce-source"), "no type": bin("ce-type"),
		"version 0.3": bin("ce-specversion", "ce-specversion: 0.3"),
		"version 2.0": bin("ce-specversion", "ce-specversion: 2.0"),
		"empty id":    bin("ce-id", "ce-id: "), "empty type": bin("ce-type", "ce-type: "),
		"bad source": bin("ce-source", "ce-source: %zz"), "bad time": bin("", "ce-time: yesterday"),
		"bad schema": bin("", "ce-dataschema: %zz"), "no JSON": send("{", form), "JSON of another kind": send("[]", form),
		"null": send("null", form), "a number": send("1", form),
		"no version in it":     send(`{"id":"e","source":"/s","type":"t"}`, form),
		"version of a number":  send(strings.Replace(one, `"1.0"`, "1", 1), form),
		"bad base64":           send(strings.Replace(one, "}", `,"data_base64":"*"}`, 1), form),
		"deep":                 send(strings.Repeat("[", 100_000), form),
		"data that is no JSON": func() request { r := bin(""); r.body = "{"; return r }(),
		"batch of one object":  send(one, batchType), "batch of null": send("[null]", batchType),
		"batch of numbers": send("[1,2]", batchType), "batch with a bad one": send("["+one+`,{"specversion":"1.0"}]`,
			batchType), "batch cut off": send("["+one, batchType),
		"attribute of a list":    send(strings.Replace(one, "}", `,"x":[1]}`, 1), form),
		"attribute of an object": send(strings.Replace(one, "}", `,"x":{}}`, 1), form),
	} {
		rows = append(rows, row{name: name, req: r, status: []int{400, 415, 422}})
	}
	for _, query := range []string{"template=plain&template=plain", "x=1", "template=plain&x=1", "withOutputs=true",
		"template=plain&withOutputs=maybe", "template=plain&withOutputs=", "%zz", "Template=plain"} {
		r := cloudEvent("plain", "q")
		r.target = "/events?" + query
		rows = append(rows, refused(400, "", "query "+query, r))
	}
	for _, name := range []string{"nosuch", "plain2", "pla", "plain0"} {
		rows = append(rows, refused(404, "", "template "+name, cloudEvent(name, "q")))
	}
	large := send("", "Content-Length: 99999999", form)
	full := cloudEvent("plain", "large")
	full.body = `"` + strings.Repeat("x", 4<<20) + `"`
	batch := "[" + strings.TrimSuffix(strings.Repeat(one+",", 101), ",") + "]"
	rows = append(rows,
		refused(413, "body", "large by its length", large), refused(413, "body", "large", full),
		refused(413, "body", "large in chunks", full.chunked()),
		refused(413, "body", "101 events", send(batch, batchType)),
		refused(415, "", "compressed", cloudEvent("plain", "gzip", "Content-Encoding: gzip")),
		refused(415, "", "compressed by br", cloudEvent("plain", "br", "Content-Encoding: br")),
		refused(415, "", "compressed, structured", send("\x1f\x8b", form, "Content-Encoding: gzip")))
	for _, kind := range []string{"org.example.test", "com.exampl", "COM.EXAMPLE.test", "*", "com.example"} {
		r := cloudEvent("plain", "kind")
		r.header[3] = "ce-type: " + kind
		rows = append(rows, refused(403, "type", "type "+kind, r))
	}
	for _, version := range []string{"v2", "v0", "v1.1", "x"} {
		r := requestedJob("version", requestedData())
		r.header[3] = "ce-type: io.github.go-job-orchestrator.job.requested." + version
		rows = append(rows, row{name: "requested " + version, req: r, status: []int{403, 422}})
	}
	other := requestedJob("other", "{}")
	other.header[3] = "ce-type: com.example.test"
	rows = append(rows, refused(422, "template", "no template and no job", other))
	for _, step := range []string{"submitted", "started"} {
		rows = append(rows, ownSteps(g, step)...)
	}
	return rows
}

// ownSteps send a template the news that one of its own jobs was accepted or has begun. If that
// started the template, it would never end.
func ownSteps(g *group, step string) []row {
	a := g.server.must(g.T, http.StatusAccepted, cloudEvent("plain", "own-"+step), nil)
	j := &begun{srv: g.server, ID: job.ID(strings.TrimPrefix(a.header.Get("Location"), "/api/v1/jobs/"))}
	j.Token = g.s.userToken(string(j.ID))
	j.wait(g.T)
	var rows []row
	for _, subject := range []string{string(j.ID), string(ghost)} {
		r := over("plain", step, j.ID, "ce-template: plain")
		r.target = "/events?template=plain"
		r.header[3] = "ce-subject: " + subject
		rows = append(rows, row{name: "its own " + step + " of " + subject[:8], req: r, status: []int{400, 403, 409, 422}})
	}
	return rows
}

// circle is a sink that passes every event of a job on to two templates, as Triggers without a
// filter do. Both start jobs, whose events come here again. It leaves out the records of calls: those
// of events are not sent to it, and each other one would begin a chain of its own.
type circle struct {
	server                             atomic.Pointer[server]
	running                            atomic.Bool
	passed, refused, accepted, pending atomic.Int64
}

// most is where a circle is taken for endless.
const most = 150

func (c *circle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	kind := r.Header.Get("ce-type")
	if err != nil || !c.running.Load() || c.accepted.Load() > most || strings.Contains(kind, "reaped") ||
		kind == event.Audit {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	// Passed on beside the answer, as a Broker does.
	for _, template := range []string{"left", "right"} {
		c.pending.Add(1)
		go func() {
			defer c.pending.Add(-1)
			onward := request{method: http.MethodPost, target: "/events?template=" + template, body: string(body)}
			for name, values := range r.Header {
				if strings.HasPrefix(name, "Ce-") || name == "Content-Type" || name == "Traceparent" || name == "Tracestate" {
					onward.header = append(onward.header, name+": "+values[0])
				}
			}
			c.passed.Add(1)
			switch a, err := c.server.Load().send(onward); {
			case err != nil:
			case a.status == http.StatusAccepted:
				c.accepted.Add(1)
			case a.status < http.StatusInternalServerError:
				c.refused.Add(1)
			}
		}()
	}
	w.WriteHeader(http.StatusAccepted)
}

// loops starts one job whose end starts two, whose ends start two each.
func loops(g *group, sink *circle) {
	for _, name := range []string{"left", "right"} {
		g.server.template(g.T, name, script("true\n"))
	}
	g.try("a circle in breadth", func(fail func(string, ...any)) {
		sink.running.Store(true)
		defer sink.running.Store(false)
		g.server.begin(g.T, script("true\n")...)
		quiet := within(patience, func() bool {
			return sink.accepted.Load() > most || sink.passed.Load() > 0 && sink.refused.Load() > 0 &&
				sink.pending.Load() == 0 && idle(g)
		})
		// 20 jobs may follow one (MAX_CHAINED_JOBS); several requests may be let in at the same moment.
		if n := sink.accepted.Load(); n > 30 || !quiet {
			fail("one job had %d started, %d were refused", n, sink.refused.Load())
		}
		for _, name := range []string{"left", "right"} { // what is still on its way starts nothing
			for _, phase := range []string{"Pending", "Running"} {
				cancelAll(g, name, phase)
			}
		}
	})
}

// idle reports whether no job waits or runs.
func idle(g *group) bool {
	return len(listed(g, "phase=Pending")) == 0 && len(listed(g, "phase=Running")) == 0
}

func listed(g *group, query string) []string {
	a, err := g.server.send(get("/api/v1/jobs?limit=500&" + query).by(admin))
	var page struct {
		Items []struct {
			JobID string `json:"jobID"`
		} `json:"items"`
	}
	if err != nil || json.Unmarshal(a.body, &page) != nil {
		return []string{"unknown"}
	}
	ids := make([]string, len(page.Items))
	for i, item := range page.Items {
		ids[i] = item.JobID
	}
	return ids
}

func cancelAll(g *group, template, phase string) {
	for _, id := range listed(g, fmt.Sprintf("phase=%s&label=go-job-orchestrator/template=%s", phase, template)) {
		_, _ = g.server.send(request{method: http.MethodPost, target: "/api/v1/jobs/" + id + "/cancel",
			header: []string{bearer(g.s.userToken(id))}})
	}
}

// soon bounds what has to be answered within a few seconds, however busy the machine is.
const soon = 20 * time.Second
