package status_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/token"
)

// fixture is a server with the function. Its clock stands still between two jobs.
type fixture struct {
	*ledgertest.Fixture
	server *httptest.Server
	now    time.Time
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	f.Fixture = ledgertest.Open(t, t.TempDir(), func() time.Time { return f.now })
	function, err := status.New(status.Deps{Env: f.Env()})
	f.Must(err)
	f.server = f.Serve(function)
	return f
}

// What only a job's owner may see.
const (
	secretArg  = "secret-argument"
	secretEnv  = "secret-value"
	secretName = "secret-file.py"
	secretSaid = "secret-message"
)

func (f *fixture) job(labels map[string]string) *job.Index {
	f.T.Helper()
	f.now = f.now.Add(time.Second)
	return f.Job(func(index *job.Index) {
		index.Spec = job.Spec{
			Runtime: "python", Entrypoint: secretName, Args: []string{secretArg},
			Env:    map[string]string{"SECRET_NAME": secretEnv},
			Labels: labels, Image: "secret-image", TTLSecondsAfterFinished: 60,
		}
		index.Files = []job.File{{Name: secretName, Size: 1, SHA256: "secret-sum"}}
		index.Token = token.Hash(f.Keys.Derive(token.User, index.JobID))
	})
}

func (f *fixture) end(index *job.Index, phase job.Phase) {
	f.T.Helper()
	code := 3
	t := job.Terminal{Phase: phase, Reason: job.ReasonError, Message: secretSaid, ExitCode: &code, FinishedAt: f.now,
		Attempts: []job.Attempt{{Number: 1, Message: secretSaid}}}
	f.Finish(index, t)
}

func (f *fixture) get(path string, authorization ...string) (*http.Response, []byte) {
	f.T.Helper()
	r, err := http.NewRequestWithContext(f.T.Context(), http.MethodGet, f.server.URL+path, nil)
	if err != nil {
		f.T.Fatal(err)
	}
	r.Header["Authorization"] = authorization
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		f.T.Fatal(err)
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		f.T.Fatal(err)
	}
	return got, body
}

type page struct {
	Items         []job.Summary `json:"items"`
	NextPageToken *string       `json:"nextPageToken"`
}

func (f *fixture) list(query string) page {
	f.T.Helper()
	got, body := f.get("/api/v1/jobs" + query)
	if got.StatusCode != http.StatusOK {
		f.T.Fatalf("%s: got %s: %s", query, got.Status, body)
	}
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		f.T.Fatal(err)
	}
	return p
}

func (f *fixture) ids(query string) []job.ID {
	f.T.Helper()
	ids := []job.ID{}
	for _, s := range f.list(query).Items {
		ids = append(ids, s.JobID)
	}
	return ids
}

