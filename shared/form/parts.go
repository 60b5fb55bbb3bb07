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

// parts reads the parts of one form.
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
	if p.part != nil { // skip the rest of it, which must not count as part of the next header
		if _, err := io.Copy(io.Discard, p.part); err != nil {
			return nil, err
		}
	}
	p.source.begin()
	defer p.source.end()
	var err error
	// NextPart would decode a part whose header says quoted-printable.
	p.part, err = p.form.NextRawPart()
	return p.part, err
}

// readAhead is how far multipart.Reader reads ahead.
const readAhead = 4 << 10

// headed fails when the header of a part is too large.
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

// The buffers that forms are read with. The 4 KiB of multipart.Reader's own buffer cost a quarter
// more CPU. Many clients can send forms at the same time, and stall, so only some get a large
// buffer.
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

// before puts a buffer before r. The caller gives the buffer back with done.
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
