package runtimes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

func TestCommand(t *testing.T) {
	args := []string{"", "-x", "$(HOME)", "a b"}
	for _, test := range []struct {
		runtime, entrypoint string
		path                string
		before              []string
	}{
		{"python", "a.py", "/i", []string{"-u", "/w/a.py"}},
		{"python", "-c", "/i", []string{"-u", "/w/-c"}},
		{"node", "a.js", "/i", []string{"/w/a.js"}},
		{"java", "a.jar", "/i", []string{"-jar", "/w/a.jar"}},
		{"java", "A.java", "/i", []string{"/w/A.java"}},
		{"java", "A.class", "/i", []string{"-cp", "/w:/w/*", "A"}},
		{"java", "org.example.A", "/i", []string{"-cp", "/w:/w/*", "org.example.A"}},
		{"binary", "run", "/w/run", nil},
		{"binary", "-rf", "/w/-rf", nil},
	} {
		r, err := Find(test.runtime)
		if err != nil {
			t.Fatal(err)
		}
		path, got := r.Command("/i", "/w", &job.Index{Spec: job.Spec{Entrypoint: test.entrypoint, Args: args}})
		if want := append(test.before, args...); path != test.path || !slices.Equal(got, want) {
			t.Errorf("%s %s: %s %q, want %s %q", test.runtime, test.entrypoint, path, got, test.path, want)
		}
	}
	for _, name := range []string{"", "Python", "python ", "bash", strings.Repeat("x", 1000)} {
		if _, err := Find(name); !errors.Is(err, job.ErrInvalid) || len(err.Error()) > 300 {
			t.Errorf("runtime %.20q: %v", name, err)
		}
	}
}

// TestJVMOptions demands that a JVM gets the job's memory, unless the machine has no more than that
// or the user sets another value.
func TestJVMOptions(t *testing.T) {
	r, err := Find("java")
	if err != nil {
		t.Fatal(err)
	}
	env := func(name, value string) map[string]string { return map[string]string{name: value} }
	for name, test := range map[string]struct {
		spec job.Spec
		want []string
	}{
		"no limit":           {job.Spec{}, nil},
		"limit":              {job.Spec{Memory: "256Mi"}, []string{"-XX:MaxRAM=268435456"}},
		"decimal":            {job.Spec{Memory: "0.1G"}, []string{"-XX:MaxRAM=100000000"}},
		"tiny":               {job.Spec{Memory: "1Mi"}, []string{"-XX:MaxRAM=16777216"}},
		"more than there is": {job.Spec{Memory: "1Pi"}, nil},
		"own heap": {job.Spec{Memory: "256Mi", Env: env("JAVA_TOOL_OPTIONS", "-Xmx1g")},
			[]string{"-XX:MaxRAM=268435456"}},
		"own RAM":           {job.Spec{Memory: "256Mi", Env: env("JAVA_TOOL_OPTIONS", "-ea -XX:MaxRAM=1g")}, nil},
		"own RAM, launcher": {job.Spec{Memory: "256Mi", Env: env("JDK_JAVA_OPTIONS", "-XX:MaxRAM=1g")}, nil},
	} {
		test.spec.Entrypoint = "a.jar"
		_, got := r.Command("/i", "/w", &job.Index{Spec: test.spec})
		if diff := cmp.Diff(append(slices.Clone(test.want), "-jar", "/w/a.jar"), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		sources := fstest.MapFS{"Main.java": {Data: []byte("class Main { Other o; }")},
			"Other.java": {Data: []byte("class Other {}")}}
		index := &job.Index{Spec: test.spec, Files: []job.File{{Name: "Main.java"}, {Name: "Other.java"}}}
		index.Entrypoint = "Main.java"
		build, program, err := r.Build(sources, "/w", "/t", index)
		for _, args := range [][]string{build, program} {
			if len(args) == 0 || !slices.Equal(args[:len(test.want)], test.want) || err != nil {
				t.Errorf("%s, compiled: %q, %v; want it to begin with %q", name, args, err, test.want)
			}
		}
	}
}

func TestCheckEntrypoint(t *testing.T) {
	for _, test := range []struct {
		runtime, entrypoint string
		files               []string
		message             string
	}{
		{"python", "a", []string{"b", "a"}, ""},
		{"python", "a", []string{"b"}, "uploaded: b"},
		{"python", "a", slices.Repeat([]string{"f"}, 100), "and 90 more"},
		{"binary", "-x", []string{"-x"}, ""},
		{"java", "A.java", []string{"a.jar"}, "no uploaded file"},
		{"java", "b.jar", []string{"a.jar"}, "no uploaded file"},
		{"java", "A.class", []string{"a.jar"}, "no uploaded file"},
		{"java", "A", []string{"a.jar"}, ""},
		{"java", "A", []string{"A.class"}, ""},
		{"java", "A", []string{"a.txt"}, "no uploaded file"},
		{"java", "-version", []string{"-version", "a.jar"}, `begins with "-"`},
		{"java", "@file", []string{"@file", "a.jar"}, `begins with "@"`},
		{"java", "-x.jar", []string{"-x.jar"}, ""},
	} {
		r, err := Find(test.runtime)
		if err != nil {
			t.Fatal(err)
		}
		err = r.CheckEntrypoint(test.entrypoint, test.files)
		if (err == nil) != (test.message == "") || err != nil &&
			(!errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), test.message)) {
			t.Errorf("%s %s of %.30q: %v, want %q", test.runtime, test.entrypoint, test.files, err, test.message)
		}
	}
}

