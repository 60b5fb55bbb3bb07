package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/token"
)

// What Argo's argoexec took around the same program, measured once on a machine of this kind. It
// cannot be built for each run: the module (v3.7.3), as the Go module proxy has it, lacks a file.
const (
	argoexecWall = 1247.0 // ms
	argoexecCPU  = 134.0  // ms
)

// threeStarts is why the agent cannot be much faster.
const threeStarts = "it is three starts of a Go program, and calls of the artifacts function, one after the other"

// agent measures what the agent adds to a program that does nothing: all three parts of it,
// fetching the program, running it, storing its outputs and records.
func agent(ctx context.Context, r *room) ([]line, error) {
	pod, err := r.agentPod(ctx)
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx, pod.run)
	if err != nil {
		return nil, err
	}
	wall, cpu := median(c.column(0, 0)), median(c.column(0, 1))
	const what, against = "agent around " + nothing, "argoexec, figure of an earlier day"
	return []line{
		figure{what: what + ", wall", against: against, unit: milliseconds, limit: 1.0 / 50, missed: threeStarts}.line(wall,
			argoexecWall, wall/argoexecWall, r.rounds),
		figure{what: what + ", CPU", against: against, unit: milliseconds, limit: 1.0 / 10, missed: threeStarts}.line(cpu,
			argoexecCPU, cpu/argoexecCPU, r.rounds),
	}, nil
}

// pod is the root directory in which the agent finds things as in a pod.
type pod struct {
	*room
	root    string
	storage bucket
	server  *process
	program []byte
}

func (r *room) agentPod(ctx context.Context) (*pod, error) {
	b, err := r.bucket("storage")
	if err != nil {
		return nil, err
	}
	p := &pod{room: r, storage: b}
	if p.program, err = os.ReadFile(nothing); err != nil {
		return nil, err
	}
	if p.server, err = r.serveFunction(ctx, "artifacts", b.dir, b.key); err != nil {
		return nil, err
	}
	if p.root, err = r.folder("root"); err != nil {
		return nil, err
	}
	for _, dir := range []string{"tmp", "dev", "proc/self", executor.PodAgentDir, filepath.Dir(executor.PodTokenFile)} {
		if err := os.MkdirAll(filepath.Join(p.root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	return p, errors.Join(
		copyFile(filepath.Join(p.root, "agent"), r.command("agent")),
		os.Symlink("/agent", filepath.Join(p.root, "proc/self/exe")),   // by which it finds its own binary
		os.WriteFile(filepath.Join(p.root, "dev", "null"), nil, 0o600), // the program's standard input
		p.libraries(ctx),
	)
}

// libraries copies what the program needs to be loaded.
func (p *pod) libraries(ctx context.Context) error {
	needs, err := output(ctx, "ldd", nothing)
	if err != nil {
		return nil
	}
	for _, path := range regexp.MustCompile(`/\S+`).FindAllString(needs, -1) {
		if err := os.MkdirAll(filepath.Join(p.root, filepath.Dir(path)), 0o755); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(p.root, path), path); err != nil {
			return err
		}
	}
	return nil
}

// run has the agent run one job, and returns the wall time from the start to the last record, and
// the CPU time of all parts.
func (p *pod) run(ctx context.Context) ([]float64, error) {
	id, err := p.job(ctx)
	if err != nil {
		return nil, err
	}
	work := filepath.Join(p.root, executor.PodWorkDir)
	err = errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755),
		os.WriteFile(filepath.Join(p.root, executor.PodTokenFile), []byte(p.storage.keys.Derive(token.Agent, id)), 0o600))
	if err != nil {
		return nil, err
	}
	vars := map[string]string{"ORCH_BASE_URL": p.server.url(""), "JOB_ID": string(id), "POD_UID": "pod-" + string(id),
		"TMPDIR": "/tmp"}
	part := func(name string) spec { return spec{path: "/agent", args: []string{name}, root: p.root, vars: vars} }
	begin := time.Now()
	sidecar, err := p.start(ctx, part("sidecar"))
	if err != nil {
		return nil, err
	}
	install, err := p.start(ctx, part("install"))
	if err != nil {
		return nil, err
	}
	if err := install.wait(); err != nil {
		return nil, err
	}
	exec, err := p.start(ctx, part("exec"))
	if err != nil {
		return nil, err
	}
	if err := exec.wait(); err != nil {
		return nil, err
	}
	if err := p.appears(ctx, filepath.Join(work, "done.json")); err != nil {
		return nil, err
	}
	wall := millis(time.Since(begin))
	// as Kubernetes does with a sidecar when the others have ended
	if err := sidecar.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return nil, err
	}
	if err := sidecar.wait(); err != nil {
		return nil, err
	}
	return []float64{wall, sidecar.used() + install.used() + exec.used()}, p.over(id)
}

// job stores a job with the program.
func (p *pod) job(ctx context.Context) (job.ID, error) {
	sum := sha256.Sum256(p.program)
	now := time.Now()
	id, err := job.NewID(now, rand.Reader)
	if err != nil {
		return "", err
	}
	s := p.storage.seed
	if err := s.file(ledger.FileKey(id, "run"), bytes.NewReader(p.program)); err != nil {
		return "", err
	}
	return id, s.flush(ctx, func(l *ledger.Ledger) error {
		return l.Accept(ctx, &job.Index{
			JobID: id, JobName: id.Name(), Namespace: "bench", CreatedAt: id.Created(),
			Spec:  job.Spec{Runtime: "binary", Entrypoint: "run", TTLSecondsAfterFinished: 3600},
			Files: []job.File{{Name: "run", Size: int64(len(p.program)), SHA256: hex.EncodeToString(sum[:])}},
		})
	})
}

// over makes sure that the agent has done all it is for.
func (p *pod) over(id job.ID) error {
	data, err := os.ReadFile(filepath.Join(p.storage.dir, string(id), job.StatusFile))
	if err == nil && !bytes.Contains(data, []byte(`"Succeeded"`)) {
		err = fmt.Errorf("the job ended otherwise: %s", data)
	}
	return err
}

// appears waits for a file.
func (p *pod) appears(ctx context.Context, path string) error {
	for end := time.Now().Add(startTimeout); ; {
		_, err := os.Stat(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		time.Sleep(startPoll)
	}
}
