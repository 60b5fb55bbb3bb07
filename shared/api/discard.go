package api

import (
	"io"
	"net/http"
	"time"
)

// The bounds of what is read of a request that was refused, so that its client gets to read why: a
// closed connection would fail its write first. One that sends nothing for a while has noticed.
const (
	maxDiscard     = 256 << 20
	discardTimeout = 10 * time.Second
	discardPause   = time.Second
)

// Discard sends the answer that was written and reads what is left of the request, within bounds.
// Begun tells whether anything of its body was asked for before. The connection must be full
// duplex.
func Discard(w http.ResponseWriter, r *http.Request, body io.Reader, begun bool) {
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	if !begun && r.Header.Get("Expect") != "" { // it waits to be told to send, and has been told not to
		_ = control.SetReadDeadline(time.Now()) // net/http would wait for a body all the same
		return
	}
	buffer := make([]byte, 64<<10)
	end := time.Now().Add(discardTimeout)
	for left := maxDiscard; left > 0; {
		deadline := time.Now().Add(discardPause)
		if deadline.After(end) {
			deadline = end
		}
		if control.SetReadDeadline(deadline) != nil {
			return
		}
		n, err := body.Read(buffer)
		if err != nil { // more often than not the client has hung up
			return
		}
		left -= n
	}
}
