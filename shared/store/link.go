package store

import (
	"context"
	"time"
)

// MaxLinkSize is the most bytes that a PUT to a signed URL can bring: S3's own limit, the least of
// the three clouds'.
const MaxLinkSize = 5 << 30

// Link is what a signed URL is for. It opens one blob, for a time, to everybody who has it.
type Link struct {
	Method string        // GET or PUT
	Expiry time.Duration // how long it is valid
	// ContentType and Disposition are headers of the answer to a GET.
	ContentType, Disposition string
	// Size is what a PUT must bring.
	Size int64
}

// Link returns a signed URL of the blob at key, and false where the bucket has none.
func (s *Store) Link(ctx context.Context, key string, l Link) (url string, ok bool, err error) {
	name, err := encode(key)
	if err != nil {
		return "", false, err
	}
	return s.driver.link(ctx, name, l)
}

// LinkHeaders are what a client must send with a PUT to a signed URL.
func (s *Store) LinkHeaders() map[string]string { return s.driver.linkHeaders() }
