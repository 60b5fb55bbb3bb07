package runtimes

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"go-job-orchestrator/shared/job"
)

// minRAM is the minimum for -XX:MaxRAM. With less the JVM ends with an error of its own, and not
// with that of the limit.
const minRAM = 16 << 20

// jvmOptions tell a JVM how much memory the job has. The JVM cannot see a limit that is watched, or
// the limit of a cgroup outside its view of files, and would use a quarter of the machine's memory
// for its heap. An option on the command line is not printed, as JAVA_TOOL_OPTIONS is, and leaves
// that variable to the user. -Xmx of the user still sets the heap, and a percentage of the user is
// a percentage of this value.
func jvmOptions(spec *job.Spec) []string {
	bytes := spec.MemoryBytes()
	if bytes == 0 {
		return nil
	}
	if all := machineMemory(); all > 0 && bytes >= all {
		return nil // the JVM sees the machine's memory by itself
	}
	const option = "-XX:MaxRAM="
	for _, name := range []string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"} { // our option would override the user's
		if strings.Contains(spec.Env[name], option) {
			return nil
		}
	}
	return []string{option + strconv.FormatInt(max(bytes, minRAM), 10)}
}

// machineMemory is the machine's memory in bytes, from /proc/meminfo; 0 means unknown.
var machineMemory = sync.OnceValue(func() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var kilobytes int64
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes); err != nil {
		return 0
	}
	return kilobytes << 10
})
