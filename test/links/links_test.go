// Package links says which packages each command may link, because these decide how long it takes
// to start and to pull, and how much memory it needs.
package links

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tags are those that the commands are built with; see the Makefile.
const tags = "grpcnotrace,disable_grpc_modules"

const module = "go-job-orchestrator"

// list runs go list and returns its lines.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-tags", tags}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// commands returns the names of all commands.
func commands(t *testing.T) []string {
	t.Helper()
	names := list(t, module+"/functions/cmd/...")
	for i, name := range names {
		names[i] = path.Base(name)
	}
	return names
}

// TestCommands makes sure that no command links packages that it does not need.
func TestCommands(t *testing.T) {
	t.Parallel()
	cloud := []string{"github.com/aws/", "github.com/Azure/", "cloud.google.com/", "gocloud.dev/blob/s3blob",
		"gocloud.dev/blob/gcsblob", "gocloud.dev/blob/azureblob"}
	local := []string{module + "/shared/sandbox", module + "/shared/process"}
	cluster := []string{"k8s.io/", "sigs.k8s.io/", module + "/shared/kubernetes"}
	// the CloudEvents SDK: functions that neither send nor receive events
	events := []string{"github.com/cloudevents/", "github.com/json-iterator/", "go.uber.org/zap"}
	bucket := []string{"gocloud.dev/", "google.golang.org/"}
	// The same for functions that have no records, but metrics or events, whose libraries link protobuf.
	records := []string{"gocloud.dev/", "google.golang.org/grpc", module + "/shared/store", module + "/shared/ledger"}
	// The server behind the agent's calls. The agent shares only the table of routes and the types of
	// the bodies with it.
	server := []string{
		module + "/shared/api", module + "/shared/upload", module + "/shared/store", module + "/shared/ledger", module +
			"/shared/openapi", module + "/shared/serve",
		module + "/functions/agentapi",
	}
	// Only the gateway authenticates callers: front, and the one process.
	gateway := []string{"github.com/coreos/go-oidc", "github.com/go-jose/", module + "/shared/oidc", module +
		"/shared/auth"}
	// Only they show metrics: front, and the one process.
	meters := []string{"github.com/prometheus/", module + "/shared/metrics"}
	// Only the reaper sends numbers and spans by OTLP, and the one process, which has one. The clouds'
	// drivers and client-go link parts of the SDK, but no exporter.
	push := []string{"go.opentelemetry.io/otel/exporters", "go.opentelemetry.io/proto", module + "/shared/telemetry"}
	// The parts of Kubernetes' libraries that read YAML strictly are small.
	yaml := []string{"sigs.k8s.io/yaml", "sigs.k8s.io/json"}
	foreign := map[string][][]string{
		"all":        {cloud, cluster},
		"agent":      {cloud, cluster, local, events, bucket, server, gateway, meters, push},
		"logs":       {cloud, cluster, local, events, gateway, meters, push},
		"outputs":    {cloud, cluster, local, events, gateway, meters, push},
		"front":      {cloud, cluster, local, events, records, push},
		"artifacts":  {cloud, cluster, local, gateway, meters, push},
		"submit":     {cloud, cluster, local, gateway, meters, push},
		"deadletter": {cloud, cluster, local, gateway, meters, records, push},
		"keys":       {cloud, local, gateway, meters, push},
		"one":        {cloud, local, push},
		"launch":     {cloud, local, gateway, meters, push},
		"status":     {cloud, local, events[:1], gateway, meters, push},
		"cancel":     {cloud, local, gateway, meters, push},
		"reap":       {cloud, local, gateway, meters},
	}
	checkGojob(t, slices.Concat(cloud, local, cluster, events, bucket, server, gateway, push))
	for _, name := range commands(t) {
		if foreign[name] == nil {
			t.Errorf("nothing is said here about what %s may link", name)
		}
		for _, dep := range list(t, "-deps", module+"/functions/cmd/"+name) {
			for _, prefix := range slices.Concat(foreign[name]...) {
				reads := slices.ContainsFunc(yaml, func(p string) bool { return strings.HasPrefix(dep, p) })
				if strings.HasPrefix(dep, prefix) && (!reads || !slices.Contains([]string{"submit", "all"}, name)) {
					t.Errorf("%s links %s", name, dep)
				}
			}
		}
	}
}

