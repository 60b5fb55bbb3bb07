package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// tokenKey returns a new value for TOKEN_KEYS.
func tokenKey() (string, error) {
	key := make([]byte, token.MinKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(key), nil
}

// bucket is a new storage directory, with the keys of the tokens of its jobs.
type bucket struct {
	seed
	key  string // TOKEN_KEYS
	keys token.Keys
}

func (r *room) bucket(name string) (b bucket, err error) {
	if b.key, err = tokenKey(); err != nil {
		return b, err
	}
	if b.keys, err = token.Parse(b.key); err != nil {
		return b, err
	}
	b.dir, err = r.folder(name)
	return b, err
}

// seed records jobs in a storage directory with the ledger itself, but in memory first. Waiting for
// the disk for each of a hundred thousand jobs would take longer than everything that is measured.
type seed struct{ dir string }

// jobs records n jobs, one a second up to newest, with what each does.
func (s seed) jobs(
	ctx context.Context, n int, newest time.Time, each func(ctx context.Context, l *ledger.Ledger, index *job.Index) error,
) error {
	const batch = 200
	for done := 0; done < n; done += batch {
		err := s.flush(ctx, func(l *ledger.Ledger) error {
			for i := done; i < min(done+batch, n); i++ {
				index, err := accepted(ctx, l, newest.Add(-time.Duration(i)*time.Second))
				if err != nil {
					return err
				}
				if err := each(ctx, l, index); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// job records one job that is not over.
func (s seed) job(ctx context.Context) (*job.Index, error) {
	var index *job.Index
	err := s.flush(ctx, func(l *ledger.Ledger) (err error) {
		index, err = accepted(ctx, l, time.Now())
		return err
	})
	return index, err
}

// accepted records a job as submit does.
func accepted(ctx context.Context, l *ledger.Ledger, at time.Time) (*job.Index, error) {
	id, err := job.NewID(at, rand.Reader)
	if err != nil {
		return nil, err
	}
	index := &job.Index{
		JobID: id, JobName: id.Name(), Namespace: "bench", CreatedAt: id.Created(),
		Spec:  job.Spec{Runtime: "binary", Entrypoint: "run", TTLSecondsAfterFinished: 3600},
		Files: []job.File{{Name: "run"}},
	}
	return index, l.Accept(ctx, index)
}

// over ends a job at a time.
func over(ctx context.Context, l *ledger.Ledger, index *job.Index, at time.Time) error {
	zero := 0
	attempt := job.Attempt{Number: 1, StartedAt: index.CreatedAt, FinishedAt: &at, Reason: job.ReasonCompleted,
		ExitCode: &zero}
	_, _, err := l.Finish(ctx, index, job.Terminal{
		Phase: job.Succeeded, Reason: job.ReasonCompleted, ExitCode: &zero, StartedAt: &index.CreatedAt, FinishedAt: at,
		Attempts: []job.Attempt{attempt}, Outputs: &job.Outputs{Count: 2},
	})
	return err
}

// flush writes to the directory what do records.
func (s seed) flush(ctx context.Context, do func(l *ledger.Ledger) error) error {
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	if err := do(ledger.New(store.OpenBucket(bucket, store.Extension{}), time.Now)); err != nil {
		return err
	}
	for objects := bucket.List(nil); ; {
		o, err := objects.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.copy(ctx, bucket, o.Key); err != nil {
			return err
		}
	}
}

func (s seed) copy(ctx context.Context, from *blob.Bucket, key string) error {
	data, err := from.ReadAll(ctx, key)
	if err != nil {
		return err
	}
	return s.file(key, bytes.NewReader(data))
}

// file stores a blob.
func (s seed) file(key string, content io.Reader) error {
	path := filepath.Join(s.dir, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