func TestBadQueries(t *testing.T) {
	f := newFixture(t)
	id := string(f.job(nil).JobID)
	for _, test := range []struct{ query, field, message string }{
		{"limit=", "limit", "1 to 500"}, {"limit=0", "limit", "1 to 500"}, {"limit=-1", "limit", "1 to 500"},
		{"limit=501", "limit", "1 to 500"},
		{"limit=1.5", "limit", "whole"}, {"limit=1e2", "limit", "whole"}, {"limit=%2B5", "limit", "whole"},
		{"limit=+5", "limit", "whole"}, {"limit=0x5", "limit", "whole"},
		{"limit=99999999999999999999", "limit", "1 to 500"}, {"limit=65537", "limit", "1 to 500"},
		{"limit=five", "limit", "whole"}, {"limit=5&limit=5", "limit", "more than once"},
		{"limit", "limit", "1 to 500"},
		{"pageToken=", "pageToken", "nextPageToken"}, {"pageToken=x", "pageToken", "nextPageToken"},
		{"pageToken=../../x", "pageToken", "nextPageToken"},
		{"pageToken=" + strings.ToUpper(id), "pageToken", "nextPageToken"},
		{"pageToken=" + id + "0", "pageToken", "nextPageToken"},
		{"pageToken=" + id + "&pageToken=" + id, "pageToken", "more than once"},
		{"pageToken=" + id[:31] + "%00", "pageToken", "nextPageToken"},
		{"phase=", "phase", "one of"}, {"phase=running", "phase", "Running"}, {"phase=Done", "phase", "one of"},
		{"phase=Running&phase=Failed", "phase", "more than once"}, {"phase=Running,Failed", "phase", "one of"},
		{"label=", "label", "key=value"}, {"label=a", "label", "key=value"}, {"label==b", "label", "label's name"},
		{"label=a=b=c", "label", "label's value"},
		{"label=a=b&label=a=c", "label", "two values"}, {"label=a%20b=c", "label", "label's name"},
		{"label=a!=b", "label", "label's name"}, {"label=a=" + strings.Repeat("x", 64), "label", "63"},
		{"label=../x=y", "label", "DNS name"}, {"label=a=%00", "label", "label's value"},
		{"owner=", "owner", "is required"}, {"owner=a%20b", "owner", "printable"},
		{"owner=a&owner=b", "owner", "more than once"}, {"owner=" + strings.Repeat("x", 256), "owner", "bytes"},
		{"user=ann", "user", "did you mean owner?"},
		{"foo=bar", "foo", "limit, pageToken, phase, label, name, owner"}, {"Limit=5", "Limit", "is not a parameter"},
		{"labels=a=b", "labels", "is not a parameter"},
		{"=", "", "is not a parameter"}, {"token=x", "token", "is not a parameter"},
		{"limit=5&zzz=1", "zzz", "is not a parameter"},
		{"limit=%zz", "query", "valid"}, {"limit=5;phase=Running", "query", "valid"}, {"%", "query", "valid"},
	} {
		for range 2 { // and the same again
			got, body := f.get("/api/v1/jobs?" + test.query)
			var p api.Problem
			if err := json.Unmarshal(body, &p); err != nil {
				t.Fatalf("%s: %v: %s", test.query, err, body)
			}
			if got.StatusCode != http.StatusBadRequest || got.Header.Get("Content-Type") != "application/problem+json" ||
				len(p.Errors) != 1 ||
				p.Errors[0].Field != test.field || !strings.Contains(p.Errors[0].Message, test.message) {
				t.Errorf("%s: got %s, %+v; want field %q with %q", test.query, got.Status, p.Errors, test.field, test.message)
			}
		}
	}
	many := "label=a0=b"
	for i := range 32 {
		many += fmt.Sprintf("&label=a%d=b", i+1)
	}
	if got, body := f.get("/api/v1/jobs?" + many); got.StatusCode != http.StatusBadRequest ||
		!bytes.Contains(body, []byte("32 times")) {
		t.Errorf("33 labels: got %s: %s", got.Status, body)
	}
	// Which of two faults is told of is the same each time.
	_, first := f.get("/api/v1/jobs?b=1&a=1&c=1")
	for range 10 {
		if _, again := f.get("/api/v1/jobs?b=1&a=1&c=1"); !bytes.Equal(first, again) {
			t.Fatalf("got %s, then %s", first, again)
		}
	}
}

