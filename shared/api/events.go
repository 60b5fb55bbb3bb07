package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// keepAlive is how often a comment is sent when there are no events, because proxies close silent
// connections.
const keepAlive = 15 * time.Second

// Events is an answer with server-sent events (HTML Living Standard, 9.2).
type Events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    time.Time // when something was sent
}

// BeginEvents begins the answer. It tells the client to reconnect a second after the connection is
// lost.
func BeginEvents(w http.ResponseWriter) (*Events, error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	e := &Events{w: w, control: http.NewResponseController(w)}
	if err := e.write([]byte("retry: 1000\n\n")); err != nil {
		return nil, err
	}
	return e, e.Flush()
}

// Send writes an event with data as JSON. The client sends id back when it reconnects. Without an
// event type it is a message event. Flush sends it.
func (e *Events) Send(id, event string, data any) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %s\n", id)
	if event != "" {
		fmt.Fprintf(&b, "event: %s\n", event)
	}
	b.WriteString("data: ")
	encoder := json.NewEncoder(&b) // on one line, and ends it
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data); err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	b.WriteByte('\n')
	return e.write(b.Bytes())
}

// Comment writes a comment, which clients ignore.
func (e *Events) Comment(text string) error { return e.write([]byte(": " + text + "\n\n")) }

// KeepAlive writes a comment if nothing was sent for a while.
func (e *Events) KeepAlive(text string) error {
	if time.Since(e.last) < keepAlive {
		return nil
	}
	return e.Comment(text)
}

// Flush sends what was written.
func (e *Events) Flush() error { return e.control.Flush() }

func (e *Events) write(data []byte) error {
	e.last = time.Now()
	_, err := e.w.Write(data)
	return err
}
