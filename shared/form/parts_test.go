package form_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
)

// endless is a body that goes on for as long as it is read, and counts what was.
type endless struct {
	text string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	e.read += n
	return n, nil
}

// TestPartHeadersAreBounded sends headers that do not end.
func TestPartHeadersAreBounded(t *testing.T) {
	const disposition = "Content-Disposition: form-data; name=\"arg\"\r\n"
	l := limits()
	l.TotalBytes, l.FieldBytes = 1<<30, 1<<20
	for name, test := range map[string]struct{ head, rest string }{
		"a line":           {"--" + boundary + "\r\nX: ", "x"},
		"a name":           {"--" + boundary + "\r\n", "x"},
		"lines":            {"--" + boundary + "\r\n" + disposition, "X: y\r\n"},
		"a continued line": {"--" + boundary + "\r\nX: y", "\r\n  y"},
		"before the first": {"", "preamble\r\n"},
		"after a field":    {"--" + boundary + "\r\n" + disposition + "\r\nvalue\r\n--" + boundary + "\r\n", "X: y\r\n"},
		"a filename":       {"--" + boundary + "\r\nContent-Disposition: form-data; name=\"files\"; filename=\"", "x"},
		"after a refused file": {"--" + boundary + "\r\nContent-Disposition: form-data; name=\"files\"; " +
			"filename=\"..\"\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n--" + boundary + "\r\n", "X: y\r\n"},
	} {
		body := &endless{text: test.rest}
		r := request(t.Context(), "")
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(test.head), body)), -1
		_, err := form.NewReader(l).Read(r, job.Spec{}, saver{}.save)
		if err == nil || !strings.Contains(err.Error(), "16384 bytes of header") && !errors.Is(err, job.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if body.read > 1<<20 {
			t.Errorf("%s: %d bytes were read", name, body.read)
		}
	}
	// What is not too large is taken, however much content was read before it.
	padded := strings.ReplaceAll(encode(t, "arg=1", "@a="+strings.Repeat("x", 1<<18), "runtime=python", "entrypoint=a"),
		"Content-Disposition", "X-Padding: "+strings.Repeat("y", 15<<10)+"\r\nContent-Disposition")
	got, err := form.NewReader(l).Read(request(t.Context(), padded), job.Spec{}, saver{}.save)
	if err != nil || len(got.Spec.Args) != 1 || len(got.Files) != 1 || got.Files[0].Size != 1<<18 {
		t.Errorf("headers of 15 KiB: %+v, %v", got, err)
	}
}

// TestFieldsShareABudget has somebody else take all memory: small forms are read all the same,
// large ones refused.
func TestFieldsShareABudget(t *testing.T) { // by the clock of the test, since forms wait for memory
	synctest.Test(t, func(t *testing.T) {
		shared := budget.New(1 << 20)
		other, end := shared.Open(t.Context())
		if err := budget.Take(other, 1<<20); err != nil {
			t.Fatal(err)
		}
		l := limits()
		l.FieldBytes = 1 << 18
		reader := form.NewReader(l)
		for value, want := range map[string]error{"small": nil, strings.Repeat("x", 100_000): job.ErrUnavailable} {
			ctx, done := shared.Open(t.Context())
			_, err := reader.Read(request(ctx, encode(t, "runtime=python", "entrypoint=a", "@a=x", "arg="+value)), job.Spec{},
				saver{}.save)
			if !errors.Is(err, want) {
				t.Errorf("a field of %d bytes: %v; want %v", len(value), err, want)
			}
			done()
		}
		end()
		ctx, done := shared.Open(t.Context())
		defer done()
		if _,
			err := reader.Read(request(ctx, encode(t, "runtime=python", "entrypoint=a", "@a=x", "arg="+
			strings.Repeat("x", 100_000))), job.Spec{}, saver{}.save); err != nil {
			t.Errorf("after the other has ended: %v", err)
		}
	})
}

// TestManyFormsAtOnce has more clients stall than there are large buffers.
func TestManyFormsAtOnce(t *testing.T) {
	reader := form.NewReader(limits())
	var writers []*io.PipeWriter
	results := make(chan error)
	body := encode(t, "runtime=python", "entrypoint=a", "@a=content", "arg=b")
	const many = 100
	for range many {
		in, out := io.Pipe()
		r := request(t.Context(), "")
		r.Body, r.ContentLength = in, -1
		go func() {
			s := saver{}
			got, err := reader.Read(r, job.Spec{}, s.save)
			if err == nil && (s["a"] != "content" || len(got.Spec.Args) != 1) {
				err = errors.New("not what was sent")
			}
			results <- err
		}()
		if _, err := io.WriteString(out, body[:len(body)/2]); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, out)
	}
	for _, out := range writers {
		go func() {
			_, _ = io.WriteString(out, body[len(body)/2:])
			_ = out.Close()
		}()
	}
	for range many {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// TestManyFilesAtOnce sends more files at once, each larger than a buffer.
func TestManyFilesAtOnce(t *testing.T) {
	l := limits()
	l.TotalBytes = 1 << 30
	reader := form.NewReader(l)
	content := strings.Repeat("0123456789abcdef", 50_000)
	body := encode(t, "runtime=python", "entrypoint=a", "@a="+content, "@b="+content+"b")
	const many = 20
	results := make(chan error)
	for range many {
		r := request(t.Context(), body)
		go func() {
			s := saver{}
			_, err := reader.Read(r, job.Spec{}, s.save)
			if err == nil && (s["a"] != content || s["b"] != content+"b") {
				err = errors.New("not what was sent")
			}
			results <- err
		}()
	}
	for range many {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
