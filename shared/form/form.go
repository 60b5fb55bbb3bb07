// Package form reads a job from a multipart form: its fields into a specification, its files straight into
// storage, in any order.
package form

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
)

// Limits bounds what one form may hold.
type Limits struct {
	TotalBytes int64 // of all files and fields together
	FieldBytes int64 // of one field; all of them together may have fieldsFactor times as many
	Files      int
	NameBytes  int // of a file's name
}

const fieldsFactor = 4

// maxFields bounds the number of parts that are not files; "arg" repeats.
const maxFields = 10_000

// readBuffer is what multipart reading is buffered with: with the 4 KiB of its own it costs a quarter more CPU.
const readBuffer = 256 << 10

// Saver stores one file and returns what it stored. It must store nothing when r fails.
type Saver func(ctx context.Context, name string, r io.Reader) (job.File, error)

// Job is what a form holds.
type Job struct {
	Spec  job.Spec
	Files []job.File
}

// Reader reads forms.
type Reader struct {
	limits Limits
	buffer sync.Pool
}

// NewReader returns a Reader with the given limits.
func NewReader(l Limits) *Reader {
	return &Reader{limits: l, buffer: sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}}
}

// Read reads the form in the request's body; save is called for each file as it comes. Fields that are not sent keep the
// values that defaults has. A fault of the form is an error of kind job.ErrInvalid or job.ErrTooLarge, or one
// of package api for a body that is no form.
func (f *Reader) Read(r *http.Request, defaults job.Spec, save Saver) (*Job, error) {
	boundary, err := boundaryOf(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	if r.ContentLength > f.limits.TotalBytes {
		return nil, f.tooLarge()
	}
	body, _ := f.buffer.Get().(*bufio.Reader)
	defer func() { body.Reset(nil); f.buffer.Put(body) }()
	body.Reset(&capped{r: r.Body, left: f.limits.TotalBytes, err: f.tooLarge()})
	p := &parser{limits: f.limits, save: save, fields: map[string][]string{}, names: map[string]bool{}}
	if err := p.parts(r.Context(), multipart.NewReader(body, boundary)); err != nil {
		return nil, err
	}
	spec, err := decode(p.fields, defaults)
	if err != nil {
		return nil, err
	}
	if len(p.files) == 0 {
		return nil, job.Invalid("files", "at least one file is required, such as -F files=@script.py")
	}
	return &Job{Spec: *spec, Files: p.files}, nil
}

func (f *Reader) tooLarge() error {
	return job.Refuse(job.ErrTooLarge, "files", fmt.Sprintf("the request has more than %d bytes (MAX_UPLOAD_BYTES)", f.limits.TotalBytes))
}

func boundaryOf(contentType string) (string, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" {
		return "", api.Fail(http.StatusUnsupportedMediaType, "Content-Type: a job is sent as multipart/form-data, which curl makes with -F.")
	}
	if b := params["boundary"]; b == "" || len(b) > 70 { // RFC 2046, section 5.1.1
		return "", api.BadRequest("Content-Type", "needs a boundary of 1 to 70 characters")
	}
	return params["boundary"], nil
}

// capped fails once more than left bytes were read. io.LimitReader would end the form without a word.
type capped struct {
	r    io.Reader
	left int64
	err  error
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return 0, c.err
	}
	return n, err
}

// parser collects the parts of one form.
type parser struct {
	limits Limits
	save   Saver
	fields map[string][]string
	count  int
	text   int64 // bytes of all fields so far
	names  map[string]bool
	files  []job.File
}

func (p *parser) parts(ctx context.Context, form *multipart.Reader) error {
	for {
		// Not NextPart: it would decode a part that calls itself quoted-printable.
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if err := p.part(ctx, part); err != nil {
			return err
		}
	}
}

// broken says that the body ended early or is no form, unless err has a kind already.
func broken(err error) error {
	for _, kind := range []error{job.ErrInvalid, job.ErrTooLarge, job.ErrExhausted, context.Canceled} {
		if errors.Is(err, kind) {
			return err
		}
	}
	return api.BadRequest("body", "is not a whole multipart form; it ends early or a part's header is malformed")
}

func (p *parser) part(ctx context.Context, part *multipart.Part) error {
	disposition, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || disposition != "form-data" {
		return api.BadRequest("body", "a part has no proper Content-Disposition: form-data header")
	}
	// Part.FileName would cut folders off the name, and so make another name of it.
	filename, isFile := params["filename"]
	switch name := params["name"]; {
	case name == "files" && isFile:
		return p.file(ctx, filename, part)
	case name == "files":
		return job.Invalid("files", "was sent as text; send a file, such as -F files=@script.py")
	case isFile:
		return job.Invalid(name, "was sent as a file; files belong to the field files, and a field takes a file's content with -F '"+printable(name)+"=<file'")
	default:
		return p.field(name, part)
	}
}

func (p *parser) file(ctx context.Context, name string, content io.Reader) error {
	if message := job.CheckFileName(name, p.limits.NameBytes); message != "" {
		return job.Invalid("files", message)
	}
	if p.names[name] {
		return job.Invalid("files", fmt.Sprintf("two files are named %q", name))
	}
	if len(p.files) == p.limits.Files {
		return job.Invalid("files", fmt.Sprintf("more than %d files (MAX_FILES); send an archive instead", p.limits.Files))
	}
	p.names[name] = true
	read := &noting{r: content}
	f, err := p.save(ctx, name, read)
	if read.err != nil {
		return broken(read.err)
	}
	if err != nil {
		return err
	}
	p.files = append(p.files, f)
	return nil
}

// noting tells the failure of a source from that of a destination.
type noting struct {
	r   io.Reader
	err error
}

func (n *noting) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return k, err
}

func (p *parser) field(name string, content io.Reader) error {
	if _, known := single()[name]; !known && name != "arg" {
		return job.Invalid(name, "is not a field of a job; there are: "+strings.Join(fieldNames(), ", "))
	}
	if p.count++; p.count > maxFields {
		return job.Invalid(name, fmt.Sprintf("more than %d fields", maxFields))
	}
	if name != "arg" && len(p.fields[name]) > 0 {
		return job.Invalid(name, "was sent more than once")
	}
	value, err := io.ReadAll(io.LimitReader(content, p.limits.FieldBytes+1))
	p.text += int64(len(value))
	switch {
	case err != nil:
		return broken(err)
	case int64(len(value)) > p.limits.FieldBytes, p.text > fieldsFactor*p.limits.FieldBytes:
		return job.Refuse(job.ErrTooLarge, name, fmt.Sprintf("has more than %d bytes (MAX_FIELD_BYTES); send large input as a file", p.limits.FieldBytes))
	case !utf8.Valid(value):
		return job.Invalid(name, "is not valid UTF-8")
	}
	p.fields[name] = append(p.fields[name], string(value))
	return nil
}

// printable keeps what a user sent from garbling the message about it.
func printable(s string) string {
	quoted := fmt.Sprintf("%.60q", s)
	return quoted[1 : len(quoted)-1]
}
