//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// settling is how long a cluster may take until everything works that it calls ready. After a
// restart it shows old conditions, and has no routes yet.
const settling = 5 * time.Minute

// settle waits until a job runs from its submit to its end, with every function that a user asks.
func (s *service) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	for {
		err := s.try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("does not work after %s: %w", settling, err)
		case <-time.After(time.Second):
		}
	}
}

// try runs one job, and removes it.
func (s *service) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	var body bytes.Buffer
	w := newForm(&body)
	if err := shell("echo hello; echo result > results/file").write(w); err != nil {
		return err
	}
	var j run
	submit, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/v1/jobs", &body)
	if err != nil {
		return err
	}
	submit.Header.Set("Content-Type", w.FormDataContentType())
	s.authorize(submit)
	if err := s.expect(submit, &j, http.StatusCreated); err != nil {
		return err
	}
	ask := func(method, path string, to any, want ...int) error {
		req, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
		if err != nil {
			return err
		}
		s.authorize(req)
		req.Header.Set("Prefer", "wait=10")
		return s.expect(req, to, want...)
	}
	var end status
	for end.Phase != "Succeeded" {
		if err := ask(http.MethodGet, "/api/v1/jobs/"+j.ID, &end, http.StatusOK); err != nil {
			return err
		}
		if end.Phase == "Failed" {
			return fmt.Errorf("the job failed: %s: %s", end.Reason, end.Message)
		}
	}
	for _, path := range []string{"/api/v1/jobs/" + j.ID + "/logs", "/outputs/" + j.ID + "/file", "/artifacts/" + j.ID +
		"/run"} {
		// to a bucket, which is not for us to reach
		if err := ask(http.MethodGet, path, nil, http.StatusOK, http.StatusTemporaryRedirect); err != nil {
			return err
		}
	}
	return ask(http.MethodDelete, "/api/v1/jobs/"+j.ID, nil, http.StatusNoContent, http.StatusAccepted)
}

// direct sends a request and returns its answer, also one that leads elsewhere.
func (s *service) direct(req *http.Request) (*http.Response, error) {
	client := *s.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client.Do(req)
}

// expect sends a request, whose answer has one of the given statuses, and reads it into to, unless
// that is nil.
func (s *service) expect(req *http.Request, to any, want ...int) error {
	resp, err := s.direct(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	if !slices.Contains(want, resp.StatusCode) {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, bytes.TrimSpace(data))
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(data, to)
}
