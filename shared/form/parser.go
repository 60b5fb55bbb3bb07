package form

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/project"
	"go-job-orchestrator/shared/secret"
)

// parser collects the parts of one form, and their faults.
type parser struct {
	limits   Limits
	save     Saver
	body     *capped
	fields   map[string][]string
	count    int
	text     int64           // bytes of all fields so far
	names    map[string]bool // of stored files
	tree     *project.Tree
	archived bool // the archive came
	unlisted bool // the archive came, but was not read
	files    []job.File
	stdin    *job.File
	// secrets are kept apart from the fields, so that no message can show a value.
	secrets secret.Set
	faults  []job.Fault
	only    []string // the fields that are allowed; nil: all fields of a job
	more    []string // the fields that are allowed besides those of a job
}

// read reads all parts. If it had to stop after faults, it returns these, which are the cause.
func (p *parser) read(ctx context.Context, form *parts) error {
	err := p.parts(ctx, form)
	if err != nil && len(p.faults) > 0 {
		return &job.Faults{Kind: job.ErrInvalid, List: p.faults}
	}
	return err
}

func (p *parser) parts(ctx context.Context, form *parts) error {
	for {
		part, err := form.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		if err := p.note(p.part(ctx, part)); err != nil {
			return err
		}
	}
}

// note keeps a fault, so that reading goes on and finds more faults. It returns any other error.
func (p *parser) note(err error) error {
	var found *job.Faults
	if !errors.As(err, &found) || !errors.Is(err, job.ErrInvalid) {
		return err
	}
	if len(p.faults) == 0 {
		p.body.shorten(tolerance)
	}
	for _, fault := range found.List {
		if !slices.Contains(p.faults, fault) {
			p.faults = append(p.faults, fault)
		}
	}
	if len(p.faults) >= maxFaults {
		return errEnough
	}
	return nil
}

// job returns the job of a form that was read to its end.
func (p *parser) job(defaults job.Spec) (*Job, error) {
	spec, faults := decode(p.fields, defaults)
	if len(p.files) == 0 && !slices.ContainsFunc(p.faults, func(f job.Fault) bool {
		return f.Field == "files" || f.Field == "archive"
	}) {
		faults = append(faults, job.Fault{Field: "files", Message: "at least one file is required, such as -F " +
			"files=@script.py, or an archive, such as -F archive=@project.tar.gz"})
	}
	faults = append(faults, p.faults...)
	read := &Job{Spec: *spec, Files: p.files, Stdin: p.stdin, Tree: p.tree, Secrets: p.secrets}
	if p.unlisted {
		read.Tree = nil
	}
	for _, name := range p.more {
		if values, sent := p.fields[name]; sent {
			if read.More == nil {
				read.More = map[string]string{}
			}
			read.More[name] = values[0]
		}
	}
	if len(faults) > 0 {
		return read, &job.Faults{Kind: job.ErrInvalid, List: faults[:min(len(faults), maxFaults)]}
	}
	return read, nil
}

// broken returns the error for a body that ended early or is not a form. An err that already has a
// kind is returned unchanged.
func broken(err error) error {
	for _, kind := range []error{job.ErrInvalid, job.ErrTooLarge, job.ErrExhausted, job.ErrUnavailable, context.Canceled,
		errEnough} {
		if errors.Is(err, kind) {
			return err
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return api.BadRequest("body", "took too long to arrive (UPLOAD_TIMEOUT, STALL_TIMEOUT); send it again")
	}
	if errors.Is(err, errHeader) {
		return api.BadRequest("body", fmt.Sprintf("a part has more than %d bytes of header", maxPartHeader))
	}
	return api.BadRequest("body", "is not a whole multipart form; it ends early or a part's header is malformed")
}

func (p *parser) part(ctx context.Context, part *multipart.Part) error {
	disposition, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || disposition != "form-data" {
		return api.BadRequest("body", "a part has no proper Content-Disposition: form-data header")
	}
	// Part.FileName would remove folders from the name, so the file would get another name.
	filename, isFile := params["filename"]
	if !extended().MatchString(part.Header.Get("Content-Disposition")) {
		filename = unescape(filename)
	}
	if encoding := encoded(part.Header); encoding != "" {
		return api.BadRequest(cmp.Or(printable(unescape(params["name"])), "body"), fmt.Sprintf(
			"the part has Content-Transfer-Encoding: %.60q, which forms do not have (RFC 7578, section 4.7); "+
				"send its content as it is", encoding))
	}
	variable, isSecret := strings.CutPrefix(unescape(params["name"]), job.SecretPrefix)
	switch name := unescape(params["name"]); {
	case isSecret:
		return p.secret(ctx, variable, isFile, part)
	case p.only != nil && name != "" && !slices.Contains(p.only, name):
		return job.Invalid(printable(name), "cannot be sent here; there are: "+strings.Join(p.only, ", ")+
			job.Meant(name, p.only, nil))
	case name == "":
		return api.BadRequest("body", "a part has no name; each needs one, such as name=\"files\"")
	case name == stdinField:
		return p.input(ctx, part)
	case name == "files" && isFile:
		return p.file(ctx, filename, part)
	case name == "files":
		return job.Invalid("files", "was sent as text; send a file, such as -F files=@script.py")
	case name == "archive" && isFile:
		return p.archive(ctx, filename, part)
	case name == "archive":
		return job.Invalid("archive", "was sent as text; send a file, such as -F archive=@project.tar.gz")
	case isFile:
		return job.Invalid(printable(name), "was sent as a file; files belong to the fields files and archive, and a field "+
			"takes a file's content with -F '"+printable(name)+"=<file'")
	default:
		return p.field(ctx, name, part)
	}
}

// extended matches a file name in the encoding of RFC 5987, which has its own escapes.
var extended = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i);\s*filename\*`) })

// unescape decodes a name that a browser or curl has encoded. They use these three escapes and no
// others, so "100%.txt" stays unchanged (WHATWG HTML, "multipart/form-data encoding algorithm").
func unescape(name string) string {
	return strings.NewReplacer("%22", `"`, "%0D", "\r", "%0d", "\r", "%0A", "\n", "%0a", "\n").Replace(name)
}

