package jsonpath

import (
	"regexp"
	"regexp/syntax"
)

// The bounds of a pattern: its text, and the program that it is compiled to, in which a repetition
// counts as often as it repeats. A document can contain many different patterns, so only
// maxPatterns of them are kept.
const (
	maxPatternBytes = 1000
	maxPatternSize  = 5000
	maxPatterns     = 100
)

// patterns are the compiled patterns. The value is nil for text that is not a regular expression.
type patterns map[string]*compiled

type compiled struct {
	*regexp.Regexp
	size int
}

func (m matching) holds(e *evaluation, current int32) bool {
	text, pattern := m.text.value(e, current), m.pattern.value(e, current)
	if text.kind != isString || pattern.kind != isString {
		return false
	}
	c := e.pattern(pattern.text, m.whole)
	// In the worst case matching takes as many steps as the bytes of the text times the instructions
	// of the program.
	const perStep = 8
	return c != nil && e.budget.spend(1+(len(text.text)+1)*c.size/perStep) && c.MatchString(text.text)
}

func (e *evaluation) pattern(text string, whole bool) *compiled {
	key := "search " + text
	if whole {
		key = "match " + text
	}
	if c, found := e.patterns[key]; found {
		return c
	}
	if len(text) > maxPatternBytes {
		e.refuse(exceeds("has a regular expression of %d bytes; at most %d are allowed", len(text), maxPatternBytes))
		return nil
	}
	c := e.compile(text, whole)
	if e.patterns == nil {
		e.patterns = patterns{}
	}
	if len(e.patterns) < maxPatterns {
		e.patterns[key] = c
	}
	return c
}

func (e *evaluation) refuse(err error) {
	if e.budget.err == nil {
		e.budget.err = err
	}
}

// compile compiles an I-Regexp (RFC 9485), in which a dot does not match an end of line. It returns
// nil for text that is not an I-Regexp.
func (e *evaluation) compile(text string, whole bool) *compiled {
	if !e.budget.text(len(text)) {
		return nil
	}
	tree, err := syntax.Parse(text, syntax.Perl|syntax.DotNL)
	if err != nil {
		return nil
	}
	size := sizeOf(tree)
	if size > maxPatternSize {
		e.refuse(exceeds("has a regular expression that is too large; write fewer or smaller repetitions"))
		return nil
	}
	const compiling = 20 // steps for each instruction
	if !e.budget.spend(size * compiling) {
		return nil
	}
	narrowDots(tree)
	expression := tree.String()
	if whole {
		expression = `\A(?:` + expression + `)\z`
	}
	r, err := regexp.Compile(expression)
	if err != nil {
		return nil
	}
	return &compiled{r, size}
}

// sizeOf estimates how many instructions a pattern compiles to.
func sizeOf(r *syntax.Regexp) int {
	size := 1
	for _, sub := range r.Sub {
		size += sizeOf(sub)
	}
	switch r.Op {
	case syntax.OpLiteral:
		size += len(r.Rune)
	case syntax.OpRepeat:
		size *= max(r.Min, r.Max, 1)
	default:
	}
	return size
}

// narrowDots changes every dot so that it does not match an end of line.
func narrowDots(r *syntax.Regexp) {
	if r.Op == syntax.OpAnyChar {
		r.Op, r.Rune = syntax.OpCharClass, []rune{0, '\n' - 1, '\n' + 1, '\r' - 1, '\r' + 1, '\U0010ffff'}
	}
	for _, sub := range r.Sub {
		narrowDots(sub)
	}
}
