// Package guardmatrix says how each call has to be answered, by what a request is sent with. The
// tests of the guard compare its decisions with it, and the tests of the API the answers of its
// functions.
package guardmatrix

import (
	"net/http"
	"strings"

	"go-job-orchestrator/shared/routes"
)

// Sender is what a request for a job of the owner Ann is sent with.
type Sender string

// The owners of the jobs and keys of tests.
const (
	Ann = "ann"
	Bob = "bob"
)

// Nothing that says who sends the request.
const (
	Nothing  Sender = "nothing"
	Basic    Sender = "basic authentication"
	Nonsense Sender = "a token that is none"
)

// Callers.
const (
	Admin     Sender = "an admin"
	User      Sender = "Ann as a user"
	Reader    Sender = "Ann as a reader"
	OtherUser Sender = "Bob as a user"
	NoRole    Sender = "Ann without a role"
	// Open is everybody, at a gateway where nobody has to say who they are.
	Open Sender = "everybody"
)

// Callers whose credentials are not valid: the first three are assertions, the others keys.
const (
	Forged      Sender = "a forged assertion"
	Outdated    Sender = "an expired assertion"
	ForAnother  Sender = "an assertion for another path"
	ExpiredKey  Sender = "an expired key"
	RevokedKey  Sender = "a revoked key"
	MistypedKey Sender = "a key with a typo"
)

// Tokens of jobs. Without another name they are of Ann's job.
const (
	JobToken      Sender = "the job's token"
	OtherJobToken Sender = "another job's token"
	AgentToken    Sender = "the agent's token"
	OtherAgent    Sender = "another agent's token"
	Shared        Sender = "a shared token"
	ExpiredShared Sender = "an expired shared token"
	OtherShared   Sender = "a shared token of another job"
)

// senders lists them. The answer to a Sender that is not there is 0.
func senders() []Sender {
	return []Sender{
		Nothing, Basic, Nonsense, Admin, User, Reader, OtherUser, NoRole, Open, Forged, Outdated, ForAnother, ExpiredKey,
		RevokedKey, MistypedKey, JobToken, OtherJobToken, AgentToken, OtherAgent, Shared, ExpiredShared, OtherShared,
	}
}

// answers are the statuses by sender. 200 stands for what the function itself answers.
type answers map[Sender]int

// with returns the answers to all senders: the others' where they have one, else status.
func with(status int, others ...answers) answers {
	all := answers{}
	for _, s := range senders() {
		all[s] = status
	}
	for _, other := range others {
		for s, status := range other {
			all[s] = status
		}
	}
	return all
}

// invalid are those of credentials that are not valid, where any are needed.
func invalid() answers {
	return answers{Forged: 401, Outdated: 401, ForAnother: 401, ExpiredKey: 401, RevokedKey: 401, MistypedKey: 401}
}

// ofJob are those of a call that tokens of its job open.
func ofJob(opens ...Sender) answers {
	all := with(http.StatusForbidden, invalid(), answers{Nothing: 401, Basic: 401, Admin: 200, User: 200, OtherUser: 404})
	for _, s := range opens {
		all[s] = http.StatusOK
	}
	return all
}

// ofAgent are those of a call that is none for callers. They have sent no token.
func ofAgent(opens ...Sender) answers {
	all := ofJob(opens...)
	for _, s := range []Sender{Admin, User, Reader, OtherUser, NoRole} {
		all[s] = http.StatusUnauthorized
	}
	return all
}

// kinds of calls.
func kinds() map[string]answers {
	users := answers{Admin: 200, User: 200, OtherUser: 200, Reader: 403, NoRole: 403}
	return map[string]answers{
		"anyone":       with(http.StatusOK),
		"look at mine": with(http.StatusUnauthorized, users, answers{Reader: 200}),
		"change mine":  with(http.StatusUnauthorized, users),
		"own a job":    with(http.StatusUnauthorized, users, answers{OtherUser: 404}),
		"manage":       with(http.StatusUnauthorized, users, answers{User: 403, OtherUser: 403}),
		"look at a job": with(0, ofJob(Reader, JobToken, Shared),
			answers{ExpiredShared: http.StatusUnauthorized}),
		"change a job": ofJob(JobToken),
		"read files":   ofJob(Reader, JobToken, AgentToken),
		"upload":       ofAgent(JobToken, AgentToken),
		"agent":        ofAgent(AgentToken),
		// The token is in the path, and that of tests is not one.
		"index": with(http.StatusForbidden, invalid()),
	}
}

