package local

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// late is a program whose first process ends at once after SIGTERM, while its child still has work
// to do.
func late(fields ...string) form {
	f := script("sh child.sh\n:\n", fields...)
	f.files["child.sh"] = "trap 'sleep 1; echo done > results/last; exit' TERM\necho begun\nwhile :; do sleep 0.05; done\n"
	return f
}

// TestGrace ends programs in every way that leaves them time to end by themselves.
func TestGrace(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, j *sent, phase job.Phase, reason job.Reason) {
		t.Helper()
		got := j.wait()
		must(t, got, phase, reason)
		if got.ExitCode == nil || *got.ExitCode != 143 {
			t.Errorf("exit code %v", got.ExitCode)
		}
		if last := j.output("last"); last != "done\n" {
			t.Errorf("the last work of the child is %q", last)
		}
	}
	t.Run("cancel", func(t *testing.T) {
		t.Parallel()
		j := start(t, t.TempDir(), "KILL_GRACE=1m").submit(late())
		j.running("begun")
		j.call("POST", j.path()+"/cancel")
		check(t, j, job.Cancelled, job.ReasonCancelled)
	})
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		s := start(t, t.TempDir(), "KILL_GRACE=1m")
		for seconds := 2; ; seconds *= 3 {
			j := s.submit(late(fmt.Sprintf("timeoutSeconds=%d", seconds)))
			if j.wait(); j.logs("tail=all") == "" && seconds < 60 {
				continue // its time was up before it had begun
			}
			check(t, j, job.Failed, job.ReasonDeadlineExceeded)
			return
		}
	})
	t.Run("shutdown", func(t *testing.T) {
		t.Parallel()
		s := start(t, t.TempDir(), "KILL_GRACE=1m", "DRAIN_TIMEOUT=0s")
		j := s.submit(late())
		j.running("begun")
		s.stop()
		s.start()
		check(t, j, job.Failed, job.ReasonInterrupted)
	})
	t.Run("no grace", func(t *testing.T) {
		t.Parallel()
		j := start(t, t.TempDir(), "KILL_GRACE=0s").submit(script("sh -c 'trap \"\" TERM; echo begun; while :; do sleep " +
			"0.05; done'\n:\n"))
		j.running("begun")
		j.call("POST", j.path()+"/cancel")
		must(t, j.wait(), job.Cancelled, job.ReasonCancelled)
	})
}

// TestJVM makes sure that a JVM knows the memory and the home of its job, and prints nothing about
// them.
func TestJVM(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	const source = `public class Main { public static void main(String[] a) throws Exception {
		System.out.println(Runtime.getRuntime().maxMemory() >> 20);
		System.out.println(System.getProperty("user.home").equals(System.getenv("HOME")));
		System.out.println(System.getProperty("user.name"));
		System.out.println(java.net.InetAddress.getLocalHost().getHostAddress());
	} }`
	for name, tt := range map[string]struct {
		fields []string
		heap   int // MiB
		stderr string
	}{
		"limit": {[]string{"memory=256Mi"}, 256 / 2, ""},
		"own heap": {[]string{"memory=1Gi", `env={"JAVA_TOOL_OPTIONS":"-Xmx100m"}`}, 100, "Picked up JAVA_TOOL_OPTIONS: " +
			"-Xmx100m\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := s.submit(form{runtime: "java", entrypoint: "Main.java", files: map[string]string{"Main.java": source},
				fields: tt.fields})
			must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
			heap, rest, _ := strings.Cut(j.logs("tail=all&stream=stdout"), "\n")
			var mebibytes int
			if _, err := fmt.Sscan(heap, &mebibytes); err != nil || mebibytes > tt.heap || mebibytes < tt.heap*9/10 {
				t.Errorf("the heap has %s MiB, want about %d", heap, tt.heap)
			}
			if diff := cmp.Diff("true\njob\n127.0.0.1\n", rest); diff != "" {
				t.Errorf("home, name and host (-want +got):\n%s", diff)
			}
			if got := j.logs("tail=all&stream=stderr"); got != tt.stderr {
				t.Errorf("standard error %q, want %q", got, tt.stderr)
			}
		})
	}
}
