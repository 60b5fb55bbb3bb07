package front_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// newKey adds a key to a file, and returns it.
func newKey(t *testing.T, path string, q access.Request) string {
	t.Helper()
	file, err := access.OpenFile(path, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var text string
	if err := file.Update(context.Background(), func(ring *access.Keyring) error {
		var err error
		text, _, err = ring.Add(q, time.Now(), rand.Reader)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return text
}

// TestGateway sends requests with and without credentials. What comes to a function says who calls,
// in words that only the gateway can write.
func TestGateway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	user := newKey(t, path, access.Request{Name: "ci", Owner: "ann", Role: access.User})
	reader := newKey(t, path, access.Request{Name: "wall", Owner: "ann", Role: access.Read})
	w := newFixture(t, "AUTH=keys", "KEYS_FILE="+path, "EXPOSE_ARTIFACT_UPLOADS=true")
	tokens, err := token.Parse(tokenKeys)
	if err != nil {
		t.Fatal(err)
	}
	const id job.ID = "fe6aa1b2c3d4000102030405060708ff"
	ofJob, agent := tokens.Derive(token.User, id), tokens.Derive(token.Agent, id)
	// What the functions were sent.
	var caller access.Caller
	var called, asserted bool
	var authorization string
	w.answer = func(_ http.ResponseWriter, r *http.Request) {
		called, authorization = true, r.Header.Get("Authorization")
		if caller, asserted, err = access.ReadAssertion(r, tokens, time.Now()); err != nil {
			t.Error(err)
		}
	}
	jobPath := "/api/v1/jobs/" + string(id)
	ann := access.Caller{Owner: "ann", Role: access.User}
	for name, test := range map[string]struct {
		method, path, bearer string
		status               int
		caller               access.Caller // empty: none
	}{
		"nothing":                    {"GET", "/api/v1/jobs", "", 401, access.Caller{}},
		"a key":                      {"GET", "/api/v1/jobs", user, 200, ann},
		"a key, with a query":        {"GET", "/api/v1/jobs?limit=1", user, 200, ann},
		"a key, an escaped path":     {"GET", "/outputs/" + string(id) + "/a%20b%2Fc", user, 200, ann},
		"a key, a job":               {"GET", jobPath, user, 200, ann},
		"a key, to write":            {"POST", "/api/v1/jobs", user, 200, ann},
		"a key that may only read":   {"POST", "/api/v1/jobs", reader, 403, access.Caller{}},
		"a key of no admin":          {"GET", "/api/v1/keys", user, 403, access.Caller{}},
		"a key with a typo":          {"GET", "/api/v1/jobs", user + "x", 401, access.Caller{}},
		"a key for an agent's call":  {"GET", "/agent/v1/jobs/" + string(id) + "/log", user, 403, access.Caller{}},
		"a job's token":              {"GET", jobPath, ofJob, 200, access.Caller{}},
		"a job's token for the list": {"GET", "/api/v1/jobs", ofJob, 401, access.Caller{}},
		"another job's token":        {"GET", "/api/v1/jobs/" + strings.Repeat("0", 32), ofJob, 403, access.Caller{}},
		"an agent's token":           {"GET", "/agent/v1/jobs/" + string(id) + "/log", agent, 200, access.Caller{}},
		"an event of nobody":         {"POST", "/events", "", 401, access.Caller{}},
		"what anybody may":           {"GET", "/api/v1/server", "", 200, access.Caller{}},
		"what anybody may, a key":    {"GET", "/api/v1/server", user, 200, ann},
	} {
		t.Run(name, func(t *testing.T) {
			called, asserted, authorization = false, false, ""
			r := w.request(test.method, test.path, nil)
			r.Header.Set(access.AssertionHeader, "forged")
			if test.bearer != "" {
				r.Header.Set("Authorization", "Bearer "+test.bearer)
			}
			got, body := w.do(r)
			if got.StatusCode != test.status || called != (test.status == 200) {
				t.Fatalf("got %s %s, passed on %t, want %d", got.Status, body, called, test.status)
			}
			if asserted != (test.caller.Owner != "") || caller.Owner != test.caller.Owner && asserted {
				t.Errorf("the function is told that %+v calls (%t), want %+v", caller, asserted, test.caller)
			}
			if ofCaller := test.caller.Owner != ""; called && test.bearer != "" && (authorization == "") != ofCaller {
				t.Errorf("the function got %q", authorization)
			}
		})
	}
	for _, bearer := range []string{user, user + "x", ofJob} { // to a call that needs none
		called, authorization = false, ""
		r := w.request(http.MethodGet, "/api/v1/server", nil)
		r.Header.Set("Authorization", "Bearer "+bearer)
		if got, _ := w.do(r); got.StatusCode != http.StatusOK || !called || authorization != "" {
			t.Errorf("the answer is %s, and the function got %q", got.Status, authorization)
		}
	}
	for _, secret := range []string{user, reader, ofJob, agent} {
		if strings.Contains(w.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// TestOpenGateway lets everybody in, but for files, which need a token as in the service that this
// one grew from.
func TestOpenGateway(t *testing.T) {
	w := newFixture(t, "AUTH=open")
	tokens, err := token.Parse(tokenKeys)
	if err != nil {
		t.Fatal(err)
	}
	const id job.ID = "fe6aa1b2c3d4000102030405060708ff"
	ofJob := tokens.Derive(token.User, id)
	for name, test := range map[string]struct {
		path, bearer string
		status       int
	}{
		"the list":              {"/api/v1/jobs", "", 200},
		"a job":                 {"/api/v1/jobs/" + string(id), "", 200},
		"a job, another token":  {"/api/v1/jobs/" + string(id), "x", 200},
		"outputs, no token":     {"/outputs/" + string(id), "", 401},
		"outputs, a wrong one":  {"/outputs/" + string(id), "x", 403},
		"outputs, the job's":    {"/outputs/" + string(id), ofJob, 200},
		"uploaded, no token":    {"/artifacts/" + string(id) + "/a", "", 401},
		"uploaded, the job's":   {"/artifacts/" + string(id) + "/a", ofJob, 200},
		"the keys":              {"/api/v1/keys", "", 200},
		"an agent's call, none": {"/agent/v1/jobs/" + string(id) + "/log", "", 404},
	} {
		r := w.request(http.MethodGet, test.path, nil)
		if test.bearer != "" {
			r.Header.Set("Authorization", "Bearer "+test.bearer)
		}
		if got, body := w.do(r); got.StatusCode != test.status {
			t.Errorf("%s: got %s %s, want %d", name, got.Status, body, test.status)
		}
	}
	if !strings.Contains(w.log.String(), "AUTH=open") {
		t.Errorf("nobody is warned: %s", w.log)
	}
}

// TestMetrics makes sure that the gateway shows its own metrics to callers, and to nobody else.
func TestMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	reader := newKey(t, path, access.Request{Name: "prometheus", Owner: "ops", Role: access.Read})
	w := newFixture(t, "AUTH=keys", "KEYS_FILE="+path)
	read := func(key string) (int, string) {
		r := w.request("GET", "/metrics", nil)
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		got, body := w.do(r)
		return got.StatusCode, string(body)
	}
	if status, _ := read(""); status != http.StatusUnauthorized {
		t.Errorf("nobody got %d", status)
	}
	read(reader)
	status, text := read(reader)
	const want = `http_server_request_duration_seconds_count{http_request_method="GET",http_route="/metrics"} 2`
	if status != http.StatusOK || !strings.Contains(text, want) || strings.Contains(text, "gojob_jobs") {
		t.Errorf("got %d, without %s or with jobs:\n%s", status, want, text)
	}
}
