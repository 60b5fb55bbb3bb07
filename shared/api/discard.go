package api

import (
	"io"
	"net/http"
	"time"
)

// The rest of a refused request is read within these bounds, so that its client can read the
// reason. If the server closed the connection, the client's write would fail first. A client that
// sends nothing for discardPause has noticed the answer.
const (
	maxDiscard     = 256 << 20
	discardTimeout = 10 * time.Second
	discardPause   = time.Second
)

// Discard sends the answer that was written, and reads the rest of the request, within bounds.
// begun says whether the handler has read from the body before. The connection must be full duplex.
func Discard(w http.ResponseWriter, r *http.Request, body io.Reader, begun bool) {
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	if !begun && r.Header.Get("Expect") != "" { // the client waits for permission to send the body, and got a refusal
		_ = control.SetReadDeadline(time.Now()) // otherwise net/http would wait for a body
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
		if err != nil { // usually the client has closed the connection
			return
		}
		left -= n
	}
}
