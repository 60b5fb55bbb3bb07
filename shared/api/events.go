package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// keepAlive is how often something is sent to a client for whom nothing happens: proxies cut off
// what is silent.
const keepAlive = 15 * time.Second

// Events is an answer with server-sent events (HTML Living Standard, 9.2).
type Events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    time.Time // when something was sent
}

// BeginEvents begins the answer. The client is to come again a second after it was cut off.
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

// Send writes an event with data as JSON, and the ID that the client sends back when it comes
// again. Without a type the event is a message. Flush sends it.
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

// Comment writes what clients ignore.
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
