package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/spool"
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
