package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
)

// sources are the parsed files of the code, without its tests.
var sources = sync.OnceValues(func() (map[string]*ast.File, error) {
	files := map[string]*ast.File{}
	for _, dir := range []string{"functions", "shared"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
})

// setting is an environment variable that the code reads.
type setting struct {
	defaults []string // of the commands that have one
	required bool
}

// settings returns those that an operator can set, by name.
func settings(t *testing.T) map[string]setting {
	t.Helper()
	files, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]setting{}
	for path, file := range files {
		if strings.Contains(filepath.ToSlash(path), "/functions/agent/") {
			continue // launch makes the variables of a pod from its own settings
		}
		ast.Inspect(file, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			text, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			tag := reflect.StructTag(text)
			name, options, _ := strings.Cut(tag.Get("env"), ",")
			if name == "" {
				return true
			}
			s := all[name]
			s.required = s.required || options == "required"
			if value, ok := tag.Lookup("envDefault"); ok && !slices.Contains(s.defaults, value) {
				s.defaults = append(s.defaults, value)
			}
			all[name] = s
			return true
		})
	}
	delete(all, "K_SERVICE") // Knative's, which nobody sets
	for _, r := range runtimes.All() {
		all["IMAGE_"+strings.ToUpper(r.Name)] = setting{defaults: []string{r.Image}}
	}
	all["GOMEMLIMIT"] = setting{} // Go's own
	return all
}

// TestSettings demands that docs/configuration.md has every setting of the code and no other, with
// its default.
func TestSettings(t *testing.T) {
	t.Parallel()
	all := settings(t)
	described := map[string]bool{}
	for _, row := range find(t, "docs/configuration.md").rows("") {
		for _, name := range spans(row[0]) {
			if described[name] {
				t.Errorf("%s is described twice", name)
			}
			described[name] = true
			for _, value := range all[name].defaults {
				if !slices.Contains(spans(row[1]), value) {
					t.Errorf("%s: the default is %q in the code, and %s in the table", name, value, row[1])
				}
			}
			if all[name].required && !strings.Contains(row[1], "required") {
				t.Errorf("%s is required; the table says %s", name, row[1])
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(described))); diff != "" {
		t.Errorf("settings (-in the code +in docs/configuration.md):\n%s", diff)
	}
}

// notSettings are words that look like settings: what programs find, settings of other tools,
// constants of the kernel.
var notSettings = regexp.MustCompile(
	`^(JOB_ID|JOB_ATTEMPT|BASE_IMAGE|GO_IMAGE|GOJOB_.*|XDG_.*|NO_COLOR|OUTPUT_DIR|CE_.*|JAVA_TOOL_OPTIONS|K[OI]_.*|KO_.*|OTEL_.*|KIND_.*|AWS_.*|AZURE_.*|` +
		`GOOGLE_.*|E2E_(PROXY|KEY)|MAP_HUGETLB|F_OFD_SETLK|SO_(SND|RCV)BUF|NETLINK_ROUTE)$`)

var settingName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+`)

// TestSettingsAreThere demands that no page names a setting that is not there.
func TestSettingsAreThere(t *testing.T) {
	t.Parallel()
	all := settings(t)
	for _, p := range pages(t) {
		for _, l := range p.prose {
			for _, span := range spans(l.text) {
				name := settingName.FindString(span)
				if _, ok := all[name]; name != "" && !ok && !notSettings.MatchString(name) && !strings.HasPrefix(span, name+"_…") {
					t.Errorf("%s:%d: there is no setting %s", p.path, l.number, name)
				}
			}
		}
	}
}

// TestBounds demands that the tables of bounds give settings the defaults that they have.
func TestBounds(t *testing.T) {
	t.Parallel()
	words := map[string]string{"0s": "none", "false": "refused"}
	all, compared := settings(t), 0
	for _, row := range find(t, "docs/security.md").rows("## Bounds") {
		names, values := strings.Split(row[1], " · "), strings.Split(row[2], " · ")
		for i, name := range names {
			s, ok := all[strings.Trim(name, "`")]
			if !ok || len(s.defaults) == 0 || i >= len(values) {
				continue
			}
			compared++
			got := strings.ReplaceAll(values[i], ",", "")
			want := s.defaults[0]
			if word, ok := words[want]; ok {
				want = word
			}
			if first, _, _ := strings.Cut(strings.ReplaceAll(got, ";", " "), " "); first != want {
				t.Errorf("%s: the default of %s is %q, not %q", row[0], name, want, values[i])
			}
		}
	}
	if compared < 20 {
		t.Errorf("only %d defaults were compared", compared)
	}
}

