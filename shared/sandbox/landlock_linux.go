package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
)

// applyLandlock lets this process read what programs may read, write to its own folders, and signal
// or connect to only the processes that it starts. Together with a view of files of its own this is
// a second barrier, and a kernel without Landlock still has the first.
func (req *request) applyLandlock(workspace string) error {
	// All rules are in one ruleset. Landlock allows renaming and linking between folders only if every
	// layer of rules allows it, and even a second layer without rules for files denies it.
	config := landlock.V11
	config.HandledAccessNet = 0 // the network stays open
	var readable []string
	var private []string // terminals; without a view of its own, these are other users'
	own := []string{workspace, req.Tmp}
	if req.Level == Namespaces {
		readable = []string{"/"}
		own = []string{workspacePath, tmpPath, "/dev/shm"}
		private = []string{terminals}
	} else {
		readable = req.readable()
	}
	folders, files := sortOut(readable)
	if req.HasStdin { // otherwise the program could read it, but not open it as /dev/stdin
		files = append(files, "/proc/self/fd/0")
	}
	err := config.BestEffort().Restrict(
		landlock.RODirs(folders...), landlock.ROFiles(files...),
		landlock.RWDirs(own...).WithRefer().WithResolveUnix(),
		landlock.RWDirs(private...).WithIoctlDev(),
		landlock.RWFiles(devices()...),
		landlock.RWFiles(ownTerminal).WithIoctlDev().IgnoreIfMissing(),
	)
	if err != nil {
		return fmt.Errorf("restrict files and signals: %w", err)
	}
	return nil
}

// sortOut separates folders from files, and leaves out paths that do not exist.
func sortOut(paths []string) (folders, files []string) {
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err != nil:
		case info.IsDir():
			folders = append(folders, path)
		default:
			files = append(files, path)
		}
	}
	return folders, files
}
