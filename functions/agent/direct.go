package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
)

// directFrom is the size from which asking for a URL of the bucket is worth a call.
const directFrom = 1 << 20

// putDirect sends an output to the bucket itself, and returns what is stored then, or nil when it
// has to go through the function.
func (c *client) putDirect(ctx context.Context, name string, r io.Reader) *job.File {
	file, ok := r.(interface {
		io.ReadSeeker
		Size() int64
	})
	if !ok || file.Size() < directFrom || c.noLinks.Load() {
		return nil
	}
	var link agentwire.Link
	err := c.record(ctx, routes.LinkOutput, nil, agentwire.LinkRequest{Name: name, Size: file.Size()}, &link)
	if errors.Is(err, job.ErrNotFound) {
		c.noLinks.Store(true)
	}
	if err != nil { // whatever it is, the function will say so of the file too
		return nil
	}
	sum := sha256.New()
	if err := c.sendDirect(ctx, link, io.TeeReader(file, sum), file.Size()); err != nil {
		c.noLinks.Store(true)
		c.log.WarnContext(ctx, "output not taken by the bucket itself; outputs go through the function", "output", name,
			"error", err)
		rewind(file)
		return nil
	}
	return &job.File{Name: name, Size: file.Size(), SHA256: hex.EncodeToString(sum.Sum(nil))}
}

func (c *client) sendDirect(ctx context.Context, link agentwire.Link, body io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, link.URL, io.NopCloser(body))
	if err != nil {
		return errors.New("the URL is not one") // the error would tell it
	}
	req.ContentLength = size
	for name, value := range link.Headers {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) { // without the URL, which is a secret
		return failed.Err
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return errors.New(resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
