package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	inCode = regexp.MustCompile("`[^`]*`")
	named  = regexp.MustCompile(
		"(?:^|[\\s`\"'=(@])(?:\\./)?((?:config|docs|examples|functions|shared|test)/[^\\s`\"')]*)")
	comment = regexp.MustCompile(` #.*`)
	target  = regexp.MustCompile(`\bmake((?: [a-z][a-z0-9-]*)+)`)
)

// TestLinks demands that every link between files leads somewhere, its anchor included.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		var text []string // links may wrap
		for _, l := range p.prose {
			text = append(text, inCode.ReplaceAllString(l.text, ""))
		}
		for _, m := range link.FindAllStringSubmatch(strings.Join(text, "\n"), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			to := p.path
			if file != "" {
				to = path.Join(path.Dir(p.path), file)
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", p.path, m[1])
				continue
			}
			if anchor != "" && !anchors(t, to)[anchor] {
				t.Errorf("%s: %s has no heading for the link %s", p.path, to, m[1])
			}
		}
	}
}

// anchors returns those that GitHub makes of the headings of a page.
func anchors(t *testing.T, name string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, l := range find(t, name).prose {
		if !strings.HasPrefix(l.text, "#") {
			continue
		}
		heading := strings.TrimSpace(strings.TrimLeft(l.text, "#"))
		all[strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, heading)] = true
	}
	return all
}

// TestFiles demands that the files and make targets that pages name exist, and that
// examples/README.md names every example.
func TestFiles(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages(t) {
		var text strings.Builder
		for _, l := range p.prose {
			for _, span := range spans(l.text) {
				text.WriteString(span + "\n")
			}
		}
		for _, b := range p.blocks {
			text.WriteString(comment.ReplaceAllString(b.text, ""))
		}
		for _, m := range named.FindAllStringSubmatch(text.String(), -1) {
			name, _, _ := strings.Cut(m[1], ";") // curl's ;filename=
			name = strings.TrimRight(name, ".,:")
			if strings.ContainsAny(name, "<*…$") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s: there is no %s", p.path, name)
			}
		}
		for _, m := range target.FindAllStringSubmatch(text.String(), -1) {
			for name := range strings.FieldsSeq(m[1]) {
				if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `:`).Match(makefile) {
					t.Errorf("%s: make has no target %s", p.path, name)
				}
			}
		}
	}
	readme, err := os.ReadFile(root + "/examples/README.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root+"/examples", func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root+"/examples", file)
		// Of a project its folder is named.
		folder, _, isPath := strings.Cut(filepath.ToSlash(name), "/")
		isNamed := func(name string) bool { return strings.Contains(string(readme), "`"+name+"`") }
		if err == nil && name != "README.md" && !isNamed(filepath.ToSlash(name)) && (!isPath || !isNamed(folder+"/")) {
			t.Errorf("examples/README.md does not name `%s`", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
