package archive

import (
	"fmt"
	"strings"
)

// Kind is what a name in a tree stands for.
type Kind uint8

// The kinds.
const (
	Folder Kind = iota + 1
	File
	Link
)

// Tree is a set of paths that can lie beside each other in one folder. Names that differ only by
// case can, because programs run on Linux.
type Tree struct {
	kinds map[string]Kind
	order []string // the files and links, as they were added
}

// NewTree returns an empty Tree.
func NewTree() *Tree { return &Tree{kinds: map[string]Kind{}} }

// Add adds a clean path, and the folders that it lies in. It returns why it cannot be there, or "".
func (t *Tree) Add(name string, kind Kind) (message string) {
	switch there := t.kinds[name]; {
	case there == Folder && kind == Folder:
		return ""
	case there == Folder || there != 0 && kind == Folder:
		return "is the name of both a file and a folder"
	case there != 0:
		return "is there twice"
	}
	for i := len(name); ; {
		if i = strings.LastIndexByte(name[:i], '/'); i < 0 {
			break
		}
		switch t.kinds[name[:i]] {
		case File:
			return fmt.Sprintf("lies in %.200q, which is a file", name[:i])
		case Link:
			return fmt.Sprintf("lies in %.200q, which is a link", name[:i])
		}
	}
	for i := len(name); ; {
		if i = strings.LastIndexByte(name[:i], '/'); i < 0 || t.kinds[name[:i]] != 0 {
			break
		}
		t.kinds[name[:i]] = Folder
	}
	t.kinds[name] = kind
	if kind != Folder {
		t.order = append(t.order, name)
	}
	return ""
}

// Kind returns what the path stands for, or 0 if it is not there.
func (t *Tree) Kind(name string) Kind { return t.kinds[name] }

// Names returns the paths of all files and links in the order in which they were added.
func (t *Tree) Names() []string { return t.order }

// Len returns how many files, folders and links there are.
func (t *Tree) Len() int { return len(t.kinds) }
