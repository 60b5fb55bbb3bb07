package trigger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/api"
)

// maxAttributes bounds the members of an event. Brokers and headers allow fewer.
const maxAttributes = 200

// readStructured reads an event in the JSON format of CloudEvents.
func readStructured(body []byte) (*event.Event, error) {
	if !utf8.Valid(body) {
		return nil, notUTF8()
	}
	if !json.Valid(body) {
		return nil, api.BadRequest("body", "is not valid JSON")
	}
	return structuredEvent(body)
}

// structuredEvent reads an event from valid JSON. The SDK reads only the attributes. The data may
// be large and of any shape, so it is used where it lies; the SDK would copy it, and decode members
// of it that look like attributes.
func structuredEvent(text []byte) (*event.Event, error) {
	members, err := membersOf(text, maxAttributes)
	if err != nil {
		return nil, unreadable(err)
	}
	attributes := []byte{'{'}
	var data, inBase64 []byte
	seen := map[string]bool{}
	for _, m := range members {
		name := strings.ToLower(m.name)
		switch {
		case name == "" || seen[name]:
			return nil, api.BadRequest("body", fmt.Sprintf("is not a CloudEvent: it has the attribute %.60q more than once, "+
				"or one without a name", m.name))
		case m.name == "data":
			data = m.value
		case m.name == "data_base64":
			inBase64 = m.value
		case m.value[0] == '{' || m.value[0] == '[':
			return nil, api.BadRequest(printable(name[:min(len(name), 60)]), "is not text, a number, true or false, as an "+
				"attribute of an event is")
		case hasLoneSurrogate(m.value):
			return nil, loneSurrogate(printable(name[:min(len(name), 60)]))
		case string(m.value) == "null": // the JSON format says that null means absent
		default:
			if len(attributes) > 1 {
				attributes = append(attributes, ',')
			}
			attributes = append(append(append(attributes, m.quoted...), ':'), m.value...)
		}
		seen[name] = true
	}
	var e event.Event
	if err := json.Unmarshal(append(attributes, '}'), &e); err != nil {
		return nil, unreadable(err)
	}
	if e.Context == nil {
		return nil, api.BadRequest("body", "is not a CloudEvent of version 1.0")
	}
	return &e, setData(&e, data, inBase64)
}

// setData sets the data of an event from its JSON format: JSON unchanged, other text from a string,
// and bytes from base64.
func setData(e *event.Event, data, inBase64 []byte) error {
	isNull := func(text []byte) bool { return text == nil || string(text) == "null" }
	switch {
	case !isNull(data) && !isNull(inBase64):
		return api.BadRequest("data_base64", "was sent together with data; send one of them")
	case !isNull(inBase64):
		var text string
		if err := json.Unmarshal(inBase64, &text); err != nil {
			return api.BadRequest("data_base64", "is not a string")
		}
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return api.BadRequest("data_base64", "is not base64")
		}
		e.DataEncoded, e.DataBase64 = decoded, true
	case data == nil || isNull(data) && e.DataContentType() != "" && !isJSON(e.DataMediaType()):
	case e.DataContentType() == "" || isJSON(e.DataMediaType()):
		e.DataEncoded = data
	default:
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return api.BadRequest("data", fmt.Sprintf("is not a string, as data of the type %.60q is", e.DataContentType()))
		}
		if hasLoneSurrogate(data) {
			return loneSurrogate("data")
		}
		e.DataEncoded = []byte(text)
	}
	return nil
}

func loneSurrogate(field string) error {
	return api.BadRequest(field, `has half of a surrogate pair, such as \ud800 alone, which is no character`)
}

// hasLoneSurrogate reports whether a JSON string has an escape for half of a surrogate pair.
// Decoding would replace it by another character.
func hasLoneSurrogate(quoted []byte) bool {
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		first, escaped := escapedUnit(quoted[i:])
		if !escaped {
			i++ // skip the escaped character
			continue
		}
		i += escapeBytes - 1
		if !utf16.IsSurrogate(first) {
			continue
		}
		second, escaped := escapedUnit(quoted[i+1:])
		if !escaped || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		i += escapeBytes
	}
	return false
}

const escapeBytes = len(`\u0000`)

// escapedUnit returns the UTF-16 unit of the escape at the beginning of text, if there is one.
func escapedUnit(text []byte) (rune, bool) {
	if len(text) < escapeBytes || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:escapeBytes]), 16, 16)
	return rune(n), err == nil
}

// member is a member of an object: its name, the name as it was written, and its value.
type member struct {
	name          string
	quoted, value []byte
}

var errShape = errors.New("it is not a JSON object, or not a list of them")

// membersOf returns the members of an object that is valid JSON.
func membersOf(text []byte, most int) ([]member, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] != '{' {
		return nil, errShape
	}
	var list []member
	for s := (scanner{text: text, at: 1}); !s.ends('}'); {
		if len(list) == most {
			return nil, fmt.Errorf("it has more than %d attributes", most)
		}
		m := member{quoted: s.value()}
		s.skip(':')
		m.value = s.value()
		if json.Unmarshal(m.quoted, &m.name) != nil || len(m.value) == 0 {
			return nil, errShape
		}
		s.skip(',')
		list = append(list, m)
	}
	return list, nil
}

// elements returns at most the given number of elements of an array.
func elements(text []byte, most int) ([][]byte, error) {
	text = bytes.TrimSpace(text)
	if !json.Valid(text) || text[0] != '[' {
		return nil, errShape
	}
	var list [][]byte
	for s := (scanner{text: text, at: 1}); !s.ends(']') && len(list) < most; s.skip(',') {
		list = append(list, s.value())
	}
	return list, nil
}

// scanner reads valid JSON value by value.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
}

// ends reports whether an object or array ends here.
func (s *scanner) ends(bracket byte) bool {
	s.space()
	return s.at >= len(s.text) || s.text[s.at] == bracket
}

// skip moves past a separator, if there is one.
func (s *scanner) skip(separator byte) {
	if s.space(); s.at < len(s.text) && s.text[s.at] == separator {
		s.at++
	}
}

// value returns the value that begins here.
func (s *scanner) value() []byte {
	s.space()
	begin, depth, inString := s.at, 0, false
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case inString && c == '\\':
			s.at++
		case c == '"':
			inString = !inString
			if !inString && depth == 0 {
				s.at++
				return s.text[begin:s.at]
			}
		case inString:
		case c == '{' || c == '[':
			depth++
		case depth > 0 && (c == '}' || c == ']'):
			if depth--; depth == 0 {
				s.at++
				return s.text[begin:s.at]
			}
		case depth == 0 && strings.IndexByte(",:]} \t\r\n", c) >= 0:
			return s.text[begin:s.at]
		}
	}
	return s.text[begin:min(s.at, len(s.text))]
}
