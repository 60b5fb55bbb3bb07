package trigger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/jsonpath"
)

// Names in the workspace of a job that an event started.
const (
	EventFile = "event.json" // attributes and data, as in the JSON format of CloudEvents
	DataFile  = "event.data" // the data's bytes, unchanged; absent if there is no data
	InputsDir = "inputs"     // the outputs of the job that the event is about, when asked for
)

// EnvPrefix begins the names of the variables that hold an event's attributes.
const EnvPrefix = "CE_"

// CheckFileName returns why a template cannot have a file of this name, or "" if it can.
func CheckFileName(name string) string {
	first, _, isPath := strings.Cut(name, "/")
	switch {
	case !slices.Contains([]string{EventFile, DataFile, InputsDir}, first):
		return ""
	case isPath:
		return fmt.Sprintf("%.200q: an event adds files of the name %q itself; rename the folder", name, first)
	}
	return fmt.Sprintf("%q is the name of a file that the event adds; rename the file", name)
}

// Event is an event that starts a job.
type Event struct {
	event.Event
	attributes []byte // all but the data, as a JSON object
	form       form
}

// form is how the JSON format of an event holds the data.
type form int

const (
	noData form = iota
	asJSON
	asText
	asBase64
)

// formOf returns how the data is written. Data without a content type is JSON if it is valid JSON.
func formOf(e *event.Event) form {
	data := e.Data()
	switch {
	case len(data) == 0:
		return noData
	case isJSON(e.DataMediaType()) || e.DataContentType() == "" && json.Valid(data):
		return asJSON
	case utf8.Valid(data):
		return asText
	}
	return asBase64
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
	for name, value := range core(&e) {
		attributes[name] = value
	}
	var object bytes.Buffer
	encoder := json.NewEncoder(&object)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(attributes); err != nil {
		return nil, job.Invalid("body", "has attributes that cannot be written as JSON")
	}
	return &Event{Event: e, attributes: bytes.TrimSuffix(object.Bytes(), []byte("\n")), form: formOf(&e)}, nil
}

// core returns the attributes that CloudEvents defines, as far as the event has them.
func core(e *event.Event) map[string]string {
	attributes := map[string]string{"specversion": e.SpecVersion(), "id": e.ID(), "source": e.Source(), "type": e.Type()}
	for name, value := range map[string]string{"subject": e.Subject(), "datacontenttype": e.DataContentType(),
		"dataschema": e.DataSchema()} {
		if value != "" {
			attributes[name] = value
		}
	}
	if !e.Time().IsZero() {
		attributes["time"] = e.Time().Format(time.RFC3339Nano)
	}
	return attributes
}

// simple returns the value of an attribute for JSON: booleans and numbers keep their type.
func simple(value any, text string) any {
	switch value.(type) {
	case bool, int32:
		return value
	}
	return text
}

// File is a file in the job's workspace.
type File struct {
	Name string
	Open func() io.Reader
}

// Files returns the files that the event adds to the job.
func (e *Event) Files() []File {
	files := []File{{EventFile, e.document}}
	if e.form != noData {
		files = append(files, File{DataFile, func() io.Reader { return bytes.NewReader(e.Data()) }})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

// document returns a reader of the event in its JSON format. The document is made while it is read,
// so that memory holds the data only once.
func (e *Event) document() io.Reader {
	rest := io.MultiReader(strings.NewReader(","), bytes.NewReader(e.attributes[1:]), strings.NewReader("\n"))
	switch e.form {
	case asJSON:
		return io.MultiReader(strings.NewReader(`{"data":`), compacted(e.Data()), rest)
	case asText:
		return io.MultiReader(strings.NewReader(`{"data":`), escaped(e.Data()), rest)
	case asBase64:
		return io.MultiReader(strings.NewReader(`{"data_base64":`), encoded(e.Data()), rest)
	default:
		return io.MultiReader(bytes.NewReader(e.attributes), strings.NewReader("\n"))
	}
}

// index returns the document that references are resolved in. It equals the file.
func (e *Event) index(b *jsonpath.Budget) (*jsonpath.Document, error) {
	large := jsonpath.Member{Name: "data"}
	switch e.form {
	case asJSON:
		large.JSON = e.Data()
	case asText:
		large.Text = e.Data()
	case asBase64:
		large.Name, large.Text = "data_base64", base64.StdEncoding.AppendEncode(nil, e.Data())
	default:
		large.Absent = true
	}
	return jsonpath.NewDocument(b, e.attributes, large)
}

// Env returns the event's attributes, extensions included, as variables: CE_ID, CE_SOURCE, CE_TYPE
// and so on.
func (e *Event) Env() map[string]string {
	env := map[string]string{}
	for name, value := range e.Extensions() {
		if text, err := types.Format(value); err == nil { // New has refused all other values
			env[EnvPrefix+strings.ToUpper(name)] = text
		}
	}
	for name, value := range core(&e.Event) {
		env[EnvPrefix+strings.ToUpper(name)] = value
	}
	return env
}
