package job

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Trace is the job's place in a distributed trace (W3C Trace Context). It goes from the request,
// through the job's record, to the program and to the job's events.
type Trace struct {
	Parent string `json:"traceparent,omitempty"`
	State  string `json:"tracestate,omitempty"`
}

const maxTraceState = 512 // the recommendation wants at least so much to be passed on

var traceParent = pattern{expr: `^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,256})?$`}

// NewTrace returns the trace of two header fields. It ignores values that are not valid, as the
// recommendation demands.
func NewTrace(parent, state string) Trace {
	switch {
	case !traceParent.get().MatchString(parent), strings.HasPrefix(parent, "ff"),
		strings.HasPrefix(parent, "00") && len(parent) != len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		parent[3:35] == strings.Repeat("0", 32), parent[36:52] == strings.Repeat("0", 16):
		return Trace{}
	case len(state) > maxTraceState || strings.ContainsFunc(state, func(r rune) bool { return r < ' ' || r > '~' }):
		return Trace{Parent: parent}
	}
	return Trace{Parent: parent, State: state}
}

// Variables returns the environment variables by which a program continues the trace.
func (t Trace) Variables() map[string]string {
	env := map[string]string{}
	if t.Parent != "" {
		env["TRACEPARENT"] = t.Parent
	}
	if t.State != "" {
		env["TRACESTATE"] = t.State
	}
	return env
}

// Telemetry is what the spans and numbers of a job need beside its other records. An index has it if
// a collector was configured when the job was accepted.
type Telemetry struct {
	AcceptedAt time.Time `json:"acceptedAt"`
	Source     Way       `json:"source"`
}

// Timing is how an attempt went, by the clock of the machine that made it. Times that are not known
// are zero.
type Timing struct {
	FetchStartedAt  time.Time `json:"fetchStartedAt,omitzero"`
	FetchFinishedAt time.Time `json:"fetchFinishedAt,omitzero"`
	// PrepareFinishedAt is when the packages were installed that the program needs.
	PrepareFinishedAt time.Time `json:"prepareFinishedAt,omitzero"`
	ExecStartedAt     time.Time `json:"execStartedAt,omitzero"`
	ExecFinishedAt    time.Time `json:"execFinishedAt,omitzero"`
	// CollectFinishedAt is when the outputs were stored.
	CollectFinishedAt time.Time `json:"collectFinishedAt,omitzero"`
}

// Span is one of the spans that a job has in its trace.
type Span string

// The spans. SpanRun is that of the whole job. The children of an attempt are fetch, exec and collect;
// fetch is one of prepare if there is that.
const (
	SpanRun     Span = "run"
	SpanSubmit  Span = "submit"
	SpanQueue   Span = "queue"
	SpanPrepare Span = "prepare"
	SpanAttempt Span = "attempt"
	SpanFetch   Span = "fetch"
	SpanExec    Span = "exec"
	SpanCollect Span = "collect"
)

// SpanID is the ID of a span, of an attempt from 1 on, or with 0 of the whole job. It follows from the
// job's ID alone, so a span that is sent twice is the same span, and a program can be told of that of
// its attempt before it is made.
func SpanID(id ID, s Span, attempt int) [8]byte {
	sum := derived(fmt.Sprintf("span/%s/%s/%d", id, s, attempt))
	return [8]byte(sum[:8])
}

// TraceID is the ID of the job's trace: that of its request, else one that follows from the job's ID.
func (i *Index) TraceID() [16]byte {
	var id [16]byte
	if i.Trace.Parent == "" {
		sum := derived("trace/" + string(i.JobID))
		return [16]byte(sum[:16])
	}
	_, _ = hex.Decode(id[:], []byte(i.Trace.Parent[3:35])) // NewTrace has checked it
	return id
}

// ParentSpan is the ID of the request's span, and false if the request had none.
func (i *Index) ParentSpan() (id [8]byte, known bool) {
	if i.Trace.Parent == "" {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(i.Trace.Parent[36:52]))
	return id, err == nil
}

// The bits of the flags of a traceparent that we know.
const (
	flagSampled = 1
	flagRandom  = 2 // the trace ID is random
)

// TraceFlags are those of the job's trace, as far as they are known. A job whose request had no trace is
// sampled.
func (i *Index) TraceFlags() byte {
	if i.Trace.Parent == "" {
		return flagSampled
	}
	var flags [1]byte
	_, _ = hex.Decode(flags[:], []byte(i.Trace.Parent[53:55])) // NewTrace has checked it
	return flags[0] & (flagSampled | flagRandom)
}

// Sampled reports whether the spans of the job are wanted.
func (i *Index) Sampled() bool { return i.TraceFlags()&flagSampled != 0 }

// In returns what continues the job's trace below one of its spans. Where the job has no spans, since
// no collector was configured when it was accepted, that is what the request had.
func (i *Index) In(s Span, attempt int) Trace {
	if i.Telemetry == nil {
		return i.Trace
	}
	return Trace{
		Parent: fmt.Sprintf("00-%x-%x-%02x", i.TraceID(), SpanID(i.JobID, s, attempt), i.TraceFlags()),
		State:  i.Trace.State,
	}
}

// derived returns bytes that follow from a text. The first 8 are not all zero, since such an ID is not
// valid.
func derived(text string) [sha256.Size]byte {
	sum := sha256.Sum256([]byte(text))
	if binary.BigEndian.Uint64(sum[:]) == 0 {
		sum[0] = 1
	}
	return sum
}
