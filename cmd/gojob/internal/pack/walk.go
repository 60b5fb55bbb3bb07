package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Folder plans the archive of a folder. The error is a *FaultsError if something in it cannot be read
// or would be refused by the server.
func Folder(folder string, o Options) (*Plan, error) {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	if absolute, err = filepath.EvalSymlinks(absolute); err != nil {
		return nil, err
	}
	in, err := readIgnored(absolute, o.Include)
	if err != nil {
		return nil, err
	}
	w := &walker{top: folder, at: o.At, in: in, plan: &Plan{}, folders: map[string]bool{}}
	for _, parent := range parents(o.At) {
		w.append(Entry{Name: parent, Kind: KindFolder})
	}
	if err := w.folder(absolute, "", state{}); err != nil {
		return nil, err
	}
	w.checkLinks()
	if len(w.faults) > 0 {
		return nil, &FaultsError{Folder: folder, Faults: w.faults}
	}
	if w.plan.Files == 0 {
		return nil, fmt.Errorf("there is no file to send in %s%s", folder, w.hint())
	}
	return w.plan, nil
}

// parents returns a clean path and the folders that it lies in, the outermost first.
func parents(name string) []string {
	var all []string
	for name != "" && name != "." {
		all = append(all, name)
		name = path.Dir(name)
	}
	slices.Reverse(all)
	return all
}

// walker reads a folder.
type walker struct {
	top    string // as the user named it
	at     string
	in     *ignored
	plan   *Plan
	faults []Note
	// folders are those that the plan has. One that stays away is added with the first entry in it
	// that does not.
	folders map[string]bool
}

// state is what is known of the folder whose content is read.
type state struct {
	away   bool // it stays away, except for what --include brings back
	within bool // it lies in a folder that stays away always
	kept   bool // --include brings back all of it
}

func (w *walker) hint() string {
	if w.plan.IgnoredCount == 0 {
		return ""
	}
	return fmt.Sprintf("; %s keeps %d paths away, and --include brings them back", w.in.file, w.plan.IgnoredCount)
}

// shown is a path as the user can open it.
func (w *walker) shown(name string) string {
	if name == "" {
		return w.top
	}
	return filepath.Join(w.top, filepath.FromSlash(name))
}

func (w *walker) fault(name, message string) {
	w.faults = append(w.faults, Note{w.shown(name), message})
}

// folder reads the folder at a path, whose name below the top is name.
func (w *walker) folder(dir, name string, s state) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.fault(name, "cannot be read: "+reason(err))
		return nil
	}
	if err := w.in.enter(dir, name); err != nil {
		return err
	}
	defer w.in.leave()
	for _, entry := range entries {
		below := path.Join(name, entry.Name())
		if err := w.entry(filepath.Join(dir, entry.Name()), below, entry, s); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(file, name string, entry fs.DirEntry, s state) error {
	isFolder := entry.IsDir()
	private := always(entry.Name()) && (isFolder || entry.Name() == ".git")
	s.within = s.within || private
	s.kept = s.kept || w.in.included(name, isFolder, s.within && !private)
	away := !s.kept && (s.away || private || w.in.ignores(name, isFolder))
	if away && !s.away {
		w.ignored(name, isFolder, private)
	}
	s.away = away
	if isFolder {
		if away && !w.in.reaches(s.within) {
			return nil
		}
		if !away {
			w.add(Entry{Name: path.Join(w.at, name), Kind: KindFolder, path: file}, name)
		}
		return w.folder(file, name, s)
	}
	if away {
		return nil
	}
	return w.leaf(file, name, entry)
}

// ignored notes what stays away.
func (w *walker) ignored(name string, folder, private bool) {
	if private && name == ".git" {
		return // everybody knows that
	}
	w.plan.IgnoredCount++
	if len(w.plan.Ignored) == MaxIgnored {
		return
	}
	if folder {
		name += "/"
	}
	w.plan.Ignored = append(w.plan.Ignored, name)
}

// leaf adds what is no folder.
func (w *walker) leaf(file, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has just gone
	}
	if err != nil {
		w.fault(name, "cannot be read: "+reason(err))
		return nil
	}
	e := Entry{Name: path.Join(w.at, name), path: file}
	switch info.Mode().Type() {
	case 0:
		e.Kind, e.Size, e.Executable = KindFile, info.Size(), info.Mode()&0o100 != 0
		if err := readable(file, info); err != nil {
			w.fault(name, "cannot be read: "+reason(err))
			return nil
		}
	case fs.ModeSymlink:
		target, err := os.Readlink(file)
		if err != nil {
			w.fault(name, "cannot be read: "+reason(err))
			return nil
		}
		e.Kind, e.Target = KindLink, filepath.ToSlash(target)
	default:
		w.plan.Skipped = append(w.plan.Skipped, Note{w.shown(name), "is " + kindName(info.Mode())})
		return nil
	}
	w.add(e, name)
	return nil
}

// readable opens a file that not everybody may read, so that all that cannot be read are named
// before the first byte is sent.
func readable(file string, info fs.FileInfo) error {
	const all = 0o444
	if info.Mode()&all == all {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}

// add adds an entry, and the folders above it that would stay away but for it.
func (w *walker) add(e Entry, name string) {
	if message := checkName(e); message != "" {
		w.fault(name, message)
		return
	}
	for _, parent := range parents(path.Dir(e.Name)) {
		w.append(Entry{Name: parent, Kind: KindFolder})
	}
	w.append(e)
}

func (w *walker) append(e Entry) {
	if e.Kind == KindFolder {
		if w.folders[e.Name] {
			return
		}
		w.folders[e.Name] = true
	}
	w.plan.append(e)
}