// checkGojob makes sure that the command line for users links nothing of the server but its
// vocabulary, its version, and how a program is found in files, which --dry-run shows, and of go-git
// only the rules of what is ignored.
func checkGojob(t *testing.T, foreign []string) {
	t.Helper()
	const shared, git = module + "/shared/", "github.com/go-git/go-git/v5/"
	may := []string{
		shared + "job", shared + "version", shared + "project", shared + "runtimes", shared + "archive", shared + "budget",
		git + "plumbing/format/gitignore",
	}
	foreign = append(foreign, shared, module+"/functions/", git, "html/template")
	for _, dep := range list(t, "-deps", module+"/cmd/gojob") {
		for _, prefix := range foreign {
			if strings.HasPrefix(dep, prefix) && !slices.Contains(may, dep) {
				t.Errorf("gojob links %s", dep)
			}
		}
	}
}

// TestVocabulary makes sure that job, which all others depend on, imports only the standard library,
// and that routes and agentwire, which the agent and the server share, import little more.
func TestVocabulary(t *testing.T) {
	t.Parallel()
	for name, may := range map[string][]string{
		"job": nil, "routes": {"job", "access", "reload", "token", "golang.org/x/sys/unix"}, "agentwire": {"job"},
	} {
		for _, dep := range list(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+"/shared/"+name) {
			if dep != module+"/shared/"+name && !slices.Contains(may, strings.TrimPrefix(dep, module+"/shared/")) {
				t.Errorf("shared/%s depends on %s", name, dep)
			}
		}
	}
}

// TestKubernetes makes sure that one package speaks to Kubernetes.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	for _, line := range list(t, "-f", "{{.ImportPath}}:{{range .Imports}}{{.}},{{end}}", module+"/functions/...", module+
		"/shared/...", module) {
		name, imports, _ := strings.Cut(line, ":")
		for imported := range strings.SplitSeq(imports, ",") {
			if strings.HasPrefix(imported, "k8s.io/") && name != module+"/shared/kubernetes" {
				t.Errorf("%s imports %s", name, imported)
			}
		}
	}
}

// TestDeadCode makes sure that the linker drops what no command calls. A single call of reflect's
// Method or MethodByName with a name that is not constant has it keep every exported method of
// every type, which is half of the binary.
func TestDeadCode(t *testing.T) {
	t.Parallel()
	keeps := func(dir, pkg string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-ldflags=-dumpdep", "-o",
			filepath.Join(t.TempDir(), "command"), pkg)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v: %s", pkg, err, out)
		}
		if !bytes.Contains(out, []byte("-> main.main")) {
			t.Fatalf("the linker does not say what depends on what: %.200s", out)
		}
		for line := range bytes.Lines(out) {
			if cause, _, found := bytes.Cut(line, []byte(" <ReflectMethod>")); found {
				return string(cause)
			}
		}
		return ""
	}
	t.Run("this test", func(t *testing.T) {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"go.mod": "module x\n",
			"main.go": "package main\nimport (\"os\"; \"reflect\")\nfunc main() { _ = " +
				"reflect.ValueOf(os.Stdout).MethodByName(os.Args[0]) }\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if keeps(dir, ".") == "" {
			t.Error("a program that calls methods by name is not found out")
		}
	})
	all := []string{module + "/cmd/gojob"}
	for _, name := range commands(t) {
		all = append(all, module+"/functions/cmd/"+name)
	}
	for _, name := range all {
		if cause := keeps("", name); cause != "" {
			t.Errorf("%s keeps all methods, since something looks them up by name: %s", name, cause)
		}
	}
}

// requirements returns the versions that a folder's go.mod asks for, by module.
func requirements(t *testing.T, dir string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &file); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, r := range file.Require {
		versions[r.Path] = r.Version
	}
	return versions
}

// TestModules makes sure that the tests with a module of their own test what is built, and that a
// build need not load what only they use.
func TestModules(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../*/go.mod")
	if err != nil || len(files) < 2 {
		t.Fatalf("got %q, %v", files, err)
	}
	root := requirements(t, "../..")
	for _, file := range files {
		for path, version := range requirements(t, filepath.Dir(file)) {
			if built := root[path]; built != "" && built != version {
				t.Errorf("%s: %s is %s, and %s in the root's go.mod", file, path, version, built)
			}
		}
	}
	for path := range root {
		for _, prefix := range []string{
			"github.com/pb33f/", "github.com/zitadel/", "knative.dev/eventing", "k8s.io/pod-security-admission",
			"sigs.k8s.io/kustomize/", "go.opentelemetry.io/collector",
		} {
			if strings.HasPrefix(path, prefix) {
				t.Errorf("go.mod asks for %s, which belongs to a module below test/", path)
			}
		}
	}
}
