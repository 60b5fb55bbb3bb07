// Package pack packs a folder into an archive: which files belong to it, and a stream of them.
package pack

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go-job-orchestrator/shared/job"
)

// Options say what belongs to an archive.
type Options struct {
	// At is the folder in the archive that takes the content, with slashes; empty for the top.
	At string
	// Include are patterns as in .gitignore. They bring back what would stay away.
	Include []string
}

// Kind is what an entry is.
type Kind uint8

// The kinds of entries.
const (
	KindFolder Kind = iota + 1
	KindFile
	KindLink
)

// Entry is a file, folder or link of the archive.
type Entry struct {
	Name       string // in the archive, with slashes
	Kind       Kind
	Size       int64 // of a file, as it was when the folder was read
	Executable bool
	Target     string // of a link

	path string // on this machine
}

// Note is something that is said about a path of the folder.
type Note struct {
	Path    string // as the user can open it
	Message string // such as "is a socket"
}

// Plan is what an archive will have. Nothing but names and sizes was read for it.
type Plan struct {
	// Entries are in the order of the archive: each folder before what is in it.
	Entries []Entry
	Files   int
	Bytes   int64 // of all files
	// Ignored are paths that stay away, below the folder: a folder, which ends with a slash, stands for
	// all that is in it. There are at most MaxIgnored; IgnoredCount is how many there are.
	Ignored      []string
	IgnoredCount int
	// Skipped are sockets, devices and FIFOs, which cannot be sent.
	Skipped []Note
}

// MaxIgnored bounds Plan.Ignored.
const MaxIgnored = 1000

// FaultsError says why a folder cannot be sent. It names each path at fault.
type FaultsError struct {
	Folder string
	Faults []Note
}

// maxFaults bounds what the message of a FaultsError names.
const maxFaults = 20

func (e *FaultsError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s cannot be sent as it is:", e.Folder)
	for i, fault := range e.Faults {
		if i == maxFaults {
			fmt.Fprintf(&text, "\n  and %d more", len(e.Faults)-maxFaults)
			break
		}
		fmt.Fprintf(&text, "\n  %s %s", printable(fault.Path), fault.Message)
	}
	text.WriteString("\nmend this, or name what can stay away in .gojobignore")
	return text.String()
}

// printable returns a path as it is, or quoted if a terminal would not show it as it is.
func printable(path string) string {
	if strings.ContainsFunc(path, unprintable) {
		return strconv.Quote(path)
	}
	return path
}

func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

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

func (p *Plan) append(e Entry) {
	p.Entries = append(p.Entries, e)
	if e.Kind == KindFile {
		p.Files++
		p.Bytes += e.Size
	}
}

// Join adds what another plan has, so that both are sent as one archive. The error names a path that
// both have.
func (p *Plan) Join(other *Plan) error {
	kinds := make(map[string]Kind, len(p.Entries))
	for _, e := range p.Entries {
		kinds[e.Name] = e.Kind
	}
	for _, e := range other.Entries {
		switch kind := kinds[e.Name]; {
		case kind == KindFolder && e.Kind == KindFolder:
			continue
		case kind != 0:
			return fmt.Errorf("two things are named %s in what is sent", e.Name)
		}
		kinds[e.Name] = e.Kind
		p.append(e)
	}
	p.Ignored = append(p.Ignored, other.Ignored...)
	p.Ignored = p.Ignored[:min(len(p.Ignored), MaxIgnored)]
	p.IgnoredCount += other.IgnoredCount
	p.Skipped = append(p.Skipped, other.Skipped...)
	return nil
}

// Largest returns the n largest files, the largest first.
func (p *Plan) Largest(n int) []Entry {
	var largest []Entry
	for _, e := range p.Entries {
		if e.Kind != KindFile || len(largest) == n && e.Size <= largest[n-1].Size {
			continue
		}
		at, _ := slices.BinarySearchFunc(largest, e, func(a, b Entry) int {
			return cmp.Or(cmp.Compare(b.Size, a.Size), -1)
		})
		largest = slices.Insert(largest, at, e)
		largest = largest[:min(len(largest), n)]
	}
	return largest
}

// checkName says why the server would refuse a name, or returns "".
func checkName(e Entry) string {
	if message := job.CheckPath(e.Name, job.MaxSegmentBytes); message != "" {
		return "would be refused: " + message
	}
	switch {
	case len(e.Name) >= 2 && e.Name[1] == ':' && isLetter(e.Name[0]):
		return "would be refused: the name begins like a drive of Windows; rename it"
	case strings.Count(e.Name, "/") >= maxDepth:
		return fmt.Sprintf("would be refused: it lies more than %d folders deep", maxDepth-1)
	case e.Name == job.ResultsDir && e.Kind != KindFolder:
		return "would be refused: it has the name of the folder for outputs; rename it"
	}
	return ""
}

// Bounds of the server (shared/archive).
const (
	maxDepth  = 50
	maxTarget = 900
)

// kindName names a kind of file that cannot be sent.
func kindName(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no file, folder or link"
}

// reason is what is wrong, without the path, which messages name first.
func reason(err error) string {
	var fault *fs.PathError
	if errors.As(err, &fault) {
		return fault.Err.Error()
	}
	return err.Error()
}
