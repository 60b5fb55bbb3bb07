package pack_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/cmd/gojob/internal/pack"
	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/job"
)

// tree makes a folder. A name that ends with a slash is a folder, a text that begins with "-> " a
// link, and a name that ends with an asterisk an executable file.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		mode := os.FileMode(0o644)
		if rest, executable := strings.CutSuffix(name, "*"); executable {
			name, mode = rest, 0o755
		}
		file := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(file, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		if target, link := strings.CutPrefix(text, "-> "); link {
			must(t, os.Symlink(target, file))
			continue
		}
		must(t, os.WriteFile(file, []byte(text), mode))
	}
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func folder(t testing.TB, dir string, o pack.Options) *pack.Plan {
	t.Helper()
	plan, err := pack.Folder(dir, o)
	must(t, err)
	return plan
}

// packed returns the archive, which the server must accept.
func packed(t testing.TB, plan *pack.Plan) []byte {
	t.Helper()
	var out bytes.Buffer
	must(t, copyTo(t.Context(), &out, plan))
	size, err := plan.Size()
	must(t, err)
	if size != int64(out.Len()) {
		t.Errorf("Size says %d, and the archive has %d bytes", size, out.Len())
	}
	limits := archive.Limits{Entries: 1 << 20, Unpacked: 1 << 40}
	visit := func(archive.Entry, io.Reader) error { return nil }
	if _, err := archive.ReadTar(bytes.NewReader(out.Bytes()), job.Tar, limits, visit); err != nil {
		t.Errorf("the server refuses the archive: %v", err)
	}
	return out.Bytes()
}

// copyTo copies the archive, in pieces of 32 KiB.
func copyTo(ctx context.Context, w io.Writer, plan *pack.Plan) error {
	archive := plan.Open(ctx)
	_, err := io.Copy(struct{ io.Writer }{w}, archive) // without ReadFrom, which would read all at once
	return errors.Join(err, archive.Close())
}

// list lists the entries of an archive in a short form.
func list(t testing.TB, content []byte) []string {
	t.Helper()
	var names []string
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		name := fmt.Sprintf("%s %o", h.Name, h.Mode)
		if h.Linkname != "" {
			name += " -> " + h.Linkname
		}
		if len(text) > 0 {
			name += " " + string(text)
		}
		names = append(names, name)
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"main.py": "print", "run*": "#!/bin/sh", "empty/": "", "sub/x.txt": "x", "sub/deep/y": "y", "link": "-> sub/x.txt",
		"sub/up": "-> ../main.py", "nothing": "-> sub/none", ".git/HEAD": "", "sub/.git": "gitdir: x", ".venv/bin/python": "",
		"sub/venv/x": "", "node_modules/m/index.js": "", "sub/__pycache__/x.pyc": "", ".gitignore": "*.log\n", "a.log": "", "é": "é",
		strings.Repeat("long/", 30) + strings.Repeat("n", 200): "l",
	})
	plan := folder(t, dir, pack.Options{})
	content := packed(t, plan)
	want := []string{
		".gitignore 644 *.log\n", "empty/ 755", "link 755 -> sub/x.txt",
	}
	for i := range 30 {
		want = append(want, strings.Repeat("long/", i+1)+" 755")
	}
	want = append(want, strings.Repeat("long/", 30)+strings.Repeat("n", 200)+" 644 l",
		"main.py 644 print", "nothing 755 -> sub/none", "run 755 #!/bin/sh", "sub/ 755", "sub/deep/ 755", "sub/deep/y 644 y",
		"sub/up 755 -> ../main.py", "sub/x.txt 644 x", "é 644 é")
	if diff := cmp.Diff(want, list(t, content)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{".venv/", "a.log", "node_modules/", "sub/.git", "sub/__pycache__/", "sub/venv/"},
		plan.Ignored); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
	past := time.Unix(1e9, 0)
	must(t, os.Chtimes(filepath.Join(dir, "main.py"), past, past))
	if again := packed(t, folder(t, dir, pack.Options{})); !bytes.Equal(content, again) {
		t.Error("the same folder makes other bytes the second time")
	}
}

// TestInclude brings back what stays away.
func TestInclude(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"main.py": "", ".gitignore": "build/\n*.log\n", "build/a.bin": "", "build/b.txt": "", "x.log": "", "sub/y.log": "",
		"node_modules/m/i.js": "", "node_modules/n.log": "", ".venv/lib/__pycache__/m.pyc": "", "sub/.venv/z": "",
	})
	const always = ".gitignore main.py"
	for _, test := range []struct{ include, want string }{
		{"", always},
		{"*.bin", ".gitignore build/a.bin main.py"},
		{"build", ".gitignore build/a.bin build/b.txt main.py"},
		{"./build/*.txt", ".gitignore build/b.txt main.py"},
		{"x.log", always + " x.log"},
		{"/x.log", always + " x.log"},
		{"*.log", always + " sub/y.log x.log"},
		{"sub/*.log", always + " sub/y.log"},
		{"node_modules", always + " node_modules/m/i.js node_modules/n.log"},
		{"node_modules/m/", always + " node_modules/m/i.js"},
		{"node_modules/**/*.js", always + " node_modules/m/i.js"},
		{".venv", ".gitignore .venv/lib/__pycache__/m.pyc main.py sub/.venv/z"},
		{"/.venv", ".gitignore .venv/lib/__pycache__/m.pyc main.py"},
	} {
		var include, got []string
		if test.include != "" {
			include = []string{test.include}
		}
		for _, e := range folder(t, dir, pack.Options{Include: include}).Entries {
			if e.Kind == pack.KindFile {
				got = append(got, e.Name)
			}
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("--include %q (-want +got):\n%s", test.include, diff)
		}
	}
}

