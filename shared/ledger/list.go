package ledger

import (
	"context"
	"errors"
	"slices"

	"go-job-orchestrator/shared/job"
)

// Query says which jobs to list: those newer than none and older than the job After, newest first.
type Query struct {
	Limit  int
	After  job.ID            // the last job of the page before; empty for the first page
	Owner  string            // the name of a caller; empty for any
	Phase  job.Phase         // empty for any
	Labels map[string]string // all of them
	Name   string            // that users gave them; empty for any
}

// Page is one page of a list. Next is the After of the next page, empty on the last. A page that is
// not the last has as many jobs as were asked for, or maxRead jobs were read for it.
type Page struct {
	Items []job.Summary
	Next  job.ID
}

// source yields job IDs in ascending order, at most limit, all greater than after.
type source func(ctx context.Context, after job.ID, limit int) ([]job.ID, error)

// maxRead bounds how many jobs are read for one page. Only a list of job.LocalOwner during an
// upgrade reads many more than it shows; see formerowners.go.
const maxRead = 1000

// List returns a page of jobs. It costs what it shows: each filter has an index of its own, and
// several are intersected by leaping from one to the next.
func (l *Ledger) List(ctx context.Context, q Query) (Page, error) {
	page := Page{Items: []job.Summary{}}
	sources, err := l.sources(ctx, q)
	if err != nil {
		return Page{}, err
	}
	find := intersect(sources)
	for after, read := q.After, 0; ; {
		want := q.Limit - len(page.Items) + 1 // one more tells whether there is a next page
		ids, err := find(ctx, after, want)
		if err != nil {
			return Page{}, err
		}
		for _, id := range ids {
			if len(page.Items) == q.Limit {
				page.Next = page.Items[q.Limit-1].JobID
				return page, nil
			}
			if read == maxRead {
				page.Next = after
				return page, nil
			}
			after, read = id, read+1
			s, err := l.summary(ctx, id)
			if errors.Is(err, job.ErrNotFound) {
				continue // being accepted, or being removed
			}
			if err != nil {
				return Page{}, err
			}
			if q.shows(s) {
				page.Items = append(page.Items, *s)
			}
		}
		if len(ids) < want {
			return page, nil
		}
	}
}

// shows reports whether a job that was found by its entries is in the list. The entry of a phase may
// lag behind, and without entries of its owner a job was not found by them.
func (q *Query) shows(s *job.Summary) bool {
	return (q.Phase == "" || s.Phase == q.Phase) && (q.Owner == "" || s.Owner == q.Owner)
}

// sources returns the indexes of what the query asks for.
func (l *Ledger) sources(ctx context.Context, q Query) ([]source, error) {
	var list []source
	if q.Owner != "" {
		listed, err := l.listsOwner(ctx, q.Owner)
		if err != nil {
			return nil, err
		}
		if listed {
			list = append(list, l.sharded(ownerPrefix(q.Owner)))
		}
	}
	switch {
	case q.Phase == job.Running:
		list = append(list, l.flat(running))
	case q.Phase == job.Pending:
		list = append(list, l.flat(active))
	case q.Phase != "":
		list = append(list, l.sharded(phasePrefix(q.Phase)))
	}
	for key, value := range q.Labels {
		list = append(list, l.sharded(labelPrefix(key, value)))
	}
	if q.Name != "" {
		list = append(list, l.sharded(namePrefix(q.Name)))
	}
	if len(list) == 0 {
		list = append(list, l.sharded(all))
	}
	return list, nil
}

func (l *Ledger) sharded(folder string) source { return l.source(folder, shard) }

func (l *Ledger) flat(folder string) source {
	return l.source(folder, func(id job.ID) string { return string(id) })
}

func (l *Ledger) source(folder string, name func(job.ID) string) source {
	return func(ctx context.Context, after job.ID, limit int) ([]job.ID, error) {
		start := ""
		if after != "" {
			start = folder + name(after)
		}
		ids := []job.ID{}
		for len(ids) < limit {
			want := limit - len(ids)
			keys, err := l.store.List(ctx, folder, start, want)
			if err != nil {
				return nil, err
			}
			for _, key := range keys {
				start = key
				// What others put there is no entry, and must not end the list.
				if id, ok := unshard(key); ok && key == folder+name(id) {
					ids = append(ids, id)
				}
			}
			if len(keys) < want {
				break
			}
		}
		return ids, nil
	}
}

// intersect yields the IDs that all sources have. Each source leaps to the greatest ID that another
// one is at, so runs that only one of them has are not read.
func intersect(sources []source) source {
	if len(sources) == 1 {
		return sources[0]
	}
	return func(ctx context.Context, after job.ID, limit int) ([]job.ID, error) {
		var found []job.ID
		for len(found) < limit {
			id, err := nextCommon(ctx, sources, after)
			if err != nil || id == "" {
				return found, err
			}
			found = append(found, id)
			after = id
		}
		return found, nil
	}
}

// nextCommon returns the least ID after the given one that all sources have, or "".
func nextCommon(ctx context.Context, sources []source, after job.ID) (job.ID, error) {
	for candidate, agreed, i := job.ID(""), 0, 0; ; i = (i + 1) % len(sources) {
		from := after
		if candidate != "" {
			from = before(candidate)
		}
		ids, err := sources[i](ctx, from, 1)
		if err != nil || len(ids) == 0 {
			return "", err
		}
		if ids[0] == candidate {
			agreed++
		} else {
			candidate, agreed = ids[0], 1
		}
		if agreed == len(sources) {
			return candidate, nil
		}
	}
}

// before returns an ID such that the IDs after it are those from id on.
func before(id job.ID) job.ID {
	b := []byte(id)
	for i := len(b) - 1; i >= 0; i-- {
		switch {
		case b[i] == 'a':
			b[i] = '9'
			return job.ID(b)
		case b[i] != '0':
			b[i]--
			return job.ID(b)
		}
		b[i] = 'f'
	}
	return "" // id is all zeros: everything comes after nothing
}

// Active returns up to limit jobs that are not over, oldest last, after the given one.
func (l *Ledger) Active(ctx context.Context, after job.ID, limit int) ([]job.ID, error) {
	return l.flat(active)(ctx, after, limit)
}

// Phases that have a list of their own among ended jobs.
func endedPhases() []job.Phase {
	return slices.DeleteFunc(job.Phases(), func(p job.Phase) bool { return !p.Terminal() })
}
