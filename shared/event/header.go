package event

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// headerPrefix is what the headers begin with that have the attributes of an event in binary mode.
const headerPrefix = "Ce-"

// HeaderError says which attribute of an event cannot be read from its header, and why.
type HeaderError struct{ Attribute, Message string }

func (e *HeaderError) Error() string { return e.Attribute + ": " + e.Message }

// DecodeHeader returns the headers of an event in binary mode with the attributes as they were
// before they were encoded: by the HTTP protocol binding of CloudEvents, 3.1.3.2, which the SDK
// knows nothing of. The error is a *HeaderError.
func DecodeHeader(h http.Header) (http.Header, error) {
	decoded := h.Clone()
	for key, values := range decoded {
		name, found := strings.CutPrefix(key, headerPrefix)
		if !found {
			continue
		}
		if len(values) != 1 {
			return nil, &HeaderError{strings.ToLower(name), "was sent more than once"}
		}
		value, problem := decodeValue(values[0])
		if problem != "" {
			return nil, &HeaderError{strings.ToLower(name), problem}
		}
		values[0] = value
	}
	return decoded, nil
}

// decodeValue returns the attribute that a header has, or what is wrong with it. Older senders put
// a value into double quotes (RFC 7230, section 3.2.6), or write characters as they are that have
// to be encoded now; where that can be read it is.
func decodeValue(text string) (value, problem string) {
	text, closed := unquoted(text)
	if !closed {
		return "", `has a double quote that is not closed; send it as %22`
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2]) {
			const fault = "has %.3q, where %% and two hexadecimal digits are a byte; send the sign itself as %%25"
			return "", fmt.Sprintf(fault, text[i:])
		}
		b.WriteByte(hexValue(text[i+1])<<4 | hexValue(text[i+2]))
		i += 2
	}
	if value = b.String(); !utf8.ValidString(value) {
		return "", "is not UTF-8 once it is decoded (CloudEvents HTTP protocol binding, 3.1.3.2)"
	}
	return value, ""
}

// unquoted takes the double quotes from the strings in a header that have some, and the backslashes
// from what they escape.
func unquoted(text string) (value string, closed bool) {
	if !strings.Contains(text, `"`) {
		return text, true
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
			continue
		case c == '\\' && quoted && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), !quoted
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// encodeValue returns an attribute as a header has it.
func encodeValue(value string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		if c > ' ' && c <= '~' && c != '"' && c != '%' {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

// encoding sends events in binary mode with their attributes encoded: the SDK writes them as they
// are.
type encoding struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (e encoding) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for key, values := range r.Header {
		if !strings.HasPrefix(key, headerPrefix) {
			continue
		}
		for i, value := range values {
			values[i] = encodeValue(value)
		}
	}
	return e.next.RoundTrip(r)
}
