package jsonpath

import (
	"strconv"
	"unicode/utf8"
)

// kind says what a value is.
type kind uint8

const (
	isNothing kind = iota // the value of a query that selects no node
	isNull
	isBool
	isNumber
	isString
	isContainer // an array or object
)

// value is the value of an operand.
type value struct {
	kind   kind
	text   string
	number float64
	truth  bool
	node   int32
}

// valueOf returns the value of a node.
func (e *evaluation) valueOf(n int32) value {
	text := e.text(n)
	if e.isText(n) {
		if !e.budget.text(len(text)) {
			return value{}
		}
		return value{kind: isString, text: string(text)}
	}
	switch text[0] {
	case '{', '[':
		return value{kind: isContainer, node: n}
	case 'n':
		return value{kind: isNull}
	case 't', 'f':
		return value{kind: isBool, truth: text[0] == 't'}
	}
	if text[0] == '"' {
		return value{kind: isString, text: e.unquote(text)}
	}
	if !e.budget.text(len(text)) {
		return value{}
	}
	f, _ := strconv.ParseFloat(string(text), 64) // a number out of range becomes infinite
	return value{kind: isNumber, number: f}
}

func (l literal) value(*evaluation, int32) value { return l.is }

func (s singular) value(e *evaluation, current int32) value {
	n := current
	if !s.query.relative {
		n = root
	}
	for _, segment := range s.query.segments {
		var ok bool
		switch by := segment.selectors[0].(type) {
		case nameSelector:
			n, ok = e.member(n, string(by))
		case indexSelector:
			found := by.from(e, n, nil)
			if ok = len(found) > 0; ok {
				n = found[0]
			}
		}
		if !ok || !e.budget.spend(1) {
			return value{}
		}
	}
	return e.valueOf(n)
}

func (l length) value(e *evaluation, current int32) value {
	v := l.of.value(e, current)
	switch v.kind {
	case isString:
		e.budget.text(len(v.text))
		return value{kind: isNumber, number: float64(utf8.RuneCountInString(v.text))}
	case isContainer:
		n := 0
		first, end := e.children(v.node)
		for c := first; c < end && e.budget.spend(1); c = e.after(c) {
			n++
		}
		return value{kind: isNumber, number: float64(n)}
	}
	return value{}
}

func (c count) value(e *evaluation, current int32) value {
	return value{kind: isNumber, number: float64(len(e.nodes(c.of, current)))}
}

func (o only) value(e *evaluation, current int32) value {
	if found := e.nodes(o.of, current); len(found) == 1 {
		return e.valueOf(found[0])
	}
	return value{}
}

func (a anyOf) holds(e *evaluation, current int32) bool {
	for _, c := range a {
		if c.holds(e, current) {
			return true
		}
	}
	return false
}

func (a allOf) holds(e *evaluation, current int32) bool {
	for _, c := range a {
		if !c.holds(e, current) {
			return false
		}
	}
	return true
}

func (n negation) holds(e *evaluation, current int32) bool { return !n.of.holds(e, current) }

func (x existence) holds(e *evaluation, current int32) bool {
	return len(e.nodes(x.query, current)) > 0
}

func (c comparison) holds(e *evaluation, current int32) bool {
	if !e.budget.spend(1) {
		return false
	}
	left, right := c.left.value(e, current), c.right.value(e, current)
	switch c.operator {
	case "==":
		return e.equal(left, right)
	case "!=":
		return !e.equal(left, right)
	case "<":
		return e.less(left, right)
	case ">":
		return e.less(right, left)
	case "<=":
		return e.less(left, right) || e.equal(left, right)
	}
	return e.less(right, left) || e.equal(left, right)
}

func (e *evaluation) less(a, b value) bool {
	switch {
	case a.kind != b.kind:
		return false
	case a.kind == isNumber:
		return a.number < b.number
	case a.kind == isString:
		return e.budget.text(min(len(a.text), len(b.text))) && a.text < b.text
	}
	return false
}

func (e *evaluation) equal(a, b value) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case isBool:
		return a.truth == b.truth
	case isNumber:
		return a.number == b.number
	case isString:
		return len(a.text) == len(b.text) && e.budget.text(len(a.text)) && a.text == b.text
	case isContainer:
		return e.alike(a.node, b.node)
	}
	return true // null, or nothing
}

// alike compares two arrays, or two objects, whose members may be in a different order.
func (e *evaluation) alike(a, b int32) bool {
	switch {
	case !e.budget.spend(1) || e.kind(a) != e.kind(b):
		return false
	case a == b:
		return true
	}
	isObject := e.kind(a) == '{'
	x, endX := e.children(a)
	y, endY := e.children(b)
	for ; x < endX && y < endY; x, y = e.after(x), e.after(y) {
		other, ok := y, true
		if isObject {
			name := e.name(x)
			if !e.isNamed(y, name) {
				other, ok = e.member(b, name)
			}
		}
		if !ok || !e.equal(e.valueOf(x), e.valueOf(other)) {
			return false
		}
	}
	return x >= endX && y >= endY
}

func (e *evaluation) name(n int32) string {
	if n == e.last {
		return e.large.Name
	}
	return e.unquote(e.key(n))
}
