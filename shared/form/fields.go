package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"go-job-orchestrator/shared/job"
)

// setter puts the text of a field into a specification, or says what is wrong with it.
type setter func(s *job.Spec, text string) (message string)

// single returns the setters of the fields that may be sent once as text. "arg" may be repeated, so
// it is not among them.
func single() map[string]setter {
	return map[string]setter{
		"runtime":    func(s *job.Spec, text string) string { s.Runtime = text; return "" },
		"entrypoint": func(s *job.Spec, text string) string { s.Entrypoint = text; return "" },
		"image":      func(s *job.Spec, text string) string { s.Image = text; return "" },
		"queue":      func(s *job.Spec, text string) string { s.Queue = text; return "" },
		"profile":    func(s *job.Spec, text string) string { s.Profile = text; return required(text) },
		"cpu":        func(s *job.Spec, text string) string { s.CPU = text; return required(text) },
		"memory":     func(s *job.Spec, text string) string { s.Memory = text; return required(text) },
		"args":       func(s *job.Spec, text string) (m string) { s.Args, m = stringList(text); return m },
		"env":        func(s *job.Spec, text string) (m string) { s.Env, m = stringMap(text); return m },
		"labels":     func(s *job.Spec, text string) (m string) { s.Labels, m = stringMap(text); return m },
		"timeoutSeconds": func(s *job.Spec, text string) (m string) {
			s.TimeoutSeconds, m = seconds(text, 1)
			return m
		},
		"ttlSecondsAfterFinished": func(s *job.Spec, text string) (m string) {
			s.TTLSecondsAfterFinished, m = seconds(text, 0)
			return m
		},
		"name": func(s *job.Spec, text string) string { s.Name = text; return "" },
		"dependencies": func(s *job.Spec, text string) string {
			s.Dependencies = text
			return required(text)
		},
		"retryOn": func(s *job.Spec, text string) (m string) { s.RetryOn, m = stringList(text); return m },
		"retries": func(s *job.Spec, text string) string {
			n, m := whole(text, 0)
			s.Retries = int(min(n, job.MaxRetries+1)) // Validate names the bounds
			return m
		},
	}
}

// secretField is what messages call the fields of secrets.
const secretField = job.SecretPrefix + "NAME"

func fieldNames() []string {
	names := append(slices.Collect(maps.Keys(single())), stdinField)
	return append(append([]string{"files", "archive", "arg"}, slices.Sorted(slices.Values(names))...), secretField)
}

// decode turns fields into a specification, and returns all their faults.
func decode(fields map[string][]string, defaults job.Spec) (*job.Spec, []job.Fault) {
	spec := defaults
	var faults []job.Fault
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if set, ok := single()[name]; ok {
			if message := set(&spec, fields[name][0]); message != "" {
				faults = append(faults, job.Fault{Field: name, Message: message})
			}
		}
	}
	// Never nil, so that it is an empty list in JSON.
	spec.Args = append(append([]string{}, spec.Args...), fields["arg"]...)
	var more *job.Faults
	if errors.As(spec.Validate(), &more) {
		for _, f := range more.List { // a field such as labels["x"] contains a name of any length
			faults = append(faults, job.Fault{Field: clip(f.Field), Message: f.Message})
		}
	}
	return &spec, faults
}

const maxFieldName = 100

func clip(field string) string {
	if len(field) <= maxFieldName {
		return field
	}
	return strings.ToValidUTF8(field[:maxFieldName], "") + "…"
}

func required(text string) string {
	if text == "" {
		return "is empty; leave the field out for the default"
	}
	return ""
}

// maxDigits bounds whole numbers, so that they cannot overflow.
const maxDigits = 10

