package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go-job-orchestrator/shared/dependencies"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/indexgate"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/treecache"
)

// packages installs what programs need on this machine.
type packages struct {
	settings dependencies.Settings
	cache    *treecache.Cache
	gate     *indexgate.Listener // nil: no indexes are set
	answers  prepare.Answers
	path     string // of installers, after that of programs
}

func openPackages(env *platform.Env, r *runner) (*packages, error) {
	p := &packages{cache: &treecache.Cache{Store: r.store, Now: env.Now, Log: env.Log, Room: r.room}}
	if err := env.Load(&p.settings); err != nil {
		return nil, err
	}
	p.cache.Limit = int64(p.settings.Cache)
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	gate, err := indexgate.New(&p.settings.Indexes, key, env.Log)
	if err != nil {
		return nil, err
	}
	if gate != nil {
		p.gate = &indexgate.Listener{Gate: gate}
	}
	return p, nil
}

// readable returns what installers need to read, and adds their folders to their PATH.
func (p *packages) readable(searchPath string) []string {
	if p.settings.Mode == dependencies.Off {
		return nil
	}
	var list []string
	for _, name := range []string{"npm", "uv"} {
		link := find(name, searchPath)
		real, err := filepath.EvalSymlinks(link)
		switch {
		case link == "" || err != nil:
			continue
		case name == "npm": // the program's package
			list = append(list, link, filepath.Dir(filepath.Dir(real)))
		case !isBinary(real): // a shim of a version manager, which finds nothing in a sandbox
			continue
		default:
			list = append(list, link, real)
		}
		if dir := filepath.Dir(link); !slices.Contains(filepath.SplitList(p.path), dir) {
			p.path += string(filepath.ListSeparator) + dir
		}
	}
	if p.settings.Mode == dependencies.Offline && p.settings.Wheelhouse != "" {
		list = append(list, p.settings.Wheelhouse)
	}
	return slices.DeleteFunc(list, func(path string) bool { return path == "/" || path == "." })
}

// find returns the path of a command, or "".
func find(name, searchPath string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err == nil && filepath.IsAbs(dir) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

func isBinary(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head job.Head
	if _, err := io.CopyN(&head, f, 4); err != nil {
		return false
	}
	return string(head) == "\x7fELF"
}

// close ends what others may still be connected to.
func (p *packages) close() {
	if p.gate != nil {
		_ = p.gate.Close() // the process is about to end
	}
}

// jobPackages is prepare.Service for one job.
type jobPackages struct {
	*packages
	index  *job.Index
	holder string
	closed func() // of the gate; nil: not open
}

var _ prepare.Service = (*jobPackages)(nil)

func (p *jobPackages) Plan(_ context.Context, s *prepare.Sources) (*prepare.Plan, error) {
	plan, err := p.settings.Plan(s)
	if err != nil || plan == nil || plan.Offline || p.gate == nil {
		return plan, err
	}
	base, closed, err := p.gate.Open()
	if err != nil {
		return nil, err
	}
	p.closed = closed
	plan.Env = p.gate.Gate.Env(base, s)
	return plan, nil
}

func (p *jobPackages) Claim(ctx context.Context, key string) (prepare.Turn, error) {
	return p.cache.Claim(ctx, p.index.Owner, key, p.holder)
}

func (p *jobPackages) OpenPackages(ctx context.Context, key string) (io.ReadCloser, error) {
	return p.cache.Open(ctx, p.index.Owner, key)
}

func (p *jobPackages) StorePackages(ctx context.Context, key string, tar io.Reader) error {
	return p.cache.Put(ctx, p.index.Owner, key, p.holder, tar)
}

func (p *jobPackages) Release(ctx context.Context, key string) error {
	return p.cache.Release(ctx, p.index.Owner, key, p.holder)
}

// close closes the gate: the program is not to reach the indexes through it.
func (p *jobPackages) close() {
	if p.closed != nil {
		p.closed()
	}
}

// ready brings the files and installs the packages of a job's next attempt, before it is claimed. It
// returns nil, or how the attempt ends.
func (r *runner) ready(
	ctx context.Context, task *executor.Task, before []job.Attempt, from time.Time,
) (*executor.Result, error) {
	index := task.Index
	off := r.packages.settings.Mode == dependencies.Off || index.Dependencies == job.DependenciesOff
	if off || index.Runtime != "python" && index.Runtime != "node" {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	installed, err := r.machine.Lookup(index.Runtime)
	if err != nil {
		return nil, err
	}
	// An earlier process may have died while it installed something.
	if lock := task.Workspace.LockPath(); r.interrupted[index.JobID] && task.Workspace.Exists() &&
		!awaitUnlocked(ctx, lock, 2*r.settings.Grace+time.Minute) && ctx.Err() == nil {
		return nil, fmt.Errorf("an installer of an earlier server is still running: %w", job.ErrUnavailable)
	}
	service := &jobPackages{packages: r.packages, index: index, holder: r.owner + "/" + string(index.JobID)}
	defer service.close()
	files, temp := r.sandbox.paths(task.Workspace)
	task.Packages = &executor.Packages{
		Service: service, Interpreter: installed.Path, SearchPath: r.machine.SearchPath() + r.packages.path,
		Files: files, Temp: temp, Answers: &r.packages.answers, RetryPause: r.settings.RetryBackoff,
		Begin: func(ctx context.Context) error {
			return r.persist(ctx, func() error { return r.ledger.BeginPreparing(ctx, index.JobID) })
		},
	}
	if index.TimeoutSeconds > 0 {
		deadline := from.Add(time.Duration(index.TimeoutSeconds) * time.Second)
		if len(before) > 0 {
			deadline = index.Deadline(before)
		}
		var stop context.CancelFunc
		ctx, stop = context.WithDeadlineCause(ctx, deadline, executor.ErrDeadline)
		defer stop()
	}
	result := task.Ready(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, executor.ErrDeadline) {
		return nil, cause // cancelled or stopping: no attempt is to be made
	}
	return result, nil
}
