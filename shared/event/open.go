package event

import (
	"errors"
	"fmt"
	"sync"

	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
)

// sinks are those of an Env.
type sinks struct {
	mu      sync.Mutex
	set     Sink
	outside Sink // to K_SINK
}

// sinksOf returns the sinks of all that share env. It is not env itself that has them, since the SDK, which sinks need, would be linked by
// functions that only read as well: a third of their size, and of what it costs to start them.
func sinksOf(env *platform.Env) *sinks {
	type key struct{}
	kept, _ := env.Others.LoadOrStore(key{}, &sinks{})
	return kept.(*sinks) //nolint:forcetypeassert // the key is ours
}

// OpenSink returns where events are sent.
func OpenSink(env *platform.Env) (Sink, error) {
	s := sinksOf(env)
	s.mu.Lock()
	set := s.set
	s.mu.Unlock()
	if set != nil {
		return set, nil
	}
	sink, err := OpenOutside(env)
	if err == nil && sink == nil {
		return nil, errors.New("K_SINK is required: the URL that events are sent to")
	}
	return sink, err
}

// SetSink makes all functions use sink.
func SetSink(env *platform.Env, sink Sink) {
	s := sinksOf(env)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = sink
}

// OpenOutside returns the sink that K_SINK names, or nil. What it has taken is recorded as announced.
func OpenOutside(env *platform.Env) (Sink, error) {
	c, err := env.Common()
	if err != nil || c.Sink == "" {
		return nil, err
	}
	records, err := env.Ledger()
	if err != nil {
		return nil, err
	}
	s := sinksOf(env)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outside != nil {
		return s.outside, nil
	}
	sink, err := NewHTTPSink(c.Sink)
	if err != nil {
		return nil, fmt.Errorf("K_SINK: %w", err)
	}
	background := NewBackground(&Recorded{Sink: sink, Records: records}, env.Log)
	env.OnDrain(background.Drain)
	s.outside = background
	return background, nil
}

// OpenLedger returns the records in the bucket. Where there is a K_SINK, all that is recorded of jobs is announced.
func OpenLedger(env *platform.Env) (*ledger.Ledger, error) {
	records, err := env.Ledger()
	if err != nil {
		return nil, err
	}
	c, err := env.Common()
	if err != nil || c.Sink == "" {
		return records, err
	}
	sink, err := OpenSink(env)
	if err != nil {
		return nil, err
	}
	return records.Announcing(&Teller{Sink: sink, Source: c.BaseURL, Log: env.Log}), nil
}
