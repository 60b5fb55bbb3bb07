// Package docs runs and checks the documentation: README.md, SECURITY.md, docs/*.md and
// examples/README.md.
//
// A fenced block has one of these info strings:
//
//   - console: commands after "$ ", and what they print. All blocks of a page run in order, in one shell, against a
//     server of the page's own, which takes the place of localhost:8080. Every command must exit with 0. The command
//     "make run", with settings before it, ends that server and starts another one on the same directory, which is the
//     folder data of the page. What is shown below it is what the server prints at its start, without its log.
//   - <language> <file>, such as "python words.py": a file. The commands of its page find it in their folder. The text
//     before the block names it. If examples/ has a file of that name both must be equal.
//   - sh: commands that need a cluster, or that run for ever. The test checks only that the files and the make targets
//     that they name exist.
//   - text, yaml: anything else.
//
// Commands find gojob, which calls that server. The output of a command is compared line by line. "…" stands for anything. A line that begins
// with one blank continues the line before it. A time stands for any time. An ID, a token or a key
// stands for the one that the server gave in its place, also in later commands and outputs.
package docs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the folder of the repository.
const root = "../.."

// page is a file of the documentation.
type page struct {
	path   string // below root
	blocks []block
	prose  []line // what is not in a block
}

// block is a fenced block.
type block struct {
	line  int // of its first line of text
	kind  string
	file  string // for a block that is a file
	text  string
	above string // the paragraph before it
}

// line is a line of prose.
type line struct {
	number int
	text   string
}

func pages(t *testing.T) []page {
	t.Helper()
	paths, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	paths = append(paths, root+"/README.md", root+"/SECURITY.md", root+"/examples/README.md")
	list := make([]page, len(paths))
	for i, path := range paths {
		if list[i], err = parse(path); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func find(t *testing.T, path string) page {
	t.Helper()
	p, err := parse(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(path string) (page, error) {
	name, err := filepath.Rel(root, path)
	if err != nil {
		return page{}, err
	}
	p := page{path: filepath.ToSlash(name)}
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	var open *block
	var above, before []string // the paragraph that is read, and the one before it
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		info, fence := strings.CutPrefix(text, "```")
		switch {
		case fence && open == nil:
			kind, file, _ := strings.Cut(info, " ")
			if len(above) == 0 {
				above = before
			}
			open = &block{line: n + 1, kind: kind, file: file, above: strings.Join(above, " ")}
		case fence:
			p.blocks, open = append(p.blocks, *open), nil
			above = nil
		case open != nil:
			open.text += text + "\n"
		default:
			p.prose = append(p.prose, line{n, text})
			if text != "" {
				above = append(above, text)
			} else if len(above) > 0 {
				before, above = above, nil
			}
		}
	}
	if open != nil {
		return p, fmt.Errorf("%s:%d: the block has no end", p.path, open.line)
	}
	return p, lines.Err()
}

// rows returns the cells of the tables below a heading, without the heads of the tables. Without a
// heading it is those of the whole page.
func (p page) rows(heading string) [][]string {
	var rows [][]string
	inside := heading == ""
	level := strings.Count(heading, "#")
	for i, l := range p.prose {
		if marks := strings.IndexByte(l.text+" ", ' '); strings.HasPrefix(l.text, "#") && heading != "" {
			inside = l.text == heading || inside && marks > level
		}
		head := i+1 < len(p.prose) && strings.HasPrefix(p.prose[i+1].text, "|---")
		if !inside || !strings.HasPrefix(l.text, "|") || strings.HasPrefix(l.text, "|---") || head {
			continue
		}
		cells := strings.Split(strings.Trim(l.text, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// spans returns the code spans of a text.
func spans(text string) []string {
	var list []string
	for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// TestForm demands that every page keeps to the kinds of blocks, that a file is named before it is
// shown, and that prose wraps.
func TestForm(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			b.check(t, p.path)
		}
		for _, l := range p.prose {
			table := strings.HasPrefix(l.text, "|")
			words := strings.Contains(strings.TrimLeft(l.text, " -"), " ") // a link alone cannot be wrapped
			if n := len([]rune(l.text)); n > 100 && !table && words {
				t.Errorf("%s:%d: has %d columns; prose has 100", p.path, l.number, n)
			}
		}
	}
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(readme, []byte("\n")); n > 150 {
		t.Errorf("README.md has %d lines; 150 are enough to begin with", n)
	}
}

func (b block) check(t *testing.T, path string) {
	t.Helper()
	languages := []string{"python", "js", "java", "go", "sh", "yaml"}
	switch {
	case b.file == "" && slices.Contains([]string{"console", "sh", "text", "yaml"}, b.kind):
	case b.file == "" || !slices.Contains(languages, b.kind):
		t.Errorf("%s:%d: %q is not a kind of block; see the package comment", path, b.line, b.kind+" "+b.file)
	case !strings.Contains(b.above, "`"+b.file+"`"):
		t.Errorf("%s:%d: the text before the block does not name `%s`", path, b.line, b.file)
	default:
		b.compare(t, path)
	}
	if quiet.MatchString(b.text) {
		t.Errorf("%s:%d: curl -s alone hides that the server is down; -sS does not", path, b.line)
	}
}

var quiet = regexp.MustCompile(`\bcurl -s\b`)

// compare demands that a file that is also an example is that example.
func (b block) compare(t *testing.T, path string) {
	t.Helper()
	example, err := os.ReadFile(filepath.Join(root, "examples", filepath.Base(b.file)))
	if err == nil && string(example) != b.text {
		t.Errorf("%s:%d: %s differs from examples/%s", path, b.line, b.file, filepath.Base(b.file))
	}
}
