// Command release builds gojob for each platform, and packs it with its completions, the licence and
// its page into archives in dist/, with their checksums. What it makes depends only on the source, the
// version and Go.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// variable is what the linker sets the version in.
const variable = "go-job-orchestrator/shared/version.version"

func main() {
	log.SetFlags(0)
	version := flag.String("version", "", "the version, such as v1.2.3")
	platforms := flag.String("platforms", "", "the platforms, such as linux/amd64, with blanks between")
	dist := flag.String("dist", "dist", "the folder of the archives, which is emptied")
	tags := flag.String("tags", "", "build tags")
	flag.Parse()
	r := release{version: *version, dist: *dist, tags: *tags}
	if err := r.run(strings.Fields(*platforms)); err != nil {
		log.Fatal(err)
	}
}

type release struct {
	version, dist, tags string
	common              []file // of every archive
	sums                strings.Builder
}

// file is a file of an archive.
type file struct {
	name    string
	mode    int64
	content []byte
}

// modified is the time of all files, since archives must not depend on when they were made.
var modified = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func (r *release) run(platforms []string) error {
	if r.version == "" || len(platforms) == 0 {
		return errors.New("-version and -platforms are required")
	}
	if err := os.RemoveAll(r.dist); err != nil {
		return err
	}
	if err := os.MkdirAll(r.dist, 0o755); err != nil {
		return err
	}
	if err := r.shared(); err != nil {
		return err
	}
	for _, platform := range platforms {
		if err := r.archive(platform); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
	}
	return os.WriteFile(filepath.Join(r.dist, "SHA256SUMS"), []byte(r.sums.String()), 0o644)
}

// shared reads and makes the files of every archive.
func (r *release) shared() error {
	for name, path := range map[string]string{"LICENSE": "LICENSE", "README.md": "docs/gojob.md"} {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		r.common = append(r.common, file{name, 0o644, content})
	}
	dir, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	host := filepath.Join(dir, "gojob")
	if err := r.build(host); err != nil {
		return err
	}
	for shell, name := range map[string]string{
		"bash": "gojob.bash", "zsh": "_gojob", "fish": "gojob.fish", "powershell": "gojob.ps1",
	} {
		content, err := exec.Command(host, "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("completion %s: %w", shell, err)
		}
		r.common = append(r.common, file{"completion/" + name, 0o644, content})
	}
	return nil
}

// build builds gojob for the platform of the environment.
func (r *release) build(to string, env ...string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-tags", r.tags, "-ldflags", "-s -w -X "+variable+"="+r.version,
		"-o", to, "./cmd/gojob")
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

func (r *release) archive(platform string) error {
	system, arch, found := strings.Cut(platform, "/")
	if !found {
		return errors.New("is not a platform, such as linux/amd64")
	}
	dir, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "gojob")
	if err := r.build(binary, "GOOS="+system, "GOARCH="+arch); err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	name, pack, ending := "gojob", packTar, ".tar.gz"
	if system == "windows" {
		name, pack, ending = "gojob.exe", packZip, ".zip"
	}
	folder := fmt.Sprintf("gojob-%s-%s-%s", r.version, system, arch)
	var out bytes.Buffer
	if err := pack(&out, folder, append([]file{{name, 0o755, content}}, sorted(r.common)...)); err != nil {
		return err
	}
	fmt.Fprintf(&r.sums, "%x  %s\n", sha256.Sum256(out.Bytes()), folder+ending)
	log.Printf("%s%s: %d bytes, gojob %d", folder, ending, out.Len(), len(content))
	return os.WriteFile(filepath.Join(r.dist, folder+ending), out.Bytes(), 0o644)
}

func sorted(files []file) []file {
	return slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.name, b.name) })
}

func packTar(w io.Writer, folder string, files []file) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	for _, f := range files {
		err := t.WriteHeader(&tar.Header{
			Name: folder + "/" + f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: modified, Format: tar.FormatUSTAR,
		})
		if err == nil {
			_, err = t.Write(f.content)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func packZip(w io.Writer, folder string, files []file) error {
	z := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: folder + "/" + f.name, Method: zip.Deflate, Modified: modified}
		header.SetMode(os.FileMode(f.mode))
		entry, err := z.CreateHeader(header)
		if err == nil {
			_, err = entry.Write(f.content)
		}
		if err != nil {
			return err
		}
	}
	return z.Close()
}
