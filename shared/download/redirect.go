package download

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

// Linker makes signed URLs; store.Store is one.
type Linker interface {
	Link(ctx context.Context, key string, l store.Link) (url string, ok bool, err error)
}

var _ Linker = (*store.Store)(nil)

// links is how a Source has the bucket itself serve its files.
type links struct {
	linker Linker
	ttl    time.Duration
	log    *slog.Logger
}

// Linking has downloads redirected to URLs of the bucket that are valid for ttl, where it has such;
// with a ttl of 0 none are.
func (s *Source) Linking(l Linker, ttl time.Duration, log *slog.Logger) *Source {
	if ttl > 0 {
		s.links = &links{l, ttl, log}
	}
	return s
}

// redirects reports whether a request may be answered with a URL of the bucket. Conditions may not:
// they are about entity tags and times of ours.
func (s *Source) redirects(r *http.Request) bool {
	return s.links != nil && isUnconditional(r) && r.Header.Get("If-Range") == ""
}

// redirect answers with a URL of the bucket, and reports whether it did: that the URL cannot be had
// is no reason not to serve the file.
func (s *Source) redirect(w http.ResponseWriter, r *http.Request, key string, f job.File) (bool, error) {
	info, err := s.bucket.Stat(r.Context(), key)
	if err != nil {
		return false, err
	}
	if info.Size != f.Size {
		return false, fmt.Errorf("serve %s: %w", key, &changedError{stored: info.Size, recorded: f.Size})
	}
	url, ok, err := s.links.linker.Link(r.Context(), key, store.Link{
		Method: http.MethodGet, Expiry: s.links.ttl, ContentType: ContentType(f), Disposition: Attachment(f.Name),
	})
	if err != nil {
		s.links.log.WarnContext(r.Context(), "no signed URL; the function serves the file itself", "key", key, "error", err)
	}
	if err != nil || !ok {
		return false, nil //nolint:nilerr // the function serves the file itself
	}
	w.Header().Set("Location", url)
	w.Header().Set("Cache-Control", "no-store") // it is as good as the file
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true, nil
}
