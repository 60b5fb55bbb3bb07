// Package mask replaces secrets in what a program writes. It is a best effort: it finds exact
// values, and not what a program makes of them.
package mask

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
)

// MinBytes is the length of the shortest value that is masked. A shorter one would be found in too
// much that is no secret.
const MinBytes = 8

// pieceBytes is the most bytes of a pattern. A longer value is cut into pieces, each of which is
// masked, so at most that many bytes of a stream are ever held back.
const pieceBytes = 1024

// maxPatterns bounds the patterns that are made of the lines of long values.
const maxPatterns = 8192

const replacement = "***"

// Mask is a set of values. It is safe for concurrent use.
type Mask struct {
	// patterns have the same MinBytes first bytes in each list, the longest first.
	patterns map[uint64][][]byte
	// sorted has all patterns, to find out whether the end of a text is the beginning of one.
	sorted [][]byte
	// likely has a bit for each hash of MinBytes bytes that a pattern can begin with. Almost no text
	// gets further than this look-up.
	likely [hashes / 64]uint64
	first  [256]bool // the first bytes of patterns
}

const (
	hashBits = 16
	hashes   = 1 << hashBits
)

// New returns a Mask of the values of secrets, or nil when none of them can be masked. Of a value
// with several lines each line is masked as well.
func New(values []string) *Mask {
	m := &Mask{patterns: map[uint64][][]byte{}}
	all := map[string]bool{}
	add := func(text string) {
		for len(text) > pieceBytes+MinBytes {
			addPiece(all, text[:pieceBytes])
			text = text[pieceBytes:]
		}
		addPiece(all, text)
	}
	for _, value := range values { // before their lines, which may be too many
		add(value)
	}
	for _, value := range values {
		for line := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
			add(line)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(all)) {
		pattern := []byte(text)
		m.sorted = append(m.sorted, pattern)
		start := binary.BigEndian.Uint64(pattern)
		m.patterns[start] = append(m.patterns[start], pattern)
		h := hash(start)
		m.likely[h/64] |= 1 << (h % 64)
		m.first[pattern[0]] = true
	}
	if len(m.sorted) == 0 {
		return nil
	}
	for _, list := range m.patterns {
		slices.SortFunc(list, func(a, b []byte) int { return cmp.Compare(len(b), len(a)) })
	}
	return m
}

// addPiece adds a pattern. Blanks around it do not count if enough is left: a line break at its
// beginning would hold back every line of a log.
func addPiece(all map[string]bool, text string) {
	trimmed := strings.TrimSpace(text)
	if len(trimmed) >= MinBytes || trimmed == "" {
		text = trimmed
	}
	if len(text) >= MinBytes && len(all) < maxPatterns {
		all[text] = true
	}
}

// hash is multiplicative hashing by the golden ratio.
func hash(start uint64) uint64 { return start * 0x9e3779b97f4a7c15 >> (64 - hashBits) }

// Stream masks one stream.
type Stream struct {
	mask *Mask
	// held is the end of what was written so far, which may be the beginning of a secret.
	held []byte
	// masked is how many bytes at the beginning of held belong to a secret that is masked already.
	masked int
	// joins says that a secret that begins here goes on from one that is masked already.
	joins bool
}

// Stream returns a Stream.
func (m *Mask) Stream() *Stream { return &Stream{mask: m} }

// Write returns what can be told of the stream by now: what was held back and data, with secrets
// replaced, up to what may be the beginning of another secret. Secrets that overlap or follow each
// other directly are one. The result is valid until the next call.
func (s *Stream) Write(data []byte) []byte {
	if len(s.held) > 0 {
		data = append(s.held, data...)
	}
	return s.scan(data, false)
}

// scan returns what can be told of data, which is all of it if nothing more comes.
func (s *Stream) scan(data []byte, last bool) []byte {
	var out []byte
	end, joins := s.masked, s.joins // up to end all is told, or masked
	for i := 0; i < len(data); i++ {
		if !s.mask.canBegin(data[i:]) {
			continue
		}
		length, partial := s.mask.match(data[i:])
		if length > 0 {
			if i > end || !joins {
				out = append(append(out, data[end:i]...), replacement...)
			}
			end, joins = max(end, i+length), true
		}
		if partial && !last {
			if i > end {
				out, end, joins = append(out, data[end:i]...), i, false
			}
			s.held, s.masked, s.joins = bytes.Clone(data[i:]), end-i, joins
			return out
		}
	}
	s.held, s.masked, s.joins = nil, 0, joins && end == len(data)
	if end == 0 {
		return data // nothing was found, which is the usual case
	}
	return append(out, data[end:]...)
}

// Held reports whether a part of the stream is held back.
func (s *Stream) Held() bool { return len(s.held) > s.masked }

// Flush returns what is held back: nothing more comes, or not soon enough.
func (s *Stream) Flush() []byte {
	out := s.scan(s.held, true)
	s.joins = false
	return out
}

// canBegin reports whether a text that is not empty may begin with a pattern, or a part of one.
func (m *Mask) canBegin(text []byte) bool {
	if len(text) < MinBytes {
		return m.first[text[0]]
	}
	h := hash(binary.BigEndian.Uint64(text))
	return m.likely[h/64]&(1<<(h%64)) != 0
}

// match returns the length of the longest pattern that the text begins with, or 0, and whether the
// whole text is the beginning of a longer one.
func (m *Mask) match(text []byte) (length int, partial bool) {
	if len(text) < MinBytes {
		i, _ := slices.BinarySearchFunc(m.sorted, text, bytes.Compare)
		return 0, i < len(m.sorted) && bytes.HasPrefix(m.sorted[i], text)
	}
	for _, pattern := range m.patterns[binary.BigEndian.Uint64(text)] {
		switch {
		case len(pattern) > len(text):
			partial = partial || bytes.HasPrefix(pattern, text)
		case length == 0 && bytes.HasPrefix(text, pattern):
			length = len(pattern)
		}
	}
	return length, partial
}
