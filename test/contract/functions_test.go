package contract

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocloud.dev/gcerrors"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/token"
)

// testFunctions makes the agent's calls, and the calls of users, without a launcher, so that jobs
// proceed only as the test wants.
func testFunctions(t *testing.T, c *contract) {
	f := startFunctions(t, map[string]string{"MAX_OUTPUT_BYTES": "1Mi", "PROFILES_FILE": profilesFile(t)})
	to := f.client(c)
	t.Run("agent", func(t *testing.T) { testAgent(t, f, to) })
	t.Run("retry", func(t *testing.T) { testRetry(t, f, to) })
	t.Run("secrets", func(t *testing.T) { testSecrets(t, f, to) })
	t.Run("placed", func(t *testing.T) { testPlaced(t, to) })
	t.Run("profiled", func(t *testing.T) { testProfiled(t, to) })
	t.Run("refused uploads", func(t *testing.T) { testRefusedUploads(t, f, to) })
	t.Run("follow all jobs", func(t *testing.T) { testFollowJobs(t, to) })
	t.Run("credentials", func(t *testing.T) { testCredentials(t, f, to) })
	t.Run("callers", func(t *testing.T) { testCallers(t, f, to) })
	t.Run("keys", func(t *testing.T) { testKeys(t, f, to) })
	t.Run("shared", func(t *testing.T) { testShared(t, to) })
	t.Run("storage", func(t *testing.T) { testStorage(t, f, to) })
	t.Run("links", func(t *testing.T) { testLinks(t, c) })
	t.Run("packages", func(t *testing.T) { testPackages(t, c) })
	t.Run("package indexes", func(t *testing.T) { testIndexes(t, c) })
	t.Run("slow ends", func(t *testing.T) { testSlowEnds(t, f, to) })
	t.Run("lost ID", func(t *testing.T) { testLostID(t, c) })
	t.Run("refused templates", func(t *testing.T) { testRefusedTemplates(t, c) })
	t.Run("examples", func(t *testing.T) { testFormExamples(t, c, to) })
}

// upload is the path that the agent sends a file to.
func (s submitted) upload(name string) string { return s.artifact("upload/" + name) }

// agent is the method and the path of one of the agent's own calls, which is named by its method
// and what follows the job in its path. A name without a method is that of an output.
func (s submitted) agent(name string) (method, path string) {
	method, rest, call := strings.Cut(name, " ")
	if !call {
		return http.MethodPut, s.upload(name)
	}
	return method, "/agent/v1/jobs/" + string(s.JobID) + "/" + rest
}

// asAgent makes one of the agent's calls.
func (c *client) asAgent(t *testing.T, want int, s submitted, name string, options ...option) *reply {
	t.Helper()
	method, path := s.agent(name)
	return c.call(t, want, method, path, options...)
}

// logPath is a path at which the agent reads the log of earlier attempts.
func (s submitted) logPath(rest string) string {
	return "/agent/v1/jobs/" + string(s.JobID) + "/log" + rest
}

// attempt is the record of an attempt that ended well.
func attempt(number int) job.Attempt {
	now, code := time.Now().UTC(), 0
	return job.Attempt{Number: number, StartedAt: now, FinishedAt: &now, ExitCode: &code, Reason: job.ReasonCompleted}
}

