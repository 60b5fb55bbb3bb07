package runtimes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// runs builds and runs a program of the files with the interpreter of this machine, and returns what
// it says.
func runs(t *testing.T, name, entrypoint, dir string, env map[string]string) string {
	t.Helper()
	runtime, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	interpreter, err := exec.LookPath(runtime.Interpreter)
	if err != nil {
		t.Fatalf("%s is needed for this test", runtime.Interpreter)
	}
	index := &job.Index{Spec: job.Spec{Runtime: name, Entrypoint: entrypoint, Env: env}}
	build, program, err := runtime.Build(os.DirFS(dir), dir, t.TempDir(), index)
	if err != nil {
		t.Fatal(err)
	}
	if program == nil {
		_, program = runtime.Command(interpreter, dir, index)
	}
	var out []byte
	for _, args := range [][]string{build, program} {
		if args == nil {
			continue
		}
		cmd := exec.CommandContext(t.Context(), interpreter, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), runtime.Env(dir, index)...)
		for name, value := range env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		if out, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s", interpreter, args, err, out)
		}
	}
	return strings.TrimSpace(string(out))
}

// folder makes a folder of files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPythonTrees runs programs that import modules of their own from folders.
func TestPythonTrees(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		entrypoint string
		files      map[string]string
		env        map[string]string
		want       string
	}{
		"a module beside it": {"app/main.py", map[string]string{"app/main.py": "import m; print(m.x)", "app/m.py": "x = 1"},
			nil, "1"},
		"its own package": {"pkg/main.py", map[string]string{"pkg/main.py": "from pkg import m; print(m.x)",
			"pkg/__init__.py": "", "pkg/m.py": "x = 2"}, nil, "2"},
		"a package at the top": {"bin/run.py", map[string]string{"bin/run.py": "import lib.m; print(lib.m.x)",
			"lib/m.py": "x = 3"}, nil, "3"},
		"below the folder of an archive": {"project/bin/run.py", map[string]string{
			"project/bin/run.py": "import lib.m; print(lib.m.x)", "project/lib/m.py": "x = 4"}, nil, "4"},
		"a package with relative imports": {"pkg/__main__.py", map[string]string{
			"pkg/__main__.py": "from .sub import m; import sys; print(m.x, __package__)", "pkg/__init__.py": "",
			"pkg/sub/__init__.py": "", "pkg/sub/m.py": "x = 5"}, nil, "5 pkg"},
		"an inner package": {"src/pkg/sub/__main__.py", map[string]string{
			"src/pkg/sub/__main__.py": "from .. import m; print(m.x, __package__)", "src/pkg/__init__.py": "",
			"src/pkg/sub/__init__.py": "", "src/pkg/m.py": "x = 6"}, nil, "6 pkg.sub"},
		"a folder that is no package": {"app/__main__.py", map[string]string{"app/__main__.py": "import m; print(m.x)",
			"app/m.py": "x = 7"}, nil, "7"},
		"the user's own path": {"app/main.py", map[string]string{
			"app/main.py": "import os; print(os.environ['PYTHONPATH'])"}, map[string]string{"PYTHONPATH": "/x"}, "/x"},
		"no folders": {"main.py", map[string]string{
			"main.py": "import os; print(os.environ.get('PYTHONPATH', 'none'))"}, nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := runs(t, "python", test.entrypoint, folder(t, test.files), test.env); got != test.want {
				t.Errorf("it says %q, want %q", got, test.want)
			}
		})
	}
}

// TestNodeTrees runs a program that requires modules of its own from folders.
func TestNodeTrees(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"app/src/index.js": "console.log(require('../lib/x').y)",
		"app/lib/x.js": "exports.y = 'from lib'", "app/package.json": `{"main":"src/index.js"}`})
	if got := runs(t, "node", "app/src/index.js", dir, nil); got != "from lib" {
		t.Errorf("it says %q", got)
	}
}