func TestList(t *testing.T) {
	f := newFixture(t)
	if p := f.list(""); p.Items == nil || len(p.Items) != 0 || p.NextPageToken != nil {
		t.Errorf("of nothing: got %+v", p)
	}
	var all []job.ID
	byPhase := map[job.Phase][]job.ID{}
	byLabel := map[string][]job.ID{}
	for i := range 23 {
		labels := map[string]string{"parity": []string{"even", "odd"}[i%2], "example.com/third": fmt.Sprint(i % 3),
			"empty": ""}
		index := f.job(labels)
		phase := job.Phases()[i%5]
		if phase != job.Pending {
			f.Start(index, 1)
		}
		if phase.Terminal() {
			f.end(index, phase)
		}
		all = slices.Insert(all, 0, index.JobID)
		byPhase[phase] = slices.Insert(byPhase[phase], 0, index.JobID)
		for k, v := range labels {
			byLabel[k+"="+v] = slices.Insert(byLabel[k+"="+v], 0, index.JobID)
		}
	}
	both := func(a, b []job.ID) []job.ID {
		return slices.DeleteFunc(slices.Clone(a), func(id job.ID) bool { return !slices.Contains(b, id) })
	}
	filters := map[string][]job.ID{"": all, "label=empty=": all, "label=parity=none": {},
		"label=parity=even&label=parity=even": byLabel["parity=even"]}
	for phase, ids := range byPhase {
		filters["phase="+string(phase)] = ids
		for label, labelled := range byLabel {
			filters["label="+url.QueryEscape(label)+"&phase="+string(phase)] = both(ids, labelled)
		}
	}
	filters["label=parity=odd&label=example.com/third=2&phase=Failed"] = both(
		both(byLabel["parity=odd"], byLabel["example.com/third=2"]), byPhase[job.Failed])
	for filter, want := range filters {
		if diff := cmp.Diff(want, f.ids("?"+filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filter, diff)
		}
		for _, limit := range []int{1, 2, 7, len(want), len(want) + 1} {
			if limit == 0 {
				continue
			}
			var got []job.ID
			token, pages := "", 0
			for {
				p := f.list(fmt.Sprintf("?%s&limit=%d%s", filter, limit, token))
				pages++
				for _, s := range p.Items {
					got = append(got, s.JobID)
				}
				if p.NextPageToken == nil {
					break
				}
				if len(p.Items) != limit {
					t.Errorf("%s: a page of %d, want %d", filter, len(p.Items), limit)
				}
				token = "&pageToken=" + *p.NextPageToken
			}
			full := max(1, (len(want)+limit-1)/limit)
			// After pending jobs a last page may be empty: their list has the running ones as well.
			if !slices.Equal(got, want) || pages < full || pages > full+strings.Count(filter, "Pending") {
				t.Errorf("%s in pages of %d: got %d jobs on %d pages, want %d jobs", filter, limit, len(got), pages, len(want))
			}
		}
	}
	// Jobs that come while somebody turns pages do not move the pages.
	first := f.list("?limit=5")
	f.job(nil)
	if got := f.ids("?limit=5&pageToken=" + *first.NextPageToken); !slices.Equal(got, all[5:10]) {
		t.Errorf("second page after a new job: got %s", got)
	}
	// Nor does the removal of the job that the token names.
	gone := job.ID(*first.NextPageToken)
	index, err := f.Ledger.Index(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Ledger.Finish(t.Context(), index, job.Terminal{Phase: job.Failed, FinishedAt: f.now}); err != nil {
		t.Fatal(err)
	}
	if err := f.Ledger.Remove(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if got := f.ids("?limit=5&pageToken=" + string(gone)); !slices.Equal(got, all[5:10]) {
		t.Errorf("second page after the first page's last job is gone: got %s", got)
	}
}

func TestListKeepsSecrets(t *testing.T) {
	f := newFixture(t)
	for _, phase := range job.Phases() {
		index := f.job(map[string]string{"a": "b"})
		if phase != job.Pending {
			f.Start(index, 1)
		}
		if phase.Terminal() {
			f.end(index, phase)
		}
	}
	got, body := f.get("/api/v1/jobs")
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "application/json" ||
		got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %s, %v", got.Status, got.Header)
	}
	for _, id := range f.ids("") {
		for _, scope := range []token.Scope{token.User, token.Agent} {
			if tok := f.Keys.Derive(scope, id); bytes.Contains(body, []byte(tok)) ||
				bytes.Contains(body, []byte(token.Hash(tok))) {
				t.Error("the list shows a token")
			}
		}
	}
	for _, secret := range []string{"secret", "SECRET", "token", "args", "env", "entrypoint", "files", "message",
		"sha256"} {
		if bytes.Contains(body, []byte(secret)) {
			t.Errorf("the list shows %q: %s", secret, body)
		}
	}
}

// TestGetAccess has what test/contract does not try with the tokens of every call.
func TestGetAccess(t *testing.T) {
	f := newFixture(t)
	mine, other := f.job(nil), f.job(nil)
	missing, err := job.NewID(f.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	user := func(id job.ID) string { return f.Keys.Derive(token.User, id) }
	path := "/api/v1/jobs/" + string(mine.JobID)
	for name, test := range map[string]struct {
		path          string
		authorization []string
		want          int
	}{
		"owner":                  {path, []string{"Bearer " + user(mine.JobID)}, 200},
		"lower case":             {path, []string{"bearer " + user(mine.JobID)}, 200},
		"several spaces":         {path, []string{"Bearer   " + user(mine.JobID)}, 200},
		"foreign job":            {"/api/v1/jobs/" + string(other.JobID), []string{"Bearer " + user(mine.JobID)}, 403},
		"unknown job, its token": {"/api/v1/jobs/" + string(missing), []string{"Bearer " + user(missing)}, 404},
		"traversal":              {"/api/v1/jobs/..%2f" + string(mine.JobID), []string{"Bearer " + user(mine.JobID)}, 404},
		"trailing slash":         {path + "/", []string{"Bearer " + user(mine.JobID)}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			got, body := f.get(test.path, test.authorization...)
			if got.StatusCode != test.want {
				t.Fatalf("got %s, want %d: %s", got.Status, test.want, body)
			}
			if ct := got.Header.Get("Content-Type"); test.want != 200 && ct != "application/problem+json" {
				t.Errorf("Content-Type: got %q", ct)
			}
		})
	}
	_, foreign := f.get("/api/v1/jobs/"+string(other.JobID), "Bearer "+user(mine.JobID))
	_, unknown := f.get("/api/v1/jobs/"+string(missing), "Bearer "+user(mine.JobID))
	if !bytes.Equal(foreign, unknown) {
		t.Errorf("a foreign job and an unknown one look different: %s, %s", foreign, unknown)
	}
	if err := f.Ledger.RequestRemoval(t.Context(), mine.JobID); err != nil {
		t.Fatal(err)
	}
	if got, _ := f.get(path, "Bearer "+user(mine.JobID)); got.StatusCode != http.StatusNotFound {
		t.Errorf("a job that is being removed: got %s", got.Status)
	}
	if got := f.ids(""); !slices.Equal(got, []job.ID{other.JobID}) {
		t.Errorf("list: got %s", got)
	}
}

func TestGet(t *testing.T) {
	f := newFixture(t)
	index := f.job(nil)
	get := func() job.Status {
		t.Helper()
		got, body := f.get("/api/v1/jobs/"+string(index.JobID), "Bearer "+f.Keys.Derive(token.User, index.JobID))
		var s job.Status
		if err := json.Unmarshal(body, &s); err != nil || got.StatusCode != http.StatusOK {
			t.Fatalf("got %s: %s (%v)", got.Status, body, err)
		}
		for _, secret := range []string{secretEnv, "token", token.Hash(f.Keys.Derive(token.User, index.JobID))} {
			if bytes.Contains(body, []byte(secret)) {
				t.Errorf("the status shows %q: %s", secret, body)
			}
		}
		for _, list := range []string{`"args":[`, `"files":[`, `"attempts":[`} {
			if !bytes.Contains(body, []byte(list)) {
				t.Errorf("no list %s in %s", list, body)
			}
		}
		return s
	}
	if s := get(); s.Phase != job.Pending || s.Reason != job.ReasonQueued || s.StartedAt != nil ||
		s.Entrypoint != secretName || s.Args[0] != secretArg {
		t.Errorf("pending: got %+v", s)
	}
	a := f.Start(index, 1)
	if s := get(); s.Phase != job.Running || s.StartedAt == nil || len(s.Attempts) != 1 {
		t.Errorf("running: got %+v", s)
	}
	a.FinishedAt, a.Reason = &f.now, job.ReasonError
	if err := f.Ledger.EndAttempt(t.Context(), index.JobID, a); err != nil {
		t.Fatal(err)
	}
	if s := get(); s.Phase != job.Running || s.Reason != "" {
		t.Errorf("before its end is recorded: got %+v", s)
	}
	f.end(index, job.Failed)
	if s := get(); s.Phase != job.Failed || *s.ExitCode != 3 || s.Message != secretSaid ||
		!s.ExpiresAt.Equal(s.FinishedAt.Add(time.Minute)) {
		t.Errorf("over: got %+v", s)
	}
}

func TestNew(t *testing.T) {
	env := platform.New(map[string]string{"STORAGE_DIR": filepath.Join(t.TempDir(), "none", "x")},
		slog.New(slog.DiscardHandler))
	if err := os.WriteFile(filepath.Dir(env.Vars["STORAGE_DIR"]), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := status.New(status.Deps{Env: env}); err == nil || !strings.Contains(err.Error(), "STORAGE_DIR") {
		t.Errorf("without a bucket: %v", err)
	}
}
