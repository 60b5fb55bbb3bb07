package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
)

// fullPatch has everything that a profile can say about a pod.
const fullPatch = `
metadata:
  labels: {cost-center: "42"}
  annotations: {gke-gcsfuse/volumes: "true", example.com/Note: x}
spec:
  nodeSelector: {accelerator: a100}
  tolerations:
    - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
    - {key: spot, value: "true", effect: NoExecute, tolerationSeconds: 60}
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a, b]}]}]
  topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {cost-center: "42"}}}
  priorityClassName: batch
  runtimeClassName: nvidia
  schedulerName: packer
  imagePullSecrets: [{name: registry}]
  dnsPolicy: None
  dnsConfig: {nameservers: [10.0.0.10], options: [{name: ndots, value: "1"}]}
  resourceClaims: [{name: gpu, resourceClaimTemplateName: gpu}]
  volumes:
    - {name: models, persistentVolumeClaim: {claimName: models, readOnly: true}}
    - {name: scratch, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}
    - {name: config, configMap: {name: config, optional: true}}
    - {name: secret, secret: {secretName: mine}}
    - {name: cache, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
    - {name: pod, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
    - {name: fuse, csi: {driver: gcsfuse.csi.storage.gke.io, volumeAttributes: {bucketName: b}, nodePublishSecretRef: {name: b}}}
    - {name: all, projected: {sources: [{configMap: {name: a}}, {secret: {name: b}}]}}
  containers:
    - name: program
      resources:
        limits: {nvidia.com/gpu: 1, hugepages-2Mi: 64Mi, ephemeral-storage: 10Gi}
        requests: {nvidia.com/gpu: "1", ephemeral-storage: 1Gi}
        claims: [{name: gpu}]
      env:
        - {name: NVIDIA_DRIVER_CAPABILITIES, value: "compute,utility"}
        - {name: LICENSE, valueFrom: {secretKeyRef: {name: license, key: key}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
      volumeMounts:
        - {name: models, mountPath: /opt/models, readOnly: true, mountPropagation: HostToContainer}
        - {name: cache, mountPath: /cache, subPath: x}
        - {name: secret, mountPath: /etc/mine}
        - {name: fuse, mountPath: /dev/hugepages}
`

func toJSON(t *testing.T, document string) []byte {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func check(s *Settings, patch []byte) []job.Fault {
	sample := s.build(index()).Spec.Template
	return checkPod("pod", patch, &sample)
}

// TestPatch has a golden file of all that a profile can change.
func TestPatch(t *testing.T) {
	s := withSettings(t, nil)
	patch := toJSON(t, fullPatch)
	if faults := check(s, patch); len(faults) > 0 {
		t.Fatalf("faults: %v", faults)
	}
	before := s.build(index(func(i *job.Index) { i.CPU, i.Memory = "1", "1Gi" })).Spec.Template
	after, err := patched(&before, &profile.Profile{Kubernetes: profile.Kubernetes{Pod: patch}})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "patched.yaml", after)
	wantProtected(t, &before, after)
}

