// Package download answers requests for stored files: ranges, conditions, and the headers that let
// a client verify what it gets and keep a browser from running it.
package download

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

// Bucket is where the files lie; store.Store is one.
type Bucket interface {
	Open(ctx context.Context, key string, offset, length int64) (*store.Reader, error)
	Stat(ctx context.Context, key string) (store.Info, error)
}

var _ Bucket = (*store.Store)(nil)

// Source serves the files of one bucket. Its methods may be called concurrently.
type Source struct {
	bucket Bucket
	// remote is set once a blob turned out not to be a file of this machine; then none is, and asking
	// is saved.
	remote atomic.Bool
	links  *links // nil: no request is redirected
}

// From returns the Source over a bucket.
func From(b Bucket) *Source { return &Source{bucket: b} }

// Serve answers a GET or HEAD with the blob at key, which the records describe as f. The error is
// for what happened before anything was written; later ones cut the connection off.
func (s *Source) Serve(w http.ResponseWriter, r *http.Request, key string, f job.File) error {
	if s.redirects(r) {
		if done, err := s.redirect(w, r, key, f); done || err != nil {
			return err
		}
	}
	c, err := s.open(r, key)
	if err != nil {
		return err
	}
	defer c.Close()
	if c.size != f.Size {
		return fmt.Errorf("serve %s: %w", key, &changedError{stored: c.size, recorded: f.Size})
	}
	SetHeaders(w.Header(), f)
	a := &answer{ResponseWriter: w}
	http.ServeContent(a, withoutManyRanges(r), "", c.modTime, c.ReadSeeker)
	return a.refuse(r, f.Size)
}

// changedError tells of a blob that is not the one in the records.
type changedError struct{ stored, recorded int64 }

func (e *changedError) Error() string {
	return fmt.Sprintf("%d bytes are stored where the records say %d", e.stored, e.recorded)
}

// Name returns the file that a path parameter of httprouter's catch-all kind names.
func Name(parameter string) string { return strings.TrimPrefix(parameter, "/") }

// CheckQuery refuses parameters, of which a single file has none: it must not be taken for what
// they ask for.
func CheckQuery(r *http.Request) error {
	_, err := api.Query{}.Values(r.URL.RawQuery)
	return err
}

// content is an open blob.
type content struct {
	io.ReadSeeker
	io.Closer
	size    int64
	modTime time.Time
}

// open opens a blob as the file it is, so that the kernel can send it, or else as ranges.
func (s *Source) open(r *http.Request, key string) (*content, error) {
	if s.remote.Load() && !isPlain(r) {
		info, err := s.bucket.Stat(r.Context(), key)
		if err != nil {
			return nil, err
		}
		return newRanges(r.Context(), s.bucket, key, info, nil), nil
	}
	reader, err := s.bucket.Open(r.Context(), key, 0, -1)
	if err != nil {
		return nil, err
	}
	if file := reader.File(); file != nil {
		return &content{ReadSeeker: file, Closer: reader, size: reader.Size, modTime: reader.ModTime}, nil
	}
	s.remote.Store(true)
	return newRanges(r.Context(), s.bucket, key, reader.Info, reader), nil
}

// isPlain reports whether the answer is certainly the whole blob: then the reader opened to learn
// of it is the one that is read.
func isPlain(r *http.Request) bool { return isUnconditional(r) && r.Header.Get("Range") == "" }

// isUnconditional reports whether the answer has the blob, or a part of it, whatever the client has
// already.
func isUnconditional(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return true
}

// SetHeaders describes the file that an answer brings.
func SetHeaders(h http.Header, f job.File) {
	h.Set("Content-Type", ContentType(f))
	h.Set("Content-Disposition", Attachment(f.Name))
	h.Set("X-Content-Type-Options", "nosniff")
	// Jobs write what they like: should a browser show it in spite of the above, then as a page of no
	// site.
	h.Set("Content-Security-Policy", "sandbox")
	// Only the holder of the token may have it, and only as long as the job is kept.
	h.Set("Cache-Control", "private, no-cache")
	if sum, err := hex.DecodeString(f.SHA256); err == nil && len(sum) > 0 {
		h.Set("ETag", `"`+f.SHA256+`"`)
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
}

// maxRanges bounds what one request can make a remote bucket do: every range is a request to it.
const maxRanges = 16

// withoutManyRanges drops a Range header of many ranges, which RFC 9110, section 14.2, leaves to
// the server.
func withoutManyRanges(r *http.Request) *http.Request {
	if strings.Count(r.Header.Get("Range"), ",") < maxRanges {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	return r
}
