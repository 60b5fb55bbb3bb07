// Package audit records who has changed what, and who was refused for lack of rights: as lines in the
// log, and for a sink as well where there is one.
package audit

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
)

// Record says who made which call, and how it was answered. It has the pattern of the path and not
// the path, no query and no header but the address, so no key and no token can be in it.
type Record struct {
	Time time.Time `json:"time"`
	// Owner and Role are the caller's; empty without a caller.
	Owner string      `json:"owner,omitempty"`
	Role  access.Role `json:"role,omitempty"`
	// Via is how the sender was authenticated: that of the caller, or which token of a job it was.
	Via    string `json:"via,omitempty"`
	Method string `json:"method"`
	Route  string `json:"route"`
	// Job, Template and Key are what the call is about: the ID of a job or a key, the name of a
	// template. What the call has made counts as well.
	Job      string `json:"jobID,omitempty"`
	Template string `json:"template,omitempty"`
	Key      string `json:"keyID,omitempty"`
	Status   int    `json:"status"`
	// From is the address that the connection came from.
	From string `json:"from"`
	// ForwardedFor is the end of X-Forwarded-For, where the connection came from a proxy. Each proxy
	// adds the address that it was asked from to the right. What is to the left of the addresses that
	// trusted proxies have added is what the client says of itself.
	ForwardedFor string `json:"forwardedFor,omitempty"`
}

// Call is a call that was answered.
type Call struct {
	Route routes.Route
	// Value returns the value of a parameter of the path.
	Value  func(name string) string
	Status int
	// Location is what the call has made.
	Location string
	// Foreign says that it was answered like one for something that does not exist, because that
	// belongs to somebody else.
	Foreign bool
	// PassedOn says that another function has answered the call, and has recorded it if need be.
	PassedOn bool
}

// Sink takes records for others. Offer must not wait.
type Sink interface {
	Offer(ctx context.Context, r Record)
}

// Refused calls cost their senders nothing, so only so many a second are recorded, and how many are
// left out. Changes need rights, and all of them are recorded.
const (
	refusals      = rate.Limit(20)
	refusalsBurst = 200
)

// Log records calls. It is safe for concurrent use.
type Log struct {
	log   *slog.Logger
	sink  Sink
	now   func() time.Time
	limit *rate.Limiter
	// left is how many refused calls were left out since the last that was recorded.
	left atomic.Int64
}

// New returns a Log that writes to log, and to sink unless it is nil.
func New(log *slog.Logger, sink Sink, now func() time.Time) *Log {
	return &Log{log: log, sink: sink, now: now, limit: rate.NewLimiter(refusals, refusalsBurst)}
}

// Call records a call if it has changed something or was refused. r has the caller in its context,
// if it has one.
func (l *Log) Call(r *http.Request, c Call) {
	now := l.now()
	if !wanted(r, c) {
		return
	}
	if refused(c) && !l.mayRefuse(r.Context(), now) {
		return
	}
	record := recordOf(r, c)
	record.Time = now.UTC()
	l.log.LogAttrs(r.Context(), slog.LevelInfo, "audit", record.attrs()...)
	// An event that is received may have come from the sink. If its record were sent, it could have a
	// job start, which is recorded, which starts another one, and so on.
	if l.sink != nil && c.Route != routes.ReceiveEvent {
		l.sink.Offer(r.Context(), record)
	}
}

// mayRefuse reports whether a refused call is recorded. The first one after others that were not says
// how many those were.
func (l *Log) mayRefuse(ctx context.Context, now time.Time) bool {
	if !l.limit.AllowN(now, 1) {
		l.left.Add(1)
		return false
	}
	if n := l.left.Swap(0); n > 0 {
		l.log.WarnContext(ctx, "audit: refused calls came too fast to record", "leftOut", n)
	}
	return true
}

// refused reports whether the sender had no right to make the call.
func refused(c Call) bool {
	return c.Status == http.StatusUnauthorized || c.Status == http.StatusForbidden || c.Foreign
}

// wanted reports whether a call is recorded. What agents do is part of their job, and is too much.
func wanted(r *http.Request, c Call) bool {
	switch {
	case c.Route.Reach == routes.Cluster: // how functions tell each other what to do
		return false
	case refused(c):
		return true
	case c.PassedOn || access.TokenOf(r.Context()) == access.AgentToken:
		return false
	}
	return c.Route.Changes()
}

func recordOf(r *http.Request, c Call) Record {
	record := Record{Method: c.Route.Method, Route: c.Route.Path, Status: c.Status}
	record.Owner, record.Role, record.Via = sender(r, c)
	record.From, record.ForwardedFor = origin(r)
	id := c.Value("id")
	switch {
	case c.Route == routes.RevokeKey:
		record.Key = name(id)
	case id != "":
		record.Job = jobID(id)
	}
	record.Template = name(c.Value("name"))
	made := c.Location[strings.LastIndexByte(c.Location, '/')+1:]
	switch {
	case c.Route == routes.MakeKey:
		record.Key = name(made)
	case record.Job == "" && strings.HasPrefix(c.Location, "/api/v1/jobs/"):
		record.Job = jobID(made)
	}
	return record
}

// sender returns who has made a call, as far as that is known.
func sender(r *http.Request, c Call) (owner string, role access.Role, via string) {
	if caller, called := access.From(r.Context()); called {
		return caller.Owner, caller.Role, caller.Via
	}
	via = access.TokenOf(r.Context())
	if via == "" && c.Route.Broker && c.Status != http.StatusUnauthorized {
		via = "broker" // only the Broker gets in without a caller
	}
	return "", "", via
}

// jobID returns an ID, and nothing for other text: a client may have sent a token in its place.
func jobID(text string) string {
	id, err := job.ParseID(text)
	if err != nil {
		return ""
	}
	return string(id)
}

const maxName = 63

// name returns the name of a template or the ID of a key, and nothing for other text. Both are in
// lower case, and keys and tokens are longer and are not.
func name(text string) string {
	foreign := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if len(text) > maxName || strings.ContainsFunc(text, foreign) {
		return ""
	}
	return text
}

// attrs returns the attributes of a line in the log.
func (r *Record) attrs() []slog.Attr {
	list := make([]slog.Attr, 0, 11) //nolint:mnd // as many as there are below
	add := func(key, value string) {
		if value != "" {
			list = append(list, slog.String(key, value))
		}
	}
	add("owner", r.Owner)
	add("role", string(r.Role))
	add("via", r.Via)
	add("method", r.Method)
	add("route", r.Route)
	add("job", r.Job)
	add("template", r.Template)
	add("key", r.Key)
	list = append(list, slog.Int("status", r.Status))
	add("from", r.From)
	add("forwardedFor", r.ForwardedFor)
	return list
}
