//go:build linux

package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRename moves and links files and folders between folders: only what is another mount may be
// refused.
func TestRename(t *testing.T) {
	t.Parallel()
	const script = `
import errno, os, shutil, sys
tmp = os.environ['TMPDIR']

def refused(call, *args):
    try:
        call(*args)
    except OSError as e:
        return errno.errorcode[e.errno]
    return 'done'

for home in ('.', tmp):
    os.chdir(home)
    os.makedirs('a/deep/er'); os.makedirs('b/deep/er')
    for name in ('a/file', 'a/deep/er/file', 'a/deep/linked', 'top'):
        open(name, 'w').write(name)
    print(refused(os.rename, 'a/file', 'b/file'), refused(os.rename, 'a/deep/er/file', 'b/deep/er/file'),
          refused(os.rename, 'top', 'a/deep/er/top'), refused(os.rename, 'a/deep/er/top', 'top'),
          refused(os.link, 'a/deep/linked', 'b/deep/er/linked'), refused(os.rename, 'a/deep', 'b/moved'),
          refused(os.rename, 'b/moved', 'moved'))
    os.mkdir('into'); shutil.move('b', 'into/b')
    print(open('into/b/deep/er/linked').read(), open('moved/er/../linked').read())
    os.chdir(os.environ['HOME'])
print('across', refused(os.rename, 'top', tmp + '/across'))
print('system', refused(os.link, '/etc/passwd', 'passwd'))
`
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		p := b.python(script)
		workspace, tmp := b.Paths(p.Workspace, p.Tmp)
		p.Env = append(p.Env, "HOME="+workspace, "TMPDIR="+tmp)
		exit, out := b.run(p)
		half := strings.Repeat("done ", 6) + "done\na/deep/linked a/deep/linked\n"
		// In its own view of files, the workspace and the folder for temporary files are mounts of their
		// own.
		want := half + half + "across " + map[Level]string{Namespaces: "EXDEV", Landlock: "done", None: "done"}[b.Level()] +
			"\n"
		if exit.Code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("%+v, got\n%s\nwant\n%s", exit, out, want)
		}
		if b.Level() != None && !strings.Contains(out, "system EXDEV") {
			t.Errorf("a file of the system was linked into the workspace: %s", out)
		}
	})
}

// TestTools runs what moves files between folders all the time.
func TestTools(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"git": `git init -q . && git config user.email a@b && git config user.name a && echo x > f && mkdir d && echo y > d/g &&
			git add . && git commit -qm one && git mv d/g h && git commit -qm two && git gc -q && git clone -q . clone && cat clone/h`,
		"npm": `mkdir -p p q && echo '{"name":"p","version":"1.0.0"}' > p/package.json && cd q && echo '{"name":"q","version":"1.0.0"}' > package.json &&
			npm install --offline --no-audit --no-fund --install-links ../p && npm install --offline --no-audit --no-fund --install-links ../p && ls node_modules`,
		"python3": `python3 -m venv --without-pip v && mkdir w && python3 -c "import shutil; shutil.move('v', 'w/v')" && w/v/bin/python3 -c 'print(1)'`,
	}
	eachLevel(t, Config{}, func(t *testing.T, b *box) {
		for tool, command := range tests {
			path, err := exec.LookPath("/usr/bin/" + tool)
			if err != nil {
				t.Logf("%s is not installed", tool)
				continue
			}
			p := b.program(command)
			workspace, tmp := b.Paths(p.Workspace, p.Tmp)
			p.Env = append(p.Env, "HOME="+workspace, "TMPDIR="+tmp)
			if exit, out := b.run(p); exit.Code != 0 {
				t.Errorf("%s: %+v: %s", path, exit, out)
			}
		}
	})
}

// python is a program of Python in a fresh workspace.
func (b *box) python(text string) Program {
	b.t.Helper()
	const interpreter = "/usr/bin/python3"
	if _, err := os.Stat(interpreter); err != nil {
		b.t.Skip("python3 is not installed")
	}
	p := b.program("")
	if err := os.WriteFile(filepath.Join(p.Workspace, "x.py"), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	p.Path, p.Args = interpreter, []string{"x.py"}
	return p
}
