package runtimes

import (
	"errors"
	"maps"
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

// javaProgram is a set of uploaded sources, and the expected result of building and running them.
type javaProgram struct {
	name       string
	entrypoint string
	files      map[string]string
	sources    []string // that are compiled; nil: java is given the file
	class      string
	says       string // when it runs; "" it is not run
}

const (
	mainCallsHelper = `public class Main { public static void main(String[] a) { System.out.println(Helper.text() + a.length + a[0]); } }`
	helper          = `class Helper { static String text() { return "helped "; } }`
)

func javaPrograms() []javaProgram {
	return []javaProgram{
		{"one source", "Main.java",
			map[string]string{"Main.java": `class Main { public static void main(String[] a) { System.out.println("one"); } }`},
			nil, "", "one"},
		{"two", "Main.java", map[string]string{"Main.java": mainCallsHelper, "Helper.java": helper},
			[]string{"Main.java", "Helper.java"}, "Main", "helped 1x y"},
		{"a class in a file of another name", "Main.java", map[string]string{"Main.java": mainCallsHelper,
			"Tools.java": helper, "z.txt": "Helper"},
			[]string{"Main.java", "Tools.java"}, "Main", "helped 1x y"},
		{"a chain", "A.java", map[string]string{
			"A.java": `class A { public static void main(String[] a) { System.out.println(new B().c()); } }`,
			"B.java": `class B { String c() { return C.D; } }`, "C.java": `interface C { String D = "d"; }`,
		}, []string{"A.java", "B.java", "C.java"}, "A", "d"},
		{"packages", "Main.java", map[string]string{
			"Main.java": "package app; /* class No { */ import app.util.Helper;\npublic class Main { public static void " +
				"main(String[] a) { System.out.println(Helper.text()); } }",
			"Helper.java": "// package no;\npackage app . util;\npublic record Helper(int a) { public static String text() { " +
				"return \"from app.util\"; } }",
		}, []string{"Main.java", "Helper.java"}, "app.Main", "from app.util"},
		{"one source in a package", "Main.java", map[string]string{
			"Main.java": `package app; public class Main { public static void main(String[] a) { System.out.println(Main.class.getName()); } }`,
		}, []string{"Main.java"}, "app.Main", "app.Main"},
		{"another program beside it", "A.java", map[string]string{
			"A.java": `class A { public static void main(String[] a) { System.out.println(Util.x); } } class Util { static String x = "mine"; }`,
			"B.java": `class B { public static void main(String[] a) { System.out.println(Util.x); } } class Util { static String x = "other"; }`,
			"C.java": `this is { no Java`,
		}, nil, "", "mine"},
		{"a class that is loaded by name", "Main.java", map[string]string{
			"Main.java":   `class Main { public static void main(String[] a) throws Exception { System.out.println(Class.forName("Plugin").getDeclaredConstructor().newInstance()); } }`,
			"Plugin.java": `public class Plugin { public String toString() { return "plugged"; } }`,
		}, []string{"Main.java", "Plugin.java"}, "Main", "plugged"},
		{"the first class, if none is named for the file", "main.java", map[string]string{
			"main.java":   `@SuppressWarnings("class X") class First { char c = '{'; String s = "}\"{"; public static void main(String[] a) { System.out.println(Helper.text()); } } class Second { }`,
			"Helper.java": helper,
		}, []string{"main.java", "Helper.java"}, "First", "helped"},
		{"texts and generics", "Main.java", map[string]string{
			"Main.java": "class Main { static final String T = \"\"\"\n } } class X { \"quoted\" \n\"\"\"; public static " +
				"void main(String[] a) { Helper<String> h = () -> \"generic\"; System.out.println(h.get()); } }",
			"Helper.java": "@FunctionalInterface interface Helper<T> { T get(); }",
		}, []string{"Main.java", "Helper.java"}, "Main", "generic"},
		{"a main without a class", "Main.java", map[string]string{"Main.java": "void main() { IO.println(Helper.text()); }",
			"Helper.java": helper},
			[]string{"Main.java", "Helper.java"}, "Main", ""},
		{"folders of packages", "src/main/java/app/Main.java", map[string]string{
			"src/main/java/app/Main.java": "package app; import app.util.Helper; public class Main { public static void " +
				"main(String[] a) throws Exception { System.out.println(Helper.text() + new String(Main.class" +
				".getResourceAsStream(\"/text\").readAllBytes())); } }",
			"src/main/java/app/util/Helper.java": "package app.util; public class Helper { public static String text() { " +
				"return \"from a folder, \"; } }",
			"src/main/resources/text":         "with a resource",
			"src/test/java/app/MainTest.java": "package app; import org.junit.Test; class MainTest { Main m; }",
			"other/Helper.java":               "class Helper { this is no Java }",
			"results/Helper.java":             "class Helper { nor this }",
		}, []string{"src/main/java/app/Main.java", "src/main/java/app/util/Helper.java"}, "app.Main",
			"from a folder, with a resource"},
		{"the name of a class", "app.Main", map[string]string{
			"project/src/app/Main.java": "package app; class Main { public static void main(String[] a) { " +
				"System.out.println(Other.X); } }",
			"project/src/app/Other.java": "package app; class Other { static String X = \"by name\"; }",
		}, []string{"project/src/app/Main.java", "project/src/app/Other.java"}, "app.Main", "by name"},
		{"a source in a folder", "src/Main.java", map[string]string{"src/Main.java": mainCallsHelper,
			"src/Helper.java": helper, "Helper.java": "class Helper { another }"},
			[]string{"src/Main.java", "src/Helper.java"}, "Main", "helped 1x y"},
		{"one source in a folder", "src/Main.java", map[string]string{
			"src/Main.java": `class Main { public static void main(String[] a) { System.out.println("one"); } }`,
		}, nil, "", "one"},
		{"a class file", "Main.class", map[string]string{"Main.class": "", "Main.java": mainCallsHelper,
			"Helper.java": helper}, nil, "", ""},
	}
}

// TestJavaBuilds compiles and runs programs with the Java of this machine, as they were uploaded.
func TestJavaBuilds(t *testing.T) {
	t.Parallel()
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatal("java is needed for this test")
	}
	for _, test := range javaPrograms() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, temp := t.TempDir(), t.TempDir()
			index := &job.Index{Spec: job.Spec{Entrypoint: test.entrypoint, Args: []string{"x y"}}}
			for _, name := range slices.Sorted(maps.Keys(test.files)) {
				index.Files = append(index.Files, job.File{Name: name})
				path := filepath.Join(dir, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
					os.WriteFile(path, []byte(test.files[name]), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			runtime, err := Find("java")
			if err != nil {
				t.Fatal(err)
			}
			build, program, err := runtime.Build(os.DirFS(dir), dir, temp, index)
			if err != nil {
				t.Fatal(err)
			}
			var sources []string
			for _, arg := range build {
				if name, found := strings.CutPrefix(arg, dir+"/"); found && strings.HasSuffix(arg, ".java") {
					sources = append(sources, name)
				}
			}
			if diff := cmp.Diff(test.sources, sources); diff != "" {
				t.Fatalf("sources (-want +got):\n%s", diff)
			}
			if build != nil {
				if got := program[len(program)-2]; got != test.class {
					t.Errorf("class %q, want %q", got, test.class)
				}
			} else if program == nil {
				_, program = runtime.Command(java, dir, index)
			}
			if test.says == "" {
				return
			}
			for _, args := range [][]string{build, program} {
				if args == nil {
					continue
				}
				out, err := exec.CommandContext(t.Context(), java, args...).CombinedOutput()
				if err != nil {
					t.Fatalf("java %q: %v\n%s", args, err, out)
				}
				if args[0] == program[0] && strings.TrimSpace(string(out)) != test.says {
					t.Errorf("the program says %q, want %q", out, test.says)
				}
			}
		})
	}
}

