package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Where a collector is configured, there is an entry for each job that was accepted, and for each that
// has ended, until its numbers are counted and its spans are sent. As those of the outbox, entries are
// made before the record is, so a crash loses none, and they are empty as long as the job's records
// say what is to be counted. A removal gives them content before it takes the records.

// The kinds of reports are the last part of an entry's key.
const (
	acceptedReport = "1-accepted"
	endedReport    = "2-ended"
)

// Reporting returns a Ledger of the same records that makes these entries.
func (l *Ledger) Reporting() *Ledger {
	reporting := *l
	reporting.reports = true
	return &reporting
}

// ReportEntry is the key of an entry.
type ReportEntry string

// Ended reports whether the entry is that of an end.
func (e ReportEntry) Ended() bool { return e.kind() == endedReport }

func (e ReportEntry) kind() string {
	_, kind, _ := strings.Cut(string(e)[strings.LastIndexByte(string(e), '/')+1:], "-")
	return kind
}

// Life is what the records of a job say of it that is counted or shown in spans.
type Life struct {
	// Index has only the parts that say which job it is and what became of it: neither its files nor what
	// its program is given.
	Index *job.Index `json:"index"`
	// Terminal is nil in the report that a job was accepted.
	Terminal *job.Terminal `json:"terminal,omitempty"`
	// Counted says that this was counted before.
	Counted bool `json:"-"`
}

// reportKey spreads entries over folders as outboxKey does.
func reportKey(id job.ID, kind string) string {
	return fmt.Sprintf("%s%s/%s-%s", reports, id[:7], id, kind)
}

func parseReportKey(e ReportEntry) (job.ID, bool) {
	name, kind, _ := strings.Cut(string(e)[strings.LastIndexByte(string(e), '/')+1:], "-")
	id, err := job.ParseID(name)
	known := kind == acceptedReport || kind == endedReport
	return id, err == nil && known && string(e) == reportKey(id, kind)
}

// enqueueReport makes the entry of a job's end before the end is recorded.
func (l *Ledger) enqueueReport(ctx context.Context, id job.ID) error {
	if !l.reports {
		return nil
	}
	recorded, err := l.Over(ctx, id)
	if err != nil || recorded {
		return err
	}
	return l.store.Mark(ctx, reportKey(id, endedReport))
}

