package ledger

import (
	"context"
	"time"
)

// Idle reports whether until a time there is nothing for a reaper to do: no job is active, is being
// sent or is to be removed, no notice is owed, nothing is to be sent to the collector, and no job
// expires before. It reads a handful of entries, however many jobs are kept.
func (l *Ledger) Idle(ctx context.Context, until time.Time) (bool, error) {
	// An acceptance makes the entry in active before it removes the one in uploads.
	folders := []string{uploads, active, asked, removing}
	if l.publisher != nil { // else nobody sends what is owed
		folders = append(folders, outbox)
	}
	if l.reports {
		folders = append(folders, reports)
	}
	for _, folder := range folders {
		keys, err := l.store.List(ctx, folder, "", 1)
		if err != nil || len(keys) > 0 {
			return false, err
		}
	}
	idle := true
	_, err := l.sweep(ctx, expiry, func(key string) (bool, bool, error) {
		at, id, ok := parseExpiry(key)
		if !ok || key != expiryKey(at, id) { // not an entry
			return false, true, nil
		}
		idle = at.After(until)
		return false, false, nil
	})
	return idle && err == nil, err
}
