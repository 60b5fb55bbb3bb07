package prepare

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"go-job-orchestrator/shared/job"
)

// The files that name packages.
const (
	RequirementsFile = "requirements.txt"
	ProjectFile      = "pyproject.toml"
	UvLockFile       = "uv.lock"
	PyLockFile       = "pylock.toml"
	PackageFile      = "package.json"
	PackageLockFile  = "package-lock.json"
	ShrinkwrapFile   = "npm-shrinkwrap.json"
)

// The bounds of what is read.
const (
	maxSource   = 8 << 20 // bytes of all files together
	maxScript   = 1 << 20 // bytes of an entrypoint that are searched for a block of PEP 723
	maxIncludes = 20      // requirements files that one may include
)

// Collect returns the files of a job that say which packages it needs, or nil if there are none. It
// starts nothing, so it costs a job without such files next to nothing.
func Collect(files fs.FS, index *job.Index) (*Sources, error) {
	c := &collector{files: files, s: &Sources{
		Runtime: index.Runtime, Entrypoint: index.Entrypoint, Files: map[string][]byte{},
	}}
	var err error
	switch index.Runtime {
	case "python":
		err = c.python()
	case "node":
		err = c.node()
	}
	if err != nil || len(c.s.Files) == 0 {
		return nil, err
	}
	hash := sha256.New()
	for _, f := range index.Files {
		fmt.Fprintf(hash, "%s %d %s %s\n", f.Name, f.Size, f.SHA256, f.Mode)
	}
	c.s.Project = hex.EncodeToString(hash.Sum(nil))
	return c.s, nil
}

type collector struct {
	files fs.FS
	s     *Sources
	size  int
}

// folders are those in which a project's files are looked for: that of the entrypoint, and those
// that it is in.
func (c *collector) folders() []string {
	var list []string
	for dir := path.Dir(c.s.Entrypoint); ; dir = path.Dir(dir) {
		list = append(list, dir)
		if dir == "." || dir == "/" {
			return list
		}
	}
}

func (c *collector) python() error {
	if err := c.script(); err != nil || len(c.s.Files) > 0 {
		return err
	}
	for _, dir := range c.folders() {
		name := path.Join(dir, RequirementsFile)
		if found, err := c.take(name); err != nil {
			return err
		} else if found {
			return c.includes(name, 0)
		}
	}
	for _, dir := range c.folders() {
		for _, name := range []string{PyLockFile, UvLockFile, ProjectFile} {
			if _, err := c.take(path.Join(dir, name)); err != nil {
				return err
			}
		}
		if c.s.Files[path.Join(dir, PyLockFile)] != nil || c.s.Files[path.Join(dir, UvLockFile)] != nil {
			return nil
		}
		clear(c.s.Files) // without a lock a project is not installed
	}
	return nil
}

// node takes the nearest package.json with its lock. A project that brings its node_modules needs
// nothing.
func (c *collector) node() error {
	for _, dir := range c.folders() {
		found, err := c.take(path.Join(dir, PackageFile))
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if !NeedsPackages(c.s.Files[path.Join(dir, PackageFile)]) {
			clear(c.s.Files)
			return nil
		}
		if info, err := fs.Stat(c.files, path.Join(dir, "node_modules")); err == nil && info.IsDir() {
			clear(c.s.Files)
			return nil
		}
		for _, name := range []string{ShrinkwrapFile, PackageLockFile, ".npmrc"} {
			if _, err := c.take(path.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

// NeedsPackages reports whether a package.json names any package. One that cannot be read does: npm
// says what is wrong with it.
func NeedsPackages(text []byte) bool {
	var p struct {
		Dependencies, DevDependencies, OptionalDependencies, PeerDependencies map[string]json.RawMessage
		Workspaces                                                            json.RawMessage
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return true
	}
	return len(p.Dependencies)+len(p.DevDependencies)+len(p.OptionalDependencies)+len(p.PeerDependencies) > 0 ||
		len(p.Workspaces) > 0
}

// take reads a file, if it is there.
func (c *collector) take(name string) (bool, error) {
	f, err := c.files.Open(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(maxSource-c.size)+1))
	if err != nil {
		return false, err
	}
	if c.size += len(text); c.size > maxSource {
		return false, job.Invalid(name, fmt.Sprintf("the files that name packages have more than %d bytes together",
			maxSource))
	}
	c.s.Files[name] = text
	return true, nil
}

// included returns the name of the file that a line of a requirements file includes, or "".
func included(line string) string {
	line = strings.TrimSpace(line)
	for _, option := range []string{"--requirement", "--constraint", "-r", "-c"} {
		rest, found := strings.CutPrefix(line, option)
		if !found {
			continue
		}
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(rest), "="))
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			return ""
		}
		return fields[0]
	}
	return ""
}

// includes takes the files that a requirements file includes, and those that they include.
func (c *collector) includes(name string, depth int) error {
	for line := range strings.Lines(string(c.s.Files[name])) {
		other := included(line)
		next := path.Join(path.Dir(name), other)
		if _, seen := c.s.Files[next]; other == "" || seen || !fs.ValidPath(next) || strings.Contains(other, "://") {
			continue
		}
		if len(c.s.Files) > maxIncludes {
			return job.Invalid(name, fmt.Sprintf("includes more than %d files", maxIncludes))
		}
		found, err := c.take(next)
		if err != nil {
			return err
		}
		if found {
			if err := c.includes(next, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// scriptBlocks returns the blocks of PEP 723 in a program, without the comment signs. A block ends
// with the last line "# ///" of the comment that it is in.
func scriptBlocks(text string) []string {
	var blocks, lines []string
	open, end := false, 0 // lines up to end are the block
	finish := func() {
		if open && end > 0 {
			blocks = append(blocks, strings.Join(lines[:end], "\n")+"\n")
		}
		open, end, lines = false, 0, nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch marker := strings.TrimRight(line, " \t"); {
		case !open:
			open = marker == "# /// script"
			continue
		case marker == "# ///":
			end = len(lines)
		case line != "#" && !strings.HasPrefix(line, "# "):
			finish()
			continue
		}
		lines = append(lines, strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	}
	finish()
	return blocks
}

// script takes the block of PEP 723 of the entrypoint, without the comment signs.
func (c *collector) script() error {
	f, err := c.files.Open(c.s.Entrypoint)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScript))
	if err != nil || !bytes.Contains(text, []byte("# /// script")) {
		return err
	}
	switch blocks := scriptBlocks(string(text)); len(blocks) {
	case 0:
	case 1:
		c.s.Files[c.s.Entrypoint] = []byte(blocks[0])
	default:
		return job.Invalid(c.s.Entrypoint, "has two blocks \"# /// script\"; PEP 723 allows one")
	}
	return nil
}
