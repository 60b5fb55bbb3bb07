// Package routes is the table of all calls: the method and path of each, the function that answers
// it, the tokens that open it, and who can reach it. The functions mount their handlers with it,
// front passes requests on with it, and tests compare both with it.
package routes

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go-job-orchestrator/shared/access"
)

// Function is the name of the function that answers a call: the last part of the path of its
// package.
type Function string

// The functions.
const (
	Submit     Function = "submit"
	Templates  Function = "templates"
	Events     Function = "events"
	Status     Function = "status"
	Logs       Function = "logs"
	Cancel     Function = "cancel"
	Outputs    Function = "outputs"
	Artifacts  Function = "artifacts"
	AgentAPI   Function = "agentapi"
	Launch     Function = "launch"
	DeadLetter Function = "deadletter"
	Keys       Function = "keys"
	Gateway    Function = "gateway" // front, and the one process: the page for browsers
	Metrics    Function = "metrics" // front, and the one process: what they have done
	Every      Function = "every"   // each function answers it itself
)

// Service returns the function whose Knative Service answers the calls of f. Some functions share a
// Service, so that fewer pods have to start.
func (f Function) Service() Function {
	switch f {
	case Templates, Events:
		return Submit
	case AgentAPI:
		return Artifacts
	}
	return f
}

// The calls that the role of a caller does not decide about.
const (
	Anyone   access.Role = "anyone" // needs no credentials
	NoCaller access.Role = "none"   // is no call for callers, whatever their role
)

// Tokens is a set of tokens of jobs, each of which opens a call.
type Tokens int

// The tokens.
const (
	User   Tokens = 1 << iota // the token of the job's user
	Shared                    // a token with an expiry that lets others look at the job
	Agent                     // the token of the agent in the job's pod
	// Index is the token by which an installer in the job's pod reaches the package indexes. It is in
	// the path, since installers know no others.
	Index
)

// Opens reports whether the two sets have a token in common.
func (t Tokens) Opens(other Tokens) bool { return t&other != 0 }

// Reach says who can reach a call when each function is a service of its own.
type Reach int

// The values of Reach.
const (
	Public  Reach = iota + 1 // everybody, through front
	Pods                     // the pods of jobs; through front only with EXPOSE_ARTIFACT_UPLOADS
	Cluster                  // the Broker; never through front
)

// Route is a call. Only this package makes routes, and it lists all of them, so a call that is not
// in the table cannot be mounted.
type Route struct{ *row }

type row struct {
	Method   string
	Path     string // in httprouter's syntax
	Function Function
	Role     access.Role // that a caller needs, beside being the owner of what the path names
	Tokens   Tokens      // that open the call as well
	Reach    Reach
	// TokenWhenOpen says that the call needs a token of the job also where everybody is a caller.
	TokenWhenOpen bool
	// KnowsCaller says that the answer depends on the caller, although the call needs no credentials.
	// Wrong ones are like none.
	KnowsCaller bool
	// Broker says that the Broker makes this call, which has no credentials.
	Broker bool
	// Beside says that the call is found before all others. Its path may be one that a path with a
	// parameter could also be, and its other methods are not told of.
	Beside bool
}

// The calls about jobs.
var (
	SubmitJob    = add("POST", "/api/v1/jobs", Submit, access.User, 0, Public)
	ListJobs     = add("GET", "/api/v1/jobs", Status, access.Read, 0, Public)
	WatchJobs    = beside("GET", "/api/v1/jobs/events", Status, access.Read, 0, Public)
	GetJob       = add("GET", "/api/v1/jobs/:id", Status, access.Read, User|Shared, Public)
	RemoveJob    = add("DELETE", "/api/v1/jobs/:id", Cancel, access.User, User, Public)
	CancelJob    = add("POST", "/api/v1/jobs/:id/cancel", Cancel, access.User, User, Public)
	GetJobEvents = add("GET", "/api/v1/jobs/:id/events", Status, access.Read, User|Shared, Public)
	GetJobLogs   = add("GET", "/api/v1/jobs/:id/logs", Logs, access.Read, User|Shared, Public)
	GetJobToken  = add("GET", "/api/v1/jobs/:id/token", Submit, access.User, 0, Public)
	RerunJob     = add("POST", "/api/v1/jobs/:id/rerun", Submit, access.User, 0, Public)
	ShareJob     = add("POST", "/api/v1/jobs/:id/share", Submit, access.User, User, Public)
)

