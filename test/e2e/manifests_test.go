//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	manifestsFolder = "../../config"
	baseFolder      = manifestsFolder + "/base"
)

// kubectl runs against the cluster that KUBECONFIG names.
func kubectl(t *testing.T, stdin []byte, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Fatal("KUBECONFIG names no cluster; these tests need one with Knative Serving and Eventing")
	}
	cmd := exec.CommandContext(t.Context(), "kubectl", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// manifestImage is what ko puts an image in the place of.
var manifestImage = regexp.MustCompile(`ko://[a-z0-9/_-]+`)

// resolved returns the manifests with that ending as ko would send them, in one stream.
func resolved(t *testing.T, ending string) []byte {
	t.Helper()
	var all [][]byte
	err := filepath.WalkDir(manifestsFolder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ending {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, manifestImage.ReplaceAll(text, []byte("registry.example/image@sha256:"+strings.Repeat("0", 64))))
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: %d files, %v", ending, len(all), err)
	}
	return bytes.Join(all, []byte("\n---\n"))
}

// accepted sends the manifests to the API server, which validates them, webhooks included, and
// stores nothing.
func accepted(t *testing.T, manifests []byte) {
	t.Helper()
	stdout, stderr, err := kubectl(t, manifests, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
	if err != nil {
		t.Fatalf("refused: %v\n%s%s", err, stdout, stderr)
	}
	for line := range strings.Lines(stderr) { // such as "would violate PodSecurity"
		t.Errorf("warning: %s", line)
	}
}

// namespaceExists makes the namespace if need be: the API server cannot look at what would be in
// one that is not there.
func namespaceExists(t *testing.T) {
	t.Helper()
	if _, stderr, err := kubectl(t, nil, "apply", "-f", baseFolder+"/100-namespace.yaml"); err != nil {
		t.Fatalf("namespace: %v: %s", err, stderr)
	}
}

// TestManifestsAreAccepted sends everything that ko apply -R would, and the examples, to the real
// API server.
func TestManifestsAreAccepted(t *testing.T) {
	namespaceExists(t)
	const one = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"` + oneNamespace + `"}}`
	if _, stderr, err := kubectl(t, []byte(one), "apply", "-f", "-"); err != nil {
		t.Fatalf("namespace: %v: %s", err, stderr)
	}
	t.Cleanup(func() { // TestOneProcess makes it anew
		if out, err := command("kubectl", "delete", "namespace", oneNamespace, "--timeout=3m"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	for _, ending := range []string{".yaml", ".yml"} {
		t.Run(ending, func(t *testing.T) { accepted(t, resolved(t, ending)) })
	}
	// Not volume: a claim that is installed keeps its access mode.
	for _, name := range []string{"bucket", "kind"} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, err := kubectl(t, nil, "kustomize", manifestsFolder+"/overlays/"+name)
			if err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			accepted(t, manifestImage.ReplaceAll([]byte(stdout),
				[]byte("registry.example/image@sha256:"+strings.Repeat("0", 64))))
		})
	}
}

// TestWrongManifestsAreRefused makes sure that the one above could fail.
func TestWrongManifestsAreRefused(t *testing.T) {
	t.Parallel()
	namespaceExists(t)
	for name, change := range map[string][2]string{
		"unknown field":    {"containerConcurrency:", "containerConcurency:"},
		"timeout too long": {"timeoutSeconds: 600", "timeoutSeconds: 60000"},
		"privileges":       {"capabilities: {drop: [ALL]}", "capabilities: {add: [SYS_ADMIN]}"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(baseFolder + "/530-front.yaml")
			if err != nil || !bytes.Contains(text, []byte(change[0])) {
				t.Fatalf("nothing to change: %v", err)
			}
			text = manifestImage.ReplaceAll(text, []byte("registry.example/image"))
			text = bytes.ReplaceAll(text, []byte(change[0]), []byte(change[1]))
			if stdout, _, err := kubectl(t, text, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err == nil {
				t.Errorf("accepted: %s", stdout)
			}
		})
	}
}

// TestRightsInTheCluster asks the API server what each account may do, once everything is
// installed.
func TestRightsInTheCluster(t *testing.T) {
	t.Parallel()
	if _, stderr, err := kubectl(t, resolvedFiles(t, "100-namespace.yaml", "200-accounts.yaml", "210-roles.yaml"),
		"apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	want := map[string][]string{ // front and keys have rights to one Secret only
		"launch": {"create jobs", "create secrets", "get jobs"},
		"status": {"get jobs", "list events", "list pods"},
		"cancel": {"delete jobs", "delete pods", "get jobs", "list pods"},
		"reap":   {"delete jobs", "delete pods", "get jobs", "list events", "list jobs", "list pods", "list secrets"},
	}
	for _, account := range []string{"artifacts", "cancel", "deadletter", "front", "job", "keys", "launch", "logs",
		"outputs", "reap", "status", "submit", "default"} {
		t.Run(account, func(t *testing.T) {
			got := allowed(t, account, "")
			slices.Sort(got)
			if !slices.Equal(got, want[account]) {
				t.Errorf("may %q, want %q", got, want[account])
			}
		})
	}
	for _, account := range []string{"launch", "reap"} {
		t.Run(account+" with the CronJob of the reaper", func(t *testing.T) {
			got := slices.DeleteFunc(allowed(t, account, "reap"), func(right string) bool {
				return !strings.HasSuffix(right, " cronjobs")
			})
			slices.Sort(got)
			if want := []string{"get cronjobs", "patch cronjobs"}; !slices.Equal(got, want) {
				t.Errorf("may %q, want %q", got, want)
			}
		})
	}
	for account, want := range map[string][]string{"front": {"get secrets"}, "keys": {"get secrets", "update secrets"}} {
		t.Run(account+" with the Secret keys", func(t *testing.T) {
			got := allowed(t, account, "keys")
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("may %q, want %q", got, want)
			}
			if got := allowed(t, account, "token-keys"); len(got) > 0 {
				t.Errorf("may %q what is named token-keys", got)
			}
		})
	}
}

// allowed asks, with reviews instead of impersonation, what an account may do with what matters
// here: with all of it, or with what has the given name.
func allowed(t *testing.T, account, name string) []string {
	t.Helper()
	var all bytes.Buffer
	for _, resource := range []string{"jobs", "cronjobs", "pods", "secrets", "events", "configmaps", "serviceaccounts", "roles"} {
		for _, verb := range []string{"create", "get", "list", "watch", "update", "patch", "delete", "deletecollection"} {
			group := map[string]string{"jobs": "batch", "cronjobs": "batch", "roles": "rbac.authorization.k8s.io"}[resource]
			review, err := json.Marshal(map[string]any{
				"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
				"spec": map[string]any{
					"user": "system:serviceaccount:job-orchestrator:" + account,
					"groups": []string{"system:serviceaccounts", "system:serviceaccounts:job-orchestrator",
						"system:authenticated"},
					"resourceAttributes": map[string]string{"namespace": "job-orchestrator", "verb": verb, "group": group,
						"resource": resource, "name": name},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&all, "---\n%s\n", review)
		}
	}
	stdout, stderr, err := kubectl(t, all.Bytes(), "create", "-f", "-", "-o",
		`jsonpath={.status.allowed} {.spec.resourceAttributes.verb} {.spec.resourceAttributes.resource}{"\n"}`)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	var got []string
	for line := range strings.Lines(stdout) {
		if what, yes := strings.CutPrefix(strings.TrimSpace(line), "true "); yes {
			got = append(got, what)
		}
	}
	return got
}

func resolvedFiles(t *testing.T, names ...string) []byte {
	t.Helper()
	var all [][]byte
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(baseFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return bytes.Join(all, []byte("\n---\n"))
}

// TestFeaturesAreOn demands of the cluster what make features sets.
func TestFeaturesAreOn(t *testing.T) {
	stdout, stderr, err := kubectl(t, nil, "get", "configmap", "config-features", "-n", "knative-serving", "-o", "yaml")
	if err != nil {
		t.Fatalf("is Knative Serving there? %v: %s", err, stderr)
	}
	var configMap struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(stdout), &configMap); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"kubernetes.podspec-persistent-volume-claim",
		"kubernetes.podspec-persistent-volume-write", "kubernetes.podspec-securitycontext"} {
		if !strings.EqualFold(configMap.Data[flag], "enabled") {
			t.Errorf("%s is not enabled; make features sets it", flag)
		}
	}
}