// machine is a folder with interpreters that are scripts.
func machine(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestDetect asks valid interpreters, some of them behind a version manager's shim.
func TestDetect(t *testing.T) {
	real := machine(t, map[string]string{"python3.9": ""})
	linked := filepath.Join(t.TempDir(), "prefix")
	if err := os.Symlink(real, linked); err != nil {
		t.Fatal(err)
	}
	dir := machine(t, map[string]string{
		"python3": fmt.Sprintf("echo warning of a shim >&2\necho %s/python3.9; echo %s; echo %s; echo 3.9.1", linked, linked,
			real),
	})
	m := Detect(t.Context(), "relative::"+t.TempDir()+":"+dir, "/nonexistent")
	got, err := m.Lookup("python")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Folders)
	want := Installed{Path: linked + "/python3.9", Version: "3.9.1", Folders: []string{linked, linked + "/python3.9",
		real, real + "/python3.9"}}
	slices.Sort(want.Folders)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("python (-want +got):\n%s", diff)
	}
	if got := m.Names(); !slices.Equal(got, []string{"python", "binary"}) {
		t.Errorf("runtimes: %q", got)
	}
	if got := m.String(); got != "python 3.9.1, binary" {
		t.Errorf("for people: %q", got)
	}
	if got, want := m.SearchPath(), linked+":/usr/local/bin:/usr/bin:/bin"; got != want {
		t.Errorf("PATH of programs is %s, want %s", got, want)
	}
	if err := m.Check("java"); !errors.Is(err, job.ErrInvalid) ||
		!strings.Contains(err.Error(), "this server can run: python, binary") ||
		!strings.Contains(err.Error(), "Install java") {
		t.Errorf("java: %v", err)
	}
	m.Drop("python", "it does not run in the sandbox")
	if err := m.Check("python"); err == nil || !strings.Contains(err.Error(), "does not run in the sandbox") {
		t.Errorf("after it was dropped: %v", err)
	}
}

// TestDetectBad asks programs that are not interpreters. They must not be accepted, and must not
// delay the start.
func TestDetectBad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "no-program")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	answer := func(lines ...string) string { return "printf '%s\\n' '" + strings.Join(lines, "' '") + "'" }
	for name, script := range map[string]string{
		"fails":               "echo broken >&2; exit 1",
		"says nothing":        "",
		"says too little":     answer("/bin/sh", "/usr"),
		"no path":             answer("sh", "/usr", "/usr", "3"),
		"not there":           answer("/no/such", "/usr", "/usr", "3"),
		"a folder":            answer("/usr", "/usr", "/usr", "3"),
		"not executable":      answer(file, "/usr", "/usr", "3"),
		"the whole disk":      answer("/bin/sh", "/", "/usr", "3"),
		"the disk, disguised": answer("/bin/sh", "/usr/..", "/usr", "3"),
		"a relative folder":   answer("/bin/sh", "usr", "/usr", "3"),
		"a folder not there":  answer("/bin/sh", "/no/such/folder", "/usr", "3"),
		"talks without end":   "/usr/bin/yes | /usr/bin/head -c 3000000; exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			m := Detect(t.Context(), machine(t, map[string]string{"python3": script}), "/")
			if got, err := m.Lookup("python"); err == nil {
				t.Errorf("taken for python: %+v", got)
			} else if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if m.Missing()["python"] == "" {
				t.Error("it is not said why")
			}
		})
	}
	t.Run("is asked no longer than the server starts", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		m := Detect(ctx, machine(t, map[string]string{"python3": "/bin/sleep 1000 & /bin/sleep 1000"}), "/")
		if err := m.Check("python"); err == nil {
			t.Error("taken for python")
		}
	})
}

func TestJava(t *testing.T) {
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "bin", "java"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := javaProperties("Property settings:\r\n    java.home = " + home + "\r\n    java.version = 17.0.1\n    " +
		"x\n    a = b = c\n")
	if err != nil || got.Path != home+"/bin/java" || got.Version != "17.0.1" || !slices.Contains(got.Folders, home) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "java.home = ", "java.home=" + home, "java.home = /no/such"} {
		if got, err := javaProperties(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// FuzzAnswers parses random answers of interpreters. An accepted answer must name a program and
// only existing folders, never the whole disk.
func FuzzAnswers(f *testing.F) {
	f.Add("/bin/sh\n/usr\n/usr\n3")
	f.Add("    java.home = /usr\n    java.version = 17")
	f.Add("/bin/sh\n/\n/usr/..\n3")
	f.Add("\n\n\n\n\n")
	f.Fuzz(func(t *testing.T, output string) {
		for _, parse := range []func(string) (Installed, error){fourLines, javaProperties} {
			got, err := parse(output)
			if err != nil {
				continue
			}
			for _, p := range append(got.Folders, got.Path) {
				if !filepath.IsAbs(p) || filepath.Clean(p) == "/" {
					t.Errorf("%q opens %q", output, p)
				}
				if _, err := os.Stat(p); err != nil {
					t.Errorf("%q: %v", output, err)
				}
			}
		}
	})
}
