// Package ledgertest is a bucket with jobs in it, for tests. No command links it.
package ledgertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// Fixture is a bucket, the records of the jobs in it, and the keys of their tokens.
type Fixture struct {
	T      testing.TB
	Dir    string // empty where the bucket is in memory
	Store  *store.Store
	Ledger *ledger.Ledger
	Keys   token.Keys
	Now    func() time.Time
}

// New returns a fixture whose bucket is a new folder.
func New(t testing.TB) *Fixture {
	t.Helper()
	return Open(t, t.TempDir(), time.Now)
}

// Open returns a fixture whose bucket is a folder, or is in memory where dir is empty.
func Open(t testing.TB, dir string, now func() time.Time) *Fixture {
	t.Helper()
	f := &Fixture{T: t, Dir: dir, Now: now}
	var err error
	if dir == "" {
		f.Store = store.OpenBucket(memblob.OpenBucket(nil), store.Extension{})
	} else if f.Store, err = store.OpenDir(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Store.Close() })
	if f.Keys, err = token.New(bytes.Repeat([]byte("k"), token.MinKeyBytes)); err != nil {
		t.Fatal(err)
	}
	f.Ledger = ledger.New(f.Store, now)
	return f
}

// Each runs a test with each kind of bucket.
func Each(t *testing.T, test func(t *testing.T, f *Fixture)) {
	t.Helper()
	t.Run("directory", func(t *testing.T) { test(t, New(t)) })
	t.Run("bucket", func(t *testing.T) { test(t, Open(t, "", time.Now)) })
}

// Env is what functions are made from. Settings are NAME=value.
func (f *Fixture) Env(settings ...string) *platform.Env {
	vars := map[string]string{}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		vars[name] = value
	}
	env := platform.New(vars, slog.New(slog.DiscardHandler))
	env.Now = f.Now
	env.SetStore(f.Store)
	env.SetKeys(f.Keys)
	return env
}

// Serve starts a server of functions. It stops at the end of the test.
func (f *Fixture) Serve(functions ...serve.Function) *httptest.Server {
	router := api.NewRouter(slog.New(slog.DiscardHandler)).Guarded(guardtest.New(f.Keys, f.Ledger))
	for _, one := range functions {
		one.Mount(router)
	}
	server := httptest.NewServer(router)
	f.T.Cleanup(server.Close)
	return server
}

// ID returns the ID of a job that was never accepted.
func (f *Fixture) ID() job.ID {
	f.T.Helper()
	id, err := job.NewID(f.Now(), rand.Reader)
	f.Must(err)
	return id
}

// Job accepts a job, after it was changed.
func (f *Fixture) Job(change ...func(*job.Index)) *job.Index {
	f.T.Helper()
	id := f.ID()
	index := &job.Index{
		JobID: id, JobName: id.Name(), Namespace: "here", CreatedAt: id.Created(),
		Spec: job.Spec{Runtime: "python", Entrypoint: "a.py", TTLSecondsAfterFinished: 60},
	}
	for _, c := range change {
		c(index)
	}
	f.Must(f.Ledger.Accept(f.T.Context(), index))
	return index
}

// File stores a file that a job is submitted with.
func (f *Fixture) File(id job.ID, name, content string) job.File {
	f.T.Helper()
	return f.put(ledger.FileKey(id, name), name, content)
}

// Output stores an output. It is not in the list of the job's outputs yet.
func (f *Fixture) Output(id job.ID, name, content string) job.File {
	f.T.Helper()
	return f.put(ledger.ResultKey(id, name), name, content)
}

func (f *Fixture) put(key, name, content string) job.File {
	f.T.Helper()
	d, err := f.Store.Put(f.T.Context(), key, strings.NewReader(content))
	f.Must(err)
	return job.File{Name: name, Size: d.Size, SHA256: d.SHA256}
}

// Start records that an attempt has begun.
func (f *Fixture) Start(index *job.Index, number int) job.Attempt {
	f.T.Helper()
	a, err := f.Ledger.StartAttempt(f.T.Context(), index.JobID, number, "test", nil)
	f.Must(err)
	return a
}

// Finish records the end of a job.
func (f *Fixture) Finish(index *job.Index, end job.Terminal) {
	f.T.Helper()
	_, _, err := f.Ledger.Finish(context.WithoutCancel(f.T.Context()), index, end)
	f.Must(err)
}

// End has a job end now, in this phase.
func (f *Fixture) End(index *job.Index, phase job.Phase) {
	f.T.Helper()
	f.Finish(index, job.Terminal{Phase: phase, FinishedAt: f.Now()})
}

// Bearer is the value of Authorization that opens a job.
func (f *Fixture) Bearer(scope token.Scope, id job.ID) string {
	return "Bearer " + f.Keys.Derive(scope, id)
}

// Must ends the test if there is an error.
func (f *Fixture) Must(err error) {
	f.T.Helper()
	if err != nil {
		f.T.Fatal(err)
	}
}

// Files lists the files and folders of the bucket, but for records in the making.
func (f *Fixture) Files() []string {
	f.T.Helper()
	list := []string{}
	f.Must(filepath.WalkDir(f.Dir, func(path string, _ fs.DirEntry, err error) error {
		if name := strings.TrimPrefix(path, f.Dir+"/"); err == nil && path != f.Dir && name != ".tmp" {
			list = append(list, name)
		}
		return err
	}))
	return list
}
