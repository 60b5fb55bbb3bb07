package auth

import (
	"sync"
	"time"
)

// The bounds of failed logins. The secret of a key cannot be guessed, so they protect the log
// rather than the keys.
const (
	failuresAtOnce = 10
	failuresEvery  = 6 * time.Second // one more failure is forgiven
	maxAddresses   = 10_000
	networkBits    = 64 // of an IPv6 address
)

// failures counts failed logins by address, as buckets that leak.
type failures struct {
	now func() time.Time

	mu     sync.Mutex
	by     map[string]bucket
	sparse time.Time // when addresses were forgotten last
}

type bucket struct {
	count float64
	at    time.Time
}

func newFailures(now func() time.Time) *failures {
	return &failures{now: now, by: map[string]bucket{}}
}

// allow counts a failure, and reports whether the address may have one.
func (f *failures) allow(from string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	f.forget(now)
	b := f.by[from].leak(now)
	if b.count+1 > failuresAtOnce {
		return false
	}
	b.count++
	if _, known := f.by[from]; known || len(f.by) < maxAddresses {
		f.by[from] = b
	}
	return true
}

// leak returns the bucket as it is by now.
func (b bucket) leak(now time.Time) bucket {
	if b.at.IsZero() {
		return bucket{at: now}
	}
	gone := now.Sub(b.at).Seconds() / failuresEvery.Seconds()
	return bucket{count: max(b.count-max(gone, 0), 0), at: now}
}

// forget drops the addresses whose failures are all forgiven.
func (f *failures) forget(now time.Time) {
	if now.Sub(f.sparse) < time.Minute {
		return
	}
	f.sparse = now
	for from, b := range f.by {
		if b.leak(now).count == 0 {
			delete(f.by, from)
		}
	}
}
