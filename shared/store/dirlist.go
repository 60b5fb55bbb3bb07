package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// unfinished is what fileblob calls a blob in the making: after the blob, the time and its suffix.
var unfinished = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$`) })

func (d *directory) list(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	l := lister{ctx: ctx, root: d.root, prefix: prefix, after: after, limit: limit, keys: []string{}}
	folder := prefix[:strings.LastIndexByte(prefix, '/')+1]
	if err := l.walk(folder); err != nil {
		return nil, d.kindOrNil(err, "list", prefix)
	}
	return l.keys, nil
}

// lister walks a tree in the order of its keys and leaves out the folders that cannot hold any it
// wants.
type lister struct {
	ctx                 context.Context //nolint:containedctx // of the one call that the lister is made for
	root, prefix, after string
	limit               int
	keys                []string
}

func (l *lister) walk(folder string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(l.root, filepath.FromSlash(folder)))
	if errors.Is(err, fs.ErrNotExist) || isInTheWay(err) {
		return nil // never written, or pruned meanwhile
	}
	if err != nil {
		return err
	}
	for _, name := range keyOrder(entries) {
		if len(l.keys) >= l.limit {
			return nil
		}
		key := folder + name
		if strings.HasSuffix(name, "/") {
			if l.mayHold(key) && key != tempDir+"/" {
				if err := l.walk(key); err != nil {
					return err
				}
			}
		} else if strings.HasPrefix(key, l.prefix) && key > l.after && !unfinished().MatchString(name) {
			l.keys = append(l.keys, key)
		}
	}
	return nil
}

// mayHold reports whether a wanted key can begin with folder.
func (l *lister) mayHold(folder string) bool {
	if !strings.HasPrefix(folder, l.prefix) && !strings.HasPrefix(l.prefix, folder) {
		return false
	}
	return folder > l.after || strings.HasPrefix(l.after, folder)
}

// keyOrder returns the names with folders ending in a slash, sorted as the keys below them are.
func keyOrder(entries []fs.DirEntry) []string {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
		if e.IsDir() {
			names[i] += "/"
		}
	}
	slices.Sort(names)
	return names
}
