package events_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// TestBounds has jobs come in by every way but a form: from templates that were made when there
// were no bounds, and with an event.
func TestBounds(t *testing.T) {
	w := newServer(t)
	plain := w.PutTemplate("plain", "", script()...)
	large := w.PutTemplate("large", plain.Owner, script(field("memory", "2Gi"), field("cpu", "4"),
		field("timeoutSeconds", "900"))...)
	w.Restart(admissiontest.Setting("DEFAULT_MEMORY", "256Mi"), admissiontest.Setting("MAX_MEMORY", "1Gi"),
		admissiontest.Setting("MAX_CPU", "2"), admissiontest.Setting("MAX_TIMEOUT_SECONDS", "600"))
	for way, id := range map[string]job.ID{
		"by hand":   w.Accepted(w.StartTemplate("plain", plain.Owner)).JobID,
		"event":     started(w, send(w, "?template=plain", "{}", eventHeader("1")...)),
		"requested": started(w, send(w, "", requestData(), requestHeader("1")...)),
	} {
		spec := w.Index(id).Spec
		want := job.Spec{Memory: "256Mi", CPU: "2", TimeoutSeconds: 600}
		got := job.Spec{Memory: spec.Memory, CPU: spec.CPU, TimeoutSeconds: spec.TimeoutSeconds}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", way, diff)
		}
	}
	for way, got := range map[string]admissiontest.Reply{
		"by hand":   w.StartTemplate("large", large.Owner),
		"event":     send(w, "?template=large", "{}", eventHeader("2")...),
		"requested": send(w, "", requestData(`"memory":"2Gi","cpu":"4","timeoutSeconds":900,`), requestHeader("2")...),
	} {
		t.Run(way, func(t *testing.T) { w.WantFaults(got, "cpu", "memory", "timeoutSeconds") })
	}
	put := w.Call(http.MethodPut, "/api/v1/templates/more", encode(script(field("memory",
		"1025Mi"))...), "Content-Type", formtest.ContentType)
	w.WantFaults(put, "memory")
	for _, part := range []string{"1025Mi", "1Gi", "MAX_MEMORY"} {
		if !strings.Contains(string(put.Text), part) {
			t.Errorf("%q is not named: %s", part, put.Text)
		}
	}
}
