//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// outside is a namespace of somebody else in the same cluster.
const outside = "e2e-outside"

// direct is a request that a pod sends to a function, past the gateway.
type direct struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`

	route routes.Route
	name  string
	want  int
}

// sendAll is a program that reads requests, and prints the statuses of the answers. Where the way to
// a function fails, which a function that is scaled up or down may cause, it tries again.
const sendAll = `import concurrent.futures as c,http.client,json,sys,time,urllib.error,urllib.request as u
def one(r):
    body,last=r["body"].encode() or None,0
    for _ in range(5):
        try: return u.urlopen(u.Request(r["url"],body,r["headers"],method=r["method"]),timeout=90).status
        except urllib.error.HTTPError as e: last=e.code
        except (OSError,http.client.HTTPException) as e: last=repr(e)
        if last not in (502,503,504) and isinstance(last,int): break
        print(r["method"],r["url"],last,file=sys.stderr)
        time.sleep(1)
    return last
with c.ThreadPoolExecutor(4) as p: print(json.dumps(list(p.map(one,json.load(sys.stdin)))))`

// stranger starts a pod in a namespace of somebody else, and returns what runs a Python program in
// it with an input.
func stranger(t *testing.T) (python func(program string, input any, args ...string) string) {
	t.Helper()
	sleeps := []string{"python3", "-c", "import time\nwhile True: time.sleep(60)"}
	pod := func(name string, command []string) map[string]any {
		spec := restricted(map[string]any{"image": "python:3.13-slim", "command": command})
		delete(spec, "serviceAccountName")
		spec["terminationGracePeriodSeconds"] = 1 // the programs ignore SIGTERM
		return map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": spec,
			"metadata": map[string]any{"name": name, "namespace": outside, "labels": map[string]string{"e2e": name}}}
	}
	manifest, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
		map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]string{"name": outside}},
		pod("caller", sleeps), pod("closed", []string{"python3", "-m", "http.server", "8080"}),
		map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
			"metadata": map[string]string{"name": "closed", "namespace": outside},
			"spec": map[string]any{"podSelector": map[string]any{"matchLabels": map[string]string{"e2e": "closed"}},
				"policyTypes": []string{"Ingress"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	kube(t, "delete", "namespace", outside, "--ignore-not-found", "--timeout=3m") // of the test before, if it is still there
	t.Cleanup(func() {
		_, _ = command("kubectl", "delete", "namespace", outside, "--ignore-not-found", "--wait=false")
	})
	if _, stderr, err := kubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	kube(t, "wait", "-n", outside, "--for=condition=Ready", "--timeout=3m", "pod", "--all")
	return func(program string, input any, args ...string) string {
		t.Helper()
		data, err := json.Marshal(input)
		if err != nil {
			t.Fatal(err)
		}
		stdout, stderr, err := kubectl(t, data, append([]string{"exec", "-i", "-n", outside, "caller", "--", "python3", "-c",
			program}, args...)...)
		if err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		if stderr != "" {
			t.Log(stderr)
		}
		return stdout
	}
}

// behind sends every call of the functions behind front directly, from a pod in another namespace.
func (f *accessFixture) behind() {
	t := f.t
	t.Helper()
	python := stranger(t)
	ask := func(list []direct) []int {
		answers := python(sendAll, list)
		var got []int
		if err := json.Unmarshal([]byte(answers), &got); err != nil || len(got) != len(list) {
			t.Fatalf("%d answers, %v: %s", len(got), err, answers)
		}
		return got
	}
	// Every function must run before assertions are made, which are valid for a minute.
	ask(f.calls(func(routes.Route) map[string]direct { return map[string]direct{"": {want: http.StatusUnauthorized}} }))
	all := f.calls(f.attempts)
	for i, got := range ask(all) {
		one := all[i]
		if one.want == admitted && !answers(one.route, got) || one.want != admitted && got != one.want {
			t.Errorf("%s, %s: %d, want %d", one.route, one.name, got, one.want)
		}
	}
	f.unreachable(python)
}

// calls lists each call of a function behind front in each way of trying it.
func (f *accessFixture) calls(ways func(routes.Route) map[string]direct) []direct {
	var all []direct
	for _, r := range routes.All() {
		if r.Reach == routes.Cluster || r.Role == routes.Anyone || r.Function == routes.Metrics {
			continue
		}
		path, kind, body := f.request(r)
		for name, d := range ways(r) {
			d.name, d.route, d.Method, d.Body = name, r, r.Method, body
			d.URL = "http://" + string(r.Function.Service()) + "." + namespace + ".svc.cluster.local" + path
			if d.Headers == nil {
				d.Headers = map[string]string{}
			}
			if kind != "" {
				d.Headers["Content-Type"] = kind
			}
			if d.want != admitted || !removes(r) && r.Reach == routes.Public {
				all = append(all, d)
			}
		}
	}
	return all
}

// attempts are the ways of coming past the gateway, and what they lead to.
func (f *accessFixture) attempts(r routes.Route) map[string]direct {
	f.t.Helper()
	now := time.Now()
	admin := access.Caller{Owner: "admin", Role: access.Admin, Via: "key e2e"}
	assert := func(keys token.Keys, method, path string, at time.Time) map[string]string {
		req, err := http.NewRequest(method, "http://x"+path, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		if err := access.Assert(req, admin, keys, at); err != nil {
			f.t.Fatal(err)
		}
		return map[string]string{access.AssertionHeader: req.Header.Get(access.AssertionHeader)}
	}
	foreign, err := token.New([]byte(strings.Repeat("x", token.MinKeyBytes)))
	if err != nil {
		f.t.Fatal(err)
	}
	path, _, _ := f.request(r)
	plain, _, _ := strings.Cut(path, "?") // an assertion is for a path, whatever the query
	with := func(bearer string) map[string]string { return map[string]string{"Authorization": "Bearer " + bearer} }
	const (
		unauthorized, forbidden = http.StatusUnauthorized, http.StatusForbidden
		day                     = 24 * time.Hour
		otherJob                = "0123456789abcdef0123456789abcdef"
	)
	ways := map[string]direct{
		"nothing":                       {want: unauthorized},
		"a key":                         {Headers: with(f.key), want: forbidden},
		"the token of another job":      {Headers: with(f.tokens.Derive(token.User, otherJob)), want: forbidden},
		"the token of the job":          {Headers: with(f.job.Token), want: forbidden},
		"a forged assertion":            {Headers: assert(foreign, r.Method, path, now), want: unauthorized},
		"an assertion of yesterday":     {Headers: assert(f.tokens, r.Method, path, now.Add(-day)), want: unauthorized},
		"an assertion of tomorrow":      {Headers: assert(f.tokens, r.Method, path, now.Add(day)), want: unauthorized},
		"an assertion for another path": {Headers: assert(f.tokens, r.Method, plain+"x", now), want: unauthorized},
		"an assertion for PATCH":        {Headers: assert(f.tokens, http.MethodPatch, path, now), want: unauthorized},
		"the gateway's assertion":       {Headers: assert(f.tokens, r.Method, path, now), want: admitted},
	}
	change := func(name string, want int) {
		d := ways[name]
		d.want = want
		ways[name] = d
	}
	if r.Tokens == 0 {
		for _, name := range []string{"a key", "the token of another job", "the token of the job"} {
			change(name, unauthorized)
		}
	}
	if r.Tokens.Opens(routes.User) {
		change("the token of the job", admitted)
	}
	if r.Role == routes.NoCaller { // an assertion of who calls is not the token that it needs
		change("the gateway's assertion", unauthorized)
	}
	if r.Tokens.Opens(routes.Index) { // the token is in the path, and wrong
		change("nothing", forbidden)
		change("the gateway's assertion", forbidden)
	}
	if r == routes.ReceiveEvent { // it may come from the Broker, which has no credentials
		change("nothing", admitted)
	}
	return ways
}

// unreachable connects to the pods of the functions themselves, where the cluster enforces
// policies.
func (f *accessFixture) unreachable(python func(program string, input any, args ...string) string) {
	f.t.Helper()
	const connect = `import socket,sys
