package treecache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// page is how many keys are listed at a time.
const page = 1000

// leftAfter is how old a blob without an entry is when it is taken for a dead writer's.
const leftAfter = 24 * time.Hour

// listed is what the names in an entry's folder say.
type listed struct {
	at      string
	entries []entry
	blobs   []string
	others  []string
	used    string
}

// Sweep removes the entries that were not used for longest until the rest is within the limit, and
// what crashes have left. It returns how many entries it removed.
func (c *Cache) Sweep(ctx context.Context) (removed int, err error) {
	all, total, err := c.list(ctx)
	if err != nil {
		return 0, fmt.Errorf("sweep the cache of packages: %w", err)
	}
	slices.SortStableFunc(all, func(a, b *listed) int { return cmp.Compare(a.used, b.used) })
	var errs []error
	for _, l := range all {
		errs = append(errs, c.sweepLeft(ctx, l))
		if len(l.entries) == 0 || total <= c.Limit {
			continue
		}
		for _, e := range l.entries {
			if err := c.remove(ctx, l.at, e); err != nil {
				return removed, fmt.Errorf("sweep the cache of packages: %w", err)
			}
			total -= e.size
		}
		for _, name := range l.others {
			errs = append(errs, c.Store.Remove(ctx, l.at+name))
		}
		removed++
	}
	return removed, errors.Join(errs...)
}

// Size returns how many bytes all archives have together.
func (c *Cache) Size(ctx context.Context) (int64, error) {
	_, total, err := c.list(ctx)
	return total, err
}

// list returns all entries, and how many bytes they have together.
func (c *Cache) list(ctx context.Context) (all []*listed, total int64, err error) {
	for after := ""; ; {
		keys, err := c.Store.List(ctx, folder, after, page)
		if err != nil {
			return nil, 0, err
		}
		for _, key := range keys {
			after = key
			slash := strings.LastIndexByte(key, '/') + 1
			at, name := key[:slash], key[slash:]
			if len(all) == 0 || all[len(all)-1].at != at {
				all = append(all, &listed{at: at})
			}
			total += all[len(all)-1].add(name)
		}
		if len(keys) < page {
			return all, total, nil
		}
	}
}

func (l *listed) add(name string) int64 {
	e, isEntry := parseEntry(name)
	switch {
	case isEntry:
		l.entries = append(l.entries, e)
		return e.size
	case strings.HasPrefix(name, blobName):
		l.blobs = append(l.blobs, name)
	case strings.HasPrefix(name, usedName):
		l.used = max(l.used, name)
		l.others = append(l.others, name)
	case name != buildingName:
		l.others = append(l.others, name)
	}
	return 0
}

// sweepLeft removes what a writer left that died before its entry was complete.
func (c *Cache) sweepLeft(ctx context.Context, l *listed) error {
	names := slices.DeleteFunc(l.blobs, func(name string) bool {
		return slices.ContainsFunc(l.entries, func(e entry) bool { return e.blob == name })
	})
	if len(l.entries) == 0 {
		names = append(names, l.others...)
	}
	for _, name := range names {
		info, err := c.Store.Stat(ctx, l.at+name)
		if errors.Is(err, job.ErrNotFound) || err == nil && c.Now().Sub(info.ModTime) < leftAfter {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.Store.Remove(ctx, l.at+name); err != nil {
			return err
		}
	}
	return nil
}
