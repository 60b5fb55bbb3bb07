package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// sweepJobs is sweep for work that waits for others: it goes through the keys of several jobs at a
// time, atOnce at most, and through those of one job in order.
func (l *Ledger) sweepJobs(
	ctx context.Context, prefix string, atOnce int, do func(key string) (done, more bool, err error),
) (int, error) {
	s := &jobSweep{ctx: ctx, do: do}
	s.all.SetLimit(atOnce)
	for after := ""; ; {
		keys, err := l.store.List(ctx, prefix, after, sweepBatch)
		if err != nil {
			return s.end(err)
		}
		if len(keys) > 0 {
			after = keys[len(keys)-1]
		}
		for _, group := range byJob(prefix, keys) {
			if !s.begin(group) {
				return s.end(nil)
			}
		}
		// The next keys may be of the last job here, and must come after those.
		_ = s.all.Wait() // no function returns an error
		if len(keys) < sweepBatch {
			return s.end(nil)
		}
	}
}

// byJob takes a list of keys apart where the job changes. Below the prefix each has its job's ID,
// and perhaps more after it.
func byJob(prefix string, keys []string) [][]string {
	var groups [][]string
	last := ""
	for _, key := range keys {
		id, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), "-")
		if len(groups) == 0 || id != last {
			groups = append(groups, nil)
		}
		last = id
		groups[len(groups)-1] = append(groups[len(groups)-1], key)
	}
	return groups
}

// jobSweep is a sweep that goes on for several jobs at a time.
type jobSweep struct {
	ctx context.Context //nolint:containedctx // that of the sweep, which ends before its caller goes on
	do  func(key string) (done, more bool, err error)
	all errgroup.Group

	mu     sync.Mutex
	count  int
	failed []error
	over   bool // nothing more is begun
}

// begin goes through the keys of a job as soon as fewer jobs than the limit are gone through, and
// reports whether the sweep goes on.
func (s *jobSweep) begin(keys []string) bool {
	if s.isOver() {
		return false
	}
	s.all.Go(func() error {
		for _, key := range keys {
			if s.isOver() {
				return nil
			}
			done, more, err := s.do(key)
			s.note(key, done, more, err)
		}
		return nil
	})
	return true
}

func (s *jobSweep) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over || s.ctx.Err() != nil
}

func (s *jobSweep) note(key string, done, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = append(s.failed, fmt.Errorf("sweep %s: %w", key, err))
	}
	if done {
		s.count++
	}
	if !more || len(s.failed) >= maxFailures {
		s.over = true
	}
}

// end waits for the jobs that have begun.
func (s *jobSweep) end(err error) (int, error) {
	_ = s.all.Wait() // no function returns an error
	return s.count, errors.Join(append(s.failed, err)...)
}
