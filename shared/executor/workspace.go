package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go-job-orchestrator/shared/fstree"
	"go-job-orchestrator/shared/job"
)

// Workspace is the folders of one job on this machine. The program sees Files, whose results/ become the
// outputs, and Temp. The logs lie outside, so that no program can put something else in their place; in results/ there are
// links to them.
type Workspace struct{ root string }

// NewWorkspace returns the workspace in the folder root, which belongs to it alone.
func NewWorkspace(root string) Workspace { return Workspace{root: root} }

// Files is the program's working directory.
func (w Workspace) Files() string { return filepath.Join(w.root, "files") }

// Temp is the program's folder for temporary files.
func (w Workspace) Temp() string { return filepath.Join(w.root, "tmp") }

// Results is the folder whose content becomes the outputs.
func (w Workspace) Results() string { return filepath.Join(w.Files(), job.ResultsDir) }

// HoldPath is a file that is locked as long as the program or anything it started may live.
func (w Workspace) HoldPath() string { return filepath.Join(w.root, "hold") }

// ExitPath is where Execute saves how the program ended.
func (w Workspace) ExitPath() string { return filepath.Join(w.root, "exit.json") }

// LogPath is where a stream's log grows, which has the name of a file in results/.
func (w Workspace) LogPath(name string) string { return filepath.Join(w.root, "log", name) }

// Root is the folder that all of the workspace lies in.
func (w Workspace) Root() string { return w.root }

// Exists reports whether there is anything of the workspace.
func (w Workspace) Exists() bool {
	_, err := os.Lstat(w.root)
	return err == nil
}

// Reset makes the workspace as it is before an attempt: empty, but for the logs of earlier attempts, which
// the next one continues. It ends with ctx.
func (w Workspace) Reset(ctx context.Context) error {
	for _, dir := range []string{w.Files(), w.Temp()} {
		if err := fstree.Remove(ctx, dir); err != nil {
			return fmt.Errorf("empty the workspace: %w", err)
		}
	}
	if err := os.Remove(w.ExitPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("empty the workspace: %w", err)
	}
	return w.makeFolders()
}

func (w Workspace) makeFolders() error {
	for _, dir := range []string{w.Files(), w.Temp(), filepath.Join(w.root, "log")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the workspace: %w", err)
		}
	}
	if err := os.Mkdir(w.Results(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) { // whatever a program put there
		return fmt.Errorf("make the workspace: %w", err)
	}
	return nil
}

// Remove deletes the workspace, which can take long. It ends with ctx.
func (w Workspace) Remove(ctx context.Context) error { return fstree.Remove(ctx, w.root) }

// MoveTo moves the workspace to another path of the same file system, whatever is in it, for others to delete.
func (w Workspace) MoveTo(path string) error {
	err := os.Rename(w.root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// logs are the two files the program's streams go to.
type logs struct{ stdout, stderr *os.File }

func (l logs) Close() error { return errors.Join(l.stdout.Close(), l.stderr.Close()) }

// openLogs opens the logs for appending and links them into results/.
func (w Workspace) openLogs() (logs, error) {
	if err := w.makeFolders(); err != nil { // cut off while it was made
		return logs{}, err
	}
	stdout, err := w.openLog(job.StdoutFile)
	if err != nil {
		return logs{}, err
	}
	stderr, err := w.openLog(job.StderrFile)
	if err != nil {
		stdout.Close()
		return logs{}, err
	}
	return logs{stdout, stderr}, nil
}

// CompleteLogs calls complete for both logs with the name, the size and what appends to it.
func (w Workspace) CompleteLogs(complete func(name string, size int64, end io.Writer) error) error {
	l, err := w.openLogs()
	if err != nil {
		return err
	}
	for name, f := range map[string]*os.File{job.StdoutFile: l.stdout, job.StderrFile: l.stderr} {
		info, statErr := f.Stat()
		err = errors.Join(err, statErr)
		if statErr == nil {
			err = errors.Join(err, complete(name, info.Size(), f))
		}
	}
	return errors.Join(err, l.Close())
}

func (w Workspace) openLog(name string) (*os.File, error) {
	path, link := w.LogPath(name), filepath.Join(w.Results(), name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644) //nolint:gosec // the program may read its own log
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if os.Link(path, link) != nil {
		return f, nil // a program that is no more had removed results, or put something else there
	}
	f.Close()
	// By this name the program can open it again, as /dev/stdout: the folder is its own.
	f, err = os.OpenFile(link, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// fetch brings the uploaded files into the workspace and verifies that they are what was accepted.
func fetch(ctx context.Context, from Artifacts, files []job.File, dir string) error {
	for _, f := range files {
		if err := fetchFile(ctx, from, f, filepath.Join(dir, filepath.FromSlash(f.Name))); err != nil {
			return fmt.Errorf("fetch %s: %w", f.Name, err)
		}
	}
	return nil
}

func fetchFile(ctx context.Context, from Artifacts, want job.File, path string) error {
	in, err := from.Open(ctx, want.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	// What another job has left comes with its folders.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the program runs as another user
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // the program runs as another user
	if err != nil {
		return err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, hash), io.LimitReader(in, want.Size+1))
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if n != want.Size || hex.EncodeToString(hash.Sum(nil)) != want.SHA256 {
		return errors.New("the stored file is not the one that was accepted: size or SHA-256 differ")
	}
	return nil
}
