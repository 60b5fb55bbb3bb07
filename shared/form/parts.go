package form

import (
	"bufio"
	"errors"
	"io"
	"mime/multipart"
	"sync"
)

// maxPartHeader bounds the header of one part. mime/multipart itself takes 10 MB of it into memory.
const maxPartHeader = 16 << 10

var errHeader = errors.New("the header of a part is too large")

// parts are those of one form.
type parts struct {
	source *headed
	form   *multipart.Reader
	part   *multipart.Part
}

func newParts(body io.Reader, boundary string) *parts {
	source := &headed{r: body}
	return &parts{source: source, form: multipart.NewReader(source, boundary)}
}

// next returns the next part, or io.EOF.
func (p *parts) next() (*multipart.Part, error) {
	if p.part != nil { // what was not read of it does not belong to the next header
		if _, err := io.Copy(io.Discard, p.part); err != nil {
			return nil, err
		}
	}
	p.source.begin()
	defer p.source.end()
	var err error
	// Not NextPart: it would decode a part that calls itself quoted-printable.
	p.part, err = p.form.NextRawPart()
	return p.part, err
}

// readAhead is by how much multipart.Reader reads ahead.
const readAhead = 4 << 10

// headed fails when too much is read for one header.
type headed struct {
	r       io.Reader
	bounded bool
	left    int
}

func (h *headed) begin() { h.bounded, h.left = true, maxPartHeader+readAhead }

func (h *headed) end() { h.bounded = false }

func (h *headed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if !h.bounded {
		return n, err
	}
	if h.left -= n; h.left < 0 {
		return 0, errHeader
	}
	return n, err
}

// The buffers that forms are read with. With the 4 KiB of multipart.Reader's own it costs a quarter
// more CPU; but so many clients can send forms, and stall, that only some get large ones.
const (
	largeBuffer  = 256 << 10
	largeBuffers = 64
	smallBuffer  = 8 << 10
)

type buffers struct {
	large  *sync.Pool
	places chan struct{}
}

func newBuffers() buffers {
	return buffers{
		large:  &sync.Pool{New: func() any { return bufio.NewReaderSize(nil, largeBuffer) }},
		places: make(chan struct{}, largeBuffers),
	}
}

// before returns r with a buffer, which is given back by done.
func (b buffers) before(r io.Reader) (buffered io.Reader, done func()) {
	select {
	case b.places <- struct{}{}:
	default:
		return bufio.NewReaderSize(r, smallBuffer), func() {}
	}
	large, _ := b.large.Get().(*bufio.Reader)
	large.Reset(r)
	return large, func() {
		large.Reset(nil)
		b.large.Put(large)
		<-b.places
	}
}
