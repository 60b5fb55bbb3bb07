package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go-job-orchestrator/shared/job"
)

// Fetch brings the uploaded files into the workspace, unpacks the archive if there is one, and
// verifies that they are what was accepted.
func (t *Task) Fetch(ctx context.Context) error {
	dir, err := t.Workspace.openFolder(filesDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, f := range t.Index.Files {
		if err := t.fetch(ctx, f, dir); err != nil {
			return fmt.Errorf("fetch %s: %w", f.Name, err)
		}
	}
	return t.fetchStdin(ctx)
}

// fetchStdin brings what the program reads as its standard input.
func (t *Task) fetchStdin(ctx context.Context) error {
	if t.Index.Stdin == nil {
		return nil
	}
	root, err := os.OpenRoot(t.Workspace.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	if err := storeFile(ctx, t.From, *t.Index.Stdin, root, stdinFile, stdinMode); err != nil {
		return fmt.Errorf("fetch stdin: %w", err)
	}
	return root.Chmod(stdinFile, stdinMode) // whatever the umask
}

func (t *Task) fetch(ctx context.Context, f job.File, dir *os.Root) error {
	if f.Archive != "" {
		return t.unpack(ctx, f, dir)
	}
	if t.Index.Runtime == "binary" && f.Name == t.Index.Entrypoint { // jobs of earlier versions have no modes
		f.Mode = job.ModeExecutable
	}
	return fetchFile(ctx, t.From, f, dir, fetchTime(t.Index))
}

func fetchFile(ctx context.Context, from Artifacts, want job.File, dir *os.Root, modified time.Time) error {
	name := filepath.FromSlash(want.Name)
	// What another job has left comes with its folders.
	if err := dir.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := storeFile(ctx, from, want, dir, name, want.Perm()); err != nil {
		return err
	}
	return dir.Chtimes(name, modified, modified)
}

// storeFile writes a new file, and verifies that it is what was accepted.
func storeFile(ctx context.Context, from Artifacts, want job.File, dir *os.Root, name string, mode fs.FileMode) error {
	in, err := from.Open(ctx, want.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
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
		return errNotAccepted
	}
	return nil
}

// fetchTime is the time that uploaded files get as that of their last change, so that others can
// tell which ones the program has changed. Whole seconds are what every file system keeps.
func fetchTime(index *job.Index) time.Time {
	if index.CreatedAt.IsZero() {
		return time.Time{}
	}
	return index.CreatedAt.Truncate(time.Second)
}