// keepReports gives the entries of a job content, before its records go.
func (l *Ledger) keepReports(ctx context.Context, index *job.Index, t *job.Terminal) error {
	if !l.reports {
		return nil
	}
	for kind, life := range map[string]Life{
		acceptedReport: {Index: told(index)}, endedReport: {Index: told(index), Terminal: toldEnd(t)},
	} {
		if err := l.keepReport(ctx, index.JobID, kind, life); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) keepReport(ctx context.Context, id job.ID, kind string, life Life) error {
	key := reportKey(id, kind)
	waits, err := l.store.Exists(ctx, key)
	if err != nil || !waits {
		return err
	}
	counted, err := l.store.Exists(ctx, countedKey(id, kind))
	if err != nil || counted {
		return err
	}
	data, err := json.Marshal(life)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	if _, err := l.store.Put(ctx, key, bytes.NewReader(data)); err != nil {
		return err
	}
	// Who counts it makes the mark before it removes the entry. So either it removes this one, or the mark
	// is seen here.
	if counted, err = l.store.Exists(ctx, countedKey(id, kind)); err != nil || !counted {
		return err
	}
	return l.store.Remove(ctx, key)
}

// told is the part of an index that reports have.
func told(index *job.Index) *job.Index {
	return &job.Index{
		JobID: index.JobID, JobName: index.JobName, Namespace: index.Namespace, CreatedAt: index.CreatedAt,
		Spec:     job.Spec{Runtime: index.Runtime, Name: index.Name, Profile: index.Profile, Queue: index.Queue},
		Template: index.Template, RerunOf: index.RerunOf, Trace: index.Trace, Telemetry: index.Telemetry, Hops: index.Hops,
		Root: index.Root,
	}
}

// toldEnd leaves the texts out of an end, which can be long and have parts of logs, and the outputs.
func toldEnd(t *job.Terminal) *job.Terminal {
	short := *t
	short.Message, short.Outputs = "", nil
	short.Attempts = make([]job.Attempt, len(t.Attempts))
	for i, a := range t.Attempts {
		a.Message, a.Outputs, a.Limits = "", nil, nil
		short.Attempts[i] = a
	}
	return &short
}

// Reports returns up to limit entries after the given one.
func (l *Ledger) Reports(ctx context.Context, after ReportEntry, limit int) ([]ReportEntry, error) {
	keys, err := l.store.List(ctx, reports, string(after), limit)
	list := make([]ReportEntry, len(keys))
	for i, key := range keys {
		list[i] = ReportEntry(key)
	}
	return list, err
}

// Life returns what an entry tells of, or nil when there is nothing to tell yet. An entry for which
// there never will be is removed.
func (l *Ledger) Life(ctx context.Context, e ReportEntry) (*Life, error) {
	id, ok := parseReportKey(e)
	if !ok {
		return nil, nil //nolint:nilnil // not an entry
	}
	life, err := l.recordedLife(ctx, id, e)
	if life != nil || err != nil {
		return life, err
	}
	// The records may be those of a job that is being accepted, or of one that was removed meanwhile and
	// has given its entry content.
	if life, err = l.keptLife(ctx, e); life != nil || err != nil {
		return life, err
	}
	accepting, err := l.store.Exists(ctx, uploads+string(id))
	if err != nil || accepting {
		return nil, err
	}
	if _, err := l.Index(ctx, id); !errors.Is(err, job.ErrNotFound) {
		return nil, err // accepted meanwhile, or not over; the next look finds it
	}
	if life, err = l.keptLife(ctx, e); life != nil || err != nil {
		return life, err
	}
	return nil, l.store.Remove(ctx, string(e))
}

// recordedLife is what the records of a job say, or nil.
func (l *Ledger) recordedLife(ctx context.Context, id job.ID, e ReportEntry) (*Life, error) {
	index, err := l.Index(ctx, id)
	if err != nil {
		return nil, unlessNotFound(err)
	}
	life := &Life{Index: told(index)}
	if life.Counted, err = l.store.Exists(ctx, countedKey(id, e.kind())); err != nil || !e.Ended() {
		return life, err
	}
	t, err := l.Terminal(ctx, id)
	if err != nil {
		return nil, unlessNotFound(err)
	}
	life.Terminal = toldEnd(t)
	return life, nil
}

// keptLife is what a removal has left in the entry, or nil.
func (l *Ledger) keptLife(ctx context.Context, e ReportEntry) (*Life, error) {
	data, err := l.store.Read(ctx, string(e))
	if err != nil || len(data) == 0 {
		return nil, unlessNotFound(err)
	}
	var life Life
	if err := json.Unmarshal(data, &life); err != nil {
		return nil, fmt.Errorf("decode %s: %w", e, err)
	}
	return &life, nil
}

func unlessNotFound(err error) error {
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	return err
}

// Counted removes an entry that has been counted. Before, the job itself keeps that it was: a process
// that records the end of a job at the same time as another makes the entry anew, and so does a removal.
func (l *Ledger) Counted(ctx context.Context, e ReportEntry) error {
	id, ok := parseReportKey(e)
	if !ok {
		return nil
	}
	mark := countedKey(id, e.kind())
	there, err := l.store.Exists(ctx, indexKey(id))
	if err == nil && there {
		err = l.store.Mark(ctx, mark)
	}
	if err != nil {
		return err
	}
	if there {
		// A removal takes the index before the marks. So if it has missed this one, there is no index now.
		if there, err = l.store.Exists(ctx, indexKey(id)); err == nil && !there {
			err = l.store.Remove(ctx, mark)
		}
	}
	return errors.Join(err, l.store.Remove(ctx, string(e)))
}