func stored(name, content string) job.File {
	sum := sha256.Sum256([]byte(content))
	return job.File{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

const (
	claim    = "POST attempts"
	segment  = "PUT log/segments/000000000000-000000000000"
	logOrder = "PUT log/order"
	link     = "POST links"
)

// piece is a segment of a log with so many bytes of each stream, stdout first.
func piece(stdout, stderr string) option {
	end := spool.Position{Stdout: int64(len(stdout)), Stderr: int64(len(stderr))}
	records := spool.Record{At: time.Now(), Attempt: 1, End: end}.Encode()
	line := fmt.Sprintf(`{"stdout":0,"stderr":0,"records":"%s"}`, base64.StdEncoding.EncodeToString(records))
	return octets(line + "\n" + stdout + stderr)
}

func testAgent(t *testing.T, f *functions, to *client) {
	s := to.submit(t, script(t, "true"))
	agent := f.agent(s.JobID)
	put := func(want int, name string, options ...option) *reply {
		t.Helper()
		return to.asAgent(t, want, s, name, append(options, agent)...)
	}
	to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), agent)
	to.call(t, http.StatusOK, http.MethodGet, s.artifact("run"), agent)

	mine := map[string]any{"owner": "pod-1", "limits": job.Limits{CPU: "none", Memory: "256Mi"}}
	put(http.StatusConflict, "PUT attempts/1/end", record(t, attempt(1)))
	put(http.StatusCreated, claim, record(t, mine))
	put(http.StatusCreated, claim, record(t, mine))
	contains(t, problem(t, put(http.StatusServiceUnavailable, claim, record(t, map[string]string{"owner": "pod-2"}))),
		"attempt 1")
	if got := to.status(t, s); got.Phase != job.Running || got.Attempts[0].Limits == nil {
		t.Errorf("claimed job: got %+v", got)
	}

	put(http.StatusNoContent, segment, piece("hello\n", ""))
	log := to.call(t, http.StatusOK, http.MethodGet, s.path()+"/logs", s.bearer())
	if string(log.body) != "hello\n" || log.Trailer.Get("Log-Position") != "6" {
		t.Errorf("log: got %q up to %s", log.body, log.Trailer.Get("Log-Position"))
	}

	output := stored("report/table.csv", "a,b\n1")
	sum, _ := hex.DecodeString(output.SHA256)
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":"
	got := as[job.File](t, put(http.StatusCreated, "report%2Ftable.csv", octets("a,b\n1"),
		header("Content-Digest", digest)))
	if got != output {
		t.Errorf("upload: got %+v, want %+v", got, output)
	}
	put(http.StatusUnprocessableEntity, "report%2Ftable.csv", octets("a,b\n2"), header("Repr-Digest", digest))
	put(http.StatusBadRequest, "report%2Ftable.csv", octets("a,b\n1"), header("Content-Digest", "sha-256=:AAAA:"))

	// without SIGNED_URL_TTL
	put(http.StatusNotFound, link, record(t, agentwire.LinkRequest{Name: "report/table.csv", Size: 5}))

	order := string(spool.Record{At: time.Now(), Attempt: 1, End: spool.Position{Stdout: 6}}.Encode())
	put(http.StatusNoContent, logOrder, octets(order))
	put(http.StatusNoContent, logOrder, octets(order))
	list := agentwire.Manifest{Files: []job.File{output}}
	put(http.StatusCreated, "PUT outputs", record(t, list))
	put(http.StatusCreated, "PUT outputs", record(t, list))
	put(http.StatusConflict, "PUT outputs", record(t, agentwire.Manifest{Files: []job.File{}}))
	put(http.StatusConflict, "late.txt", octets(""))
	put(http.StatusConflict, logOrder, octets(order))
	put(http.StatusNoContent, "PUT attempts/1/report", record(t, agentwire.Report{Attempt: attempt(1), Manifest: list}))
	put(http.StatusCreated, "PUT attempts/1/end", record(t, attempt(1)))
	if got := to.status(t, s); got.Phase != job.Succeeded {
		t.Errorf("phase: got %s, want that of the last attempt", got.Phase)
	}
	for name, body := range map[string]option{
		"late.txt": octets(""), segment: octets("{}\n"), logOrder: octets(order), "PUT outputs": record(t, list),
		claim: record(t, mine), "PUT attempts/1/end": record(t, attempt(1)),
		"PUT attempts/1/report": record(t, agentwire.Report{Attempt: attempt(1), Manifest: list}),
	} {
		contains(t, problem(t, put(http.StatusConflict, name, body)), "is over")
	}
	testDownload(t, to, s.output("report/table.csv"), s.bearer(), "a,b\n1")
	testDownload(t, to, s.artifact("run"), agent, "#!/bin/sh\ntrue\n")
	to.call(t, http.StatusNotFound, http.MethodGet, s.output("none"), s.bearer())
	to.call(t, http.StatusNotFound, http.MethodGet, s.artifact("none"), s.bearer())
	to.call(t, http.StatusBadRequest, http.MethodGet, s.output("report/table.csv")+"?format=zip", s.bearer())
}

