package joblog_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
)

var errAway = errors.New("storage is away")

// bucket takes segments as the server does: one that holds the bytes of others replaces them. It
// checks what every put must keep to.
type bucket struct {
	t     testing.TB
	fails func(joblog.Range) (stored, failed bool)

	mu       sync.Mutex
	segments map[string][]byte
	refused  map[string][]byte // what was put under a name whose put failed
	puts     int
}

func newBucket(t testing.TB) *bucket {
	return &bucket{
		t: t, segments: map[string][]byte{}, refused: map[string][]byte{},
		fails: func(joblog.Range) (bool, bool) { return true, false },
	}
}

func (b *bucket) put(_ context.Context, name string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	r, err := joblog.ParseName(name)
	if err != nil {
		b.t.Error(err)
		return err
	}
	if len(data) > joblog.MaxSegment {
		b.t.Errorf("segment %s has %d bytes", name, len(data))
	}
	if before, again := b.refused[name]; again && !bytes.Equal(before, data) {
		b.t.Errorf("segment %s was sent again with other bytes", name)
	}
	stored, failed := b.fails(r)
	if stored {
		b.store(r, data)
	}
	if failed {
		b.refused[name] = bytes.Clone(data)
		return errAway
	}
	return nil
}

func (b *bucket) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.puts
}

func (b *bucket) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.segments)
}

// forget lets names be sent with other bytes than before.
func (b *bucket) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.refused)
}

func (b *bucket) store(r joblog.Range, data []byte) {
	maps.DeleteFunc(b.segments, func(name string, _ []byte) bool {
		o, err := joblog.ParseName(name)
		return err == nil && r.Covers(o)
	})
	b.segments[r.Name()] = bytes.Clone(data)
}

// contents is what a reader finds, with the largest segments taken where several hold the same
// bytes.
type contents struct {
	stdout, stderr bytes.Buffer
	merged         bytes.Buffer
	records        []spool.Record
	state          joblog.State
}

func (c *contents) of(s spool.Stream) *bytes.Buffer {
	if s == spool.Stderr {
		return &c.stderr
	}
	return &c.stdout
}

// read puts the segments together, and fails the test when they do not fit.
func (b *bucket) read() *contents {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &contents{}
	for _, name := range slices.Sorted(maps.Keys(b.segments)) {
		r, err := joblog.ParseName(name)
		if err != nil {
			b.t.Fatal(err)
		}
		if r.Last < c.state.Next {
			continue // a late put of a segment that was merged meanwhile
		}
		if r.First != c.state.Next {
			b.t.Fatalf("segment %s follows number %d: segments are missing or double", name, c.state.Next)
		}
		c.add(b.t, r, b.segments[name])
	}
	return c
}

func (c *contents) add(t testing.TB, r joblog.Range, data []byte) {
	t.Helper()
	h, n, err := joblog.ReadHeader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if h.Start != c.state.Position {
		t.Fatalf("segment %s begins at %+v, the one before it ends at %+v", r.Name(), h.Start, c.state.Position)
	}
	body := data[n:]
	if int64(len(body)) != h.Body() {
		t.Fatalf("segment %s has %d bytes, its header says %d", r.Name(), len(body), h.Body())
	}
	c.merged.Write(body)
	at := h.Start
	for _, r := range h.Records {
		for _, s := range streams() {
			n := *r.End.Of(s) - *at.Of(s)
			c.of(s).Write(body[:n])
			body = body[n:]
		}
		at = r.End
	}
	c.records = append(c.records, h.Records...)
	c.state.Next, c.state.Position = r.Last+1, h.End()
}

// program is a growing log, and what was written to it.
type program struct {
	t      testing.TB
	files  spool.Files
	writer *spool.Writer
	want   map[spool.Stream]*bytes.Buffer
	merged bytes.Buffer
}

func streams() []spool.Stream { return []spool.Stream{spool.Stdout, spool.Stderr} }

func newProgram(t testing.TB) *program {
	t.Helper()
	p := &program{t: t, want: map[spool.Stream]*bytes.Buffer{spool.Stdout: {}, spool.Stderr: {}}}
	p.files, p.writer = spooltest.New(t)
	return p
}

func (p *program) write(s spool.Stream, data []byte) {
	p.writer.Write(s, data)
	p.writer.Sync()
	p.want[s].Write(data)
	p.merged.Write(data)
}

func (p *program) shipper(from joblog.State, b *bucket) *joblog.Shipper {
	return joblog.NewShipper(p.files, from, b.put)
}

// check compares what is stored with what was written.
func (p *program) check(b *bucket) *contents {
	p.t.Helper()
	c := b.read()
	for _, s := range streams() {
		if !bytes.Equal(c.of(s).Bytes(), p.want[s].Bytes()) {
			p.t.Fatalf("%d bytes of %s are stored; they are not the %d that were written", c.of(s).Len(), s, p.want[s].Len())
		}
	}
	return c
}

// checkOrder compares the order of what is stored with that of the writes.
func (p *program) checkOrder(b *bucket) {
	p.t.Helper()
	if got := p.check(b).merged.Bytes(); !bytes.Equal(got, p.merged.Bytes()) {
		p.t.Errorf("the %d bytes that are stored are in another order than the %d that were written", len(got),
			p.merged.Len())
	}
}
