package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// sweepJobs is sweep for what waits on others: the keys of so many jobs are gone through at a time,
// those of one job in order.
func (l *Ledger) sweepJobs(
	ctx context.Context, prefix string, atOnce int, do func(key string) (done, more bool, err error),
) (int, error) {
	s := &jobSweep{ctx: ctx, do: do, places: make(chan struct{}, atOnce)}
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
		// The next keys may be of the last job here, whose order they must not leave.
		s.all.Wait()
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
	ctx    context.Context //nolint:containedctx // that of the sweep, which ends before its caller goes on
	do     func(key string) (done, more bool, err error)
	places chan struct{}
	all    sync.WaitGroup

	mu     sync.Mutex
	count  int
	failed []error
	over   bool // nothing more is begun
}

// begin has a job's keys gone through, once there is a place, and reports whether the sweep goes
// on.
func (s *jobSweep) begin(keys []string) bool {
	select {
	case s.places <- struct{}{}:
	case <-s.ctx.Done():
		return false
	}
	if s.isOver() {
		<-s.places
		return false
	}
	s.all.Go(func() {
		defer func() { <-s.places }()
		for _, key := range keys {
			done, more, err := s.do(key)
			s.note(key, done, more, err)
			if s.isOver() {
				return
			}
		}
	})
	return true
}

func (s *jobSweep) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
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
	if !more || len(s.failed) >= maxFailures || s.ctx.Err() != nil {
		s.over = true
	}
}

// end waits for what has begun.
func (s *jobSweep) end(err error) (int, error) {
	s.all.Wait()
	return s.count, errors.Join(append(s.failed, err)...)
}
