package download_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/download"
	"go-job-orchestrator/shared/job"
)

const id = job.ID("fe5dd2b7a3554e047de83b784ae96cc0")

// server has outputs.
type server struct {
	*httptest.Server
	files map[string][]byte
	lists []job.File // in place of what files says
	// before is called before a file is served, and reports whether it has answered.
	before func(w http.ResponseWriter, r *http.Request, content []byte) bool
	bytes  atomic.Int64 // of files that were sent
}

func serve(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := &server{files: map[string][]byte{}}
	for name, text := range files {
		s.files[name] = []byte(text)
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, _ := strings.CutPrefix(r.URL.Path, "/outputs/"+string(id))
	if r.Header.Get("Authorization") != "Bearer token" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if name == "" {
		_ = json.NewEncoder(w).Encode(map[string]any{"items": s.list()})
		return
	}
	content, there := s.files[name[1:]]
	if !there {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", `"`+sum(content)+`"`)
	w = &counted{w, &s.bytes}
	if s.before == nil || !s.before(w, r, content) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (s *server) list() []job.File {
	if s.lists != nil {
		return s.lists
	}
	var files []job.File
	for name, content := range s.files {
		files = append(files, job.File{Name: name, Size: int64(len(content)), SHA256: sum(content)})
	}
	slices.SortFunc(files, func(a, b job.File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

func (s *server) source(t *testing.T) download.Source {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return download.Source{Client: client.New(u, client.Token("")), ID: id, Token: "token"}
}

func (s *server) all(t *testing.T, dir string) ([]download.Saved, error) {
	t.Helper()
	return download.All(t.Context(), s.source(t).Client, id, "token", dir, download.Options{Patience: time.Second})
}

// content reads a folder.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a.txt": "a", "b/c.bin": strings.Repeat("x", 1<<20), "empty": "", "100% é?#.txt": "e", "B/C": "d",
		strings.Repeat("é", 100): "long", "stdout.log": "log", "prepare.log": "log"}
	s := serve(t, files)
	s.lists = s.list()
	for i := range s.lists {
		if s.lists[i].Name == "a.txt" {
			s.lists[i].Mode = job.ModeExecutable
		}
	}
	dir := filepath.Join(t.TempDir(), "new", "folder")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte("was here before"), 0o600))
	saved, err := s.all(t, dir)
	must(t, err)
	delete(files, "stdout.log")
	delete(files, "prepare.log")
	if diff := cmp.Diff(files, content(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(dir, "a.txt")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("the mode is not kept: %v %v", info.Mode(), err)
	}
	if len(saved) != len(files) || saved[len(saved)-1].Path != filepath.Join(dir, "empty") &&
		saved[len(saved)-1].Name == "empty" {
		t.Errorf("saved %v", saved)
	}
}

// TestCuts cuts off each answer somewhere. The file comes byte for byte, and not much more than it.
func TestCuts(t *testing.T) {
	t.Parallel()
	large := make([]byte, 4<<20)
	for i := range large {
		large[i] = byte(rand.Uint32())
	}
	s := serve(t, map[string]string{"large": string(large)})
	answers := 0
	s.before = func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		if answers++; answers > 10 {
			return false
		}
		if answers > 1 && (r.Header.Get("Range") == "" || r.Header.Get("If-Range") != `"`+sum(content)+`"`) {
			t.Errorf("it begins again: %v", r.Header)
		}
		if answers == 5 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		cutting := &cutting{ResponseWriter: w, left: rand.N(600 << 10)}
		http.ServeContent(cutting, r, "", time.Time{}, bytes.NewReader(content))
		return true
	}
	dir := t.TempDir()
	saved, err := s.all(t, dir)
	must(t, err)
	if got, err := os.ReadFile(saved[0].Path); err != nil || !bytes.Equal(got, large) {
		t.Errorf("other bytes: %v", err)
	}
	var out bytes.Buffer
	answers = 0
	must(t, s.source(t).Stream(t.Context(), s.list()[0], &out, download.Options{}))
	if !bytes.Equal(out.Bytes(), large) {
		t.Error("other bytes on standard output")
	}
}

// cutting cuts off an answer after some bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// TestResume goes on where an earlier command stopped, and begins again when the file is another one
// or what is there is damaged.
func TestResume(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 100_000)
	for _, test := range []struct {
		name string
		part func(whole []byte) []byte
		most int64 // bytes that are sent
	}{
		{"the beginning", func(whole []byte) []byte { return whole[:900_000] }, 100_000},
		{"all", func(whole []byte) []byte { return whole }, 0},
		{"too much", func(whole []byte) []byte { return append(slices.Clone(whole), 'x') }, 0},
		{"damaged", func([]byte) []byte { return bytes.Repeat([]byte("x"), 900_000) }, 1_100_000},
		{"damaged, and all", func([]byte) []byte { return bytes.Repeat([]byte("x"), 1_000_000) }, 1_000_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, map[string]string{"a/b": text})
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
			part := filepath.Join(dir, "a", ".b."+sum([]byte(text))[:12]+".part")
			must(t, os.WriteFile(part, test.part([]byte(text)), 0o600))
			must(t, os.WriteFile(filepath.Join(dir, "a", ".b.aaaaaaaaaaaa.part"), []byte("of another job"), 0o600))
			_, err := s.all(t, dir)
			must(t, err)
			want := map[string]string{"a/b": text, "a/.b.aaaaaaaaaaaa.part": "of another job"}
			if diff := cmp.Diff(want, content(t, dir)); diff != "" {
				t.Error("other files are there")
			}
			if n := s.bytes.Load(); n > test.most {
				t.Errorf("%d bytes were sent; want at most %d", n, test.most)
			}
		})
	}
}

