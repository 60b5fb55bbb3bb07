package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

// localError is an error of this machine, after which trying again does not help.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// save stores one output.
func (s Source) save(ctx context.Context, d *destination, t Target, o Options, count *count) error {
	part, err := d.part(t)
	if err != nil {
		return err
	}
	defer part.Close()
	err = s.fill(ctx, part, t, o, count)
	var wrong *damagedError
	if errors.As(err, &wrong) {
		count.add(-t.File.Size) // perhaps what was there before was damaged: once more, from the beginning
		if err = part.Truncate(0); err == nil {
			err = s.fill(ctx, part, t, o, count)
		}
	}
	if errors.As(err, &wrong) {
		_ = part.Truncate(0)
	}
	if err != nil {
		d.drop(t, part)
		return err
	}
	if err := part.Close(); err != nil {
		return err
	}
	return d.finish(t)
}

// fill completes a file that may have the beginning of the content.
func (s Source) fill(ctx context.Context, part *os.File, t Target, o Options, count *count) error {
	sum := sha256.New()
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	have, err := io.Copy(sum, io.LimitReader(part, t.File.Size))
	if err != nil {
		return err
	}
	if err := part.Truncate(have); err != nil {
		return err
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return err
	}
	count.add(have)
	return s.fetch(ctx, &sink{w: part, sum: sum, at: have, count: count}, t.File, o)
}

// Stream writes one output to w, such as standard output. It goes on where it was after a cut.
func (s Source) Stream(ctx context.Context, f job.File, w io.Writer, o Options) error {
	if !isSHA256(f.SHA256) {
		return fmt.Errorf("the server gives no SHA-256 of the output %q, so that it cannot be checked", f.Name)
	}
	count := newCount([]Target{{File: f}}, o.Progress)
	return s.fetch(ctx, &sink{w: w, sum: sha256.New(), count: count}, f, o)
}

// sink takes the bytes of one file in their order.
type sink struct {
	w     io.Writer
	sum   hash.Hash
	at    int64
	count *count
}

// damagedError says that the content is not what the server listed.
type damagedError struct{ name string }

func (e *damagedError) Error() string {
	return fmt.Sprintf("the output %q does not have the SHA-256 that the server gives; was it changed on the way?", e.name)
}

// fetch gets what a sink lacks of a file, and checks all of it.
func (s Source) fetch(ctx context.Context, out *sink, f job.File, o Options) error {
	retry := client.Retry{Patience: o.Patience, Said: o.Retrying, Reached: true} // the list came before
	for out.at < f.Size {
		before := out.at
		err := s.get(ctx, out, f)
		if out.at > before {
			retry.Moved()
		}
		if err != nil && !retry.Again(ctx, err) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	if hex.EncodeToString(out.sum.Sum(nil)) != f.SHA256 {
		return &damagedError{f.Name}
	}
	return nil
}

// stall is how long a connection may bring no byte. One that died while the machine slept would
// otherwise be waited for without end.
const stall = time.Minute

var errStalled = errors.New("the line brought no more bytes")

// get makes one request for the rest of a file.
func (s Source) get(ctx context.Context, out *sink, f job.File) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	call := client.Call{Method: http.MethodGet, Path: s.path(f.Name), Token: s.Token, Header: http.Header{
		"Accept-Encoding": {"identity"},
	}}
	if out.at > 0 {
		call.Header.Set("Range", fmt.Sprintf("bytes=%d-", out.at))
		call.Header.Set("If-Range", `"`+f.SHA256+`"`)
	}
	response, err := s.Client.Do(ctx, call)
	if err != nil {
		return s.stalled(ctx, err)
	}
	defer response.Body.Close()
	start := rangeStart(response)
	if start < 0 || start > out.at {
		return fmt.Errorf("%s sends the output %q from byte %d on, and not from %d", s.Client.Server(), f.Name, start, out.at)
	}
	moved := func() { timer.Reset(stall) }
	// A proxy may drop Range: then what is there already comes again. The checksum will tell.
	if err = skip(response.Body, out.at-start, moved); err == nil {
		err = out.copy(response.Body, f.Size, moved)
	}
	var local *localError
	if err == nil || errors.As(err, &local) {
		return err
	}
	return s.stalled(ctx, &client.UnreachableError{Server: s.Client.Server(), Err: err})
}

// stalled names the cause of an error.
func (s Source) stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return &client.UnreachableError{Server: s.Client.Server(), Err: errStalled}
	}
	return err
}

// rangeStart returns the position of the first byte of an answer.
func rangeStart(response *http.Response) int64 {
	if response.StatusCode != http.StatusPartialContent {
		return 0
	}
	text, _ := strings.CutPrefix(response.Header.Get("Content-Range"), "bytes ")
	text, _, _ = strings.Cut(text, "-")
	start, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return start
}

// skip reads bytes that are not needed.
func skip(body io.Reader, n int64, moved func()) error {
	for n > 0 {
		k, err := io.CopyN(io.Discard, body, min(n, copyBuffer))
		if n -= k; err != nil {
			return err
		}
		moved()
	}
	return nil
}

const copyBuffer = 128 << 10

// copy writes what a body brings, up to the size of the file.
func (out *sink) copy(body io.Reader, size int64, moved func()) error {
	buffer := make([]byte, min(copyBuffer, size-out.at))
	for out.at < size {
		n, err := body.Read(buffer[:min(int64(len(buffer)), size-out.at)])
		if n > 0 {
			moved()
			if _, err := out.w.Write(buffer[:n]); err != nil {
				return &localError{err}
			}
			out.sum.Write(buffer[:n])
			out.at += int64(n)
			out.count.add(int64(n))
		}
		if err != nil && out.at < size {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}
