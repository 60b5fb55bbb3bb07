package prepare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go-job-orchestrator/shared/backoff"
	"go-job-orchestrator/shared/fstree"
	"go-job-orchestrator/shared/job"
)

// Preparer installs the packages of one job.
type Preparer struct {
	Service Service
	Run     Run
	// Interpreter is that of the job's runtime, as steps see it: a path, or a name in PATH.
	Interpreter string
	// Files and Temp are the program's folders on this side; StepFiles and StepTemp are where steps see
	// them.
	Files, Temp, StepFiles, StepTemp string
	// Give gives a folder to the user that steps and the program run as. It may be nil.
	Give func(dir string) error
	// Note writes a line to the log of the installation.
	Note func(text string)
	Log  *slog.Logger
	// Answers remembers what interpreters said where they stay the same; nil: they are asked each time.
	Answers *Answers
	// RetryPause is the pause before an index that could not be reached is tried again.
	RetryPause time.Duration
}

// The bounds of waiting.
const (
	networkTries = 3
	renewEvery   = 10 * time.Second // a turn to build is asked for again, so that it is not taken for dead
	waitPoll     = 250 * time.Millisecond
	maxWait      = 10 * time.Minute // for another job that builds the same
	cacheTries   = 3                // how often an entry is read that turns out to be spoiled
)

// Prepare installs what the sources name. It returns nil if there is nothing to install. An error of
// type *Failure is the job's; ctx ends it with its cause.
func (p *Preparer) Prepare(ctx context.Context, s *Sources) (*Installed, error) {
	plan, err := p.Service.Plan(ctx, s)
	switch {
	case errors.Is(err, job.ErrInvalid):
		return nil, &Failure{Message: err.Error()}
	case err != nil || plan == nil:
		return nil, err
	}
	timedOut := plan.tooSlow()
	within, stop := context.WithTimeoutCause(ctx, plan.Timeout, timedOut)
	defer stop()
	for _, warning := range plan.Warnings {
		p.Note("warning: " + warning)
	}
	one := &preparation{Preparer: p, plan: plan, at: places{p.StepFiles, p.StepTemp}, end: time.Now().Add(plan.Timeout)}
	installed, err := one.do(within)
	switch {
	case err == nil:
		return installed, p.clean(ctx)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case within.Err() != nil:
		return nil, timedOut
	}
	return nil, err
}

func (p *Plan) tooSlow() *Failure {
	return &Failure{Message: fmt.Sprintf("the packages of %s were not installed within %s (PREPARE_TIMEOUT)", p.From,
		p.Timeout)}
}

// clean leaves the program an empty folder for temporary files.
func (p *Preparer) clean(ctx context.Context) error {
	if err := fstree.Remove(ctx, p.Temp); err != nil {
		return fmt.Errorf("empty the folder for temporary files: %w", err)
	}
	if err := os.Mkdir(p.Temp, 0o700); err != nil {
		return fmt.Errorf("empty the folder for temporary files: %w", err)
	}
	return p.give(p.Temp)
}

func (p *Preparer) give(dir string) error {
	if p.Give == nil {
		return nil
	}
	return p.Give(dir)
}

// preparation is one installation.
type preparation struct {
	*Preparer
	plan *Plan
	at   places
	end  time.Time
}

func (p *preparation) do(ctx context.Context) (*Installed, error) {
	about, err := p.ask(ctx)
	if err != nil {
		return nil, err
	}
	if p.plan.Runtime == "python" {
		if _, err := os.Lstat(filepath.Join(p.Files, pythonTree)); err == nil {
			return nil, &Failure{Message: fmt.Sprintf("the job brings a folder %s, which is where the packages of %s are "+
				"installed; leave it out", pythonTree, p.plan.From)}
		}
	}
	key := p.key(about)
	if trees, err := p.cached(ctx, key); err != nil || trees != nil {
		return p.installed(trees), err
	}
	defer p.keepTurn(ctx, key)()
	trees, err := p.build(ctx, about)
	if err != nil {
		if err := p.Service.Release(context.WithoutCancel(ctx), key); err != nil {
			p.Log.Warn("others wait longer than they need to for packages", "error", err)
		}
		return nil, err
	}
	p.store(ctx, key, trees)
	return p.installed(trees), nil
}

// ask asks the interpreter about itself.
func (p *preparation) ask(ctx context.Context) (info, error) {
	if about, known := p.Answers.get(p.Interpreter); known {
		return about, nil
	}
	out, err := p.run(ctx, question(p.plan.Runtime, p.Interpreter))
	if err != nil {
		return info{}, err
	}
	about, err := parseInfo(out.Output)
	if err != nil || out.Code != 0 {
		return info{}, &Failure{Message: fmt.Sprintf("the interpreter %s does not run: %s", p.Interpreter, tail(out.Log)),
			Reason: out.Reason}
	}
	p.Answers.put(p.Interpreter, about)
	return about, nil
}

func (p *preparation) installed(trees []string) *Installed {
	return &Installed{Runtime: p.plan.Runtime, Trees: trees}
}

// key is what the installed trees follow from. Links in a virtual environment lead to the
// interpreter, so its path counts.
func (p *preparation) key(i info) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{"1", p.plan.Digest, p.plan.Runtime, i.Path, i.Version, i.Platform},
		"\x00")))
	return hex.EncodeToString(sum[:])
}