// TestWithoutRange resumes through a proxy that drops Range.
func TestWithoutRange(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 100_000)
	s := serve(t, map[string]string{"a": text})
	answers := 0
	s.before = func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		r.Header.Del("Range")
		if answers++; answers < 3 {
			http.ServeContent(&cutting{ResponseWriter: w, left: answers * 400_000}, r, "", time.Time{}, bytes.NewReader(content))
			return true
		}
		return false
	}
	dir := t.TempDir()
	_, err := s.all(t, dir)
	must(t, err)
	if diff := cmp.Diff(map[string]string{"a": text}, content(t, dir)); diff != "" {
		t.Error("other bytes")
	}
}

// TestDamaged gets bytes that are not those of the list. No file has the name then.
func TestDamaged(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"a": "right"})
	s.lists = []job.File{{Name: "a", Size: 5, SHA256: sum([]byte("wrong"))}}
	dir := t.TempDir()
	_, err := s.all(t, dir)
	if err == nil || !strings.Contains(err.Error(), "does not have the SHA-256 that the server gives") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
		t.Error("there is a file of that name")
	}
	if err := s.source(t).Stream(t.Context(), s.lists[0], io.Discard, download.Options{}); err == nil {
		t.Error("no error on standard output")
	}
}

// TestHostile gets names and sizes that no server of ours sends.
func TestHostile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../x", "/x", "a/../../x", "..", ".", "", "a//b", "a/", `..\x`, "a\x00b", "a\nb", strings.Repeat("x", 300)} {
		wantRefused(t, job.File{Name: name, Size: 1, SHA256: sum([]byte("x"))}, "cannot be stored here")
	}
	wantRefused(t, job.File{Name: "a", Size: 1, SHA256: "../../../../x"}, "no size and SHA-256")
	wantRefused(t, job.File{Name: "a", Size: 1}, "no size and SHA-256")
	wantRefused(t, job.File{Name: "a", Size: -1, SHA256: sum([]byte("x"))}, "no size and SHA-256")
	wantRefused(t, job.File{Name: "a", Size: 1, SHA256: sum([]byte("x"))}, "have the same name", job.File{Name: "a", SHA256: sum(nil)})
}

