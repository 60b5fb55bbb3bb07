// Command go submits a program, follows its log and downloads its outputs.
//
//	go run ./examples/clients/go http://localhost:8080 words.py results alpha beta
//
// GOJOB_KEY is the caller's key, where the server asks for one.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: go run ./examples/clients/go URL PROGRAM FOLDER [ARGUMENT...]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// client makes the calls for one job.
type client struct {
	url, job, token string
}

// status has the fields of a job that the client needs.
type status struct {
	Phase, Reason, Message string
}

func (s status) over() bool {
	return slices.Contains([]string{"Succeeded", "Failed", "Cancelled"}, s.Phase)
}

func run(ctx context.Context, url, program, folder string, args []string) error {
	c, err := submit(ctx, url, program, args)
	if err != nil {
		return err
	}
	s, err := c.follow(ctx, os.Stdout)
	if err != nil {
		return err
	}
	if err := c.download(ctx, folder); err != nil {
		return err
	}
	if s.Phase != "Succeeded" {
		return fmt.Errorf("%s: %s: %s", s.Phase, s.Reason, s.Message)
	}
	return nil
}

func submit(ctx context.Context, url, program string, args []string) (*client, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	runtime, ok := map[string]string{".py": "python", ".js": "node", ".java": "java",
		".jar": "java"}[filepath.Ext(program)]
	if !ok {
		runtime = "binary"
	}
	list, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	name := filepath.Base(program)
	file, err := form.CreateFormFile("files", name)
	if err != nil {
		return nil, err
	}
	_, writeErr := file.Write(content)
	err = errors.Join(writeErr, form.WriteField("runtime", runtime), form.WriteField("entrypoint", name),
		form.WriteField("args", string(list)), form.Close())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/jobs", &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Idempotency-Key", rand.Text())
	if key := os.Getenv("GOJOB_KEY"); key != "" { // for the other calls the job's token will do
		req.Header.Set("Authorization", "Bearer "+key)
	}
	var accepted struct{ JobID, Token string }
	if err := decode(req, &accepted); err != nil {
		return nil, err
	}
	return &client{url: url, job: accepted.JobID, token: accepted.Token}, nil
}

// follow copies the log to w until the job is over. It reconnects when the connection breaks.
func (c *client) follow(ctx context.Context, w io.Writer) (status, error) {
	var position int64
	for {
		// The status is read before the log. If the job is over by then, the log is complete.
		var s status
		if err := c.get(ctx, "/api/v1/jobs/"+c.job, &s); err != nil {
			return s, err
		}
		resp, err := c.open(ctx, fmt.Sprintf("/api/v1/jobs/%s/logs?follow=true&from=%d", c.job, position))
		if err != nil {
			return s, err
		}
		n, err := io.Copy(w, resp.Body)
		resp.Body.Close()
		position += n
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		if err == nil && s.over() {
			return s, nil
		}
	}
}

func (c *client) download(ctx context.Context, folder string) error {
	var list struct{ Items []struct{ Name string } }
	if err := c.get(ctx, "/outputs/"+c.job, &list); err != nil {
		return err
	}
	for _, output := range list.Items {
		if err := c.save(ctx, output.Name, filepath.Join(folder, filepath.FromSlash(output.Name))); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) save(ctx context.Context, name, to string) error {
	resp, err := c.open(ctx, "/outputs/"+c.job+"/"+strings.ReplaceAll(url.PathEscape(name), "%2F", "/"))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

func (c *client) open(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	return send(req)
}

func (c *client) get(ctx context.Context, path string, into any) error {
	resp, err := c.open(ctx, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

func decode(req *http.Request, into any) error {
	resp, err := send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

// send returns the answer, or an error with the server's message.
func send(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode < http.StatusBadRequest {
		return resp, err
	}
	defer resp.Body.Close()
	var problem struct{ Detail string }
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil {
		return nil, errors.New(resp.Status)
	}
	return nil, fmt.Errorf("%s: %s", resp.Status, problem.Detail)
}