// TestOwnIgnoreFile has .gojobignore decide alone.
func TestOwnIgnoreFile(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"a.log": "", "b.txt": "", "sub/c.txt": "", "sub/.gojobignore": "d", "sub/d": "", ".gitignore": "*.log\n",
		".gojobignore": "*.txt\n!c.txt\n.gojobignore\n",
	})
	var got []string
	for _, e := range folder(t, dir, pack.Options{}).Entries {
		got = append(got, e.Name)
	}
	if diff := cmp.Diff([]string{".gitignore", "a.log", "sub", "sub/c.txt"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestRefused names what the server would refuse before anything is sent.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"a link to an absolute path", map[string]string{"x": "", "l": "-> /etc/passwd"}, []string{"/l is a link to the absolute path /etc/passwd"}},
		{"a link that leads out", map[string]string{"x": "", "a/l": "-> ../../x"}, []string{"a/l is a link that leads out of the folder, to ../../x"}},
		{"a link through a link", map[string]string{"d/x": "", "l": "-> d", "m": "-> l/x"}, []string{"/m is a link that leads through another link, l"}},
		{"a link with a backslash", map[string]string{"x": "", "l": `-> a\b`}, []string{"/l is a link to"}},
		{"a long link", map[string]string{"x": "", "l": "-> " + strings.Repeat("a/", 500)}, []string{"/l is a link with a target of more than 900 bytes"}},
		{"backslashes", map[string]string{"x": "", `a\b`: ""}, []string{"contains a backslash"}},
		{"control characters", map[string]string{"x": "", "a\nb": ""}, []string{"contains a control character"}},
		{"no UTF-8", map[string]string{"x": "", "a\xff": ""}, []string{"is not valid UTF-8"}},
		{"a drive", map[string]string{"x": "", "c:": ""}, []string{"begins like a drive of Windows"}},
		{"a file results", map[string]string{"x": "", "results": ""}, []string{"the name of the folder for outputs"}},
		{"too deep", map[string]string{"x": "", strings.Repeat("d/", 50) + "x": ""}, []string{"more than 49 folders deep"}},
		{"several", map[string]string{"x": "", "c:": "", "l": "-> /"}, []string{"c:", "/l is a link"}},
		{"nothing", map[string]string{"d/": ""}, []string{"there is no file to send in"}},
		{"nothing left", map[string]string{".gojobignore": "*"}, []string{"there is no file to send in", ".gojobignore keeps 1 paths away"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := pack.Folder(tree(t, test.files), pack.Options{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// FuzzNames sends files and links of any names. What is not refused here, the server accepts.
func FuzzNames(f *testing.F) {
	for _, seed := range [][3]string{{"a/b", "l", "a"}, {"a/b", "a/l", "../a/b"}, {"results", "x", "."}, {"a", "b/c", ".."}, {"d/x", "l", "d/../d/x"},
		{"d/x", "d/l", "//"}, {"C:x", "l", "./x"}, {"é/ü", "l", "é//ü"}, {"results/x", "l", "results"}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, file, link, target string) {
		dir := t.TempDir()
		for i, name := range []string{file, link} {
			if !filepath.IsLocal(name) || os.MkdirAll(filepath.Join(dir, path.Dir(name)), 0o755) != nil {
				return
			}
			if i == 0 && os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644) != nil ||
				i == 1 && os.Symlink(target, filepath.Join(dir, name)) != nil {
				return
			}
		}
		if plan, err := pack.Folder(dir, pack.Options{}); err == nil {
			packed(t, plan)
		}
	})
}

func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"x": ""})
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Skip(err)
	}
	defer listener.Close()
	plan := folder(t, dir, pack.Options{})
	if diff := cmp.Diff([]pack.Note{{Path: filepath.Join(dir, "s"), Message: "is a socket"}}, plan.Skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	packed(t, plan)
}

// hooked calls a function with the first byte that is written.
type hooked struct {
	bytes.Buffer
	hook func()
}

func (h *hooked) Write(p []byte) (int, error) {
	if h.hook != nil {
		h.hook()
		h.hook = nil
	}
	return h.Buffer.Write(p)
}

