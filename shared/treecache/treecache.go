// Package treecache keeps installed packages in the bucket: for each owner and key a compressed
// archive, which one job builds while others that need the same wait. What is half written or
// spoiled counts as missing.
package treecache

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/store"
)

// folder holds, for each owner and key, a folder with these keys:
//
//	blob-<id>                        the archive, tar.zst
//	entry-<size>-<sha256>-<id>       empty, written after the blob: the entry is complete
//	used-<hour>                      empty: when it was used last
//	building                         who builds it, and until when others wait
//
// All that eviction needs is in the names, so it reads nothing.
const folder = ledger.Reserved + "dependencies/"

// The names of an entry's keys.
const (
	blobName     = "blob-"
	entryName    = "entry-"
	usedName     = "used-"
	buildingName = "building"
)

// maxNames is how many keys an entry has at most, beside those that a crash left.
const maxNames = 100

// turnLasts is how long others wait for who builds and is not heard of any more.
const turnLasts = 30 * time.Second

// Cache is the cache in a bucket.
type Cache struct {
	Store *store.Store
	Limit int64 // bytes of all archives; 0: nothing is kept
	Now   func() time.Time
	Log   *slog.Logger
	// Room reports whether the storage has room for so many bytes. It may be nil.
	Room func(bytes int64) bool
}

func prefix(owner, key string) string {
	sum := sha256.Sum256([]byte(owner))
	return folder + hex.EncodeToString(sum[:])[:32] + "/" + key + "/"
}

// checkKey keeps keys from leading anywhere else.
func checkKey(key string) error {
	if sum, err := hex.DecodeString(key); err != nil || len(sum) != sha256.Size || key != strings.ToLower(key) {
		return job.Invalid("key", "must be 64 lowercase hexadecimal digits")
	}
	return nil
}

// entry is a complete archive.
type entry struct {
	name, sum, blob string
	size            int64
}

func parseEntry(name string) (entry, bool) {
	parts := strings.Split(strings.TrimPrefix(name, entryName), "-")
	e := entry{name: name}
	if !strings.HasPrefix(name, entryName) || len(parts) != 3 {
		return e, false
	}
	_, err := fmt.Sscanf(parts[0], "%x", &e.size)
	e.sum, e.blob = parts[1], blobName+parts[2]
	return e, err == nil
}

// find returns the entry at a key, and the names beside it.
func (c *Cache) find(ctx context.Context, at string) (e entry, names []string, err error) {
	keys, err := c.Store.List(ctx, at, "", maxNames)
	if err != nil {
		return entry{}, nil, err
	}
	for _, key := range keys {
		name := strings.TrimPrefix(key, at)
		names = append(names, name)
		if found, ok := parseEntry(name); ok {
			e = found
		}
	}
	return e, names, nil
}

// turn is who builds an entry.
type turn struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

// Claim says what the holder is to do about the key of an owner. A holder who builds asks again, so
// that others go on waiting. Two may build at once when one was not heard of for a while, which costs
// only time.
func (c *Cache) Claim(ctx context.Context, owner, key, holder string) (prepare.Turn, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	if c.Limit == 0 {
		return prepare.Build, nil
	}
	at := prefix(owner, key)
	e, names, err := c.find(ctx, at)
	if err != nil {
		return "", err
	}
	if e.name != "" {
		return prepare.Stored, c.use(ctx, at, names)
	}
	mine, err := json.Marshal(turn{holder, c.Now().Add(turnLasts).UTC()})
	if err != nil {
		return "", fmt.Errorf("encode turn: %w", err)
	}
	err = c.Store.Create(ctx, at+buildingName, mine)
	if !errors.Is(err, job.ErrExists) {
		return prepare.Build, err
	}
	var other turn
	data, err := c.Store.Read(ctx, at+buildingName)
	if errors.Is(err, job.ErrNotFound) {
		return prepare.Wait, nil // just ended: the next look tells
	}
	if err != nil {
		return "", err
	}
	if json.Unmarshal(data, &other) == nil && other.Holder != holder && c.Now().Before(other.Until) {
		return prepare.Wait, nil
	}
	_, err = c.Store.Put(ctx, at+buildingName, strings.NewReader(string(mine)))
	return prepare.Build, err
}

// use notes that an entry was used in this hour.
func (c *Cache) use(ctx context.Context, at string, names []string) error {
	now := usedName + hour(c.Now())
	var old []string
	for _, name := range names {
		if name == now {
			return nil
		}
		if strings.HasPrefix(name, usedName) {
			old = append(old, name)
		}
	}
	if err := c.Store.Mark(ctx, at+now); err != nil {
		return err
	}
	for _, name := range old {
		if err := c.Store.Remove(ctx, at+name); err != nil {
			return err
		}
	}
	return nil
}

// hour sorts by time.
func hour(t time.Time) string { return fmt.Sprintf("%08x", max(t.Unix()/3600, 0)) }

// Release ends the turn of a holder who has built nothing.
func (c *Cache) Release(ctx context.Context, owner, key, holder string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	at := prefix(owner, key) + buildingName
	data, err := c.Store.Read(ctx, at)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var t turn
	if json.Unmarshal(data, &t) == nil && t.Holder != holder {
		return nil
	}
	return c.Store.Remove(ctx, at)
}

// Put stores the archive that a holder has built, and ends the turn. Then entries that were not used
// for longest go until the rest is within the limit.
func (c *Cache) Put(ctx context.Context, owner, key, holder string, tar io.Reader) error {
	if err := checkKey(key); err != nil {
		return err
	}
	defer func() {
		if err := c.Release(context.WithoutCancel(ctx), owner, key, holder); err != nil {
			c.Log.Warn("turn to install packages not ended", "error", err)
		}
	}()
	if c.Limit == 0 || c.Room != nil && !c.Room(0) {
		return nil
	}
	at := prefix(owner, key)
	e, _, err := c.find(ctx, at)
	if err != nil || e.name != "" {
		return err
	}
	id := rand.Text()
	d, err := c.compress(ctx, at+blobName+strings.ToLower(id), tar)
	if err != nil {
		return fmt.Errorf("store packages: %w", err)
	}
	if err := c.Store.Mark(ctx, at+usedName+hour(c.Now())); err != nil {
		return err
	}
	entry := fmt.Sprintf("%s%016x-%s-%s", entryName, d.Size, d.SHA256, strings.ToLower(id))
	if err := c.Store.Mark(ctx, at+entry); err != nil {
		return err
	}
	_, err = c.Sweep(ctx)
	return err
}

// compress stores what is read, compressed.
func (c *Cache) compress(ctx context.Context, key string, tar io.Reader) (store.Digest, error) {
	r, w := io.Pipe()
	go func() {
		encoder, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window),
			zstd.WithLowerEncoderMem(true))
		if err == nil {
			_, err = io.Copy(encoder, tar)
			err = errors.Join(err, encoder.Close())
		}
		w.CloseWithError(err)
	}()
	defer r.Close()
	return c.Store.Put(ctx, key, &limited{r, c.Limit})
}

// limited fails when more is read than fits.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, job.Refuse(job.ErrTooLarge, "", "the packages are larger than the cache (DEPENDENCY_CACHE_BYTES)")
	}
	return n, err
}
