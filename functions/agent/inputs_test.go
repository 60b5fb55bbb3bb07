package agent

import (
	"fmt"
	"testing"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

func stdin(text string) func(*job.Index) {
	return func(i *job.Index) { i.Stdin = &job.File{Name: text} }
}

// TestVerdict has pods tell their Job whether another attempt follows.
func TestVerdict(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		change []func(*job.Index)
		want   int
	}{
		"no retries":        {"exit 3", nil, executor.PodNoRetry},
		"retries":           {"exit 3", []func(*job.Index){retries(1)}, executor.PodRetry},
		"the code":          {"exit 3", []func(*job.Index){retries(1), on("2-4")}, executor.PodRetry},
		"another code":      {"exit 3", []func(*job.Index){retries(1), on("4", "OOMKilled")}, executor.PodNoRetry},
		"any failure":       {"exit 3", []func(*job.Index){retries(1), on("Error")}, executor.PodRetry},
		"success":           {"exit 0", []func(*job.Index){retries(1)}, 0},
		"not known":         {"kill -9 $$", []func(*job.Index){retries(1), on("3")}, 0},
		"cannot be run":     {"", []func(*job.Index){retries(1), missing}, executor.PodNoRetry},
		"terminates itself": {"kill -15 $$", []func(*job.Index){retries(1), on("143")}, executor.PodRetry},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t, test.script, test.change...)
			p := w.pod("one")
			p.run()
			if p.verdict != test.want {
				t.Errorf("the sidecar ended with %d, want %d: %s", p.verdict, test.want, p.out["sidecar"])
			}
		})
	}
}

func on(causes ...string) func(*job.Index) { return func(i *job.Index) { i.RetryOn = causes } }

// missing names an entrypoint that cannot be run.
func missing(i *job.Index) {
	i.Entrypoint = "absent"
}

// TestStdin has programs read what was sent for them, in each attempt from its beginning.
func TestStdin(t *testing.T) {
	const input = "one\ntwo\n"
	for name, test := range map[string]struct{ script, want string }{
		"reads":         {"cat", input},
		"opens":         {"cat /dev/stdin; head -c 3 /proc/self/fd/0", input + "one"},
		"does not read": {"echo over", "over\n"},
		"keeps it": {"(echo x >/dev/stdin) 2>/dev/null; (echo x >../stdin) 2>/dev/null; " +
			"(rm -f ../stdin) 2>/dev/null; cat", input},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t, test.script, retries(1), on("7"), stdin(input))
			p := w.pod("one")
			p.ordinary()
			if got := p.run(); got != 0 {
				t.Errorf("ended with %d: %s", got, p.out["exec"])
			}
			if got := w.log(); got != test.want {
				t.Errorf("it wrote %q, want %q", got, test.want)
			}
			if end := w.terminal(job.Succeeded, job.ReasonCompleted); end.Outputs.NotCollected != nil {
				t.Errorf("not collected: %+v", end.Outputs.NotCollected)
			}
		})
	}
	t.Run("again", func(t *testing.T) {
		w := newFixture(t, `cat; test "$JOB_ATTEMPT" = 2 || exit 7`, retries(1), on("7"), stdin(input))
		for n, want := range []int{7, 0} {
			if got := w.pod(fmt.Sprint("pod", n)).run(); got != want {
				t.Fatalf("pod %d ended with %d, want %d", n, got, want)
			}
		}
		if got := w.log(); got != input+input {
			t.Errorf("it wrote %q", got)
		}
	})
}
