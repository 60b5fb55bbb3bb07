//go:build kubernetes

package kubernetes

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/platform"
)

// kubeconfig writes a file that names a server and a namespace.
func kubeconfig(t *testing.T, path, server, namespace string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c",
		"contexts":[{"name":"c","context":{"cluster":"c","user":"u","namespace":%q}}],
		"clusters":[{"name":"c","cluster":{"server":%q}}],"users":[{"name":"u","user":{"token":"t"}}]}`, namespace, server)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConnect(t *testing.T) {
	home, empty := t.TempDir(), t.TempDir()
	inHome := kubeconfig(t, filepath.Join(home, ".kube", "config"), "https://home.example", "of-home")
	set := kubeconfig(t, filepath.Join(t.TempDir(), "config"), "https://set.example", "")
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	brokenHome := t.TempDir()
	if err := os.MkdirAll(filepath.Join(brokenHome, ".kube", "config"), 0o700); err != nil { // a folder
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		vars  map[string]string
		where string // or, for a fault, what it says
		fault bool
	}{
		"~/.kube/config": {map[string]string{"HOME": home}, "namespace of-home of https://home.example (" + inHome + ")",
			false},
		"NAMESPACE": {map[string]string{"HOME": home, "NAMESPACE": "mine"}, "namespace mine of https://home.example",
			false},
		"KUBECONFIG": {map[string]string{"HOME": home, "KUBECONFIG": set}, "namespace default of https://set.example " +
			"(KUBECONFIG)", false},
		"two files": {map[string]string{"HOME": empty, "KUBECONFIG": set + ":" + inHome},
			"of https://set.example (KUBECONFIG)", false},
		"nothing": {map[string]string{"HOME": empty}, "JOBS=kubernetes needs a cluster: KUBECONFIG is not set", true},
		"no such file": {map[string]string{"HOME": home, "KUBECONFIG": filepath.Join(empty, "x")},
			"KUBECONFIG: there is no file " + filepath.Join(empty, "x"), true},
		"no YAML":  {map[string]string{"HOME": home, "KUBECONFIG": broken}, "KUBECONFIG", true},
		"a folder": {map[string]string{"HOME": brokenHome}, filepath.Join(brokenHome, ".kube", "config"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			env := platform.New(test.vars, slog.New(slog.DiscardHandler))
			c, where, err := Connect(env)
			if test.fault {
				if err == nil || !strings.Contains(err.Error(), test.where) {
					t.Errorf("Connect: %v, want an error with %q", err, test.where)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			common, err := env.Common()
			if err != nil || !strings.Contains(where, test.where) || c.namespace != common.Namespace {
				t.Errorf("Connect: %q, namespace %q, settings %+v, %v; want %q", where, c.namespace, common, err, test.where)
			}
		})
	}
}
