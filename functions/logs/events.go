package logs

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
)

// endMark is what the ID of the last event ends with, beside the offset.
const endMark = "-end"

// events answers with the log as server-sent events: stdout and stderr with what was written,
// attempt before what another attempt wrote, and end once there will be no more. The ID of an event
// is the offset behind it.
func (f *Function) events(w http.ResponseWriter, r *http.Request, id job.ID, q query) error {
	ctx := r.Context()
	q.Follow = !q.noFollow
	over, err := q.resume(r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	s, err := f.ledger.Status(ctx, id)
	if err != nil {
		return err
	}
	w.Header().Add("Vary", "Accept")
	if over {
		w.WriteHeader(http.StatusNoContent) // by which clients know not to come again
		return nil
	}
	stream, err := api.BeginEvents(w)
	if err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	out := &sender{events: stream}
	end := trailers{phase: s.Phase, status: s}
	if q.Follow {
		end, err = f.follow(ctx, id, q.Query, out)
	} else {
		end.at, err = f.read(ctx, id, q.Query, out)
	}
	if err != nil {
		api.CutOff(ctx, f.log.With("job", id), err)
	}
	if end.over(q.Attempt) {
		_ = out.end(end) // the client may have gone
	}
	return nil
}

// resume has the query go on behind the event that the client had last. over is true when that was
// the end.
func (q *query) resume(last string) (over bool, err error) {
	if last == "" {
		return false, nil
	}
	number, over := strings.CutSuffix(last, endMark)
	offset, ok := parseOffset(number)
	if !ok {
		return false, api.BadRequest("Last-Event-ID", "must be the id of an event of this log")
	}
	q.From, q.Tail, q.Since = offset, logstore.All, time.Time{}
	return over, nil
}

// acceptsEvents reports whether the client would rather have events than text.
func acceptsEvents(h http.Header) bool {
	var events, text float64
	for accepted := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		kind, parameters, err := mime.ParseMediaType(accepted)
		if err != nil {
			continue
		}
		quality := 1.0
		if given, err := strconv.ParseFloat(parameters["q"], 64); err == nil {
			quality = given
		}
		switch kind {
		case "text/event-stream":
			events = max(events, quality)
		case "text/plain":
			text = max(text, quality)
		}
	}
	return events > 0 && events >= text
}

// written is the data of an event with what the program wrote: as text where it is UTF-8.
type written struct {
	Time   *time.Time `json:"time,omitempty"` // when it was read from the program
	Text   string     `json:"text,omitempty"`
	Base64 []byte     `json:"base64,omitempty"`
}

type begun struct {
	Attempt int        `json:"attempt"`
	Time    *time.Time `json:"time,omitempty"`
}

type ended struct {
	Phase    job.Phase  `json:"phase,omitempty"`
	Reason   job.Reason `json:"reason,omitempty"`
	Message  string     `json:"message,omitempty"`
	ExitCode *int       `json:"exitCode,omitempty"`
	Removed  bool       `json:"removed,omitempty"`
}

// sender sends a log as events.
type sender struct {
	events     *api.Events
	attempt    int
	partial    []byte // bytes that begin a character; its other bytes may still come
	partialEnd int64  // the offset behind them
	of         spool.Stream
	time       time.Time // of the partial character
}

// maxEvent is the most bytes of the log in an event.
const maxEvent = 32 << 10

// Take sends a chunk.
func (s *sender) Take(c *logstore.Chunk) error {
	in, err := c.Open()
	if err != nil {
		return err
	}
	if c.Stream != s.of || c.Attempt != s.attempt {
		if err := s.sendPartial(); err != nil {
			return err
		}
	}
	if err := s.begin(c); err != nil {
		return err
	}
	s.of, s.time = c.Stream, c.At
	buffer := make([]byte, utf8.UTFMax+min(c.Bytes, maxEvent))
	for offset := c.Offset; ; {
		had := copy(buffer, s.partial)
		n, err := io.ReadFull(in, buffer[had:])
		if n > 0 {
			offset += int64(n)
			if err := s.block(buffer[:had+n], offset); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// block sends bytes that end at an offset, less those of a character that is not whole.
func (s *sender) block(data []byte, end int64) error {
	keep := begunRune(data)
	s.partial, s.partialEnd = append(s.partial[:0], data[len(data)-keep:]...), end
	return s.send(data[:len(data)-keep], end-int64(keep))
}

// begunRune returns how many bytes at the end begin a character without being one.
func begunRune(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if tail := data[len(data)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

func (s *sender) send(data []byte, end int64) error {
	if len(data) == 0 {
		return nil
	}
	w := written{Time: timeOf(s.time)}
	if utf8.Valid(data) {
		w.Text = string(data)
	} else {
		w.Base64 = data
	}
	return s.events.Send(strconv.FormatInt(end, 10), s.of.String(), w)
}

// sendPartial sends bytes that began a character which was never completed.
func (s *sender) sendPartial() error {
	partial := s.partial
	s.partial = nil
	return s.send(partial, s.partialEnd)
}

// begin tells of attempts that have begun, also of those that wrote nothing.
func (s *sender) begin(c *logstore.Chunk) error {
	first := s.attempt + 1
	if s.attempt == 0 {
		first = c.Attempt
	}
	for n := first; n <= c.Attempt && n > 0; n++ {
		data := begun{Attempt: n}
		if n == c.Attempt {
			data.Time = timeOf(c.At)
		}
		if err := s.events.Send(strconv.FormatInt(c.Offset, 10), "attempt", data); err != nil {
			return err
		}
	}
	s.attempt = c.Attempt
	return nil
}

func timeOf(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// Flush sends what was written, and something in any case from time to time.
func (s *sender) Flush() error {
	if err := s.events.KeepAlive("nothing new"); err != nil {
		return err
	}
	return s.events.Flush()
}

// end sends the last event.
func (s *sender) end(t trailers) error {
	if err := s.sendPartial(); err != nil {
		return err
	}
	data := ended{Removed: t.status == nil}
	if t.status != nil {
		data.Phase, data.Reason, data.Message, data.ExitCode = t.status.Phase, t.status.Reason, t.status.Message,
			t.status.ExitCode
	}
	if err := s.events.Send(strconv.FormatInt(t.at, 10)+endMark, "end", data); err != nil {
		return err
	}
	return s.events.Flush()
}

// over reports whether there is nothing behind the end of the answer: of the job, or of one attempt
// if it is not 0.
func (t trailers) over(attempt int) bool {
	return t.status == nil || attemptOver(t.status, attempt)
}

// attemptOver reports whether the job is over, or the attempt if it is not 0.
func attemptOver(s *job.Status, attempt int) bool {
	return s.Phase.Terminal() || attempt > 0 && len(s.Attempts) > attempt
}
