package pack_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/cmd/gojob/internal/pack"
)

// repository is a folder with files of names that patterns are about, which Git takes for a repository.
type repository struct {
	dir   string
	names []string // of all files
}

func newRepository(t testing.TB) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	r := &repository{dir: t.TempDir()}
	r.git(t, nil, "init", "-q")
	folders := []string{"", "a", "b", "a/b", "a/b/c", "b/a", "foo", "foo/bar", "x y", "a/a", "a/a/a", ".d", "ü"}
	files := []string{"a.c", "ab", "abc", "b.o", "[a]", "x z", "é", "!a", "#a", "-", "A", "z ", "]", "a^", "0", "cc", "bar.c"}
	for _, folder := range folders {
		for _, file := range files {
			r.write(t, filepath.Join(folder, file), "x")
			r.names = append(r.names, strings.TrimPrefix(folder+"/"+file, "/"))
		}
	}
	slices.Sort(r.names)
	return r
}

func (r *repository) write(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// git runs Git without the settings of the user and of the machine.
func (r *repository) git(t testing.TB, input []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = r.dir, bytes.NewReader(input)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"LC_ALL=C"}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: nothing is ignored
		t.Fatalf("git %v: %v %s", args, err, exit.Stderr)
	}
	return out
}

// ignored are the files that Git ignores, below a folder.
func (r *repository) ignored(t testing.TB, below string) []string {
	t.Helper()
	names := slices.DeleteFunc(slices.Clone(r.names), func(name string) bool { return !strings.HasPrefix(name, below) })
	out := r.git(t, []byte(strings.Join(names, "\x00")), "check-ignore", "--no-index", "-z", "--stdin")
	ignored := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	return slices.DeleteFunc(ignored, func(name string) bool { return name == "" })
}

// left are the files that are not packed.
func (r *repository) left(t testing.TB, below string) []string {
	t.Helper()
	sent := map[string]bool{}
	plan, err := pack.Folder(filepath.Join(r.dir, below), pack.Options{})
	if err != nil && !strings.Contains(err.Error(), "no file to send") {
		t.Fatal(err)
	}
	if err == nil {
		for _, e := range plan.Entries {
			sent[below+e.Name] = e.Kind == pack.KindFile
		}
	}
	return slices.DeleteFunc(slices.Clone(r.names), func(name string) bool {
		return sent[name] || !strings.HasPrefix(name, below)
	})
}

// compare compares what is ignored with what Git ignores.
func (r *repository) compare(t testing.TB, below string) {
	t.Helper()
	want, got := r.ignored(t, below), r.left(t, below)
	if diff := cmp.Diff(want, got); diff != "" {
		var text strings.Builder
		for _, name := range []string{".gitignore", "a/.gitignore", ".git/info/exclude"} {
			content, _ := os.ReadFile(filepath.Join(r.dir, name))
			fmt.Fprintf(&text, "%s: %q\n", name, content)
		}
		t.Errorf("%signored below %q (-git +gojob):\n%s", &text, below, diff)
	}
}

// TestIgnoredAsByGit compares made up patterns with Git: those that are hard to get right, and random
// ones.
func TestIgnoredAsByGit(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for _, text := range []string{
		"a", "/a", "a/", "/a/", "*.c", "a*", "*a", "**", "*", "/*", "a/*", "a/**", "**/a", "**/a/", "a/**/c", "foo**/bar.c",
		"a**/b", "f**", "foo/**bar.c", "?", "??", "[ab]*", "[!a]*", "[^a]*", "[]]", "[a-c]b", "[--0]", "[[:alpha:]]", "[[:digit:]]",
		"[[:nope:]]", "[[:alpha:]", "[a", "[", "]", `\#a`, "#a", `\!a`, "!a", "z ", `z\ `, "z\\  ", "x y", "x\\ y", `\`, `a\`, `\a`,
		"é", "??", "\xc3?", "ü/", "a\r\nb.o", "\xef\xbb\xbfa", "a\x00b", "*\n!a", "*\n!/a\n", "*\n!*/\n!*.c", "a/\n!a/b/", "/foo/*\n!/foo/bar",
		"//a", "a//b", "./a", "a/.", "/", "!", "**/", "/**", "/**/", "**/**", "a/**/", "**a", "a**c", "*/*", "*/b", "*/b/", "***", "a/***",
		"***/c", "foo/*/", "foo/?ar", "foo[/]bar", "foo/[!x]ar", "[^/]*", `[\]]`, `[\a-c]b`, `[a\-c]`, "[a-\\c]b", "[z-a]", "{a,b}", "(a)", "a+", "a|b",
		"*b*", "*[bc]", "*.[co]", "?*", "*?", "a\n!a/b", "a/*\n!a/b\n!a/b/c", "[[:upper:]]", "[![:space:]]", "[[.a.]]", "[[=a=]]", "[[:a]", "[[:]", "[[]a]",
	} {
		r.write(t, ".gitignore", text)
		r.compare(t, "")
	}
	random := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	for range 100 {
		r.write(t, ".gitignore", patterns(random))
		r.write(t, "a/.gitignore", patterns(random))
		r.write(t, "a/b/.gitignore", patterns(random))
		r.write(t, ".git/info/exclude", patterns(random))
		for _, below := range []string{"", "a/", "foo/bar/", "a/b/c/"} {
			if random.IntN(3) == 0 || below == "" {
				r.compareUnlessAway(t, below)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// compareUnlessAway compares a folder, unless Git ignores it as a whole: whoever names it wants it.
func (r *repository) compareUnlessAway(t testing.TB, below string) {
	t.Helper()
	if below != "" && len(r.git(t, []byte(strings.TrimSuffix(below, "/")), "check-ignore", "--no-index", "-z", "--stdin")) > 0 {
		return
	}
	r.compare(t, below)
}

// patterns makes a file of patterns.
func patterns(random *rand.Rand) string {
	pieces := []string{
		"a", "b", "c", "ab", "foo", "bar", ".", ".c", "é", "x y", " ", "*", "**", "?", "/", "[ab]", "[!a]", "[a-c]", "[^b]",
		"[[:alpha:]]", "[[:punct:]]", "[]-]", `\`, `\a`, `\*`, "-", "0", "A", "[", "]", "!", "#", "**/", "/**", "[!/]", "[\xc3]", "\xa9",
	}
	var text strings.Builder
	for range random.IntN(5) {
		if random.IntN(4) == 0 {
			text.WriteString("!")
		}
		for range 1 + random.IntN(5) {
			text.WriteString(pieces[random.IntN(len(pieces))])
		}
		text.WriteString([]string{"\n", "\n", "\n", "/\n", "\r\n", " \n"}[random.IntN(6)])
	}
	return text.String()
}

// FuzzIgnore looks for patterns that Git understands otherwise.
func FuzzIgnore(f *testing.F) {
	f.Add("a*\n!ab", "b/\n", "/c")
	r := newRepository(f)
	f.Fuzz(func(t *testing.T, top, nested, exclude string) {
		if all := top + nested + exclude; len(all) > 200 || strings.Count(all, "*") > 12 {
			t.Skip("Git takes exponential time")
		}
		r.write(t, ".gitignore", top)
		r.write(t, "a/.gitignore", nested)
		r.write(t, ".git/info/exclude", exclude)
		r.compare(t, "")
	})
}
