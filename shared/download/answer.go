package download

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"go-job-orchestrator/shared/api"
)

// answer takes everything from http.ServeContent but its errors in plain text, which become
// problems.
type answer struct {
	http.ResponseWriter
	refused int // the status of the error
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if status == http.StatusPartialContent && a.Header().Get("Content-Length") == "0" {
		// ServeContent finds the last 0 bytes; RFC 9110, section 14.1.2, does not
		status = http.StatusRequestedRangeNotSatisfiable
	}
	if status >= http.StatusBadRequest {
		a.refused = status
		return
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.refused != 0 {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom: without it a file would be copied through this process instead
// of sent by the kernel.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	if a.refused != 0 {
		return 0, nil
	}
	return io.Copy(a.ResponseWriter, r)
}

// refuse answers with the error there was, or returns it.
func (a *answer) refuse(r *http.Request, size int64) error {
	if a.refused == 0 {
		return nil
	}
	// These describe the file, and the answer is not the file.
	for _, name := range []string{"Repr-Digest", "Content-Security-Policy", "Accept-Ranges"} {
		a.Header().Del(name)
	}
	switch a.refused {
	case http.StatusPreconditionFailed:
		return api.Fail(a.refused, "The file is another one than the request's condition names.")
	case http.StatusRequestedRangeNotSatisfiable:
		err := api.Fail(a.refused, fmt.Sprintf("Range names none of the file's %d bytes.", size))
		api.WriteError(rangeWriter{a.ResponseWriter, size}, r, slog.New(slog.DiscardHandler), err)
		return nil
	}
	return fmt.Errorf("serve content: status %d", a.refused)
}

// rangeWriter adds what a client needs to ask again for a range there is; errors have it removed
// from their headers.
type rangeWriter struct {
	http.ResponseWriter
	size int64
}

// WriteHeader implements http.ResponseWriter.
func (w rangeWriter) WriteHeader(status int) {
	w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
	w.ResponseWriter.WriteHeader(status)
}
