package pack

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// The rules are Git's, as gitignore(5) describes them and as Git applies them, which a test compares.
// Bytes are compared, not characters: Git's "?" stands for one byte. The regular expressions are
// therefore made of, and matched against, strings in which each byte is a character.

// maxIgnoreFile bounds a file of patterns.
const maxIgnoreFile = 8 << 20

// pattern is one line of a file of patterns.
type pattern struct {
	base       string // the folder of the file, with a slash behind it; empty for the top
	negated    bool
	folderOnly bool
	nameOnly   bool           // it has no slash, so that it is compared with the last segment
	literal    string         // how what it matches begins
	rest       *regexp.Regexp // what follows; nil for nothing
	suffix     string         // for "*" and text without wildcards: that text
	never      bool           // it matches nothing
}

// readPatterns reads a file of patterns, which lies in the folder base. It is no error if there is
// none.
func readPatterns(path, base string, followLink bool) ([]pattern, error) {
	look := os.Lstat // as Git, which follows no link of this name
	if followLink {
		look = os.Stat
	}
	info, err := look(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil //nolint:nilerr // without a file there are no patterns
	}
	if info.Size() > maxIgnoreFile {
		return nil, fmt.Errorf("%s has more than %d bytes, so it is no list of patterns", path, maxIgnoreFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parsePatterns(text, base), nil
}

// parsePatterns reads the lines of a file of patterns.
func parsePatterns(text []byte, base string) []pattern {
	var patterns []pattern
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if end := bytes.IndexByte(line, 0); end >= 0 {
			line = line[:end]
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		patterns = append(patterns, parsePattern(withoutBlanks(string(line)), base))
	}
	return patterns
}

// withoutBlanks cuts off the blanks at the end of a line, but not one with a backslash before it.
func withoutBlanks(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
			if i == len(line) {
				return line
			}
		}
		end = i + 1
	}
	return line[:end]
}

