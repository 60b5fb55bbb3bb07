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
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/spool"
)

// fetchTries is how often the files are fetched anew after one arrived cut off or changed; each
// call of each try is repeated as well.
const fetchTries = 3

// prepare fills the workspace with the log of earlier attempts and the uploaded files, and last
// writes the task. When this was started anew the task that is there stands: exec may have begun
// with it. An error means that this could not even be told, or that the pod ends.
func (s *sidecar) prepare(ctx context.Context) (*task, error) {
	t := &task{}
	if err := s.workspace().ReadRecord(taskRecord, t); err == nil || !errors.Is(err, os.ErrNotExist) {
		return t, err
	}
	within, end := context.WithTimeout(ctx, fetchTimeout)
	defer end()
	t, err := s.open(within)
	switch {
	case isMoot(err):
		s.log.Info("nothing to do", "error", err)
		t = &task{}
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil:
		t = &task{Failed: err.Error()}
	}
	return t, s.workspace().WriteRecord(taskRecord, t)
}

func (s *sidecar) open(ctx context.Context) (*task, error) {
	t := &task{Grace: s.settings.Grace, MaxLog: s.settings.MaxLog}
	var err error
	if t.Index, err = s.client.index(ctx); err != nil {
		return nil, err
	}
	if t.Index.Retries > 0 { // else there is no earlier attempt whose log could go on
		if t.Log, err = s.client.logState(ctx); err != nil {
			return nil, err
		}
	}
	for n := 1; ; n++ {
		if err = s.fill(ctx, t); err == nil || n == fetchTries || ctx.Err() != nil || isMoot(err) {
			return t, err
		}
		s.log.Warn("files not fetched; trying again", "error", err)
	}
}

func (s *sidecar) fill(ctx context.Context, t *task) error {
	w := s.workspace()
	if err := w.Reset(ctx); err != nil {
		return err
	}
	if err := s.restoreLog(ctx, w, t.Log); err != nil {
		return err
	}
	files := &executor.Task{Index: t.Index, Workspace: w, From: s.client}
	t.Timing.FetchStartedAt = time.Now().UTC()
	if err := files.Fetch(ctx); err != nil {
		return err
	}
	t.Timing.FetchFinishedAt = time.Now().UTC()
	t.Prepare = files.NeedsPackages()
	return nil
}

// restoreLog begins the log with what earlier attempts wrote.
func (s *sidecar) restoreLog(ctx context.Context, w executor.Workspace, before joblog.State) error {
	log, err := w.OpenLog()
	if err != nil {
		return err
	}
	defer log.Close()
	if err := log.Truncate(); err != nil { // an earlier try was cut off
		return err
	}
	for _, stream := range []spool.Stream{spool.Stdout, spool.Stderr} {
		if size := *before.Of(stream); size > 0 {
			if err := s.client.copyStream(ctx, stream, size, log.Of(stream)); err != nil {
				return err
			}
		}
	}
	if before.Total() == 0 {
		return nil
	}
	if err := s.client.copyOrder(ctx, log.Order); err != nil {
		return err
	}
	return log.Repair() // the order may tell of what was shipped since
}

// install puts in place what exec's container is made with.
func (p paths) install() error {
	if err := p.installAccount(os.Getuid(), os.Getgid()); err != nil {
		return err
	}
	return p.installAgent()
}

// installAccount writes the accounts that the program sees: its own, whose home is where it starts,
// and those that are the same everywhere. Nothing can add to the files of the program's image,
// which do not know the user of the pod.
func (p paths) installAccount(uid, gid int) error {
	for name, text := range map[string]string{
		executor.PodPasswd: fmt.Sprintf("job:x:%d:%d:job:%s:/bin/sh\n", uid, gid, p.workspace().Files()) +
			"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n" +
			"bin:x:2:2:bin:/bin:/usr/sbin/nologin\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		executor.PodGroup: fmt.Sprintf("job:x:%d:\n", gid) +
			"root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nnogroup:x:65534:\n",
	} {
		if err := os.WriteFile(filepath.Join(p.binary, name), []byte(text), 0o644); err != nil { //nolint:gosec // for programs
			return fmt.Errorf("install the account: %w", err)
		}
	}
	return nil
}

// installAgent copies the agent's own executable to where exec's container finds it: the program's
// image may have no shell and nothing to copy with.
func (p paths) installAgent() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the agent's own binary: %w", err)
	}
	in, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("install the agent: %w", err)
	}
	defer in.Close()
	path := filepath.Join(p.binary, executor.PodAgentName)
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

// fetchTimeout bounds all of prepare, so that a job whose files cannot be had fails and says so.
const fetchTimeout = time.Hour
