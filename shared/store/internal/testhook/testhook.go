// Package testhook lets package storetest, and nothing outside shared/store, reach what the API of
// package store does not offer. Package store sets the functions; each takes and returns a
// *store.Store, which this package cannot name.
package testhook

import "time"

// WithHook returns a Store over the same bucket that asks a hook before each change.
var WithHook func(s any, hook func(op, key string) error) any

// WithReads returns a Store over the same bucket that tells a hook of each read.
var WithReads func(s any, hook func(op, key string)) any

// WithPatience returns a Store over the same bucket that waits so long for a cloud's answers, and
// for progress.
var WithPatience func(s any, answer, stall time.Duration) any
