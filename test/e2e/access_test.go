//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// The owner of what TestAccess looks at, and somebody else.
const (
	ann = "ann@example.com"
	bob = "bob"
)

// accessFixture is a job and a template of ann's, and everything that may come with a request.
type accessFixture struct {
	*service
	t           *testing.T
	job         *run
	tokens      token.Keys // those of the installation
	credentials []credential
}

// TestAccess sends every public call with every kind of credentials, and every call of a function
// behind front from a pod in another namespace. In the end no pod's log may have a key.
func TestAccess(t *testing.T) {
	f := newAccessFixture(t)
	t.Run("public", func(t *testing.T) { f.t = t; f.public() })
	t.Run("behind the gateway", func(t *testing.T) { f.t = t; f.behind() })
	t.Run("logs", func(t *testing.T) { f.t = t; f.noKeyIsShown() })
}

func newAccessFixture(t *testing.T) *accessFixture {
	t.Helper()
	f := &accessFixture{service: installed(t), t: t}
	var err error
	f.tokens, err = token.Parse(secretEntry(t, "token-keys", "TOKEN_KEYS"))
	if err != nil {
		t.Fatal(err)
	}
	before := gateways(t)
	var callers []credential
	for _, c := range []credential{
		{name: "of a user", role: access.User, owner: ann}, {name: "of a reader", role: access.Read, owner: ann},
		{name: "of another user", role: access.User, owner: bob}, {name: "of another reader", role: access.Read, owner: bob},
		{name: "of a second admin", role: access.Admin, owner: "root"},
	} {
		c.text = f.makeKey(t, map[string]string{"name": "e2e", "owner": c.owner, "role": string(c.role)}).Key
		callers = append(callers, c)
	}
	expired := f.makeKey(t, map[string]string{"name": "e2e", "role": "admin", "expiresIn": "1s"})
	revoked := f.makeKey(t, map[string]string{"name": "e2e", "owner": ann, "role": "admin"})
	t.Logf("new keys were in force after %s", f.inForce(t, append(callers, credential{
		name: "to be revoked", text: revoked.Key, role: access.Admin, owner: ann})...).Round(time.Second))
	resp, _ := f.service.send(t, routes.RevokeKey.Method, routes.RevokeKey.URL(revoked.ID), f.key, "", "")
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("revoke: %s", resp.Status)
	}
	t.Logf("a revoked key was refused after %s", f.refused(t, credential{name: "revoked", text: revoked.Key}).
		Round(time.Second))
	f.refused(t, credential{name: "expired", text: expired.Key})
	after := gateways(t) // Knative may have added pods, or taken away some
	if !slices.ContainsFunc(after, func(pod string) bool { return slices.Contains(before, pod) }) {
		t.Errorf("front was restarted: %q, then %q", before, after)
	}
	user := &service{url: f.url, client: f.client, key: callers[0].text}
	f.job = user.submit(t, shell("echo hello; echo x >results/x"))
	f.job.ends("Succeeded", "Completed")
	(&owner{service: user, t: t}).template("e2e-access", shell("true"))
	other := f.service.submit(t, shell("true"))
	other.ends("Succeeded", "Completed")
	id := job.ID(f.job.ID)
	typo := []byte(f.key)
	typo[len(typo)-1] ^= 1
	f.credentials = slices.Concat(callers, []credential{
		{name: "none"},
		{name: "with a typo", text: string(typo), bad: true}, {name: "unknown", text: unknownKey(t), bad: true},
		{name: "expired", text: expired.Key, bad: true}, {name: "revoked", text: revoked.Key, bad: true},
		{name: "of an admin", text: f.key, role: access.Admin, owner: "admin"},
		{name: "token of the job", text: f.job.Token, opens: routes.User},
		{name: "token of another job", text: other.Token},
		{name: "shared token", text: f.tokens.Share(id, time.Now().Add(time.Hour)), opens: routes.Shared},
		{name: "expired shared token", text: f.tokens.Share(id, time.Now().Add(-time.Second))},
		{name: "token of the agent", text: f.tokens.Derive(token.Agent, id), opens: routes.Agent},
	})
	return f
}

