package logs

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"go-job-orchestrator/shared/logstore"
)

// text is an answer with the log as text. It sends the headers before the first byte, and what it
// has when nothing more comes.
type text struct {
	http.ResponseWriter
	control *http.ResponseController
	flush   bool
	stamp   bool // each line begins with its time
	inLine  bool // what was written last was no newline
	begun   bool
}

func newText(w http.ResponseWriter, q query) *text {
	return &text{
		ResponseWriter: w, control: http.NewResponseController(w), flush: q.Follow, stamp: q.timestamps,
	}
}

func (t *text) begin() {
	if t.begun {
		return
	}
	t.begun = true
	h := t.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
	h.Set("Trailer", phaseTrailer+", "+positionTrailer)
	t.WriteHeader(http.StatusOK)
	if t.flush {
		_ = t.control.Flush() // the next write reports a client that has gone
	}
}

// Take writes a chunk.
func (t *text) Take(c *logstore.Chunk) error {
	in, err := c.Open()
	if err != nil {
		return err
	}
	t.begin()
	if !t.stamp {
		_, err = io.Copy(t.ResponseWriter, in)
		return err
	}
	return t.lines(in, stampOf(c.At))
}

// lines copies text with a stamp before each line.
func (t *text) lines(in io.Reader, stamp []byte) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := in.Read(buffer)
		for line := range bytes.Lines(buffer[:n]) {
			if !t.inLine {
				if _, err := t.ResponseWriter.Write(stamp); err != nil {
					return err
				}
			}
			if _, err := t.ResponseWriter.Write(line); err != nil {
				return err
			}
			t.inLine = line[len(line)-1] != '\n'
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stampFormat is RFC 3339 with microseconds, always of the same width.
const stampFormat = "2006-01-02T15:04:05.000000Z"

// stampOf returns what a line begins with; logs of earlier versions have no times.
func stampOf(at time.Time) []byte {
	if at.IsZero() {
		return []byte("- ")
	}
	return append(at.UTC().AppendFormat(nil, stampFormat), ' ')
}

// Flush sends what was written to a follower.
func (t *text) Flush() error {
	if !t.flush || !t.begun {
		return nil
	}
	return t.control.Flush()
}
