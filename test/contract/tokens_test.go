package contract

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/dependencies/indextest"
	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// TestTokens tries each call of the table with every kind of credentials, in each way that callers
// are known by. Only those that shared/guard/guardmatrix names may open it. The guard's own test does
// the same for its decision alone; test/hostile sends malformed tokens to the real command.
func TestTokens(t *testing.T) {
	for name, m := range map[string]matrix{
		"keys":      {who: byKey, keyed: true, senders: (*functions).keyHolders, want: guardmatrix.WantByKey},
		"assertion": {who: byAssertion, senders: (*functions).asserted, want: guardmatrix.Want},
		"open":      {who: byNothing, senders: (*functions).keyHolders, want: guardmatrix.WantOpen},
	} {
		t.Run(name, func(t *testing.T) {
			index := httptest.NewServer(&indextest.Index{Wheels: []indextest.Wheel{{Name: "small", Version: "1.0"}}})
			defer index.Close()
			m.functions = startIdentified(t, m.who, map[string]string{"PIP_INDEX_URL": index.URL + "/simple"})
			m.client = &client{base: "http://functions", http: &http.Client{Transport: m.functions}}
			m.test(t)
		})
	}
}

// matrix is the calls and the senders, with functions that answer them.
type matrix struct {
	*functions
	*client
	who     identity
	keyed   bool                                             // who looks up keys
	senders func(f *functions) map[guardmatrix.Sender]option // callers, valid and not
	want    func(routes.Route, guardmatrix.Sender) int
}

func (m *matrix) test(t *testing.T) {
	mine, other := m.started(t, "mine"), m.started(t, "other")
	for _, route := range routes.All() {
		if route.Reach == routes.Cluster || own(route) {
			continue // these need no credentials; front does not pass on the former
		}
		t.Run(route.String(), func(t *testing.T) {
			for sender, credentials := range m.all(mine, other) {
				if want := m.want(route, sender); want != http.StatusOK {
					m.wantClosed(t, route, mine, string(sender), credentials, want)
				}
			}
			m.wantStrict(t, route, mine, other)
			m.wantStrictPath(t, route, mine, other)
			m.wantOpen(t, route, other)
		})
	}
	// Whatever was refused has done nothing.
	for _, s := range []started{mine, other} {
		ann := m.ann()
		got := as[job.Status](t, m.call(t, http.StatusOK, http.MethodGet, s.path(), ann))
		if got.Phase != job.Pending {
			t.Errorf("a job is %s (%s) after all that was refused", got.Phase, got.Reason)
		}
		v := as[version](t, m.call(t, http.StatusOK, http.MethodGet, s.template.path(), ann))
		if v.Version != 1 {
			t.Errorf("template %s has version %d after all that was refused", s.template.Name, v.Version)
		}
	}
}

// keyHolders are callers who send their keys.
func (f *functions) keyHolders() map[guardmatrix.Sender]option {
	all := map[guardmatrix.Sender]option{}
	for sender, key := range f.keyring.of {
		all[sender] = bearer(key)
	}
	return all
}

