package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// How a program with its own view of files is named.
const (
	hostName    = "job"
	accountName = "job"
)

// maxNames bounds how much is read of /etc/passwd, /etc/group and /etc/hosts. A list of blocked
// hosts can be long.
const maxNames = 4 << 20

// makeNames writes the files that give a program the names of its user, whose home is the
// workspace, and of its host. The entries of the machine's own files follow, unless they contradict
// these.
func (v *view) makeNames(req *request) error {
	uid, gid := req.UID, req.GID
	if uid < 0 {
		uid, gid = os.Getuid(), os.Getgid()
	}
	if err := os.MkdirAll(v.path("/etc"), 0o755); err != nil {
		return fmt.Errorf("make /etc: %w", err)
	}
	for name, own := range map[string]string{
		"/etc/passwd": fmt.Sprintf("%s:x:%d:%d:%s:%s:/bin/sh\n", accountName, uid, gid, accountName, workspacePath),
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", accountName, gid),
		"/etc/hosts":  "127.0.0.1\tlocalhost\n127.0.0.1\t" + hostName + "\n",
	} {
		others, err := readNames(name)
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		if name != "/etc/hosts" {
			others = withoutAccount(others)
		}
		if err := os.WriteFile(v.path(name), append([]byte(own), others...), 0o644); err != nil { //nolint:gosec // for programs
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return nil
}

// readNames reads whole lines of a file, which need not exist.
func readNames(path string) ([]byte, error) {
	f, err := os.Open(filepath.Clean(path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxNames))
	if len(text) == maxNames {
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	return text, err
}

// withoutAccount leaves out the lines of passwd or group with the name of the program's user.
func withoutAccount(text []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte(accountName+":")) {
			kept = append(kept, line...)
		}
	}
	return kept
}
