package job_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

const (
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	jobID  = job.ID("fe6aa1b2c3d4000102030405060708ff")
)

// TestNewTrace has what the recommendation says of valid and of other values.
func TestNewTrace(t *testing.T) {
	for name, test := range map[string]struct {
		parent, state string
		want          job.Trace
	}{
		"none":                 {},
		"valid":                {parent, "a=b", job.Trace{Parent: parent, State: "a=b"}},
		"a state alone":        {"", "a=b", job.Trace{}},
		"capitals":             {strings.ToUpper(parent), "", job.Trace{}},
		"cut off":              {parent[:54], "", job.Trace{}},
		"more, in version 00":  {parent + "-x", "", job.Trace{}},
		"more, in version 01":  {"01" + parent[2:] + "-x", "", job.Trace{Parent: "01" + parent[2:] + "-x"}},
		"version ff":           {"ff" + parent[2:], "", job.Trace{}},
		"a trace of zeros":     {"00-" + strings.Repeat("0", 32) + parent[35:], "", job.Trace{}},
		"a span of zeros":      {parent[:36] + strings.Repeat("0", 16) + "-01", "", job.Trace{}},
		"a state with a break": {parent, "a=b\n", job.Trace{Parent: parent}},
		"a state too long":     {parent, strings.Repeat("a", 513), job.Trace{Parent: parent}},
	} {
		if diff := cmp.Diff(test.want, job.NewTrace(test.parent, test.state)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestIn says what programs find in TRACEPARENT.
func TestIn(t *testing.T) {
	span := fmt.Sprintf("%x", job.SpanID(jobID, job.SpanAttempt, 2))
	for name, test := range map[string]struct {
		parent    string
		telemetry bool
		want      string // with an attempt's span where it has S, and the derived trace where it has T
	}{
		"no collector, no trace":     {"", false, ""},
		"no collector":               {parent, false, parent},
		"no trace":                   {"", true, "00-T-S-01"},
		"a trace":                    {parent, true, "00-0af7651916cd43dd8448eb211c80319c-S-01"},
		"not sampled":                {parent[:53] + "00", true, "00-0af7651916cd43dd8448eb211c80319c-S-00"},
		"random":                     {parent[:53] + "03", true, "00-0af7651916cd43dd8448eb211c80319c-S-03"},
		"flags of later versions":    {parent[:53] + "ff", true, "00-0af7651916cd43dd8448eb211c80319c-S-03"},
		"the format of a later time": {"01" + parent[2:] + "-x", true, "00-0af7651916cd43dd8448eb211c80319c-S-01"},
	} {
		index := &job.Index{JobID: jobID, Trace: job.NewTrace(test.parent, "")}
		if test.telemetry {
			index.Telemetry = &job.Telemetry{}
		}
		want := strings.NewReplacer("S", span, "T", fmt.Sprintf("%x", index.TraceID())).Replace(test.want)
		got := index.In(job.SpanAttempt, 2).Parent
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if got != "" && job.NewTrace(got, "").Parent != got {
			t.Errorf("%s: %q is not valid", name, got)
		}
	}
}

// TestIDs are the same in each version, since spans are sent again after an upgrade.
func TestIDs(t *testing.T) {
	index := &job.Index{JobID: jobID}
	got := fmt.Sprintf("%x %x %x", index.TraceID(), job.SpanID(jobID, job.SpanRun, 0), job.SpanID(jobID, job.SpanAttempt, 1))
	if want := "49707f2846f91887cabbd1ad71667885 4180143a7ac76c24 ad37b33c8bdb8a37"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	seen := map[string]bool{}
	for _, s := range []job.Span{job.SpanRun, job.SpanSubmit, job.SpanQueue, job.SpanPrepare, job.SpanAttempt,
		job.SpanFetch, job.SpanExec, job.SpanCollect} {
		for attempt := range 3 {
			seen[fmt.Sprintf("%x", job.SpanID(jobID, s, attempt))] = true
			seen[fmt.Sprintf("%x", job.SpanID(jobID[:31]+"0", s, attempt))] = true
		}
	}
	if len(seen) != 8*3*2 {
		t.Errorf("%d different IDs", len(seen))
	}
}