// testRetry is a job whose second attempt goes on with the log of the first, and is then stopped by
// the user.
func testRetry(t *testing.T, f *functions, to *client) {
	s := to.submit(t, script(t, "false", field{name: "retries", value: "1"}))
	agent := f.agent(s.JobID)
	put := func(want int, name string, body option) *reply {
		t.Helper()
		return to.asAgent(t, want, s, name, body, agent)
	}
	type state struct{ Next, Stdout, Stderr int }
	get := func() state {
		return as[state](t, to.call(t, http.StatusOK, http.MethodGet, s.logPath(""), agent))
	}
	if got := get(); got != (state{}) {
		t.Errorf("before the first attempt: got %+v", got)
	}
	put(http.StatusCreated, claim, record(t, map[string]string{"owner": "pod-1"}))
	put(http.StatusNoContent, segment, piece("hello\n", "bad"))
	failed := attempt(1)
	failed.Reason = job.ReasonError
	put(http.StatusCreated, "PUT attempts/1/end", record(t, failed))
	if got := to.status(t, s); got.Phase != job.Running || got.Reason != job.ReasonRetrying {
		t.Errorf("after the first attempt: got %s (%s)", got.Phase, got.Reason)
	}

	if got, want := get(), (state{1, 6, 3}); got != want {
		t.Errorf("log: got %+v, want %+v", got, want)
	}
	for stream, want := range map[string]string{"stdout": "hello\n", "stderr": "bad"} {
		path := s.logPath("/streams/" + stream)
		if got := to.call(t, http.StatusOK, http.MethodGet, path, agent); string(got.body) != want {
			t.Errorf("%s: got %q, want %q", stream, got.body, want)
		}
		to.call(t, http.StatusForbidden, http.MethodGet, path, s.bearer())
	}
	if got := to.call(t, http.StatusOK, http.MethodGet, s.logPath("/order"), agent); len(got.body) != 2*spool.RecordSize {
		t.Errorf("order: got %q, want a record of each stream", got.body)
	}
	for _, rest := range []string{"?stream=stdout", "?%zz", "/streams/stdin", "/streams/stdout?tail=1",
		"/streams/stdout?%zz", "/order?tail=1"} {
		to.call(t, http.StatusBadRequest, http.MethodGet, s.logPath(rest), agent)
	}
	for _, name := range []string{"status.json", "results"} { // these are names of files, and there are none
		to.call(t, http.StatusNotFound, http.MethodGet, s.artifact(name), s.bearer())
	}

	second := as[job.Attempt](t, put(http.StatusCreated, claim, record(t, map[string]string{"owner": "pod-2"})))
	if second.Number != 2 {
		t.Errorf("second attempt: got %+v", second)
	}
	stopped := agentwire.Report{Attempt: attempt(2), Manifest: agentwire.Manifest{Files: []job.File{}}}
	stopped.Attempt.Reason, stopped.Attempt.Message = job.ReasonInterrupted, "ended by SIGTERM"
	put(http.StatusNoContent, "PUT attempts/2/report", record(t, stopped))
	if got := to.status(t, s); got.Phase != job.Running {
		t.Errorf("after a report: got %s (%s)", got.Phase, got.Reason)
	}
	if err := f.ledger().RequestCancel(t.Context(), s.JobID); err != nil {
		t.Fatal(err)
	}
	ended := as[job.Attempt](t, put(http.StatusCreated, "PUT attempts/2/report", record(t, stopped)))
	if got := to.status(t, s); got.Phase != job.Cancelled || ended.Reason != job.ReasonCancelled {
		t.Errorf("a report after a cancellation: got %+v, and %s", ended, got.Phase)
	}
	put(http.StatusConflict, claim, record(t, map[string]string{"owner": "pod-3"}))
}