// TestJavaJars compiles a program with jars, runs it with them, and runs class files that lie in
// folders.
func TestJavaJars(t *testing.T) {
	t.Parallel()
	jar := func(dir, name string, files ...string) {
		t.Helper()
		temp := t.TempDir()
		args := []string{"-d", temp}
		for _, file := range files {
			args = append(args, filepath.Join(dir, file))
		}
		command(t, "javac", args...)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		command(t, "jar", "cf", filepath.Join(dir, name), "-C", temp, ".")
	}
	library := "package lib; public class Greeting { public static String text() { return \"from a jar\"; } }"
	program := "import lib.Greeting; public class Main { public static void main(String[] a) { " +
		"System.out.println(Greeting.text()); } }"
	for name, test := range map[string]struct{ entrypoint, source, jar string }{
		"at the top":               {"Main.java", "Main.java", "greeting.jar"},
		"in lib":                   {"Main.java", "Main.java", "lib/greeting.jar"},
		"in lib, above the source": {"src/app/Main.java", "src/app/Main.java", "lib/greeting.jar"},
		"below an archive's folder": {"project/src/app/Main.java", "project/src/app/Main.java",
			"project/libs/greeting.jar"},
		"by the name of the class": {"app.Main", "src/app/Main.java", "lib/greeting.jar"},
	} {
		t.Run(name, func(t *testing.T) {
			text := program
			if strings.Contains(test.source, "app/") {
				text = "package app; " + program
			}
			dir := folder(t, map[string]string{test.source: text, "tmp/Greeting.java": library})
			jar(dir, test.jar, "tmp/Greeting.java")
			if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
				t.Fatal(err)
			}
			if got := runs(t, "java", test.entrypoint, dir, nil); got != "from a jar" {
				t.Errorf("it says %q", got)
			}
		})
	}
	dir := folder(t, map[string]string{"Main.java": "package app; public class Main { static long x = 1L << 40; static " +
		"double d = 2.5; public static void main(String[] a) { System.out.println(\"a class\" + x + d); } }"})
	command(t, "javac", "-d", filepath.Join(dir, "build/classes"), filepath.Join(dir, "Main.java"))
	if err := os.Remove(filepath.Join(dir, "Main.java")); err != nil {
		t.Fatal(err)
	}
	if got := runs(t, "java", "build/classes/app/Main.class", dir, nil); got != "a class10995116277762.5" {
		t.Errorf("it says %q", got)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// TestLargeJavaTree looks at a program of many sources in time, and keeps its command line short.
func TestLargeJavaTree(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	const many = 5000
	for i := range many {
		name := fmt.Sprintf("src/com/example/%s/C%d.java", strings.Repeat("long", 30), i)
		files[name] = &fstest.MapFile{Data: fmt.Appendf(nil, "package com.example.%s; class C%d { C%d next; }",
			strings.Repeat("long", 30), i, (i+1)%many)}
	}
	entrypoint := fmt.Sprintf("src/com/example/%s/C0.java", strings.Repeat("long", 30))
	begin := time.Now()
	build, program, err := javaBuild(sourceTree{files, "/w", "/t"}, entrypoint, nil)
	if err != nil || len(program) == 0 {
		t.Fatal(program, err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	if build[len(build)-1] != "/w/"+entrypoint || !slices.Contains(strings.Split(program[1], ":"), "/w/src") {
		t.Errorf("%d arguments, class path %s", len(build), program[1])
	}
}

// TestMeantFiles suggests the file that was meant.
func TestMeantFiles(t *testing.T) {
	python, err := Find("python")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"project/lib/main.py", "project/main.py", "project/pkg/__main__.py", "setup.py"}
	got := map[string]string{}
	for _, entrypoint := range []string{"main.py", "lib/main.py", "project/pkg", "setpu.py", "x"} {
		err := python.CheckEntrypoint(entrypoint, files)
		_, got[entrypoint], _ = strings.Cut(err.Error(), "; did you mean ")
	}
	want := map[string]string{"main.py": "project/main.py?", "lib/main.py": "project/lib/main.py?",
		"project/pkg": "project/pkg/__main__.py?", "setpu.py": "setup.py?", "x": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestClassNames accepts the names of classes that are in sources, jars or class files.
func TestClassNames(t *testing.T) {
	java, err := Find("java")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		entrypoint string
		files      []string
		want       bool
	}{
		{"com.x.Main", []string{"src/com/x/Main.java"}, true}, {"com.x.Main", []string{"com/x/Main.java"}, true},
		{"com.x.Main", []string{"com/y/Main.java"}, false}, {"com.x.Main", []string{"lib/a.jar"}, true},
		{"com/x/Main", []string{"lib/a.jar"}, false}, {"Main", []string{"a/Main.java"}, true},
		{"-cp", []string{"a.jar"}, false}, {"a/-x.java", []string{"a/-x.java"}, true},
	} {
		if err := java.CheckEntrypoint(test.entrypoint, test.files); (err == nil) != test.want {
			t.Errorf("%s with %q: %v", test.entrypoint, test.files, err)
		}
	}
}
