package joblog

// Stream is one of the two streams a program writes.
type Stream byte

// The streams.
const (
	Stdout Stream = 'o'
	Stderr Stream = 'e'
)

// Run is bytes that one stream wrote while the other wrote none.
type Run struct {
	Stream Stream `json:"stream"`
	Bytes  int64  `json:"bytes"`
}

// Order says in which order the bytes of both streams came, as far as watching the files tells.
type Order struct {
	Runs []Run `json:"runs"`
}
