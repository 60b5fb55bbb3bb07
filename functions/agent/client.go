package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// client speaks to the functions artifacts and agentapi for one job.
type client struct {
	base  string
	id    job.ID
	token string
	log   *slog.Logger
	http  *http.Client
	wait  time.Duration // before the second try of a call
	// patience is how long a call is tried again whose answer says that it may succeed.
	patience time.Duration
	// noLinks is set once there turned out to be no URL of the bucket for uploads, or none that can be
	// reached from here.
	noLinks atomic.Bool
}

func newClient(base string, id job.ID, token string, patience time.Duration, log *slog.Logger) *client {
	transport, _ := http.DefaultTransport.(*http.Transport)
	transport = transport.Clone()
	transport.ResponseHeaderTimeout = answerTimeout
	// there is one host, and several outputs are on their way to it at a time
	transport.MaxIdleConnsPerHost = transport.MaxIdleConns
	return &client{base: base, id: id, token: token, log: log,
		http: &http.Client{Transport: transport, CheckRedirect: withoutToken}, wait: firstWait, patience: patience}
}

// withoutToken keeps the token from where we are redirected to: a bucket, whose URL says itself
// what it opens.
func withoutToken(to *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("redirected too often")
	}
	to.Header.Del("Authorization")
	return nil
}

const maxRedirects = 3

// The waits of the client: for an answer, and between the tries of a call.
const (
	answerTimeout = 2 * time.Minute
	firstWait     = 250 * time.Millisecond
	maxWait       = 5 * time.Second
)

var (
	_ executor.Artifacts = (*client)(nil)
	_ executor.Results   = (*client)(nil)
)

// do makes a call, again while its answer says that it may succeed later. A body that cannot be
// rewound is sent once.
func (c *client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	end := time.Now().Add(c.patience)
	for wait := c.wait; ; wait = min(2*wait, maxWait) {
		resp, err := c.once(ctx, method, path, body)
		if err == nil && resp.StatusCode < 300 {
			return resp, nil
		}
		if err == nil {
			err = answer(resp)
		} else {
			err = fmt.Errorf("%w: %w", job.ErrUnavailable, err)
		}
		again := errors.Is(err, job.ErrUnavailable) || errors.Is(err, job.ErrExhausted)
		if !again || time.Now().After(end) || !rewind(body) {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%s %s: %w", method, path, errors.Join(context.Cause(ctx), err))
		case <-timer.C:
		}
	}
}

func (c *client) once(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	length := int64(-1)
	if s, ok := body.(interface{ Size() int64 }); ok { // so that what is too large is refused before it is sent
		length = s.Size()
	}
	switch {
	case length == 0:
		body = http.NoBody // with another one a length of 0 stands for an unknown one
	case body != nil:
		body = io.NopCloser(body) // the client would close it, and so end its rewinding
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.ContentLength = length
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	return c.http.Do(req)
}

func rewind(body io.Reader) bool {
	if body == nil {
		return true
	}
	s, ok := body.(io.Seeker)
	if !ok {
		return false
	}
	_, err := s.Seek(0, io.SeekStart)
	return err == nil
}