// encoded returns the Content-Transfer-Encoding of a part, if it changes the content: a file that
// is stored without being decoded would have the wrong content.
func encoded(h textproto.MIMEHeader) string {
	for _, value := range h.Values("Content-Transfer-Encoding") {
		if !slices.Contains([]string{"7bit", "8bit", "binary"}, strings.ToLower(strings.TrimSpace(value))) {
			return value
		}
	}
	return ""
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
	if message := p.tree.Add(name); message != "" {
		return job.Invalid("files", message)
	}
	p.names[name] = true
	if len(p.faults) > 0 { // the form is refused, so its files are not stored
		p.files = append(p.files, job.File{Name: name})
		return nil
	}
	read := &noting{r: content}
	f, err := p.save(ctx, name, p.tree.Noting(name, read))
	if err := p.kept("files", name, read, err); err != nil {
		return err
	}
	p.files = append(p.files, f)
	return nil
}

// kept returns the error of storing a file of a field in the words for the client.
func (p *parser) kept(field, name string, read *noting, err error) error {
	if read.err != nil {
		return broken(read.err)
	}
	var known *job.Faults
	if errors.Is(err, job.ErrInvalid) && !errors.As(err, &known) {
		return job.Invalid(field, fmt.Sprintf("the storage cannot hold a file of the name %q; choose a shorter and "+
			"simpler one", name))
	}
	return err
}

// stdinField is the part with the program's standard input. It can be a file or text: both are
// stored unchanged, and may be as long as the whole form.
const stdinField = "stdin"

func (p *parser) input(ctx context.Context, content io.Reader) error {
	if p.stdin != nil {
		return job.Invalid(stdinField, "was sent more than once")
	}
	p.stdin = &job.File{Name: job.StdinFile}
	if len(p.faults) > 0 { // the form is refused
		return nil
	}
	read := &noting{r: content}
	f, err := p.save(ctx, job.StdinFile, read)
	if err := p.kept(stdinField, job.StdinFile, read, err); err != nil {
		return err
	}
	f.Mode = "" // it is not executed, even if it begins like a program
	p.stdin = &f
	return nil
}

// noting keeps the error of its source, so that it can be told from an error of the destination.
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

// fieldCost is the memory that a field takes besides its bytes.
const fieldCost = 64

func (p *parser) field(ctx context.Context, name string, content io.Reader) error {
	if _, known := single()[name]; !known && name != "arg" && !slices.Contains(p.more, name) {
		names := append(fieldNames(), p.more...)
		return job.Invalid(printable(name), "is not a field of a job; there are: "+strings.Join(names, ", ")+
			job.Meant(name, names, otherNames()))
	}
	if name != "arg" && len(p.fields[name]) > 0 {
		return job.Invalid(name, "was sent more than once")
	}
	value, err := p.value(ctx, name, content)
	if err != nil {
		return err
	}
	p.fields[name] = append(p.fields[name], value)
	return nil
}

// value reads the text of a field, which messages call name.
func (p *parser) value(ctx context.Context, name string, content io.Reader) (string, error) {
	if p.count++; p.count > maxFields {
		return "", job.Invalid(name, fmt.Sprintf("more than %d fields", maxFields))
	}
	value, err := budget.ReadAll(ctx, io.LimitReader(content, p.limits.FieldBytes+1), -1, p.limits.FieldBytes+1)
	err = errors.Join(err, budget.Take(ctx, fieldCost))
	p.text += int64(len(value))
	switch {
	case err != nil:
		return "", broken(err)
	case int64(len(value)) > p.limits.FieldBytes, p.text > fieldsFactor*p.limits.FieldBytes:
		return "", job.Refuse(job.ErrTooLarge, name, fmt.Sprintf("has more than %d bytes (MAX_FIELD_BYTES); send large "+
			"input as a file", p.limits.FieldBytes))
	case !utf8.Valid(value):
		return "", job.Invalid(name, "is not valid UTF-8")
	}
	return string(value), nil
}

// secret reads a secret. A file is the value itself; text can also name one of the operator's
// secrets.
func (p *parser) secret(ctx context.Context, variable string, isFile bool, content io.Reader) error {
	field := job.SecretField(variable)
	if _, twice := p.secrets[variable]; twice {
		return job.Invalid(field, "was sent more than once")
	}
	if len(p.secrets) == job.MaxSecrets {
		return job.Invalid("secret", fmt.Sprintf("more than %d secrets", job.MaxSecrets))
	}
	text, err := p.value(ctx, field, content)
	if err != nil {
		return err
	}
	v := secret.Text(text)
	if !isFile {
		message := ""
		if v, message = secret.Parse(text); message != "" {
			return job.Invalid(field, message)
		}
	}
	if p.secrets == nil {
		p.secrets = secret.Set{}
	}
	p.secrets[variable] = v
	return nil
}

// printable escapes and shortens a name from the client, so that a message can contain it.
func printable(s string) string {
	quoted := fmt.Sprintf("%.60q", s)
	return quoted[1 : len(quoted)-1]
}