// TestJavaExplains breaks programs of one source and of several. The message must say where the
// error is.
func TestJavaExplains(t *testing.T) {
	t.Parallel()
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatal("java is needed for this test")
	}
	runtime, err := Find("java")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"one source": {map[string]string{"Main.java": "class Main {\n int x = \"text\";\n}"},
			"it could not be compiled: Main.java:2: error: incompatible types: String cannot be converted to int"},
		"the second": {map[string]string{"Main.java": mainCallsHelper, "Helper.java": "class Helper {\n static " +
			"String text() { return 1 }\n}"}, "it could not be compiled: Helper.java:2: error: ';' expected"},
		"an exception": {map[string]string{"Main.java": `class Main { public static void main(String[] a) { System.err.println("a: error: x"); throw new Error(); } }`}, ""},
		"an exit code": {map[string]string{"Main.java": `class Main { public static void main(String[] a) { System.exit(1); } }`}, ""},
		"a helper's fault": {map[string]string{"Main.java": mainCallsHelper,
			"Helper.java": `class Helper { static String text() { throw new Error("error: compilation"); } }`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			index := &job.Index{Spec: job.Spec{Entrypoint: "Main.java", Args: []string{"x"}}}
			for file, text := range test.files {
				index.Files = append(index.Files, job.File{Name: file})
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			build, program, err := runtime.Build(os.DirFS(dir), dir, t.TempDir(), index)
			if err != nil {
				t.Fatal(err)
			}
			if program == nil {
				_, program = runtime.Command(java, dir, index)
			}
			for _, args := range [][]string{build, program} {
				if args == nil {
					continue
				}
				out, err := exec.CommandContext(t.Context(), java, args...).CombinedOutput()
				if err == nil {
					continue
				}
				if got := runtime.Explain(string(out), build != nil && args[0] == build[0]); got != test.want {
					t.Errorf("explained as %q, want %q, from:\n%s", got, test.want, out)
				}
				return
			}
			t.Error("it did not fail")
		})
	}
	if got := runtime.Explain("java.lang.module.FindException: Module jdk.compiler not found\n", true); !strings.Contains(
		got, "JRE") {
		t.Errorf("without a compiler: %q", got)
	}
}

