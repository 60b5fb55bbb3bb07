package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
)

// fetchTries is how often the files are fetched anew after one arrived cut off or changed; each call of each try is repeated as well.
const fetchTries = 3

// fetch prepares the workspace: the agent's binary, the log of earlier attempts, the uploaded files, and last the task.
func (r *remote) fetch(ctx context.Context) error {
	if err := r.installBinary(); err != nil {
		return err
	}
	t, err := r.open(ctx)
	if isMoot(err) {
		r.log.Info("nothing to do", "error", err)
		t, err = &task{}, nil
	}
	if err != nil {
		return err
	}
	return executor.WriteRecord(r.task(), t)
}

func (r *remote) open(ctx context.Context) (*task, error) {
	t := &task{Grace: r.settings.Grace}
	var err error
	if t.Index, err = r.client.index(ctx); err != nil {
		return nil, err
	}
	if t.Log, err = r.client.logState(ctx); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		if err = r.fill(ctx, t); err == nil || n == fetchTries || ctx.Err() != nil || isMoot(err) {
			return t, err
		}
		r.log.Warn("files not fetched; trying again", "error", err)
	}
}

func (r *remote) fill(ctx context.Context, t *task) error {
	w := r.workspace()
	if err := w.Reset(); err != nil {
		return err
	}
	for stream, name := range map[joblog.Stream]string{joblog.Stdout: job.StdoutFile, joblog.Stderr: job.StderrFile} {
		if err := r.restoreLog(ctx, stream, w.LogPath(name), *t.Log.Of(stream)); err != nil {
			return err
		}
	}
	files := &executor.Task{Index: t.Index, Workspace: w, From: r.client}
	if t.Index.Runtime == "binary" {
		files.Executable = t.Index.Entrypoint
	}
	return files.Fetch(ctx)
}

// restoreLog begins a log with what earlier attempts wrote.
func (r *remote) restoreLog(ctx context.Context, stream joblog.Stream, path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if size > 0 {
		err = r.client.copyLog(ctx, stream, size, f)
	}
	return errors.Join(err, f.Close())
}

// installBinary copies the agent's own executable to where exec finds it: the program's image may have no shell and nothing to copy with.
func (r *remote) installBinary() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the agent's own binary: %w", err)
	}
	in, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("install the agent: %w", err)
	}
	defer in.Close()
	path := filepath.Join(r.binary, executor.PodAgentName)
	out, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755) //nolint:gosec // it is a program
	if err != nil {
		return fmt.Errorf("install the agent: %w", err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("install the agent: %w", err)
	}
	return nil
}

// fetchTimeout bounds all of fetch, so that a job whose files cannot be had fails and says so.
const fetchTimeout = time.Hour
