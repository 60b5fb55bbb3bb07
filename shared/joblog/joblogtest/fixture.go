// Package joblogtest is a job whose log is written, shipped and stored, for tests. No command links
// it.
package joblogtest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
)

// Fixture is a bucket with a job, and the spool of its log.
type Fixture struct {
	*ledgertest.Fixture
	Index  *job.Index
	Spool  spool.Files
	Writer *spool.Writer

	mu   sync.Mutex
	want map[spool.Stream]*bytes.Buffer
}

// New returns a fixture whose bucket is a new folder, with a job whose log is empty.
func New(t testing.TB) *Fixture {
	t.Helper()
	f := &Fixture{Fixture: ledgertest.New(t)}
	f.Renew()
	return f
}

// Renew makes a new job the one whose log is written.
func (f *Fixture) Renew() {
	f.T.Helper()
	f.Index = f.Job()
	f.want = map[spool.Stream]*bytes.Buffer{spool.Stdout: {}, spool.Stderr: {}}
	f.Spool, f.Writer = spooltest.New(f.T)
}

// Streams are both of them.
func Streams() []spool.Stream { return []spool.Stream{spool.Stdout, spool.Stderr} }

// Write writes to the spool.
func (f *Fixture) Write(s spool.Stream, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Writer.Write(s, []byte(text))
	f.Writer.Sync()
	f.want[s].WriteString(text)
}

// Expect adds to what the log should have without writing it.
func (f *Fixture) Expect(s spool.Stream, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want[s].WriteString(text)
}

// Want is what the log of a stream should have.
func (f *Fixture) Want(s spool.Stream) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.want[s].String()
}

// Ship ships what was written. It tries again where the storage fails.
func (f *Fixture) Ship(s *joblog.Shipper) {
	f.T.Helper()
	err := s.Flush(context.Background())
	for n := 0; err != nil && n < 1000; n++ {
		err = s.Flush(context.Background())
	}
	f.Must(err)
}

// Keep stores the whole log as it is in the spool, but not its order.
func (f *Fixture) Keep() {
	f.T.Helper()
	for stream, name := range map[spool.Stream]string{spool.Stdout: job.StdoutFile, spool.Stderr: job.StderrFile} {
		_, err := f.Store.Put(context.Background(), ledger.ResultKey(f.Index.JobID, name),
			io.NewSectionReader(f.Spool.Of(stream), 0, 1<<40))
		f.Must(err)
	}
}

// LastLines is what tail(1) prints.
func LastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines[max(len(lines)-n, 0):], "")
}
