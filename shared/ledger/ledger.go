// Package ledger keeps the records of jobs in the bucket: who may write what once, what follows
// from it, and how jobs are found again. Every record is written once; a second writer reads
// the first one's.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

// Ledger is the records of all jobs in one bucket. Its methods may be called concurrently and by
// several processes.
type Ledger struct {
	store     *store.Store
	now       func() time.Time
	publisher Publisher // nil: nothing is published
	observer  Observer  // nil: nobody counts
	reports   bool      // an entry is made for each job that is accepted, and for each that ends; see reports.go
}

// New returns the Ledger in s. The clock now is time.Now outside tests.
func New(s *store.Store, now func() time.Time) *Ledger {
	return &Ledger{store: s, now: now}
}

// BeginUpload notes that files of a job to come are about to be stored, so that they are found and
// removed should it never be accepted.
func (l *Ledger) BeginUpload(ctx context.Context, id job.ID) error {
	return l.store.Mark(ctx, uploads+string(id))
}

// AbortUpload removes everything of a job that was not accepted.
func (l *Ledger) AbortUpload(ctx context.Context, id job.ID) error {
	given := job.Index{JobID: id}
	if err := l.read(ctx, labelsKey(id), &given.Labels); err != nil && !errors.Is(err, job.ErrNotFound) {
		return err
	}
	noted, err := l.noted(ctx, id)
	if err != nil {
		return err
	}
	// An index can be there after all, when only its acknowledgement was lost. It goes first: with its
	// files gone, it must not be taken for a job.
	keys := slices.Concat([]string{indexKey(id), active + string(id)}, listKeys(&given), noted)
	if l.publisher != nil {
		keys = append(keys, outboxKey(id, submittedStage))
	}
	if l.reports {
		keys = append(keys, reportKey(id, acceptedReport))
	}
	for _, key := range keys {
		if err := l.store.Remove(ctx, key); err != nil {
			return err
		}
	}
	for _, folder := range []string{JobPrefix(id), runPrefix(id)} {
		if err := l.store.RemoveAll(ctx, folder); err != nil {
			return err
		}
	}
	// This entry goes last: as long as it is there, the sweeper calls this again.
	return l.store.Remove(ctx, uploads+string(id))
}

// acceptance is the index of a job as it is recorded.
type acceptance struct {
	*job.Index
	// Outbox says that the outbox has an entry for each step of the job. See formeroutbox.go.
	Outbox bool `json:"outbox,omitempty"`
	// former says that a version before callers recorded the job. See formerowners.go.
	former bool
}

// Accept records the job: when it returns nil the job exists and is owed to the user, whatever
// happens to this process. An index without an owner gets job.LocalOwner. An ID that was given up
// meanwhile gives an error of kind job.ErrExists. After any error AbortUpload removes what is left.
func (l *Ledger) Accept(ctx context.Context, index *job.Index) error {
	if index.Owner == "" {
		index.Owner = job.LocalOwner
	}
	if index.Telemetry != nil {
		index.Telemetry.AcceptedAt = l.now().UTC()
	}
	data, err := json.Marshal(acceptance{Index: index, Outbox: l.publisher != nil})
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	// The sweeper of a job that never gets its index needs what the names of its entries follow from.
	if len(index.Labels) > 0 {
		if err := l.create(ctx, labelsKey(index.JobID), index.Labels); err != nil && !errors.Is(err, job.ErrExists) {
			return err
		}
	}
	if err := l.note(ctx, index); err != nil {
		return err
	}
	// The index entries come first, so that no accepted job is ever missing from a list. Readers skip
	// an entry without a job, and the reaper sweeps it.
	entries := append(listKeys(index), active+string(index.JobID))
	if l.publisher != nil {
		entries = append(entries, outboxKey(index.JobID, submittedStage))
	}
	if l.reports {
		entries = append(entries, reportKey(index.JobID, acceptedReport))
	}
	for _, key := range entries {
		if err := l.store.Mark(ctx, key); err != nil {
			return err
		}
	}
	if err := l.store.Create(ctx, indexKey(index.JobID), data); err != nil {
		return err
	}
	// If this entry stays it does no harm: the sweeper sees the index and removes just the entry.
	_ = l.store.Remove(ctx, uploads+string(index.JobID))
	return nil
}

// listKeys are the index entries by which an accepted job is listed.
func listKeys(index *job.Index) []string {
	list := []string{all + shard(index.JobID), ownerPrefix(index.Owner) + shard(index.JobID)}
	for key, value := range index.Labels {
		list = append(list, labelPrefix(key, value)+shard(index.JobID))
	}
	if index.Name != "" {
		list = append(list, namePrefix(index.Name)+shard(index.JobID))
	}
	return list
}

// Index returns what the user asked for, or an error of kind job.ErrNotFound.
func (l *Ledger) Index(ctx context.Context, id job.ID) (*job.Index, error) {
	a, err := l.acceptance(ctx, id)
	if err != nil {
		return nil, err
	}
	return a.Index, nil
}

// OwnerOf returns the name of the caller that the job belongs to, or an error of kind
// job.ErrNotFound.
func (l *Ledger) OwnerOf(ctx context.Context, id job.ID) (string, error) {
	a, err := l.acceptance(ctx, id)
	if err != nil {
		return "", err
	}
	return a.Owner, nil
}

