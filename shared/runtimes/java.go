package runtimes

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// javaSource is what the build needs to know of a Java source file.
type javaSource struct {
	file    string
	pkg     string
	types   []string        // at the top level
	compact bool            // it has a main method outside of every class (JEP 512)
	words   map[string]bool // all names in it, also those in string literals, because classes can be loaded by name
}

func (s *javaSource) stem() string { return strings.TrimSuffix(path.Base(s.file), ".java") }

// class is the name of the class to run: the class that the file is named after, or else the first
// class in it, as java itself chooses.
func (s *javaSource) class() string {
	name := s.stem()
	if !s.compact && len(s.types) > 0 && !slices.Contains(s.types, name) {
		name = s.types[0]
	}
	if s.pkg != "" {
		name = s.pkg + "." + name
	}
	return name
}

// parseJava finds the declarations in a source. In a file that is not Java it finds none, and the
// compiler reports the errors.
func parseJava(file, text string) *javaSource {
	p := &javaParser{source: &javaSource{file: file, words: map[string]bool{}}}
	for text != "" {
		token, rest := nextJavaToken(text)
		switch {
		case token[0] == '"' || token[0] == '\'': // names in literals count too
			for _, word := range strings.FieldsFunc(token, func(r rune) bool { return !isJavaName(r) }) {
				p.source.words[word] = true
			}
			p.take(`""`)
		case token != " ":
			p.take(token)
		}
		text = rest
	}
	return p.source
}

// Bounds of what is kept of a source, far above what real sources have.
const (
	maxPackage = 1000 // bytes
	maxTypes   = 1000 // at the top level
)

// javaParser follows the tokens of a source at its top level.
type javaParser struct {
	source        *javaSource
	braces, round int
	before        string // the previous token
	inPackage     bool
}

func (p *javaParser) take(token string) {
	isName := isJavaName(first(token))
	if isName {
		p.source.words[token] = true
	}
	outside := p.braces == 0 && p.round == 0
	switch {
	case token == "{":
		p.braces++
	case token == "}":
		p.braces = max(p.braces-1, 0)
	case token == "(":
		p.source.compact = p.source.compact || outside && p.before == "main"
		p.round++
	case token == ")":
		p.round = max(p.round-1, 0)
	case !outside:
	case p.inPackage && (isName || token == ".") && len(p.source.pkg) < maxPackage:
		p.source.pkg += token
	case token == "package":
		p.inPackage, p.source.pkg = true, ""
	case isName && len(p.source.types) < maxTypes &&
		slices.Contains([]string{"class", "interface", "enum", "record"}, p.before):
		p.source.types = append(p.source.types, token)
	}
	if token == ";" {
		p.inPackage = false
	}
	p.before = token
}

func first(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

func isJavaName(r rune) bool {
	return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// nextJavaToken returns the first token of text and the rest. The token is a blank for space and
// comments.
func nextJavaToken(text string) (token, rest string) {
	until := func(from int, end string) (string, string) {
		if i := strings.Index(text[from:], end); i >= 0 {
			return text[:from+i+len(end)], text[from+i+len(end):]
		}
		return text, ""
	}
	switch {
	case strings.HasPrefix(text, "//"):
		_, rest = until(2, "\n")
		return " ", rest
	case strings.HasPrefix(text, "/*"):
		_, rest = until(2, "*/")
		return " ", rest
	case strings.HasPrefix(text, `"""`):
		return until(3, `"""`)
	case text[0] == '"' || text[0] == '\'':
		i := 1
		for ; i < len(text) && text[i] != '\n'; i++ {
			if text[i] == '\\' {
				i++
			} else if text[i] == text[0] {
				i++
				break
			}
		}
		i = min(i, len(text))
		return text[:i], text[i:]
	case isJavaName(first(text)):
		i := strings.IndexFunc(text, func(r rune) bool { return !isJavaName(r) })
		if i < 0 {
			return text, ""
		}
		return text[:i], text[i:]
	case unicode.IsSpace(first(text)):
		return " ", strings.TrimLeftFunc(text, unicode.IsSpace)
	}
	_, n := utf8.DecodeRuneInString(text)
	return text[:n], text[n:]
}

// javaExplain finds the reason why sources could not be compiled in the output of java or its
// compiler.
func javaExplain(stderr string, built bool) string {
	if strings.Contains(stderr, "Module jdk.compiler not found") {
		return "this Java is a JRE, which has no compiler; use a JDK, or send class files or a jar"
	}
	if !built && !strings.HasSuffix(strings.TrimSpace(stderr), "error: compilation failed") {
		return ""
	}
	for line := range strings.Lines(stderr) {
		at := strings.Index(line, "error: ")
		if at < 0 || at > 0 && !strings.HasSuffix(line[:at], ": ") {
			continue
		}
		where := line[:at]
		return "it could not be compiled: " + where[strings.LastIndex(where, "/")+1:] + strings.TrimSpace(line[at:])
	}
	return "it could not be compiled; its log says why"
}
