//go:build azblob

package drivers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://

	"go-job-orchestrator/shared/store"
)

const hasAzure = true

// Blocks of 4 MiB, three of which are read or on their way at a time: 195 GiB at most in the 50,000
// blocks that Azure allows.
const (
	azureBlockSize   = 4 << 20
	azureConcurrency = 3
)

// azureBatchSize is how many blobs a batch request takes.
const azureBatchSize = 256

func azureExtension(b bucket) store.Extension {
	var client *container.Client
	b.As(&client)
	return store.Extension{
		Handover: true, // written to, it panics after a failed request
		Writing: func(opts *blob.WriterOptions) {
			opts.BufferSize, opts.MaxConcurrency = azureBlockSize, azureConcurrency
		},
		UploadMemory:  azureConcurrency * azureBlockSize,
		RemoveBatch:   func(ctx context.Context, keys []string) error { return removeAzure(ctx, client, b.prefix, keys) },
		BatchSize:     azureBatchSize,
		Denied:        isDenied,
		SignedHeaders: map[string]string{"x-ms-blob-type": "BlockBlob"},
	}
}

func isDenied(err error) bool {
	var e *azcore.ResponseError
	return errors.As(err, &e) && (e.StatusCode == http.StatusForbidden || e.StatusCode == http.StatusUnauthorized)
}

func removeAzure(ctx context.Context, client *container.Client, prefix string, keys []string) error {
	batch, err := client.NewBatchBuilder()
	if err != nil {
		return fmt.Errorf("delete %d blobs: %w", len(keys), err)
	}
	for _, key := range keys {
		if err := batch.Delete(azureName(prefix+key), nil); err != nil {
			return fmt.Errorf("delete %s: %w", key, err)
		}
	}
	out, err := client.SubmitBatch(ctx, batch, nil)
	if err != nil {
		return fmt.Errorf("delete %d blobs: %w", len(keys), err)
	}
	for _, r := range out.Responses {
		if r.Error != nil && !bloberror.HasCode(r.Error, bloberror.BlobNotFound) {
			return fmt.Errorf("delete %d blobs: %w", len(keys), r.Error)
		}
	}
	return nil
}

// azureName is what gocloud calls a blob of which Azure cannot do the name.
func azureName(key string) string {
	return strings.NewReplacer(`"`, "__0x22__", "#", "__0x23__", "%", "__0x25__", "?", "__0x3f__", `\`, "__0x5c__",
		"\x7f", "__0x7f__").Replace(key)
}
