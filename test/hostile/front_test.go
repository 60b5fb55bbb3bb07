package hostile

import (
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// throughFront attacks the front, with the one process behind it. Both are open, because the one
// process is a gateway itself and believes no other.
func (s *suite) throughFront(t *testing.T, behind *server) {
	vars := []string{"AUTH=open", "ORCH_BASE_URL=http://jobs.example"}
	for _, name := range []string{"SUBMIT", "STATUS", "LOGS", "ARTIFACTS", "OUTPUTS", "CANCEL", "KEYS"} {
		vars = append(vars, name+"_URL=http://"+behind.addr)
	}
	front := s.launch(t, s.front, behind.dir, vars...)
	agent, user := bearer(s.keys.Derive(token.Agent, ghost)), bearer(s.keys.Derive(token.User, ghost))
	s.run(t, "front", front, memoryBound, func(g *group) {
		var rows []row
		add := func(name string, r request, status ...int) {
			rows = append(rows, row{name: name, req: r, status: status, plain: true})
		}
		id := string(ghost)
		for _, header := range []string{agent, user} {
			for _, name := range []string{
				"x", ".job/attempts/next/start", ".job/attempts/1/end", ".job/attempts/1/report", ".job/outputs.json",
				".job/log/000000000000-000000000000", ".job/link", "%2e%2e/x",
			} {
				add("upload "+name, request{method: http.MethodPut, target: "/artifacts/" + id + "/upload/" + name, body: "{}",
					header: []string{header}}, 400, 403, 404, 405)
			}
			for _, c := range served() {
				if c.Reach == routes.Pods {
					add(c.String(), request{method: c.Method, target: c.target(ghost, ""), body: "{}", header: []string{header}}, 404,
						405)
				}
			}
		}
		for _, target := range []string{"/", "/metrics/", "/debug/pprof/", "/artifacts", "/api/v1/jobs/" + id + "/other",
			"/events/x", "/API/v1/jobs"} {
			add("path "+target, get(target), 404, 405)
			add("POST "+target, post(target, "{}"), 404, 405)
		}
		for _, target := range []string{
			"/outputs/" + id + "//x", "/outputs/" + id + "/../x", "/outputs/" + id + "/./x", "/outputs/%2e%2e/x",
			"/artifacts/" + id + "/..%2f..%2fx", "/api/v1/templates//x",
			"/outputs/" + id + "/a/%2e%2e/b", "/api/v1/templates/../jobs",
		} {
			add("path "+target, get(target, user), 400, 401, 403, 404, 405)
		}
		for _, host := range []string{"evil.example", "127.0.0.1.evil.example", "jobs.example.evil.example",
			"169.254.169.254"} {
			rows = append(rows,
				refused(421, "", "host "+host, get("/api/v1/jobs", "Host: "+host)),
				refused(421, "", "submit at "+host, with().with("Host: "+host, "Origin: http://"+host)))
		}
		for _, header := range []string{"Origin: https://elsewhere.example", "Sec-Fetch-Site: cross-site", "Origin: null"} {
			rows = append(rows, refused(403, "", "submit with "+header, with().with(header)),
				refused(403, "", "event with "+header, cloudEvent("x", "front", header)))
		}
		rows = append(rows,
			refused(415, "", "no form", post("/api/v1/jobs", whole(), "Content-Encoding: gzip")),
			refused(413, "files", "large upload", with(file("big", strings.Repeat("x", 2<<20)))),
			row{name: "list", req: get("/api/v1/jobs"), status: []int{200}},
			row{name: "list at its name", req: get("/api/v1/jobs", "Host: jobs.example"), status: []int{200}},
		)
		before := behind.files(g.T)
		g.refuse(rows)
		(&group{T: g.T, s: s, name: "front", server: behind}).unchanged(before)
	})
}
