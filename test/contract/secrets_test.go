package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/gcerrors"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
)

// secrets is the path at which the agent reads the secrets of the job.
func (s submitted) secrets() string { return "/agent/v1/jobs/" + string(s.JobID) + "/secrets" }

// testSecrets submits a job with secrets, and reads them as its agent.
func testSecrets(t *testing.T, f *functions, to *client) {
	const value = "hunter2hunter2"
	s := to.submit(t, script(t, "true", field{name: "secret.OWN", value: value}, field{name: "secret.AT", value: "@@x"}))
	agent := f.agent(s.JobID)
	answer := to.call(t, http.StatusOK, http.MethodGet, s.secrets(), agent)
	want := agentwire.Secrets{Values: map[string]string{"OWN": value, "AT": "@x"}}
	if diff := cmp.Diff(want, as[agentwire.Secrets](t, answer)); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	to.call(t, http.StatusBadRequest, http.MethodGet, s.secrets()+"?a=b", agent)
	to.call(t, http.StatusForbidden, http.MethodGet, s.secrets(), s.bearer())
	for _, path := range []string{s.path(), s.artifact("index.json")} {
		got := to.call(t, http.StatusOK, http.MethodGet, path, s.bearer())
		if text := string(got.body); !strings.Contains(text, `"secrets":[{"name":"AT"},{"name":"OWN"}]`) ||
			strings.Contains(text, value) {
			t.Errorf("%s: %s", path, text)
		}
	}
	missing := func(verb, key string) gcerrors.ErrorCode {
		if verb == "read" && strings.HasSuffix(key, "/secrets") {
			return gcerrors.NotFound
		}
		return gcerrors.OK
	}
	f.bucket.failing(missing, func() {
		contains(t, problem(t, to.call(t, http.StatusUnprocessableEntity, http.MethodGet, s.secrets(), agent)),
			"cannot be opened")
	})
	to.asAgent(t, http.StatusCreated, s, claim, record(t, map[string]string{"owner": "pod-1"}), agent)
	to.asAgent(t, http.StatusCreated, s, "PUT attempts/1/end", record(t, attempt(1)), agent)
	if got := to.status(t, s); got.Phase != job.Succeeded {
		t.Errorf("the job is %s", got.Phase)
	}
	to.call(t, http.StatusConflict, http.MethodGet, s.secrets(), agent)

	without := to.submit(t, script(t, "true"))
	empty := to.call(t, http.StatusOK, http.MethodGet, without.secrets(), f.agent(without.JobID))
	if string(empty.body) != `{"values":{}}`+"\n" {
		t.Errorf("without secrets: %s", empty.body)
	}
}
