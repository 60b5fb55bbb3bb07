//go:build gs

package drivers

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob" // gs://
	"google.golang.org/api/googleapi"

	"go-job-orchestrator/shared/store"
)

const hasGS = true

// gsChunk is the memory of an upload, and what is sent again when the connection breaks; the
// client's own 16 MiB are made for single large files.
const (
	gsChunk    = 4 << 20
	copyMemory = 1 << 20 // of the pipe to it
)

func gsExtension(b bucket) store.Extension {
	return store.Extension{
		After: func(key string) func(as func(any) bool) error {
			return func(as func(any) bool) error {
				var q *storage.Query
				if as(&q) {
					q.StartOffset = b.prefix + key
				}
				return nil
			}
		},
		Writing:       func(opts *blob.WriterOptions) { opts.BufferSize = gsChunk },
		UploadMemory:  gsChunk + copyMemory,
		Denied:        isForbidden,
		Signing:       signGS,
		SignedHeaders: map[string]string{},
	}
}

// isForbidden finds missing rights, which gocloud takes for a missing object: a job must not seem
// gone for them.
func isForbidden(err error) bool {
	var e *googleapi.Error
	return errors.As(err, &e) && e.Code == http.StatusForbidden
}

func signGS(l store.Link) func(as func(any) bool) error {
	return func(as func(any) bool) error {
		var o *storage.SignedURLOptions
		if !as(&o) {
			return nil
		}
		o.Scheme = storage.SigningSchemeV4
		if l.Method == http.MethodPut {
			o.Headers = append(o.Headers, "Content-Length: "+strconv.FormatInt(l.Size, 10))
			return nil
		}
		o.QueryParameters = url.Values{"response-content-type": {l.ContentType},
			"response-content-disposition": {l.Disposition}}
		return nil
	}
}
