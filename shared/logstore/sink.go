package logstore

import (
	"io"
	"time"

	"go-job-orchestrator/shared/spool"
)

// Chunk is bytes of one stream that follow each other in the log.
type Chunk struct {
	Stream  spool.Stream
	At      time.Time // when they were read from the program; zero if that is not known
	Attempt int       // 0 if that is not known
	Begin   spool.Position
	Bytes   int64
	Offset  int64 // of the first byte, in the streams that are asked for

	open func() (io.Reader, error)
}

// End is the position behind the last byte.
func (c *Chunk) End() spool.Position {
	end := c.Begin
	*end.Of(c.Stream) += c.Bytes
	return end
}

// Open returns what reads the bytes. It may be called once.
func (c *Chunk) Open() (io.Reader, error) { return c.open() }

// Sink takes a log chunk by chunk.
type Sink interface {
	// Take takes all the bytes of a chunk. An error of Open is to be returned as it is.
	Take(c *Chunk) error
	// Flush is called when nothing more may come for a while.
	Flush() error
}

// Text is a Sink that writes the bytes as the program wrote them.
type Text struct{ W io.Writer }

// Take writes a chunk.
func (t Text) Take(c *Chunk) error {
	in, err := c.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(t.W, in)
	return err
}

// Flush does nothing.
func (Text) Flush() error { return nil }

// Spool is a Sink that writes the log to a spool as it was in the one that it was shipped from.
type Spool struct{ Files spool.Files }

// Take writes a chunk.
func (s Spool) Take(c *Chunk) error {
	if err := (Text{s.Files.Of(c.Stream)}).Take(c); err != nil {
		return err
	}
	return (Order{s.Files.Order}).Take(c)
}

// Flush does nothing.
func (Spool) Flush() error { return nil }

// Order is a Sink that writes only the order of the log, as a spool has it.
type Order struct{ W io.Writer }

// Take writes the record of a chunk.
func (o Order) Take(c *Chunk) error {
	_, err := o.W.Write(spool.Record{At: c.At, Attempt: c.Attempt, End: c.End()}.Encode())
	return err
}

// Flush does nothing.
func (Order) Flush() error { return nil }