// testPlaced is a job that says where on Kubernetes it is to run.
func testPlaced(t *testing.T, to *client) {
	s := to.submit(t, script(t, "true", field{name: "image", value: "alpine:3.22"}, field{name: "queue", value: "team-a"}))
	if got := to.status(t, s); got.Image != "alpine:3.22" || got.Queue == nil || got.Queue.Name != "team-a" {
		t.Errorf("got image %q and queue %+v", got.Image, got.Queue)
	}
	index := as[job.Index](t, to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), s.bearer()))
	if index.Queue != "team-a" {
		t.Errorf("index: got queue %q", index.Queue)
	}
	v := to.put(t, "placed", script(t, "true", field{name: "image", value: "alpine:3.22"},
		field{name: "queue", value: "team-a"}))
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, v.path()).body), `"queue":"team-a"`)
	whole := map[string]any{
		"runtime": "binary", "entrypoint": "run", "image": "alpine:3.22", "queue": "team-a",
		"files": []map[string]string{{"name": "run", "content": "IyEvYmluL3NoCmVjaG8gaGVsbG8K"}},
	}
	got := to.accepted(t, "/events", cloudEvent("placed", "io.github.go-job-orchestrator.job.requested.v1", whole))
	s = as[submitted](t, to.call(t, http.StatusOK, http.MethodGet, got.Header.Get("Location")+"/token"))
	if got := to.status(t, s); got.Queue == nil || got.Queue.Name != "team-a" {
		t.Errorf("requested by an event: got queue %+v", got.Queue)
	}
	for _, bad := range []string{"Team", "-a", "a.b", strings.Repeat("a", 64)} {
		got := to.call(t, http.StatusUnprocessableEntity, http.MethodPost, "/api/v1/jobs",
			script(t, "true", field{name: "queue", value: bad}))
		contains(t, problem(t, got), "LocalQueue")
	}
}

// testProfiled is a job with one of the operator's profiles.
func testProfiled(t *testing.T, to *client) {
	type described struct {
		Profiles []struct{ Name string }
	}
	got := as[described](t, to.call(t, http.StatusOK, http.MethodGet, "/api/v1/server"))
	if len(got.Profiles) != 2 || got.Profiles[0].Name != "gpu" || got.Profiles[1].Name != "small" {
		t.Errorf("got the profiles %v", got.Profiles)
	}
	gpu := script(t, "true", field{name: "profile", value: "gpu"})
	s := to.submit(t, gpu)
	if got := to.status(t, s); got.Profile != "gpu" || got.CPU != "900m" {
		t.Errorf("got profile %q and cpu %q", got.Profile, got.CPU)
	}
	index := as[job.Index](t, to.call(t, http.StatusOK, http.MethodGet, s.artifact("index.json"), s.bearer()))
	if index.Profile != "gpu" {
		t.Errorf("index: got profile %q", index.Profile)
	}
	v := to.put(t, "profiled", gpu)
	contains(t, string(to.call(t, http.StatusOK, http.MethodGet, v.path()).body), `"profile":"gpu"`)
	whole := map[string]any{
		"runtime": "binary", "entrypoint": "run", "profile": "small",
		"files": []map[string]string{{"name": "run", "content": "IyEvYmluL3NoCmVjaG8gaGVsbG8K"}},
	}
	answer := to.accepted(t, "/events", cloudEvent("profiled", "io.github.go-job-orchestrator.job.requested.v1", whole))
	s = as[submitted](t, to.call(t, http.StatusOK, http.MethodGet, answer.Header.Get("Location")+"/token"))
	if got := to.status(t, s); got.Profile != "small" {
		t.Errorf("requested by an event: got profile %q", got.Profile)
	}
	for value, part := range map[string]string{"gpux": "did you mean gpu?", "A": "is not the name of a profile"} {
		got := to.call(t, http.StatusUnprocessableEntity, http.MethodPost, "/api/v1/jobs",
			script(t, "true", field{name: "profile", value: value}))
		contains(t, problem(t, got), part)
	}
}