for port in sys.argv[2:]:
    try: socket.create_connection((sys.argv[1],int(port)),5).close(); print(port)
    except OSError: pass`
	// Until its server listens, nobody can tell whether a policy closes it.
	until(f.t, time.Minute, "the closed pod listens", func() bool {
		_, _, err := kubectl(f.t, nil, "exec", "-n", outside, "closed", "--", "python3", "-c",
			`import socket; socket.create_connection(("127.0.0.1",8080),5)`)
		return err == nil
	})
	closed := kube(f.t, "get", "pod", "closed", "-n", outside, "-o", "jsonpath={.status.podIP}")
	if got := python(connect, nil, closed, "8080"); got != "" {
		f.t.Log("this cluster does not enforce NetworkPolicies: config/base/800-network.yaml was not tested")
		return
	}
	const each = `jsonpath={range .items[*]}{.status.podIP} {.metadata.labels.serving\.knative\.dev/service}{"\n"}{end}`
	tried := 0
	for line := range strings.Lines(kube(f.t, "get", "pods", "-n", namespace, "-l", "serving.knative.dev/service",
		"--field-selector=status.phase=Running", "-o", each)) {
		address, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == namespace { // front is public
			continue
		}
		tried++
		if got := python(connect, nil, address, "8012", "8080", "9090"); got != "" {
			f.t.Errorf("a pod in another namespace reaches the pod of %s at %q", name, got)
		}
	}
	if tried == 0 {
		f.t.Error("no function runs")
	}
}
