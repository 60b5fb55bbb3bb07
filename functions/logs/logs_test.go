package logs

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/token"
)

func TestParseQuery(t *testing.T) {
	t.Parallel()
	both := []spool.Stream{spool.Stdout, spool.Stderr}
	now := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	good := map[string]query{
		"":                      {Query: logstore.Query{Streams: both, Tail: 200}},
		"tail=0":                {Query: logstore.Query{Streams: both, Tail: 0}},
		"tail=7&follow=true":    {Query: logstore.Query{Streams: both, Tail: 7, Follow: true}},
		"tail=all&follow=false": {Query: logstore.Query{Streams: both, Tail: logstore.All}, noFollow: true},
		"stream=stdout":         {Query: logstore.Query{Streams: both[:1], Tail: 200}},
		"stream=stderr&tail=1":  {Query: logstore.Query{Streams: both[1:], Tail: 1}},
		"from=5&follow=true": {Query: logstore.Query{Streams: both, Tail: logstore.All, From: 5,
			Follow: true}},
		"from=5&tail=3":            {Query: logstore.Query{Streams: both, Tail: 3, From: 5}},
		"tail=2147483647":          {Query: logstore.Query{Streams: both, Tail: 1<<31 - 1}},
		"from=4611686018427387903": {Query: logstore.Query{Streams: both, Tail: logstore.All, From: 1<<62 - 1}},
		"timestamps=true":          {Query: logstore.Query{Streams: both, Tail: 200}, timestamps: true},
		"attempt=2":                {Query: logstore.Query{Streams: both, Tail: 200, Attempt: 2}},
		"since=90s": {Query: logstore.Query{Streams: both, Tail: logstore.All,
			Since: now.Add(-90 * time.Second)}},
		"since=1h30m&tail=5": {Query: logstore.Query{Streams: both, Tail: 5,
			Since: now.Add(-90 * time.Minute)}},
		"since=2026-01-31T07:00:00.25Z": {Query: logstore.Query{Streams: both, Tail: logstore.All,
			Since: now.Add(-time.Hour + 250*time.Millisecond)}},
		"since=2026-01-31T09:00:00%2B02:00": {Query: logstore.Query{Streams: both, Tail: logstore.All,
			Since: now.Add(-time.Hour)}},
		// not escaped
		"since=2026-01-31T09:00:00+02:00": {Query: logstore.Query{Streams: both, Tail: logstore.All,
			Since: now.Add(-time.Hour)}},
	}
	for raw, want := range good {
		got, err := parseQuery(raw, now)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(query{})); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", raw, err, diff)
		}
	}
	for _, raw := range []string{
		"tail=", "tail=-1", "tail=1.5", "tail=ALL", "tail=9999999999999", "tail=1&tail=2", "stream=both", "stream=",
		"stream=stdout&stream=stderr",
		"follow=1", "follow=yes", "follow", "folow=true", "from=", "from=1,2", "from=-1", "from=99999999999999999999", "%zz",
		"tail=1;x=2",
	} {
		if _, err := parseQuery(raw, now); err == nil {
			t.Errorf("%q was taken", raw)
		}
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"tail=5&follow=true", "from=1", "since=5m&attempt=2", "stream=stdout", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, time.Now())
		if err == nil && (q.Tail < logstore.All || len(q.Streams) == 0 || q.From < 0 || q.Attempt < 0) {
			t.Errorf("%q became %+v", raw, q)
		}
	})
}

// TestAnswers looks at what is not the log itself.
func TestAnswers(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	id, absent := w.Index.JobID, w.ID()
	tests := []struct {
		name, path, bearer string
		status             int
	}{
		{"nothing written yet", "/api/v1/jobs/" + string(id) + "/logs", w.Bearer(token.User, id), 200},
		{"the agent's token", "/api/v1/jobs/" + string(id) + "/logs", w.Bearer(token.Agent, id), 403},
		{"another job's token", "/api/v1/jobs/" + string(id) + "/logs", w.Bearer(token.User, absent), 403},
		{"no such job", "/api/v1/jobs/" + string(absent) + "/logs", w.Bearer(token.User, absent), 404},
		{"bad query", "/api/v1/jobs/" + string(id) + "/logs?tail=x", w.Bearer(token.User, id), 400},
	}
	for _, tt := range tests {
		resp, _ := ledgertest.Send(t, http.MethodGet, w.url+tt.path, nil, "Authorization", tt.bearer)
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %s, want %d", tt.name, resp.Status, tt.status)
		}
		if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options is %q", tt.name, got)
		}
	}
}
