package runtimes

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"go-job-orchestrator/shared/job"
)

// minRAM is the least that a JVM is told of: with less it ends with an error of its own in place of
// the limit's.
const minRAM = 16 << 20

// jvmOptions tell a JVM how much memory there is for the job: it cannot see a limit that is
// watched, or that of a cgroup outside its view of files, and would take a quarter of the machine
// for its heap. As an option of the command it is printed by nobody, and leaves JAVA_TOOL_OPTIONS
// to the user. A user's -Xmx sets the heap itself, and a percentage is one of this.
func jvmOptions(spec *job.Spec) []string {
	bytes := spec.MemoryBytes()
	if bytes == 0 {
		return nil
	}
	if all := machineMemory(); all > 0 && bytes >= all {
		return nil // the JVM sees for itself what there is
	}
	const option = "-XX:MaxRAM="
	for _, name := range []string{"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"} { // which ours would override
		if strings.Contains(spec.Env[name], option) {
			return nil
		}
	}
	return []string{option + strconv.FormatInt(max(bytes, minRAM), 10)}
}

// machineMemory is what proc(5) says the machine has, in bytes; 0 is not known.
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