// TestChanging changes a folder while it is sent.
func TestChanging(t *testing.T) {
	t.Parallel()
	const large = 1 << 20
	for _, test := range []struct {
		name   string
		change func(t *testing.T, file string)
		want   string // in the error
	}{
		{"shorter", func(t *testing.T, file string) { must(t, os.Truncate(file, 1000)) }, "became shorter while it was sent: it had 1048576 bytes and has 1000"},
		{"gone", func(t *testing.T, file string) { must(t, os.Remove(file)) }, "cannot be read any more: no such file"},
		{"a folder", func(t *testing.T, file string) { must(t, os.Remove(file)); must(t, os.Mkdir(file, 0o755)) }, "is no file any more"},
		{"longer", func(t *testing.T, file string) { must(t, os.Truncate(file, 2*large)) }, ""},
		{"another one", func(t *testing.T, file string) { must(t, os.WriteFile(file+"2", nil, 0o600)) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Repeat("x", large)
			dir := tree(t, map[string]string{"a": text, "b": text})
			plan := folder(t, dir, pack.Options{})
			out := &hooked{hook: func() { test.change(t, filepath.Join(dir, "b")) }}
			err := copyTo(t.Context(), out, plan)
			if test.want == "" {
				must(t, err)
				if diff := cmp.Diff([]string{"a 644 " + text, "b 644 " + text}, list(t, out.Bytes())); diff != "" {
					t.Error("the archive is not as the folder was planned")
				}
				return
			}
			var changed *pack.ChangedError
			if !errors.As(err, &changed) || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), dir) {
				t.Errorf("got %v", err)
			}
			if _, err := archive.ReadTar(bytes.NewReader(out.Bytes()), job.Tar, archive.Limits{Entries: 10, Unpacked: 1 << 30},
				func(archive.Entry, io.Reader) error { return nil }); err == nil {
				t.Error("what was written is an archive all the same")
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	plan := folder(t, tree(t, map[string]string{"a": "x"}), pack.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := copyTo(ctx, io.Discard, plan); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"p/main.py": "m", "p/data/x": "x", "q/y": "y", "z": "z"})
	plan := folder(t, filepath.Join(dir, "p"), pack.Options{})
	must(t, plan.Join(folder(t, filepath.Join(dir, "q"), pack.Options{At: "data/q"})))
	single, err := pack.Single(filepath.Join(dir, "z"), "data/z")
	must(t, err)
	must(t, plan.Join(single))
	want := []string{"data/ 755", "data/x 644 x", "main.py 644 m", "data/q/ 755", "data/q/y 644 y", "data/z 644 z"}
	if diff := cmp.Diff(want, list(t, packed(t, plan))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, at := range []string{"main.py", "main.py/z", "data"} {
		single, err := pack.Single(filepath.Join(dir, "z"), at)
		must(t, err)
		if err := plan.Join(single); err == nil || !strings.Contains(err.Error(), "two things are named") {
			t.Errorf("%s: got %v", at, err)
		}
	}
}

func TestLargest(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	plan := &pack.Plan{Entries: []pack.Entry{{Name: "folder", Kind: pack.KindFolder, Size: 1 << 40}}}
	for i, size := range random.Perm(100) {
		plan.Entries = append(plan.Entries, pack.Entry{Name: fmt.Sprint(i), Kind: pack.KindFile, Size: int64(size)})
	}
	var got []int64
	for _, e := range plan.Largest(5) {
		got = append(got, e.Size)
	}
	if diff := cmp.Diff([]int64{99, 98, 97, 96, 95}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// TestLargeFile packs 256 MiB. Whatever it allocates, also what is collected, stays small.
func TestLargeFile(t *testing.T) { // not parallel: allocations are counted
	const size, limit = 256 << 20, 4 << 20
	dir := tree(t, map[string]string{"large": ""})
	must(t, os.Truncate(filepath.Join(dir, "large"), size))
	plan := folder(t, dir, pack.Options{})
	before := allocated()
	var n counter
	must(t, copyTo(t.Context(), &n, plan))
	if used := allocated() - before; used > limit {
		t.Errorf("packing took %d bytes of memory; want at most %d", used, limit)
	}
	if want, _ := plan.Size(); int64(n) != want || want < size {
		t.Errorf("%d bytes were written; want %d", n, want)
	}
}

type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

// TestManyFiles packs 100,000 files, in less than a kilobyte of memory for each.
func TestManyFiles(t *testing.T) { // not parallel: memory is measured
	const folders, each, limit = 20, 1000, 20 << 20
	dir := t.TempDir()
	for i := range folders {
		sub := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.Mkdir(sub, 0o755))
		first := filepath.Join(sub, "file-0.txt")
		must(t, os.WriteFile(first, nil, 0o644))
		for j := 1; j < each; j++ { // a link is made twice as fast as a file
			must(t, os.Link(first, filepath.Join(sub, fmt.Sprintf("file-%d.txt", j))))
		}
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	plan := folder(t, dir, pack.Options{Include: []string{"*.nothing"}})
	var n counter
	must(t, copyTo(t.Context(), &n, plan))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if plan.Files != folders*each {
		t.Errorf("%d files", plan.Files)
	}
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > limit {
		t.Errorf("the plan takes %d bytes; want at most %d", used, limit)
	}
	if want, _ := plan.Size(); int64(n) != want {
		t.Errorf("%d bytes were written; want %d", n, want)
	}
	runtime.KeepAlive(plan)
}
