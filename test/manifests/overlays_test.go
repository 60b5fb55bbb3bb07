package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// TestBase demands that the base of the overlays is all that ko apply -R takes, and nothing but
// that.
func TestBase(t *testing.T) {
	text, err := os.ReadFile(folder + "/base/Kustomization")
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		metav1.TypeMeta `json:",inline"`
		Resources       []string `json:"resources"`
	}
	if err := yaml.UnmarshalStrict(text, &k); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, path := range files(t, ".yaml") {
		want = append(want, filepath.Base(path))
	}
	if diff := cmp.Diff(want, k.Resources); diff != "" || k.Kind != "Kustomization" {
		t.Errorf("%s with (-config/ +its resources):\n%s", k.Kind, diff)
	}
}

// overlay returns the objects of a folder with a Kustomization, as make deploy OVERLAY=… sends
// them.
func overlay(t *testing.T, path string) []object {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := rendered.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, path, text)
}

// leaves returns each value in the objects by the object's kind and name and the value's path.
// Lists of what has a name are by name.
func leaves(t *testing.T, all []object) map[string]string {
	t.Helper()
	found := map[string]string{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for key, inner := range v {
				walk(path+" "+key, inner)
			}
		case []any:
			for i, inner := range v {
				key := fmt.Sprint(i)
				if named, ok := inner.(map[string]any); ok && named["name"] != nil && named["name"] != "" {
					key = fmt.Sprint(named["name"])
				}
				walk(path+" "+key, inner)
			}
		default:
			found[path] = fmt.Sprint(v)
		}
	}
	for _, o := range all {
		text, err := json.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		kind := o.Object.GetObjectKind().GroupVersionKind().Kind
		walk(kind+"/"+o.meta.GetName(), value)
	}
	return found
}

// changes lists the values that an overlay changes, removes or adds.
func changes(t *testing.T, path string) map[string]string {
	t.Helper()
	before, after := leaves(t, load(t, ".yaml")), leaves(t, overlay(t, path))
	list := map[string]string{}
	for where, value := range before {
		if now, there := after[where]; !there {
			list[where] = value + " → "
		} else if now != value {
			list[where] = value + " → " + now
		}
	}
	for where, value := range after {
		if _, there := before[where]; !there {
			list[where] = " → " + value
		}
	}
	return list
}

// TestOverlays demands that each overlay changes what it says, and nothing else.
func TestOverlays(t *testing.T) {
	if got := changes(t, folder+"/base"); len(got) > 0 {
		t.Errorf("kustomize makes something else of the base than ko does: %v", got)
	}
	kind := map[string]string{}
	each(load(t, ".yaml"), func(_ string, s *servingv1.Service) {
		kind["Service/"+s.Name+" spec template metadata annotations autoscaling.knative.dev/max-scale"] = "10 → 2"
	})
	bucket := map[string]string{}
	for where, value := range leaves(t, load(t, ".yaml")) { // without the claim, and without the volume wherever it was
		if strings.HasPrefix(where, "PersistentVolumeClaim/data ") {
			bucket[where] = value + " → "
		}
	}
	pods(t, func(_, name string, _ *metav1.ObjectMeta, spec *corev1.PodSpec) {
		if !slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil }) {
			return
		}
		path, mount := "Service/"+name+" spec template spec ", "containers 0 volumeMounts "
		if name == "reap" {
			path, mount = "CronJob/reap spec jobTemplate spec template spec ", "containers reap volumeMounts "
		}
		maps.Copy(bucket, map[string]string{
			path + mount + "data name":                            "data → ",
			path + mount + "data mountPath":                       "/data → ",
			path + "volumes data name":                            "data → ",
			path + "volumes data persistentVolumeClaim claimName": "data → ",
			path + mount + "credentials name":                     " → credentials",
			path + mount + "credentials mountPath":                " → /credentials",
			path + mount + "credentials readOnly":                 " → true",
			path + "volumes credentials name":                     " → credentials",
			path + "volumes credentials secret secretName":        " → bucket-credentials",
			path + "volumes credentials secret optional":          " → true",
		})
	})
	for _, name := range []string{"artifacts", "submit"} {
		path := "Service/" + name + " spec template "
		maps.Copy(bucket, map[string]string{
			path + "metadata annotations autoscaling.knative.dev/target": "50 → 20",
			path + "spec containers 0 env GOMEMLIMIT value":              "200MiB → 400MiB",
			path + "spec containers 0 resources limits memory":           "256Mi → 512Mi",
		})
	}
	wants := map[string]map[string]string{
		"volume": {"PersistentVolumeClaim/data spec accessModes 0": "ReadWriteOnce → ReadWriteMany"},
		"kind":   kind,
		"bucket": bucket,
	}
	for name, want := range wants {
		if diff := cmp.Diff(want, changes(t, folder+"/overlays/"+name)); diff != "" {
			t.Errorf("%s changes (-want +got):\n%s", name, diff)
		}
	}
	there, err := filepath.Glob(folder + "/overlays/*")
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range there {
		there[i] = filepath.Base(path)
	}
	there = slices.DeleteFunc(there, func(name string) bool { return name == "one" }) // see one_test.go
	if diff := cmp.Diff(slices.Sorted(maps.Keys(wants)), there); diff != "" {
		t.Errorf("overlays (-want +got):\n%s", diff)
	}
}

// TestOverlaysAreAccepted checks the overlays by the rules for the base.
func TestOverlaysAreAccepted(t *testing.T) {
	ctx := webhook(t, features(t))
	for name, n := range map[string]int{"volume": allPods, "kind": allPods, "bucket": allPods, "one": 2} {
		all := overlay(t, folder+"/overlays/"+name)
		each(all, func(_ string, s *servingv1.Service) {
			s.SetDefaults(ctx)
			if err := s.Validate(ctx); err != nil {
				t.Errorf("%s: %s: %v", name, s.Name, err)
			}
		})
		podsOf(t, all, n, func(_, pod string, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
			checkRestricted(t, name+": "+pod, meta, spec)
			checkResources(t, name+": "+pod, spec)
		})
	}
}

// TestSuggestedPatches takes the marks from the patches that an overlay suggests, which must fit
// then.
func TestSuggestedPatches(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"volume": {"PersistentVolumeClaim/data spec storageClassName": " → nfs"},
		"kind": {
			"ConfigMap/job-orchestrator data DATA_HOST_PATH":                                " → /data",
			"Namespace/job-orchestrator metadata labels pod-security.kubernetes.io/enforce": "restricted → privileged",
		},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "overlays", name, "Kustomization")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head, patches, found := strings.Cut(string(text), "\npatches:\n")
		marked := regexp.MustCompile(`(?m)^( *)# ((?: *)(?:- |patch: ))`)
		if !found || !marked.MatchString(patches) {
			t.Fatalf("%s suggests nothing", name)
		}
		if err := os.WriteFile(path, []byte(head+"\npatches:\n"+marked.ReplaceAllString(patches, "$1$2")),
			0o600); err != nil {
			t.Fatal(err)
		}
		before := changes(t, folder+"/overlays/"+name)
		got := changes(t, filepath.Dir(path))
		maps.DeleteFunc(got, func(where, value string) bool { return before[where] == value })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s with its suggestions changes (-want +got):\n%s", name, diff)
		}
	}
}
