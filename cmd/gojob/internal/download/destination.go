package download

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go-job-orchestrator/shared/job"
)

// destination is the folder that takes the files. Nothing is written outside of it, whatever the
// server calls the files, and whatever links lie in the folder.
type destination struct {
	dir  string // as the user named it
	root *os.Root
}

func openDestination(dir string) (*destination, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil { //nolint:gosec // the user's umask decides
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &destination{dir: dir, root: root}, nil
}

// check refuses what no server of ours sends: names that are no paths below a folder, and files
// without a checksum.
func (d *destination) check(t Target) error {
	message := job.CheckPath(t.As, job.MaxSegmentBytes)
	if message == "" && !filepath.IsLocal(filepath.FromSlash(t.As)) {
		message = "this system has no file of that name" // such as NUL or a:b on Windows
	}
	if message != "" {
		return fmt.Errorf("the output %q cannot be stored here: %s", t.As, message)
	}
	if !isSHA256(t.File.SHA256) || t.File.Size < 0 {
		return fmt.Errorf("the server gives no size and SHA-256 of the output %q, so that it cannot be checked", t.As)
	}
	return nil
}

func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// distinct refuses files of which one would replace another, because the file system does not tell
// small and capital letters apart.
func (d *destination) distinct(targets []Target) error {
	names := make(map[string]string, len(targets))
	for _, t := range targets {
		small := strings.ToLower(t.As)
		other, there := names[small]
		names[small] = t.As
		if !there || other != t.As && !d.caseless() {
			continue
		}
		return fmt.Errorf("the outputs %q and %q have the same name in %s; copy one of them to another folder", other, t.As,
			d.dir)
	}
	return nil
}

// caseless tries whether the file system takes a name in capital letters for the same.
func (d *destination) caseless() bool {
	f, err := os.CreateTemp(d.dir, ".gojob-*-case")
	if err != nil {
		return false
	}
	_ = f.Close()
	name := filepath.Base(f.Name())
	defer func() { _ = d.root.Remove(name) }()
	_, err = d.root.Lstat(strings.ToUpper(name))
	return err == nil
}

// partName is where a file grows until it is whole. It has the beginning of the checksum, so that
// only the same content goes on in it.
func partName(t Target) string {
	dir, base := path.Split(t.As)
	const most = 200 // bytes of the name, so that the rest still fits
	return filepath.FromSlash(dir + "." + strings.ToValidUTF8(base[:min(len(base), most)], "") + "." +
		t.File.SHA256[:12] + ".part")
}

// part opens the file that takes the content.
func (d *destination) part(t Target) (*os.File, error) {
	if dir := path.Dir(t.As); dir != "." {
		if err := d.root.MkdirAll(filepath.FromSlash(dir), 0o777); err != nil {
			return nil, d.explain(t, err)
		}
	}
	name := partName(t)
	if info, err := d.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		if err := d.root.Remove(name); err != nil { // somebody's link, which must not be written through
			return nil, d.explain(t, err)
		}
	}
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE, t.File.Perm())
	if err != nil {
		return nil, d.explain(t, err)
	}
	return f, nil
}

// drop removes a file that nothing has arrived of.
func (d *destination) drop(t Target, part *os.File) {
	if info, err := part.Stat(); err == nil && info.Size() == 0 {
		_ = part.Close()
		_ = d.root.Remove(partName(t))
	}
}

// finish gives a whole file its name.
func (d *destination) finish(t Target) error {
	name := filepath.FromSlash(t.As)
	if info, err := d.root.Lstat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder, and the output %q is a file", filepath.Join(d.dir, name), t.File.Name)
	}
	return d.explain(t, d.root.Rename(partName(t), name))
}

// explain says what the file system refused.
func (d *destination) explain(t Target, err error) error {
	var fault *fs.PathError
	if err == nil || !errors.As(err, &fault) {
		return err
	}
	if strings.HasSuffix(err.Error(), "path escapes from parent") { // there is no value for it
		return fmt.Errorf("the output %q would be stored outside of %s, because a link leads there", t.As, d.dir)
	}
	return fmt.Errorf("the output %q cannot be stored in %s: %w", t.As, d.dir, fault.Err)
}