// asserted are callers whom the gateway vouches for, and such as only pretend that.
func (f *functions) asserted() map[guardmatrix.Sender]option {
	others, err := token.New(bytes.Repeat([]byte{1}, token.MinKeyBytes))
	if err != nil {
		panic(err)
	}
	assert := func(keys token.Keys, at time.Time, c access.Caller) option {
		return func(r *http.Request) {
			if err := access.Assert(r, c, keys, at); err != nil {
				panic(err)
			}
		}
	}
	by := func(keys token.Keys, at time.Time, owner string, role access.Role) option {
		return assert(keys, at, access.Caller{Owner: owner, Role: role, Via: "key"})
	}
	now := time.Now()
	all := map[guardmatrix.Sender]option{
		guardmatrix.Admin:     by(f.keys, now, "root", access.Admin),
		guardmatrix.User:      by(f.keys, now, guardmatrix.Ann, access.User),
		guardmatrix.Reader:    by(f.keys, now, guardmatrix.Ann, access.Read),
		guardmatrix.OtherUser: by(f.keys, now, guardmatrix.Bob, access.User),
		guardmatrix.NoRole:    by(f.keys, now, guardmatrix.Ann, ""),
		guardmatrix.Open:      assert(f.keys, now, access.Caller{Owner: access.Local, Role: access.Admin, Via: access.Open}),
		guardmatrix.Forged:    by(others, now, "root", access.Admin),
		guardmatrix.Outdated:  by(f.keys, now.Add(-access.AssertionLifetime-time.Minute), "root", access.Admin),
	}
	all[guardmatrix.ForAnother] = func(r *http.Request) {
		elsewhere := httptest.NewRequestWithContext(r.Context(), r.Method, "/elsewhere", nil)
		all[guardmatrix.Admin](elsewhere)
		r.Header.Set(access.AssertionHeader, elsewhere.Header.Get(access.AssertionHeader))
	}
	for sender, key := range f.keyHolders() { // front sends no keys on, and here nobody knows one
		if _, known := all[sender]; !known {
			all[sender] = key
		}
	}
	return all
}

// ann is what Ann sends as a user.
func (m *matrix) ann() option { return m.senders(m.functions)[guardmatrix.User] }

// all are the credentials of every sender, for a job of Ann's.
func (m *matrix) all(mine, other started) map[guardmatrix.Sender]option {
	all := m.senders(m.functions)
	now := time.Now()
	all[guardmatrix.Nothing] = func(*http.Request) {}
	all[guardmatrix.Basic] = header("Authorization", "Basic dTpw")
	all[guardmatrix.Nonsense] = bearer("nonsense")
	all[guardmatrix.JobToken], all[guardmatrix.OtherJobToken] = mine.bearer(), other.bearer()
	all[guardmatrix.AgentToken], all[guardmatrix.OtherAgent] = m.agent(mine.JobID), m.agent(other.JobID)
	all[guardmatrix.Shared] = bearer(m.keys.Share(mine.JobID, now.Add(time.Hour)))
	all[guardmatrix.ExpiredShared] = bearer(m.keys.Share(mine.JobID, now.Add(-time.Second)))
	all[guardmatrix.OtherShared] = bearer(m.keys.Share(other.JobID, now.Add(time.Hour)))
	return all
}

// started is a job of Ann's that was started from a template of hers.
type started struct {
	submitted
	template version
}

func (m *matrix) started(t *testing.T, name string) started {
	t.Helper()
	ann := m.ann()
	// An assertion is of the request that it is on, so it comes last.
	v := as[version](t, m.call(t, http.StatusCreated, http.MethodPut, "/api/v1/templates/"+name, script(t, "true"), ann))
	return started{as[submitted](t, m.call(t, http.StatusCreated, http.MethodPost, v.path()+"/jobs", ann)), v}
}

// target is the path of a route for a job or for its template.
func (s started) target(r routes.Route) string { return target(r, s.JobID, s.template.Name) }

func target(r routes.Route, id job.ID, template string) string {
	return strings.NewReplacer(":id", string(id), "*filename", "run", ":name", template, ":number", "1",
		":segment", "000000000000-000000000000", ":stream", "stdout", ":key", strings.Repeat("0", 64),
		":token", "nonsense", "*path", "0/simple/small/").Replace(r.Path)
}

// wantClosed demands that credentials do not open a call, whatever else the request has: parameters
// and names of files are looked at later, so that the answer does not tell what there is.
func (m *matrix) wantClosed(t *testing.T, r routes.Route, s started, name string, credentials option, want int) {
	t.Helper()
	for _, more := range []string{"", "?nonsense=1", "?format=zip", "?access_token=" + s.Token} {
		m.wantStatus(t, name, r.Method, s.target(r)+more, credentials, want)
	}
	if !strings.HasSuffix(r.Path, "/*filename") {
		return
	}
	for _, file := range []string{"index.json", "missing", "a%2Fb", ".job"} {
		m.wantStatus(t, name, r.Method, strings.TrimSuffix(s.target(r), "run")+file, credentials, want)
	}
}

