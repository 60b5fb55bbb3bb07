//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// owner uploads templates and finds the jobs that start from them.
type owner struct {
	*service
	t *testing.T
}

// template uploads a template.
func (o *owner) template(name string, f form) {
	o.t.Helper()
	var body strings.Builder
	w := newForm(&body)
	if err := f.write(w); err != nil {
		o.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodPut, o.url+"/api/v1/templates/"+name,
		strings.NewReader(body.String()))
	if err != nil {
		o.t.Fatal(err)
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	o.authorize(req)
	resp, data := o.do(o.t, req)
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
		o.t.Fatalf("template %s: %s: %s", name, resp.Status, data)
	}
	o.t.Cleanup(func() { // the test's context is over
		if req, err := http.NewRequest(http.MethodDelete, o.url+"/api/v1/templates/"+name, nil); err == nil {
			o.authorize(req)
			if resp, err := o.client.Do(req); err == nil {
				resp.Body.Close()
			}
		}
	})
}

// started waits for a job of the template that is not one of those before.
func (o *owner) started(template string, before map[string]bool) *run {
	o.t.Helper()
	var j *run
	until(o.t, patience, "a job of "+template+" was started", func() bool {
		j = o.find(template, before)
		return j != nil
	})
	return j
}

// find returns a job of the template that is not one of those before; nil: there is none.
func (o *owner) find(template string, before map[string]bool) *run {
	o.t.Helper()
	for _, id := range o.jobs() {
		if before[id] {
			continue
		}
		j := &run{t: o.t, service: o.service, ID: id, Name: "run-" + id}
		if strings.Contains(j.get("/api/v1/jobs/"+id), `"template":{"name":"`+template+`"`) {
			return j
		}
	}
	return nil
}