// cached brings the trees from the cache. It returns none when the caller is to build them: nobody
// has, or whoever does takes too long.
func (p *preparation) cached(ctx context.Context, key string) ([]string, error) {
	said := false
	until := time.Now().Add(maxWait)
	for tries := 0; tries < cacheTries && time.Now().Before(until); {
		turn, err := p.Service.Claim(ctx, key)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			p.Log.Warn("cache of packages not asked", "error", err)
			return nil, nil
		case turn == Build:
			return nil, nil
		case turn == Wait:
			if !said {
				p.Note("another job installs the same packages; waiting for it")
				said = true
			}
			if !backoff.Wait(ctx, waitPoll) {
				return nil, ctx.Err()
			}
			continue
		}
		tries++
		trees, err := p.restore(ctx, key)
		if err == nil {
			p.Note("the packages of " + p.plan.From + " were in the cache")
			return trees, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p.Log.Warn("cached packages not usable", "key", key, "error", err)
		for _, tree := range trees {
			if err := fstree.Remove(ctx, filepath.Join(p.Files, filepath.FromSlash(tree))); err != nil {
				return nil, fmt.Errorf("remove a half of the cached packages: %w", err)
			}
		}
	}
	return nil, nil
}

func (p *preparation) restore(ctx context.Context, key string) ([]string, error) {
	in, err := p.Service.OpenPackages(ctx, key)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	trees, err := Unpack(ctx, p.Files, treeName(p.plan.Runtime), in)
	if err != nil {
		return trees, err
	}
	for _, tree := range trees {
		dir := filepath.Join(p.Files, filepath.FromSlash(tree))
		if p.plan.Runtime == "python" {
			if err := relocate(dir, p.at.files+"/"+tree); err != nil {
				return trees, err
			}
		}
		if err := p.give(dir); err != nil {
			return trees, err
		}
	}
	return trees, nil
}

// keepTurn keeps others waiting until the returned function is called.
func (p *preparation) keepTurn(ctx context.Context, key string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for backoff.Wait(ctx, renewEvery) {
			if _, err := p.Service.Claim(ctx, key); err != nil && ctx.Err() == nil {
				p.Log.Warn("turn to install packages not kept; others may install the same", "error", err)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// build installs the packages, again if an index could not be reached.
func (p *preparation) build(ctx context.Context, about info) ([]string, error) {
	if p.plan.Offline && (p.plan.Wheelhouse == "" || p.plan.Runtime != "python") {
		return nil, &Failure{Message: fmt.Sprintf("the packages of %s are not in the cache, and this server installs "+
			"nothing from the network (DEPENDENCIES=offline)", p.plan.From)}
	}
	steps, failure := install(p.plan, about, p.at)
	if failure != nil {
		return nil, failure
	}
	if p.plan.Requirements != "" {
		path := filepath.Join(p.Temp, requirementsName)
		if err := os.WriteFile(path, []byte(p.plan.Requirements), 0o644); err != nil { //nolint:gosec // steps read it
			return nil, fmt.Errorf("write the list of packages: %w", err)
		}
	}
	for try := 1; ; try++ {
		failure, err := p.steps(ctx, steps)
		if err != nil {
			return nil, err
		}
		if failure == nil {
			break
		}
		if !failure.Network || try == networkTries {
			return nil, failure
		}
		p.Note(fmt.Sprintf("a package index could not be reached; trying again (%d of %d)", try+1, networkTries))
		if !backoff.Wait(ctx, backoff.Exponential(p.RetryPause, time.Minute, try)) {
			return nil, ctx.Err()
		}
		if err := fstree.Remove(ctx, filepath.Join(p.Files, pythonTree)); err != nil {
			return nil, err
		}
	}
	return findTrees(ctx, p.Files, p.plan.Folder, treeName(p.plan.Runtime))
}

func (p *preparation) steps(ctx context.Context, steps []Step) (*Failure, error) {
	for _, s := range steps {
		p.Note("$ " + s.Path + " " + strings.Join(s.Args, " "))
		out, err := p.run(ctx, s)
		switch {
		case err != nil:
			return nil, err
		case out.Reason != "":
			return &Failure{Reason: out.Reason,
				Message: fmt.Sprintf("while the packages of %s were installed: %s", p.plan.From, out.Message)}, nil
		case out.Code != 0:
			f := explain(p.plan, out)
			if !f.Network && !p.plan.Offline && strings.Contains(out.Log, foundNone) {
				return p.probe(ctx, f, out.Log)
			}
			return f, nil
		}
	}
	return nil, nil //nolint:nilnil // none is known
}

// foundNone is what pip says of a package that an index does not have, and also of an index that
// fails: of that it tells only those who ask for all details.
const foundNone = "(from versions: none)"

// probe asks the index itself for the package of a failure, and says in the failure if it fails.
func (p *preparation) probe(ctx context.Context, f *Failure, log string) (*Failure, error) {
	out, err := p.run(ctx, probeStep(p.Interpreter, blamed(log)))
	if err != nil {
		return nil, err
	}
	if out.Code == indexFails {
		f.Network = true
		f.Message = "a package index could not be reached: " + f.Message
	}
	return f, nil
}

// run runs a step within what is left of the time.
func (p *preparation) run(ctx context.Context, s Step) (*Outcome, error) {
	s.Env = append(toolEnv(p.at), p.plan.Env...)
	s.Timeout = time.Until(p.end)
	out, err := p.Run(ctx, s)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if out.TimedOut {
		return nil, p.plan.tooSlow()
	}
	return &out, nil
}

// store puts the trees into the cache. The job goes on without it.
func (p *preparation) store(ctx context.Context, key string, trees []string) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(Pack(ctx, p.Files, trees, w)) }()
	err := p.Service.StorePackages(ctx, key, r)
	r.CloseWithError(errors.New("not read to the end"))
	if err != nil && ctx.Err() == nil {
		p.Log.Warn("packages not cached", "error", err)
	}
}
