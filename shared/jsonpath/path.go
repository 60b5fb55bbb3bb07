// Package jsonpath selects parts of a JSON document by JSONPath (RFC 9535), within bounds. Neither
// a query nor a document can make it use more memory or time than its Limits say.
//
// Libraries evaluate a filter as a whole, so a comparison of large values or a pattern in it cannot
// be stopped. They also need a decoded document, which takes up to thirty times its size. This
// package reads the text of the document, with an index of 16 bytes per value that says where the
// value begins and ends.
package jsonpath

// Path is a parsed query.
type Path struct{ query *query }

// query is a list of segments that begins at the root of the document or, in a filter, at the
// current node.
type query struct {
	relative bool
	segments []segment
}

// isSingular reports whether the query selects at most one node, whatever the document.
func (q *query) isSingular() bool {
	for _, s := range q.segments {
		if s.descendant || len(s.selectors) != 1 {
			return false
		}
		switch s.selectors[0].(type) {
		case nameSelector, indexSelector:
		default:
			return false
		}
	}
	return true
}

// segment selects children by its selectors. A descendant segment also selects children of every
// node below.
type segment struct {
	descendant bool
	selectors  []selector
}

// selector is one of the five kinds of RFC 9535, section 2.3.
type selector interface {
	// from appends the children of a node that the selector selects.
	from(e *evaluation, n int32, selected []int32) []int32
}

type (
	nameSelector     string
	indexSelector    int64
	wildcardSelector struct{}
	sliceSelector    struct {
		start, end *int64
		step       int64
	}
	filterSelector struct{ condition condition }
)

// condition is a logical expression in a filter.
type condition interface {
	holds(e *evaluation, current int32) bool
}

type (
	anyOf      []condition
	allOf      []condition
	negation   struct{ of condition }
	existence  struct{ query *query }
	comparison struct {
		operator    string
		left, right operand
	}
	// matching is a call of match or search.
	matching struct {
		whole         bool
		text, pattern operand
	}
)

// operand is an expression with a value: a side of a comparison, or an argument of a function.
type operand interface {
	value(e *evaluation, current int32) value
}

type (
	literal  struct{ is value }
	singular struct{ query *query }
	length   struct{ of operand }
	count    struct{ of *query }
	only     struct{ of *query } // the function value
)
