//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const launchURL = "http://launch." + namespace + ".svc.cluster.local/"

// TestBrokerDown submits while no event can be sent: the reaper sends them later, and every job
// runs once.
func TestBrokerDown(t *testing.T) {
	s := installed(t)
	back := scale(t, "knative-eventing", "mt-broker-ingress", 0)
	var jobs []*run
	for n := range 20 {
		jobs = append(jobs, s.submit(t, shell(fmt.Sprintf("echo job %d", n))))
	}
	if got := jobs[0].status(); got.Phase != "Pending" {
		t.Errorf("without a Broker a job is %+v", got)
	}
	back()
	for n, j := range jobs {
		if end := j.ends("Succeeded", "Completed"); len(end.Attempts) != 1 {
			t.Errorf("job %d: %+v", n, end)
		}
		if got := j.logs("tail=all"); got != fmt.Sprintf("job %d\n", n) {
			t.Errorf("job %d: log %q", n, got)
		}
	}
}

// TestDeliveredOften delivers events again, at once and after the end of the job, to any number of
// launchers.
func TestDeliveredOften(t *testing.T) {
	s := installed(t)
	j := s.submit(t, shell("echo once"))
	send(t, launchURL, 24, j.submittedEvent())
	if end := j.ends("Succeeded", "Completed"); len(end.Attempts) != 1 {
		t.Errorf("got %+v", end)
	}
	send(t, launchURL, 3, j.submittedEvent())
	if got := j.logs("tail=all"); got != "once\n" {
		t.Errorf("log %q", got)
	}
	if got := kube(t, "get", "jobs", "-n", namespace, "-l", "go-job-orchestrator.github.io/job-id="+j.ID, "-o",
		"name"); strings.Count(got, "job.batch/") != 1 {
		t.Errorf("Jobs: %q", got)
	}
	// An event that is not about a job starts nothing, and is not delivered again.
	foreign, err := json.Marshal(map[string]string{"specversion": "1.0", "id": "1", "type": "com.example.other",
		"source": "/e2e", "subject": strings.Repeat("0", 32)})
	if err != nil {
		t.Fatal(err)
	}
	send(t, launchURL, 1, foreign)
}

// TestLauncherCutOff has the launcher fail between Job and Secret, as if it had been killed there,
// for two rounds of the reaper. Each of them has the job launched again, by an event of its own.
func TestLauncherCutOff(t *testing.T) {
	s := installed(t)
	heard := listen(t, "event-listener")
	give := withoutSecrets(t)
	j := s.submit(t, shell("echo hello"))
	until(t, patience, "its pod waits for the Secret", func() bool { return len(j.pods()) == 1 })
	if got := j.status(); got.Phase != "Pending" {
		t.Errorf("got %+v", got)
	}
	const submitted, launch = "io.github.go-job-orchestrator.job.submitted.v1", "io.github.go-job-orchestrator.launch.v1"
	until(t, patience, "two rounds have launched it again", func() bool { return heard(launch, j) >= 2 })
	give()
	if end := j.ends("Succeeded", "Completed"); len(end.Attempts) != 1 {
		t.Errorf("got %+v", end)
	}
	// Whether an event that launch refuses counts as delivered is the Broker's business: an in-memory
	// channel does not say, so it may come again.
	if n := heard(submitted, j); n < 1 {
		t.Error("others were not told that the job was submitted")
	}
}

