//go:build kubernetes

package kubernetes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"go-job-orchestrator/shared/platform"
)

// Connect returns a Client for the cluster that kubectl would speak to: that of KUBECONFIG, else of
// ~/.kube/config, else the one that this pod runs in. Without NAMESPACE, jobs run in the namespace
// of the current context, which becomes that of the common settings. where says which cluster it
// is.
func Connect(env *platform.Env) (c *Client, where string, err error) {
	common, err := env.Common()
	if err != nil {
		return nil, "", err
	}
	config, namespace, source, err := findConfig(env.Vars["KUBECONFIG"], env.Vars["HOME"])
	if err != nil {
		return nil, "", err
	}
	if env.Vars["NAMESPACE"] == "" && namespace != "" {
		common.Namespace = namespace
	}
	if c, err = NewClient(config, common.Namespace); err != nil {
		return nil, "", err
	}
	return c, fmt.Sprintf("namespace %s of %s (%s)", common.Namespace, config.Host, source), nil
}

// findConfig returns the configuration of a client, the namespace that goes with it, and where both
// are from.
func findConfig(kubeconfig, home string) (config *rest.Config, namespace, source string, err error) {
	if kubeconfig != "" { // several files, as kubectl has it
		files := filepath.SplitList(kubeconfig)
		if !slices.ContainsFunc(files, exists) { // the client would ask for another variable
			return nil, "", "", fmt.Errorf("KUBECONFIG: there is no file %s", strings.Join(files, ", nor "))
		}
		config, namespace, err := loadConfig(&clientcmd.ClientConfigLoadingRules{Precedence: files})
		if err != nil {
			return nil, "", "", fmt.Errorf("KUBECONFIG: %w", err)
		}
		return config, namespace, "KUBECONFIG", nil
	}
	file := filepath.Join(home, ".kube", "config")
	switch _, err := os.Stat(file); {
	case err == nil && home != "":
		config, namespace, err := loadConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: file})
		if err != nil {
			return nil, "", "", fmt.Errorf("%s: %w", file, err)
		}
		return config, namespace, file, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, "", "", fmt.Errorf("kubernetes client: %w", err)
	}
	if config, err = rest.InClusterConfig(); err != nil {
		return nil, "", "", fmt.Errorf("JOBS=kubernetes needs a cluster: KUBECONFIG is not set, there is no %s, "+
			"and this is no pod with a ServiceAccount token: %w", file, err)
	}
	return config, "", "the pod's own account", nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func loadConfig(rules *clientcmd.ClientConfigLoadingRules) (*rest.Config, string, error) {
	loading := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	config, err := loading.ClientConfig()
	if err != nil {
		return nil, "", err
	}
	namespace, _, err := loading.Namespace()
	return config, namespace, err
}
