package secret

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// catalogKey is where the reaper publishes the names and roles of the operator's secrets. No job ID
// begins so, and it is one of the few blobs that are replaced.
const catalogKey = ".orchestrator/secrets/catalog.json"

// catalogPurpose keeps the code of the catalog apart from all others under the same keys.
const catalogPurpose = "secrets/catalog/v1"

// Published is the Catalog in the bucket. The functions that accept and launch jobs in a cluster
// read it, so only the reaper needs the right to list Secrets. The catalog has a code under the
// token keys: who can write to the bucket but does not have the keys cannot make a Secret usable
// that the operator did not label.
type Published struct {
	store *store.Store
	keys  token.Keys
}

var _ Catalog = (*Published)(nil)

// NewPublished returns the Catalog in a bucket.
func NewPublished(s *store.Store, keys token.Keys) *Published {
	return &Published{store: s, keys: keys}
}

// publishedCatalog is the blob.
type publishedCatalog struct {
	Entries json.RawMessage `json:"entries"`
	Code    string          `json:"code"`
}

// Entries returns what was last published, and nothing if that was not published with these keys.
func (p *Published) Entries(ctx context.Context) ([]Entry, error) {
	entries, _, err := p.read(ctx)
	return entries, err
}

func (p *Published) read(ctx context.Context) (entries []Entry, raw []byte, err error) {
	data, err := p.store.Read(ctx, catalogKey)
	if errors.Is(err, job.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the names of the operator's secrets: %w", err)
	}
	var c publishedCatalog
	if json.Unmarshal(data, &c) != nil || !p.keys.VerifyCode(c.Code, catalogPurpose, string(c.Entries)) {
		return nil, nil, nil //nolint:nilerr // what is not ours is like nothing
	}
	if err := json.Unmarshal(c.Entries, &entries); err != nil {
		return nil, nil, fmt.Errorf("decode the names of the operator's secrets: %w", err)
	}
	return entries, data, nil
}

// Publish stores the entries of another catalog, if they have changed.
func (p *Published) Publish(ctx context.Context, from Catalog) error {
	entries, err := from.Entries(ctx)
	if err != nil {
		return fmt.Errorf("list the operator's secrets: %w", err)
	}
	_, before, err := p.read(ctx)
	if err != nil {
		return err
	}
	raw, err := encodeEntries(entries)
	if err != nil {
		return fmt.Errorf("encode the names of the operator's secrets: %w", err)
	}
	data, err := json.Marshal(publishedCatalog{Entries: raw, Code: p.keys.Code(catalogPurpose, string(raw))})
	if err != nil {
		return fmt.Errorf("encode the names of the operator's secrets: %w", err)
	}
	if bytes.Equal(data, before) || len(entries) == 0 && before == nil {
		return nil
	}
	if _, err := p.store.Put(ctx, catalogKey, bytes.NewReader(data)); err != nil {
		return fmt.Errorf("publish the names of the operator's secrets: %w", err)
	}
	return nil
}
