package form_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
)

// drops is a body that comes a byte at a time, and does not end. It is not to be read once the form
// was answered; the race detector sees a read that is.
type drops struct {
	read  int
	begun chan struct{}
}

func (d *drops) Read(p []byte) (int, error) {
	if d.read++; d.read == 1 {
		close(d.begun)
	}
	p[0] = 'x'
	return 1, nil
}

// TestRefusedFileIsNotReadOn has the storage fail while the file still comes.
func TestRefusedFileIsNotReadOn(t *testing.T) {
	body := &drops{begun: make(chan struct{})}
	full := func(context.Context, string, io.Reader) (job.File, error) {
		<-body.begun
		return job.File{}, job.ErrExhausted
	}
	head, _, _ := strings.Cut(encode(t, "@a=content"), "content")
	r := request(t.Context(), "")
	r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(head), body)), -1
	l := limits()
	l.TotalBytes = 1 << 30
	if _, err := form.NewReader(l).Read(r, job.Spec{}, full); !errors.Is(err, job.ErrExhausted) {
		t.Errorf("%v; want %v", err, job.ErrExhausted)
	}
	if body.read > 200_000 {
		t.Errorf("%d bytes were read after the storage was full", body.read)
	}
	body.read = 0
}

// TestManyFilesAtOnce sends more files at once than are read ahead, each larger than a buffer.
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
