// Package indextest has small package indexes for tests: one of Python in the format of PEP 503, and
// a registry of npm, with packages that it makes itself. They count what they are asked.
package indextest

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Wheel is a package of Python in pure Python.
type Wheel struct {
	Name, Version string
	Files         map[string]string // by their names in site-packages
	Requires      []string
	Scripts       map[string]string // module:function, by the name of the command
}

// File is the name of the wheel's file.
func (w Wheel) File() string { return w.Name + "-" + w.Version + "-py3-none-any.whl" }

// Bytes returns the wheel.
func (w Wheel) Bytes() []byte {
	info := w.Name + "-" + w.Version + ".dist-info/"
	metadata := "Metadata-Version: 2.1\nName: " + w.Name + "\nVersion: " + w.Version + "\n"
	for _, r := range w.Requires {
		metadata += "Requires-Dist: " + r + "\n"
	}
	files := maps.Clone(w.Files)
	if files == nil {
		files = map[string]string{}
	}
	files[info+"METADATA"] = metadata
	files[info+"WHEEL"] = "Wheel-Version: 1.0\nGenerator: indextest\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
	if len(w.Scripts) > 0 {
		text := "[console_scripts]\n"
		for name, function := range w.Scripts {
			text += name + " = " + function + "\n"
		}
		files[info+"entry_points.txt"] = text
	}
	record := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256([]byte(files[name]))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(files[name]))
	}
	files[info+"RECORD"] = record + info + "RECORD,,\n"
	return zipped(files)
}

// SHA256 is the digest of the wheel, in hexadecimal digits.
func (w Wheel) SHA256() string {
	sum := sha256.Sum256(w.Bytes())
	return hex.EncodeToString(sum[:])
}

func zipped(files map[string]string) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate,
			Modified: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			panic(err) // memory takes everything
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// Package is a package of npm.
type Package struct {
	Name, Version string
	Files         map[string]string // beside package.json
	Manifest      map[string]any    // more members of package.json
}

// Bytes returns the package's archive.
func (p Package) Bytes() []byte {
	manifest := map[string]any{"name": p.Name, "version": p.Version, "main": "index.js"}
	maps.Copy(manifest, p.Manifest)
	text, err := json.Marshal(manifest)
	if err != nil {
		panic(err)
	}
	files := map[string]string{"package.json": string(text)}
	maps.Copy(files, p.Files)
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err = w.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(files[name]))})
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// Integrity is the digest of the archive, as locks have it.
func (p Package) Integrity() string {
	sum := sha512.Sum512(p.Bytes())
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Tarball is the path of the archive in the registry.
func (p Package) Tarball() string {
	return "/npm/" + p.Name + "/-/" + path.Base(p.Name) + "-" + p.Version + ".tgz"
}

// Index answers as an index of Python below /simple/ and as a registry of npm below /npm/. Files of
// wheels lie below /files/, beside the index.
type Index struct {
	Wheels   []Wheel
	Packages []Package
	// User and Password are what callers need; empty: nothing.
	User, Password string
	// Absolute has pages link to whole addresses, as many indexes do.
	Absolute bool
	// Fail, if it is set, answers requests instead, if it returns true.
	Fail func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	asked []string
}

// Asked returns the paths that were asked for.
func (x *Index) Asked() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.asked)
}

// ServeHTTP implements http.Handler.
func (x *Index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	x.asked = append(x.asked, r.URL.Path)
	x.mu.Unlock()
	if x.Fail != nil && x.Fail(w, r) {
		return
	}
	if user, password, _ := r.BasicAuth(); x.User != "" && (user != x.User || password != x.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="index"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	switch name := r.URL.Path; {
	case strings.HasPrefix(name, "/simple/"):
		x.page(w, r, strings.Trim(strings.TrimPrefix(name, "/simple/"), "/"))
	case strings.HasPrefix(name, "/files/"):
		x.file(w, r, path.Base(name))
	case strings.HasPrefix(name, "/npm/"):
		x.npm(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (x *Index) base(r *http.Request) string { return "http://" + r.Host }

func (x *Index) page(w http.ResponseWriter, r *http.Request, name string) {
	prefix := "../../files/"
	if x.Absolute {
		prefix = x.base(r) + "/files/"
	}
	found := false
	text := "<!DOCTYPE html><html><body>\n"
	for _, one := range x.Wheels {
		if strings.ReplaceAll(one.Name, "_", "-") == name {
			found = true
			text += fmt.Sprintf("<a href=\"%s\">%s</a><br/>\n", html.EscapeString(prefix+one.File()+"#sha256="+one.SHA256()),
				one.File())
		}
	}
	if !found {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(text + "</body></html>\n"))
}

func (x *Index) file(w http.ResponseWriter, r *http.Request, name string) {
	for _, one := range x.Wheels {
		if one.File() == name {
			http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(one.Bytes()))
			return
		}
	}
	http.NotFound(w, r)
}

func (x *Index) npm(w http.ResponseWriter, r *http.Request) {
	versions := map[string]any{}
	var latest, name string
	for _, p := range x.Packages {
		if r.URL.Path == p.Tarball() {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(p.Bytes())
			return
		}
		if r.URL.Path == "/npm/"+p.Name {
			name, latest = p.Name, p.Version
			manifest := map[string]any{"name": p.Name, "version": p.Version, "dist": map[string]any{
				"tarball": x.base(r) + p.Tarball(), "integrity": p.Integrity()}}
			maps.Copy(manifest, p.Manifest)
			versions[p.Version] = manifest
		}
	}
	if name == "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error":"not found"}`))
		return
	}
	w.Header().Set("Content-Type", "application/vnd.npm.install-v1+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": name, "dist-tags": map[string]string{"latest": latest},
		"versions": versions})
}

// Source is a package of Python as an archive of its sources, which is built by the code in backend:
// a module that writes the wheel of a package without the help of others.
func Source(name, version string, backend string) []byte {
	top := name + "-" + version + "/"
	return zipped(map[string]string{
		top + "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n" +
			"[project]\nname = \"" + name + "\"\nversion = \"" + version + "\"\n",
		top + "backend.py": backend,
		top + "PKG-INFO":   "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n",
	})
}
