// Package drivers opens the bucket that a URL names. Each cloud comes in by its build tag: s3, gs
// or azblob. Without it a command links nothing of that cloud's client, which is what makes it
// start fast; and says so when it is asked for.
package drivers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"go-job-orchestrator/shared/store"
)

// Open returns the Store in the bucket that the URL names: s3://<bucket>, gs://<bucket>,
// azblob://<container>, file:///<directory> or mem://, with the parameters of gocloud.dev/blob,
// such as ?region=…, and prefix=<folder>/ for a part of a bucket.
func Open(ctx context.Context, address string) (*store.Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("is not a URL") // what it says instead may be secret
	}
	switch u.Scheme {
	case "file":
		return openFile(u)
	case "mem":
		return store.OpenBucket(memblob.OpenBucket(nil), store.Extension{}), nil
	case "s3", "gs", "azblob":
		return openCloud(ctx, u)
	}
	return nil, fmt.Errorf("%q is no kind of bucket: there are s3://, gs://, azblob://, file:// and mem://", u.Scheme+
		"://")
}

func openFile(u *url.URL) (*store.Store, error) {
	if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) || u.RawQuery != "" {
		return nil, errors.New("write file:///<absolute path>, without parameters")
	}
	return store.OpenDir(filepath.FromSlash(u.Path))
}

func openCloud(ctx context.Context, u *url.URL) (*store.Store, error) {
	if u.Host == "" {
		return nil, fmt.Errorf("write %s://<bucket>", u.Scheme)
	}
	extend, linked := cloud(u.Scheme)
	if !linked {
		return nil, fmt.Errorf("this program was built without the driver of %s://; build it with -tags %s (make: "+
			"DRIVERS=%s)", u.Scheme, u.Scheme, u.Scheme)
	}
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	return store.OpenBucket(b, extend(bucket{b, u.Host, u.Query().Get("prefix")})), nil
}

// bucket is what an extension works with.
type bucket struct {
	*blob.Bucket
	name   string
	prefix string // of all keys, which the bucket's own client must be told
}

// extender returns what a kind of bucket can do beyond the portable API.
type extender func(b bucket) store.Extension

// cloud returns the extension for a scheme, and false when its driver is not linked.
func cloud(scheme string) (extender, bool) {
	switch scheme {
	case "s3":
		return s3Extension, hasS3
	case "gs":
		return gsExtension, hasGS
	case "azblob":
		return azureExtension, hasAzure
	}
	return nil, false
}
