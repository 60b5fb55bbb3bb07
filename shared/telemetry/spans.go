package telemetry

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// wanted reports whether a job has spans: it has ended, a collector was configured when it was
// accepted, and its trace is sampled.
func wanted(life *ledger.Life) bool {
	return life.Terminal != nil && life.Index.Telemetry != nil && life.Index.Sampled()
}

// tree makes the spans of one job.
type tree struct {
	index *job.Index
	end   *job.Terminal
	spans []*tracepb.Span
}

// spansOf makes the spans of a job from its records. The same records make the same spans:
//
//	RUN <name>
//	├── submit   from the request to the acceptance
//	├── queue    until the first attempt, or its preparation, began
//	├── prepare  of each attempt that installed packages; with fetch
//	└── attempt  with fetch, exec and collect
func spansOf(life *ledger.Life) []*tracepb.Span {
	t := &tree{index: life.Index, end: life.Terminal}
	created, accepted := t.index.CreatedAt, t.index.Telemetry.AcceptedAt
	root := t.add(job.SpanRun, 0, created, t.end.FinishedAt, runAttributes(t.index, t.end))
	root.Name, root.Kind = runName(t.index), tracepb.Span_SPAN_KIND_SERVER
	root.ParentSpanId, root.Flags = nil, root.Flags|flagKnowsRemote
	if parent, known := t.index.ParentSpan(); known {
		root.ParentSpanId, root.Flags = parent[:], root.Flags|flagRemote
	}
	setStatus(root, t.end.Phase == job.Failed, string(t.end.Reason))
	t.add(job.SpanSubmit, 0, created, accepted, nil)
	begun := t.end.FinishedAt // of one that was cancelled while it waited
	if len(t.end.Attempts) > 0 {
		begun = begin(t.end.Attempts[0])
	}
	t.add(job.SpanQueue, 0, accepted, begun, nil)
	last := t.end.FinishedAt
	for _, a := range t.end.Attempts {
		last = latest(last, t.attempt(a))
	}
	root.EndTimeUnixNano = nanos(last) // outputs may be stored after the program has ended
	return t.spans
}

// attempt adds the spans of an attempt, and returns when the last of them ends.
func (t *tree) attempt(a job.Attempt) time.Time {
	var timing job.Timing
	if a.Timing != nil {
		timing = *a.Timing
	}
	end := t.end.FinishedAt
	if a.FinishedAt != nil {
		end = *a.FinishedAt
	}
	end = latest(end, timing.CollectFinishedAt)
	from, parent := begin(a), job.SpanAttempt
	if a.PreparedFrom != nil || !timing.PrepareFinishedAt.IsZero() {
		prepared := a.StartedAt
		if !timing.PrepareFinishedAt.IsZero() {
			prepared = timing.PrepareFinishedAt
		}
		t.add(job.SpanPrepare, a.Number, from, prepared, nil)
		from, parent = a.StartedAt, job.SpanPrepare
	}
	span := t.add(job.SpanAttempt, a.Number, from, end, attemptAttributes(a))
	setStatus(span, failed(a.Reason), string(a.Reason))
	t.child(job.SpanFetch, parent, a.Number, timing.FetchStartedAt, timing.FetchFinishedAt, nil)
	if exec := t.child(job.SpanExec, job.SpanAttempt, a.Number, timing.ExecStartedAt, timing.ExecFinishedAt,
		execAttributes(a)); exec != nil {
		setStatus(exec, a.ExitCode != nil && *a.ExitCode != 0, string(a.Reason))
	}
	t.child(job.SpanCollect, job.SpanAttempt, a.Number, timing.ExecFinishedAt, timing.CollectFinishedAt, nil)
	return end
}

// begin is when an attempt began to do something for its job. In a pod that is before it is claimed.
func begin(a job.Attempt) time.Time {
	from := a.StartedAt
	if a.PreparedFrom != nil {
		from = *a.PreparedFrom
	}
	if a.Timing != nil && !a.Timing.FetchStartedAt.IsZero() && a.Timing.FetchStartedAt.Before(from) {
		from = a.Timing.FetchStartedAt
	}
	return from
}

// child adds a step of an attempt whose times are known, and returns nil for any other.
func (t *tree) child(
	s, parent job.Span, attempt int, from, to time.Time, more []attribute.KeyValue,
) *tracepb.Span {
	if from.IsZero() || to.IsZero() {
		return nil
	}
	span := t.add(s, attempt, from, to, more)
	id := job.SpanID(t.index.JobID, parent, attempt)
	span.ParentSpanId = id[:]
	return span
}

// Bits of a span's flags beside those of the trace.
const (
	flagKnowsRemote = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
	flagRemote      = uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
)

// add adds a child of the job's span. Clocks of several machines are compared here, and a pod says
// what it likes, so no span begins before the job did or ends before it begins.
func (t *tree) add(s job.Span, attempt int, from, to time.Time, more []attribute.KeyValue) *tracepb.Span {
	from = latest(from, t.index.CreatedAt)
	traceID := t.index.TraceID()
	id, parent := job.SpanID(t.index.JobID, s, attempt), job.SpanID(t.index.JobID, job.SpanRun, 0)
	attributes := more
	if s != job.SpanRun {
		attributes = append(taskAttributes(t.index.JobID, s, attempt), more...)
	}
	span := &tracepb.Span{
		TraceId: traceID[:], SpanId: id[:], ParentSpanId: parent[:], TraceState: t.index.Trace.State,
		Flags: uint32(t.index.TraceFlags()) | flagKnowsRemote, Name: string(s), Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: nanos(from), EndTimeUnixNano: nanos(latest(from, to)), Attributes: keyValues(attributes),
	}
	t.spans = append(t.spans, span)
	return span
}

func setStatus(s *tracepb.Span, bad bool, why string) {
	if bad {
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: why}
	}
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }

// keyValues are attributes as they are sent.
func keyValues(list []attribute.KeyValue) []*commonpb.KeyValue {
	sent := make([]*commonpb.KeyValue, 0, len(list))
	for _, a := range list {
		value := &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: a.Value.String()}}
		if a.Value.Type() == attribute.INT64 {
			value = &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: a.Value.AsInt64()}}
		}
		sent = append(sent, &commonpb.KeyValue{Key: string(a.Key), Value: value})
	}
	return sent
}
