package sandbox

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process holds the figures of one process, in bytes, as proc(5) has them in a few lines.
type process struct {
	pid     int
	private int64 // in memory or swapped out, and in no file
	shared  int64 // shared memory, also of files that are in memory
	tables  int64 // page tables
	threads int64
	slots   int64 // for open files
	exact   bool  // private and shared are proportional
}

func readProcess(pid int) process {
	v := readFields(pid, "status")
	return process{
		pid: pid, private: v["RssAnon"] + v["VmSwap"], shared: v["RssShmem"], tables: v["VmPTE"] + v["VmPMD"],
		threads: v["Threads"], slots: v["FDSize"],
	}
}

// proportional returns the memory of a process, including its share of the memory that it shares
// with others. It fails if the kernel does not report that.
func proportional(pid int) (private, shared int64, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, 0, nil // it has just ended
	}
	if err != nil {
		return 0, 0, err
	}
	v := fields(text)
	if _, told := v["Pss_Anon"]; !told {
		return 0, 0, errors.ErrUnsupported // before Linux 5.3
	}
	return v["Pss_Anon"] + v["SwapPss"], v["Pss_Shmem"], nil
}

// readFields reads the numbers of a file of proc that has one on each line. Those in kB are
// returned in bytes.
func readFields(pid int, name string) map[string]int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		return nil
	}
	return fields(text)
}

func fields(text []byte) map[string]int64 {
	values := map[string]int64{}
	for line := range bytes.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		value, inKilobytes := strings.CutSuffix(strings.TrimSpace(value), " kB")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			continue
		}
		if inKilobytes {
			n <<= 10
		}
		values[name] = n
	}
	return values
}

// sharedFiles returns the memory that the files in /dev/shm take.
func sharedFiles() int64 {
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) != nil || st.Type != unix.TMPFS_MAGIC {
		return 0
	}
	blocks, inodes := int64(st.Blocks-st.Bfree), int64(st.Files-st.Ffree) //nolint:gosec // the kernel's numbers
	return blocks*st.Bsize + inodes*sharedInode
}

// systemV returns the memory that System V shared memory takes, whether or not a process has
// attached it. The last two fields of each line of /proc/sysvipc/shm are the bytes in memory and
// swapped out.
func systemV() int64 {
	text, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return 0
	}
	var total int64
	for line := range bytes.Lines(text) {
		values := bytes.Fields(line)
		if len(values) < 2 {
			continue
		}
		for _, v := range values[len(values)-2:] {
			if n, err := strconv.ParseInt(string(v), 10, 64); err == nil { // the first line has names
				total += n
			}
		}
		total += sharedInode
	}
	return total
}
