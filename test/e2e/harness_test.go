//go:build e2e

// Package e2e tries everything on the cluster that KUBECONFIG names, which needs Knative Serving
// and Eventing: it installs config/ and uses it as its users would. make e2e says what it needs.
// Tests that only run jobs, or that have a namespace of their own, are parallel. Tests that change
// what all jobs share run first, one at a time.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const namespace = "job-orchestrator"

// The settings of these tests, beside KUBECONFIG and what ko needs.
const (
	// proxyVariable is an HTTP proxy through which the cluster's URLs are reached, where they are not
	// by themselves.
	proxyVariable = "E2E_PROXY"
	// deployedVariable says that config/ is installed as it is now.
	deployedVariable = "E2E_DEPLOYED"
	// keyVariable is the key of an admin, for a cluster that has keys already. Elsewhere make secret
	// shows the first one.
	keyVariable = "E2E_KEY"
)

// service is the installed orchestrator.
type service struct {
	url    string
	client *http.Client
	key    string // of an admin; empty: none is sent
}

// shownKey finds a key in what a command prints.
var shownKey = regexp.MustCompile(`\bgojob_[0-9a-z]{10}_[0-9A-Za-z]+`)

// install installs everything, once for all tests, and returns it when it is ready.
var install = sync.OnceValues(func() (*service, error) {
	if os.Getenv("KUBECONFIG") == "" {
		return nil, fmt.Errorf("KUBECONFIG names no cluster; these tests need one with Knative Serving and Eventing")
	}
	key := os.Getenv(keyVariable)
	if os.Getenv(deployedVariable) == "" {
		for _, target := range []string{"features", "secret", "deploy"} {
			out, err := command("make", "-C", "../..", target)
			if err != nil {
				return nil, fmt.Errorf("make %s: %w: %s", target, err, shownKey.ReplaceAllString(out, "(a key)"))
			}
			if shown := shownKey.FindString(out); shown != "" {
				key = shown
			}
		}
	}
	if key == "" {
		return nil, fmt.Errorf("the cluster has keys already: set %s to the key of an admin, or delete the Secret keys "+
			"in %s, for make secret to make a new one", keyVariable, namespace)
	}
	// A job that cannot start is given up soon enough for a test to see it, and finished pods stay for
	// it to look at.
	if out, err := command("kubectl", "patch", "configmap", "job-orchestrator", "-n", namespace, "--type=merge", "-p",
		`{"data":{"START_TIMEOUT":"45s"}}`); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	if out, err := command("kubectl", "wait", "-n", namespace, "--for=condition=Ready", "--timeout=5m",
		"ksvc,broker,trigger", "--all"); err != nil {
		return nil, fmt.Errorf("not ready: %w: %s", err, out)
	}
	address, err := command("kubectl", "get", "ksvc", "job-orchestrator", "-n", namespace, "-o", "jsonpath={.status.url}")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	if proxy := os.Getenv(proxyVariable); proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", proxyVariable, err)
		}
		transport.Proxy = http.ProxyURL(u)
	}
	s := &service{url: address, client: &http.Client{Transport: transport}, key: key}
	if err := s.settle(context.Background()); err != nil {
		return nil, err
	}
	return s, nil
})

func command(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func installed(t *testing.T) *service {
	t.Helper()
	s, err := install()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kube runs kubectl, which must succeed.
func kube(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := kubectl(t, nil, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, stderr)
	}
	return strings.TrimSpace(stdout)
}

// form is what is sent to run a job.
type form struct {
	fields  [][2]string
	files   map[string]io.Reader
	archive []byte // nil: none
	header  http.Header
}

func script(runtime, name, text string, fields ...string) form {
	f := form{fields: [][2]string{{"runtime", runtime}, {"entrypoint", name}},
		files: map[string]io.Reader{name: strings.NewReader(text)}}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		f.fields = append(f.fields, [2]string{key, value})
	}
	return f
}

func shell(text string, fields ...string) form {
	return script("binary", "run", "#!/bin/sh\n"+text, fields...)
}

// run is a job that was submitted.
type run struct {
	t *testing.T
	*service
	ID    string `json:"jobID"`
	Name  string `json:"jobName"`
	Token string `json:"token"`
}

