package gojob

import (
	"archive/zip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRelease builds a release for two systems. The archives have what belongs to them, the checksums
// are theirs, and the version is the one that was given.
func TestRelease(t *testing.T) {
	t.Parallel()
	dist := filepath.Join(t.TempDir(), "dist")
	command := exec.Command("make", "-C", "../..", "release", "VERSION=v9.8.7", "PLATFORMS=linux/amd64 windows/amd64", "DIST="+dist)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const linux, windows = "gojob-v9.8.7-linux-amd64", "gojob-v9.8.7-windows-amd64"
	out, err := exec.Command("tar", "-xzf", filepath.Join(dist, linux+".tar.gz"), "-C", dist).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files := []string{
		"LICENSE", "README.md", "completion/_gojob", "completion/gojob.bash", "completion/gojob.fish", "completion/gojob.ps1",
	}
	for _, name := range append(files, "gojob") {
		if info, err := os.Stat(filepath.Join(dist, linux, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if out, err := exec.Command(filepath.Join(dist, linux, "gojob"), "--version").Output(); err != nil ||
		!strings.HasPrefix(string(out), "gojob version v9.8.7 ") {
		t.Errorf("%s %v", out, err)
	}
	if info, err := os.Stat(filepath.Join(dist, linux, "gojob")); err != nil || info.Size() > 12<<20 {
		t.Errorf("gojob has %d bytes, %v; at most 12 MiB", info.Size(), err)
	}
	archive, err := zip.OpenReader(filepath.Join(dist, windows+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, name := range append(files, "gojob.exe") {
		f, err := archive.Open(windows + "/" + name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f.Close()
	}
	sums, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, name := range []string{linux + ".tar.gz", windows + ".zip"} {
		f, err := os.Open(filepath.Join(dist, name))
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		fmt.Fprintf(&want, "%x  %s\n", h.Sum(nil), name)
	}
	if string(sums) != want.String() {
		t.Errorf("got:\n%swant:\n%s", sums, want.String())
	}
}
