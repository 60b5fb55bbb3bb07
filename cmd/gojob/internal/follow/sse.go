package follow

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// event is a server-sent event (HTML Living Standard, 9.2).
type event struct {
	id, name string
	data     []byte // valid until the next event
}

// maxEvent bounds an event. The server sends at most 32 KiB of a log in one, which JSON makes at
// most six times as long; a job's status has at most some 100 KiB more than its arguments.
const maxEvent = 8 << 20

var errTooLong = errors.New("an event is too long")

type decoder struct {
	in   *bufio.Reader
	data []byte
	line []byte
}

func newDecoder(r io.Reader) *decoder { return &decoder{in: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next whole event that has data. It calls alive for whatever comes, also for
// comments. An event that the end cut off is dropped. The error is io.EOF at the end of the stream.
func (d *decoder) next(alive func()) (event, error) {
	var e event
	d.data = d.data[:0]
	hasData := false
	for {
		line, err := d.readLine()
		if err != nil {
			return event{}, err
		}
		alive()
		if len(line) == 0 {
			if hasData {
				e.data = d.data
				return e, nil
			}
			e = event{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			e.id = string(value)
		case "event":
			e.name = string(value)
		case "data":
			if hasData {
				d.data = append(d.data, '\n')
			}
			d.data = append(d.data, value...)
			hasData = true
		}
		if len(d.data) > maxEvent {
			return event{}, errTooLong
		}
	}
}

// readLine returns a line without its end, valid until the next call.
func (d *decoder) readLine() ([]byte, error) {
	d.line = d.line[:0]
	for {
		part, err := d.in.ReadSlice('\n')
		d.line = append(d.line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(d.line[:len(d.line)-1], []byte("\r")), nil
		case err != bufio.ErrBufferFull: //nolint:errorlint // bufio returns it as it is
			return nil, err
		case len(d.line) > maxEvent:
			return nil, errTooLong
		}
	}
}