// TestJavaSourcesAreReadInTime has sources that could make a parser slow. The time must grow only
// linearly with the size.
func TestJavaSourcesAreReadInTime(t *testing.T) {
	t.Parallel()
	for _, piece := range []string{`"\"`, `'`, `"""`, "/*", "//", "{", "(", "class a", "class A ", "package a.", "a ",
		" ", "\\u0041", "é", "\xff"} {
		text := strings.Repeat(piece, maxSource/len(piece))
		files, names := fstest.MapFS{}, []string{}
		for _, name := range []string{"A.java", "B.java", "C.java"} {
			files[name], names = &fstest.MapFile{Data: []byte(text)}, append(names, name)
		}
		done := make(chan error, 1)
		go func() {
			_, _, err := javaBuild(sourceTree{files, "/w", "/t"}, "A.java", names)
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%q: %v", piece, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q: is still looked at after a minute", piece)
		}
	}
}

// FuzzParseJava gives the parser random text. It must end, and must find only valid names.
func FuzzParseJava(f *testing.F) {
	for _, p := range javaPrograms() {
		for _, text := range p.files {
			f.Add(text)
		}
	}
	f.Add("package a.b; class \xff { \" ' /* ")
	f.Fuzz(func(t *testing.T, text string) {
		build, program, err := javaBuild(sourceTree{fstest.MapFS{"A.java": {Data: []byte(text)}, "B.java": {Data: []byte(text)}},
			"/w", "/t"},
			"A.java", []string{"A.java", "B.java"})
		if err != nil {
			t.Fatal(err)
		}
		if build != nil && (len(program) != 3 || strings.HasPrefix(program[2], "-") ||
			strings.ContainsAny(program[2], "/ \x00")) {
			t.Errorf("%q: class %q", text, program[2])
		}
	})
}
