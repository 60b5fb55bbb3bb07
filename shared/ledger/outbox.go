package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// The outbox has one entry for each step that the sink has not taken yet. An entry is made before
// the step is recorded, so a crash cannot lose an event, and removed when the sink has taken the
// event (Published).
//
// A new entry is empty: while the job exists, its records say what the event has to say, always in
// the same words, and an empty entry needs no flush of its own. An entry gets content when its
// notice was sent in vain, and before the job's records go.

// stage is the last part of an entry's key. Keys sort in the order in which events are sent. All
// ends are one stage: several may try to end a job, and only the record says which end it is.
type stage string

const (
	submittedStage stage = "1-submitted"
	startedStage   stage = "2-started"
	endedStage     stage = "3-ended"
	reapedStage    stage = "4-reaped"
)

func stageOf(s job.Step) stage {
	switch s {
	case job.StepSubmitted:
		return submittedStage
	case job.StepStarted:
		return startedStage
	case job.StepReaped:
		return reapedStage
	}
	return endedStage
}

// outboxEntry is the content of an entry.
type outboxEntry struct {
	Notice *job.Notice `json:"notice,omitempty"`
	// Tries is how often the notice was sent, as far as is known in vain: first at First. It is sent
	// again at Next.
	Tries int       `json:"tries,omitempty"`
	First time.Time `json:"first,omitzero"`
	Next  time.Time `json:"next,omitzero"`
}

// outboxKey spreads entries over folders of 17 minutes each. That is one folder above the entry and
// not four, as in the lists of jobs, because an entry lives for milliseconds, and making folders
// costs more than the entry.
func outboxKey(id job.ID, s stage) string {
	return fmt.Sprintf("%s%s/%s-%s", outbox, id[:7], id, s)
}

func parseOutboxKey(key string) (job.ID, stage, bool) {
	name, last, _ := strings.Cut(key[strings.LastIndexByte(key, '/')+1:], "-")
	id, err := job.ParseID(name)
	return id, stage(last), err == nil && key == outboxKey(id, stage(last))
}

// Publisher sends the notice of a step. It may go on sending in the background. Once the notice is
// taken it calls Published; until then the reaper sends it again.
type Publisher interface {
	Publish(ctx context.Context, n job.Notice)
}

// Publishing returns a Ledger of the same records that has every step published, at least once,
// even when the process dies in between.
func (l *Ledger) Publishing(p Publisher) *Ledger {
	publishing := *l
	publishing.publisher = p
	return &publishing
}

func (l *Ledger) publish(ctx context.Context, n job.Notice) {
	if l.publisher != nil {
		l.publisher.Publish(context.WithoutCancel(ctx), n)
	}
}

// publishStart is for callers that have not read the job's index. When that fails, the entry in the
// outbox remains.
func (l *Ledger) publishStart(ctx context.Context, id job.ID, a job.Attempt) {
	if l.publisher == nil {
		return
	}
	if index, err := l.Index(ctx, id); err == nil {
		l.publish(ctx, startNotice(index, a))
	}
}

// enqueue makes the entry of a step before the step is recorded at the key record. If the record is
// there already, whoever wrote it has made the entry.
func (l *Ledger) enqueue(ctx context.Context, id job.ID, s stage, record string) error {
	if l.publisher == nil {
		return nil
	}
	recorded, err := l.store.Exists(ctx, record)
	if err != nil || recorded {
		return err
	}
	return l.store.Mark(ctx, outboxKey(id, s))
}

// Published records that the sink has taken the notice of a step.
func (l *Ledger) Published(ctx context.Context, id job.ID, step job.Step) error {
	return l.store.Remove(ctx, outboxKey(id, stageOf(step)))
}

// entry reads an entry of the outbox. The error is of kind job.ErrNotFound when there is none.
func (l *Ledger) entry(ctx context.Context, key string) (*outboxEntry, error) {
	data, err := l.store.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	var e outboxEntry
	if len(data) == 0 {
		return &e, nil
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("decode %s: %w", key, err)
	}
	return &e, nil
}

func (l *Ledger) putEntry(ctx context.Context, key string, e *outboxEntry) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	_, err = l.store.Put(ctx, key, bytes.NewReader(data))
	return err
}

// keepNotices gives the entries of a job content, before its records go, and reports whether there
// are any.
func (l *Ledger) keepNotices(ctx context.Context, index *job.Index) (pending bool, err error) {
	for _, s := range []stage{submittedStage, startedStage, endedStage} {
		key := outboxKey(index.JobID, s)
		e, err := l.entry(ctx, key)
		if errors.Is(err, job.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if e.Notice == nil {
			if e.Notice, err = l.notice(ctx, index, s); err != nil {
				return false, err
			}
			if e.Notice == nil { // the step did not happen; the reaper removes the entry
				continue
			}
			if err := l.putEntry(ctx, key, e); err != nil {
				return false, err
			}
		}
		pending = true
	}
	return pending, nil
}

// enqueueReaped records that a job has been removed, and returns the notice if it can be sent at
// once: if no other notice of the job comes before it.
func (l *Ledger) enqueueReaped(ctx context.Context, r *removal) (*job.Notice, error) {
	if l.publisher == nil || r.Terminal == nil {
		return nil, nil //nolint:nilnil // nothing to publish
	}
	n := newNotice(r.Index, job.StepReaped, l.now().UTC(), ended(r.Index, r.Terminal))
	err := l.create(ctx, outboxKey(r.Index.JobID, reapedStage), outboxEntry{Notice: &n})
	switch {
	case errors.Is(err, job.ErrExists): // by a removal that was cut off, with its time, which the reaper sends
		return nil, nil //nolint:nilnil // see above
	case err != nil:
		return nil, err
	case r.Pending:
		return nil, nil //nolint:nilnil // the reaper sends all in order
	}
	return &n, nil
}
