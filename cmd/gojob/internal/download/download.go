// Package download stores files of a job on this machine: resumed, checked, and never outside of
// the folder that was named.
package download

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

// Source is the outputs of a job.
type Source struct {
	Client *client.Client
	ID     job.ID
	// Token opens the outputs; empty for the client's own credentials.
	Token string
}

// Options say how files are downloaded.
type Options struct {
	// Logs are wanted too: stdout.log, stderr.log and prepare.log.
	Logs bool
	// Progress is called with how many bytes are there, of how many. It may be nil. It is called by
	// several goroutines.
	Progress func(done, total int64)
	// Retrying is called before each pause after a connection that was cut. It may be nil.
	Retrying func(err error, pause time.Duration)
	// Patience is how long to try without a byte arriving; 0 for client.DefaultPatience.
	Patience time.Duration
	// Reached says that the server has answered before, so that it is waited for if it cannot be
	// connected to now.
	Reached bool
}

// Saved is a file that was stored.
type Saved struct {
	Name string // of the output
	Path string // on this machine
	Size int64
}

// Target is an output, and where it goes: a path with slashes below the folder.
type Target struct {
	File job.File
	As   string
}

// All stores the outputs of a job that is over in a folder, which is made if it is not there. Files
// that are there are replaced.
func All(ctx context.Context, c *client.Client, id job.ID, token, dir string, o Options) ([]Saved, error) {
	s := Source{c, id, token}
	files, err := s.List(ctx, o)
	if err != nil {
		return nil, err
	}
	var targets []Target
	for _, f := range files {
		if o.Logs || !IsLog(f.Name) {
			targets = append(targets, Target{f, f.Name})
		}
	}
	return s.Save(ctx, dir, targets, o)
}

// IsLog reports whether an output is one that the platform wrote.
func IsLog(name string) bool { return job.IsLog(name) || name == job.PrepareLogFile }

// maxList bounds the list of outputs. A job may have some ten thousand.
const maxList = 256 << 20

// List returns the outputs of a job that is over, sorted by name.
func (s Source) List(ctx context.Context, o Options) ([]job.File, error) {
	retry := client.Retry{Patience: o.Patience, Said: o.Retrying, Reached: o.Reached}
	for {
		files, err := s.list(ctx)
		if err == nil || !retry.Again(ctx, err) {
			return files, err
		}
	}
}

func (s Source) list(ctx context.Context) ([]job.File, error) {
	response, err := s.Client.Do(ctx, client.Call{Method: http.MethodGet, Path: s.path(""), Token: s.Token})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxList))
	if err != nil {
		return nil, &client.UnreachableError{Server: s.Client.Server(), Err: err}
	}
	var list struct{ Items []job.File }
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s does not list outputs as a server of the Go Job Orchestrator does: %w",
			s.Client.Server(), err)
	}
	return list.Items, nil
}

// path is the path of an output, or of the list of all.
func (s Source) path(name string) string {
	out := "/outputs/" + string(s.ID)
	if name == "" {
		return out
	}
	for segment := range strings.SplitSeq(name, "/") {
		out += "/" + url.PathEscape(segment)
	}
	return out
}

// Select returns the outputs that a path names: one file, or all below a folder. folder reports which.
// An empty path names all.
func Select(files []job.File, name string) (chosen []job.File, folder bool, err error) {
	name = path.Clean("/" + filepath.ToSlash(name))[1:]
	var names []string
	for _, f := range files {
		if f.Name == name {
			return []job.File{f}, false, nil
		}
		if name == "" || strings.HasPrefix(f.Name, name+"/") {
			chosen = append(chosen, f)
		}
		names = append(names, f.Name)
	}
	if len(chosen) > 0 || name == "" {
		return chosen, true, nil
	}
	meant := job.Meant(name, names, nil)
	if rest, found := strings.CutPrefix(name, job.ResultsDir+"/"); found {
		meant = "; outputs are named without " + job.ResultsDir + "/" + job.Meant(rest, names, nil)
	}
	return nil, false, &MissingError{fmt.Errorf("the job has no output %q%s", name, meant)}
}

// MissingError says that a job has no output of a name.
type MissingError struct{ Err error }

func (e *MissingError) Error() string { return e.Err.Error() }
func (e *MissingError) Unwrap() error { return e.Err }

// parallel is how many files are downloaded at a time, so that many small ones do not each wait for
// the line.
const parallel = 4

// Save stores outputs in a folder, which is made if it is not there. Files that are there are
// replaced.
func (s Source) Save(ctx context.Context, dir string, targets []Target, o Options) ([]Saved, error) {
	d, err := openDestination(dir)
	if err != nil {
		return nil, err
	}
	defer d.root.Close()
	var errs []error
	for _, t := range targets {
		errs = append(errs, d.check(t))
	}
	if err := errors.Join(append(errs, d.distinct(targets))...); err != nil {
		return nil, err
	}
	count := newCount(targets, o.Progress)
	saved := make([]Saved, len(targets))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, t := range targets {
		group.Go(func() error {
			saved[i] = Saved{Name: t.File.Name, Path: filepath.Join(dir, filepath.FromSlash(t.As)), Size: t.File.Size}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return s.save(ctx, d, t, o, count)
		})
	}
	return saved, group.Wait()
}

// count adds up the bytes of several files.
type count struct {
	done  atomic.Int64
	total int64
	said  func(done, total int64)
}

func newCount(targets []Target, said func(done, total int64)) *count {
	c := &count{said: said}
	for _, t := range targets {
		c.total += t.File.Size
	}
	return c
}

func (c *count) add(n int64) {
	done := c.done.Add(n)
	if c.said != nil {
		c.said(done, c.total)
	}
}