// submit sends a job, which must be accepted. In the end it is removed.
func (s *service) submit(t *testing.T, f form) *run {
	t.Helper()
	resp, body := s.post(t, f)
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("submit: %s: %s", resp.Status, body)
	}
	r := &run{t: t, service: s}
	if err := json.Unmarshal(body, r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := command("kubectl", "get", "jobs,pods", "-n", namespace, "-l", "go-job-orchestrator.github.io/job-id="+
				r.ID, "-o", "wide")
			t.Logf("job %s\n%s", r.ID, out)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, r.url+"/api/v1/jobs/"+r.ID, nil)
		if err != nil {
			return
		}
		r.authorize(req)
		resp, err := r.client.Do(req)
		if err != nil {
			t.Errorf("job %s stays: %v", r.ID, err)
			return
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotFound {
			t.Errorf("job %s stays: %s: %s", r.ID, resp.Status, body)
		}
	})
	return r
}

func (s *service) post(t *testing.T, f form) (*http.Response, []byte) {
	t.Helper()
	pr, pw := io.Pipe()
	w := multipart.NewWriter(pw)
	go func() { pw.CloseWithError(f.write(w)) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/v1/jobs", pr)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, f.header)
	req.Header.Set("Content-Type", w.FormDataContentType())
	s.authorize(req)
	return s.do(t, req)
}

// authorize puts the key onto a request, if there is one.
func (s *service) authorize(req *http.Request) {
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
}

func newForm(w io.Writer) *multipart.Writer { return multipart.NewWriter(w) }

func (f form) write(w *multipart.Writer) error {
	for _, field := range f.fields {
		if err := w.WriteField(field[0], field[1]); err != nil {
			return err
		}
	}
	if f.archive != nil {
		part, err := w.CreateFormFile("archive", "project")
		if err != nil {
			return err
		}
		if _, err := part.Write(f.archive); err != nil {
			return err
		}
	}
	for name, content := range f.files {
		part, err := w.CreateFormFile("files", name)
		if err != nil {
			return err
		}
		if _, err := io.Copy(part, content); err != nil {
			return err
		}
	}
	return w.Close()
}

func (s *service) do(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func (r *run) request(method, path string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.authorize(req)
	if r.key == "" { // where nobody has keys, files need the job's token
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	return req
}

func (r *run) call(method, path string) (*http.Response, []byte) {
	r.t.Helper()
	return r.do(r.t, r.request(method, path))
}

func (r *run) get(path string) string {
	r.t.Helper()
	resp, body := r.call(http.MethodGet, path)
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s: %s", path, resp.Status, body)
	}
	return string(body)
}

// status is what the tests look at of a job.
type status struct {
	Phase    string `json:"phase"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	ExitCode *int   `json:"exitCode"`
	Attempts []struct {
		Number int    `json:"number"`
		Reason string `json:"reason"`
	} `json:"attempts"`
	Outputs *struct {
		Count int   `json:"count"`
		Bytes int64 `json:"bytes"`
	} `json:"outputs"`
}

func (r *run) status() status {
	r.t.Helper()
	var s status
	if err := json.Unmarshal([]byte(r.get("/api/v1/jobs/"+r.ID)), &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// until waits for a condition.
func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(250 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain until %s", limit, what)
		}
	}
}

const patience = 4 * time.Minute

// ends waits for the end of the job, which must be the given one.
func (r *run) ends(phase, reason string) status {
	r.t.Helper()
	var s status
	terminal := []string{"Succeeded", "Failed", "Cancelled"}
	until(r.t, patience, "the job is over", func() bool { s = r.status(); return slices.Contains(terminal, s.Phase) })
	if s.Phase != phase || s.Reason != reason {
		r.t.Errorf("the job is %s (%s: %s), want %s (%s)", s.Phase, s.Reason, s.Message, phase, reason)
	}
	return s
}

// shows waits for a reason to show of a job that is not over.
func (r *run) shows(reason string) status {
	r.t.Helper()
	var s status
	until(r.t, patience, "the job shows "+reason, func() bool { s = r.status(); return s.Reason == reason })
	return s
}

func (r *run) logs(query string) string {
	r.t.Helper()
	return r.get("/api/v1/jobs/" + r.ID + "/logs?" + query)
}

// says waits for a text in the log.
func (r *run) says(text string) {
	r.t.Helper()
	until(r.t, patience, fmt.Sprintf("the log has %q", text),
		func() bool { return strings.Contains(r.logs("tail=all"), text) })
}

func (r *run) pods() []string {
	r.t.Helper()
	return strings.Fields(kube(r.t, "get", "pods", "-n", namespace, "-l", "batch.kubernetes.io/job-name="+r.Name,
		"--sort-by=.metadata.creationTimestamp", "-o", "jsonpath={.items[*].metadata.name}"))
}

// submittedEvent is the event by which launch learns of a job.
func (r *run) submittedEvent() []byte {
	data, err := json.Marshal(map[string]string{
		"specversion": "1.0", "id": r.ID + ".again", "type": "io.github.go-job-orchestrator.job.submitted.v1",
		"source": "/e2e", "subject": r.ID,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// send posts an event to a service inside the cluster, from a pod made for it.
func send(t *testing.T, target string, times int, event []byte) {
	t.Helper()
	name := fmt.Sprintf("send-%d", time.Now().UnixNano())
	program := `import json,sys,urllib.request,concurrent.futures as c
def one(_):
    r=urllib.request.Request(sys.argv[1],data=sys.argv[3].encode(),headers={"Content-Type":"application/cloudevents+json"})
    return urllib.request.urlopen(r,timeout=60).status
with c.ThreadPoolExecutor(8) as p: print(list(p.map(one,range(int(sys.argv[2])))))`
	spec := restricted(map[string]any{"image": "python:3.13-slim", "command": []string{"python3", "-c", program, target,
		fmt.Sprint(times), string(event)}})
	spec["restartPolicy"] = "Never"
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": namespace}, "spec": spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := kubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	t.Cleanup(func() { _, _ = command("kubectl", "delete", "pod", name, "-n", namespace, "--wait=false") })
	phase := ""
	until(t, patience, "the events are sent", func() bool {
		phase = kube(t, "get", "pod", name, "-n", namespace, "-o", "jsonpath={.status.phase}")
		return phase == "Succeeded" || phase == "Failed"
	})
	if out := kube(t, "logs", name, "-n", namespace); phase == "Failed" {
		t.Fatalf("events not sent: %s", out)
	}
}

// restricted is the spec of a pod with one container that may do as little as the namespace
// demands.
func restricted(container map[string]any) map[string]any {
	container["name"] = "main"
	container["securityContext"] = map[string]any{"allowPrivilegeEscalation": false,
		"capabilities": map[string]any{"drop": []string{"ALL"}}}
	return map[string]any{
		"serviceAccountName": "job", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
		"securityContext": map[string]any{"runAsNonRoot": true, "runAsUser": 65532,
			"seccompProfile": map[string]string{"type": "RuntimeDefault"}},
		"containers": []any{container},
	}
}

// serve starts a pod, and a Service of the same name before its port 8080, and waits until it is
// ready. In the end both are removed.
func serve(t *testing.T, name string, spec map[string]any) {
	t.Helper()
	labels := map[string]string{"e2e": name}
	manifest, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
		map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": namespace,
				"labels": labels}, "spec": spec,
		},
		map[string]any{
			"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name, "namespace": namespace},
			"spec": map[string]any{"selector": labels, "ports": []any{map[string]any{"port": 80, "targetPort": 8080}}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, err := kubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	t.Cleanup(func() {
		_, _ = command("kubectl", "delete", "pod,service", name, "-n", namespace, "--ignore-not-found", "--wait=false")
	})
	kube(t, "wait", "-n", namespace, "--for=condition=Ready", "--timeout=3m", "pod/"+name)
}

// scale sets how many replicas a deployment has, and sets it back in the end.
func scale(t *testing.T, space, deployment string, replicas int) (back func()) {
	t.Helper()
	before := kube(t, "get", "deployment", deployment, "-n", space, "-o", "jsonpath={.spec.replicas}")
	set := func(n string) error {
		out, err := command("kubectl", "scale", "deployment", deployment, "-n", space, "--replicas="+n)
		if err == nil {
			out, err = command("kubectl", "rollout", "status", "deployment", deployment, "-n", space, "--timeout=3m")
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace([]byte(out)))
		}
		return nil
	}
	back = sync.OnceFunc(func() {
		if err := set(before); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(back)
	if err := set(fmt.Sprint(replicas)); err != nil {
		t.Fatal(err)
	}
	return back
}