// wantStrict demands that only the exact text of a token opens a call, and that an unknown job looks
// like a foreign one.
func (m *matrix) wantStrict(t *testing.T, r routes.Route, mine, other started) {
	t.Helper()
	if m.want(r, guardmatrix.Nothing) == http.StatusOK {
		return
	}
	good := m.opening(r, mine)
	for name, text := range map[string]string{
		"empty": "", "no token": "Bearer", "no token but a space": "Bearer ", "no scheme": good,
		"other scheme": "Basic " + good, "basic": "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+good)),
	} {
		m.wantClosed(t, r, mine, name, header("Authorization", text), m.want(r, guardmatrix.Nothing))
	}
	for name, text := range misspelt(good) {
		if r.Tokens == routes.Index {
			break // its token is in the path
		}
		m.wantClosed(t, r, mine, name, bearer(text), m.want(r, guardmatrix.Nonsense))
	}
	two := func(second string) option {
		return func(q *http.Request) { bearer(good)(q); bearer(second)(q) }
	}
	if r.Tokens != 0 || m.keyed {
		m.wantClosed(t, r, mine, "two", two(good), http.StatusBadRequest)
		m.wantClosed(t, r, mine, "two, one another's", two(other.Token), http.StatusBadRequest)
	}
	if r.OfJob() {
		m.wantUnknown(t, r, mine)
	}
}

// misspelt are texts that are almost a token.
func misspelt(good string) map[string]string {
	return map[string]string{
		"malformed": "%%%", "one bit off": flipped(good), "cut": good[:len(good)-1], "padded": good + "=",
		"too long": good + "A", "the hash": token.Hash(good),
	}
}

// wantStrictPath demands that only the exact text of the job's token for indexes opens a call that
// has this token in its path, and that other tokens open it nowhere.
func (m *matrix) wantStrictPath(t *testing.T, r routes.Route, mine, other started) {
	t.Helper()
	if r.Tokens != routes.Index {
		return
	}
	at := func(id job.ID, text string) string {
		return strings.Replace(target(r, id, ""), "nonsense", url.PathEscape(text), 1)
	}
	good := m.keys.Derive(token.Index, mine.JobID)
	texts := misspelt(good)
	texts["the job's token"], texts["the agent's token"] = mine.Token, m.keys.Derive(token.Agent, mine.JobID)
	texts["that of another job"] = m.keys.Derive(token.Index, other.JobID)
	nothing := func(*http.Request) {}
	for name, text := range texts {
		m.wantStatus(t, name, r.Method, at(mine.JobID, text), nothing, http.StatusForbidden)
		m.wantStatus(t, name+", also as a bearer token", r.Method, at(mine.JobID, text), bearer(good), http.StatusForbidden)
	}
	m.wantStatus(t, "another job", r.Method, at(other.JobID, good), nothing, http.StatusForbidden)
	m.wantStatus(t, "the token", r.Method, at(mine.JobID, good), nothing, http.StatusOK)
	m.wantStatus(t, "the token beside basic authentication", r.Method, at(mine.JobID, good),
		header("Authorization", "Basic dTpw"), http.StatusOK)
}

// opening is a token or a key that opens a call, if any does as the text of a bearer token.
func (m *matrix) opening(r routes.Route, s started) string {
	switch {
	case r.Tokens.Opens(routes.User):
		return s.Token
	case r.Tokens.Opens(routes.Agent):
		return m.keys.Derive(token.Agent, s.JobID)
	}
	return m.keyring.of[guardmatrix.Admin]
}

