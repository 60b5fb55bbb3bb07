package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"go-job-orchestrator/shared/fstree"
)

// nobody is the user and group that programs run as when the server is root. It owns no files, and
// exists everywhere, also in containers with few users.
const nobody = 65534

// signalScopeABI is the first version of Landlock that can keep a program from signalling others.
const signalScopeABI = 6

// Sandbox starts programs at the level that Open reached.
type Sandbox struct {
	config Config
	log    *slog.Logger
	level  Level
	user   bool // programs run in a user namespace because the server is not root
	// ownUserNS: the server is root, and each program runs in a user namespace of its own. The kernel
	// counts processes by user and user namespace, so no program can use up the number of another.
	ownUserNS bool
	weaker    string
	abi       int
	cgroup    *cgroup
	quota     *quota // nil: workspaces are watched
	cpus      []int
	nextCPU   atomic.Uint64
}

// Open tries the levels one after the other and returns a Sandbox at the first that works.
func Open(ctx context.Context, c Config) (*Sandbox, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.ReadPaths = sorted(c.ReadPaths)
	s := &Sandbox{config: c, log: c.Logger, cgroup: findCgroup(c.Logger), cpus: allowedCPUs()}
	if abi, err := landlock.LandlockGetABIVersion(); err == nil {
		s.abi = abi
	}
	var failures []string
	for _, try := range s.candidates() {
		s.level, s.user, s.ownUserNS = try.level, try.user, try.ownUserNS
		err := s.probe(ctx)
		if err == nil {
			s.weaker = strings.Join(failures, "; ")
			if s.weaker != "" {
				s.log.Warn("sandbox below the best level", "level", s.level, "because", s.weaker)
			}
			s.openQuota()
			return s, nil
		}
		failures = append(failures, fmt.Sprintf("%s: %v", try.level, err))
	}
	return nil, fmt.Errorf("no isolation that keeps programs from the storage and the server (%s); allow user "+
		"namespaces, "+
		"or use a kernel with Landlock ABI %d, or accept less with SANDBOX=auto", strings.Join(failures, "; "),
		signalScopeABI)
}

// openQuota limits workspaces by project quotas where that is possible. The owner of a file may
// move it to another project, but not from a user namespace (ioctl_fssetxattr(2)). Without a user
// namespace a program could leave its project, and so its quota.
func (s *Sandbox) openQuota() {
	if !s.ownUserNS {
		return
	}
	q, err := findQuota(s.config.WorkDir)
	if err != nil {
		s.log.Debug("no project quota; workspaces are watched", "dir", s.config.WorkDir, "error", err)
		return
	}
	s.quota = q
}

type candidate struct {
	level           Level
	user, ownUserNS bool
}

func (s *Sandbox) candidates() []candidate {
	levels := s.config.levels
	if levels == nil {
		levels = map[Mode][]Level{
			Off: {None}, Required: {Namespaces, Landlock},
		}[s.config.Mode]
	}
	if levels == nil {
		levels = []Level{Namespaces, Landlock, None}
	}
	var list []candidate
	for _, level := range levels {
		if level == Namespaces && os.Geteuid() == 0 {
			list = append(list, candidate{level: level, ownUserNS: true}, candidate{level: level})
		}
		list = append(list, candidate{level: level, user: level == Namespaces})
	}
	return list
}

// probeTimeout bounds how long it may take to start the smallest program.
const probeTimeout = 20 * time.Second

// probe starts a program that does nothing at the level that is set.
func (s *Sandbox) probe(ctx context.Context) error {
	if s.level == Landlock {
		if s.abi < signalScopeABI {
			return fmt.Errorf("the kernel's Landlock has ABI %d; %d is needed to keep programs from signalling others", s.abi,
				signalScopeABI)
		}
		if err := s.checkHidden(); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "sandbox-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := s.Prepare(dir); err != nil {
		return err
	}
	p, err := s.start(Program{Workspace: dir, Tmp: dir, Path: "/proc/self/exe"}, true)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Kill() })
	defer stop()
	timer := time.AfterFunc(probeTimeout, func() { _ = p.Kill() })
	defer timer.Stop()
	exit, err := p.Wait()
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return fmt.Errorf("a trial program ended with code %d %s", exit.Code, exit.Message)
	}
	return nil
}

// checkHidden makes sure that no hidden folder lies in a folder that programs may read. Landlock
// can add rights below a folder, but not remove any.
func (s *Sandbox) checkHidden() error {
	for _, hidden := range s.config.HidePaths {
		for _, folder := range append(systemFolders(), s.config.ReadPaths...) {
			if within(hidden, folder) {
				return fmt.Errorf("%s lies in %s, which programs can read", hidden, folder)
			}
		}
	}
	return nil
}

// CheckReadable returns an error if programs must not read a path, because it shows a hidden folder
// or is in one.
func (s *Sandbox) CheckReadable(path string) error {
	for _, hidden := range s.config.HidePaths {
		if within(hidden, path) {
			return fmt.Errorf("%s has %s in it, which no program may see", path, hidden)
		}
		if within(path, hidden) {
			return fmt.Errorf("%s is in %s, which no program may see", path, hidden)
		}
	}
	return nil
}

// sorted joins lists of paths. Each folder comes before what is in it.
func sorted(lists ...[]string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(lists...))))
}

func within(path, folder string) bool {
	rel, err := filepath.Rel(realPath(folder), realPath(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// Level returns the level that was reached.
func (s *Sandbox) Level() Level { return s.level }

// Describe says in a few words how programs are isolated and how limits are enforced.
func (s *Sandbox) Describe() string {
	parts := string(s.level)
	switch s.level {
	case Namespaces:
		if s.user {
			parts = "user " + parts
		}
		if s.abi > 0 {
			parts += fmt.Sprintf("+landlock(%d)", s.abi)
		}
		parts += "+seccomp"
	case Landlock:
		parts = fmt.Sprintf("landlock(%d)+seccomp", s.abi)
	case None:
		parts = "NONE: programs can do what this server can"
	}
	workspace := "workspace watched"
	if s.quota != nil {
		workspace = "workspace by quota"
	}
	if s.cgroup != nil {
		return parts + ", limits: memory and cpu by cgroup, " + workspace
	}
	return parts + ", limits: memory watched, cpu pinned, " + workspace
}

// Paths returns where a program sees its folders.
func (s *Sandbox) Paths(workspace, tmp string) (inWorkspace, inTmp string) {
	if s.level == Namespaces {
		return workspacePath, tmpPath
	}
	return workspace, tmp
}

// programUser returns the user and group that programs run as, or -1 for the server's own.
func (s *Sandbox) programUser() (uid, gid int) {
	if os.Geteuid() == 0 && s.level == Namespaces && !s.user {
		return nobody, nobody
	}
	return -1, -1
}

// Prepare gives a folder and all that is in it to the user that programs run as. It follows no
// links.
func (s *Sandbox) Prepare(dir string) error {
	uid, gid := s.programUser()
	if uid < 0 {
		return nil
	}
	if err := chownTree(dir, uid, gid); err != nil {
		return fmt.Errorf("prepare workspace: %w", err)
	}
	return nil
}

// uploadDepth bounds the depth of the folders that Prepare gives to a program. Uploaded files have
// names of at most a thousand bytes.
const uploadDepth = 500

func chownTree(dir string, uid, gid int) error {
	root, err := fstree.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Chown(uid, gid); err != nil {
		return err
	}
	return fstree.Walk{Depth: uploadDepth}.Tree(context.Background(), root, func(e *fstree.Entry, err error) error {
		if err != nil {
			return err
		}
		return e.Chown(uid, gid)
	})
}