func (o *owner) jobs() []string {
	o.t.Helper()
	req, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, o.url+"/api/v1/jobs?limit=100", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	o.authorize(req)
	_, body := o.do(o.t, req)
	var page struct {
		Items []struct {
			JobID string `json:"jobID"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		o.t.Fatal(err)
	}
	ids := []string{}
	for _, item := range page.Items {
		ids = append(ids, item.JobID)
	}
	return ids
}

func (o *owner) before() map[string]bool {
	all := map[string]bool{}
	for _, id := range o.jobs() {
		all[id] = true
	}
	return all
}

// example applies one of config/examples, with changes, and removes it in the end.
func example(t *testing.T, name string, changes ...string) {
	t.Helper()
	text, err := os.ReadFile(manifestsFolder + "/examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	manifest := strings.NewReplacer(changes...).Replace(string(text))
	if _, stderr, err := kubectl(t, []byte(manifest), "apply", "-f", "-"); err != nil {
		t.Fatalf("%s: %v: %s", name, err, stderr)
	}
	path := t.TempDir() + "/" + name
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		removeTriggers(t, path)
		if out, err := command("kubectl", "delete", "--wait=false", "--ignore-not-found", "-f", path); err != nil {
			t.Errorf("%s stays: %v: %s", name, err, out)
		}
	})
	kube(t, "wait", "-n", namespace, "--for=condition=Ready", "--timeout=2m", "trigger", "--all")
}

// removeTriggers removes the Triggers of a manifest one at a time: of two that go at once, Knative
// can leave one's subscription in the Broker's channel (knative/eventing issue 6636), which then
// takes no event any more.
func removeTriggers(t *testing.T, path string) {
	out, err := command("kubectl", "get", "--ignore-not-found", "-o", "name", "-f", path)
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, object := range strings.Fields(out) {
		name, isTrigger := strings.CutPrefix(object, "trigger.eventing.knative.dev/")
		if !isTrigger {
			continue
		}
		if out, err := command("kubectl", "delete", object, "-n", namespace, "--timeout=2m"); err != nil {
			t.Errorf("%s stays: %v: %s", object, err, out)
		}
		until(t, time.Minute, "the subscription of "+name+" is gone", func() bool {
			out, err := command("kubectl", "get", "subscriptions", "-n", namespace, "-o", "name")
			return err == nil && !strings.Contains(out, "/default-"+name+"-")
		})
	}
}

// TestChain is the example of that name: the second job reads what the first one left.
func TestChain(t *testing.T) {
	o := &owner{service: installed(t), t: t}
	o.template("count", script("python", "count.py",
		`import os; open(os.environ["OUTPUT_DIR"] + "/count.txt", "w").write("42")`))
	o.template("sum", script("python", "sum.py", `print("the first said", open("inputs/count.txt").read())`,
		"eventTypes=io.github.go-job-orchestrator.job.succeeded.v1"))
	example(t, "chain.yml")
	before := o.before()
	w := form{fields: [][2]string{}}
	var body strings.Builder
	fw := newForm(&body)
	if err := w.write(fw); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.url+"/api/v1/templates/count/jobs",
		strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", fw.FormDataContentType())
	o.authorize(req)
	if resp, data := o.do(t, req); resp.StatusCode != http.StatusCreated {
		t.Fatalf("start: %s: %s", resp.Status, data)
	}
	j := o.started("sum", before)
	j.ends("Succeeded", "Completed")
	if got := j.logs("tail=all"); got != "the first said 42\n" {
		t.Errorf("log %q", got)
	}
}

// TestOnUpload is the example of that name: arguments are parts of an event of somebody else's.
func TestOnUpload(t *testing.T) {
	o := &owner{service: installed(t), t: t}
	o.template("resize", script("python", "resize.py", `import sys; print("resizing", sys.argv[1], "of", sys.argv[2])`,
		`args=["$.data.key","$.data.bucket"]`, "eventTypes=com.example.object.created"))
	before := o.before()
	name := fmt.Sprintf("upload-%d", time.Now().UnixNano())
	// The cluster may have no image with curl; one with Python does what the options say.
	const client = `import sys,urllib.request as u
data=[a for a in sys.argv if a.startswith("--data=")][0][7:].encode()
print(u.urlopen(u.Request(sys.argv[-1],data,{"Content-Type":"application/cloudevents+json"})).status)`
	program, err := json.Marshal([]string{"python3", "-c", client})
	if err != nil {
		t.Fatal(err)
	}
	example(t, "on-upload.yml", "upload-once", name, "curlimages/curl:8.17.0", "python:3.13-slim", "command: [curl]",
		"command: "+string(program))
	j := o.started("resize", before)
	j.ends("Succeeded", "Completed")
	if got := j.logs("tail=all"); got != "resizing cat.png of photos\n" {
		t.Errorf("log %q", got)
	}
}

// TestCron is the example of that name, every minute.
func TestCron(t *testing.T) {
	o := &owner{service: installed(t), t: t}
	o.template("report", script("python", "report.py", `import os; print(os.environ["CE_TYPE"])`,
		"eventTypes=dev.knative.sources.ping"))
	before := o.before()
	example(t, "cron.yml", "*/5 * * * *", "*/1 * * * *")
	j := o.started("report", before)
	j.ends("Succeeded", "Completed")
	if got := j.logs("tail=all"); got != "dev.knative.sources.ping\n" {
		t.Errorf("log %q", got)
	}
}

// TestWebhook is the example of that name, with a receiver in the cluster that prints what it gets:
// the line for the chat, and the job itself.
func TestWebhook(t *testing.T) {
	o := &owner{service: installed(t), t: t}
	notify, err := os.ReadFile(manifestsFolder + "/examples/notify.py")
	if err != nil {
		t.Fatal(err)
	}
	const receiver = "webhook-receiver"
	program := `import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.path, self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204); self.end_headers()
http.server.HTTPServer(("", 8080), H).serve_forever()`
	serve(t, receiver, restricted(map[string]any{"image": "python:3.13-slim",
		"command": []string{"python3", "-c", program}}))
	address := "http://" + receiver + "." + namespace + ".svc.cluster.local/"
	o.template("notify", script("python", "notify.py", string(notify), `args=["$.data.jobID","$.data.reason"]`,
		`env={"WEBHOOK_URL":"`+address+`chat"}`, "eventTypes=io.github.go-job-orchestrator.job.failed.v1"))
	example(t, "webhook.yml", "http://webhook-receiver.default.svc.cluster.local/", address+"url")
	j := o.submit(t, shell("exit 3"))
	j.ends("Failed", "Error")
	var got string
	until(t, patience, "both were told", func() bool {
		got = kube(t, "logs", receiver, "-n", namespace)
		return strings.Contains(got, `/chat {"text": "Job `+j.ID+` failed: Error"}`) &&
			strings.Contains(got, `"jobID":"`+j.ID+`"`)
	})
	if strings.Contains(got, j.Token) {
		t.Error("an event has the job's token")
	}
}

// TestHandshake asks through the front whether events may be delivered, and what else the paths
// allow.
func TestHandshake(t *testing.T) {
	s := installed(t)
	ask := func(method, path string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("WebHook-Request-Origin", "sender.example.com")
		resp, _ := s.do(t, req)
		return resp
	}
	got := ask(http.MethodOptions, "/events?template=none")
	if got.StatusCode != http.StatusNoContent || got.Header.Get("WebHook-Allowed-Origin") != "sender.example.com" ||
		got.Header.Get("WebHook-Allowed-Rate") != "*" || got.Header.Get("Allow") != "OPTIONS, POST" {
		t.Errorf("got %s, %v", got.Status, got.Header)
	}
	for name := range got.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("the answer has %s", name)
		}
	}
	for path, want := range map[string]string{
		"/api/v1/jobs": "GET, POST", "/api/v1/templates/x": "DELETE, GET, PUT", "/outputs/x": "GET, HEAD",
		"/events": "OPTIONS, POST", "/artifacts/x/upload/y": "GET, HEAD",
	} {
		got := ask(http.MethodPatch, path)
		if got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") != want {
			t.Errorf("PATCH %s: %s, Allow %q, want %q", path, got.Status, got.Header.Get("Allow"), want)
		}
	}
}

// TestWaiting waits for a job's end with the submit itself, and for its phases with server-sent
// events.
func TestWaiting(t *testing.T) {
	t.Parallel()
	s := installed(t)
	j := s.submit(t, shell("sleep 2; exit 0"))
	resp, err := s.client.Do(j.request(http.MethodGet, "/api/v1/jobs/"+j.ID+"/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var phases []string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		data, isData := strings.CutPrefix(lines.Text(), "data:")
		if !isData {
			continue
		}
		var st status
		if err := json.Unmarshal([]byte(data), &st); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		phases = append(phases, st.Phase)
	}
	if len(phases) == 0 || phases[len(phases)-1] != "Succeeded" {
		t.Errorf("phases %q", phases)
	}
	slow := s.submit(t, shell("sleep 3"))
	req := slow.request(http.MethodGet, "/api/v1/jobs/"+slow.ID)
	req.Header.Set("Prefer", "wait=60")
	answer, body := s.do(t, req)
	if !strings.Contains(string(body), `"phase":"Succeeded"`) ||
		!strings.Contains(answer.Header.Get("Preference-Applied"), "wait") {
		t.Errorf("waited: %s %s: %s", answer.Status, answer.Header.Get("Preference-Applied"), body)
	}
}
