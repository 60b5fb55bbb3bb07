package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
)

// client speaks to the artifacts function for one job.
type client struct {
	base  string
	id    job.ID
	token string
	http  *http.Client
	wait  time.Duration // before the second try of a call
}

var (
	_ executor.Artifacts = (*client)(nil)
	_ executor.Results   = (*client)(nil)
)

// tries is how often a call is made whose answer says that another may succeed. With doubling pauses from
// half a second on they span about a minute: enough for a function to start from zero, or to be replaced.
const tries = 8

func (c *client) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, "/artifacts/"+string(c.id)+"/"+url.PathEscape(name), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (c *client) index(ctx context.Context) (*job.Index, error) {
	body, err := c.Open(ctx, job.IndexFile)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var index job.Index
	if err := json.NewDecoder(body).Decode(&index); err != nil {
		return nil, fmt.Errorf("decode index: %w", err)
	}
	return &index, nil
}

func (c *client) PutLog(ctx context.Context, segment string, data []byte) error {
	return c.put(ctx, job.PrivateDir+"/log/"+segment, bytes.NewReader(data), nil)
}

func (c *client) PutResult(ctx context.Context, name string, r io.Reader) (job.File, error) {
	var stored job.File
	err := c.put(ctx, name, r, &stored)
	return stored, err
}

func (c *client) PutManifest(ctx context.Context, m executor.Manifest) error {
	return c.putRecord(ctx, "outputs.json", m, nil)
}

// startAttempt claims the attempt. An error of kind job.ErrConflict means that it is somebody else's, or that the job is not to
// be run any more.
func (c *client) startAttempt(ctx context.Context, n int, owner string) (job.Attempt, error) {
	var a job.Attempt
	err := c.putRecord(ctx, fmt.Sprintf("attempts/%d/start", n), map[string]string{"owner": owner}, &a)
	return a, err
}

func (c *client) endAttempt(ctx context.Context, a job.Attempt) error {
	return c.putRecord(ctx, fmt.Sprintf("attempts/%d/end", a.Number), a, nil)
}

func (c *client) finish(ctx context.Context, t job.Terminal) error {
	return c.putRecord(ctx, job.StatusFile, t, nil)
}

func (c *client) putRecord(ctx context.Context, name string, record, into any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return c.put(ctx, job.PrivateDir+"/"+name, bytes.NewReader(data), into)
}

func (c *client) put(ctx context.Context, name string, body io.Reader, into any) error {
	segments := strings.Split(name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	resp, err := c.do(ctx, http.MethodPut, "/artifacts/"+string(c.id)+"/upload/"+strings.Join(segments, "/"), body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", name, err)
	}
	return nil
}

// do makes a call, again while its answer says that it may succeed later. A body that cannot be rewound is sent
// once.
func (c *client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	for n, wait := 1, c.wait; ; n, wait = n+1, 2*wait {
		resp, err := c.once(ctx, method, path, body)
		if err == nil && resp.StatusCode < 300 {
			return resp, nil
		}
		temporary := err != nil || resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
		if err == nil {
			err = answer(resp)
		}
		if !temporary || n == tries || !rewind(body) {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (c *client) once(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	if body != nil {
		body = io.NopCloser(body) // the client would close it, and so end its rewinding
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if s, ok := body.(interface{ Size() int64 }); ok {
		req.ContentLength = s.Size()
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

// maxProblem bounds what is read of an error's body.
const maxProblem = 8 << 10

// answer turns an error status into an error with the kind that our side acts on.
func answer(resp *http.Response) error {
	defer resp.Body.Close()
	var problem struct{ Detail string }
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&problem) // the status says enough
	err := fmt.Errorf("%s: %s", resp.Status, problem.Detail)
	kinds := map[int]error{
		http.StatusUnauthorized: job.ErrUnauthorized, http.StatusForbidden: job.ErrForbidden, http.StatusNotFound: job.ErrNotFound,
		http.StatusConflict: job.ErrConflict, http.StatusUnprocessableEntity: job.ErrInvalid,
		http.StatusRequestEntityTooLarge: job.ErrTooLarge, http.StatusInsufficientStorage: job.ErrExhausted,
	}
	if kind, ok := kinds[resp.StatusCode]; ok {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}
