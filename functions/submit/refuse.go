package submit

import (
	"io"
	"log/slog"
	"net/http"

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

// refuse answers with an error, also to a client that is still sending.
func refuse(w http.ResponseWriter, r *http.Request, body *watched, log *slog.Logger, err error) {
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 always is
	w.Header().Set("Connection", "close")
	api.WriteError(w, r, log, err)
	api.Discard(w, r, body, body.begun)
}
