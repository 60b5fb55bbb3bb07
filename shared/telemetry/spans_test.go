package telemetry

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

const (
	id     = job.ID("fe6aa1b2c3d4000102030405060708ff")
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// at is so many seconds after the job was created.
func at(seconds float64) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func pointer[T any](v T) *T { return &v }

// newLife returns a job that was accepted after one second and ended after 20.
func newLife(attempts ...job.Attempt) *ledger.Life {
	return &ledger.Life{
		Index: &job.Index{
			JobID: id, CreatedAt: at(0), Spec: job.Spec{Runtime: "python", Name: "nightly"},
			Telemetry: &job.Telemetry{AcceptedAt: at(1), Source: job.ByEvent},
			Template:  &job.Origin{Name: "report", Version: 3}, Trace: job.NewTrace(parent, "a=b"),
		},
		Terminal: &job.Terminal{JobID: id, Phase: job.Failed, Reason: job.ReasonError, FinishedAt: at(20), Attempts: attempts},
	}
}

// draw shows the tree of spans: names, beginnings and ends in seconds.
func draw(spans []*tracepb.Span) string {
	var out strings.Builder
	var below func(parent string, depth int)
	below = func(parent string, depth int) {
		for _, s := range spans {
			if string(s.GetParentSpanId()) != parent {
				continue
			}
			number := ""
			for _, a := range s.GetAttributes() {
				if a.GetKey() == string(attrAttempt) {
					number = fmt.Sprintf(" %d", a.GetValue().GetIntValue())
				}
			}
			seconds := func(nanos uint64) float64 { return time.Unix(0, int64(nanos)).Sub(at(0)).Seconds() }
			fmt.Fprintf(&out, "%s%s%s %g-%g\n", strings.Repeat("  ", depth), s.GetName(), number,
				seconds(s.GetStartTimeUnixNano()), seconds(s.GetEndTimeUnixNano()))
			below(string(s.GetSpanId()), depth+1)
		}
	}
	request := "\xb7\xad\x6b\x71\x69\x20\x33\x31"
	below(request, 0)
	below("", 0)
	return out.String()
}

func TestTree(t *testing.T) {
	for name, test := range map[string]struct {
		attempts []job.Attempt
		want     string
	}{
		"cancelled while it waited": {nil, "RUN report 0-20\n  submit 0-1\n  queue 1-20\n"},
		"no times of parts": {[]job.Attempt{{Number: 1, StartedAt: at(3), FinishedAt: pointer(at(19))}},
			"RUN report 0-20\n  submit 0-1\n  queue 1-3\n  attempt 1 3-19\n"},
		"one machine": {[]job.Attempt{{Number: 1, StartedAt: at(3), FinishedAt: pointer(at(19)), Timing: &job.Timing{
			FetchStartedAt: at(4), FetchFinishedAt: at(5), ExecStartedAt: at(6), ExecFinishedAt: at(17),
			CollectFinishedAt: at(18)}}},
			"RUN report 0-20\n  submit 0-1\n  queue 1-3\n  attempt 1 3-19\n    fetch 1 4-5\n    exec 1 6-17\n    collect 1 17-18\n"},
		"a pod": {[]job.Attempt{{Number: 1, StartedAt: at(6), FinishedAt: pointer(at(19)), Timing: &job.Timing{
			FetchStartedAt: at(4), FetchFinishedAt: at(5), ExecStartedAt: at(7), ExecFinishedAt: at(19),
			CollectFinishedAt: at(22)}}},
			"RUN report 0-22\n  submit 0-1\n  queue 1-4\n  attempt 1 4-22\n    fetch 1 4-5\n    exec 1 7-19\n    collect 1 19-22\n"},
		"packages, on one machine": {[]job.Attempt{{Number: 1, PreparedFrom: pointer(at(2)), StartedAt: at(9),
			FinishedAt: pointer(at(19)), Timing: &job.Timing{FetchStartedAt: at(3), FetchFinishedAt: at(4),
				PrepareFinishedAt: at(8), ExecStartedAt: at(10), ExecFinishedAt: at(11)}}},
			"RUN report 0-20\n  submit 0-1\n  queue 1-2\n  prepare 1 2-8\n    fetch 1 3-4\n  attempt 1 9-19\n    exec 1 10-11\n"},
		"packages, in a pod": {[]job.Attempt{{Number: 1, StartedAt: at(9), FinishedAt: pointer(at(19)), Timing: &job.Timing{
			FetchStartedAt: at(3), FetchFinishedAt: at(4), PrepareFinishedAt: at(8)}}},
			"RUN report 0-20\n  submit 0-1\n  queue 1-3\n  prepare 1 3-8\n    fetch 1 3-4\n  attempt 1 9-19\n"},
		"two attempts": {[]job.Attempt{{Number: 1, StartedAt: at(3), FinishedAt: pointer(at(4))},
			{Number: 2, StartedAt: at(6), FinishedAt: pointer(at(7))}},
			"RUN report 0-20\n  submit 0-1\n  queue 1-3\n  attempt 1 3-4\n  attempt 2 6-7\n"},
		"a clock that is behind": {[]job.Attempt{{Number: 1, StartedAt: at(-5), FinishedAt: pointer(at(-4))}},
			"RUN report 0-20\n  submit 0-1\n  queue 1-1\n  attempt 1 0-0\n"},
	} {
		if diff := cmp.Diff(test.want, draw(spansOf(newLife(test.attempts...)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestSameSpans makes sure that a span that is sent twice is the same span, and that each has a valid
// ID of its own in the request's trace.
func TestSameSpans(t *testing.T) {
	life := newLife(job.Attempt{Number: 1, StartedAt: at(3), Reason: job.ReasonError, ExitCode: pointer(7)})
	first, again := spansOf(life), spansOf(life)
	seen := map[string]bool{}
	for i, s := range first {
		if !proto.Equal(s, again[i]) {
			t.Errorf("%s differs:\n%v\n%v", s.GetName(), s, again[i])
		}
		if fmt.Sprintf("%x", s.GetTraceId()) != parent[3:35] || s.GetTraceState() != "a=b" || len(s.GetSpanId()) != 8 ||
			seen[string(s.GetSpanId())] || s.GetFlags()&1 != 1 {
			t.Errorf("%s: %v", s.GetName(), s)
		}
		seen[string(s.GetSpanId())] = true
	}
	program := life.Index.In(job.SpanAttempt, 1).Parent
	if got := fmt.Sprintf("%x", first[3].GetSpanId()); got != program[36:52] {
		t.Errorf("the program continues %s, and its attempt's span is %s", program, got)
	}
	life.Index.Trace = job.Trace{}
	root := spansOf(life)[0]
	if traceID := life.Index.TraceID(); string(root.GetTraceId()) != string(traceID[:]) || len(root.GetParentSpanId()) > 0 {
		t.Errorf("without a request's trace: %v", root)
	}
}

// TestConventions holds attributes to what OpenTelemetry's conventions call them.
func TestConventions(t *testing.T) {
	attributes := func(s *tracepb.Span) map[string]string {
		got := map[string]string{}
		for _, a := range s.GetAttributes() {
			got[a.GetKey()] = a.GetValue().GetStringValue()
			if n := a.GetValue().GetIntValue(); n != 0 {
				got[a.GetKey()] = fmt.Sprint(n)
			}
		}
		got["status"] = s.GetStatus().GetCode().String()
		return got
	}
	spans := spansOf(newLife(job.Attempt{Number: 1, StartedAt: at(3), FinishedAt: pointer(at(9)), Reason: job.ReasonError,
		ExitCode: pointer(7), Timing: &job.Timing{ExecStartedAt: at(4), ExecFinishedAt: at(9)}}))
	for i, want := range map[int]map[string]string{
		0: {"cicd.pipeline.name": "report", "cicd.pipeline.run.id": string(id), "cicd.pipeline.action.name": "RUN",
			"cicd.pipeline.result": "failure", "error.type": "Error", "faas.invocation_id": string(id), "faas.name": "report",
			"faas.version": "3", "faas.trigger": "pubsub", "gojob.runtime": "python", "gojob.reason": "Error",
			"gojob.job.name": "nightly", "status": "STATUS_CODE_ERROR"},
		1: {"cicd.pipeline.task.name": "submit", "cicd.pipeline.task.run.id": string(id) + "/submit",
			"status": "STATUS_CODE_UNSET"},
		3: {"cicd.pipeline.task.name": "attempt", "cicd.pipeline.task.run.id": string(id) + "/attempt/1",
			"cicd.pipeline.task.run.result": "failure", "error.type": "Error", "gojob.attempt": "1", "gojob.reason": "Error",
			"status": "STATUS_CODE_ERROR"},
		4: {"cicd.pipeline.task.name": "exec", "cicd.pipeline.task.run.id": string(id) + "/exec/1", "gojob.attempt": "1",
			"process.exit.code": "7", "status": "STATUS_CODE_ERROR"},
	} {
		if diff := cmp.Diff(want, attributes(spans[i])); diff != "" {
			t.Errorf("span %d (-want +got):\n%s", i, diff)
		}
	}
	for want, end := range map[string]job.Terminal{
		"success": {Phase: job.Succeeded}, "cancellation": {Phase: job.Cancelled},
		"timeout": {Phase: job.Failed, Reason: job.ReasonDeadlineExceeded},
		"failure": {Phase: job.Failed, Reason: job.ReasonOOMKilled}, "error": {Phase: job.Failed, Reason: job.ReasonNodeLost},
	} {
		if got := resultOf(end.Phase, end.Reason); got != want {
			t.Errorf("%+v: got %s, want %s", end, got, want)
		}
	}
	for want, index := range map[string]job.Index{
		"RUN t": {Template: &job.Origin{Name: "t"}, Spec: job.Spec{Name: "n", Runtime: "node"}},
		"RUN n": {Spec: job.Spec{Name: "n", Runtime: "node"}}, "RUN node": {Spec: job.Spec{Runtime: "node"}},
	} {
		if got := runName(&index); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
