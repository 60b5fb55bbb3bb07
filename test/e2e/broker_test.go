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

// subscribe makes a Trigger of the same name for each template: an event of the type starts a job.
func subscribe(t *testing.T, eventType string, templates ...string) {
	t.Helper()
	var items []any
	for _, name := range templates {
		items = append(items, map[string]any{
			"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
			"metadata": map[string]any{"name": name, "namespace": namespace},
			"spec": map[string]any{
				"broker": "default", "filter": map[string]any{"attributes": map[string]string{"type": eventType}},
				"subscriber": map[string]any{"uri": "/events?template=" + name, "ref": map[string]any{
					"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "submit"}},
			},
		})
	}
	manifest, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/triggers.json"
	if err := os.WriteFile(path, manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeTriggers(t, path) })
	kube(t, "apply", "-f", path)
	kube(t, "wait", "-n", namespace, "--for=condition=Ready", "--timeout=2m", "trigger", "--all")
}

// TestMarkedTemplates has the Broker deliver one event for three templates. It starts only the one
// that says that such events may start it. A caller with a key starts the others as well.
func TestMarkedTemplates(t *testing.T) {
	const marked, unmarked, elsewhere, kind = "e2e-marked", "e2e-unmarked", "e2e-elsewhere", "com.example.e2e.begun"
	o := &owner{service: installed(t), t: t}
	o.template(marked, shell("echo by the Broker", "eventTypes=com.example.e2e.*", "eventSources=/e2e/*"))
	o.template(unmarked, shell("true"))
	o.template(elsewhere, shell("true", "eventSources=/elsewhere"))
	subscribe(t, kind, marked, unmarked, elsewhere)
	before := o.before()
	id := fmt.Sprint(time.Now().UnixNano())
	event := func(suffix string) string {
		data, err := json.Marshal(map[string]string{"specversion": "1.0", "id": id + suffix, "type": kind,
			"source": "/e2e/marked"})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	const structured = "application/cloudevents+json"
	python := stranger(t)
	post := func(event string, addresses ...string) string {
		var list []direct
		for _, address := range addresses {
			list = append(list, direct{Method: http.MethodPost, URL: address, Body: event,
				Headers: map[string]string{"Content-Type": structured}})
		}
		return strings.TrimSpace(python(sendAll, list))
	}
	// An in-memory channel answers that not all could be delivered, because two templates refuse it.
	t.Logf("the Broker answers %s", post(event(""), "http://broker-ingress.knative-eventing.svc.cluster.local/"+
		namespace+"/default"))
	j := o.started(marked, before)
	j.ends("Succeeded", "Completed")
	if got := j.logs("tail=all"); got != "by the Broker\n" {
		t.Errorf("log %q", got)
	}
	_, who := o.who(t, o.key)
	name, _, _ := strings.Cut(who, "/")
	if got := j.get("/api/v1/jobs/" + j.ID); !strings.Contains(got, `"owner":"`+name+`"`) {
		t.Errorf("the job is not of %s, who has the template: %s", name, got)
	}
	// The Broker has delivered the others by now, or not: the function says itself what it refuses.
	const submit = "http://submit." + namespace + ".svc.cluster.local/events?template="
	if got := post(event("again"), submit+unmarked, submit+elsewhere); got != "[403, 403]" {
		t.Errorf("the function answers %s to events without credentials", got)
	}
	for _, template := range []string{unmarked, elsewhere} {
		if found := o.find(template, before); found != nil {
			t.Errorf("job %s was started from %s by the Broker", found.ID, template)
		}
		resp, body := o.service.send(t, http.MethodPost, "/events?template="+template, o.key, structured, event("by key"))
		if resp.StatusCode != http.StatusAccepted {
			t.Errorf("%s by a caller with a key: %s: %s", template, resp.Status, body)
		}
		o.started(template, before).ends("Succeeded", "Completed")
	}
}
