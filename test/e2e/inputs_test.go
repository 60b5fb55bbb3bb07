//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestInputs reads, runs again and looks for jobs by their names.
func TestInputs(t *testing.T) {
	s := installed(t)
	const sums = `wc -c; head -c 3 /dev/stdin; (echo x >/dev/stdin) 2>/dev/null; echo; echo "$@"; exit 0`
	input := strings.Repeat("line\n", 200_000)
	j := s.submit(t, shell(sums, "stdin="+input, "name=E2E sums", `args=["one"]`))
	end := j.ends("Succeeded", "Completed")
	if got := strings.TrimSpace(j.logs("")); got != "1000000\nlin\none" {
		t.Errorf("it wrote %q", got)
	}
	if end.Outputs == nil || end.Outputs.Count != 2 {
		t.Errorf("outputs %+v", end.Outputs)
	}
	if got := j.get("/artifacts/" + j.ID + "/.stdin"); got != input {
		t.Errorf("%d bytes of stdin come back", len(got))
	}
	if got := j.get("/api/v1/jobs?name=E2E+sums"); !strings.Contains(got, j.ID) {
		t.Errorf("list by name: %s", got)
	}
	if got := kube(t, "get", "job", j.Name, "-n", namespace, "-o",
		`jsonpath={.metadata.annotations.go-job-orchestrator\.github\.io/name}`); got != "E2E sums" {
		t.Errorf("annotation %q", got)
	}
	again := j.again(`args=["two"]`, "name=E2E again")
	again.ends("Succeeded", "Completed")
	if got := strings.TrimSpace(again.logs("")); got != "1000000\nlin\ntwo" {
		t.Errorf("once more it wrote %q", got)
	}
	if got := again.get("/api/v1/jobs/" + again.ID); !strings.Contains(got, `"rerunOf":"`+j.ID+`"`) {
		t.Errorf("rerun: %s", got)
	}
	// A program that reads nothing of what there is ends as well.
	s.submit(t, shell("exit 0", "stdin="+input)).ends("Succeeded", "Completed")
}

// again runs a job once more, with other fields.
func (r *run) again(fields ...string) *run {
	r.t.Helper()
	var body bytes.Buffer
	w := newForm(&body)
	f := form{}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		f.fields = append(f.fields, [2]string{key, value})
	}
	if err := f.write(w); err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/api/v1/jobs/"+r.ID+"/rerun", &body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	r.authorize(req)
	resp, text := r.do(r.t, req)
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("rerun: %s: %s", resp.Status, text)
	}
	next := &run{t: r.t, service: r.service}
	if err := json.Unmarshal(text, next); err != nil {
		r.t.Fatal(err)
	}
	return next
}

// TestRetryOn has programs end in ways that are retried and in others. Kubernetes makes as many pods
// as there are attempts, and its Job is over when the job is.
func TestRetryOn(t *testing.T) {
	s := installed(t)
	const second = `echo "$JOB_ATTEMPT"; test "$JOB_ATTEMPT" = 1 && exit 3; exit 4`
	hog := `echo "$JOB_ATTEMPT"; x=x; while :; do x="$x$x"; done`
	for name, test := range map[string]struct {
		job      form
		reason   string
		attempts int
		pods     int // 0: it depends on what Kubernetes sees first
	}{
		"another code":        {shell("exit 4", "retries=3", `retryOn=["3","OOMKilled"]`), "Error", 1, 1},
		"the code":            {shell(second, "retries=3", `retryOn=["1-3"]`), "Error", 2, 2},
		"any failure":         {shell("exit 9", "retries=1", `retryOn=["Error"]`), "Error", 2, 2},
		"no memory":           {shell(hog, "memory=32Mi", "retries=1", `retryOn=["OOMKilled"]`), "OOMKilled", 2, 2},
		"no memory, no retry": {shell(hog, "memory=32Mi", "retries=1", `retryOn=["1-100"]`), "OOMKilled", 1, 0},
		"cannot be run": {script("binary", "run", "#!/nowhere\n", "retries=3", `retryOn=["Error"]`), "ContainerCannotRun",
			1, 1},
		"by default": {shell("exit 9", "retries=1"), "Error", 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := s.submit(t, test.job)
			end := j.ends("Failed", test.reason)
			if len(end.Attempts) != test.attempts {
				t.Errorf("%d attempts, want %d: %+v", len(end.Attempts), test.attempts, end)
			}
			until(t, time.Minute, "the Job has failed", func() bool {
				return kube(t, "get", "job", j.Name, "-n", namespace, "-o",
					`jsonpath={.status.conditions[?(@.type=="Failed")].status}`) == "True"
			})
			pods := strings.Fields(kube(t, "get", "pods", "-n", namespace, "-l", "job-name="+j.Name, "-o", "name"))
			if test.pods > 0 && len(pods) != test.pods {
				t.Errorf("%d pods, want %d", len(pods), test.pods)
			}
		})
	}
	t.Run("deleted pods", func(t *testing.T) {
		for on, attempts := range map[string]int{`["Interrupted"]`: 2, `["3"]`: 1} {
			t.Run(on, func(t *testing.T) {
				t.Parallel()
				j := s.submit(t, shell(`echo "begun $JOB_ATTEMPT"; test "$JOB_ATTEMPT" = 2 || exec sleep 1000`, "retries=1",
					"retryOn="+on))
				until(t, patience, "the program runs", func() bool { return strings.Contains(j.logs(""), "begun 1") })
				kube(t, "delete", "pod", "-n", namespace, "-l", "job-name="+j.Name, "--wait=false")
				var end status
				if attempts == 2 {
					end = j.ends("Succeeded", "Completed")
				} else {
					end = j.ends("Failed", "Interrupted")
				}
				if len(end.Attempts) != attempts {
					t.Errorf("%d attempts, want %d: %+v", len(end.Attempts), attempts, end)
				}
			})
		}
	})
}
