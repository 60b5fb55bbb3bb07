//go:build unix

package pack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go-job-orchestrator/cmd/gojob/internal/pack"
)

// unreadableDir names the folder that TestUnreadable packs as another user.
const unreadableDir = "GOJOB_TEST_UNREADABLE"

// TestUnreadable names all files and folders that cannot be read. root can read all, so the test runs
// itself again as another user.
func TestUnreadable(t *testing.T) {
	if dir := os.Getenv(unreadableDir); dir != "" {
		_, err := pack.Folder(dir, pack.Options{})
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{"/a cannot be read: permission denied", "/sub/b cannot be read", "/locked cannot be read"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
		return
	}
	t.Parallel()
	dir := tree(t, map[string]string{"x": "", "a": "", "sub/b": "", "locked/c": ""})
	for _, name := range []string{"a", "sub/b", "locked"} {
		must(t, os.Chmod(filepath.Join(dir, name), 0))
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "locked"), 0o700) })
	for parent := dir; parent != os.TempDir() && parent != "/"; parent = filepath.Dir(parent) {
		must(t, os.Chmod(parent, 0o755))
	}
	binary := filepath.Join(t.TempDir(), "pack.test") // where the other user reaches it
	content, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(binary, content, 0o755))
	must(t, os.Chmod(filepath.Dir(binary), 0o755))
	cmd := exec.Command(binary, "-test.run", "^TestUnreadable$")
	cmd.Env = append(os.Environ(), unreadableDir+"="+dir)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
