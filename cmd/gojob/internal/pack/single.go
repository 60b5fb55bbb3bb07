package pack

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// Single plans an archive of one file, which gets the name at, with slashes.
func Single(file, at string) (*Plan, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is %s, which an archive cannot have", file, kindName(info.Mode()))
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	w := &walker{top: filepath.Dir(file), plan: &Plan{}, folders: map[string]bool{}}
	w.add(Entry{
		Name: path.Clean(at), Kind: KindFile, Size: info.Size(), Executable: info.Mode()&0o100 != 0, path: absolute,
	}, filepath.Base(file))
	if err := readable(file, info); err != nil {
		w.fault(filepath.Base(file), "cannot be read: "+reason(err))
	}
	if len(w.faults) > 0 {
		return nil, &FaultsError{Folder: file, Faults: w.faults}
	}
	return w.plan, nil
}

// Open opens the file that an entry will have the content of.
func (e *Entry) Open() (*os.File, error) { return os.Open(e.path) }