func (l *Ledger) acceptance(ctx context.Context, id job.ID) (*acceptance, error) {
	a := acceptance{Index: &job.Index{}}
	if err := l.read(ctx, indexKey(id), &a); err != nil {
		return nil, err
	}
	if a.Void {
		return nil, fmt.Errorf("job %s: %w", id, job.ErrNotFound)
	}
	if a.Owner == "" {
		a.Owner, a.former = job.LocalOwner, true
	}
	return &a, nil
}

// Live is Index for users: a job that is being removed is no longer there for them.
func (l *Ledger) Live(ctx context.Context, id job.ID) (*job.Index, error) {
	index, err := l.Index(ctx, id)
	if err != nil {
		return nil, err
	}
	gone, err := l.store.Exists(ctx, removeKey(id))
	if err != nil {
		return nil, err
	}
	if gone {
		return nil, fmt.Errorf("job %s: %w", id, job.ErrNotFound)
	}
	return index, nil
}

// Terminal returns how the job ended, or an error of kind job.ErrNotFound while it has not.
func (l *Ledger) Terminal(ctx context.Context, id job.ID) (*job.Terminal, error) {
	var t job.Terminal
	if err := l.read(ctx, statusKey(id), &t); err != nil {
		return nil, err
	}
	return &t, nil
}

// Over reports whether the job has ended, without reading how.
func (l *Ledger) Over(ctx context.Context, id job.ID) (bool, error) {
	return l.store.Exists(ctx, statusKey(id))
}

// Finish records how a job ended, unless that is recorded already, and returns what is recorded and
// whether it is what was given. It may be called again at any time to complete what a crash cut
// off.
func (l *Ledger) Finish(ctx context.Context, index *job.Index, t job.Terminal) (*job.Terminal, bool, error) {
	t.JobID = index.JobID
	t.ExpiresAt = index.Expiry(t.FinishedAt)
	data, err := json.Marshal(&t)
	if err != nil {
		return nil, false, fmt.Errorf("encode terminal record: %w", err)
	}
	if err := l.enqueue(ctx, index.JobID, endedStage, statusKey(index.JobID)); err != nil {
		return nil, false, err
	}
	if err := l.enqueueReport(ctx, index.JobID); err != nil {
		return nil, false, err
	}
	first := true
	recorded := &t
	err = l.store.Create(ctx, statusKey(index.JobID), data)
	if errors.Is(err, job.ErrExists) {
		first = false
		recorded, err = l.Terminal(ctx, index.JobID)
	}
	if err != nil {
		return nil, false, err
	}
	if first {
		l.observeEnd(index, recorded)
	}
	if len(index.Secrets) > 0 {
		err = l.store.Remove(ctx, secretsKey(index.JobID))
	}
	if err == nil {
		err = l.settle(ctx, recorded)
	}
	if err == nil && first {
		l.publish(ctx, endNotice(index, recorded))
	}
	return recorded, first, err
}

// settle moves a job that is over, and whose secrets are removed, from the lists of active jobs to
// those of ended ones. The active entry goes last: as long as it is there, the reaper removes the
// secrets and calls settle again.
func (l *Ledger) settle(ctx context.Context, t *job.Terminal) error {
	expires := expiryKey(t.ExpiresAt, t.JobID)
	for _, key := range []string{phasePrefix(t.Phase) + shard(t.JobID), expires} {
		if err := l.store.Mark(ctx, key); err != nil {
			return err
		}
	}
	for _, folder := range []string{running, active} {
		if err := l.store.Remove(ctx, folder+string(t.JobID)); err != nil {
			return err
		}
	}
	// Another process may have ended and removed the job meanwhile. A removal takes the index before
	// the entries. So if it missed the entries made here, there is no index now.
	exists, err := l.store.Exists(ctx, indexKey(t.JobID))
	if err != nil || exists {
		return err
	}
	return l.purge(ctx, t.JobID, expires)
}

// PutOutputs records the list of stored outputs.
func (l *Ledger) PutOutputs(ctx context.Context, id job.ID, files []job.File) error {
	data, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("encode outputs: %w", err)
	}
	if err := l.store.Create(ctx, outputsKey(id), data); err != nil && !errors.Is(err, job.ErrExists) {
		return err
	}
	return nil
}

// OutputsRecorded reports whether the list of outputs is recorded.
func (l *Ledger) OutputsRecorded(ctx context.Context, id job.ID) (bool, error) {
	return l.store.Exists(ctx, outputsKey(id))
}

// Outputs returns the stored outputs in the order of their names. A job that is not over has none
// yet.
func (l *Ledger) Outputs(ctx context.Context, id job.ID) ([]job.File, error) {
	files := []job.File{}
	err := l.read(ctx, outputsKey(id), &files)
	if errors.Is(err, job.ErrNotFound) {
		return files, nil
	}
	return files, err
}

func (l *Ledger) read(ctx context.Context, key string, into any) error {
	data, err := l.store.Read(ctx, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode %s: %w", key, err)
	}
	return nil
}

func (l *Ledger) create(ctx context.Context, key string, record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	return l.store.Create(ctx, key, data)
}
