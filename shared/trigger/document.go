package trigger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"
)

// pieceBytes is how much of an event's data is written in one piece.
const pieceBytes = 24 << 10 // a multiple of 3, so that the base64 of the pieces can be joined

// pieces is a reader of what next returns, until next returns nothing.
type pieces struct {
	next func() []byte
	rest []byte
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.rest = p.next(); len(p.rest) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(to, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// compacted returns a reader of JSON without the space between its values.
func compacted(data []byte) io.Reader {
	inString := false
	out := make([]byte, 0, pieceBytes)
	return &pieces{next: func() []byte {
		out = out[:0]
		for len(data) > 0 && len(out)+1 < cap(out) {
			c := data[0]
			data = data[1:]
			switch {
			case c == '"':
				inString = !inString
			case c == '\\' && len(data) > 0: // the next character is escaped, so it cannot end the string
				out = append(out, c)
				c, data = data[0], data[1:]
			case !inString && strings.IndexByte(" \t\r\n", c) >= 0:
				continue
			}
			out = append(out, c)
		}
		return out
	}}
}

// escaped returns a reader of text as a JSON string.
func escaped(text []byte) io.Reader {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	middle := &pieces{next: func() []byte {
		n := min(len(text), pieceBytes)
		for n < len(text) && n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		out.Reset()
		if n == 0 || encoder.Encode(string(text[:n])) != nil { // encoding a string cannot fail
			return nil
		}
		text = text[n:]
		return bytes.TrimSuffix(out.Bytes(), []byte("\"\n"))[1:]
	}}
	return io.MultiReader(strings.NewReader(`"`), middle, strings.NewReader(`"`))
}

// encoded returns a reader of bytes as a JSON string in base64.
func encoded(data []byte) io.Reader {
	var out []byte
	middle := &pieces{next: func() []byte {
		n := min(len(data), pieceBytes)
		out = base64.StdEncoding.AppendEncode(out[:0], data[:n])
		data = data[n:]
		return out
	}}
	return io.MultiReader(strings.NewReader(`"`), middle, strings.NewReader(`"`))
}
