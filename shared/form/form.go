// Package form reads a job from a multipart form: its fields into a specification, its files
// straight into storage, in any order.
package form

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/project"
	"go-job-orchestrator/shared/secret"
)

// Limits bounds what one form may hold.
type Limits struct {
	TotalBytes int64 // of all files and fields together
	FieldBytes int64 // of one field; all of them together may have fieldsFactor times as many
	Files      int
	NameBytes  int // of each segment of a file's name
	Archive    archive.Limits
}

const fieldsFactor = 4

// maxFields bounds the number of parts that are not files; "arg" repeats.
const maxFields = 10_000

// After the first fault, a form is read on to find its other faults. These bounds are enough for
// forms that users write by hand, and only a little of a large upload is read.
const (
	maxFaults = 20
	tolerance = 256 << 10
)

// Saver stores one file and returns what it stored. It must store nothing when r fails.
type Saver func(ctx context.Context, name string, r io.Reader) (job.File, error)

// Job is the content of a form. If the form has faults, Files have only their names.
type Job struct {
	Spec  job.Spec
	Files []job.File
	// Tree is what the files say of how they are run. The content of a zip file is not in it, because
	// it can be read only when it is stored. Nil: there is an archive that was not read because of other
	// faults.
	Tree  *project.Tree
	Stdin *job.File // what the program reads; nil: nothing was sent
	// Secrets are as they were sent: whether a job can have them is not checked.
	Secrets secret.Set
	More    map[string]string // the fields that Read was asked for besides those of a job
}

// Reader reads forms.
type Reader struct {
	limits  Limits
	buffers buffers
}

// NewReader returns a Reader with the given limits.
func NewReader(l Limits) *Reader {
	return &Reader{limits: l, buffers: newBuffers()}
}

// Read reads the form in the request's body. It calls save for each file when the file arrives,
// until it finds a fault. Fields that are not sent keep the values of defaults. A fault of the form
// is an error of kind job.ErrInvalid or job.ErrTooLarge; for a body that is not a form it is an
// error of package api. If the form was read to its end in spite of faults, Read returns the job
// that it understood together with the error, so that the caller can look for more faults. The form
// may have the fields more as well, each once.
func (f *Reader) Read(r *http.Request, defaults job.Spec, save Saver, more ...string) (*Job, error) {
	boundary, err := boundaryOf(r.Header)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > f.limits.TotalBytes {
		return nil, f.tooLarge()
	}
	source := &capped{r: r.Body, left: f.limits.TotalBytes, err: f.tooLarge()}
	body, done := f.buffers.before(source)
	defer done()
	p := &parser{limits: f.limits, save: save, body: source, fields: map[string][]string{}, names: map[string]bool{},
		tree: project.New(), more: more}
	if err := p.read(r.Context(), newParts(body, boundary)); err != nil {
		return nil, err
	}
	return p.job(defaults)
}

func (f *Reader) tooLarge() error {
	return job.Refuse(job.ErrTooLarge, "files", fmt.Sprintf("the request has more than %d bytes (MAX_UPLOAD_BYTES)",
		f.limits.TotalBytes))
}

func boundaryOf(h http.Header) (string, error) {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return "", api.Fail(http.StatusUnsupportedMediaType, "Content-Encoding: send the form as it is, not compressed.")
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return "", api.Fail(http.StatusUnsupportedMediaType, "Content-Type: a job is sent as multipart/form-data, which "+
			"curl makes with -F.")
	}
	if b := params["boundary"]; b == "" || len(b) > 70 { // RFC 2046, section 5.1.1
		return "", api.BadRequest("Content-Type", "needs a boundary of 1 to 70 characters")
	}
	return params["boundary"], nil
}

// capped fails after left bytes; io.LimitReader would end the form silently. It also never returns
// io.EOF: at the end of the body it adds a line break, which clients may leave out after the last
// boundary, and then fails with io.ErrUnexpectedEOF. A whole form ends with its last boundary,
// which is before that error. After io.EOF, multipart.Reader would also accept a body that was cut
// off before or after another boundary.
type capped struct {
	r     io.Reader
	left  int64
	err   error
	ended bool
}

func (c *capped) Read(p []byte) (int, error) {
	if c.ended {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return 0, c.err
	}
	if errors.Is(err, io.EOF) && len(p)-n >= len("\r\n") {
		c.ended = true
		return n + copy(p[n:], "\r\n"), nil
	}
	if errors.Is(err, io.EOF) && n > 0 {
		err = nil // the next call returns it
	}
	return n, err
}

// errEnough stops the reading of a form that is refused in any case.
var errEnough = errors.New("enough of this form")

// shorten allows at most left more bytes to be read.
func (c *capped) shorten(left int64) {
	if c.left > left {
		c.left, c.err = left, errEnough
	}
}
