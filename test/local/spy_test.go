package local

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go-job-orchestrator/shared/job"
)

// spy looks for keys in all that a program can read. Its arguments are the files and folders to try.
const spy = `import glob, os, sys
print("ENVIRONMENT", dict(os.environ))
def show(path):
    try:
        with open(path, "rb") as f:
            print("READ", path, f.read(1 << 20))
    except OSError as e:
        print("REFUSED", path)
for path in sys.argv[1:] + glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    show(path)
    try:
        print("LISTED", path, os.listdir(path))
    except OSError:
        pass
print("finished")
`

// TestKeysFromAProgram has a program look for the server's keys, in a server of root and in one of
// another user.
func TestKeysFromAProgram(t *testing.T) {
	t.Parallel()
	users := map[string]*syscall.Credential{"same user": nil}
	if os.Getuid() == 0 {
		users["another user"] = &syscall.Credential{Uid: 4000, Gid: 4000}
	}
	for name, user := range users {
		for _, place := range []string{"in STORAGE_DIR", "elsewhere"} {
			t.Run(name+", "+place, func(t *testing.T) {
				t.Parallel()
				tokenKeys := "dGhlIHRva2VuIGtleSBvZiB0aGlzIHRlc3QsIDMyIGI="
				settings := []string{"AUTH=keys", "TOKEN_KEYS=" + tokenKeys}
				folder := ""
				if place == "elsewhere" {
					folder = t.TempDir()
					settings = append(settings, "KEYS_FILE="+filepath.Join(folder, "keys.json"))
					if user != nil {
						if err := exec.Command("chown", "-R", fmt.Sprint(user.Uid), folder).Run(); err != nil {
							t.Fatal(err)
						}
						openParents(t, folder)
					}
				}
				s := startAs(t, user, settings...)
				if folder == "" {
					folder = filepath.Join(s.dir, ".local")
				}
				s.key = s.firstKey()
				file := filepath.Join(folder, "keys.json")
				hash := readRing(t, file).Keys[0].SHA256
				j := s.submit(python(spy, "arg="+file, "arg="+folder, "arg="+s.dir, "arg="+filepath.Join(s.dir, ".local"),
					"arg="+filepath.Join(s.dir, ".local", "token.key")))
				must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
				log := j.logs("tail=all")
				if !strings.HasSuffix(log, "finished\n") || !strings.Contains(log, "REFUSED "+file+"\n") {
					t.Errorf("the program did not try to read %s:\n%s", file, log)
				}
				for _, secret := range []string{s.key, hash, tokenKeys, "TOKEN_KEYS", "KEYS_FILE", "AUTH=keys",
					"do-not-read", "LISTED " + folder, "'AUTH'"} {
					if strings.Contains(log, secret) {
						t.Errorf("the program sees %q:\n%s", secret, log)
					}
				}
			})
		}
	}
}
