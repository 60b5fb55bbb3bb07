package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
)

// Stream has write write the body of an answer. An error before the first byte is returned, so that
// it can be answered; a later one cuts the answer off.
func Stream(w http.ResponseWriter, r *http.Request, log *slog.Logger, write func(w io.Writer) error) error {
	out := &counter{w: w}
	err := write(out)
	if err == nil || out.n == 0 && r.Context().Err() == nil {
		return err
	}
	CutOff(r.Context(), log, err)
	return err
}

// CutOff ends an answer that has begun, by closing its connection: an orderly end would make a part
// look like the whole. The error is logged unless the client has gone.
func CutOff(ctx context.Context, log *slog.Logger, err error) {
	if ctx.Err() == nil {
		log.ErrorContext(ctx, "answer cut off", "error", err)
	}
	panic(http.ErrAbortHandler)
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
