package submit

import (
	"io"
	"log/slog"
	"net/http"
	"time"

	"go-job-orchestrator/shared/api"
)

// watched knows whether anything of a body was asked for.
type watched struct {
	io.ReadCloser
	begun bool
}

func (b *watched) Read(p []byte) (int, error) {
	b.begun = true
	return b.ReadCloser.Read(p)
}

// The bounds of what is read of a request that was refused, so that its client gets to read why: a closed connection would
// fail its write first. One that sends nothing for a while has noticed.
const (
	maxDiscard     = 256 << 20
	discardTimeout = 10 * time.Second
	discardPause   = time.Second
)

func refuse(w http.ResponseWriter, r *http.Request, body *watched, log *slog.Logger, err error) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/2 always is
	w.Header().Set("Connection", "close")
	api.WriteError(w, r, log, err)
	if control.Flush() != nil {
		return
	}
	if !body.begun && r.Header.Get("Expect") != "" { // it waits to be told to send, and has been told not to
		_ = control.SetReadDeadline(time.Now()) // net/http would wait for a body all the same
		return
	}
	discard(control, body)
}

func discard(control *http.ResponseController, body io.Reader) {
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
