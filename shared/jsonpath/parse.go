package jsonpath

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxPathBytes bounds the text of a query, and maxNesting how deep its filters and parentheses are
// nested.
const (
	MaxPathBytes = 4096
	maxNesting   = 50
)

// maxInt is the largest index, which is that of I-JSON (RFC 7493).
const maxInt = 1<<53 - 1

// SyntaxError says what is wrong with the text of a query.
type SyntaxError struct {
	Offset  int // in bytes
	Message string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s, at character %d", e.Message, e.Offset+1)
}

// Parse returns the query in text, or a *SyntaxError.
func Parse(text string) (*Path, error) {
	p := &parser{text: text}
	if len(text) > MaxPathBytes {
		return nil, p.fail("it has %d bytes; at most %d are allowed", len(text), MaxPathBytes)
	}
	if !utf8.ValidString(text) {
		return nil, p.fail("it is not valid UTF-8")
	}
	if !p.accept("$") {
		return nil, p.fail("a query begins with $")
	}
	q, err := p.query(false)
	if err != nil {
		return nil, err
	}
	if p.at < len(text) {
		return nil, p.unexpected()
	}
	return &Path{q}, nil
}

// parser reads a query from left to right.
type parser struct {
	text  string
	at    int
	depth int
}

func (p *parser) fail(format string, args ...any) error {
	return &SyntaxError{Offset: p.at, Message: fmt.Sprintf(format, args...)}
}

func (p *parser) unexpected() error {
	if p.at >= len(p.text) {
		return p.fail("it ends too early")
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return p.fail("%q is not expected here", r)
}

// accept reads past a token if it comes next.
func (p *parser) accept(token string) bool {
	if !strings.HasPrefix(p.text[p.at:], token) {
		return false
	}
	p.at += len(token)
	return true
}

// peek is the next byte, and 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\r", p.text[p.at]) >= 0 {
		p.at++
	}
}

// enter counts how deep the parser is in brackets. The returned function leaves the bracket.
func (p *parser) enter() (leave func(), err error) {
	if p.depth++; p.depth > maxNesting {
		return nil, p.fail("filters and parentheses are nested deeper than %d", maxNesting)
	}
	return func() { p.depth-- }, nil
}

// query parses segments. The $ or @ before them has been read.
func (p *parser) query(relative bool) (*query, error) {
	q := &query{relative: relative}
	for {
		before := p.at
		p.space()
		var s segment
		var err error
		switch {
		case p.accept(".."):
			s.descendant = true
			s.selectors, err = p.afterDots(true)
		case p.accept("."):
			s.selectors, err = p.afterDots(false)
		case p.peek() == '[':
			s.selectors, err = p.bracketed()
		default:
			p.at = before
			return q, nil
		}
		if err != nil {
			return nil, err
		}
		q.segments = append(q.segments, s)
	}
}

// afterDots parses a segment after one dot or two dots: a name or *, or after two dots also
// brackets.
func (p *parser) afterDots(brackets bool) ([]selector, error) {
	switch {
	case brackets && p.peek() == '[':
		return p.bracketed()
	case p.accept("*"):
		return []selector{wildcardSelector{}}, nil
	}
	begin := p.at
	for i, r := range p.text[p.at:] {
		if !isNameRune(r, i == 0) {
			break
		}
		p.at += utf8.RuneLen(r)
	}
	if p.at == begin {
		return nil, p.unexpected()
	}
	return []selector{nameSelector(p.text[begin:p.at])}, nil
}

func isNameRune(r rune, first bool) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r >= utf8.RuneSelf || !first && r >= '0' && r <= '9'
}

func (p *parser) bracketed() ([]selector, error) {
	leave, err := p.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	p.at++
	var list []selector
	for {
		p.space()
		s, err := p.selector()
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		p.space()
		switch {
		case p.accept(","):
		case p.accept("]"):
			return list, nil
		default:
			return nil, p.unexpected()
		}
	}
}

func (p *parser) selector() (selector, error) {
	switch c := p.peek(); {
	case c == '*':
		p.at++
		return wildcardSelector{}, nil
	case c == '\'' || c == '"':
		name, err := p.quoted()
		return nameSelector(name), err
	case c == '?':
		p.at++
		p.space()
		condition, err := p.either()
		return filterSelector{condition}, err
	case c == ':' || c == '-' || isDigit(c):
		return p.indexOrSlice()
	}
	return nil, p.unexpected()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func (p *parser) indexOrSlice() (selector, error) {
	start, err := p.optionalInt()
	if err != nil {
		return nil, err
	}
	before := p.at
	p.space()
	if !p.accept(":") {
		p.at = before
		return indexSelector(*start), nil // the caller has checked that there is an integer
	}
	s := sliceSelector{start: start, step: 1}
	p.space()
	if s.end, err = p.optionalInt(); err != nil {
		return nil, err
	}
	before = p.at
	p.space()
	if !p.accept(":") {
		p.at = before
		return s, nil
	}
	p.space()
	step, err := p.optionalInt()
	if step != nil {
		s.step = *step
	}
	return s, err
}

// optionalInt parses an integer if there is one.
func (p *parser) optionalInt() (*int64, error) {
	if c := p.peek(); c != '-' && !isDigit(c) {
		return nil, nil //nolint:nilnil // none
	}
	begin := p.at
	p.accept("-")
	digits := p.digits()
	text := p.text[begin:p.at]
	n, err := strconv.ParseInt(text, 10, 64)
	if digits == "" || len(digits) > 1 && digits[0] == '0' || text == "-0" || err != nil || n > maxInt || n < -maxInt {
		p.at = begin
		return nil, p.fail("an integer has no leading zeros, and at most 53 bits")
	}
	return &n, nil
}

func (p *parser) digits() string {
	begin := p.at
	for isDigit(p.peek()) {
		p.at++
	}
	return p.text[begin:p.at]
}
