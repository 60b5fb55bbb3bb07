package dependencies

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
)

const uvLockText = `version = 1
requires-python = ">=3.11"

[[package]]
name = "app"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
  { name = "a", extra = ["more"] },
  { name = "b", marker = "sys_platform == 'win32'" },
]

[[package]]
name = "a"
version = "1.0"
source = { registry = "https://example.com/simple" }
dependencies = [{ name = "c", marker = "python_full_version < '3.12'" }]
wheels = [{ url = "https://example.com/a.whl", hash = "sha256:aa" }]
[package.optional-dependencies]
more = [{ name = "d" }]

[[package]]
name = "b"
version = "2.0"
source = { registry = "https://example.com/simple" }
dependencies = [{ name = "c" }]
sdist = { url = "https://example.com/b.tar.gz", hash = "sha256:bb" }

[[package]]
name = "c"
version = "3.0"
source = { registry = "https://example.com/simple" }
dependencies = [{ name = "c" }]
wheels = [{ url = "https://example.com/c.whl", hash = "sha256:cc" }]

[[package]]
name = "d"
version = "4.0"
source = { registry = "https://example.com/simple" }
wheels = [{ url = "https://example.com/d.whl", hash = "sha256:dd" }]

[[package]]
name = "unused"
version = "1.0"
source = { registry = "https://example.com/simple" }
`

const pyLockText = `lock-version = "1.0"
requires-python = ">=3.10"
[[packages]]
name = "a"
version = "1.0"
marker = "sys_platform == 'linux'"
wheels = [{ url = "https://example.com/a.whl", hashes = { sha256 = "aa", md5 = "x" } }]
[[packages]]
name = "extra"
version = "1.0"
marker = "'x' in extras"
[[packages]]
name = "d"
[packages.archive]
url = "https://example.com/d-1.0.tar.gz"
hashes = { sha256 = "dd" }
`

