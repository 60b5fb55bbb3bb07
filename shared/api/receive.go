package api

import (
	"io"
	"log/slog"
	"net/http"

	"github.com/julienschmidt/httprouter"
)

// Receive makes a handler of one that reads a large body. When that returns an error, also a client
// that is still sending gets to read it.
func Receive(log *slog.Logger, h Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		body := &begunBody{ReadCloser: r.Body}
		r.Body = body
		err := h(w, r, p)
		if err == nil {
			return nil
		}
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 always is
		w.Header().Set("Connection", "close")
		WriteError(w, r, log, err)
		Discard(w, r, body, body.begun)
		return nil
	}
}

// begunBody knows whether anything of a body was asked for.
type begunBody struct {
	io.ReadCloser
	begun bool
}

func (b *begunBody) Read(p []byte) (int, error) {
	b.begun = true
	return b.ReadCloser.Read(p)
}
