package prepare

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go-job-orchestrator/shared/fstree"
)

// The bounds of an installed tree.
const (
	maxTreeDepth   = 100
	maxTreeEntries = 500_000
	// maxProjectDepth is how deep packages of a project with several may lie.
	maxProjectDepth = 20
)

// Pack writes trees, which lie in the folder root, as a tar archive. Packages may have put anything
// into them, so everything is reached by handle and no link is followed. What is neither a file nor
// a folder nor a link is left out.
func Pack(ctx context.Context, root string, trees []string, to io.Writer) error {
	w := tar.NewWriter(to)
	for _, tree := range trees {
		if err := packTree(ctx, w, root, tree); err != nil {
			return fmt.Errorf("pack %s: %w", tree, err)
		}
	}
	return w.Close()
}

func packTree(ctx context.Context, w *tar.Writer, root, tree string) error {
	dir, err := fstree.Open(root, strings.Split(tree, "/")...)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: tree + "/", Mode: 0o755}); err != nil {
		return err
	}
	walk := fstree.Walk{Depth: maxTreeDepth, Entries: maxTreeEntries, Ordered: true}
	return walk.Tree(ctx, dir, func(e *fstree.Entry, err error) error {
		if err != nil {
			return err
		}
		return packEntry(w, tree, e)
	})
}

func packEntry(w *tar.Writer, tree string, e *fstree.Entry) error {
	sec, nsec := e.Stat.Mtim.Unix()
	h := &tar.Header{Name: tree + "/" + e.Path(), Mode: 0o644, ModTime: time.Unix(sec, nsec).Truncate(time.Second)}
	switch {
	case e.IsDir():
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, h.Name+"/", 0o755
		return w.WriteHeader(h)
	case e.Type()&fs.ModeSymlink != 0:
		target, err := e.Readlink()
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return w.WriteHeader(h)
	case !e.IsRegular():
		return nil
	}
	f, err := e.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	if e.Stat.Mode&0o100 != 0 {
		h.Mode = 0o755
	}
	h.Typeflag, h.Size = tar.TypeReg, e.Stat.Size
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(w, f, h.Size)
	return err
}

// Unpack makes the trees that Pack has packed, in the folder root, and returns them. Every tree is a
// folder of the name base. It follows no link out of root.
func Unpack(ctx context.Context, root, base string, from io.Reader) (trees []string, err error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	to := unpacking{root: dir}
	defer func() { _ = to.leave() }() // it was only looked up in
	r := tar.NewReader(from)
	for range maxTreeEntries {
		if err := ctx.Err(); err != nil {
			return trees, err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			// What follows the archive is read as well: only then is it known to be what was stored.
			_, err := io.Copy(io.Discard, from)
			return trees, err
		}
		if err != nil {
			return trees, err
		}
		name := path.Clean(h.Name)
		tree := treeOf(name, base)
		if tree == "" {
			return trees, fmt.Errorf("%q lies in no folder %s", h.Name, base)
		}
		if !slices.Contains(trees, tree) {
			trees = append(trees, tree)
		}
		if err := to.entry(name, h, r); err != nil {
			return trees, fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	return trees, fmt.Errorf("more than %d entries", maxTreeEntries)
}

// treeOf returns the outermost folder of the name base that an entry lies in, or "".
func treeOf(name, base string) string {
	if !fs.ValidPath(name) {
		return ""
	}
	end := 0
	for part := range strings.SplitSeq(name, "/") {
		end += len(part)
		if part == base {
			return name[:end]
		}
		end++
	}
	return ""
}

// findTrees returns the outermost folders of the name base below a folder of root.
func findTrees(ctx context.Context, root, folder, base string) ([]string, error) {
	var below []string
	if folder != "." && folder != "" {
		below = strings.Split(folder, "/")
	}
	dir, err := fstree.Open(root, below...)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var trees []string
	walk := fstree.Walk{Depth: maxProjectDepth, Entries: maxTreeEntries, Ordered: true}
	err = walk.Tree(ctx, dir, func(e *fstree.Entry, err error) error {
		switch {
		case err != nil || !e.IsDir():
			return nil //nolint:nilerr // only what can be entered counts
		case e.Name == base:
			trees = append(trees, path.Join(folder, e.Path()))
			return fs.SkipDir
		}
		return nil
	})
	return trees, err
}

// unpacking makes entries below root. It keeps the folder of the last entry open: the next one mostly
// lies in it as well, and need not be looked up from root.
type unpacking struct {
	root *os.Root
	dir  *os.Root // nil: none
	name string   // of dir
}

// in returns the folder of a name, which must be there.
func (u *unpacking) in(name string) (*os.Root, error) {
	if u.dir != nil && u.name == name {
		return u.dir, nil
	}
	if err := u.leave(); err != nil {
		return nil, err
	}
	dir, err := u.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	u.dir, u.name = dir, name
	return dir, nil
}

func (u *unpacking) leave() error {
	if u.dir == nil {
		return nil
	}
	defer func() { u.dir = nil }()
	return u.dir.Close()
}

func (u *unpacking) entry(name string, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return u.root.MkdirAll(filepath.FromSlash(name), 0o755)
	}
	dir, err := u.in(filepath.FromSlash(path.Dir(name)))
	if err != nil {
		return err
	}
	name = path.Base(name)
	switch h.Typeflag {
	case tar.TypeSymlink:
		return dir.Symlink(h.Linkname, name)
	case tar.TypeReg:
	default:
		return fmt.Errorf("type %q: %w", h.Typeflag, fs.ErrInvalid)
	}
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(h.Mode)&0o755) //nolint:gosec // bits
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Python compares the time of a source with that in its compiled file.
	return dir.Chtimes(name, h.ModTime, h.ModTime)
}