// TestPlan has projects of each kind.
func TestPlan(t *testing.T) {
	script := func(block string) string {
		return "#!/usr/bin/env python\n# /// script\n" + block + "# ///\nprint(1)\n"
	}
	for name, test := range map[string]struct {
		runtime string
		files   map[string]string
		want    *prepare.Plan // From, Requirements, Locked, Hashed, Python, Folder
		fault   string
	}{
		"nothing":     {"python", map[string]string{"main": "print(1)\n"}, nil, ""},
		"other files": {"binary", map[string]string{"main": "x", "requirements.txt": "a\n"}, nil, ""},
		"script": {"python", map[string]string{
			"main": script("# requires-python = \">=3.8\"\n# dependencies = [\n" +
				"#   \"a>=1\",\n#   \"b ; python_version > '3'\",\n# ]\n"),
			"requirements.txt": "other\n"},
			&prepare.Plan{From: "main", Python: ">=3.8", Requirements: "a>=1\nb ; python_version > '3'\n"}, ""},
		"script with none": {"python", map[string]string{
			"main": script("# dependencies = []\n"), "requirements.txt": "a"}, nil, ""},
		"script with CRLF": {"python", map[string]string{
			"main": strings.ReplaceAll(script("# dependencies = [\"a\"]\n"), "\n", "\r\n")},
			&prepare.Plan{From: "main", Requirements: "a\n"}, ""},
		"script broken":     {"python", map[string]string{"main": script("# dependencies = [\n")}, nil, "TOML"},
		"script not a list": {"python", map[string]string{"main": script("# dependencies = \"a\"\n")}, nil, "TOML"},
		"script with option": {"python", map[string]string{
			"main": script("# dependencies = [\"--index-url=x\"]\n")}, nil, "not a requirement"},
		"script with lines": {"python", map[string]string{
			"main": script("# dependencies = [\"a\\nb\"]\n")}, nil, "not a requirement"},
		"two scripts": {"python", map[string]string{
			"main": script("# dependencies = []\n") + "\n" + script("# dependencies = []\n")}, nil, "two blocks"},
		"script not closed": {"python", map[string]string{
			"main": "# /// script\n# dependencies = [\"a\"]\nprint(1)\n"}, nil, ""},
		"requirements": {"python", map[string]string{
			"main": "", "requirements.txt": "# none\na==1\n"}, &prepare.Plan{From: "requirements.txt"}, ""},
		"only comments": {"python", map[string]string{
			"main": "", "requirements.txt": "# none\n\n--index-url x\n"}, nil, ""},
		"project only": {"python", map[string]string{
			"main": "", "pyproject.toml": "[project]\ndependencies=[\"a\"]\n"}, nil, ""},
		"uv.lock": {"python", map[string]string{
			"main": "", "pyproject.toml": "[project]\nname=\"app\"\n", "uv.lock": uvLockText},
			&prepare.Plan{From: "uv.lock", Locked: true, Hashed: true, Python: ">=3.11", Requirements: `a==1.0 --hash=sha256:aa
b==2.0 ; (sys_platform == 'win32') --hash=sha256:bb
c==3.0 ; ((python_full_version < '3.12')) or ((sys_platform == 'win32')) --hash=sha256:cc
d==4.0 --hash=sha256:dd
`}, ""},
		"uv.lock of another version": {"python", map[string]string{"main": "", "uv.lock": "version = 9\n"}, nil, "version 9"},
		"uv.lock with a gap": {"python", map[string]string{
			"main": "",
			"uv.lock": "version = 1\n[[package]]\nname = \"app\"\nsource = { virtual = \".\" }\n" +
				"dependencies = [{ name = \"gone\" }]\n"},
			nil, "gone"},
		"pylock.toml": {"python", map[string]string{"main": "", "pylock.toml": pyLockText, "uv.lock": "junk"},
			&prepare.Plan{From: "pylock.toml", Locked: true, Hashed: true, Python: ">=3.10",
				Requirements: `a==1.0 ; sys_platform == 'linux' --hash=sha256:aa
d @ https://example.com/d-1.0.tar.gz --hash=sha256:dd
`}, ""},
		"package.json": {"node", map[string]string{"main": "", "package.json": `{"dependencies":{"a":"1"}}`},
			&prepare.Plan{From: "package.json", Folder: "."}, ""},
		"package-lock.json": {"node", map[string]string{
			"main": "", "package.json": `{"dependencies":{"a":"1"}}`, "package-lock.json": "{}"},
			&prepare.Plan{From: "package-lock.json", Folder: ".", Locked: true}, ""},
		"no packages": {"node", map[string]string{"main": "", "package.json": `{"type":"module"}`}, nil, ""},
		"brings them along": {"node", map[string]string{
			"main": "", "package.json": `{"dependencies":{"a":"1"}}`, "node_modules/a/index.js": ""}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := planOfFiles(t, &Settings{Mode: Online, Timeout: time.Minute}, test.runtime, test.files)
			if test.fault != "" {
				if !errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("got %v; want a fault with %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if plan != nil {
				if len(plan.Digest) != 64 || plan.Runtime != test.runtime || plan.Timeout != time.Minute {
					t.Errorf("got %+v", plan)
				}
				plan = &prepare.Plan{From: plan.From, Requirements: plan.Requirements, Locked: plan.Locked, Hashed: plan.Hashed,
					Python: plan.Python, Folder: plan.Folder}
			}
			if diff := cmp.Diff(test.want, plan); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func planOfFiles(t *testing.T, s *Settings, runtime string, files map[string]string) (*prepare.Plan, error) {
	t.Helper()
	tree := fstest.MapFS{}
	index := &job.Index{Spec: job.Spec{Runtime: runtime, Entrypoint: "main"}}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		index.Files = append(index.Files, job.File{Name: name, SHA256: text})
	}
	sources, err := prepare.Collect(tree, index)
	if err != nil || sources == nil {
		return nil, err
	}
	return s.Plan(sources)
}

// TestDigest makes sure that what changes the packages changes the key of the cache, and that nothing
// else does.
func TestDigest(t *testing.T) {
	digest := func(s Settings, files map[string]string) string {
		s.Mode = Online
		plan, err := planOfFiles(t, &s, "python", files)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Digest
	}
	files := func(list, main string) map[string]string {
		return map[string]string{"requirements.txt": list, "main": main, "more.txt": "b\n"}
	}
	base := digest(Settings{}, files("a\n", ""))
	for name, test := range map[string]struct {
		same bool
		got  string
	}{
		"another program":     {true, digest(Settings{}, files("a\n", "print(2)"))},
		"another list":        {false, digest(Settings{}, files("a==1\n", ""))},
		"another index":       {false, digest(Settings{Indexes: Indexes{Python: "https://x/simple"}}, files("a\n", ""))},
		"another npm":         {true, digest(Settings{Indexes: Indexes{Node: "https://x/"}}, files("a\n", ""))},
		"an included list":    {false, digest(Settings{}, files("-r more.txt\n", ""))},
		"the project's files": {false, digest(Settings{}, files("./main\n", ""))},
	} {
		if (test.got == base) != test.same {
			t.Errorf("%s: same key %v, want %v", name, test.got == base, test.same)
		}
	}
	if digest(Settings{}, files("./own\n", "1")) == digest(Settings{}, files("./own\n", "2")) {
		t.Error("a list that installs the project itself has one key for two projects")
	}
	if digest(Settings{Indexes: Indexes{Python: "https://u:old@x/s"}}, files("a", "")) !=
		digest(Settings{Indexes: Indexes{Python: "https://u:new@x/s"}}, files("a", "")) {
		t.Error("another password makes another key")
	}
}

func TestWarnings(t *testing.T) {
	for name, test := range map[string]struct {
		mode    Mode
		runtime string
		files   []string
		want    string
	}{
		"off":          {Off, "python", []string{"main", "requirements.txt"}, "DEPENDENCIES=off"},
		"off, node":    {Off, "node", []string{"main", "package.json", "package-lock.json"}, "DEPENDENCIES=off"},
		"off, none":    {Off, "python", []string{"main"}, ""},
		"off, binary":  {Off, "binary", []string{"main", "requirements.txt"}, ""},
		"on":           {Online, "python", []string{"main", "requirements.txt"}, ""},
		"no lock":      {Online, "node", []string{"main", "package.json"}, "package-lock.json"},
		"no lock of a": {Online, "python", []string{"main", "pyproject.toml"}, "uv.lock"},
		"brought":      {Online, "node", []string{"main", "package.json", "node_modules/left-pad/index.js"}, ""},
		"locked":       {Offline, "python", []string{"main", "pyproject.toml", "uv.lock"}, ""},
	} {
		got := strings.Join(test.mode.Warnings(test.runtime, "main", test.files), "\n")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q in it", name, got, test.want)
		}
	}
}