// reasons returns those that the code has constants for.
func reasons(t *testing.T) []string {
	t.Helper()
	files, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for path, file := range files {
		if !strings.Contains(filepath.ToSlash(path), "/shared/job/") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
				return true
			}
			for _, v := range spec.Values {
				word, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, word)
			}
			return true
		})
	}
	slices.Sort(list)
	return list
}

// TestReasons demands that the tables of reasons have every reason of the code and no other, and
// say which are retried.
func TestReasons(t *testing.T) {
	t.Parallel()
	want := reasons(t)
	found := map[string]bool{}
	for _, row := range find(t, "docs/jobs.md").rows("## Reasons") {
		reason := strings.Trim(row[0], "`")
		found[reason] = true
		if phase := job.Phase(row[1]); slices.Contains(job.Phases(), phase) {
			if phase.Terminal() {
				t.Errorf("%s: a job that is not over cannot be %s", reason, phase)
			}
			continue
		}
		if got := (&job.Index{Spec: job.Spec{Retries: 1}}).MayRetry(1, job.Reason(reason), nil); got != (row[2] == "yes") {
			t.Errorf("%s: is retried: %t; the table says %s", reason, got, row[2])
		}
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(found))); diff != "" {
		t.Errorf("reasons (-in the code +in docs/jobs.md):\n%s", diff)
	}
	var described []string
	text := openapi(t).Components.Schemas["Reason"].Description
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)`").FindAllStringSubmatch(text, -1) {
		described = append(described, m[1])
	}
	slices.Sort(described)
	if diff := cmp.Diff(want, described); diff != "" {
		t.Errorf("reasons (-in the code +in openapi.yaml):\n%s", diff)
	}
	passedOn := []string{"InvalidImageName"} // Kubernetes' own
	for _, row := range find(t, "docs/operations.md").rows("## Troubleshooting by reason") {
		for _, reason := range spans(row[0]) {
			if !slices.Contains(want, reason) && !slices.Contains(passedOn, reason) {
				t.Errorf("docs/operations.md: there is no reason %s", reason)
			}
		}
	}
}

// description is as much of openapi.yaml as the tables are compared with.
type description struct {
	Paths      map[string]map[string]any
	Components struct {
		Schemas map[string]struct {
			Description       string
			Properties        map[string]any
			PatternProperties map[string]any
		}
	}
}

func openapi(t *testing.T) description {
	t.Helper()
	text, err := os.ReadFile(root + "/shared/openapi/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d description
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// firsts returns the code spans in the first cells of the tables below a heading.
func firsts(p page, heading string) []string {
	var list []string
	for _, row := range p.rows(heading) {
		list = append(list, spans(row[0])...)
	}
	slices.Sort(list)
	return list
}

// TestTables compares the tables of fields, phases, runtimes and calls with the code and its
// description.
func TestTables(t *testing.T) {
	t.Parallel()
	api, jobs := openapi(t), find(t, "docs/jobs.md")
	var phases, names, calls []string
	for _, p := range job.Phases() {
		phases = append(phases, string(p))
	}
	for _, r := range runtimes.All() {
		names = append(names, r.Name)
	}
	for path, methods := range api.Paths {
		for method, call := range methods {
			operation, ok := call.(map[string]any)
			if tags, _ := operation["tags"].([]any); ok && method != "parameters" && !slices.Contains(tags, any("Agent")) {
				calls = append(calls, strings.ToUpper(method)+" "+path)
			}
		}
	}
	form := api.Components.Schemas["JobForm"]
	fields := slices.Collect(maps.Keys(form.Properties))
	for pattern := range form.PatternProperties { // such as ^secret\.[…]$
		prefix, _, _ := strings.Cut(strings.TrimPrefix(pattern, "^"), "[")
		fields = append(fields, strings.ReplaceAll(prefix, `\.`, ".")+"NAME")
	}
	for _, c := range []struct {
		what      string
		want, got []string
	}{
		{"fields", fields, firsts(jobs, "## Fields")},
		{"phases", phases, firsts(jobs, "## Phases")},
		{"runtimes", names, firsts(jobs, "## Runtimes")},
		{"calls", calls, firsts(find(t, "docs/api.md"), "## Calls")},
	} {
		slices.Sort(c.want)
		got := slices.DeleteFunc(c.got, func(s string) bool { return c.what == "runtimes" && strings.HasPrefix(s, ".") })
		if len(got) == 0 {
			t.Errorf("there is no table of %s", c.what)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-in the code +in docs):\n%s", c.what, diff)
		}
	}
}
