//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// profilesMap are the profiles of TestProfiles, and what their pods need.
const profilesMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: profiles, namespace: job-orchestrator}
data:
  profiles.yaml: |
    profiles:
      e2e-node:
        description: A chosen node
        defaults: {cpu: 50m, memory: 64Mi}
        max: {memory: 96Mi}
        kubernetes:
          pod:
            metadata:
              labels: {e2e.example.com/cost: "42"}
            spec:
              nodeSelector: {e2e.example.com/profile: "yes"}
              tolerations: [{key: e2e.example.com/profile, operator: Exists, effect: PreferNoSchedule}]
              priorityClassName: e2e-profile
              imagePullSecrets: [{name: e2e-registry}]
              volumes:
                - {name: models, configMap: {name: e2e-models}}
                - {name: scratch, emptyDir: {sizeLimit: 16Mi}}
              containers:
                - name: program
                  env:
                    - {name: MODEL, value: small}
                    - {name: OVERRIDDEN, value: profile}
                    - {name: LICENSE, valueFrom: {secretKeyRef: {name: e2e-license, key: key}}}
                  volumeMounts:
                    - {name: models, mountPath: /opt/models, readOnly: true}
                    - {name: scratch, mountPath: /scratch}
      e2e-gpu:
        kubernetes:
          pod: {spec: {containers: [{name: program, resources: {limits: {example.com/e2e-gpu: 1}}}]}}
      e2e-nowhere:
        kubernetes:
          pod: {spec: {nodeSelector: {e2e.example.com/profile: "no"}}}
      e2e-admins:
        roles: [admin]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: e2e-models, namespace: job-orchestrator}
