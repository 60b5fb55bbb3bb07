package agent

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// oomKills returns how many processes of this container the kernel has killed for their memory, and
// false where it does not say: the field oom_kill of memory.events (cgroup v2) or
// memory.oom_control (v1).
func oomKills() (int64, bool) {
	for _, path := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		if n, ok := field(path, "oom_kill"); ok {
			return n, true
		}
	}
	return 0, false
}

func field(path, name string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, _ := strings.Cut(lines.Text(), " "); key == name {
			n, err := strconv.ParseInt(value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
