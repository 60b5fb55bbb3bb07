package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go-job-orchestrator/shared/instruments"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
)

// Keys of what is kept between two pushes.
const (
	prefix     = ledger.Reserved + "telemetry/"
	totalsKeys = prefix + "totals/" // a record for each version of the totals; only the last one counts
	spanKeys   = prefix + "spans/"  // the jobs whose spans the collector has not taken
)

// totals is everything that was counted since the collector was first configured. Each version is
// written once, by one process, with the entries that it has counted, so a crash before they are
// removed counts nothing twice.
type totals struct {
	version   int64
	Since     time.Time `json:"since"`
	Submitted counts    `json:"submitted"`
	Finished  counts    `json:"finished"`
	Attempts  counts    `json:"attempts"`
	Queue     histogram `json:"queue"`
	Run       histogram `json:"run"`
	// Batch are the entries that this version has counted, unless they are known to be removed.
	Batch []ledger.ReportEntry `json:"batch,omitempty"`
	left  []ledger.ReportEntry // of the batch before, which could not be read, so that they are still there
	// Due is when the records are to be counted again.
	Due time.Time `json:"due"`
	// Records is what the records said when they were counted last; nil: they never were.
	Records *counted  `json:"records,omitempty"`
	Reaped  time.Time `json:"reaped"` // the last round of the reaper without an error
}

// counted is what the records say.
type counted struct {
	job.Census
	Cached int64     `json:"cached"`         // bytes of packages
	Free   *int64    `json:"free,omitempty"` // bytes of the storage; nil: not known
	At     time.Time `json:"at"`
}

// counts are numbers by the values of their labels, with separators between them. All values come from
// tables, so their number is bounded.
type counts map[string]int64

const separator = "|"

func (c counts) add(labels ...string) { c[strings.Join(labels, separator)]++ }

// histogram has for each bound how many values were not above it but above the one before, and last
// those above all bounds.
type histogram struct {
	Buckets []uint64 `json:"buckets"`
	Sum     float64  `json:"sum"` // in seconds
}

func newHistogram(i instruments.Instrument) histogram {
	return histogram{Buckets: make([]uint64, len(i.Bounds)+1)}
}

func (h *histogram) observe(i instruments.Instrument, d time.Duration) {
	seconds := d.Seconds()
	at, _ := slices.BinarySearch(i.Bounds, seconds)
	h.Buckets[at]++
	h.Sum += seconds
}

func newTotals(now time.Time) *totals {
	return &totals{
		Since: now, Reaped: now, Submitted: counts{}, Finished: counts{}, Attempts: counts{},
		Queue: newHistogram(instruments.QueueSeconds()), Run: newHistogram(instruments.RunSeconds()),
	}
}

// next returns a copy to become the next version. Of the batch it has what is left.
func (t *totals) next() *totals {
	n := *t
	n.Submitted, n.Finished, n.Attempts = maps.Clone(t.Submitted), maps.Clone(t.Finished), maps.Clone(t.Attempts)
	n.Queue.Buckets, n.Run.Buckets = slices.Clone(t.Queue.Buckets), slices.Clone(t.Run.Buckets)
	n.Batch = slices.Clone(t.left)
	return &n
}

// add counts an acceptance, or the end of a job with its attempts.
func (t *totals) add(runtimes []string, life *ledger.Life) {
	runtime := instruments.Runtime(runtimes, life.Index.Runtime)
	end := life.Terminal
	if end == nil {
		source := job.Way("")
		if life.Index.Telemetry != nil {
			source = life.Index.Telemetry.Source
		}
		t.Submitted.add(runtime, instruments.Source(source))
		return
	}
	if word, over := instruments.End(end.Phase, end.Reason); over {
		t.Finished.add(runtime, string(end.Phase), word)
	}
	for _, a := range end.Attempts {
		if a.FinishedAt != nil {
			t.Attempts.add(instruments.Reason(a.Reason))
		}
	}
	if len(end.Attempts) > 0 {
		t.Queue.observe(instruments.QueueSeconds(), end.Attempts[0].Waited(life.Index.JobID))
	}
	if ran := end.Ran(); ran > 0 {
		t.Run.observe(instruments.RunSeconds(), ran)
	}
}

// fits reports whether the record is of the buckets that this version of the program has.
func (t *totals) fits() bool {
	return t.Submitted != nil && t.Finished != nil && t.Attempts != nil &&
		len(t.Queue.Buckets) == len(instruments.QueueSeconds().Bounds)+1 &&
		len(t.Run.Buckets) == len(instruments.RunSeconds().Bounds)+1
}

// errOutrun means that another process counts at the same time. What was counted here does not count.
var errOutrun = errors.New("another process has counted the same jobs at the same time")

// book keeps the totals.
type book struct {
	store *store.Store
	now   func() time.Time
}

// maxVersions is how many versions there are at most: one, but for crashes and for other processes.
const maxVersions = 1000

func versionKey(v int64) string { return fmt.Sprintf("%s%016x", totalsKeys, v) }

// versions lists the versions that there are, in order.
func (b *book) versions(ctx context.Context) ([]int64, error) {
	keys, err := b.store.List(ctx, totalsKeys, "", maxVersions)
	if err != nil {
		return nil, err
	}
	var list []int64
	for _, key := range keys {
		if v, err := strconv.ParseInt(strings.TrimPrefix(key, totalsKeys), 16, 64); err == nil && key == versionKey(v) {
			list = append(list, v)
		}
	}
	return list, nil
}

// hasNewer reports whether there is a later version.
func (b *book) hasNewer(ctx context.Context, version int64) (bool, error) {
	list, err := b.versions(ctx)
	return len(list) > 0 && list[len(list)-1] > version, err
}

// last returns the totals as they are, or new ones.
func (b *book) last(ctx context.Context) (*totals, error) {
	list, err := b.versions(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return newTotals(b.now().UTC()), nil
	}
	version := list[len(list)-1]
	data, err := b.store.Read(ctx, versionKey(version))
	if errors.Is(err, job.ErrNotFound) {
		return nil, errOutrun
	}
	if err != nil {
		return nil, err
	}
	t := &totals{}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(t); err != nil || !t.fits() {
		// They are of another version of the program, or damaged: a collector takes a new beginning for what
		// it is.
		t = newTotals(b.now().UTC())
	}
	t.version = version
	return t, nil
}

// write makes t the version after the one that it was made from. errOutrun means that another process
// has done so.
func (b *book) write(ctx context.Context, t *totals) error {
	t.version++
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode totals: %w", err)
	}
	err = b.store.Create(ctx, versionKey(t.version), data)
	if errors.Is(err, job.ErrExists) {
		return errOutrun
	}
	if err != nil {
		return err
	}
	list, err := b.versions(ctx)
	if err != nil {
		return err
	}
	for _, v := range list {
		switch {
		case v < t.version:
			err = errors.Join(err, b.store.Remove(ctx, versionKey(v)))
		case v > t.version: // the one that t was made from was not the last any more
			return errors.Join(errOutrun, b.store.Remove(ctx, versionKey(t.version)))
		}
	}
	return err
}
