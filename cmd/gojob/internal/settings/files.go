package settings

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"github.com/adrg/xdg"
	"go.yaml.in/yaml/v3"
)

// Dirs are the folders of gojob's own files. They are made when something is written.
type Dirs struct {
	Config string // config.yaml and credentials.yaml
	State  string // what gojob notes for itself
}

// UserDirs are the folders where the system wants such files: $XDG_CONFIG_HOME/gojob and
// $XDG_STATE_HOME/gojob, and what stands for these on macOS and Windows.
func UserDirs() Dirs {
	return Dirs{Config: filepath.Join(xdg.ConfigHome, "gojob"), State: filepath.Join(xdg.StateHome, "gojob")}
}

// maxFile bounds a file of gojob's own.
const maxFile = 1 << 20

// load reads a YAML file into value. A file that is not there is like an empty one. The error names
// the file, and the line of a fault. The node is the whole document, to look up lines in; nil if the
// file is empty.
func load(path string, value any) (*yaml.Node, error) {
	text, err := read(path)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, faultOf(path, err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(value); err != nil && !errors.Is(err, io.EOF) {
		return nil, faultOf(path, err)
	}
	return &document, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes; it is no file of gojob", path, maxFile)
	}
	return text, err
}

// yamlLine finds the line in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\n\s*)?line (\d+): (.*)`)

// faultOf returns an error of the YAML library as one that begins with the file and the line.
func faultOf(path string, err error) error {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: %s; correct or remove the line", path, m[1], m[2])
	}
	return fmt.Errorf("%s: %w", path, err)
}

// lineOf is the line of what the path of keys and indexes leads to, or of the last part of it that
// is there.
func lineOf(n *yaml.Node, path ...any) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, step := range path {
		next := child(n, step)
		if next == nil {
			break
		}
		n = next
	}
	return n.Line
}

func child(n *yaml.Node, step any) *yaml.Node {
	switch s := step.(type) {
	case int:
		if n.Kind == yaml.SequenceNode && s < len(n.Content) {
			return n.Content[s]
		}
	case string:
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == s {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// save writes a YAML file that only its owner can read. Readers see the file from before or the new
// one, also when this process ends in between.
func save(path string, value any) error {
	var text bytes.Buffer
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(value); err != nil {
		return err
	}
	path = target(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return nil
}

// target follows a link, so that a file that is kept elsewhere, as those who version their dotfiles
// do, stays there.
func target(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// A lock is a file. One that is older than this was left by a process that died.
const (
	staleLock    = 10 * time.Second
	staleRefresh = time.Minute // an issuer may be slow
	lockPause    = 20 * time.Millisecond
)

// locked runs change while no other gojob changes the files of the folder.
func locked(dir string, change func() error) error {
	return exclusive(context.Background(), filepath.Join(dir, ".lock"), staleLock, change)
}

// Refreshing runs refresh while no other gojob does, because an issuer may take a refresh token only
// once.
func Refreshing(ctx context.Context, d Dirs, refresh func() error) error {
	return exclusive(ctx, filepath.Join(d.Config, ".refresh"), staleRefresh, refresh)
}

func exclusive(ctx context.Context, path string, stale time.Duration, do func() error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_ = f.Close()
			defer os.Remove(path)
			return do()
		}
		// Windows denies access to a file that is being removed.
		if !errors.Is(err, fs.ErrExist) && (runtime.GOOS != "windows" || !errors.Is(err, fs.ErrPermission)) {
			return err
		}
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > stale {
			_ = os.Remove(path)
			continue
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
