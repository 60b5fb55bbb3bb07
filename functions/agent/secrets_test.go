package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
)

// withSecrets gives a job secrets, and a number of retries.
func withSecrets(set secret.Set, retries int) func(*job.Index) {
	return func(index *job.Index) { index.Secrets, index.Retries = set.As("user").Records(), retries }
}

// seal stores the values of a job's secrets.
func (w *fixture) seal(set secret.Set) {
	w.T.Helper()
	sealed, err := set.Seal(w.Keys, w.index.JobID)
	if err == nil && sealed != nil {
		err = w.Ledger.PutSecrets(w.T.Context(), w.index.JobID, sealed)
	}
	if err != nil {
		w.T.Fatal(err)
	}
}

// mount writes a Secret as the kubelet mounts it: the keys are links into a folder that is a link.
func mount(t *testing.T, p paths, name string, values map[string]string) {
	t.Helper()
	dir := filepath.Join(p.named, name)
	if err := os.MkdirAll(filepath.Join(dir, "..2026"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for key, value := range values {
		if err := os.WriteFile(filepath.Join(dir, "..data", key), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(dir, key)); err != nil {
			t.Fatal(err)
		}
	}
}

const showSecrets = `
test "$OWN" = hunter2"hunter2" && test "$NAMED" = named-secret && test "$ONLY" = the-only-value && echo got them
echo "own $OWN named $NAMED"
ls -A ../../secrets
grep -rl "$OWN" .. && echo FOUND
test $JOB_ATTEMPT = 2
`

func someSecrets() secret.Set {
	return secret.Set{
		"OWN": secret.Text("hunter2hunter2"), "NAMED": secret.Reference("db/password"), "ONLY": secret.Reference("api"),
	}
}

// TestSecrets gives a program secrets, in each of two pods, and leaves no file of them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newFixture(t, showSecrets, withSecrets(someSecrets(), 1))
	w.seal(someSecrets())
	for _, name := range []string{"first", "second"} {
		p := w.pod(name)
		here := p.paths()
		mount(t, here, "db", map[string]string{"password": "named-secret", "user": "x"})
		mount(t, here, "api", map[string]string{"token": "the-only-value"})
		p.run()
		if left, err := os.ReadDir(here.secrets); err != nil || len(left) > 0 {
			t.Errorf("%s: left in the volume: %v, %v", name, left, err)
		}
		for part, out := range p.out {
			if strings.Contains(out.String(), "hunter2hunter2") || strings.Contains(out.String(), "named-secret") {
				t.Errorf("%s of %s prints a secret", part, name)
			}
		}
	}
	w.terminal(job.Succeeded, job.ReasonCompleted)
	want := "got them\nown *** named ***\n"
	if got := w.log(); got != want+want {
		t.Errorf("the log is %q", got)
	}
}

// TestSecretsMissing has pods that cannot get their secrets: the program is not started.
func TestSecretsMissing(t *testing.T) {
	t.Parallel()
	all := map[string]string{"password": "named-secret"}
	for name, test := range map[string]struct {
		retries  int
		seal     secret.Set
		mount    map[string]string
		message  string
		noVolume bool
	}{
		"nothing is stored": {0, nil, all, "cannot be opened", false},
		"other names":       {0, secret.Set{"X": secret.Text("hunter2hunter2")}, all, "cannot be opened", false},
		"no Secret":         {0, someSecrets(), nil, "secret db is not there", false},
		"no such key":       {0, someSecrets(), map[string]string{"user": "x"}, "no value password", false},
		"not a text":        {0, someSecrets(), map[string]string{"password": "a\x00b"}, "not a text", false},
		"too long": {0, someSecrets(), map[string]string{"password": strings.Repeat("x", job.MaxArgBytes+1)},
			"longer than", false},
		"an older launcher": {0, someSecrets(), all, "another version of the server", true},
		"with a retry":      {1, someSecrets(), nil, "secret db is not there", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t, "echo began", withSecrets(someSecrets(), test.retries))
			w.seal(test.seal)
			for range test.retries + 1 {
				p := w.pod("pod")
				here := p.paths()
				mount(t, here, "api", map[string]string{"token": "the-only-value"})
				if test.mount != nil {
					mount(t, here, "db", test.mount)
				}
				if test.noVolume {
					if err := os.Remove(here.secrets); err != nil {
						t.Fatal(err)
					}
				}
				if got := p.run(); got == 0 {
					t.Error("the program's container ended well, so Kubernetes would not try another pod")
				}
			}
			got := w.terminal(job.Failed, job.ReasonStartFailed)
			if !strings.Contains(got.Message, test.message) || strings.Contains(got.Message, "hunter2") ||
				strings.Contains(got.Message, "/tmp") {
				t.Errorf("the message is %q", got.Message)
			}
			if len(got.Attempts) != test.retries+1 || w.log() != "" {
				t.Errorf("%d attempts, the log is %q", len(got.Attempts), w.log())
			}
		})
	}
}

func TestOnlyKey(t *testing.T) {
	for name, test := range map[string]struct {
		values  map[string]string
		want    string
		message string
	}{
		"one":            {map[string]string{"a": "1"}, "a", ""},
		"value":          {map[string]string{"a": "1", "value": "2"}, "value", ""},
		"several":        {map[string]string{"a": "1", "b": "2"}, "", "it has 2 values"},
		"none":           {nil, "", "is not there"},
		"begins with ..": {map[string]string{"..x": "1"}, "", "is not there"},
	} {
		p := paths{named: t.TempDir()}
		mount(t, p, "db", test.values)
		folder, err := os.OpenRoot(filepath.Join(p.named, "db"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := onlyKey(folder)
		if got != test.want || (err == nil) != (test.message == "") || err != nil &&
			!strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		folder.Close()
	}
}

// paths are the folders of a pod, those of its secrets included.
func (p *pod) paths() paths {
	p.w.T.Helper()
	here := testPaths(p.dir)
	for _, dir := range []string{here.secrets, here.named} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			p.w.T.Fatal(err)
		}
	}
	return here
}
