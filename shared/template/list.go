package template

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/job"
)

// Query says which templates to list: those behind After in the order of their names.
type Query struct {
	Limit int
	After string // the next of the page before; empty for the first page
	Owner string // the name of a caller; empty for any
}

// Templates have no index by owner: there are few, and a list may read those of others as well.
const (
	maxRead    = 1000 // templates for one page
	listBatch  = 64   // names taken into memory at a time
	listAtOnce = 16   // templates read at a time
)

// List returns a page of templates and the After of the next page, which is empty on the last. A
// page that is not the last has as many templates as were asked for, or maxRead were read for it.
func (s *Store) List(ctx context.Context, q Query) (list []*Version, next string, err error) {
	batch := listBatch
	if q.Owner == "" {
		batch = min(batch, q.Limit+1)
	}
	for after, read := q.After, 0; ; {
		names, err := s.names(ctx, after, batch)
		if err != nil {
			return nil, "", err
		}
		found, err := s.currentOf(ctx, names)
		if err != nil {
			return nil, "", err
		}
		for i, v := range found {
			if read == maxRead {
				return list, after, nil
			}
			after, read = names[i], read+1
			if v == nil || q.Owner != "" && v.Owner != q.Owner {
				continue
			}
			if len(list) == q.Limit { // this one tells that there is a next page
				return list, list[q.Limit-1].Name, nil
			}
			list = append(list, v)
		}
		if len(names) < batch {
			return list, "", nil
		}
	}
}

// names returns up to limit names of templates behind the given one, in their order.
func (s *Store) names(ctx context.Context, after string, limit int) ([]string, error) {
	names, start := []string{}, ""
	if after != "" {
		start = records + after + "/~"
	}
	for {
		keys, err := s.store.List(ctx, records, start, limit+1)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			name, _, _ := strings.Cut(strings.TrimPrefix(key, records), "/")
			switch {
			case name == after: // another version of it
				continue
			case CheckName(name) != "": // not a template
				start = key
				continue
			case len(names) == limit:
				return names, nil
			}
			after, start = name, records+name+"/~"
			names = append(names, name)
		}
		if len(keys) <= limit {
			return names, nil
		}
	}
}

// currentOf returns the current version of each template, nil for one that is gone.
func (s *Store) currentOf(ctx context.Context, names []string) ([]*Version, error) {
	found := make([]*Version, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listAtOnce)
	for i, name := range names {
		group.Go(func() error {
			v, err := s.Current(ctx, name)
			if errors.Is(err, job.ErrNotFound) {
				return nil
			}
			found[i] = v
			return err
		})
	}
	return found, group.Wait()
}