data: {weights: forty-two}
---
apiVersion: v1
kind: Secret
metadata: {name: e2e-license, namespace: job-orchestrator}
stringData: {key: license-42}
---
apiVersion: v1
kind: Secret
metadata: {name: e2e-registry, namespace: job-orchestrator}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths":{"registry.example.com":{"auth":"eDp4"}}}'}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: e2e-profile}
value: 1000
preemptionPolicy: Never
description: for tests
`

// TestProfiles runs jobs whose profiles choose a node, mount volumes, and ask for a resource that the
// node has once.
func TestProfiles(t *testing.T) {
	s := installed(t)
	node := strings.Fields(kube(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	before := kube(t, "get", "configmap", "profiles", "-n", namespace, "-o", `jsonpath={.data.profiles\.yaml}`)
	const resource = "example.com~1e2e-gpu"
	patchNode := func(op string) []string {
		return []string{"patch", "node", node, "--subresource=status", "--type=json", "-p",
			`[{"op":"` + op + `","path":"/status/capacity/` + resource + `","value":"1"},` +
				`{"op":"` + op + `","path":"/status/allocatable/` + resource + `","value":"1"}]`}
	}
	t.Cleanup(func() {
		data, err := json.Marshal(map[string]any{"data": map[string]string{"profiles.yaml": before}})
		if err != nil {
			t.Error(err)
		}
		for _, args := range [][]string{
			{"patch", "configmap", "profiles", "-n", namespace, "--type=merge", "-p", string(data)},
			{"label", "node", node, "e2e.example.com/profile-"}, patchNode("remove"),
			{"delete", "configmap/e2e-models", "secret/e2e-license", "secret/e2e-registry", "-n", namespace, "--ignore-not-found"},
			{"delete", "priorityclass/e2e-profile", "--ignore-not-found"},
		} {
			if out, err := command("kubectl", args...); err != nil {
				t.Errorf("clean up: %v: %s", err, out)
			}
		}
	})
	if _, stderr, err := kubectl(t, []byte(profilesMap), "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	kube(t, "label", "node", node, "e2e.example.com/profile=yes", "--overwrite")
	kube(t, patchNode("add")...)
	for _, function := range []string{"submit", "launch", "status"} { // else the kubelet takes its time
		kube(t, "delete", "pods", "-n", namespace, "-l", "serving.knative.dev/service="+function, "--wait=false")
	}
	until(t, patience, "the server has the profiles", func() bool { return strings.Contains(described(t, s), "e2e-admins") })

	t.Run("listed", func(t *testing.T) {
		got := described(t, s)
		if !strings.Contains(got, `{"name":"e2e-node","description":"A chosen node","defaults":{"cpu":"50m","memory":"64Mi"},`+
			`"max":{"memory":"96Mi"}}`) {
			t.Errorf("got %s", got)
		}
		nobody := &service{url: s.url, client: s.client}
		if got := described(t, nobody); strings.Contains(got, "profiles") {
			t.Errorf("without a key: %s", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for fields, part := range map[string]string{
			"profile=e2e-gpus": "did you mean e2e-gpu?", "profile=e2e-node,memory=97Mi": "the most is 96Mi (profile e2e-node)",
		} {
			resp, body := s.post(t, shell("true", strings.Split(fields, ",")...))
			if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(body), part) {
				t.Errorf("%s: %s %s", fields, resp.Status, body)
			}
		}
	})
	t.Run("node", func(t *testing.T) {
		j := s.submit(t, shell("cat /opt/models/weights; echo; echo $MODEL $OVERRIDDEN $LICENSE; echo kept > /scratch/x && cat /scratch/x",
			"profile=e2e-node", `env={"OVERRIDDEN":"user"}`))
		j.ends("Succeeded", "Completed")
		if got := j.logs(""); got != "forty-two\nsmall user license-42\nkept\n" {
			t.Errorf("the log is %q", got)
		}
		p := podOf(t, j)
		if p.Spec.NodeName != node || p.Spec.PriorityClassName != "e2e-profile" || p.Spec.Priority == nil || *p.Spec.Priority != 1000 ||
			len(p.Spec.ImagePullSecrets) != 1 || p.Spec.ImagePullSecrets[0].Name != "e2e-registry" ||
			p.Labels["go-job-orchestrator.github.io/profile"] != "e2e-node" || p.Labels["e2e.example.com/cost"] != "42" {
			t.Errorf("the pod has labels %v and spec %+v", p.Labels, p.Spec)
		}
		tolerates := false
		for _, one := range p.Spec.Tolerations {
			tolerates = tolerates || one.Key == "e2e.example.com/profile" && one.Effect == corev1.TaintEffectPreferNoSchedule
		}
		if !tolerates {
			t.Errorf("the tolerations are %v", p.Spec.Tolerations)
		}
	})
	t.Run("extended resource", func(t *testing.T) {
		first := s.submit(t, shell("echo has it; sleep 300", "profile=e2e-gpu"))
		first.says("has it")
		if got := podOf(t, first).Spec.Containers[0].Resources.Limits["example.com/e2e-gpu"]; got.String() != "1" {
			t.Errorf("the limit is %s", got.String())
		}
		second := s.submit(t, shell("true", "profile=e2e-gpu"))
		if got := second.shows("Unschedulable"); !strings.Contains(got.Message, "example.com/e2e-gpu") {
			t.Errorf("the message is %q", got.Message)
		}
		for _, j := range []*run{second, first} {
			if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode >= 300 {
				t.Errorf("cancel: %s %s", resp.Status, body)
			}
		}
		first.ends("Cancelled", "Cancelled")
	})
	t.Run("nowhere", func(t *testing.T) {
		j := s.submit(t, shell("true", "profile=e2e-nowhere"))
		j.shows("Unschedulable")
		j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel")
	})
}

func described(t *testing.T, s *service) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/server", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.authorize(req)
	resp, body := s.do(t, req)
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	return string(body)
}

func podOf(t *testing.T, j *run) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := json.Unmarshal([]byte(kube(t, "get", "pod", j.pods()[0], "-n", namespace, "-o", "json")), &p); err != nil {
		t.Fatal(err)
	}
	return &p
}
