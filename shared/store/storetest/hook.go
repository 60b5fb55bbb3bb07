package storetest

import (
	"time"

	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/internal/testhook"
)

// WithHook returns a Store over the same bucket that calls hook before anything in the bucket
// changes. op is "put", "create", "mark", "remove" or "removeAll". An error of the hook becomes that
// of the operation, which then has changed nothing. So tests have a process die, or a disk fail,
// between any two changes.
func WithHook(s *store.Store, hook func(op, key string) error) *store.Store {
	return testhook.WithHook(s, hook).(*store.Store)
}

// WithReads returns a Store over the same bucket that calls hook before anything in the bucket is
// read. op is "open", "stat" or "list"; the key of a list is its prefix. So tests count what
// something costs.
func WithReads(s *store.Store, hook func(op, key string)) *store.Store {
	return testhook.WithReads(s, hook).(*store.Store)
}

// WithPatience returns a Store over the same bucket that waits so long for a cloud's answers, and
// for progress.
func WithPatience(s *store.Store, answer, stall time.Duration) *store.Store {
	return testhook.WithPatience(s, answer, stall).(*store.Store)
}
