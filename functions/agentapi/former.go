package agentapi

import (
	"net/http"
	"net/url"
	"strings"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// formerCalls are the calls of agents that were built before /agent/v1 was, and what they are now:
// what followed /artifacts/:id/, and what follows /agent/v1/jobs/:id/. One that ends in / or = goes
// on with what the agent names.
var formerCalls = []struct{ method, path, toMethod, to string }{
	{http.MethodPut, "upload/.job/attempts/next/start", http.MethodPost, "attempts"},
	{http.MethodPut, "upload/.job/attempts/", http.MethodPut, "attempts/"},
	{http.MethodPut, "upload/.job/outputs.json", http.MethodPut, "outputs"},
	{http.MethodPut, "upload/.job/link", http.MethodPost, "links"},
	{http.MethodPut, "upload/.job/order", http.MethodPut, "log/order"},
	{http.MethodPut, "upload/.job/log/", http.MethodPut, "log/segments/"},
	{http.MethodGet, "status.json", http.MethodGet, "log"},
	{http.MethodGet, "results?stream=order", http.MethodGet, "log/order"},
	{http.MethodGet, "results?stream=", http.MethodGet, "log/streams/"},
}

// former returns what a request is now that an older agent makes: its pod was started before an
// upgrade, and its job must not end by that. For everybody without an agent's token the paths are
// names of files, as ever.
func (f *Function) former(r *http.Request) *http.Request {
	rest, found := strings.CutPrefix(r.URL.Path, "/artifacts/")
	if !found {
		return r
	}
	id, path, _ := strings.Cut(rest, "/")
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	for _, c := range formerCalls {
		name, found := strings.CutPrefix(path, c.path)
		goesOn := strings.HasSuffix(c.path, "/") || strings.HasSuffix(c.path, "=")
		if r.Method != c.method || !found || name != "" && !goesOn {
			continue
		}
		if bearer, err := api.Bearer(r); err != nil || !f.Keys.Verify(bearer, job.ID(id), token.Agent) {
			return r
		}
		now := *r // as http.StripPrefix does: the rest of the request is the same
		now.Method, now.URL = c.toMethod, &url.URL{Path: "/agent/v1/jobs/" + id + "/" + c.to + name}
		return &now
	}
	return r
}
