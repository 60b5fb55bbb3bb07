//go:build linux

package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGroup looks at what is written for a program, in a folder that stands for the kernel's: few
// machines hand one on to whoever runs the tests. What it does there TestLimits sees, where they
// do.
func TestGroup(t *testing.T) {
	t.Parallel()
	c := &cgroup{dir: t.TempDir()}
	for name, test := range map[string]struct {
		program Program
		want    map[string]string
	}{
		"nothing": {Program{}, map[string]string{"memory.oom.group": "1"}},
		"all": {Program{CPUMillis: 1500, MemoryBytes: 1 << 30, Processes: 7}, map[string]string{
			"memory.oom.group": "1", "cpu.max": "150000 100000", "memory.max": "1073741824", "memory.swap.max": "0",
			"pids.max": "7",
		}},
		// the kernel's least
		"a thousandth of a CPU": {Program{CPUMillis: 1},
			map[string]string{"memory.oom.group": "1", "cpu.max": "1000 100000"}},
	} {
		g, err := c.make(test.program)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		entries, err := os.ReadDir(g.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(g.dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got[e.Name()] = string(data)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for events, want := range map[string]bool{"": false, "low 0\noom 3\noom_kill 0\n": false,
			"oom 1\noom_kill 2\noom_group_kill 1\n": true} {
			if err := write(g.dir, "memory.events", events); err != nil {
				t.Fatal(err)
			}
			if got := g.oomKilled(); got != want {
				t.Errorf("%q: killed for want of memory is %v", events, got)
			}
		}
		if err := os.RemoveAll(g.dir); err != nil { // the kernel's files go with their folder, those of the test do not
			t.Fatal(err)
		}
		g.remove()
	}
	if _, err := (&cgroup{dir: filepath.Join(c.dir, "gone")}).make(Program{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is gone: %v", err)
	}
	var none *cgroup
	g, err := none.make(Program{MemoryBytes: 1})
	if g != nil || err != nil || g.oomKilled() {
		t.Errorf("without cgroups: %v, %v", g, err)
	}
	g.remove()
}
