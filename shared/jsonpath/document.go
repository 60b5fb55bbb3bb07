package jsonpath

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"unicode/utf8"
)

// node is a value in a document: where its text begins and ends, and the index of the next node
// that is not inside it. Nodes are in the order of the text, so the nodes inside a node come right
// after it.
type node struct {
	start, end, next uint32
	key              uint32 // where the name of a member begins; 0 for a value without a name
}

// Document is a JSON object in two parts: its small members as an object, and one member that may
// be large, so that the large one is not copied.
type Document struct {
	object []byte
	large  Member
	nodes  []node
	last   int32 // the node of the large member, or -1
}

// Member is a member of an object. Its value is valid JSON, or the plain text of a string.
type Member struct {
	Name   string
	JSON   []byte
	Text   []byte
	Absent bool
}

func (m *Member) bytes() []byte {
	if m.Text != nil {
		return m.Text
	}
	return m.JSON
}

// ErrMalformed is the error for a document that is not valid JSON.
var ErrMalformed = errors.New("not valid JSON")

const root int32 = 0

// NewDocument indexes a document. The object must not have a member with the name of the large one.
func NewDocument(b *Budget, object []byte, large Member) (*Document, error) {
	d := &Document{object: object, large: large, last: -1}
	if len(object)+len(large.bytes()) >= math.MaxUint32 {
		return nil, exceeds("has more than %d bytes", uint32(math.MaxUint32))
	}
	d.nodes = make([]node, 0, min(estimate(object)+estimate(large.JSON)+1, b.limits.Nodes))
	i := indexer{document: d, budget: b, text: object}
	if err := i.value(0, 1); err != nil {
		return nil, err
	}
	if large.Absent {
		return d, nil
	}
	i = indexer{document: d, budget: b, text: large.JSON, base: uint32(len(object))} //nolint:gosec // checked above
	d.last = int32(len(d.nodes))                                                     //nolint:gosec // bounded by the limits
	var err error
	if large.Text != nil {
		err = i.add(node{start: i.base, end: i.base + uint32(len(large.Text))}) //nolint:gosec // checked above
	} else {
		err = i.value(0, 2) //nolint:mnd // below the root
	}
	if err != nil {
		return nil, err
	}
	d.nodes[d.last].next, d.nodes[root].next = uint32(len(d.nodes)), uint32(len(d.nodes)) //nolint:gosec // bounded by the limits
	return d, nil
}

// estimate is the maximum number of values in a text, so that the index is allocated at once.
func estimate(text []byte) int {
	n := 1
	for _, mark := range []string{",", "[", "{"} {
		n += bytes.Count(text, []byte(mark))
	}
	return n
}

// text is the text of a node.
func (d *Document) text(n int32) []byte {
	at := d.nodes[n]
	if base := uint32(len(d.object)); d.last >= 0 && n >= d.last { //nolint:gosec // checked by NewDocument
		return d.large.bytes()[at.start-base : at.end-base]
	}
	return d.object[at.start:at.end]
}

// kind is the first character of a node's JSON.
func (d *Document) kind(n int32) byte {
	if d.isText(n) {
		return '"'
	}
	return d.text(n)[0]
}

// isText reports whether the node is the large member, given as plain text.
func (d *Document) isText(n int32) bool { return n == d.last && d.large.Text != nil }

// children returns the index of the first child and the index after the last one. The next of each
// child is the index of the following child.
func (d *Document) children(n int32) (first, end int32) {
	return n + 1, int32(d.nodes[n].next) //nolint:gosec // bounded by the limits
}

// key is the name of a member as it is written, with its quotes.
func (d *Document) key(n int32) []byte {
	at, text := int(d.nodes[n].key), d.object
	if d.last >= 0 && n >= d.last {
		at, text = at-len(d.object), d.large.JSON
	}
	end := endOfString(text, at)
	return text[at:end]
}

// unquote decodes a JSON string.
func unquote(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil { // the document is valid
		return string(inner)
	}
	return s
}

// endOfString is the index after the string that begins at i, or -1.
func endOfString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// indexer makes the nodes of one text.
type indexer struct {
	document *Document
	budget   *Budget
	text     []byte
	base     uint32
	at       int
}

func (i *indexer) add(n node) error {
	if len(i.document.nodes) >= i.budget.limits.Nodes {
		return exceeds("has more than %d values", i.budget.limits.Nodes)
	}
	if !i.budget.spend(1) {
		return i.budget.err
	}
	n.next = uint32(len(i.document.nodes) + 1) //nolint:gosec // bounded by the limits
	i.document.nodes = append(i.document.nodes, n)
	return nil
}

// peek is the next byte that is not white space, and 0 at the end.
func (i *indexer) peek() byte {
	for ; i.at < len(i.text); i.at++ {
		switch c := i.text[i.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (i *indexer) value(key uint32, depth int) error {
	if depth > i.budget.limits.Depth {
		return exceeds("is nested deeper than %d", i.budget.limits.Depth)
	}
	open := i.peek()
	n := len(i.document.nodes)
	if err := i.add(node{start: i.offset(), key: key}); err != nil {
		return err
	}
	var err error
	switch open {
	case '{', '[':
		err = i.container(open, depth)
	case '"':
		if i.at = endOfString(i.text, i.at); i.at < 0 {
			err = ErrMalformed
		}
	default:
		err = i.word()
	}
	if err != nil {
		return err
	}
	i.document.nodes[n].end = i.offset()
	i.document.nodes[n].next = uint32(len(i.document.nodes)) //nolint:gosec // bounded by the limits
	return nil
}

func (i *indexer) offset() uint32 { return i.base + uint32(i.at) } //nolint:gosec // checked by NewDocument

// word reads past a number, true, false or null.
func (i *indexer) word() error {
	begin := i.at
	for i.at < len(i.text) && bytes.IndexByte([]byte(",]} \t\r\n"), i.text[i.at]) < 0 {
		i.at++
	}
	if i.at == begin {
		return ErrMalformed
	}
	return nil
}

func (i *indexer) container(open byte, depth int) error {
	end := open + 2 // ']' and '}' come two after '[' and '{'
	i.at++
	if i.peek() == end {
		i.at++
		return nil
	}
	for {
		key := uint32(0)
		if open == '{' {
			var err error
			if key, err = i.name(); err != nil {
				return err
			}
		}
		if err := i.value(key, depth+1); err != nil {
			return err
		}
		switch i.peek() {
		case ',':
			i.at++
		case end:
			i.at++
			return nil
		default:
			return ErrMalformed
		}
	}
}

// name reads past the name of a member and the colon.
func (i *indexer) name() (uint32, error) {
	if i.peek() != '"' {
		return 0, ErrMalformed
	}
	key := i.offset()
	if i.at = endOfString(i.text, i.at); i.at < 0 || i.peek() != ':' {
		return 0, ErrMalformed
	}
	i.at++
	return key, nil
}