// secretEntry is an entry of a Secret of the installation.
func secretEntry(t *testing.T, name, entry string) string {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(kube(t, "get", "secret", name, "-n", namespace, "-o",
		"jsonpath={.data."+strings.ReplaceAll(entry, ".", `\.`)+"}"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// admitted stands for the answers that a call gives to those who may make it.
const admitted = 0

// wants returns the status that a route must answer with.
func wants(r routes.Route, c credential) int {
	switch {
	case c.bad:
		return http.StatusUnauthorized
	case c.role != "" && !c.role.Allows(r.Role):
		return http.StatusForbidden
	case c.role != "" && c.role != access.Admin && c.owner != ann && (r.OfJob() || r.Path == routes.GetTemplate.Path ||
		r == routes.StartTemplate) && r != routes.PutTemplate:
		return http.StatusNotFound
	case c.role != "":
		return admitted
	case c.text == "" || r.Tokens == 0:
		return http.StatusUnauthorized
	case r.Tokens.Opens(c.opens):
		return admitted
	case strings.HasPrefix(c.name, "expired") && r.Tokens.Opens(routes.Shared):
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// answers reports whether a status is one that a call gives to those who may make it. Calls that
// would change something are sent with a body that they refuse, or about what does not exist.
func answers(r routes.Route, code int) bool {
	switch r {
	case routes.CancelJob, routes.PutTemplate: // the job is over; the template of another owner
		if code == http.StatusConflict {
			return true
		}
	case routes.RevokeKey:
		return code == http.StatusNotFound
	case routes.WatchJobs: // see request
		return code == http.StatusBadRequest
	}
	refusals := []int{http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}
	return code == http.StatusOK && r.Method != http.MethodPost || r.Method != http.MethodGet &&
		r.Method != http.MethodHead && slices.Contains(refusals, code)
}

// request returns the path of a call about ann's job or template, and its body.
func (f *accessFixture) request(r routes.Route) (path, kind, body string) {
	if r == routes.WatchJobs { // it does not end, unless it is refused for this
		return r.URL() + "?limit=1", "", ""
	}
	var values []string
	for segment := range strings.SplitSeq(r.Path, "/") {
		switch segment {
		case ":id":
			if r == routes.RevokeKey {
				values = append(values, "0000000000")
			} else {
				values = append(values, f.job.ID)
			}
		case ":name":
			values = append(values, "e2e-access")
		case "*filename":
			values = append(values, map[bool]string{true: "run", false: "x"}[r.Function == routes.Artifacts])
		case ":number", ":segment":
			values = append(values, "1")
		case ":stream":
			values = append(values, "stdout")
		case ":key":
			values = append(values, strings.Repeat("0", 64))
		case ":token":
			values = append(values, "x")
		case "*path":
			values = append(values, "simple/x")
		}
	}
	if r == routes.MakeKey || r == routes.ShareJob {
		return r.URL(values...), "application/json", `{"expiresIn":"1s"}`
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPut {
		return r.URL(values...), "text/plain", "not what it takes"
	}
	return r.URL(values...), "", ""
}

// removes reports whether a call takes away what the others are about.
func removes(r routes.Route) bool { return r == routes.RemoveJob || r == routes.DeleteTemplate }

func (f *accessFixture) public() {
	f.t.Helper()
	seen := map[string]bool{}
	for _, r := range routes.All() {
		if r.Reach != routes.Public || r.Role == routes.Anyone {
			continue
		}
		path, kind, body := f.request(r)
		for _, c := range f.credentials {
			want := wants(r, c)
			if want == admitted && removes(r) {
				continue
			}
			resp, data := f.service.send(f.t, r.Method, path, c.text, kind, body)
			got := resp.StatusCode
			if c.bad && got == http.StatusTooManyRequests { // failed logins that come too often
				continue
			}
			seen[c.name+fmt.Sprint(got)] = true
			if want == admitted && !answers(r, got) || want != admitted && got != want {
				f.t.Errorf("%s, %s: %d, want %d: %.200s", r, c.name, got, want, data)
			}
		}
	}
	for _, c := range f.credentials {
		if c.bad && !seen[c.name+"401"] {
			f.t.Errorf("the key that is %s was answered with 429 only", c.name)
		}
	}
}

// noKeyIsShown looks for the keys of this test in the logs of all pods, and in what the API server
// shows of the namespace.
func (f *accessFixture) noKeyIsShown() {
	f.t.Helper()
	keys := map[string]string{}
	for _, c := range f.credentials {
		if access.IsKey(c.text) {
			keys[c.name] = c.text[strings.LastIndex(c.text, "_")+1:]
		}
	}
	look := func(where, text string) {
		for name, secret := range keys {
			if strings.Contains(text, secret) {
				f.t.Errorf("%s: has the key %s", where, name)
			}
		}
	}
	logs := 0
	for line := range strings.Lines(kube(f.t, "get", "pods", "-A", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{"\n"}{end}`)) {
		space, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		out, err := command("kubectl", "logs", "-n", space, name, "--all-containers")
		if err == nil { // else it is gone, or has not begun
			logs++
			look("the log of "+space+"/"+name, out)
		}
	}
	if logs < 3 {
		f.t.Errorf("only %d logs could be read", logs)
	}
	look("the namespace", kube(f.t, "get", "configmaps,events,jobs,pods,ksvc,secrets", "-n", namespace, "-o", "yaml"))
	look("the keys", secretEntry(f.t, "keys", "keys.json"))
}
