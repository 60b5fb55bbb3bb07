package process

import (
	"bytes"
	"context"
	"io"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/store"
)

// bucket is a job's artifacts and results right in the store; in a pod the same goes over HTTP.
type bucket struct {
	store  *store.Store
	ledger *ledger.Ledger
	id     job.ID
}

var (
	_ executor.Artifacts = (*bucket)(nil)
	_ executor.Results   = (*bucket)(nil)
)

func (b *bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return b.store.Open(ctx, ledger.FileKey(b.id, name), 0, -1)
}

func (b *bucket) PutLog(ctx context.Context, segment string, data []byte) error {
	return logstore.Accept(ctx, b.store, b.id, segment, bytes.NewReader(data))
}

func (b *bucket) PutResult(ctx context.Context, name string, r io.Reader) (job.File, error) {
	d, err := b.store.Put(ctx, ledger.ResultKey(b.id, name), r)
	return job.File{Name: name, Size: d.Size, SHA256: d.SHA256}, err
}

func (b *bucket) PutOrder(ctx context.Context, r io.Reader) error {
	return logstore.PutOrder(ctx, b.store, b.id, r)
}

func (b *bucket) PutManifest(ctx context.Context, files []job.File) error {
	return b.ledger.PutOutputs(ctx, b.id, files)
}
