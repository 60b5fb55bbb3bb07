// Package platform is what every function with records is given to stand on: what package settings
// has, and the bucket. It is opened when it is first asked for, once for all that share an Env.
package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/drivers"
)

// Env is where a function runs.
type Env struct {
	*settings.Env

	mu    sync.Mutex
	store *store.Store
}

// New returns an Env with the given settings, which logs to log.
func New(vars map[string]string, log *slog.Logger) *Env { return Over(settings.New(vars, log)) }

// Over adds the bucket to the settings of a process.
func Over(env *settings.Env) *Env { return &Env{Env: env} }

// With makes what opens a function in a process of one that has a bucket.
func With[F any](open func(*Env) (F, error)) func(*settings.Env) (F, error) {
	return func(env *settings.Env) (F, error) { return open(Over(env)) }
}

// Store returns the bucket.
func (e *Env) Store() (*store.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.store != nil {
		return e.store, nil
	}
	c, err := e.Common()
	if err != nil {
		return nil, err
	}
	if e.store, err = openStore(c); err != nil {
		return nil, err
	}
	return e.store, nil
}

func openStore(c *settings.Common) (*store.Store, error) {
	if c.StorageURL != "" {
		s, err := drivers.Open(context.Background(), c.StorageURL)
		if err != nil {
			return nil, fmt.Errorf("STORAGE_URL: %w", err)
		}
		return s, nil
	}
	s, err := store.OpenDir(c.StorageDir)
	if err != nil {
		return nil, fmt.Errorf("STORAGE_DIR: %w", err)
	}
	return s, nil
}

// SetStore makes all functions use s.
func (e *Env) SetStore(s *store.Store) { e.store = s }

// Ledger returns the records in the bucket for a function that only reads them: nobody is told of
// what is recorded. Those that record have event.Open, which links the means to tell.
func (e *Env) Ledger() (*ledger.Ledger, error) {
	s, err := e.Store()
	if err != nil {
		return nil, err
	}
	common, err := e.Common()
	if err != nil {
		return nil, err
	}
	records := ledger.New(s, e.Now)
	if common.Collector != "" {
		records = records.Reporting()
	}
	return records, nil
}

// Check returns all faults of what functions share (the common settings, the bucket, the keys of
// tokens) and of these settings. A command whose function cannot be opened uses it to name all
// faults, not only the first.
func (e *Env) Check(own ...any) error {
	_, commonErr := e.Common()
	_, storeErr := e.Store()
	_, err := e.Keys()
	for _, s := range own {
		err = errors.Join(err, e.Load(s))
	}
	return errors.Join(commonErr, storeErr, err)
}
