package jsonpath

import (
	"bytes"
	"fmt"
)

// Node is a value in a Document that a query has selected.
type Node int32

// Select returns the nodes that the query selects. The error is a *LimitError, or the error of the
// budget's context.
func (p *Path) Select(d *Document, b *Budget) ([]Node, error) {
	e := &evaluation{Document: d, budget: b}
	found := e.nodes(p.query, root)
	if b.err != nil {
		return nil, fmt.Errorf("select: %w", b.err)
	}
	list := make([]Node, len(found))
	for i, n := range found {
		list[i] = Node(n)
	}
	return list, nil
}

// Text returns a node as an argument of a program: a string as plain text, anything else as JSON
// without spaces. It returns false when the text has more than limit bytes.
func (d *Document) Text(n Node, limit int) (string, bool) {
	text := d.text(int32(n))
	switch {
	case d.isText(int32(n)):
		return clipped(string(text[:min(len(text), limit+1)]), limit)
	case text[0] == '"':
		const longest = 6 // bytes of an escape such as \u0041, which can stand for one byte
		if len(text) > longest*(limit+1) {
			return "", false
		}
		return clipped(unquote(text), limit)
	}
	var b bytes.Buffer
	inString := false
	for i := 0; i < len(text) && b.Len() <= limit; i++ {
		c := text[i]
		switch {
		case c == '"':
			inString = !inString
		case c == '\\': // only in strings
			b.WriteByte(c)
			i++
			c = text[i]
		case !inString && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		b.WriteByte(c)
	}
	return clipped(b.String(), limit)
}

func clipped(text string, limit int) (string, bool) { return text, len(text) <= limit }

// evaluation runs the queries of a Budget over one document.
type evaluation struct {
	*Document
	budget   *Budget
	patterns patterns
}

// nodes returns the nodes that a query selects from the current node. Once the budget is used up
// the result is not valid.
func (e *evaluation) nodes(q *query, current int32) []int32 {
	if !q.relative {
		current = root
	}
	list := []int32{current}
	for _, s := range q.segments {
		var selected []int32
		for _, n := range list {
			selected = e.segment(s, n, selected)
			if len(selected) > e.budget.limits.Selected && e.budget.err == nil {
				e.budget.err = exceeds("selects more than %d values", e.budget.limits.Selected)
			}
			if e.budget.err != nil {
				return nil
			}
		}
		list = selected
	}
	return list
}

func (e *evaluation) segment(s segment, n int32, selected []int32) []int32 {
	last := n + 1
	if s.descendant {
		last = int32(e.Document.nodes[n].next) //nolint:gosec // bounded by the limits
	}
	for ; n < last && len(selected) <= e.budget.limits.Selected; n++ { // the nodes inside a node follow it
		for _, from := range s.selectors {
			if !e.budget.spend(1) {
				return nil
			}
			selected = from.from(e, n, selected)
		}
	}
	return selected
}

// member returns the member with a name. If there are several it is the last one, as in
// encoding/json.
func (e *evaluation) member(n int32, name string) (found int32, ok bool) {
	if e.kind(n) != '{' {
		return 0, false
	}
	first, end := e.children(n)
	for c := first; c < end && e.budget.spend(1); c = e.after(c) {
		if e.isNamed(c, name) {
			found, ok = c, true
		}
	}
	return found, ok
}

func (e *evaluation) after(n int32) int32 { return int32(e.Document.nodes[n].next) } //nolint:gosec // bounded by the limits

func (e *evaluation) isNamed(c int32, name string) bool {
	if c == e.last {
		return e.large.Name == name
	}
	key := e.key(c)
	if !e.budget.text(len(key)) {
		return false
	}
	if bytes.IndexByte(key, '\\') < 0 {
		return string(key[1:len(key)-1]) == name
	}
	return e.unquote(key) == name
}

// unquote calls the function of this name and counts its steps. A string with escapes takes longer.
func (e *evaluation) unquote(quoted []byte) string {
	if !e.budget.text(len(quoted)) || bytes.IndexByte(quoted, '\\') >= 0 && !e.budget.spend(len(quoted)/2) {
		return ""
	}
	return unquote(quoted)
}

func (name nameSelector) from(e *evaluation, n int32, selected []int32) []int32 {
	if c, ok := e.member(n, string(name)); ok {
		return append(selected, c)
	}
	return selected
}

func (wildcardSelector) from(e *evaluation, n int32, selected []int32) []int32 {
	first, end := e.children(n)
	for c := first; c < end && len(selected) <= e.budget.limits.Selected && e.budget.spend(1); c = e.after(c) {
		selected = append(selected, c)
	}
	return selected
}

// elements returns the number of elements of an array, and false for anything else.
func (e *evaluation) elements(n int32) (count int64, ok bool) {
	if e.kind(n) != '[' {
		return 0, false
	}
	first, end := e.children(n)
	for c := first; c < end && e.budget.spend(1); c = e.after(c) {
		count++
	}
	return count, true
}

func (i indexSelector) from(e *evaluation, n int32, selected []int32) []int32 {
	at := int64(i)
	if at < 0 {
		count, _ := e.elements(n)
		if at += count; at < 0 {
			return selected
		}
	}
	if e.kind(n) != '[' {
		return selected
	}
	first, end := e.children(n)
	for c := first; c < end && e.budget.spend(1); c = e.after(c) {
		if at == 0 {
			return append(selected, c)
		}
		at--
	}
	return selected
}

// from uses the algorithm of RFC 9535, section 2.3.4.2.2.
func (s sliceSelector) from(e *evaluation, n int32, selected []int32) []int32 {
	count, ok := e.elements(n)
	if !ok || s.step == 0 || count == 0 {
		return selected
	}
	all := make([]int32, 0, count)
	first, end := e.children(n)
	for c := first; c < end; c = e.after(c) {
		all = append(all, c)
	}
	begin, stop := s.bounds(count)
	for i := begin; s.step > 0 && i < stop || s.step < 0 && i > stop; i += s.step {
		if len(selected) > e.budget.limits.Selected || !e.budget.spend(1) {
			break
		}
		selected = append(selected, all[i])
	}
	return selected
}

// bounds returns the first index, and the index before which to stop.
func (s sliceSelector) bounds(count int64) (begin, stop int64) {
	normal := func(i *int64, missing, low, high int64) int64 {
		if i == nil {
			return missing
		}
		at := *i
		if at < 0 {
			at += count
		}
		return min(max(at, low), high)
	}
	if s.step > 0 {
		return normal(s.start, 0, 0, count), normal(s.end, count, 0, count)
	}
	return normal(s.start, count-1, -1, count-1), normal(s.end, -1, -1, count-1)
}

func (f filterSelector) from(e *evaluation, n int32, selected []int32) []int32 {
	first, end := e.children(n)
	for c := first; c < end && len(selected) <= e.budget.limits.Selected && e.budget.spend(1); c = e.after(c) {
		if f.condition.holds(e, c) {
			selected = append(selected, c)
		}
	}
	return selected
}
