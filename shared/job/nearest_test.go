package job_test

import (
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
)

func TestNearest(t *testing.T) {
	list := []string{"python", "node", "java", "binary", "timeoutSeconds", "ttlSecondsAfterFinished", "entrypoint", "env",
		"arg", "args"}
	for word, want := range map[string]string{
		"python3": "python", "Python": "python", "PYTHON": "python", "pyhton": "python", "nod": "node", "nodejs": "node",
		"jav":         "java",
		"entry_point": "entrypoint", "entry-point": "entrypoint", "entrypoints": "entrypoint",
		"ttl":     "ttlSecondsAfterFinished",
		"timeout": "timeoutSeconds", "timeout_seconds": "timeoutSeconds", "argss": "args",
		"": "", "x": "", "ruby": "", "completely else": "", "go": "", strings.Repeat("python", 100_000): "",
	} {
		if got := job.Nearest(word, list); got != want {
			t.Errorf("%.40q: got %q, want %q", word, got, want)
		}
	}
	if got := job.Nearest("x", nil); got != "" {
		t.Errorf("of nothing %q", got)
	}
}
