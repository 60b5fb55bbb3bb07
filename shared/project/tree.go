// Package project finds out from the files of a job how they are run: which runtime and entrypoint
// they have. It knows their names, and the first bytes of the few files that tell something.
package project

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
)

// Bounds of what is kept of the content of files.
const (
	headBytes    = 256      // of a file whose name does not say what it is
	contentBytes = 64 << 10 // of package.json, and of a jar, whose manifest is at its beginning
	maxHeads     = 1000
	maxContents  = 16
)

// Tree is the files of a job: those that were sent one by one, and the content of an archive.
type Tree struct {
	names    *archive.Tree
	heads    map[string][]byte // first bytes
	contents int               // of them that are large
	owed     int64             // bytes of memory that were not taken from the budget yet
}

// New returns an empty Tree.
func New() *Tree { return &Tree{names: archive.NewTree(), heads: map[string][]byte{}} }

// Add adds a file that was sent by itself. It returns why it cannot be there, or "".
func (t *Tree) Add(name string) (message string) {
	if message = t.names.Add(name, archive.File); message != "" {
		return fmt.Sprintf("%.200q %s", name, message)
	}
	return ""
}

// Names returns the names of all files, in the order in which they came. Of a nil Tree there are none.
func (t *Tree) Names() []string {
	if t == nil {
		return nil
	}
	return t.names.Names()
}

// Has reports whether there is a file or link of that name.
func (t *Tree) Has(name string) bool {
	kind := t.names.Kind(name)
	return kind == archive.File || kind == archive.Link
}

// Noting returns a reader of a file of the tree that keeps the first bytes, as many as are needed.
func (t *Tree) Noting(name string, r io.Reader) io.Reader {
	n := t.wants(name)
	if n == 0 {
		return r
	}
	return &noting{r: r, tree: t, name: name, left: n}
}

type noting struct {
	r    io.Reader
	tree *Tree
	name string
	left int
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if more := min(k, n.left); more > 0 {
		n.tree.keep(n.name, p[:more])
		n.left -= more
	}
	return k, err
}

func (t *Tree) keep(name string, text []byte) {
	t.heads[name] = append(t.heads[name], text...)
	t.owed += int64(len(text))
}

// wants returns how many bytes of the file tell something, and counts it.
func (t *Tree) wants(name string) int {
	if ignored(name) {
		return 0
	}
	switch isJar := path.Ext(name) == ".jar"; {
	case isJar && !inLib(name) || path.Base(name) == "package.json" && strings.Count(name, "/") <= 1:
		if t.contents == maxContents {
			return 0
		}
		t.contents++
		return contentBytes
	case isJar || byEnding(name) != "" || len(t.heads) >= maxHeads:
		return 0
	}
	return headBytes
}

// entryCost is the memory that a name takes besides its bytes, by the factor of package budget.
const entryCost = 50

// takeAt is how much memory is used before it is taken from the budget.
const takeAt = 16 << 10

// Visit returns a function that adds the entries of an archive. What they take counts against the
// budget of the request that ctx belongs to.
func (t *Tree) Visit(ctx context.Context) archive.Visit {
	return func(e archive.Entry, content io.Reader) error {
		if message := t.names.Add(e.Name, e.Kind); message != "" {
			return job.Invalid("archive", fmt.Sprintf("%.200q %s among the files that were sent beside the archive", e.Name,
				message))
		}
		if t.owed += int64(len(e.Name)) + entryCost; t.owed > takeAt {
			owed := t.owed
			t.owed = 0
			if err := budget.Take(ctx, owed); err != nil {
				return err
			}
		}
		if e.Kind != archive.File {
			return nil
		}
		n := t.wants(e.Name)
		if n == 0 {
			return nil
		}
		head, err := io.ReadAll(io.LimitReader(content, int64(n)))
		if err != nil {
			return err
		}
		t.keep(e.Name, head)
		return nil
	}
}

// ignored reports whether nobody means a file when there is a choice: what tools keep for themselves
// or install, and what macOS adds to archives.
func ignored(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		switch {
		case strings.HasPrefix(segment, "."), segment == "__MACOSX", segment == "node_modules", segment == "__pycache__",
			segment == "venv", segment == "site-packages":
			return true
		}
	}
	return false
}

// inLib reports whether a jar lies in a folder for libraries.
func inLib(name string) bool {
	switch path.Base(path.Dir(name)) {
	case "lib", "libs", "wrapper": // the last is Gradle's and Maven's own
		return true
	}
	return false
}
