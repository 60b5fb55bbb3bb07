// Package pack packs a folder into an archive: which files belong to it, and a stream of them.
package pack

import (
	"cmp"
	"fmt"
	"slices"
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
