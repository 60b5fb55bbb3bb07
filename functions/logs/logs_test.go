package logs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

func TestParseQuery(t *testing.T) {
	t.Parallel()
	both := []joblog.Stream{joblog.Stdout, joblog.Stderr}
	good := map[string]logstore.Query{
		"":                           {Streams: both, Tail: 200},
		"tail=0":                     {Streams: both, Tail: 0},
		"tail=7&follow=true":         {Streams: both, Tail: 7, Follow: true},
		"tail=all&follow=false":      {Streams: both, Tail: logstore.All},
		"stream=stdout":              {Streams: both[:1], Tail: 200},
		"stream=stderr&tail=1":       {Streams: both[1:], Tail: 1},
		"from=5,7&follow=true":       {Streams: both, Tail: 200, From: &joblog.Position{Stdout: 5, Stderr: 7}, Follow: true},
		"tail=2147483647":            {Streams: both, Tail: 1<<31 - 1},
		"from=0,4611686018427387903": {Streams: both, Tail: 200, From: &joblog.Position{Stderr: 1<<62 - 1}},
	}
	for raw, want := range good {
		got, err := parseQuery(raw)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", raw, err, diff)
		}
	}
	for _, raw := range []string{
		"tail=", "tail=-1", "tail=1.5", "tail=ALL", "tail=9999999999999", "tail=1&tail=2", "stream=both", "stream=", "stream=stdout&stream=stderr",
		"follow=1", "follow=yes", "follow", "folow=true", "from=1", "from=1,", "from=,1", "from=-1,0", "from=1,2,3", "from=99999999999999999999,0", "%zz", "tail=1;x=2",
	} {
		if _, err := parseQuery(raw); err == nil {
			t.Errorf("%q was taken", raw)
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"tail=5&follow=true", "from=1,2", "stream=stdout", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw)
		if err == nil && (q.Tail < logstore.All || len(q.Streams) == 0 || q.From != nil && (q.From.Stdout < 0 || q.From.Stderr < 0)) {
			t.Errorf("%q became %+v", raw, q)
		}
	})
}

// TestAnswers looks at what is not the log itself.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := ledger.New(s, time.Now)
	keys, err := token.New([]byte(strings.Repeat("k", token.MinKeyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	log := serve.NewLog()
	router := api.NewRouter(log)
	New(s, l, keys, log).Mount(router)
	server := httptest.NewServer(router)
	defer server.Close()
	id := job.ID(strings.Repeat("a", 32))
	if err := l.Accept(t.Context(), &job.Index{JobID: id}); err != nil {
		t.Fatal(err)
	}
	absent := job.ID(strings.Repeat("b", 32))
	tests := []struct {
		name, path, token string
		status            int
	}{
		{"nothing written yet", "/api/v1/jobs/" + string(id) + "/logs", keys.Derive(token.User, id), 200},
		{"no token", "/api/v1/jobs/" + string(id) + "/logs", "", 401},
		{"the agent's token", "/api/v1/jobs/" + string(id) + "/logs", keys.Derive(token.Agent, id), 403},
		{"another job's token", "/api/v1/jobs/" + string(id) + "/logs", keys.Derive(token.User, absent), 403},
		{"no such job", "/api/v1/jobs/" + string(absent) + "/logs", keys.Derive(token.User, absent), 404},
		{"bad query", "/api/v1/jobs/" + string(id) + "/logs?tail=x", keys.Derive(token.User, id), 400},
	}
	for _, tt := range tests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.token != "" {
			req.Header.Set("Authorization", "Bearer "+tt.token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %s, want %d", tt.name, resp.Status, tt.status)
		}
		if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options is %q", tt.name, got)
		}
	}
}
