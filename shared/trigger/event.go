package trigger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/theory/jsonpath"

	"go-job-orchestrator/shared/job"
)

// Names in the workspace of a job that an event started.
const (
	EventFile = "event.json" // attributes and data, as in the JSON format of CloudEvents
	DataFile  = "event.data" // the data's bytes as they came; absent without data
	InputsDir = "inputs"     // the outputs of the job that the event is about, when asked for
)

// CheckFileName says why a template cannot have a file of this name, or nothing.
func CheckFileName(name string) string {
	if slices.Contains([]string{EventFile, DataFile, InputsDir}, name) {
		return fmt.Sprintf("%q is what an event brings along; rename the file", name)
	}
	return ""
}

// Event is an event that is to start a job.
type Event struct {
	event.Event
	document []byte
}

// New prepares an event that Read has returned.
func New(e event.Event) (*Event, error) {
	attributes := maps.Clone(e.Extensions())
	if attributes == nil {
		attributes = map[string]any{}
	}
	for name, value := range attributes {
		text, err := types.Format(value)
		if err != nil {
			return nil, job.Invalid(name, "is not an attribute that an event can have")
		}
		attributes[name] = value
		if _, isText := value.(string); !isText {
			attributes[name] = simple(value, text)
		}
	}
	maps.Copy(attributes, map[string]any{"specversion": e.SpecVersion(), "id": e.ID(), "source": e.Source(), "type": e.Type()})
	for name, value := range map[string]string{"subject": e.Subject(), "datacontenttype": e.DataContentType(), "dataschema": e.DataSchema()} {
		if value != "" {
			attributes[name] = value
		}
	}
	if !e.Time().IsZero() {
		attributes["time"] = e.Time().Format(time.RFC3339Nano)
	}
	if data := e.Data(); len(data) > 0 {
		switch {
		case isJSON(e.DataMediaType()) || e.DataContentType() == "" && json.Valid(data):
			attributes["data"] = json.RawMessage(data)
		case utf8.Valid(data):
			attributes["data"] = string(data)
		default:
			attributes["data_base64"] = data // encoded so
		}
	}
	var document bytes.Buffer
	encoder := json.NewEncoder(&document)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(attributes); err != nil {
		return nil, job.Invalid("data", "cannot be written as JSON")
	}
	return &Event{Event: e, document: document.Bytes()}, nil
}

// simple is a value of an attribute in JSON: numbers and truth values stay what they are.
func simple(value any, text string) any {
	switch value.(type) {
	case bool, int32:
		return value
	}
	return text
}

// Files are those that lie in the job's workspace.
func (e *Event) Files() map[string][]byte {
	files := map[string][]byte{EventFile: e.document}
	if len(e.Data()) > 0 {
		files[DataFile] = e.Data()
	}
	return files
}

// Env is the event's attributes as variables: CE_ID, CE_SOURCE, CE_TYPE and so on, extensions among them.
func (e *Event) Env() map[string]string {
	env := map[string]string{"CE_SPECVERSION": e.SpecVersion(), "CE_ID": e.ID(), "CE_SOURCE": e.Source(), "CE_TYPE": e.Type()}
	for name, value := range map[string]string{"SUBJECT": e.Subject(), "DATACONTENTTYPE": e.DataContentType(), "DATASCHEMA": e.DataSchema()} {
		if value != "" {
			env["CE_"+name] = value
		}
	}
	if !e.Time().IsZero() {
		env["CE_TIME"] = e.Time().Format(time.RFC3339Nano)
	}
	for name, value := range e.Extensions() {
		if text, err := types.Format(value); err == nil { // New has refused others
			env["CE_"+strings.ToUpper(name)] = text
		}
	}
	return env
}

// isReference reports whether an argument of a template stands for a part of the event.
func isReference(arg string) bool {
	return strings.HasPrefix(arg, "$.") || strings.HasPrefix(arg, "$[")
}

// literal is an argument without the sign that keeps it from being taken for a reference.
func literal(arg string) string {
	if rest, escaped := strings.CutPrefix(arg, "$"); escaped && isReference(rest) {
		return rest
	}
	return arg
}

// CheckArgs returns what is wrong with references in the arguments of a template.
func CheckArgs(args []string) []job.Fault {
	var faults []job.Fault
	for i, arg := range args {
		if !isReference(arg) {
			continue
		}
		if _, err := jsonpath.Parse(arg); err != nil {
			faults = append(faults, job.Fault{Field: fmt.Sprintf("args[%d]", i), Message: fmt.Sprintf(
				"%.60q begins like a reference to a part of an event, but is no JSONPath (RFC 9535): %s; begin it with $%s to have it as it is",
				arg, printable(err.Error()), arg[:2])})
		}
	}
	return faults
}

// Resolve returns the arguments with a template's references replaced by what they select: text as it is, anything else as
// JSON, several values as several arguments. Without an event there can be none.
func Resolve(args []string, e *Event) ([]string, error) {
	out := []string{}
	var root any
	for i, arg := range args {
		if !isReference(arg) {
			out = append(out, literal(arg))
			continue
		}
		field := fmt.Sprintf("args[%d]", i)
		if e == nil {
			return nil, job.Invalid(field, fmt.Sprintf("%.60q refers to a part of an event, and there is none; send args to replace it", arg))
		}
		if root == nil {
			if root = e.parsed(); root == nil {
				return nil, job.Invalid("data", "cannot be read as JSON")
			}
		}
		values, err := selected(arg, root)
		if err != nil {
			return nil, job.Invalid(field, err.Error())
		}
		out = append(out, values...)
	}
	return out, nil
}

// parsed is the document with numbers as they are written.
func (e *Event) parsed() any {
	decoder := json.NewDecoder(bytes.NewReader(e.document))
	decoder.UseNumber()
	var root any
	if decoder.Decode(&root) != nil {
		return nil
	}
	return root
}

func selected(path string, root any) ([]string, error) {
	p, err := jsonpath.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("%.60q is no JSONPath (RFC 9535)", path)
	}
	nodes := p.Select(root)
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%.60q selects nothing of this event", path)
	}
	texts := make([]string, len(nodes))
	for i, node := range nodes {
		text, isText := node.(string)
		if !isText {
			var b bytes.Buffer
			encoder := json.NewEncoder(&b)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(node); err != nil {
				return nil, fmt.Errorf("%.60q selects what cannot be written as JSON", path)
			}
			text = strings.TrimSuffix(b.String(), "\n")
		}
		texts[i] = text
	}
	return texts, nil
}