// profilesFile writes the profiles that testProfiled needs.
func profilesFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(path, []byte(`profiles:
  gpu: {description: A large one, defaults: {cpu: 900m, memory: 512Mi, timeoutSeconds: 60}, max: {cpu: 2}}
  small: {}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func testRefusedUploads(t *testing.T, f *functions, to *client) {
	s := to.submit(t, script(t, "true"))
	agent := f.agent(s.JobID)
	to.asAgent(t, http.StatusCreated, s, claim, record(t, map[string]string{"owner": "pod-1"}), agent)
	for name, test := range map[string]struct {
		limit   int
		invalid map[string]option // by name
	}{
		"a": {1 << 20, map[string]option{"a%2F..%2Fb": octets(""), ".job": octets(""), ".job%2Fnone": octets(""),
			strings.Repeat("a", 300): octets("")}},
		segment: {12 << 20, map[string]option{
			"PUT log/segments/1": octets("{}\n"), "PUT log/segments/000000000001-000000000000": octets("{}\n"),
		}},
		logOrder: {96 << 20, nil},
		claim: {1 << 20, map[string]option{
			claim: record(t, map[string]string{"owner": ""}),
		}},
		"PUT attempts/1/end": {1 << 20, map[string]option{
			"PUT attempts/1/end": record(t, attempt(2)), "PUT attempts/2/end": record(t, job.Attempt{Number: 2}),
		}},
		"PUT outputs": {16 << 20, map[string]option{
			"PUT outputs": record(t, agentwire.Manifest{Files: []job.File{stored("not there", "")}}),
		}},
		"PUT attempts/1/report": {16 << 20, map[string]option{
			"PUT attempts/1/report": record(t, agentwire.Report{Attempt: attempt(1),
				Manifest: agentwire.Manifest{Files: []job.File{stored("not there", "")}}}),
			"PUT attempts/2/report": record(t, agentwire.Report{Attempt: attempt(1)}),
		}},
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, to, agent, s, name, test.limit, test.invalid) })
	}
	for _, name := range []string{"PUT none", "PUT attempts/1/start"} {
		to.asAgent(t, http.StatusNotFound, s, name, octets(""), agent)
	}
}

// wantRefused sends uploads that must be refused: larger than the limit, encoded, a part of a file,
// and the invalid ones, by name.
func wantRefused(
	t *testing.T, to *client, agent option, s submitted, name string, limit int, invalid map[string]option,
) {
	t.Helper()
	large := blanks(int64(limit) + 1)
	contains(t, problem(t, to.asAgent(t, http.StatusRequestEntityTooLarge, s, name, large, agent)), fmt.Sprint(limit))
	to.asAgent(t, http.StatusUnsupportedMediaType, s, name, octets("x"), header("Content-Encoding", "gzip"), agent)
	to.asAgent(t, http.StatusBadRequest, s, name, octets("x"), header("Content-Range", "bytes 0-0/2"), agent)
	for name, body := range invalid {
		to.asAgent(t, http.StatusUnprocessableEntity, s, name, body, agent)
	}
}

// testLinks has files and outputs move by URLs of the bucket.
func testLinks(t *testing.T, c *contract) {
	f := startFunctions(t, map[string]string{"MAX_OUTPUT_BYTES": "1Mi", "SIGNED_URL_TTL": "5m"})
	to := f.client(c)
	s := to.submit(t, script(t, "true"))
	agent := f.agent(s.JobID)
	request := func(name string, size int64) option { return record(t, agentwire.LinkRequest{Name: name, Size: size}) }
	redirected := func(path, to string, got *reply) {
		t.Helper()
		if at := got.Header.Get("Location"); !strings.HasPrefix(at, "https://bucket.example/"+string(s.JobID)) ||
			!strings.HasSuffix(at, to+"?signature=GET") {
			t.Errorf("%s: Location %q", path, at)
		}
	}
	redirected("artifact", "run", to.call(t, http.StatusTemporaryRedirect, http.MethodGet, s.artifact("run"), s.bearer()))
	to.call(t, http.StatusOK, http.MethodHead, s.artifact("run"), s.bearer())

	got := as[agentwire.Link](t, to.asAgent(t, http.StatusCreated, s, link, request("a", 1), agent))
	if !strings.HasSuffix(got.URL, "a?signature=PUT") {
		t.Errorf("link %+v", got)
	}
	wantRefused(t, to, agent, s, link, 1<<20, map[string]option{link: request("../a", 1)})
	to.asAgent(t, http.StatusRequestEntityTooLarge, s, link, request("a", 1<<20+1), agent)
	op := agentOperation(link, request("a", 1), false)
	wantCredentials(t, f, to, op)
	wantStorage(t, f, to, op)

	to.call(t, http.StatusCreated, http.MethodPut, s.upload("a"), octets("a"), agent)
	to.asAgent(t, http.StatusCreated, s, "PUT outputs",
		record(t, agentwire.Manifest{Files: []job.File{stored("a", "a")}}), agent)
	redirected("output", "a", to.call(t, http.StatusTemporaryRedirect, http.MethodGet, s.output("a"), s.bearer()))
	to.asAgent(t, http.StatusConflict, s, link, request("b", 1), agent)
}

// operation is a call that needs a token.
type operation struct {
	method string
	path   func(s submitted) string
	body   option
	job    option // what is submitted for it; nil: a script
	agent  bool   // whether the token is the agent's
	begun  bool   // whether it needs an attempt that has begun
	writes bool
}

func authorized(t *testing.T) []operation {
	t.Helper()
	var list []operation
	read := func(rest string) {
		list = append(list, operation{method: http.MethodGet, path: func(s submitted) string { return s.logPath(rest) },
			agent: true})
	}
	at := func(method string, path func(s submitted) string) {
		list = append(list, operation{method: method, path: path, writes: method == http.MethodPost ||
			method == http.MethodDelete})
	}
	put := func(name string, body option, begun bool) {
		list = append(list, agentOperation(name, body, begun))
	}
	list = append(list, operation{method: http.MethodGet, path: submitted.secrets, agent: true})
	at(http.MethodGet, submitted.path)
	at(http.MethodDelete, submitted.path)
	at(http.MethodPost, func(s submitted) string { return s.path() + "/cancel" })
	list = append(list, operation{method: http.MethodPost, path: func(s submitted) string { return s.path() + "/share" }})
	at(http.MethodGet, func(s submitted) string { return s.path() + "/logs" })
	at(http.MethodGet, func(s submitted) string { return s.path() + "/events" })
	at(http.MethodGet, submitted.outputs)
	at(http.MethodHead, submitted.outputs)
	at(http.MethodGet, func(s submitted) string { return s.output("stdout.log") })
	at(http.MethodHead, func(s submitted) string { return s.output("stdout.log") })
	at(http.MethodGet, func(s submitted) string { return s.artifact("run") })
	at(http.MethodHead, func(s submitted) string { return s.artifact("run") })
	at(http.MethodGet, func(s submitted) string { return s.artifact("index.json") })
	read("")
	read("/streams/stdout")
	read("/order")
	put("a", octets("a"), false)
	put(segment, octets("{}\n"), false)
	put(logOrder, octets(""), false)
	put(claim, record(t, map[string]string{"owner": "pod-1"}), false)
	put("PUT attempts/1/end", record(t, attempt(1)), true)
	put("PUT outputs", record(t, agentwire.Manifest{Files: []job.File{}}), true)
	put("PUT attempts/1/report",
		record(t, agentwire.Report{Attempt: attempt(1), Manifest: agentwire.Manifest{Files: []job.File{}}}), true)
	return list
}

// agentOperation is a call with which the agent sends something.
func agentOperation(name string, body option, begun bool) operation {
	method, _ := submitted{}.agent(name)
	path := func(s submitted) string { _, path := s.agent(name); return path }
	return operation{method: method, path: path, body: body, agent: true, begun: begun, writes: true}
}

// call makes the operation's call for a job.
func (o operation) call(t *testing.T, to *client, want int, s submitted, credentials ...option) {
	t.Helper()
	if o.body != nil {
		credentials = append(credentials, o.body)
	}
	to.call(t, want, o.method, o.path(s), credentials...)
}

func (o operation) token(f *functions, id job.ID) option {
	if o.agent {
		return f.agent(id)
	}
	return bearer(f.keys.Derive(token.User, id))
}

// testFollowJobs follows all jobs for a while.
func testFollowJobs(t *testing.T, to *client) {
	to.call(t, http.StatusBadRequest, http.MethodGet, "/api/v1/jobs/events?limit=1")
	s := to.submit(t, script(t, "true"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	got, err := to.try(ctx, http.MethodGet, "/api/v1/jobs/events")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(got.body), `data: {"jobID":"`+string(s.JobID)+`"`)
}

func testCredentials(t *testing.T, f *functions, to *client) {
	wantCredentials(t, f, to, authorized(t)...)
}

func wantCredentials(t *testing.T, f *functions, to *client, all ...operation) {
	t.Helper()
	mine, other := to.submit(t, script(t, "true")), to.submit(t, script(t, "true"))
	to = to.with("")
	unknown := submitted{JobID: "00000000000000000000000000000000"}
	for _, o := range all {
		t.Run(o.method+" "+o.path(submitted{JobID: "id"}), func(t *testing.T) {
			o.call(t, to, http.StatusUnauthorized, mine)
			o.call(t, to, http.StatusUnauthorized, mine, header("Authorization", "Basic dTpw"))
			o.call(t, to, http.StatusForbidden, mine, other.bearer())
			o.call(t, to, http.StatusForbidden, unknown, mine.bearer())
			o.call(t, to, http.StatusBadRequest, mine, o.token(f, mine.JobID), o.token(f, mine.JobID))
			o.call(t, to, http.StatusNotFound, unknown, o.token(f, unknown.JobID))
		})
	}
}

func wantStorage(t *testing.T, f *functions, to *client, all ...operation) {
	t.Helper()
	for _, o := range all {
		t.Run(o.method+" "+o.path(submitted{JobID: "id"}), func(t *testing.T) {
			request := o.job
			if request == nil {
				request = script(t, "true")
			}
			s := to.submit(t, request)
			if o.begun {
				to.asAgent(t, http.StatusCreated, s, claim, record(t, map[string]string{"owner": "pod-1"}), f.agent(s.JobID))
			}
			f.bucket.failing(broken, func() { o.call(t, to, http.StatusInternalServerError, s, o.token(f, s.JobID)) })
			f.bucket.failing(away, func() { o.call(t, to, http.StatusServiceUnavailable, s, o.token(f, s.JobID)) })
			if o.writes {
				f.bucket.failing(full, func() { o.call(t, to, http.StatusInsufficientStorage, s, o.token(f, s.JobID)) })
			}
		})
	}
}

func testStorage(t *testing.T, f *functions, to *client) {
	wantStorage(t, f, to, authorized(t)...)
	first := to.submit(t, script(t, "true"))
	f.bucket.failing(broken, func() {
		to.call(t, http.StatusInternalServerError, http.MethodPost, first.path()+"/rerun")
		to.call(t, http.StatusInternalServerError, http.MethodGet, "/api/v1/jobs")
		to.call(t, http.StatusInternalServerError, http.MethodGet, "/api/v1/jobs/events")
		to.call(t, http.StatusInternalServerError, http.MethodPost, "/api/v1/jobs", script(t, "true"))
	})
	f.bucket.failing(away, func() {
		to.call(t, http.StatusServiceUnavailable, http.MethodPost, first.path()+"/rerun")
		to.call(t, http.StatusServiceUnavailable, http.MethodGet, "/api/v1/jobs")
		to.call(t, http.StatusServiceUnavailable, http.MethodGet, "/api/v1/jobs/events")
		to.call(t, http.StatusServiceUnavailable, http.MethodPost, "/api/v1/jobs", script(t, "true"))
	})
	f.bucket.failing(full, func() {
		to.call(t, http.StatusInsufficientStorage, http.MethodPost, "/api/v1/jobs",
			script(t, "true"))
		to.call(t, http.StatusInsufficientStorage, http.MethodPost, first.path()+"/rerun")
	})

	t.Run("log that moves away", func(t *testing.T) {
		s := to.submit(t, script(t, "true"))
		to.asAgent(t, http.StatusNoContent, s, segment, octets(`{"stdout":0,"stderr":0}`+"\n"), f.agent(s.JobID))
		merged := func(verb, key string) gcerrors.ErrorCode {
			if verb == "read" && strings.HasPrefix(key, ledger.LogPrefix(s.JobID)) {
				return gcerrors.NotFound
			}
			return gcerrors.OK
		}
		f.bucket.failing(merged, func() {
			to.call(t, http.StatusServiceUnavailable, http.MethodGet, s.path()+"/logs", s.bearer())
			to.call(t, http.StatusServiceUnavailable, http.MethodGet, s.logPath(""), f.agent(s.JobID))
		})
	})
}

// testSlowEnds stops jobs whose programs end slowly.
func testSlowEnds(t *testing.T, f *functions, to *client) {
	f.bubble = t
	defer func() { f.bubble = nil }()
	s := to.submit(t, script(t, "true"))
	to.asAgent(t, http.StatusCreated, s, claim, record(t, map[string]string{"owner": "pod-1"}), f.agent(s.JobID))
	to.call(t, http.StatusAccepted, http.MethodPost, s.path()+"/cancel", s.bearer())
	to.call(t, http.StatusAccepted, http.MethodDelete, s.path(), s.bearer())
	to.call(t, http.StatusNotFound, http.MethodGet, s.path(), s.bearer())
}

// testLostID sends a request so slow that the ID of its job was given up for another with the same
// key.
func testLostID(t *testing.T, c *contract) {
	now := time.Now()
	random := func() *zeros { return &zeros{} }
	f := startFunctions(t, nil, func(env *platform.Env) {
		env.Now = func() time.Time { return now }
		env.Random = random()
	})
	id, err := job.NewID(now, random())
	if err != nil {
		t.Fatal(err)
	}
	void := func() {
		data := fmt.Appendf(nil, `{"jobID":%q,"void":true}`, id)
		if err := f.bucket.Store().Create(t.Context(), ledger.FileKey(id, job.IndexFile), data); err != nil {
			t.Fatal(err)
		}
	}
	to := f.client(c)
	to.put(t, "slow", script(t, "true"))
	now = now.Add(-time.Minute) // or it would have the same ID
	first := to.submit(t, script(t, "true"))
	now = now.Add(time.Minute)
	void()
	to.call(t, http.StatusConflict, http.MethodPost, first.path()+"/rerun", header("Idempotency-Key", "slow"))
	void()
	to.call(t, http.StatusConflict, http.MethodPost, "/api/v1/jobs", script(t, "true"), header("Idempotency-Key", "slow"))
	void()
	to.call(t, http.StatusConflict, http.MethodPost, "/api/v1/templates/slow/jobs",
		header("Idempotency-Key", "slow start"))
	void()
	to.call(t, http.StatusConflict, http.MethodPost, "/events?template=slow", cloudEvent("slow", "com.example.slow", nil))
}

type zeros struct{}

func (*zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// testFormExamples submits the examples of the description, so that users can copy them.
func testFormExamples(t *testing.T, c *contract, to *client) {
	post := c.document.Paths.PathItems.GetOrZero("/api/v1/jobs").Post
	examples := post.RequestBody.Content.GetOrZero("multipart/form-data").Examples
	for name, example := range examples.FromOldest() {
		var values map[string]any
		if err := example.Value.Decode(&values); err != nil {
			t.Fatal(err)
		}
		var fields []field
		for key, value := range values {
			list, several := value.([]any)
			if !several {
				list = []any{value}
			}
			for i, one := range list {
				f := field{name: key, value: fmt.Sprint(one)}
				if key == "files" {
					entrypoint, named := values["entrypoint"]
					if !named {
						entrypoint = "main.py" // the service finds it by this name
					}
					f.filename = []string{fmt.Sprint(entrypoint), "data.csv"}[i]
				}
				fields = append(fields, f)
			}
		}
		t.Run(name, func(t *testing.T) { to.submit(t, form(t, fields...)) })
	}
}