// withoutSecrets takes from the launcher the right to make Secrets.
func withoutSecrets(t *testing.T) (give func()) {
	t.Helper()
	const patch = `[{"op":"replace","path":"/rules/%d/verbs","value":[%q]}]`
	rule := -1
	var role struct {
		Rules []struct{ Resources []string } `json:"rules"`
	}
	if err := json.Unmarshal([]byte(kube(t, "get", "role", "launch", "-n", namespace, "-o", "json")), &role); err != nil {
		t.Fatal(err)
	}
	for i, r := range role.Rules {
		if len(r.Resources) == 1 && r.Resources[0] == "secrets" {
			rule = i
		}
	}
	if rule < 0 {
		t.Fatal("the Role of launch has no rule of Secrets")
	}
	set := func(verb string) { // also in the end, when the test's context is over
		change := fmt.Sprintf(patch, rule, verb)
		out, err := command("kubectl", "patch", "role", "launch", "-n", namespace, "--type=json", "-p", change)
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	set("get")
	t.Cleanup(func() { set("create") })
	return func() { set("create") }
}

// listen has a pod of that name hear all events of the Broker, and returns how many of a type it
// has heard of a job.
func listen(t *testing.T, name string) (heard func(kind string, j *run) int) {
	t.Helper()
	program := `import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        print(self.headers["ce-type"], self.headers["ce-subject"], flush=True)
        self.send_response(204); self.end_headers()
http.server.HTTPServer(("", 8080), H).serve_forever()`
	serve(t, name, restricted(map[string]any{"image": "python:3.13-slim", "command": []string{"python3", "-c", program}}))
	trigger, err := json.Marshal(map[string]any{
		"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{"broker": "default", "subscriber": map[string]any{
			"ref": map[string]any{"apiVersion": "v1", "kind": "Service", "name": name},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/trigger.json"
	if err := os.WriteFile(path, trigger, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := kubectl(t, trigger, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	t.Cleanup(func() { removeTriggers(t, path) })
	kube(t, "wait", "-n", namespace, "--for=condition=Ready", "--timeout=2m", "trigger", "--all")
	return func(kind string, j *run) int {
		return strings.Count(kube(t, "logs", name, "-n", namespace), kind+" "+j.ID+"\n")
	}
}

// TestQuota keeps the namespace from having any more pods.
func TestQuota(t *testing.T) {
	s := installed(t)
	s.submit(t, shell("true")).ends("Succeeded", "Completed")               // so that the functions are there
	kube(t, "create", "quota", "no-more", "-n", namespace, "--hard=pods=1") // more are there already, and stay
	remove := func() { _, _ = command("kubectl", "delete", "quota", "no-more", "-n", namespace, "--ignore-not-found") }
	t.Cleanup(remove)
	until(t, time.Minute, "the quota is in force", func() bool {
		out, _ := command("kubectl", "get", "quota", "no-more", "-n", namespace, "-o", "jsonpath={.status.used.pods}")
		return out != ""
	})
	j := s.submit(t, shell("echo hello"))
	if got := j.shows("QuotaExceeded"); got.Phase != "Pending" || !strings.Contains(got.Message, "exceeded quota") {
		t.Errorf("got %+v", got)
	}
	remove()
	if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode != http.StatusOK {
		t.Errorf("cancel: %s %s", resp.Status, body)
	}
}

// TestArtifactsAway ends the function that pods speak to, again and again while one fetches and
// stores.
func TestArtifactsAway(t *testing.T) {
	s := installed(t)
	data, sum := random(50 << 20)
	f := shell("sleep 5; echo line; cp data results/copy; sleep 5; sha256sum data")
	f.files["data"] = data
	j := s.submit(t, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 8 {
			_, _ = command("kubectl", "delete", "pod", "-n", namespace, "-l", "serving.knative.dev/service=artifacts",
				"--grace-period=1", "--wait=false")
			time.Sleep(3 * time.Second)
		}
	}()
	end := j.ends("Succeeded", "Completed")
	<-done
	if len(end.Attempts) != 1 || end.Outputs == nil || end.Outputs.Count != 3 {
		t.Errorf("got %+v", end)
	}
	if got := j.logs("tail=all"); !strings.HasPrefix(got, "line\n"+sum()) {
		t.Errorf("log %q", got)
	}
	if got := len(j.get("/outputs/" + j.ID + "/copy")); got != 50<<20 {
		t.Errorf("the output has %d bytes", got)
	}
}

// faulty is a proxy before the service of artifacts. For every call it answers the first try with
// 500, hangs up during the second, answers the third with 503, and passes on the others, slowly.
const faulty = `import collections,http.client,http.server,os,sys,time
tries=collections.Counter()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version="HTTP/1.1"
    def serve(self):
        body=self.rfile.read(int(self.headers.get("Content-Length") or 0))
        tries[self.command+self.path]+=1
        n=tries[self.command+self.path]
        print(n,self.command,self.path,flush=True)
        if n==2:
            time.sleep(3); self.close_connection=True; return
        if n in (1,3):
            return self.answer(500 if n==1 else 503,[],b"{}")
        time.sleep(2)
        c=http.client.HTTPConnection(os.environ["TARGET"],timeout=60)
        headers={k:v for k,v in self.headers.items() if k.lower() not in ("host","content-length","transfer-encoding")}
        c.request(self.command,self.path,body,headers)
        r=c.getresponse(); data=r.read()
        self.answer(r.status,[h for h in r.getheaders() if h[0].lower() not in ("content-length","transfer-encoding","connection","date")],data)
    def answer(self,status,headers,body):
        self.send_response(status)
        for k,v in headers: self.send_header(k,v)
        if status!=204: self.send_header("Content-Length",str(len(body)))
        self.end_headers()
        if status!=204: self.wfile.write(body)
    do_GET=do_PUT=do_POST=serve
http.server.ThreadingHTTPServer(("",8080),Handler).serve_forever()`

// TestArtifactsFail has pods speak to a function that fails and is slow while they fetch and store.
func TestArtifactsFail(t *testing.T) {
	s := installed(t)
	startFaulty(t)
	before := kube(t, "get", "configmap", "job-orchestrator", "-n", namespace, "-o", "jsonpath={.data.ARTIFACTS_URL}")
	point := func(address string) { // also in the end, when the test's context is over
		for _, args := range [][]string{
			{"patch", "configmap", "job-orchestrator", "-n", namespace, "--type=merge", "-p",
				fmt.Sprintf(`{"data":{"ARTIFACTS_URL":%q}}`, address)},
			{"delete", "pod", "-n", namespace, "-l", "serving.knative.dev/service=launch"}, // which reads it when it starts
		} {
			if out, err := command("kubectl", args...); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
	t.Cleanup(func() { point(before) })
	point("http://faulty." + namespace + ".svc.cluster.local")
	data, sum := random(1 << 20)
	f := shell("echo line; cp data results/copy; sha256sum data; exit 3")
	f.files["data"] = data
	j := s.submit(t, f)
	end := j.ends("Failed", "Error")
	if len(end.Attempts) != 1 || end.ExitCode == nil || *end.ExitCode != 3 || end.Outputs == nil ||
		end.Outputs.Count != 3 {
		t.Errorf("got %+v", end)
	}
	if got := j.logs("tail=all"); !strings.HasPrefix(got, "line\n"+sum()) {
		t.Errorf("log %q", got)
	}
	if got := len(j.get("/outputs/" + j.ID + "/copy")); got != 1<<20 {
		t.Errorf("the output has %d bytes", got)
	}
	said := kube(t, "logs", "faulty", "-n", namespace)
	for _, call := range []string{
		"4 GET /artifacts/" + j.ID + "/data", "4 PUT /artifacts/" + j.ID + "/upload/copy", "4 POST /agent/v1/jobs/" + j.ID +
			"/attempts",
		"4 PUT /agent/v1/jobs/" + j.ID + "/outputs",
	} {
		if !strings.Contains(said, call+"\n") {
			t.Errorf("nobody was patient enough for %q:\n%s", call, said)
		}
	}
}

// startFaulty starts it as a pod with a Service.
func startFaulty(t *testing.T) {
	t.Helper()
	serve(t, "faulty", restricted(map[string]any{
		"image": "python:3.13-slim", "command": []string{"python3", "-c", faulty},
		"env": []any{map[string]string{"name": "TARGET", "value": "artifacts." + namespace +
			".svc.cluster.local"}},
		"readinessProbe": map[string]any{"tcpSocket": map[string]any{"port": 8080}, "periodSeconds": 1},
	}))
}

// TestExpiry has the CronJob remove a job that is past its time, and leave alone one that runs.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := installed(t)
	long := s.submit(t, shell("echo begun; exec sleep 1000", "ttlSecondsAfterFinished=0"))
	short := s.submit(t, shell("true", "ttlSecondsAfterFinished=0"))
	long.says("begun")
	until(t, patience, "the job is removed", func() bool {
		resp, _ := short.call(http.MethodGet, "/api/v1/jobs/"+short.ID)
		return resp.StatusCode == http.StatusNotFound
	})
	if got := long.status(); got.Phase != "Running" {
		t.Errorf("the running job is %+v", got)
	}
}

// TestScaleToZero waits until no function runs, and then runs a job.
func TestScaleToZero(t *testing.T) {
	s := installed(t)
	ours := func() string {
		return kube(t, "get", "pods", "-n", namespace, "-l", "serving.knative.dev/service", "-o", "name")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(whatRuns())
		}
	})
	until(t, 6*time.Minute, "nothing runs", func() bool { return ours() == "" })
	begin := time.Now()
	j := s.submit(t, shell("echo hello"))
	t.Logf("a submit to nothing took %s", time.Since(begin).Round(time.Millisecond))
	j.ends("Succeeded", "Completed")
	t.Logf("submit to end took %s", time.Since(begin).Round(time.Millisecond))
}

// whatRuns says what keeps the functions from scaling to zero.
func whatRuns() string {
	var all strings.Builder
	for _, args := range [][]string{
		{"get", "pods,jobs,podautoscalers,pingsources,triggers", "-n", namespace, "-o", "wide"},
		{"get", "events", "-n", namespace, "--sort-by=.lastTimestamp"},
		{"logs", "-n", namespace, "-l", "serving.knative.dev/service", "--all-containers", "--prefix", "--tail=30",
			"--max-log-requests=40"},
		{"logs", "-n", "knative-serving", "-l", "app=autoscaler", "--tail=60"},
	} {
		out, err := command("kubectl", args...)
		fmt.Fprintf(&all, "kubectl %s: %v\n%s\n", strings.Join(args, " "), err, out)
	}
	return all.String()
}