// kindOf says by hand what each call is, so that a change of the table shows.
func kindOf(r routes.Route) string {
	switch r.String() {
	case "GET /healthz", "GET /openapi.yaml", "GET /api/v1/server", "POST /", "OPTIONS /events",
		"GET /", "GET /ui", "GET /ui/*path", "HEAD /ui/*path", "POST /ui/session", "DELETE /ui/session":
		return "anyone"
	case "GET /api/v1/jobs", "GET /api/v1/jobs/events", "GET /api/v1/templates", "GET /api/v1/templates/:name",
		"GET /api/v1/whoami", "GET /metrics":
		return "look at mine"
	case "POST /api/v1/jobs", "PUT /api/v1/templates/:name", "DELETE /api/v1/templates/:name",
		"POST /api/v1/templates/:name/jobs", "POST /events":
		return "change mine"
	case "GET /api/v1/jobs/:id/token", "POST /api/v1/jobs/:id/rerun":
		return "own a job"
	case "GET /agent/v1/jobs/:id/index/:token/*path", "HEAD /agent/v1/jobs/:id/index/:token/*path":
		return "index"
	case "GET /api/v1/keys", "POST /api/v1/keys", "DELETE /api/v1/keys/:id":
		return "manage"
	case "GET /api/v1/jobs/:id", "GET /api/v1/jobs/:id/events", "GET /api/v1/jobs/:id/logs",
		"GET /outputs/:id", "HEAD /outputs/:id", "GET /outputs/:id/*filename", "HEAD /outputs/:id/*filename":
		return "look at a job"
	case "DELETE /api/v1/jobs/:id", "POST /api/v1/jobs/:id/cancel", "POST /api/v1/jobs/:id/share":
		return "change a job"
	case "GET /artifacts/:id/*filename", "HEAD /artifacts/:id/*filename":
		return "read files"
	case "PUT /artifacts/:id/upload/*filename":
		return "upload"
	}
	if strings.HasPrefix(r.Path, "/agent/v1/") {
		return "agent"
	}
	return ""
}

// Want returns the status of the answer to a call about Ann's job: 200 if the function itself
// decides, and 0 if the call is not known here. Callers are known by the gateway's assertion; keys
// are not looked up.
func Want(r routes.Route, s Sender) int {
	switch s {
	case ExpiredKey, RevokedKey, MistypedKey:
		s = Nonsense
	case Open: // an admin, but not for files
		s = Admin
		if ofFile(r) {
			s = Nothing
		}
	}
	return kinds()[kindOf(r)][s]
}

func ofFile(r routes.Route) bool {
	return strings.HasPrefix(r.Path, "/outputs/") || strings.HasPrefix(r.Path, "/artifacts/")
}

// WantByKey is Want where callers send their keys, which are no tokens of jobs.
func WantByKey(r routes.Route, s Sender) int {
	switch s {
	case Admin, User, Reader, OtherUser, NoRole:
		if r.Role == routes.NoCaller {
			return http.StatusForbidden
		}
	}
	return kinds()[kindOf(r)][s]
}

// WantOpen is Want where nobody has to say who they are. Only tokens of jobs count there, and only
// for files: no key is looked up.
func WantOpen(r routes.Route, s Sender) int {
	kind := kindOf(r)
	switch {
	case kind == "":
		return 0
	case kind == "index":
		return http.StatusForbidden
	case !ofFile(r) && kind != "agent":
		return with(http.StatusOK)[s]
	}
	switch s {
	case Admin, User, Reader, OtherUser, NoRole, ExpiredKey, RevokedKey, MistypedKey:
		return http.StatusForbidden
	}
	return Want(r, s)
}
