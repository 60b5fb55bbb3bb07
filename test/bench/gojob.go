package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go-job-orchestrator/shared/token"
)

// commandLine measures gojob as its users meet it: its size, how long it takes to say what it can do,
// to run a small script, and to send a folder.
func commandLine(ctx context.Context, r *room) ([]line, error) {
	binary, err := r.mebibytes("gojob")
	if err != nil {
		return nil, err
	}
	help, err := r.help(ctx)
	if err != nil {
		return nil, err
	}
	lines := []line{limited("binary of gojob", binary, mebibytes, 12, ""), help}
	for _, measure := range []func(context.Context) (line, error){r.runScript, r.sendFolder} {
		l, err := measure(ctx)
		if err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// help measures gojob --help.
func (r *room) help(ctx context.Context) (line, error) {
	c, err := r.contest(ctx, func(ctx context.Context) ([]float64, error) {
		start := time.Now()
		_, err := output(ctx, r.command("gojob"), "--help")
		return []float64{millis(time.Since(start))}, err
	})
	if err != nil {
		return line{}, err
	}
	l := limited("gojob --help", median(c.column(0, 0)), milliseconds, 20, "")
	l.rounds = r.rounds
	return l, nil
}

// gojob runs the command line against a server, and returns what it prints to stdout.
func (r *room) gojob(ctx context.Context, p *process, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.command("gojob"), args...)
	cmd.Env = append(os.Environ(), "GOJOB_URL="+p.url(""), "GOJOB_TOKEN=", "HOME="+r.dir, "XDG_STATE_HOME="+r.dir,
		"XDG_CONFIG_HOME="+r.dir)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("gojob %s: %w: %s", strings.Join(args, " "), err, lastLine(words.Bytes()))
	}
	return out.String(), nil
}

// runScript measures gojob run against two calls of curl that show the same.
func (r *room) runScript(ctx context.Context) (line, error) {
	p, err := r.serveAll(ctx, "script")
	if err != nil {
		return line{}, err
	}
	script := filepath.Join(r.dir, "hello.py")
	if err := os.WriteFile(script, []byte("print('hello')\n"), 0o600); err != nil {
		return line{}, err
	}
	said := func(out string, err error) error {
		if err == nil && out != "hello\n" && out != "hello" {
			err = fmt.Errorf("it printed %q", out)
		}
		return err
	}
	c, err := r.contest(ctx,
		func(ctx context.Context) ([]float64, error) {
			start := time.Now()
			out, err := r.gojob(ctx, p, "run", script)
			return []float64{millis(time.Since(start))}, said(out, err)
		},
		func(ctx context.Context) ([]float64, error) {
			start := time.Now()
			answer, err := output(ctx, "curl", "-sS", "-H", "Prefer: wait=30", "-F", "files=@"+script, p.url("/api/v1/jobs"))
			if err != nil {
				return nil, err
			}
			var j submitted
			if err := json.Unmarshal([]byte(answer), &j); err != nil {
				return nil, err
			}
			out, err := output(ctx, "curl", "-sS", p.url("/api/v1/jobs/"+j.ID+"/logs"))
			return []float64{millis(time.Since(start))}, said(out, err)
		},
	)
	if err != nil {
		return line{}, err
	}
	return c.line(figure{
		what: "gojob run hello.py", against: "curl, Prefer: wait, and the log", rival: 1, unit: milliseconds, limit: 1.5,
	}), nil
}

// The folder that is sent.
const (
	folderFiles = 1000
	fileBytes   = 100 * kib
)

// sendFolder measures how fast a folder goes up, against a PUT of the same bytes by curl to the function
// that takes outputs: it stores them in the same way, and does not look into them.
func (r *room) sendFolder(ctx context.Context) (line, error) {
	folder, err := r.folder("folder")
	if err != nil {
		return line{}, err
	}
	if err := fillFolder(folder); err != nil {
		return line{}, err
	}
	archive := filepath.Join(r.dir, "folder.tar")
	if _, err := output(ctx, "tar", "-C", folder, "-cf", archive, "."); err != nil {
		return line{}, err
	}
	p, err := r.serveAll(ctx, "folders")
	if err != nil {
		return line{}, err
	}
	put, err := r.putByCurl(ctx, archive)
	if err != nil {
		return line{}, err
	}
	const sent = float64(folderFiles*fileBytes) / mib
	c, err := r.contest(ctx,
		func(ctx context.Context) ([]float64, error) {
			start := time.Now()
			id, err := r.gojob(ctx, p, "submit", "-q", folder)
			took := time.Since(start)
			if err != nil {
				return nil, err
			}
			return []float64{sent / took.Seconds()}, p.finish(ctx, strings.TrimSpace(id))
		},
		func(ctx context.Context) ([]float64, error) {
			start := time.Now()
			err := put(ctx)
			return []float64{sent / time.Since(start).Seconds()}, err
		},
	)
	if err != nil {
		return line{}, err
	}
	return c.line(figure{
		what: "gojob submit of a folder of 100 MB", against: "curl -T of its tar", rival: 1, unit: mebibytesPerSecond, limit: 0.8,
		atLeast: true,
	}), nil
}

func fillFolder(folder string) error {
	content := make([]byte, fileBytes)
	for i := range folderFiles {
		if _, err := rand.Read(content); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file-%d", i)), content, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "main.py"), []byte("print('hello')\n"), 0o600)
}

// finish waits for the end of a job and removes it, so that it does not disturb the next round.
func (p *process) finish(ctx context.Context, id string) error {
	client := newClient(1)
	wait := request{
		method: http.MethodGet, url: p.url("/api/v1/jobs/" + id), want: http.StatusOK,
		header: map[string]string{"Prefer": "wait=60"},
	}
	_, err := wait.drain(ctx, client)
	remove := request{method: http.MethodDelete, url: p.url("/api/v1/jobs/" + id), want: http.StatusNoContent}
	_, removeErr := remove.drain(ctx, client)
	return errors.Join(err, removeErr)
}

// putByCurl returns a function that stores a file as an output of a job, under a new name each time.
func (r *room) putByCurl(ctx context.Context, file string) (func(ctx context.Context) error, error) {
	b, err := r.bucket("outputs")
	if err != nil {
		return nil, err
	}
	index, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	p, err := r.serveFunction(ctx, "artifacts", b.dir, b.key)
	if err != nil {
		return nil, err
	}
	n := 0
	return func(ctx context.Context) error {
		n++
		url := p.url(fmt.Sprintf("/artifacts/%s/upload/tar-%d", index.JobID, n))
		_, err := output(ctx, "curl", "-sS", "--fail", "-o", os.DevNull, "-H",
			"Authorization: Bearer "+b.keys.Derive(token.Agent, index.JobID), "-T", file, url)
		return err
	}, nil
}