// wildcards are the characters that do not stand for themselves.
const wildcards = `*?[\`

func parsePattern(line, base string) pattern {
	p := pattern{base: base}
	line, p.negated = strings.CutPrefix(line, "!")
	line, p.folderOnly = strings.CutSuffix(line, "/")
	p.nameOnly = !strings.Contains(line, "/")
	if !p.nameOnly {
		line = strings.TrimPrefix(line, "/")
	}
	special := strings.IndexAny(line, wildcards)
	switch {
	case line == "":
		p.never = true
	case special < 0:
		p.literal = line
	case p.nameOnly && line[0] == '*' && !strings.ContainsAny(line[1:], wildcards):
		p.suffix = line[1:]
		p.rest = anything
	default:
		p.literal = line[:special]
		text, ok := translate(line[special:], !p.nameOnly)
		p.never = !ok
		if ok {
			p.rest, _ = regexp.Compile(text) // nil for what is too large for a regular expression
			p.never = p.rest == nil
		}
	}
	return p
}

// anything marks a pattern that has only a suffix.
var anything = regexp.MustCompile("")

// matches reports whether the pattern is about a path, with slashes, below the top.
func (p *pattern) matches(path string, folder bool) bool {
	if p.never || p.folderOnly && !folder || !strings.HasPrefix(path, p.base) {
		return false
	}
	name := path[len(p.base):]
	if p.nameOnly {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	if p.rest == nil {
		return name == p.literal
	}
	if p.rest == anything {
		return strings.HasSuffix(name, p.suffix)
	}
	rest, found := strings.CutPrefix(name, p.literal)
	return found && p.rest.MatchString(characters(rest))
}

// characters makes each byte a character.
func characters(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < 0x80
	}
	if ascii {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// translate makes a regular expression of a pattern. With paths, only "**" matches a slash. It
// reports false for a pattern that matches nothing.
func translate(glob string, paths bool) (string, bool) {
	one, many := `.`, `.*`
	if paths {
		one, many = `[^/]`, `[^/]*`
	}
	var out strings.Builder
	out.WriteString(`(?s)\A`)
	for i := 0; i < len(glob); {
		switch glob[i] {
		case '\\':
			if i+1 == len(glob) {
				return "", false
			}
			writeByte(&out, glob[i+1])
			i += 2
		case '?':
			out.WriteString(one)
			i++
		case '*':
			start := i
			for i < len(glob) && glob[i] == '*' {
				i++
			}
			// It is a segment of its own, or follows what has no wildcards, where Git begins to compare.
			whole := paths && i-start > 1 && (start == 0 || glob[start-1] == '/')
			switch {
			case whole && strings.HasPrefix(glob[i:], "/"):
				out.WriteString(`(?:.*/)?`)
				i++
			case whole && (i == len(glob) || strings.HasPrefix(glob[i:], `\/`)):
				out.WriteString(`.*`)
			default:
				out.WriteString(many)
			}
		case '[':
			class, length := parseClass(glob[i:])
			if length == 0 {
				return "", false
			}
			if paths {
				class['/'] = false
			}
			if !writeClass(&out, &class) {
				return "", false
			}
			i += length
		default:
			writeByte(&out, glob[i])
			i++
		}
	}
	out.WriteString(`\z`)
	return out.String(), true
}

func writeByte(out *strings.Builder, b byte) { fmt.Fprintf(out, `\x{%x}`, b) }

// writeClass writes a set of bytes. It reports false for an empty one.
func writeClass(out *strings.Builder, class *[256]bool) bool {
	out.WriteByte('[')
	any := false
	for b, in := range class {
		if in {
			any = true
			fmt.Fprintf(out, `\x{%x}`, b)
		}
	}
	out.WriteByte(']')
	return any
}

// parseClass reads a set of bytes, such as [a-z], and returns its length. The length is 0 if it does
// not end, or names a class that there is not.
func parseClass(s string) (class [256]bool, length int) {
	i, negated := 1, false
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		negated = true
		i++
	}
	previous := -1 // the byte that a range can begin with
	for first := true; ; first = false {
		if i >= len(s) {
			return class, 0
		}
		c := s[i]
		switch {
		case c == ']' && !first:
			if negated {
				for b := range class {
					class[b] = !class[b]
				}
			}
			return class, i + 1
		case c == '-' && previous > 0 && i+1 < len(s) && s[i+1] != ']':
			i++
			if s[i] == '\\' {
				if i++; i == len(s) {
					return class, 0
				}
			}
			for b := previous; b <= int(s[i]); b++ {
				class[b] = true
			}
			previous = -1
			i++
		case c == '[' && i+1 < len(s) && s[i+1] == ':':
			end := strings.IndexByte(s[i+2:], ']')
			if end < 0 {
				return class, 0
			}
			name, named := strings.CutSuffix(s[i+2:i+2+end], ":")
			if !named { // it is a set that has a bracket
				class['['] = true
				previous = '['
				i++
				continue
			}
			if !addNamed(&class, name) {
				return class, 0
			}
			previous = -1
			i += 2 + end + 1
		default:
			if c == '\\' {
				if i++; i == len(s) {
					return class, 0
				}
				c = s[i]
			}
			class[c] = true
			previous = int(c)
			i++
		}
	}
}

// addNamed adds a class of ASCII.
func addNamed(class *[256]bool, name string) bool {
	in, known := map[string]func(b byte) bool{
		"alnum":  func(b byte) bool { return isLetter(b) || isDigit(b) },
		"alpha":  isLetter,
		"blank":  func(b byte) bool { return b == ' ' || b == '\t' },
		"cntrl":  func(b byte) bool { return b < ' ' || b == 0x7f },
		"digit":  isDigit,
		"graph":  func(b byte) bool { return b > ' ' && b < 0x7f },
		"lower":  func(b byte) bool { return 'a' <= b && b <= 'z' },
		"print":  func(b byte) bool { return b >= ' ' && b < 0x7f },
		"punct":  func(b byte) bool { return b > ' ' && b < 0x7f && !isLetter(b) && !isDigit(b) },
		"space":  func(b byte) bool { return b == ' ' || '\t' <= b && b <= '\r' },
		"upper":  func(b byte) bool { return 'A' <= b && b <= 'Z' },
		"xdigit": func(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' },
	}[name]
	if !known {
		return false
	}
	for b := range class {
		if in(byte(b)) {
			class[b] = true
		}
	}
	return true
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
func isDigit(b byte) bool  { return '0' <= b && b <= '9' }
