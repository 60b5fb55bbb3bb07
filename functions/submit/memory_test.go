package submit_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
)

func TestMain(m *testing.M) { admissiontest.Main(m, openAll) }

// TestMemory uploads 256 MiB to a server in a process of its own, and looks at the most memory that
// it ever had.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 256 MiB")
	}
	pid, addr := admissiontest.Process(t)
	idle := admissiontest.Peak(t, pid)
	const size, limit = 256 << 20, 32 << 20
	whole := encode(script(file("large", ""))...)
	body := io.MultiReader(
		strings.NewReader(strings.TrimSuffix(whole, "\r\n--"+formtest.Boundary+"--\r\n")),
		io.LimitReader(formtest.Zeros{}, size),
		strings.NewReader("\r\n--"+formtest.Boundary+"--\r\n"),
	)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, addr+"/api/v1/jobs", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", formtest.ContentType)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	answer, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != http.StatusCreated {
		t.Fatalf("got %s: %s (%v)", got.Status, answer, err)
	}
	after := admissiontest.Peak(t, pid)
	t.Logf("idle %.1f MiB, after 256 MiB %.1f MiB", float64(idle)/(1<<20), float64(after)/(1<<20))
	if after-idle >= limit {
		t.Errorf("memory rose by %.1f MiB, want less than %d", float64(after-idle)/(1<<20), limit>>20)
	}
}
