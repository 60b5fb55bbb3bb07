package form_test

import (
	"errors"
	"strings"
	"testing"

	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
)

// TestSuggestions makes mistakes that people make.
func TestSuggestions(t *testing.T) {
	for part, want := range map[string]string{
		"entry_point=a":              "entrypoint",
		"Entrypoint=a":               "entrypoint",
		"ttl=60":                     "ttlSecondsAfterFinished",
		"timeout=60":                 "timeoutSeconds",
		"timeout_seconds=60":         "timeoutSeconds",
		"mem=1Gi":                    "memory",
		"environment={}":             "env",
		"label=a":                    "labels",
		"cpus=1":                     "cpu",
		"language=python":            "runtime",
		"retry=1":                    "retries",
		"file=x":                     "files",
		"completely-else=x":          "",
		"timeoutSeconds=10m":         "600",
		"ttlSecondsAfterFinished=7d": "604800",
		"retries=10m":                "",
		"memory=256MB":               "256M or 256Mi",
		"cpu=2000":                   "2000m",
		"labels=team=data":           `{"team":"data"}`,
		"labels=team=data,stage=x":   `{"stage":"x","team":"data"}`,
		"labels=team:data":           `{"team":"data"}`,
		"labels=team":                "",
		"env=A=b c=d":                `{"A":"b","c":"d"}`,
		`env={"A":1}`:                "",
		"args=--width 200":           `["--width","200"]`,
		"args=a,b":                   `["a","b"]`,
		`args=["a"`:                  "",
		"args=":                      "",
	} {
		_, err := form.NewReader(limits()).Read(request(t.Context(), encode(t, "runtime=python", "entrypoint=a", "@a=x",
			part)), job.Spec{}, saver{}.save)
		var faults *job.Faults
		if strings.HasPrefix(part, "entrypoint") || !errors.As(err, &faults) || len(faults.List) != 1 {
			t.Errorf("%s: %v, want one fault", part, err)
			continue
		}
		_, after, _ := strings.Cut(faults.List[0].Message, "did you mean ")
		if got := strings.TrimSuffix(after, "?"); got != want {
			t.Errorf("%s: suggests %q, want %q; the message is %q", part, got, want, faults.List[0].Message)
		}
	}
}
