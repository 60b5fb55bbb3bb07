package executor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"go-job-orchestrator/shared/fstree"
	"go-job-orchestrator/shared/job"
)

// Bounds of the search for what a program wrote beside results/.
const (
	maxLeftoverNames     = 20       // are told; the others are counted
	maxLeftoverNameBytes = 200      // of each are told
	maxLeftoverDepth     = 50       // folders in each other
	maxLeftoverEntries   = 20_000   // are looked at, beside the uploaded files
	maxLeftoverHash      = 64 << 20 // bytes are read to tell a file that was changed from one that was only touched
)

// leftovers finds files in a program's working directory that nobody stores, since they do not lie
// in results/: users forget that, and would otherwise see a job that succeeded without outputs and
// no word why.
type leftovers struct {
	uploaded map[string]job.File // a link has the mode "link", and what was unpacked no SHA-256
	folders  map[string]bool     // those that hold uploaded files
	trees    map[string]bool     // folders that packages were installed into
	created  time.Time           // fetch gives it to the files as their time
	hashed   int64
	found    job.NotCollected
}

// leftBehind returns what the program wrote outside results/, or nil for nothing.
func (t *Task) leftBehind(ctx context.Context) (*job.NotCollected, error) {
	root, err := fstree.Open(t.Workspace.root, filesDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil //nolint:nilnil // nothing was ever there
		}
		return nil, err
	}
	defer root.Close()
	l := &leftovers{uploaded: map[string]job.File{}, folders: map[string]bool{},
		trees: t.Workspace.installedTrees(), created: fetchTime(t.Index)}
	uploaded := 0
	for _, f := range t.Index.Files {
		if uploaded++; f.Archive == "" {
			l.upload(f)
			continue
		}
		uploaded += f.Entries
		if err := t.unpackedFiles(f.Entries, l.unpacked); err != nil {
			return nil, err
		}
	}
	walk := fstree.Walk{Depth: maxLeftoverDepth, Entries: maxLeftoverEntries + uploaded, Ordered: true}
	err = walk.Tree(ctx, root, l.visit)
	if errors.Is(err, fstree.ErrTooMany) {
		l.found.More, err = true, nil
	}
	if err != nil || l.found.Count == 0 {
		return nil, err
	}
	return &l.found, nil
}

// linkMode marks a link that was unpacked.
const linkMode = "link"

func (l *leftovers) unpacked(name string, size int64) {
	f := job.File{Name: name, Size: size}
	if size < 0 {
		f.Mode = linkMode
	}
	l.upload(f)
}

// upload notes a file that was there before the program.
func (l *leftovers) upload(f job.File) {
	l.uploaded[f.Name] = f
	for i, c := range f.Name {
		if c == '/' {
			l.folders[f.Name[:i]] = true
		}
	}
}

func (l *leftovers) visit(e *fstree.Entry, err error) error {
	if e.Depth == 1 && e.Name == job.ResultsDir {
		return fs.SkipDir
	}
	if e.PathLen() > job.MaxOutputNameBytes {
		l.add(e.Path()[:job.MaxOutputNameBytes])
		return fs.SkipDir
	}
	name := e.Path()
	if l.trees[name] {
		return fs.SkipDir
	}
	switch {
	case err != nil, e.IsDir() && isCache(e.Name) && !l.folders[name]:
		l.add(name + "/")
		return fs.SkipDir
	case !e.IsDir() && !l.unchanged(e, name):
		l.add(name)
	}
	return nil
}

// isCache reports whether a folder is told as one, since nobody wants to know the files in it: what
// tools keep for themselves in the home directory, and what interpreters and installers make.
func isCache(folder string) bool {
	return strings.HasPrefix(folder, ".") || folder == "__pycache__" || folder == "node_modules"
}

func (l *leftovers) add(name string) {
	l.found.Count++
	if len(l.found.Names) == maxLeftoverNames {
		return
	}
	name = strings.ToValidUTF8(name, string(utf8.RuneError))
	if len(name) > maxLeftoverNameBytes {
		name = strings.ToValidUTF8(name[:maxLeftoverNameBytes], "") + "…"
	}
	l.found.Names = append(l.found.Names, name)
}

// unchanged reports whether the entry is a file as it was uploaded.
func (l *leftovers) unchanged(e *fstree.Entry, name string) bool {
	f, known := l.uploaded[name]
	if known && f.Mode == linkMode {
		return e.Type()&fs.ModeSymlink != 0
	}
	if !known || !e.IsRegular() || e.Stat.Size != f.Size {
		return false
	}
	if sec, nsec := e.Stat.Mtim.Unix(); time.Unix(sec, nsec).Equal(l.created) {
		return true
	}
	if l.hashed += f.Size; l.hashed > maxLeftoverHash || f.SHA256 == "" {
		return false
	}
	in, err := e.Open()
	if err != nil {
		return false
	}
	defer in.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, io.LimitReader(in, f.Size+1))
	return err == nil && hex.EncodeToString(hash.Sum(nil)) == f.SHA256
}