func wantRefused(t *testing.T, f job.File, message string, more ...job.File) {
	t.Helper()
	s := serve(t, map[string]string{f.Name: "x"})
	s.lists = append(more, f)
	parent := t.TempDir()
	_, err := s.all(t, filepath.Join(parent, "in", "dest"))
	if err == nil || !strings.Contains(err.Error(), message) {
		t.Errorf("%q: got %v", f.Name, err)
	}
	if files := content(t, parent); len(files) > 0 {
		t.Errorf("%q: %v were written", f.Name, files)
	}
}

// TestPlantedLinks has links in the folder that lead out of it.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	outside, dir := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "file"), []byte("precious"), 0o600))
	s := serve(t, map[string]string{"folder/x": "x"})
	must(t, os.Symlink(outside, filepath.Join(dir, "folder")))
	if _, err := s.all(t, dir); err == nil || !strings.Contains(err.Error(), "because a link leads there") {
		t.Errorf("got %v", err)
	}
	s = serve(t, map[string]string{"file": "new"})
	for _, name := range []string{"file", ".file." + sum([]byte("new"))[:12] + ".part"} {
		must(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, name)))
	}
	_, err := s.all(t, dir)
	must(t, err)
	if diff := cmp.Diff(map[string]string{"file": "precious"}, content(t, outside)); diff != "" {
		t.Errorf("outside (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "new" {
		t.Errorf("the link was not replaced: %q %v", text, err)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "file")))
	must(t, os.MkdirAll(filepath.Join(dir, "file"), 0o755))
	if _, err := s.all(t, dir); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("got %v", err)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	files := []job.File{{Name: "a"}, {Name: "b/c"}, {Name: "b/d/e"}, {Name: "bb"}}
	for _, test := range []struct {
		path, want string
		folder     bool
	}{
		{"", "a b/c b/d/e bb", true}, {".", "a b/c b/d/e bb", true}, {"/", "a b/c b/d/e bb", true}, {"a", "a", false}, {"./a", "a", false},
		{"/b/c", "b/c", false}, {"b", "b/c b/d/e", true}, {"b/", "b/c b/d/e", true}, {"b/d/", "b/d/e", true},
	} {
		chosen, folder, err := download.Select(files, test.path)
		var names []string
		for _, f := range chosen {
			names = append(names, f.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != test.want || folder != test.folder {
			t.Errorf("%q: got %q, %v, %v", test.path, got, folder, err)
		}
	}
	for path, want := range map[string]string{"b/dd/e": "did you mean b/d/e?", "results/a": "without results/", "c": "no output"} {
		_, _, err := download.Select(files, path)
		var missing *download.MissingError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", path, err)
		}
	}
}

// TestInterrupted keeps what has arrived.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := serve(t, map[string]string{"a": strings.Repeat("x", 1000)})
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupt := errors.New("interrupted")
	arrived := make(chan struct{})
	s.before = func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "xxxxx")
		_ = http.NewResponseController(w).Flush()
		<-arrived
		cancel(interrupt)
		<-ctx.Done()
		return true
	}
	dir := t.TempDir()
	c := s.source(t).Client
	said := atomic.Bool{}
	_, err := download.All(ctx, c, id, "token", dir, download.Options{Progress: func(done, total int64) {
		if done == 5 && total == 1000 && !said.Swap(true) {
			close(arrived)
		}
	}})
	if !errors.Is(err, interrupt) {
		t.Errorf("got %v", err)
	}
	part := "." + "a." + sum(s.files["a"])[:12] + ".part"
	if diff := cmp.Diff(map[string]string{part: "xxxxx"}, content(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestList reads a list that is larger than other answers may be.
func TestList(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for i := range 100_000 {
		s.lists = append(s.lists, job.File{Name: fmt.Sprintf("folder/with/a/long/name/%d", i), SHA256: sum(nil)})
	}
	files, err := s.source(t).List(t.Context(), download.Options{})
	if err != nil || len(files) != 100_000 {
		t.Errorf("%d files, %v", len(files), err)
	}
}