// wantUnknown demands that the answers for an unknown job and for an invalid ID say no more than
// those for a foreign job.
func (m *matrix) wantUnknown(t *testing.T, r routes.Route, mine started) {
	t.Helper()
	all := m.all(mine, mine)
	for _, id := range []job.ID{job.ID(strings.Repeat("0", 32)), "x", job.ID(strings.ToUpper(string(mine.JobID)))} {
		path := target(r, id, "")
		for unknown, foreign := range map[guardmatrix.Sender]guardmatrix.Sender{
			guardmatrix.Nothing: guardmatrix.Nothing, guardmatrix.JobToken: guardmatrix.OtherJobToken,
			guardmatrix.AgentToken: guardmatrix.OtherAgent, guardmatrix.Shared: guardmatrix.OtherShared,
			guardmatrix.User: guardmatrix.OtherUser,
		} {
			if want := m.want(r, foreign); want != http.StatusOK {
				m.wantStatus(t, fmt.Sprintf("%s, for job %s", unknown, id), r.Method, path, all[unknown], want)
			}
		}
	}
}

func (m *matrix) wantStatus(t *testing.T, name, method, path string, credentials option, want int) {
	t.Helper()
	got, err := m.try(t.Context(), method, path, credentials)
	if err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != want {
		t.Errorf("%s: %s %s: got %s, want %d", name, method, path, got.Status, want)
	}
	challenge := got.Header.Get("WWW-Authenticate")
	if (got.StatusCode == http.StatusUnauthorized) != strings.HasPrefix(challenge, "Bearer") {
		t.Errorf("%s: %s %s: %s with WWW-Authenticate %q", name, method, path, got.Status, challenge)
	}
}

func flipped(good string) string {
	b := []byte(good)
	b[len(b)/2] ^= 1
	return string(b)
}

// wantOpen demands that the right credentials open a call: it is then answered, or refused for what
// it lacks. Each of them has a job and a template of its own, which the call may remove.
func (m *matrix) wantOpen(t *testing.T, r routes.Route, other started) {
	t.Helper()
	senders := slices.Sorted(func(yield func(guardmatrix.Sender) bool) {
		for sender := range m.all(other, other) {
			if m.want(r, sender) == http.StatusOK && !yield(sender) {
				return
			}
		}
	})
	for i, sender := range senders {
		s := m.started(t, fmt.Sprintf("open-%d-%d", slices.Index(routes.All(), r), i))
		if r == routes.GetJobEvents { // which ends with the job
			finish(t, m.functions, s.JobID)
		}
		target := s.target(r)
		if r == routes.WatchJobs { // which does not end
			target += "?limit=1"
		}
		got, err := m.try(t.Context(), r.Method, target, content("application/json", []byte("{}")),
			m.all(s, other)[sender])
		if err != nil {
			t.Fatal(err)
		}
		if want := foreign(r); sender == guardmatrix.OtherUser && m.want(r, guardmatrix.Nothing) != http.StatusOK && want != 0 {
			if got.StatusCode != want {
				t.Errorf("%s: got %s, want %d: %s", sender, got.Status, want, excerpt(got.body))
			}
			continue
		}
		if slices.Contains([]int{401, 403, 404, 405}, got.StatusCode) && !mayBeMissing(r) || got.StatusCode >= 500 {
			t.Errorf("%s: got %s: %s", sender, got.Status, excerpt(got.body))
		}
	}
}

// foreign is the answer about a template of another owner, which its function finds out, and 0 for
// other calls.
func foreign(r routes.Route) int {
	switch r {
	case routes.GetTemplate, routes.DeleteTemplate, routes.StartTemplate:
		return http.StatusNotFound
	case routes.PutTemplate:
		return http.StatusConflict
	}
	return 0
}

// finish records the end of a job.
func finish(t *testing.T, f *functions, id job.ID) {
	t.Helper()
	records := f.ledger()
	index, err := records.Index(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	end := job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now()}
	if _, _, err := records.Finish(t.Context(), index, end); err != nil {
		t.Fatal(err)
	}
}

// mayBeMissing reports whether what a call is for is not there: an output of a job that has not
// run, packages that nobody has installed, or a key with the ID of a job.
func mayBeMissing(r routes.Route) bool {
	return r == routes.GetOutput || r == routes.HeadOutput || r == routes.GetPackages || r == routes.RevokeKey
}
