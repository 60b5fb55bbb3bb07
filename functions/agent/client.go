package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/spool"
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

func (c *client) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return c.get(ctx, routes.GetArtifact.URL(string(c.id), name))
}

func (c *client) get(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
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
	return c.send(ctx, routes.PutLogSegment, []string{segment}, bytes.NewReader(data), nil)
}

func (c *client) PutResult(ctx context.Context, name string, r io.Reader) (job.File, error) {
	if stored := c.putDirect(ctx, name, r); stored != nil {
		return *stored, nil
	}
	var stored job.File
	err := c.send(ctx, routes.UploadOutput, []string{name}, r, &stored)
	return stored, err
}

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

func (c *client) PutOrder(ctx context.Context, r io.Reader) error {
	return c.send(ctx, routes.PutLogOrder, nil, r, nil)
}

func (c *client) PutManifest(ctx context.Context, files []job.File) error {
	return c.record(ctx, routes.RecordOutputs, nil, agentwire.Manifest{Files: files}, nil)
}

// claimNext claims the attempt that is due. An error of kind job.ErrConflict means that the job is
// not to be run any more, one of kind job.ErrUnavailable that another's attempt has not ended.
func (c *client) claimNext(ctx context.Context, claim agentwire.Claim) (job.Attempt, error) {
	var a job.Attempt
	err := c.record(ctx, routes.ClaimAttempt, nil, claim, &a)
	return a, err
}

func (c *client) endAttempt(ctx context.Context, a job.Attempt) error {
	return c.record(ctx, routes.EndAttempt, []string{strconv.Itoa(a.Number)}, a, nil)
}

// reportAttempt says what was seen of the end of an attempt whose reason is to be found out.
func (c *client) reportAttempt(ctx context.Context, report agentwire.Report) error {
	return c.record(ctx, routes.ReportAttempt, []string{strconv.Itoa(report.Attempt.Number)}, report, nil)
}

// logState returns where the log of earlier attempts ends.
func (c *client) logState(ctx context.Context) (joblog.State, error) {
	var state joblog.State
	body, err := c.get(ctx, routes.GetLogState.URL(string(c.id)))
	if err != nil {
		return state, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&state); err != nil {
		return state, fmt.Errorf("decode the state of the log: %w", err)
	}
	return state, nil
}

// copyStream copies the first size bytes of what was shipped of a stream.
func (c *client) copyStream(ctx context.Context, s spool.Stream, size int64, to io.Writer) error {
	body, err := c.get(ctx, routes.GetLogStream.URL(string(c.id), s.String()))
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.CopyN(to, body, size); err != nil {
		return fmt.Errorf("fetch the log of earlier attempts: %w", err)
	}
	return nil
}

// copyOrder copies the order of what was shipped.
func (c *client) copyOrder(ctx context.Context, to io.Writer) error {
	body, err := c.get(ctx, routes.GetLogOrder.URL(string(c.id)))
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(to, body); err != nil {
		return fmt.Errorf("fetch the order of the log of earlier attempts: %w", err)
	}
	return nil
}

// record sends a record as JSON.
func (c *client) record(ctx context.Context, to routes.Route, names []string, record, into any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode what is sent to %s: %w", to, err)
	}
	return c.send(ctx, to, names, bytes.NewReader(data), into)
}

// send sends a body. The names are what follows the job in the path.
func (c *client) send(ctx context.Context, to routes.Route, names []string, body io.Reader, into any) error {
	resp, err := c.do(ctx, to.Method, to.URL(append([]string{string(c.id)}, names...)...), body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("decode the answer to %s: %w", to, err)
	}
	return nil
}

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

// maxProblem bounds what is read of an error's body.
const maxProblem = 8 << 10

// noSuchPath begins the answer of a server that is older than this agent: during an upgrade the
// newer one is about to come. It does not mean that the job is gone.
const noSuchPath = "There is no such path"

// answer turns an error status into an error with the kind that our side acts on.
func answer(resp *http.Response) error {
	defer resp.Body.Close()
	var problem struct{ Detail string }
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&problem) // the status says enough
	err := fmt.Errorf("%s: %s", resp.Status, problem.Detail)
	if resp.StatusCode == http.StatusNotFound && strings.HasPrefix(problem.Detail, noSuchPath) {
		return fmt.Errorf("%w: %w", job.ErrUnavailable, err)
	}
	kinds := map[int]error{
		http.StatusUnauthorized: job.ErrUnauthorized, http.StatusForbidden: job.ErrForbidden,
		http.StatusNotFound: job.ErrNotFound,
		http.StatusConflict: job.ErrConflict, http.StatusUnprocessableEntity: job.ErrInvalid,
		http.StatusRequestEntityTooLarge: job.ErrTooLarge, http.StatusInsufficientStorage: job.ErrExhausted,
		http.StatusTooManyRequests: job.ErrUnavailable,
	}
	kind, known := kinds[resp.StatusCode]
	if !known && resp.StatusCode >= http.StatusInternalServerError {
		kind, known = job.ErrUnavailable, true
	}
	if !known {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}
