package archive

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"go-job-orchestrator/shared/job"
)

// Unpacker writes the entries of an archive into a folder. Its Visit is given to ReadTar or ReadZip;
// when that has returned without an error, Finish makes the links. They come last, so that nothing
// is written through them.
type Unpacker struct {
	Root     *os.Root
	Modified time.Time // of all files
	// Program is a file that becomes executable even if the archive says that it is not. It may be
	// empty.
	Program string
	// Record is called with each file and link that was made. The size of a link is negative.
	Record func(name string, size int64) error

	links  []Entry
	made   map[string]bool // folders
	buffer []byte
}

// Visit makes a folder or file, and remembers a link.
func (u *Unpacker) Visit(e Entry, content io.Reader) error {
	switch e.Kind {
	case Folder:
		return u.folder(e.Name)
	case Link:
		u.links = append(u.links, e)
		return nil
	}
	if err := u.folder(path.Dir(e.Name)); err != nil {
		return err
	}
	return u.file(e, content)
}

func (u *Unpacker) folder(name string) error {
	if u.made[name] {
		return nil
	}
	if u.made == nil {
		u.made = map[string]bool{}
	}
	u.made[name] = true
	return u.Root.MkdirAll(filepath.FromSlash(name), 0o755)
}

func (u *Unpacker) file(e Entry, content io.Reader) error {
	name := filepath.FromSlash(e.Name)
	perm := job.File{Mode: mode(e.Executable || e.Name == u.Program)}.Perm()
	out, err := u.Root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	var head job.Head
	var to io.Writer = out
	if !e.HasMode {
		to = io.MultiWriter(out, &head)
	}
	if u.buffer == nil {
		u.buffer = make([]byte, 128<<10)
	}
	// The struct hides ReadFrom of a file, which would take a buffer of its own for each.
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, content, u.buffer)
	if err == nil && !e.HasMode && job.ModeOf(head) != "" {
		err = out.Chmod(0o755)
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if n != e.Size {
		return fmt.Errorf("%d bytes were unpacked of %d", n, e.Size)
	}
	if err := u.Root.Chtimes(name, u.Modified, u.Modified); err != nil {
		return err
	}
	return u.record(e.Name, e.Size)
}

func mode(executable bool) string {
	if executable {
		return job.ModeExecutable
	}
	return ""
}

// Finish makes the links, which were checked.
func (u *Unpacker) Finish() error {
	for _, e := range u.links {
		if err := u.folder(path.Dir(e.Name)); err != nil {
			return err
		}
		if err := u.link(e); err != nil {
			return err
		}
	}
	return nil
}

func (u *Unpacker) link(e Entry) error {
	name := filepath.FromSlash(e.Name)
	if !e.Hard {
		if err := u.Root.Symlink(filepath.FromSlash(e.Target), name); err != nil {
			return err
		}
		return u.record(e.Name, -1)
	}
	target := filepath.FromSlash(e.Target)
	if err := u.Root.Link(target, name); err != nil {
		return err
	}
	info, err := u.Root.Lstat(target)
	if err != nil {
		return err
	}
	return u.record(e.Name, info.Size())
}

func (u *Unpacker) record(name string, size int64) error {
	if u.Record == nil {
		return nil
	}
	return u.Record(name, size)
}
