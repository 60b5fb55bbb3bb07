package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"time"
)

// The sizes of what is sent.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// newClient returns a client that keeps so many connections and uses large buffers. Its own cost is
// not measured, but must not slow down the server.
func newClient(connections int) *http.Client {
	const buffer = 256 * kib
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: connections, WriteBufferSize: buffer, ReadBufferSize: buffer, DisableCompression: true,
	}}
}

// request is one call. Its answer must have the status want.
type request struct {
	method, url string
	token       string
	header      map[string]string
	body        io.Reader
	size        int64 // of the body; 0: found out
	want        int
}

// do makes the call and returns the answer's body, to be closed.
func (q request) do(ctx context.Context, c *http.Client) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, q.body)
	if err != nil {
		return nil, err
	}
	if q.size > 0 {
		req.ContentLength = q.size
	}
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != q.want {
		defer resp.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(resp.Body, kib))
		return nil, fmt.Errorf("%s %s: %s: %s", q.method, q.url, resp.Status, said)
	}
	return resp.Body, nil
}

// read makes the call and returns the whole answer.
func (q request) read(ctx context.Context, c *http.Client) ([]byte, error) {
	body, err := q.do(ctx, c)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// drain makes the call, throws the answer away and returns how long it was.
func (q request) drain(ctx context.Context, c *http.Client) (int64, error) {
	body, err := q.do(ctx, c)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return io.Copy(io.Discard, body)
}

// timed makes n calls one after the other and returns the median of how long they took, in
// milliseconds.
func (q request) timed(ctx context.Context, c *http.Client, n int) ([]float64, error) {
	took := make([]float64, n)
	for i := range took {
		start := time.Now()
		if _, err := q.drain(ctx, c); err != nil {
			return nil, err
		}
		took[i] = millis(time.Since(start))
	}
	return []float64{median(took)}, nil
}

// form is a submit: its head, the file's content, and what comes behind it.
type form struct {
	contentType string
	head, foot  []byte
}

// newForm returns the form of a job whose program is the file that is sent.
func newForm(args string) (*form, error) {
	return newFormOf(map[string]string{"runtime": "binary", "entrypoint": "run", "args": args})
}

// newFormOf returns the form of a job with these fields, whose file is named run.
func newFormOf(fields map[string]string) (*form, error) {
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	for name, value := range fields {
		if err := w.WriteField(name, value); err != nil {
			return nil, err
		}
	}
	if _, err := w.CreateFormFile("files", "run"); err != nil {
		return nil, err
	}
	head := bytes.Clone(text.Bytes())
	if err := w.Close(); err != nil {
		return nil, err
	}
	return &form{contentType: w.FormDataContentType(), head: head, foot: text.Bytes()[len(head):]}, nil
}

// post returns the request that submits a program of so many bytes.
func (f *form) post(url string, program io.Reader, size int64) request {
	return request{
		method: http.MethodPost, url: url, want: http.StatusCreated, header: map[string]string{"Content-Type": f.contentType},
		body: io.MultiReader(bytes.NewReader(f.head), program, bytes.NewReader(f.foot)),
		size: int64(len(f.head)) + size + int64(len(f.foot)),
	}
}

// stuff is bytes without end that have no pattern within a mebibyte.
type stuff struct {
	block []byte
	at    int
}

func newStuff() (*stuff, error) {
	s := &stuff{block: make([]byte, mib)}
	_, err := rand.Read(s.block)
	return s, err
}

func (s *stuff) Read(p []byte) (int, error) {
	n := copy(p, s.block[s.at:])
	s.at = (s.at + n) % len(s.block)
	return n, nil
}

// take returns the next n bytes.
func (s *stuff) take(n int64) io.Reader { return io.LimitReader(s, n) }
