package store

import "time"

// Hook is asked before anything in the bucket changes: op is "put", "create", "mark", "remove" or
// "removeAll". Its error becomes that of the operation, which then has changed nothing.
type Hook func(op, key string) error

// WithHook returns a Store over the same bucket with a Hook. It is how tests have a process die, or
// a disk fail, between any two changes.
func (s *Store) WithHook(h Hook) *Store {
	return &Store{bucket: s.bucket, driver: s.driver, notifier: s.notifier, hook: h}
}

// WithPatience returns a Store over the same bucket that waits less, or more, for a cloud's
// answers, and for progress.
func (s *Store) WithPatience(answer, stall time.Duration) *Store {
	again := *s
	again.driver = s.driver.withPatience(answer, stall)
	return &again
}
