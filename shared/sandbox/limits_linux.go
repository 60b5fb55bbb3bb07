package sandbox

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Limits describes how a program's limits are enforced. 0 is no limit.
func (s *Sandbox) Limits(cpuMillis, memoryBytes int64) Limits {
	l := Limits{CPU: "no limit", Memory: "no limit"}
	switch {
	case cpuMillis > 0 && s.cgroup != nil:
		l.CPU = fmt.Sprintf("cgroup: %dm of CPU time", cpuMillis)
	case cpuMillis > 0:
		l.CPU = fmt.Sprintf("runs on %d of %d CPUs", s.cpuCount(cpuMillis), len(s.cpus))
	}
	switch {
	case memoryBytes > 0 && s.cgroup != nil:
		l.Memory = fmt.Sprintf("cgroup: %d bytes", memoryBytes)
	case memoryBytes > 0:
		l.Memory = fmt.Sprintf("watched: ended above %d bytes", memoryBytes)
	}
	return l
}

// cpuCount returns how many whole CPUs a program needs for so many thousandths of one, but at most
// all CPUs.
func (s *Sandbox) cpuCount(millis int64) int {
	return int(min((millis+999)/1000, int64(len(s.cpus))))
}

// pick returns CPUs for a program. It goes through all CPUs in turn, so that pinned programs do not
// all share the first ones.
func (s *Sandbox) pick(millis int64) []int {
	n := s.cpuCount(millis)
	if millis == 0 || n == len(s.cpus) {
		return nil
	}
	first := int(s.nextCPU.Add(uint64(n)) % uint64(len(s.cpus))) //nolint:gosec // a handful of CPUs
	picked := make([]int, n)
	for i := range picked {
		picked[i] = s.cpus[(first+i)%len(s.cpus)]
	}
	return picked
}

func allowedCPUs() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		set.Zero()
		for i := range runtime.NumCPU() {
			set.Set(i)
		}
	}
	var cpus []int
	for i := 0; len(cpus) < set.Count(); i++ {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}
