package contract

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// TestTokens tries each call of the table with every kind of token. Only the tokens in the table
// may open it. This is the only such matrix; test/hostile sends malformed tokens to the real
// command.
func TestTokens(t *testing.T) {
	f := startFunctions(t, nil)
	to := &client{base: "http://functions", http: &http.Client{Transport: f}}
	mine, other := started(t, to, "mine"), started(t, to, "other")
	for _, route := range routes.All() {
		if route.Reach == routes.Cluster || route.Function == routes.Every {
			continue // these have no tokens; front does not pass on the former
		}
		t.Run(route.String(), func(t *testing.T) {
			if route.Tokens&routes.None == 0 {
				wantClosed(t, f, to, route, mine, other)
			}
			wantOpen(t, f, to, route)
		})
	}
	// Whatever was refused has done nothing.
	for _, s := range []withOwner{mine, other} {
		if got := to.status(t, s.submitted); got.Phase != job.Pending {
			t.Errorf("a job is %s (%s) after all that was refused", got.Phase, got.Reason)
		}
		v := as[version](t, to.call(t, http.StatusOK, http.MethodGet, s.template.path(), s.template.bearer()))
		if v.Version != 1 {
			t.Errorf("template %s has version %d after all that was refused", s.template.Name, v.Version)
		}
	}
}

// withOwner is a job that was started from a template, so that there are tokens of each kind for
// it.
type withOwner struct {
	submitted
	template version
}

func started(t *testing.T, to *client, name string) withOwner {
	t.Helper()
	v := to.put(t, name, script(t, "true"))
	got := to.call(t, http.StatusCreated, http.MethodPost, v.path()+"/jobs", v.bearer())
	return withOwner{as[submitted](t, got), v}
}

// tokens are those for the job, by what they are.
func (s withOwner) tokens(f *functions) map[routes.Tokens]string {
	return map[routes.Tokens]string{
		routes.User: s.Token, routes.Agent: f.keys.Derive(token.Agent, s.JobID), routes.Owner: s.template.Token,
	}
}

// target is the path of a route for a job or for its template.
func (s withOwner) target(r routes.Route) string { return target(r, s.JobID, s.template.Name) }

func target(r routes.Route, id job.ID, template string) string {
	return strings.NewReplacer(":id", string(id), "*filename", "run", ":name", template, ":number", "1",
		":segment", "000000000000-000000000000", ":stream", "stdout").Replace(r.Path)
}

// wantClosed demands that nothing but a right token opens a call, and that the answer does not tell
// what there is.
func wantClosed(t *testing.T, f *functions, to *client, r routes.Route, mine, other withOwner) {
	t.Helper()
	right := mine.tokens(f)
	var good string
	for kind, one := range right {
		if r.Tokens.Opens(kind) {
			good = one
		}
	}
	no, foreign := []int{http.StatusUnauthorized}, []int{http.StatusForbidden}
	type attempt struct {
		values []string
		status []int
	}
	all := map[string]attempt{
		"none":                 {nil, no},
		"empty":                {[]string{""}, no},
		"no token":             {[]string{"Bearer"}, no},
		"no token but a space": {[]string{"Bearer "}, no},
		"no scheme":            {[]string{good}, no},
		"other scheme":         {[]string{"Basic " + good}, no},
		"basic":                {[]string{"Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+good))}, no},
		"malformed":            {[]string{"Bearer %%%"}, foreign},
		"garbage":              {[]string{"Bearer x"}, foreign},
		"one bit off":          {[]string{"Bearer " + flipped(good)}, foreign},
		"cut":                  {[]string{"Bearer " + good[:len(good)-1]}, foreign},
		"padded":               {[]string{"Bearer " + good + "="}, foreign},
		"too long":             {[]string{"Bearer " + good + "A"}, foreign},
		"the hash":             {[]string{"Bearer " + token.Hash(good)}, foreign},
		"two":                  {[]string{"Bearer " + good, "Bearer " + good}, []int{http.StatusBadRequest}},
		"two, one another's":   {[]string{"Bearer " + good, "Bearer " + other.Token}, []int{http.StatusBadRequest}},
	}
	for kind, one := range other.tokens(f) {
		all[fmt.Sprintf("another's, kind %b", kind)] = attempt{[]string{"Bearer " + one}, foreign}
	}
	for kind, one := range right {
		if !r.Tokens.Opens(kind) {
			all[fmt.Sprintf("of kind %b", kind)] = attempt{[]string{"Bearer " + one}, foreign}
		}
	}
	for name, one := range all {
		// Parameters and unknown names are checked after the token.
		for _, more := range []string{"", "?nonsense=1", "?format=zip", "?access_token=" + good} {
			wantStatus(t, to, name, r.Method, mine.target(r)+more, one.values, one.status...)
		}
		if strings.HasSuffix(r.Path, "/*filename") {
			for _, file := range []string{"index.json", "missing", "a%2Fb", ".job"} {
				wantStatus(t, to, name, r.Method, strings.TrimSuffix(mine.target(r), "run")+file, one.values, one.status...)
			}
		}
	}
	// The answers for an unknown job and for an invalid ID say no more than that for a foreign job.
	if strings.Contains(r.Path, ":id") {
		for _, id := range []job.ID{job.ID(strings.Repeat("0", 32)), "x", job.ID(strings.ToUpper(string(mine.JobID)))} {
			wantStatus(t, to, "for job "+string(id), r.Method, target(r, id, ""), []string{"Bearer " + good}, foreign...)
			wantStatus(t, to, "none, for job "+string(id), r.Method, target(r, id, ""), nil, no...)
		}
	}
}

func wantStatus(t *testing.T, to *client, name, method, path string, authorization []string, want ...int) {
	t.Helper()
	got, err := to.try(t.Context(), method, path, func(r *http.Request) { r.Header["Authorization"] = authorization })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(want, got.StatusCode) {
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

// wantOpen demands that each token that the table names opens a call: it is then answered, or
// refused for what it lacks, and not for its token.
func wantOpen(t *testing.T, f *functions, to *client, r routes.Route) {
	t.Helper()
	for kind := routes.None; kind <= routes.Owner; kind <<= 1 {
		if !r.Tokens.Opens(kind) {
			continue
		}
		s := started(t, to, fmt.Sprintf("open-%d-%d", kind, slices.Index(routes.All(), r)))
		var values []string
		if kind != routes.None {
			values = []string{"Bearer " + s.tokens(f)[kind]}
		}
		template := s.template.Name
		if kind == routes.None {
			template = "of-nobody-yet"
		}
		if r == routes.GetJobEvents { // which ends with the job
			finish(t, f, s.JobID)
		}
		got, err := to.try(t.Context(), r.Method, target(r, s.JobID, template), func(q *http.Request) {
			content("application/json", []byte("{}"))(q)
			q.Header["Authorization"] = values
		})
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains([]int{401, 403, 404, 405}, got.StatusCode) && !mayBeMissing(r) || got.StatusCode >= 500 {
			t.Errorf("token of kind %b: got %s: %s", kind, got.Status, excerpt(got.body))
		}
	}
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

// mayBeMissing reports whether what a call is for is not there, of a job that has not run: an
// output, or a URL for one.
func mayBeMissing(r routes.Route) bool {
	return r == routes.GetOutput || r == routes.HeadOutput
}
