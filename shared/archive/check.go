package archive

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"go-job-orchestrator/shared/job"
)

// checker collects the entries of one archive and refuses those that must not be unpacked.
type checker struct {
	limits Limits
	tree   *Tree
	links  []Entry
	found  Summary
	files  int
}

func newChecker(l Limits) *checker { return &checker{limits: l, tree: NewTree()} }

// add checks an entry whose Name is as the archive has it, and cleans the name. It reports whether
// there is something to unpack: the archive's own folder is not.
func (c *checker) add(e *Entry) (bool, error) {
	raw := e.Name
	name, message := cleanName(raw)
	if message != "" {
		return false, faultIn(raw, message)
	}
	if name == "" {
		if e.Kind != Folder {
			return false, faultIn(raw, "a file needs a name")
		}
		return false, nil
	}
	e.Name = name
	if name == job.ResultsDir && e.Kind != Folder {
		return false, faultIn(name, "is the name of the folder for outputs; rename the file")
	}
	if message := c.tree.Add(name, e.Kind); message != "" {
		return false, faultIn(name, message)
	}
	c.found.Entries = c.tree.Len()
	if c.found.Entries > c.limits.Entries {
		return false, tooMany(c.limits)
	}
	switch e.Kind {
	case File:
		c.files++
		// The size may be anything: it is compared without a sum that could overflow.
		if e.Size < 0 || e.Size > c.limits.Unpacked-c.found.Unpacked {
			return false, faultIn(name, tooLarge(c.limits))
		}
		c.found.Unpacked += e.Size
	case Link:
		c.links = append(c.links, *e)
		if len(e.Target) > maxTarget {
			return false, faultIn(name, fmt.Sprintf("is a link with a target of more than %d bytes", maxTarget))
		}
	}
	return true, nil
}

func tooMany(l Limits) error {
	return Fault(fmt.Sprintf("has more than %d files and folders (MAX_ARCHIVE_ENTRIES)", l.Entries))
}

func tooLarge(l Limits) string {
	return fmt.Sprintf("with this file the archive unpacks to more than %d bytes (MAX_UNPACKED_BYTES)", l.Unpacked)
}

// finish checks what only the whole archive shows.
func (c *checker) finish() (Summary, error) {
	if c.files == 0 {
		return c.found, Fault("has no files")
	}
	for _, e := range c.links {
		if message := c.checkLink(e); message != "" {
			return c.found, faultIn(e.Name, message)
		}
	}
	return c.found, nil
}

// checkLink says why a link must not be made, or returns "". No folder on the way to the target may
// be a link, so that where it leads can be told from the names alone. The target itself may be a
// link, which is checked as well, or be missing.
func (c *checker) checkLink(e Entry) string {
	if e.Hard {
		if c.tree.Kind(e.Target) != File {
			return fmt.Sprintf("is a hard link to %.200q, which is not a file of the archive", e.Target)
		}
		return ""
	}
	target := e.Target
	switch {
	case target == "" || !utf8.ValidString(target) || strings.ContainsFunc(target, unicode.IsControl):
		return "is a link whose target is not a path"
	case strings.HasPrefix(target, "/"):
		return fmt.Sprintf("is a link to the absolute path %.200q; make it relative", target)
	case strings.Contains(target, `\`):
		return fmt.Sprintf("is a link to %.200q, which contains a backslash", target)
	}
	at := path.Dir(e.Name)
	for segment := range strings.SplitSeq(target, "/") {
		switch {
		case segment == "" || segment == ".":
			continue
		case c.tree.Kind(at) == Link:
			return fmt.Sprintf("leads through another link, %.200q", at)
		case segment == ".." && at == ".":
			return fmt.Sprintf("is a link that leads out of the archive, to %.200q", target)
		}
		at = path.Join(at, segment)
	}
	return ""
}

// cleanName returns the path of an entry without a trailing slash and leading "./", or says what is
// wrong with it. It is empty for the archive's own folder.
func cleanName(raw string) (name, message string) {
	switch {
	case strings.HasPrefix(raw, "/"):
		return "", "is an absolute path; make the archive with relative ones"
	case strings.Contains(raw, `\`):
		return "", "contains a backslash; make the archive with slashes between folders"
	case len(raw) >= 2 && raw[1] == ':' && isLetter(raw[0]):
		return "", "begins with a drive letter; make the archive with relative paths"
	case len(raw) > 2*job.MaxOutputNameBytes:
		return "", fmt.Sprintf("the path is longer than %d bytes", job.MaxOutputNameBytes)
	}
	var segments []string
	for segment := range strings.SplitSeq(raw, "/") {
		if segment == ".." {
			return "", `contains ".."; make the archive with paths below its folder`
		}
		if segment != "" && segment != "." {
			segments = append(segments, segment)
		}
	}
	if len(segments) == 0 {
		return "", ""
	}
	if len(segments) > maxDepth {
		return "", fmt.Sprintf("lies more than %d folders deep", maxDepth-1)
	}
	name = strings.Join(segments, "/")
	return name, job.CheckPath(name, job.MaxSegmentBytes)
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