// TestPatchFaults sends everything that would touch the agent, the security of the pod, the node or the
// job's own part, and what is not valid. All faults are named at once, with their paths.
func TestPatchFaults(t *testing.T) {
	s := withSettings(t, map[string]string{"DATA_HOST_PATH": "/srv/data"})
	program := func(rest string) string { return "spec: {containers: [{name: program, " + rest + "}]}" }
	volume := func(rest string) string { return "spec: {volumes: [{name: v, " + rest + "}]}" }
	mount := func(path string) string {
		return "spec: {volumes: [{name: v, emptyDir: {}}], containers: [{name: program, volumeMounts: [{name: v, mountPath: " +
			path + "}]}]}"
	}
	for _, test := range []struct{ name, patch, want string }{
		{"typos", "spec: {nodeSelctor: {}, containers: [{name: program, envs: []}]}\nmeta: {}",
			"meta spec.containers[0].envs spec.nodeSelctor"},
		{"types", "spec: {nodeSelector: [a]}", "spec.nodeSelector"},
		{"no object", "[]", ""},
		{"a text", "x", ""},
		{"namespaces of the node", "spec: {hostNetwork: true, hostPID: true, hostIPC: true, hostUsers: true, shareProcessNamespace: true}",
			"spec.hostIPC spec.hostNetwork spec.hostPID spec.hostUsers spec.shareProcessNamespace"},
		{"false is no excuse", "spec: {hostNetwork: false, automountServiceAccountToken: true}",
			"spec.automountServiceAccountToken spec.hostNetwork"},
		{"security", "spec: {securityContext: {runAsUser: 0}, containers: [{name: program, securityContext: {privileged: true}}]}",
			"spec.containers[0].securityContext spec.securityContext"},
		{"other containers", "spec: {initContainers: [{name: agent}], ephemeralContainers: [{name: x}], containers: [{name: agent}, {name: program}, {}]}",
			"spec.containers[0].name spec.containers[1].name spec.containers[2].name spec.ephemeralContainers spec.initContainers"},
		{"the program", program("image: x, command: [x], args: [x], workingDir: /, lifecycle: {}, ports: [{hostPort: 80}], tty: true, " +
			"livenessProbe: {}, imagePullPolicy: Always, restartPolicy: Always, envFrom: [{secretRef: {name: x}}], volumeDevices: []"),
			"spec.containers[0].args spec.containers[0].command spec.containers[0].envFrom spec.containers[0].image " +
				"spec.containers[0].imagePullPolicy spec.containers[0].lifecycle spec.containers[0].livenessProbe spec.containers[0].ports " +
				"spec.containers[0].restartPolicy spec.containers[0].tty spec.containers[0].volumeDevices spec.containers[0].workingDir"},
		{"account", "spec: {serviceAccountName: x, serviceAccount: x}", "spec.serviceAccount spec.serviceAccountName"},
		{"life", "spec: {restartPolicy: Always, activeDeadlineSeconds: 1, terminationGracePeriodSeconds: 1, nodeName: x, priority: 1, " +
			"preemptionPolicy: Never, schedulingGates: [{name: x}], readinessGates: [], os: {name: linux}, overhead: {}, resources: {}, " +
			"hostAliases: [], enableServiceLinks: true, hostname: x, subdomain: x, setHostnameAsFQDN: true}",
			"spec.activeDeadlineSeconds spec.enableServiceLinks spec.hostAliases spec.hostname spec.nodeName spec.os spec.overhead " +
				"spec.preemptionPolicy spec.priority spec.readinessGates spec.resources spec.restartPolicy spec.schedulingGates " +
				"spec.setHostnameAsFQDN spec.subdomain spec.terminationGracePeriodSeconds"},
		{"metadata", "metadata: {name: x, namespace: x, finalizers: [x], ownerReferences: []}",
			"metadata.finalizers metadata.name metadata.namespace metadata.ownerReferences"},
		{"our labels", "metadata: {labels: {app.kubernetes.io/name: x, go-job-orchestrator.github.io/x: x, job-name: x, controller-uid: x, " +
			"batch.kubernetes.io/job-name: x, kueue.x-k8s.io/queue-name: x, 'a b': x, ok: 'not ok'}}",
			`metadata.labels["a b"] metadata.labels["app.kubernetes.io/name"] metadata.labels["batch.kubernetes.io/job-name"] ` +
				`metadata.labels["controller-uid"] metadata.labels["go-job-orchestrator.github.io/x"] metadata.labels["job-name"] ` +
				`metadata.labels["kueue.x-k8s.io/queue-name"] metadata.labels["ok"]`},
		{"our annotations", "metadata: {annotations: {kubectl.kubernetes.io/default-container: agent, " +
			"cluster-autoscaler.kubernetes.io/safe-to-evict: 'true', container.apparmor.security.beta.kubernetes.io/program: unconfined, " +
			"seccomp.security.alpha.kubernetes.io/pod: unconfined}}",
			`metadata.annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] ` +
				`metadata.annotations["container.apparmor.security.beta.kubernetes.io/program"] ` +
				`metadata.annotations["kubectl.kubernetes.io/default-container"] metadata.annotations["seccomp.security.alpha.kubernetes.io/pod"]`},
		{"directives", "$patch: replace\nspec: {$patch: delete, $retainKeys: [x], nodeSelector: {$patch: replace}, $setElementOrder/volumes: [], " +
			"volumes: [{name: v, emptyDir: {}, $patch: delete}]}\nmetadata: {labels: {$patch: delete}, annotations: {$deleteFromPrimitiveList/x: x}}",
			`$patch metadata.annotations.$deleteFromPrimitiveList/x metadata.annotations["$deleteFromPrimitiveList/x"] ` +
				`metadata.labels.$patch metadata.labels["$patch"] spec.$patch spec.$retainKeys ` +
				`spec.$setElementOrder/volumes spec.nodeSelector.$patch spec.nodeSelector["$patch"] spec.volumes[0].$patch`},
		{"null", "metadata: null\nspec: {containers: null, volumes: null, nodeSelector: {a: null}, securityContext: null}",
			"metadata spec.containers spec.nodeSelector.a spec.securityContext spec.volumes"},
		{"the node's files", volume("hostPath: {path: /}"), "spec.volumes[0].hostPath"},
		{"kinds of volumes", "spec: {volumes: [{name: a, nfs: {server: x, path: /}}, {name: b}, {name: c, emptyDir: {}, configMap: {name: x}}, " +
			"{name: d, image: {reference: x}}, {name: e, awsElasticBlockStore: {volumeID: x}}]}",
			"spec.volumes[0] spec.volumes[1] spec.volumes[2] spec.volumes[3] spec.volumes[4]"},
		{"our volumes", "spec: {volumes: [{name: workspace, emptyDir: {}}, {name: agent, emptyDir: {}}, {name: tmp, emptyDir: {}}, " +
			"{name: shm, emptyDir: {}}, {name: token, emptyDir: {}}, {name: data, emptyDir: {}}, {name: a, emptyDir: {}}, {name: a, emptyDir: {}}, " +
			"{name: A, emptyDir: {}}]}",
			"spec.volumes[0].name spec.volumes[1].name spec.volumes[2].name spec.volumes[3].name spec.volumes[4].name spec.volumes[5].name " +
				"spec.volumes[7].name spec.volumes[8].name"},
		{"our secrets", "spec: {volumes: [{name: a, secret: {secretName: token-keys}}, {name: b, secret: {secretName: keys}}, " +
			"{name: c, secret: {secretName: bucket-credentials}}, {name: d, secret: {secretName: run-fe5df73070535f3b1d397b4f85a949ff}}, " +
			"{name: e, projected: {sources: [{secret: {name: token-keys}}]}}, {name: f, csi: {driver: x, nodePublishSecretRef: {name: keys}}}, " +
			"{name: g, persistentVolumeClaim: {claimName: data}}], " +
			"containers: [{name: program, env: [{name: A, valueFrom: {secretKeyRef: {name: token-keys, key: TOKEN_KEYS}}}]}]}",
			"spec.containers[0].env[0].valueFrom.secretKeyRef.name spec.volumes[0].secret.secretName spec.volumes[1].secret.secretName " +
				"spec.volumes[2].secret.secretName spec.volumes[3].secret.secretName spec.volumes[4].projected.sources[0].secret.name " +
				"spec.volumes[5].csi.nodePublishSecretRef.name spec.volumes[6].persistentVolumeClaim.claimName"},
		{"identities", volume("projected: {sources: [{serviceAccountToken: {path: x}}, {podCertificate: {}}]}"),
			"spec.volumes[0].projected.sources[0] spec.volumes[0].projected.sources[1]"},
		{"workspace", mount("/workspace"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"in the workspace", mount("/workspace/x"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"root", mount("/"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"the agent", mount("/orchestrator"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"etc", mount("/etc"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"passwd", mount("/etc/passwd"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"tmp", mount("/tmp/x"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"dev", mount("/dev"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"shm", mount("/dev/shm"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"proc", mount("/proc/sys"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"data", mount("/data"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"not clean", mount("/opt/../workspace"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"a slash at the end", mount("/workspace/"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"relative", mount("workspace"), "spec.containers[0].volumeMounts[0].mountPath"},
		{"mounts of other volumes", program("volumeMounts: [{name: workspace, mountPath: /w}, {name: x, mountPath: /x}, {name: x, mountPath: /x}]"),
			"spec.containers[0].volumeMounts[0].name spec.containers[0].volumeMounts[1].name spec.containers[0].volumeMounts[2].mountPath " +
				"spec.containers[0].volumeMounts[2].name"},
		{"propagation", "spec: {volumes: [{name: v, emptyDir: {}}], containers: [{name: program, volumeMounts: [{name: v, mountPath: /v, " +
			"mountPropagation: Bidirectional}]}]}", "spec.containers[0].volumeMounts[0].mountPropagation"},
		{"resources", program("resources: {limits: {cpu: 1, memory: 1Gi, gpus: 1, example.com/x: 0, example.com/y: -1, example.com/z: 2}, " +
			"requests: {example.com/z: 1, example.com/a: 1}, claims: [{name: x}]}"),
			`spec.containers[0].resources.claims[0].name spec.containers[0].resources.limits["cpu"] ` +
				`spec.containers[0].resources.limits["example.com/x"] spec.containers[0].resources.limits["example.com/y"] ` +
				`spec.containers[0].resources.limits["gpus"] spec.containers[0].resources.limits["memory"] ` +
				`spec.containers[0].resources.requests["example.com/a"] spec.containers[0].resources.requests["example.com/z"]`},
		{"variables", program("env: [{name: PATH, value: x}, {name: JOB_ID, value: x}, {name: GODEBUG, value: x}, {name: KUBERNETES_X, value: x}, " +
			"{name: 'A B', value: x}, {name: A}, {name: A}, {name: B, value: x, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}, {}]"),
			"spec.containers[0].env[0] spec.containers[0].env[1] spec.containers[0].env[2].name spec.containers[0].env[3].name " +
				"spec.containers[0].env[4] spec.containers[0].env[6].name spec.containers[0].env[7] spec.containers[0].env[8]"},
		{"scheduling", "spec: {nodeSelector: {'a b': x, ok: 'not ok'}, priorityClassName: A, runtimeClassName: a_b, schedulerName: '-', dnsPolicy: X, " +
			"imagePullSecrets: [{name: A}, {}], resourceClaims: [{name: A}], tolerations: [{operator: In}, {key: a, effect: Never}, " +
			"{operator: Equal}, {key: a, operator: Exists, value: x}, {key: a, tolerationSeconds: 1}, {key: 'a b'}]}",
			`spec.dnsPolicy spec.imagePullSecrets[0].name spec.imagePullSecrets[1].name spec.nodeSelector["a b"] spec.nodeSelector["ok"] ` +
				"spec.priorityClassName spec.resourceClaims[0].name spec.runtimeClassName spec.schedulerName spec.tolerations[0].operator " +
				"spec.tolerations[1].effect spec.tolerations[2].key spec.tolerations[3].value spec.tolerations[4].tolerationSeconds spec.tolerations[5].key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, f := range check(s, toJSON(t, test.patch)) {
				if f.Message == "" || strings.ContainsAny(f.Message, "\n") || !strings.HasPrefix(f.Field, "pod") {
					t.Errorf("fault %+v", f)
				}
				got = append(got, strings.TrimPrefix(strings.TrimPrefix(f.Field, "pod"), "."))
			}
			if len(got) == 0 {
				t.Error("no fault was found")
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, strings.Join(slices.Compact(got), " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhyNot demands that a field which Kubernetes has is told from one that it does not have.
func TestWhyNot(t *testing.T) {
	s := withSettings(t, nil)
	messages := map[string]string{}
	for _, f := range check(s, toJSON(t, "spec: {hostNetwork: true, hostNetwrk: true, nodeName: x, containers: [{name: program, image: x}]}")) {
		messages[f.Field] = f.Message
	}
	want := map[string]string{
		"pod.spec.hostNetwork": "a profile cannot set it; programs stay apart from their node and its network",
		"pod.spec.hostNetwrk":  profile.Unknown,
		"pod.spec.nodeName": "a profile cannot set it; these can be set: affinity, containers, dnsConfig, dnsPolicy, imagePullSecrets, " +
			"nodeSelector, priorityClassName, resourceClaims, runtimeClassName, schedulerName, tolerations, topologySpreadConstraints, volumes",
		"pod.spec.containers[0].image": "a profile cannot set it; set kubernetes.images, by runtime",
	}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// wantProtected compares what no profile may change, field by field. It does not use what patched
// itself compares with.
func wantProtected(t *testing.T, before, after *corev1.PodTemplateSpec) {
	t.Helper()
	same := func(what string, want, got any) {
		t.Helper()
		a, errA := json.Marshal(want)
		b, errB := json.Marshal(got)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s changed from %s to %s", what, a, b)
		}
	}
	w, g := before.Spec, after.Spec
	same("initContainers", w.InitContainers, g.InitContainers)
	same("ephemeralContainers", w.EphemeralContainers, g.EphemeralContainers)
	same("number of containers", len(w.Containers), len(g.Containers))
	// Every field of the pod that is not among these must be as it was.
	free := []string{"InitContainers", "EphemeralContainers", "Containers", "Volumes", "NodeSelector", "Tolerations", "Affinity",
		"TopologySpreadConstraints", "PriorityClassName", "RuntimeClassName", "SchedulerName", "ImagePullSecrets", "DNSPolicy",
		"DNSConfig", "ResourceClaims"}
	fields(&w, &g, free, same)
	if len(g.Containers) == 1 {
		fields(&w.Containers[0], &g.Containers[0], []string{"Resources", "Env", "VolumeMounts"}, same)
		p, q := w.Containers[0], g.Containers[0]
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			same("limit "+string(name), p.Resources.Limits[name], q.Resources.Limits[name])
			same("request "+string(name), p.Resources.Requests[name], q.Resources.Requests[name])
		}
		seen := map[string]int{}
		for _, m := range q.VolumeMounts {
			seen[m.MountPath]++
			if i := slices.IndexFunc(p.VolumeMounts, func(o corev1.VolumeMount) bool { return o.MountPath == m.MountPath }); i >= 0 {
				same("mount "+m.MountPath, p.VolumeMounts[i], m)
			} else if slices.ContainsFunc(w.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
				t.Errorf("%s is mounted at %s too", m.Name, m.MountPath)
			}
		}
		for _, m := range p.VolumeMounts {
			same("number of mounts at "+m.MountPath, 1, seen[m.MountPath])
		}
	}
	for _, v := range w.Volumes {
		n := 0
		for _, o := range g.Volumes {
			if o.Name == v.Name {
				n++
				same("volume "+v.Name, v, o)
			}
		}
		same("number of volumes "+v.Name, 1, n)
	}
	for _, v := range g.Volumes {
		ours := slices.ContainsFunc(w.Volumes, func(o corev1.Volume) bool { return o.Name == v.Name })
		if v.HostPath != nil && !ours {
			t.Errorf("%s is a folder of the node", v.Name)
		}
	}
	for key, value := range before.Labels {
		same("label "+key, value, after.Labels[key])
	}
	for key, value := range before.Annotations {
		same("annotation "+key, value, after.Annotations[key])
	}
}

// fields compares two structs but for some fields.
func fields(want, got any, free []string, same func(what string, want, got any)) {
	w, g := reflect.ValueOf(want).Elem(), reflect.ValueOf(got).Elem()
	for i := range w.NumField() {
		if name := w.Type().Field(i).Name; !slices.Contains(free, name) {
			same(name, w.Field(i).Interface(), g.Field(i).Interface())
		}
	}
}

// wantSafe demands that a patch which passes the check changes nothing that is protected.
func wantSafe(t *testing.T, s *Settings, patch []byte) (passed bool) {
	t.Helper()
	if len(check(s, patch)) > 0 {
		return false
	}
	before := s.build(index(func(i *job.Index) { i.CPU, i.Memory = "1", "1Gi" })).Spec.Template
	untouched := before.DeepCopy()
	after, err := patched(&before, &profile.Profile{Name: "p", Kubernetes: profile.Kubernetes{Pod: patch}})
	if err != nil {
		t.Errorf("%s passed the check: %v", patch, err)
		return true
	}
	if diff := cmp.Diff(untouched, &before); diff != "" {
		t.Errorf("%s: the template itself was changed:\n%s", patch, diff)
	}
	wantProtected(t, &before, after)
	if t.Failed() {
		t.Logf("the patch: %s", patch)
	}
	return true
}

// nasty are values that a patch is made of at random.
func nasty(r *rand.Rand, depth int) any {
	keys := []string{"spec", "metadata", "labels", "annotations", "volumes", "containers", "initContainers", "name", "securityContext",
		"hostNetwork", "volumeMounts", "mountPath", "subPath", "env", "value", "resources", "limits", "requests", "nodeSelector", "hostPath", "path",
		"emptyDir", "configMap", "$patch", "$retainKeys", "tolerations", "key", "operator", "serviceAccountName", "image", "command", "affinity",
		"schedulerName", "imagePullSecrets", "job-name", "app.kubernetes.io/name", "example.com/gpu", "cpu", "secret", "secretName", "readOnly"}
	texts := []string{"program", "agent", "workspace", "tmp", "token", "v", "w", "/workspace", "/tmp", "/opt/x", "/etc/passwd", "/", "delete", "replace",
		"Exists", "1", "x", "", "token-keys", "A", "PATH"}
	switch n := r.IntN(10); {
	case depth == 0 || n < 4:
		return []any{texts[r.IntN(len(texts))], true, nil, 1, texts[r.IntN(len(texts))]}[r.IntN(5)]
	case n < 6:
		list := []any{}
		for range r.IntN(3) {
			list = append(list, nasty(r, depth-1))
		}
		return list
	}
	object := map[string]any{}
	for range r.IntN(4) {
		object[keys[r.IntN(len(keys))]] = nasty(r, depth-1)
	}
	return object
}

// mutate returns a copy of a valid patch with some values replaced at random.
func mutate(r *rand.Rand, value any) any {
	if r.IntN(25) == 0 {
		return nasty(r, 3)
	}
	switch v := value.(type) {
	case map[string]any:
		object := map[string]any{}
		for key, one := range v {
			if r.IntN(12) > 0 {
				object[key] = mutate(r, one)
			}
		}
		return object
	case []any:
		list := []any{}
		for _, one := range v {
			for range []int{1, 1, 1, 1, 1, 2, 0}[r.IntN(7)] {
				list = append(list, mutate(r, one))
			}
		}
		return list
	}
	return value
}

// TestPatchesAreSafe makes patches at random. Enough of them must pass the check for the test to mean
// something.
func TestPatchesAreSafe(t *testing.T) {
	s := withSettings(t, nil)
	var full any
	if err := json.Unmarshal(toJSON(t, fullPatch), &full); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	const tries = 1000
	passed := 0
	for i := range tries {
		value := mutate(r, full)
		if i%2 == 0 { // parts of it alone pass more often
			value = map[string]any{"spec": pick(r, mutate(r, full)), "metadata": map[string]any{}}
		}
		patch, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if wantSafe(t, s, patch) {
			passed++
		}
		if t.Failed() {
			return
		}
	}
	if passed < tries/50 {
		t.Errorf("%d of %d patches passed the check", passed, tries)
	}
	t.Logf("%d of %d patches passed the check", passed, tries)
}

// pick returns some of the fields of a patch's spec.
func pick(r *rand.Rand, patch any) any {
	top, _ := patch.(map[string]any)
	spec, _ := top["spec"].(map[string]any)
	object := map[string]any{}
	for key, value := range spec {
		if r.IntN(4) == 0 {
			object[key] = value
		}
	}
	return object
}

func FuzzPatch(f *testing.F) {
	data, err := yaml.YAMLToJSON([]byte(fullPatch))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"program","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}}`))
	f.Fuzz(func(t *testing.T, patch []byte) {
		wantSafe(t, withSettings(t, nil), patch)
	})
}

// TestProtected gives patched what the check would refuse, to show that it would not apply it either.
func TestProtected(t *testing.T) {
	s := withSettings(t, nil)
	for _, patch := range []string{
		`spec: {volumes: [{name: workspace, hostPath: {path: /}}]}`,
		`spec: {containers: [{name: other}]}`,
		`spec: {containers: [{name: program, volumeMounts: [{name: v, mountPath: /workspace}]}]}`,
		`spec: {containers: [{name: program, resources: {limits: {memory: 9Gi}}}]}`,
		`metadata: {labels: {app.kubernetes.io/name: x}}`,
		`metadata: {annotations: {kubectl.kubernetes.io/default-container: x}}`,
	} {
		before := s.build(index()).Spec.Template
		_, err := patched(&before, &profile.Profile{Name: "p", Kubernetes: profile.Kubernetes{Pod: toJSON(t, patch)}})
		if err == nil || !strings.Contains(err.Error(), "no profile can change") {
			t.Errorf("%s: got %v", patch, err)
		}
	}
}

// withProfiles are settings with a document of profiles.
func withProfiles(t *testing.T, document string) (*Settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return load(platform.New(map[string]string{"AGENT_IMAGE": "agent", "PROFILES_FILE": path}, slog.New(slog.DiscardHandler)))
}

func TestBuildWithProfile(t *testing.T) {
	s, err := withProfiles(t, `
profiles:
  gpu:
    kubernetes:
      images: {python: cuda:12}
      queue: gpus
      pod: {spec: {nodeSelector: {gpu: "true"}}}
  plain: {}
`)
	if err != nil {
		t.Fatal(err)
	}
	build := func(change func(*job.Index)) *batchv1.Job {
		t.Helper()
		j, err := s.buildWithProfile(index(change))
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	type result struct{ image, queue, node, profile string }
	of := func(j *batchv1.Job) result {
		spec := j.Spec.Template.Spec
		return result{spec.Containers[0].Image, j.Labels[queueLabel], spec.NodeSelector["gpu"], j.Labels[domain+"profile"]}
	}
	for _, test := range []struct {
		name   string
		change func(*job.Index)
		want   result
	}{
		{"none", func(*job.Index) {}, result{image: "python:3.13-slim"}},
		{"plain", func(i *job.Index) { i.Profile = "plain" }, result{image: "python:3.13-slim", profile: "plain"}},
		{"gpu", func(i *job.Index) { i.Profile = "gpu" }, result{"cuda:12", "gpus", "true", "gpu"}},
		{"gpu, another runtime", func(i *job.Index) { i.Profile, i.Runtime = "gpu", "node" },
			result{"node:22-slim", "gpus", "true", "gpu"}},
		{"gpu, the job's own", func(i *job.Index) { i.Profile, i.Image, i.Queue = "gpu", "mine:1", "mine" },
			result{"mine:1", "mine", "true", "gpu"}},
	} {
		if got := of(build(test.change)); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
	i := index(func(i *job.Index) { i.Profile = "gpu" })
	if _, err := s.buildWithProfile(i); err != nil || i.Image != "" || i.Queue != "" {
		t.Errorf("the index was changed: %+v, %v", i, err)
	}
	if _, err := s.buildWithProfile(index(func(i *job.Index) { i.Profile = "gone" })); !errors.Is(err, errNoProfile) {
		t.Errorf("got %v", err)
	}
}

// TestAllFaultsAtOnce demands those of the document and those of its pods.
func TestAllFaultsAtOnce(t *testing.T) {
	_, err := withProfiles(t, "profiles: {a: {kubernetes: {pod: {spec: {hostPID: true}}}, x: 1}, b: {kubernetes: {pod: {spec: {hostIPC: true}}}}}")
	for _, part := range []string{"PROFILES_FILE", "profiles.a.x", "profiles.a.kubernetes.pod.spec.hostPID",
		"profiles.b.kubernetes.pod.spec.hostIPC"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not named: %v", part, err)
		}
	}
}

// TestProfileIsGone launches jobs whose profile does not exist.
func TestProfileIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		age  time.Duration
		job  bool // its Job exists
		want error
		over bool
	}{
		"it may still come": {time.Minute, false, job.ErrUnavailable, false},
		"it is gone":        {time.Hour, false, nil, true},
		"it is running":     {time.Hour, true, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := withProfiles(t, "profiles: {}")
			if err != nil {
				t.Fatal(err)
			}
			c := &cluster{}
			if test.job {
				c.job = &batchv1.Job{}
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.WriteHeader(http.StatusCreated)
					fmt.Fprint(w, `{"kind":"Secret","apiVersion":"v1"}`)
					return
				}
				c.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			client, err := NewClient(&rest.Config{Host: server.URL}, "jobs")
			if err != nil {
				t.Fatal(err)
			}
			f := ledgertest.New(t)
			i := index(func(i *job.Index) { i.Profile, i.CreatedAt = "gpu", time.Now().Add(-test.age) })
			f.Must(f.Ledger.Accept(t.Context(), i))
			l := NewLauncher(client, &ending.Recorder{Ledger: f.Ledger, Store: f.Store, Now: time.Now}, f.Keys, s,
				slog.New(slog.DiscardHandler))
			if err := l.Launch(t.Context(), i); !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
			status, err := f.Ledger.Status(t.Context(), i.JobID)
			if err != nil {
				t.Fatal(err)
			}
			if test.over != (status.Phase == job.Failed) || test.over && (status.Reason != job.ReasonStartFailed ||
				!strings.Contains(status.Message, "the profile gpu does not exist any more")) {
				t.Errorf("the job is %s %s: %s", status.Phase, status.Reason, status.Message)
			}
		})
	}
}