// The calls about templates, and the events that start jobs.
var (
	ListTemplates  = add("GET", "/api/v1/templates", Templates, access.Read, 0, Public)
	GetTemplate    = add("GET", "/api/v1/templates/:name", Templates, access.Read, 0, Public)
	PutTemplate    = add("PUT", "/api/v1/templates/:name", Templates, access.User, 0, Public)
	DeleteTemplate = add("DELETE", "/api/v1/templates/:name", Templates, access.User, 0, Public)
	StartTemplate  = add("POST", "/api/v1/templates/:name/jobs", Templates, access.User, 0, Public)
	ReceiveEvent   = add("POST", "/events", Events, access.User, 0, Public)
	AllowEvents    = add("OPTIONS", "/events", Events, Anyone, 0, Public)
)

// The calls about files.
var (
	ListOutputs  = add("GET", "/outputs/:id", Outputs, access.Read, User|Shared, Public)
	HeadOutputs  = add("HEAD", "/outputs/:id", Outputs, access.Read, User|Shared, Public)
	GetOutput    = add("GET", "/outputs/:id/*filename", Outputs, access.Read, User|Shared, Public)
	HeadOutput   = add("HEAD", "/outputs/:id/*filename", Outputs, access.Read, User|Shared, Public)
	GetArtifact  = add("GET", "/artifacts/:id/*filename", Artifacts, access.Read, User|Agent, Public)
	HeadArtifact = add("HEAD", "/artifacts/:id/*filename", Artifacts, access.Read, User|Agent, Public)
	UploadOutput = add("PUT", "/artifacts/:id/upload/*filename", Artifacts, NoCaller, User|Agent, Pods)
)

// The calls that the agent in a job's pod makes, beside those about files.
var (
	ClaimAttempt  = add("POST", "/agent/v1/jobs/:id/attempts", AgentAPI, NoCaller, Agent, Pods)
	EndAttempt    = add("PUT", "/agent/v1/jobs/:id/attempts/:number/end", AgentAPI, NoCaller, Agent, Pods)
	ReportAttempt = add("PUT", "/agent/v1/jobs/:id/attempts/:number/report", AgentAPI, NoCaller, Agent, Pods)
	RecordOutputs = add("PUT", "/agent/v1/jobs/:id/outputs", AgentAPI, NoCaller, Agent, Pods)
	LinkOutput    = add("POST", "/agent/v1/jobs/:id/links", AgentAPI, NoCaller, Agent, Pods)
	GetSecrets    = add("GET", "/agent/v1/jobs/:id/secrets", AgentAPI, NoCaller, Agent, Pods)
	GetLogState   = add("GET", "/agent/v1/jobs/:id/log", AgentAPI, NoCaller, Agent, Pods)
	PutLogSegment = add("PUT", "/agent/v1/jobs/:id/log/segments/:segment", AgentAPI, NoCaller, Agent, Pods)
	GetLogStream  = add("GET", "/agent/v1/jobs/:id/log/streams/:stream", AgentAPI, NoCaller, Agent, Pods)
	GetLogOrder   = add("GET", "/agent/v1/jobs/:id/log/order", AgentAPI, NoCaller, Agent, Pods)
	PutLogOrder   = add("PUT", "/agent/v1/jobs/:id/log/order", AgentAPI, NoCaller, Agent, Pods)

	PlanPackages    = add("POST", "/agent/v1/jobs/:id/plan", AgentAPI, NoCaller, Agent, Pods)
	ClaimPackages   = add("POST", "/agent/v1/jobs/:id/packages/:key/turn", AgentAPI, NoCaller, Agent, Pods)
	ReleasePackages = add("DELETE", "/agent/v1/jobs/:id/packages/:key/turn", AgentAPI, NoCaller, Agent, Pods)
	GetPackages     = add("GET", "/agent/v1/jobs/:id/packages/:key", AgentAPI, NoCaller, Agent, Pods)
	PutPackages     = add("PUT", "/agent/v1/jobs/:id/packages/:key", AgentAPI, NoCaller, Agent, Pods)
	GetIndex        = add("GET", "/agent/v1/jobs/:id/index/:token/*path", AgentAPI, NoCaller, Index, Pods)
	HeadIndex       = add("HEAD", "/agent/v1/jobs/:id/index/:token/*path", AgentAPI, NoCaller, Index, Pods)
)

