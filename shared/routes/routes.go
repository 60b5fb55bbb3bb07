// Package routes is the table of all calls: the method and path of each, the function that answers
// it, the tokens that open it, and who can reach it. The functions mount their handlers with it,
// front passes requests on with it, and tests compare both with it.
package routes

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
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
	Every      Function = "every" // each function answers it itself
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

// Tokens is a set of tokens, each of which opens a call.
type Tokens int

// The tokens.
const (
	None  Tokens = 1 << iota // no token is needed
	User                     // the token of the job's user
	Agent                    // the token of the agent in the job's pod
	Owner                    // the token of the owner of templates
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
	Tokens   Tokens
	Reach    Reach
}

// The calls about jobs.
var (
	SubmitJob    = add("POST", "/api/v1/jobs", Submit, None, Public)
	ListJobs     = add("GET", "/api/v1/jobs", Status, None, Public)
	GetJob       = add("GET", "/api/v1/jobs/:id", Status, User, Public)
	RemoveJob    = add("DELETE", "/api/v1/jobs/:id", Cancel, User, Public)
	CancelJob    = add("POST", "/api/v1/jobs/:id/cancel", Cancel, User, Public)
	GetJobEvents = add("GET", "/api/v1/jobs/:id/events", Status, User, Public)
	GetJobLogs   = add("GET", "/api/v1/jobs/:id/logs", Logs, User, Public)
	GetJobToken  = add("GET", "/api/v1/jobs/:id/token", Submit, Owner, Public)
)

// The calls about templates, and the events that start jobs. The token of an owner is optional for
// an event and for a new template.
var (
	ListTemplates  = add("GET", "/api/v1/templates", Templates, None, Public)
	GetTemplate    = add("GET", "/api/v1/templates/:name", Templates, Owner, Public)
	PutTemplate    = add("PUT", "/api/v1/templates/:name", Templates, None|Owner, Public)
	DeleteTemplate = add("DELETE", "/api/v1/templates/:name", Templates, Owner, Public)
	StartTemplate  = add("POST", "/api/v1/templates/:name/jobs", Templates, Owner, Public)
	ReceiveEvent   = add("POST", "/events", Events, None|Owner, Public)
	AllowEvents    = add("OPTIONS", "/events", Events, None|Owner, Public)
)

// The calls about files.
var (
	ListOutputs  = add("GET", "/outputs/:id", Outputs, User, Public)
	HeadOutputs  = add("HEAD", "/outputs/:id", Outputs, User, Public)
	GetOutput    = add("GET", "/outputs/:id/*filename", Outputs, User, Public)
	HeadOutput   = add("HEAD", "/outputs/:id/*filename", Outputs, User, Public)
	GetArtifact  = add("GET", "/artifacts/:id/*filename", Artifacts, User|Agent, Public)
	HeadArtifact = add("HEAD", "/artifacts/:id/*filename", Artifacts, User|Agent, Public)
	UploadOutput = add("PUT", "/artifacts/:id/upload/*filename", Artifacts, Agent, Pods)
)

// The calls that the agent in a job's pod makes, beside those about files.
var (
	ClaimAttempt  = add("POST", "/agent/v1/jobs/:id/attempts", AgentAPI, Agent, Pods)
	EndAttempt    = add("PUT", "/agent/v1/jobs/:id/attempts/:number/end", AgentAPI, Agent, Pods)
	ReportAttempt = add("PUT", "/agent/v1/jobs/:id/attempts/:number/report", AgentAPI, Agent, Pods)
	RecordOutputs = add("PUT", "/agent/v1/jobs/:id/outputs", AgentAPI, Agent, Pods)
	LinkOutput    = add("POST", "/agent/v1/jobs/:id/links", AgentAPI, Agent, Pods)
	GetLogState   = add("GET", "/agent/v1/jobs/:id/log", AgentAPI, Agent, Pods)
	PutLogSegment = add("PUT", "/agent/v1/jobs/:id/log/segments/:segment", AgentAPI, Agent, Pods)
	GetLogStream  = add("GET", "/agent/v1/jobs/:id/log/streams/:stream", AgentAPI, Agent, Pods)
	GetLogOrder   = add("GET", "/agent/v1/jobs/:id/log/order", AgentAPI, Agent, Pods)
	PutLogOrder   = add("PUT", "/agent/v1/jobs/:id/log/order", AgentAPI, Agent, Pods)
)

// The calls of the Broker, and the calls that describe the service.
var (
	LaunchJob      = add("POST", "/", Launch, None, Cluster)
	LogDeadLetter  = add("POST", "/", DeadLetter, None, Cluster)
	GetServer      = add("GET", "/api/v1/server", Status, None, Public)
	GetHealth      = add("GET", "/healthz", Every, None, Public)
	GetDescription = add("GET", "/openapi.yaml", Every, None, Public)
)

// table lists the routes in the order of this file.
var table []Route

func add(method, path string, f Function, t Tokens, r Reach) Route {
	one := Route{&row{method, path, f, t, r}}
	table = append(table, one)
	return one
}

// All returns every route.
func All() []Route { return slices.Clone(table) }

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
