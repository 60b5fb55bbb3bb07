package jsonpath

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted parses a string literal in single or double quotes.
func (p *parser) quoted() (string, error) {
	quote := p.text[p.at]
	p.at++
	var b strings.Builder
	for {
		switch c := p.peek(); {
		case p.at >= len(p.text):
			return "", p.fail("a string has no end")
		case c == quote:
			p.at++
			return b.String(), nil
		case c < ' ':
			return "", p.fail("a string has a control character; write it as \\u%04x", c)
		case c == '\\':
			p.at++
			r, err := p.escape(quote)
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		default:
			_, size := utf8.DecodeRuneInString(p.text[p.at:])
			b.WriteString(p.text[p.at : p.at+size])
			p.at += size
		}
	}
}

// escape parses what comes after a backslash.
func (p *parser) escape(quote byte) (rune, error) {
	c := p.peek()
	if c == 'u' {
		p.at++
		return p.unicodeEscape()
	}
	const names, runes = `bfnrt/\`, "\b\f\n\r\t/\\"
	i := strings.IndexByte(names, c)
	switch {
	case c != 0 && c == quote:
		p.at++
		return rune(c), nil
	case c == 0 || i < 0:
		return 0, p.fail("a string has an unknown escape")
	}
	p.at++
	return rune(runes[i]), nil
}

func (p *parser) unicodeEscape() (rune, error) {
	r, ok := p.codeUnit()
	if ok && utf16.IsSurrogate(r) {
		var low rune
		if ok = p.accept(`\u`); ok {
			low, ok = p.codeUnit()
		}
		r = utf16.DecodeRune(r, low)
		ok = ok && r != unicode.ReplacementChar
	}
	if !ok {
		return 0, p.fail(`\u needs four hexadecimal digits, and two halves of a surrogate pair belong together`)
	}
	return r, nil
}

func (p *parser) codeUnit() (rune, bool) {
	const digits = 4
	if len(p.text)-p.at < digits {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[p.at:p.at+digits], 16, 16)
	if err != nil {
		return 0, false
	}
	p.at += digits
	return rune(n), true
}

// number parses a number literal.
func (p *parser) number() (float64, error) {
	begin := p.at
	p.accept("-")
	whole := p.digits()
	ok := whole != "" && (len(whole) == 1 || whole[0] != '0')
	if p.accept(".") {
		ok = p.digits() != "" && ok
	}
	if p.accept("e") || p.accept("E") {
		if !p.accept("-") {
			p.accept("+")
		}
		ok = p.digits() != "" && ok
	}
	n, err := strconv.ParseFloat(p.text[begin:p.at], 64)
	if !ok || err != nil {
		p.at = begin
		return 0, p.fail("a number is not valid JSON, or is too large")
	}
	return n, nil
}
