package form

import (
	"cmp"
	"io"
	"iter"

	"go-job-orchestrator/shared/archive"
)

// listing lists an archive while that is written to it. The one who lists and the one who writes take
// turns, as coroutines: with a goroutine and a pipe, waking one another took an eighth of the CPU time
// of an upload.
type listing struct {
	resume func() (struct{}, bool)
	stop   func()
	piece  []byte // what was written and is not read yet
	ended  error  // what the reader gets after that; nil: more can be written
	sum    archive.Summary
	err    error
}

// list begins a listing by read, which has to do its work in the goroutine that it is called in. The
// caller has to call stop in the end.
func list(read func(io.Reader) (archive.Summary, error)) *listing {
	l := &listing{}
	l.resume, l.stop = iter.Pull(func(yield func(struct{}) bool) {
		l.sum, l.err = read(&written{listing: l, wait: func() bool { return yield(struct{}{}) }})
	})
	return l
}

// Write returns when all of p is read. It fails with the fault that was found in the archive.
func (l *listing) Write(p []byte) (int, error) {
	l.piece = p
	if _, reading := l.resume(); !reading {
		return 0, cmp.Or(l.err, io.ErrClosedPipe)
	}
	return len(p), nil
}

// end returns what was listed. The reader gets err after what was written, or io.EOF if that is nil.
func (l *listing) end(err error) (archive.Summary, error) {
	l.piece, l.ended = nil, cmp.Or(err, io.EOF)
	l.resume()
	return l.sum, l.err
}

// written reads what is written to the listing, and leaves out of it what is not looked at.
type written struct {
	*listing
	wait func() bool
}

func (w *written) Read(p []byte) (int, error) {
	if err := w.more(); err != nil {
		return 0, err
	}
	n := copy(p, w.piece)
	w.piece = w.piece[n:]
	return n, nil
}

// Discard implements archive.Skipper.
func (w *written) Discard(n int) (int, error) {
	left := 0
	for left < n {
		if err := w.more(); err != nil {
			return left, err
		}
		skipped := min(n-left, len(w.piece))
		left, w.piece = left+skipped, w.piece[skipped:]
	}
	return left, nil
}

// more waits until there is a piece.
func (w *written) more() error {
	for len(w.piece) == 0 && w.ended == nil {
		if !w.wait() {
			return io.ErrUnexpectedEOF
		}
	}
	if len(w.piece) == 0 {
		return w.ended
	}
	return nil
}
