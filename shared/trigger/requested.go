package trigger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
)

// Requested is the type of the event whose data is a whole job.
const Requested = "io.github.go-job-orchestrator.job.requested.v1"

const requestedFamily = "io.github.go-job-orchestrator.job.requested."

// Request is a whole job in an event.
type Request struct {
	job.Spec
	Files []InlineFile `json:"files"`
	// Archive is unpacked into the program's folder.
	Archive *InlineFile `json:"archive"`
	// Stdin is what the program reads, as a text or in base64; nil: nothing.
	Stdin       *string `json:"stdin"`
	StdinBase64 *string `json:"stdinBase64"`
	// SecretNames has the names of the operator's secrets, each with an @ before it, by variable. An
	// event goes through a Broker in the clear, so it cannot have values.
	SecretNames map[string]string `json:"secrets"`
	// Owner is refused, because an event proves nothing about its sender. The field exists so that the
	// error can say what to do instead.
	Owner json.RawMessage `json:"owner"`
}

// Secrets returns the secrets that the event names.
func (r *Request) Secrets() secret.Set {
	set := secret.Set{}
	for name, text := range r.SecretNames {
		if v, message := secret.Parse(text); message == "" && v.From != "" {
			set[name] = v
		}
	}
	return set
}

// InlineFile is a file in an event.
type InlineFile struct {
	Name    string `json:"name"`
	Content string `json:"content"` // base64
}

// Input returns what the program reads, and nil for nothing.
func (r *Request) Input() []byte {
	switch {
	case r.Stdin != nil:
		return []byte(*r.Stdin)
	case r.StdinBase64 != nil:
		content, _ := base64.StdEncoding.DecodeString(*r.StdinBase64) // ParseRequest has checked it
		return content
	}
	return nil
}

// checkInput says what is wrong with what the program is to read.
func (r *Request) checkInput(faults *job.Faults) {
	wrong := func(message string) {
		faults.List = append(faults.List, job.Fault{Field: "stdinBase64", Message: message})
	}
	switch {
	case r.StdinBase64 == nil:
		return
	case r.Stdin != nil:
		wrong("cannot be sent together with stdin, which is the same as text")
	}
	if _, err := base64.StdEncoding.DecodeString(*r.StdinBase64); err != nil {
		wrong("is not base64")
	}
}

// Limits bounds a request.
type Limits struct{ Files, NameBytes int }

// ParseRequest returns the job that an event requests, with the content of its files and its
// archive by name. If the request has faults, it returns what it could read with a *job.Faults, so
// that the caller can look for more.
func ParseRequest(e event.Event, defaults job.Spec, limits Limits) (*Request, map[string][]byte, error) {
	if e.Type() != Requested {
		if strings.HasPrefix(e.Type(), requestedFamily) {
			return nil, nil, job.Invalid("type", fmt.Sprintf("%q is a version that this server does not know; send %s", e.Type(),
				Requested))
		}
		return nil, nil, job.Invalid("template", fmt.Sprintf("is required: add ?template=NAME to say what an event of "+
			"type %.100q starts; only %s contains a whole job", e.Type(), Requested))
	}
	if values(e.Data()) > maxRequestValues {
		return nil, nil, job.Refuse(job.ErrTooLarge, "data", fmt.Sprintf("has more than %d values", maxRequestValues))
	}
	request := Request{Spec: defaults}
	d := json.NewDecoder(bytes.NewReader(e.Data()))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		return nil, nil, job.Invalid("data", "is not the JSON of a job: "+
			printable(strings.TrimPrefix(err.Error(), "json: ")))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, job.Invalid("data", "has something after its JSON value")
	}
	if request.Args == nil {
		request.Args = []string{}
	}
	faults := &job.Faults{Kind: job.ErrInvalid}
	var more *job.Faults
	if errors.As(request.Validate(), &more) {
		faults.List = more.List
	}
	if request.Owner != nil {
		faults.List = append(faults.List, job.Fault{Field: "owner", Message: "cannot be named by an event; leave it " +
			"out: the job belongs to the caller whose key the request has"})
	}
	request.checkInput(faults)
	for _, name := range slices.Sorted(maps.Keys(request.SecretNames)) {
		if v, message := secret.Parse(request.SecretNames[name]); message != "" || v.From == "" {
			faults.List = append(faults.List, job.Fault{Field: fmt.Sprintf("secrets[%.80q]", name), Message: "an event can " +
				"only name a secret of the operator, such as \"@db\", because others can read events"})
		}
	}
	files := decodeFiles(request.Files, limits, faults)
	decodeArchive(request.Archive, limits, files, faults)
	if len(request.Files) == 0 && request.Archive == nil {
		faults.List = append(faults.List, job.Fault{Field: "files", Message: "at least one file is required, or an archive"})
	}
	if len(faults.List) > 0 {
		return &request, files, faults
	}
	return &request, files, nil
}

// maxRequestValues bounds the memory that decoding a request takes: the smallest value has three
// bytes, and takes thirty in memory.
const maxRequestValues = 100_000

// values returns an upper bound of the number of values in JSON.
func values(data []byte) int {
	n, inString := 1, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}

func decodeFiles(list []InlineFile, limits Limits, faults *job.Faults) map[string][]byte {
	files := map[string][]byte{}
	wrong := func(i int, message string) {
		faults.List = append(faults.List, job.Fault{Field: fmt.Sprintf("files[%d]", i), Message: message})
	}
	if len(list) > limits.Files {
		faults.List = append(faults.List, job.Fault{Field: "files", Message: fmt.Sprintf("more than %d files (MAX_FILES)",
			limits.Files)})
		return files
	}
	for i, f := range list {
		if message := job.CheckFileName(f.Name, limits.NameBytes); message != "" {
			wrong(i, message)
			continue
		}
		if message := CheckFileName(f.Name); message != "" {
			wrong(i, message)
			continue
		}
		if _, twice := files[f.Name]; twice {
			wrong(i, fmt.Sprintf("two files are named %q", f.Name))
			continue
		}
		content, err := base64.StdEncoding.DecodeString(f.Content)
		if err != nil {
			wrong(i, "the content is not base64")
		}
		files[f.Name] = content
	}
	return files
}

func decodeArchive(archive *InlineFile, limits Limits, files map[string][]byte, faults *job.Faults) {
	if archive == nil {
		return
	}
	wrong := func(message string) {
		faults.List = append(faults.List, job.Fault{Field: "archive", Message: message})
	}
	if message := job.CheckFileName(archive.Name, limits.NameBytes); message != "" {
		wrong("its name: " + message)
		return
	}
	if _, twice := files[archive.Name]; twice {
		wrong(fmt.Sprintf("has the same name as one of the files, %q; rename the archive", archive.Name))
		return
	}
	content, err := base64.StdEncoding.DecodeString(archive.Content)
	if err != nil {
		wrong("the content is not base64")
	}
	files[archive.Name] = content
}