// The calls about the keys of callers, which are for admins, and about who calls.
var (
	ListKeys  = add("GET", "/api/v1/keys", Keys, access.Admin, 0, Public)
	MakeKey   = add("POST", "/api/v1/keys", Keys, access.Admin, 0, Public)
	RevokeKey = add("DELETE", "/api/v1/keys/:id", Keys, access.Admin, 0, Public)
	GetCaller = add("GET", "/api/v1/whoami", Status, access.Read, 0, Public)
)

// The calls of the Broker, and the calls that describe the service.
var (
	LaunchJob     = add("POST", "/", Launch, Anyone, 0, Cluster)
	LogDeadLetter = add("POST", "/", DeadLetter, Anyone, 0, Cluster)
	GetServer     = add("GET", "/api/v1/server", Status, Anyone, 0, Public)
	// Metrics are about the jobs of all callers together, and name none.
	GetMetrics     = add("GET", "/metrics", Metrics, access.Read, 0, Public)
	GetHealth      = add("GET", "/healthz", Every, Anyone, 0, Public)
	GetDescription = add("GET", "/openapi.yaml", Every, Anyone, 0, Public)
)

// The calls of browsers, which the gateway answers itself: the page for people, and their sessions.
var (
	GetRoot  = beside("GET", "/", Gateway, Anyone, 0, Public)
	FindPage = add("GET", "/ui", Gateway, Anyone, 0, Public)
	GetPage  = add("GET", "/ui/*path", Gateway, Anyone, 0, Public)
	HeadPage = add("HEAD", "/ui/*path", Gateway, Anyone, 0, Public)
	LogIn    = add("POST", "/ui/session", Gateway, Anyone, 0, Public)
	LogOut   = add("DELETE", "/ui/session", Gateway, Anyone, 0, Public)
)

// table lists the routes in the order of this file.
var table []Route

func add(method, path string, f Function, role access.Role, t Tokens, r Reach) Route {
	one := Route{&row{Method: method, Path: path, Function: f, Role: role, Tokens: t, Reach: r}}
	// The service that this one grew from needed no token for jobs, and one for files.
	one.TokenWhenOpen = strings.HasPrefix(path, "/artifacts/") || strings.HasPrefix(path, "/outputs/")
	one.Broker = path == "/events"
	one.KnowsCaller = path == "/api/v1/server"
	table = append(table, one)
	return one
}

func beside(method, path string, f Function, role access.Role, t Tokens, r Reach) Route {
	one := add(method, path, f, role, t, r)
	one.Beside = true
	return one
}

// All returns every route.
func All() []Route { return slices.Clone(table) }

// OfJob reports whether the path names a job.
func (r Route) OfJob() bool { return strings.Contains(r.Path, "/:id") && r.Function != Keys }

// String is the method and the path.
func (r Route) String() string { return r.Method + " " + r.Path }

// URL returns the path with the values, escaped, in place of its parameters, in order. Slashes in a
// file's name stay as they are.
func (r Route) URL(values ...string) string {
	segments := strings.Split(r.Path, "/")
	next := 0
	for i, s := range segments {
		if s == "" || s[0] != ':' && s[0] != '*' {
			continue
		}
		if next == len(values) {
			break
		}
		segments[i] = url.PathEscape(values[next])
		if s[0] == '*' {
			segments[i] = strings.ReplaceAll(segments[i], "%2F", "/")
		}
		next++
	}
	if next != len(values) || strings.Count(r.Path, ":")+strings.Count(r.Path, "*") != next {
		panic(fmt.Sprintf("routes: %d values for the parameters of %s", len(values), r))
	}
	return strings.Join(segments, "/")
}
