package process

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/fstree"
)

// trash removes workspaces in the background, one at a time: a program can leave a tree that takes
// minutes to remove, and no other job is to wait for that. What is in its folder when a server
// starts is removed as well.
type trash struct {
	dir   string
	log   *slog.Logger
	more  chan struct{}
	count atomic.Uint64
}

func newTrash(dir string, log *slog.Logger) *trash {
	return &trash{dir: dir, log: log, more: make(chan struct{}, 1)}
}

// discard takes a workspace out of the way of everybody. One that cannot be moved stays until the
// next start.
func (t *trash) discard(w executor.Workspace) {
	name := strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.FormatUint(t.count.Add(1), 36)
	err := os.Mkdir(t.dir, 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = w.MoveTo(filepath.Join(t.dir, name))
	}
	if err != nil {
		t.log.Warn("workspace not removed; the next start tries again", "workspace", w.Root(), "error", err)
		return
	}
	select {
	case t.more <- struct{}{}:
	default: // it is awake
	}
}

// trashRetry is when what could not be removed is tried again.
const trashRetry = time.Minute

// run removes what is discarded until ctx ends.
func (t *trash) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := t.empty(ctx)
		if err != nil && ctx.Err() == nil {
			t.log.Warn("workspaces not removed; will be tried again", "error", err)
		}
		retry := time.NewTimer(trashRetry)
		if err == nil {
			retry.Stop()
		}
		select {
		case <-ctx.Done():
		case <-t.more:
		case <-retry.C:
		}
		retry.Stop()
	}
}

// empty removes all that is there, and goes on after what it cannot remove.
func (t *trash) empty(ctx context.Context) error {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, fstree.Remove(ctx, filepath.Join(t.dir, e.Name())))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}
