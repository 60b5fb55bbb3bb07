// Package projects has the projects of examples/ as archives, for tests that run them.
package projects

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/job"
)

// Project is a project, how it is sent, and what is expected of it.
type Project struct {
	Name     string
	Format   string // of the archive
	Data     []byte
	Fields   []string // name=value
	Inferred job.Inferred
	Log      string // of its standard output
}

// All returns the projects. The folder examples is given as the test finds it.
func All(t *testing.T, examples string) []Project {
	t.Helper()
	in := func(name string) string { return filepath.Join(examples, name) }
	return []Project{
		{"a Python package", job.TarGzip, archivetest.Dir(t, job.TarGzip, in("python-package"), ""), nil,
			job.Inferred{Runtime: "python", Entrypoint: "wordcount/__main__.py"}, "5 words\n"},
		{"a project of Node", job.TarZstd, archivetest.Dir(t, job.TarZstd, in("node-project"), "project/"),
			[]string{"arg=1", "arg=5"}, job.Inferred{Runtime: "node", Entrypoint: "project/src/app.js"}, "mean 3\n"},
		{"Java sources", job.Zip, archivetest.Dir(t, job.Zip, in("java-project"), ""), nil,
			job.Inferred{Runtime: "java", Entrypoint: "src/main/java/shop/Main.java"}, "Total 10.0\n"},
		{"Java and a jar", job.Tar, withJar(t, in("java-jars")), []string{"arg=Ann", "entrypoint=app.Main"},
			job.Inferred{Runtime: "java"}, "Hello, Ann!\n"},
		{"a program and its data", job.TarGzip, archivetest.Dir(t, job.TarGzip, in("binary-data"), ""), nil,
			job.Inferred{Runtime: "binary", Entrypoint: "run"}, "strawberry\n"},
	}
}

// withJar compiles the library of a project into a jar in lib/.
func withJar(t *testing.T, dir string) []byte {
	t.Helper()
	project := t.TempDir()
	lib, classes := filepath.Join(project, "lib"), t.TempDir()
	run(t, "javac", "-d", classes, filepath.Join(dir, "library/greeting/Greeting.java"))
	if err := os.Mkdir(lib, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "jar", "cf", filepath.Join(lib, "greeting.jar"), "-C", classes, ".")
	if err := os.CopyFS(filepath.Join(project, "src"), os.DirFS(filepath.Join(dir, "src"))); err != nil {
		t.Fatal(err)
	}
	return archivetest.Dir(t, job.Tar, project, "")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// OnlyCaches reports whether nothing was left behind but what Python itself makes.
func OnlyCaches(n *job.NotCollected) bool {
	return n == nil || !slices.ContainsFunc(n.Names, func(name string) bool { return path.Base(name) != "__pycache__" })
}

// Escape is an archive with a name that leads out of it.
func Escape(t *testing.T) []byte {
	t.Helper()
	return archivetest.Files(t, "main.py", "print(1)", "../escaped.py", "print(2)")
}

// Links is an archive of a shell script and links to it.
func Links(t *testing.T) []byte {
	t.Helper()
	return archivetest.Tar(t, []tar.Header{
		{Name: "run", Typeflag: tar.TypeReg, Mode: 0o755}, {Name: "a/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "a/soft", Typeflag: tar.TypeSymlink, Linkname: "../run"},
		{Name: "hard", Typeflag: tar.TypeLink, Linkname: "run"},
	}, map[string]string{"run": "#!/bin/sh\nreadlink a/soft && cmp run hard && [ -x hard ] && echo linked\n"})
}

// Large is an archive of a script and so many small files.
func Large(t *testing.T, files int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name, text string, mode int64) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	add("run", "#!/bin/sh\nfind data -type f | wc -l\n", 0o755)
	for i := range files {
		add(filepath.Join("data", string(rune('a'+i%26)), string(rune('a'+i/26%26)), "f"+string(rune('a'+i/676%26))+
			string(rune('a'+i/17576))), "x", 0o644)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archivetest.Zstd(t, b.Bytes())
}
