package hostile

import (
	"net/http"
	"testing"

	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/routes"
)

// openParts attack a server where nobody has to say who they are: then tokens of jobs guard files, and
// nothing but files.
func (s *suite) openParts(t *testing.T) {
	h := &house{server: s.launch(t, s.all, folder(t), "AUTH=open", "KILL_GRACE=500ms", "REAP_INTERVAL=1h")}
	h.other = h.begin(t, script("true\n")...)
	h.running = h.begin(t, script("echo begun; exec sleep 1000\n")...)
	h.server.lasting = 1
	h.other.wait(t)
	h.running.says(t, "begun")
	s.run(t, "open", h.server, memoryBound, func(g *group) {
		var rows []row
		for _, c := range served() {
			a := attempt{s: s, h: h, route: c, id: h.running.ID, want: guardmatrix.WantOpen}
			if guardmatrix.WantOpen(c.Route, guardmatrix.Nothing) == http.StatusOK {
				if c.anyone() && c.Function != routes.Gateway || c.Route == routes.ListJobs || c.Route == routes.ListTemplates {
					rows = append(rows, a.anyoneRows()...)
				}
				continue
			}
			a.noneRows()
			a.senderRows(a.senders())
			a.jobTokenRows()
			a.assertionRows()
			rows = append(rows, a.rows...)
		}
		g.refuse(rows)
	})
}
