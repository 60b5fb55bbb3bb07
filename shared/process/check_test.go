package process

import (
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
)

// TestCheckCPU lets a job ask for more CPUs than there are, but not for so many that a suffix must
// be missing.
func TestCheckCPU(t *testing.T) {
	h := &Host{Machine: runtimes.Detect(t.Context(), "", "")} // binary alone needs no interpreter
	for cpu, want := range map[string]string{"": "", "500m": "", "4": "", "64": "", "500": "did you mean 500m?",
		"1000": "did you mean 1000m?"} {
		err := h.Check(&job.Spec{Runtime: "binary", CPU: cpu})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("cpu=%s: %v, want %q", cpu, err, want)
		}
	}
}