func whole(text string, low int64) (int64, string) {
	message := fmt.Sprintf("%.60q is not a whole number from %d on, such as 60", text, low)
	if text == "" || len(text) > maxDigits {
		return low, message
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return low, message
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low {
		return low, message
	}
	return n, ""
}

// seconds reads a whole number of seconds.
func seconds(text string, low int64) (int64, string) {
	n, message := whole(text, low)
	if message != "" {
		message += job.MeantSeconds(text)
	}
	return n, message
}

// otherNames maps the names that other systems use to the fields of a job. The words have no
// hyphens or underscores.
func otherNames() map[string]string {
	others := map[string]string{}
	for field, words := range map[string]string{
		"files":   "upload uploads script source sources",
		"archive": "zip tar tarball tgz bundle folder directory project", "runtime": "language lang interpreter",
		"entrypoint": "command cmd main program", "args": "arguments argv params parameters",
		"env": "environment vars variables", "labels": "tag tags annotations", "memory": "ram limitsmemory",
		"cpu": "cores limitscpu", "timeoutSeconds": "deadline activedeadlineseconds maxruntime",
		"ttlSecondsAfterFinished": "expiry expires keep retention", "retries": "retry backofflimit maxattempts attempts",
		"image":    "container docker",
		stdinField: "input standardinput", "name": "title jobname displayname", "retryOn": "retrywhen retryif retryreasons",
		secretField:    "secret secrets password passwords credentials",
		"dependencies": "packages install nodeps",
		"profile":      "flavor flavour machinetype instancetype nodepool partition",
	} {
		for word := range strings.FieldsSeq(words) {
			others[word] = field
		}
	}
	return others
}

// maxSuggested bounds the text that a suggestion is made from.
const maxSuggested = 200

// asList suggests the array of strings that a text was probably meant to be.
func asList(text string) string {
	if text == "" || len(text) > maxSuggested || strings.ContainsAny(text, `[]{}"\`) || !utf8.ValidString(text) {
		return ""
	}
	return suggestJSON(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == ',' }))
}

// asMap suggests the object of strings that a text such as a=b,c=d was probably meant to be.
func asMap(text string) string {
	if len(text) > maxSuggested || strings.ContainsAny(text, `[]{}"\`) || !utf8.ValidString(text) {
		return ""
	}
	pairs := map[string]string{}
	between := func(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == ';' }
	for pair := range strings.FieldsFuncSeq(text, between) {
		at := strings.IndexAny(pair, "=:")
		if at < 1 {
			return ""
		}
		pairs[pair[:at]] = pair[at+1:]
	}
	if len(pairs) == 0 {
		return ""
	}
	return suggestJSON(pairs)
}

func suggestJSON(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return "; did you mean " + string(data) + "?"
}

func stringList(text string) ([]string, string) {
	list, message := parseList(text)
	if message != "" {
		message += asList(text)
	}
	return list, message
}

func parseList(text string) ([]string, string) {
	const want = `must be a JSON array of strings, such as ["a","b"]`
	var list []*string
	if message := decodeJSON(text, &list, want); message != "" {
		return nil, message
	}
	if list == nil {
		return nil, want
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, want
		}
		out[i] = *s
	}
	return out, paired(text)
}

func stringMap(text string) (map[string]string, string) {
	pairs, message := parseMap(text)
	if message != "" {
		message += asMap(text)
	}
	return pairs, message
}

// parseMap reads an object token by token. If it were decoded into a map, encoding/json would
// silently keep the last of two equal names.
func parseMap(text string) (map[string]string, string) {
	const want = `must be a JSON object of strings, such as {"NAME":"value"}`
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, want
	}
	out := map[string]string{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, want
		}
		value, err := d.Token()
		if err != nil {
			return nil, want
		}
		key, _ := name.(string) // names in objects are strings
		s, ok := value.(string)
		if !ok {
			return nil, fmt.Sprintf("%s; the value of %.60q is not a string", want, key)
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Sprintf("has %.60q more than once", key)
		}
		out[key] = s
	}
	if _, err := d.Token(); err != nil {
		return nil, want
	}
	if message := trailing(d, want); message != "" {
		return nil, message
	}
	return out, paired(text)
}

// paired refuses JSON strings with half of a surrogate pair, such as "\ud83d". encoding/json would
// replace it by another character, and the program would get a text that the client did not send.
func paired(text string) string {
	const message = `holds half of a surrogate pair (\ud800 to \udfff), which is no character; send both halves or the character itself`
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; !strings.HasPrefix(text[i:], "u") {
			continue
		}
		switch r := unit(text[i-1:]); {
		case !utf16.IsSurrogate(r):
		case utf16.DecodeRune(r, unit(text[i+5:])) == unicode.ReplacementChar:
			return message
		default:
			i += 6
		}
	}
	return ""
}

// unit returns the UTF-16 code unit of the escape at the beginning of text, or -1 if there is none.
func unit(text string) rune {
	digits, found := strings.CutPrefix(text, `\u`)
	if !found || len(digits) < 4 {
		return -1
	}
	n, err := strconv.ParseUint(digits[:4], 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

func decodeJSON(text string, into any, want string) string {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := d.Decode(into); err != nil {
		return want
	}
	return trailing(d, want)
}

func trailing(d *json.Decoder, want string) string {
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return want
	}
	return ""
}
