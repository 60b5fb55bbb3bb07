package local

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go-job-orchestrator/shared/job"
)

// digger makes folders in each other by handle: its arguments are how many such chains, and how
// deep each.
const digger = `import os, sys
def chain(at, depth):
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
for i, depth in enumerate(sys.argv[1:]):
    os.mkdir("results/%d" % i)
    chain(os.open("results/%d" % i, os.O_RDONLY), int(depth))
with open("results/kept", "w") as f:
    f.write("kept")
print("dug")
if os.path.exists("stay"):
    import time
    time.sleep(1000)
`

// dig is a form for a digger, which stays when it has dug.
func dig(stay bool, depths ...int) form {
	f := form{runtime: "python", entrypoint: "main.py", files: map[string]string{"main.py": digger}}
	for _, depth := range depths {
		f.fields = append(f.fields, fmt.Sprintf("arg=%d", depth))
	}
	if stay {
		f.files["stay"] = ""
	}
	return f
}

// workspaces counts what lies in WORK_DIR: workspaces, and among what is discarded.
func (s *server) workspaces() int {
	s.t.Helper()
	n := 0
	for _, pattern := range []string{".local/work/f*", ".local/work/trash/*"} {
		found, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			s.t.Fatal(err)
		}
		n += len(found)
	}
	return n
}

// TestDeepFolders leaves folders that are far deeper than outputs may be. Everything that can be an
// output is stored, the status names what is not, and the workspace is removed.
func TestDeepFolders(t *testing.T) {
	t.Parallel()
	s := start(t, memory(t), "MAX_CONCURRENT_JOBS=1", "MAX_WORKSPACE_FILES=0", "MAX_WORKSPACE_BYTES=0")
	j := s.submit(dig(false, 5000, 3000, 190))
	got := j.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	if j.output("kept") != "kept" || got.Outputs == nil || got.Outputs.OmittedCount != 3 {
		t.Errorf("outputs are %+v", got.Outputs)
	}
	for i, o := range got.Outputs.Omitted {
		want := "more than 200 folders deep"
		if i == 2 { // all of it was looked at
			want = "is an empty folder"
		}
		if !strings.Contains(o.Reason, want) {
			t.Errorf("left out: %+v, want that it %s", o, want)
		}
	}
	must(t, s.submit(script("true\n")).wait(), job.Succeeded, job.ReasonCompleted)
	s.until("the workspaces are gone", func() bool { return s.workspaces() == 0 })
}

// memory is a storage directory in memory, where folders cost little.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "local-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestRecoveryBesideServing starts a server on the workspace of a job whose program still lives,
// and on many folders of a job that is over. The server answers and runs jobs meanwhile. A job that
// is removed during its recovery disappears.
func TestRecoveryBesideServing(t *testing.T) {
	t.Parallel()
	s := start(t, memory(t), "MAX_CONCURRENT_JOBS=2", "KILL_GRACE=1h")
	held, removed := s.submit(dig(true, 190)), s.submit(dig(true, 190))
	for _, j := range []*sent{held, removed} {
		j.running("dug")
	}
	s.kill()
	var locks []*os.File
	for _, j := range []*sent{held, removed} {
		f, err := os.Open(filepath.Join(s.dir, ".local", "work", j.ID, "hold"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.until("the program has ended", func() bool {
			return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
		})
		locks = append(locks, f)
	}
	over := filepath.Join(s.dir, ".local", "work", strings.Repeat("f", 32))
	if err := os.MkdirAll(filepath.Join(over, "files", strings.Repeat("d/", 1000)), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start() // returns when it answers
	for range 3 {
		must(t, s.submit(script("true\n")).wait(), job.Succeeded, job.ReasonCompleted)
	}
	mustBe(held, job.Running) // as far as the records say
	if resp, data := removed.call(http.MethodDelete, removed.path()); resp.StatusCode >= 300 {
		t.Errorf("delete: %s %s", resp.Status, data)
	}
	for _, f := range locks {
		f.Close()
	}
	got := held.wait()
	must(t, got, job.Failed, job.ReasonInterrupted)
	if held.output("kept") != "kept" {
		t.Error("its output is not stored")
	}
	s.until("all other workspaces are gone", func() bool { return s.workspaces() == 0 && removed.gone() })
}

// TestStopsWhileRecovering stops a server that waits for a workspace: it does not wait for long.
func TestStopsWhileRecovering(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "KILL_GRACE=1h", "DRAIN_TIMEOUT=1h")
	j := s.submit(script("echo begun; exec sleep 1000\n"))
	j.running("begun")
	s.kill()
	f, err := os.Open(filepath.Join(s.dir, ".local", "work", j.ID, "hold"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.until("the program has ended",
		func() bool { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil })
	s.start()
	s.stop()
	f.Close()
	s.start()
	must(t, j.wait(), job.Failed, job.ReasonInterrupted)
}

// smallDisk mounts a fresh file system.
func smallDisk(t *testing.T, bytes int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts file systems")
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, bytes), os.Mkdir(at, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, at}} {
		path, err := exec.LookPath(command[0])
		if err != nil {
			t.Skipf("%s is not installed", command[0])
		}
		if out, err := exec.Command(path, command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s; a loop device is needed", command, err, out)
		}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// filler takes the disk until it is stopped: with "name" in a file with a name, else in files that
// it removes, sends to itself over a socket, and closes.
const filler = `import os, socket, sys, time
a, b = socket.socketpair()
print("begun", flush=True)
for i in range(1000):
    with open(str(i), "wb") as f:
        if sys.argv[1] != "name":
            os.unlink(str(i))
            socket.send_fds(a, [b"x"], [f.fileno()])
        f.write(bytes(4_000_000))
    time.sleep(0.02)
`

// TestFloor has programs fill the disk until less than MIN_FREE_BYTES is free, while they are far
// below their own limits. These programs are ended. Others that use much of the disk are not, and
// jobs can be submitted again. not parallel: a program fills a disk as fast as it can, and is to be
// stopped before it is full
func TestFloor(t *testing.T) {
	for _, how := range []string{"name", "socket"} {
		t.Run(how, func(t *testing.T) {
			work := smallDisk(t, 256<<20)
			s := start(t, work, "MIN_FREE_BYTES=64Mi", "MAX_CONCURRENT_JOBS=3", "WORK_DIR="+filepath.Join(work, "work"))
			other := s.submit(script("head -c 40000000 /dev/zero > mine; echo begun; while ! test -e done; do sleep 0.1; " +
				"done\n"))
			other.running("begun")
			hostile := s.submit(form{runtime: "python", entrypoint: "main.py", files: map[string]string{"main.py": filler},
				fields: []string{"arg=" + how}})
			got := hostile.wait()
			must(t, got, job.Failed, job.ReasonEvicted)
			if !strings.Contains(got.Message, "MIN_FREE_BYTES") {
				t.Errorf("the message is %q", got.Message)
			}
			mustBe(other, job.Running)
			s.until("jobs can be submitted", func() bool {
				resp, _, err := s.post(script("true\n"))
				return err == nil && resp.StatusCode == http.StatusCreated
			})
			if l := other.status().Attempts[0].Limits; l == nil ||
				!strings.HasPrefix(l.Workspace, "watched: ended above 8589934592 bytes") {
				t.Errorf("the limits are %+v", l)
			}
			mustBe(other, job.Running)
		})
	}
}
