package executor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go-job-orchestrator/shared/job"
)

// TestStdin gives the program, and not the compiler, what was sent for it to read: as it was
// accepted, in each attempt, and in no folder that the program sees.
func TestStdin(t *testing.T) {
	const input = "in"
	sum := sha256.Sum256([]byte(input))
	want := &job.File{Name: job.StdinFile, Size: int64(len(input)), SHA256: hex.EncodeToString(sum[:])}
	for name, test := range map[string]struct {
		stored string
		want   Exit
	}{
		"as accepted": {input, Exit{}},
		"another":     {"xx", Exit{Reason: job.ReasonFetchFailed}},
		"longer":      {"in and more", Exit{Reason: job.ReasonFetchFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			var reads []string
			task, _ := newTask(t, func(dir string, c Command, _, _ <-chan struct{}) Exit {
				text := "nothing"
				if c.Stdin != nil {
					data, err := io.ReadAll(c.Stdin)
					if err != nil {
						t.Error(err)
					}
					text = string(data)
				}
				reads = append(reads, c.Args[0]+" "+text)
				if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 { // a.py and results
					t.Errorf("the program sees %v, %v", entries, err)
				}
				return Exit{}
			})
			task.Build = func(fs.FS) (build, program []string, err error) {
				return []string{"build"}, []string{"run"}, nil
			}
			uploaded := artifacts{"a.py": "print(1)"}
			task.Index.Files, task.Index.Stdin = uploaded.files(), want
			uploaded[job.StdinFile] = test.stored
			task.From = uploaded
			for range 2 {
				got := task.Run(t.Context())
				if got.Exit.Reason != test.want.Reason || got.Outputs.NotCollected != nil {
					t.Errorf("got %+v, %+v", got.Exit, got.Outputs)
				}
			}
			if test.want == (Exit{}) && !slices.Equal(reads, []string{"build nothing", "run in", "build nothing", "run in"}) {
				t.Errorf("got %q", reads)
			}
		})
	}
}

// TestStdinReplaced demands that nothing is run with a link or another file in place of the input.
func TestStdinReplaced(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed": os.Remove,
		"a link":  func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/etc/hostname", path)) },
		"longer": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("longer"), 0o600))
		},
	} {
		task, _ := newTask(t, says("never"))
		uploaded := artifacts{job.StdinFile: "in"}
		task.From, task.Index.Files, task.Index.Stdin = uploaded, nil, &uploaded.files()[0]
		if err := errors.Join(task.Workspace.Reset(t.Context()), task.Fetch(t.Context())); err != nil {
			t.Fatal(err)
		}
		if err := replace(filepath.Join(task.Workspace.Root(), stdinFile)); err != nil {
			t.Fatal(err)
		}
		if got := task.Execute(t.Context()); got.Exit.Reason != job.ReasonStartFailed || got.Ran {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
