//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// late is a program whose first process ends at once after SIGTERM, while its child still has work
// to do.
func late(fields ...string) form {
	return shell(`sh -c 'trap "sleep 2; echo done >results/last; exit" TERM; echo begun; while :; do sleep 0.1; done'
:
`, fields...)
}

// TestGrace ends pods in every way that leaves their programs time to end by themselves.
func TestGrace(t *testing.T) {
	t.Parallel()
	s := installed(t)
	for name, tt := range map[string]struct {
		form          form
		end           func(t *testing.T, j *run)
		phase, reason string
	}{
		"cancel": {late(), func(t *testing.T, j *run) {
			if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode >= 300 {
				t.Fatalf("cancel: %s %s", resp.Status, body)
			}
		}, "Cancelled", "Cancelled"},
		"deadline": {late("timeoutSeconds=30"), func(*testing.T, *run) {}, "Failed", "DeadlineExceeded"},
		"pod deleted": {late(), func(t *testing.T, j *run) {
			kube(t, "delete", "pod", "-n", namespace, "--wait=false", j.pods()[0])
		}, "Failed", "Interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := s.submit(t, tt.form)
			j.says("begun")
			tt.end(t, j)
			j.ends(tt.phase, tt.reason)
			if got := j.get("/outputs/" + j.ID + "/last"); got != "done\n" {
				t.Errorf("the last work of the child is %q", got)
			}
		})
	}
	t.Run("deaf", func(t *testing.T) {
		t.Parallel()
		j := s.submit(t, shell("(setsid sh -c 'trap \"\" TERM; echo begun; while :; do sleep 0.1; done' &)\nexec sleep "+
			"1000\n"))
		j.says("begun")
		asked := time.Now()
		if resp, body := j.call(http.MethodPost, "/api/v1/jobs/"+j.ID+"/cancel"); resp.StatusCode >= 300 {
			t.Fatalf("cancel: %s %s", resp.Status, body)
		}
		j.ends("Cancelled", "Cancelled")
		const grace = 10 * time.Second // KILL_GRACE, where config/ does not say otherwise
		if took := time.Since(asked); took < grace {
			t.Errorf("it was killed after %s", took)
		}
	})
}

// TestSurroundings looks for what programs expect to find around them.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	s := installed(t)
	const home = "/workspace/files\n"
	for name, tt := range map[string]struct {
		form form
		want string
	}{
		"account": {shell(
			`whoami; id -gn; getent passwd "$(id -u)" | cut -d: -f6; getent passwd root | cut -d: -f3; getent group 0 | cut -d: -f1`),
			"job\njob\n" + home + "0\nroot\n"},
		"host": {shell(
			`getent hosts "$(uname -n)" | grep -c .; getent ahostsv4 localhost | cut -d' ' -f1 | sort -u`), "1\n127.0.0.1\n"},
		"shared memory": {shell(
			`df -k --output=size,target /dev/shm | tail -1 | tr -s ' ' | sed 's,^ ,,'; echo x >/dev/shm/x && cat /dev/shm/x`,
			"memory=128Mi"), "131072 /dev/shm\nx\n"},
		"shared, without any": {shell(`df -k --output=size /dev/shm | tail -1 | tr -d ' '`), "65536\n"},
		"python": {script("python", "main.py", `import multiprocessing, os, pty, pwd
print(pwd.getpwuid(os.getuid()).pw_dir)
print(os.path.expanduser("~"))
print(multiprocessing.Semaphore(1).acquire(), flush=True)
pty.spawn(["tty", "-s"])
print(os.cpu_count() > 0)
`), home + home + "True\nTrue\n"},
		"node": {script("node", "main.js",
			`const {username, homedir} = require("os").userInfo(); console.log(username, homedir)`), "job " + home},
		"java": {script("java", "Main.java", `public class Main { public static void main(String[] a) throws Exception {
			System.out.println(Runtime.getRuntime().maxMemory() <= 128L << 20);
			System.out.println(System.getProperty("user.home")); System.out.println(System.getProperty("user.name"));
			java.net.InetAddress.getLocalHost();
		} }`, "memory=256Mi"), "true\n" + home + "job\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := s.submit(t, tt.form)
			j.ends("Succeeded", "Completed")
			if diff := cmp.Diff(tt.want, j.logs("tail=all")); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOwnLog has a program try to change its log, the record of its end, and the process that runs
// it.
func TestOwnLog(t *testing.T) {
	t.Parallel()
	j := installed(t).submit(t, script("python", "main.py", `import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
abi = libc.syscall(444, None, ctypes.c_size_t(0), 1)
print("ABI", abi, flush=True)
def write(path):
    with open(path, "a") as f:
        f.write("forged")
def signals(number):
    return lambda: os.kill(os.getppid(), number)
def trace():
    if libc.ptrace(16, os.getppid(), 0, 0) != 0: # PTRACE_ATTACH
        raise OSError("no")
attacks = {
    "trace": trace, "memory": lambda: open("/proc/%d/mem" % os.getppid(), "r+b"), "environ": lambda: open("/proc/1/environ").read() or 1 / 0,
    "root": lambda: os.listdir("/proc/1/root/workspace"), "its files": lambda: os.listdir("/proc/1/fd"),
    "the agent": lambda: write("/orchestrator/agent"), "the account": lambda: write("/etc/passwd"), "the image": lambda: write("/etc/x"),
}
if abi >= 2:
    attacks |= {
        "append": lambda: write("/workspace/log/stdout.log"), "truncate": lambda: os.truncate("/workspace/log/stdout.log", 0),
        "remove": lambda: os.remove("/workspace/log/stderr.log"), "rename": lambda: os.rename("/workspace/log", "/workspace/old"),
        "take": lambda: os.rename("/workspace/log/order", "order"), "link": lambda: os.link("/workspace/log/order", "order"),
        "by /proc": lambda: write("/proc/self/root/workspace/log/stdout.log"), "forge the end": lambda: write("/workspace/exit.json"),
        "forge the task": lambda: os.remove("/workspace/task.json"), "replace files": lambda: os.rename("/workspace/files", "/workspace/x"),
    }
if abi >= 6:
    attacks |= {"signal": signals(0), "terminate": signals(signal.SIGTERM)}
for name, attack in attacks.items():
    try:
        attack()
        print("succeeded:", name, flush=True)
    except OSError:
        pass
os.makedirs("a/b")
write("a/x"); os.rename("a/x", "a/b/x"); os.link("a/b/x", "results/x"); os.rename("a", "results/a"); write("/tmp/x"); write("/dev/null")
print("end")
`))
	j.ends("Succeeded", "Completed")
	abi, rest, _ := strings.Cut(j.logs("tail=all"), "\n")
	t.Logf("Landlock of the node: %s", abi)
	if rest != "end\n" {
		t.Errorf("log %q", rest)
	}
	for _, name := range []string{"x", "a/b/x"} {
		if got := j.get("/outputs/" + j.ID + "/" + name); got != "forged" {
			t.Errorf("output %s is %q", name, got)
		}
	}
}
