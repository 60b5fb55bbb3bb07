package executor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"go-job-orchestrator/shared/fstree"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// Workspace is the folders of one job on this machine. The program sees Files, whose results/
// become the outputs, and Temp. The log and the records of the attempt lie outside. In a pod the
// program can change even those, so nothing is reached by a path that it could lead elsewhere:
// folders are opened one after the other, and links are not followed.
type Workspace struct{ root string }

// The folders of a workspace.
const (
	filesDir = "files"
	tempDir  = "tmp"
	logDir   = "log"
)

// stdinFile is what the program reads as its standard input. It lies outside of what the program
// sees, so it is not taken for one of its files. The program can open it again as /dev/stdin, and
// cannot change it.
const (
	stdinFile = "stdin"
	stdinMode = 0o444
)

// NewWorkspace returns the workspace in the folder root, which belongs to it alone.
func NewWorkspace(root string) Workspace { return Workspace{root: root} }

// Files is the program's working directory.
func (w Workspace) Files() string { return filepath.Join(w.root, filesDir) }

// Temp is the program's folder for temporary files.
func (w Workspace) Temp() string { return filepath.Join(w.root, tempDir) }

// Results is the folder whose content becomes the outputs.
func (w Workspace) Results() string { return filepath.Join(w.Files(), job.ResultsDir) }

// LockPath is a file that is locked as long as the program or anything it started may live. Its
// name on the disk stays: after an upgrade a server meets programs that its predecessor started.
func (w Workspace) LockPath() string { return filepath.Join(w.root, "hold") }

// Root is the folder that all of the workspace lies in.
func (w Workspace) Root() string { return w.root }

// Exists reports whether there is anything of the workspace.
func (w Workspace) Exists() bool {
	_, err := os.Lstat(w.root)
	return err == nil
}

// ExitRecord is the name of the record in which Execute saves how the program ended.
const ExitRecord = "exit.json"

// Reset makes the workspace as it is before an attempt: empty, but for the log of earlier attempts,
// which the next one continues. It ends with ctx.
func (w Workspace) Reset(ctx context.Context) error {
	for _, dir := range []string{w.Files(), w.Temp(), filepath.Join(w.root, prepareDir)} {
		if err := fstree.Remove(ctx, dir); err != nil {
			return fmt.Errorf("empty the workspace: %w", err)
		}
	}
	if err := os.MkdirAll(w.root, 0o700); err != nil {
		return fmt.Errorf("make the workspace: %w", err)
	}
	root, err := os.OpenRoot(w.root)
	if err != nil {
		return fmt.Errorf("make the workspace: %w", err)
	}
	defer root.Close()
	for _, name := range []string{ExitRecord, preparedRecord, archiveFile, unpackedFile, stdinFile} {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("empty the workspace: %w", err)
		}
	}
	for _, dir := range []string{filesDir, tempDir, filesDir + "/" + job.ResultsDir} {
		if err := root.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make the workspace: %w", err)
		}
	}
	return nil
}

// Remove deletes the workspace, which can take long. It ends with ctx.
func (w Workspace) Remove(ctx context.Context) error { return fstree.Remove(ctx, w.root) }

// MoveTo moves the workspace to another path of the same file system, whatever is in it, for others
// to delete.
func (w Workspace) MoveTo(path string) error {
	err := os.Rename(w.root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// openFolder opens a folder of the workspace, and makes it if it is missing. A link in its place is
// an error.
func (w Workspace) openFolder(name string) (*os.Root, error) {
	if err := os.MkdirAll(w.root, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(w.root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder: %w", name, fs.ErrInvalid)
	}
	return root.OpenRoot(name)
}

// OpenLog opens the log, which goes on over all attempts.
func (w Workspace) OpenLog() (spool.Files, error) { return w.openSpool(logDir) }

func (w Workspace) openSpool(name string) (spool.Files, error) {
	dir, err := w.openFolder(name)
	if err != nil {
		return spool.Files{}, fmt.Errorf("open log: %w", err)
	}
	defer dir.Close()
	return spool.Open(dir)
}

// openStdin opens what fetchStdin has stored.
func (w Workspace) openStdin(want *job.File) (*os.File, error) {
	root, err := os.OpenRoot(w.root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(stdinFile, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != want.Size) {
		err = fmt.Errorf("%s: %w: it is not what was fetched", stdinFile, fs.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
