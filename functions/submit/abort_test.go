package submit_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/job"
)

const head = "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: " + contentType + "\r\n"

// admitting tells of every request that is being read.
type admitting struct {
	place
	began chan struct{}
}

func (a *admitting) Admit() (func(), error) {
	a.began <- struct{}{}
	return func() {}, nil
}

// cuts are the beginnings of requests whose clients go away.
func cuts() map[string]string {
	large := strings.Repeat("x", 1<<20)
	one := "--" + boundary + "\r\n" + file("a.py", large).header + "\r\n\r\n"
	two := one + large + "\r\n--" + boundary + "\r\n"
	return map[string]string{
		"before the form":         "",
		"in a boundary":           "--bOu",
		"in the first header":     one[:len(one)-20],
		"before the first byte":   one,
		"in the first file":       one + large[:700_000],
		"at the first file's end": one + large,
		"between files":           two,
		"in the second header":    two + file("b", "").header[:30],
		"in the second file":      two + file("b", "").header + "\r\n\r\n" + large[:5],
		"in a field after files":  two + field("runtime", "").header + "\r\n\r\npyth",
		"between fields": two + field("runtime", "").header + "\r\n\r\npython\r\n--" + boundary + "\r\n" +
			field("entrypoint", "").header + "\r\n\r\na.py\r\n",
		"in the last boundary": strings.TrimSuffix(encode(script(file("b", large))...), "-\r\n"),
	}
}

func TestAborts(t *testing.T) {
	for _, framing := range []string{"length", "chunks"} {
		for _, ending := range []string{"close", "reset"} {
			t.Run(framing+"/"+ending, func(t *testing.T) {
				p := &admitting{began: make(chan struct{}, 100)}
				w := newWorld(t, func(d *submit.Deps) { d.Admission = p })
				var all sync.WaitGroup
				for _, body := range cuts() {
					for range 4 {
						conn := w.dial()
						all.Go(func() {
							if framing == "chunks" {
								fmt.Fprintf(conn, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", head, 10<<20, body)
							} else {
								fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, 10<<20, body)
							}
							<-p.began
							if ending == "reset" {
								conn.SetLinger(0)
							}
							conn.Close()
						})
					}
				}
				all.Wait()
				for range 4 * len(cuts()) {
					<-w.finished
				}
				w.wantNothing()
			})
		}
	}
}

// TestStalledClient demands that a client that stops sending is let go after UPLOAD_TIMEOUT, and
// told so.
func TestStalledClient(t *testing.T) {
	w := newWorld(t, func(d *submit.Deps) {
		d.Env.Vars["UPLOAD_TIMEOUT"] = "100ms"
		d.Env.Now = func() time.Time { return time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC) } // no clock for sockets
	})
	conn := w.dial()
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, 10<<20, encode(script()...)[:200])
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := w.problem(w.read(got), http.StatusBadRequest)
	if !strings.Contains(p.Detail, "UPLOAD_TIMEOUT") {
		t.Errorf("detail: got %q", p.Detail)
	}
	w.wantNothing()
}

// TestHalfClosed demands that a client that has said all it had to say gets its job.
func TestHalfClosed(t *testing.T) {
	w := newWorld(t)
	body := encode(script()...)
	for range 20 {
		conn := w.dial()
		fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.accepted(w.read(got))
	}
}

// endless is a body that does not end by itself, of a certain form.
func endless(parts ...part) io.Reader {
	whole := encode(parts...)
	return io.MultiReader(strings.NewReader(strings.TrimSuffix(whole, "\r\n--"+boundary+"--\r\n")), zeros{})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestRefusalIsRead demands that clients that are still sending get to read why they are refused.
func TestRefusalIsRead(t *testing.T) {
	const size = 300 << 20
	tests := map[string]struct {
		deps    func(*submit.Deps)
		parts   []part // the last goes on
		status  int
		message string
	}{
		"bad file name": {nil, []part{file("..", "")}, 422, "not a file name"},
		"unknown field": {nil, []part{field("x", "")}, 422, "not a field"},
		"too large":     {maxUpload(1 << 20), []part{file("a", "")}, 413, "MAX_UPLOAD_BYTES"},
		"second file":   {nil, []part{file("a", "x"), file("a", "")}, 422, "two files"},
		"full queue": {func(d *submit.Deps) { d.Admission = place{full: true} }, []part{file("a", "")}, 503,
			"MAX_QUEUED_JOBS"},
		"large field":    {nil, []part{field("args", "")}, 413, "MAX_FIELD_BYTES"},
		"not a form":     {nil, []part{{"X: y", ""}}, 400, "Content-Disposition"},
		"refused by key": {nil, []part{file("a", "")}, 400, "Idempotency-Key"},
	}
	for name, test := range tests {
		for _, length := range []int64{size, -1} {
			t.Run(fmt.Sprintf("%s/length=%d", name, length), func(t *testing.T) {
				t.Parallel()
				options := []func(*submit.Deps){}
				if test.deps != nil {
					options = append(options, test.deps)
				}
				w := newWorld(t, options...)
				r := w.request(io.LimitReader(endless(test.parts...), size), nil)
				r.ContentLength = length
				if test.message == "Idempotency-Key" {
					r.Header["Idempotency-Key"] = []string{"a", "b"}
				}
				got := w.do(r)
				p := w.problem(got, test.status)
				if !strings.Contains(p.Detail, test.message) {
					t.Errorf("detail: got %q", p.Detail)
				}
				<-w.finished
				w.wantNothing()
			})
		}
	}
}

func TestRefusalIsReadByCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	for name, options := range map[string][]string{
		"plain":          {"-H", "Expect:"},
		"100-continue":   {"-H", "Expect: 100-continue"},
		"chunked":        {"-H", "Expect:", "-H", "Transfer-Encoding: chunked"},
		"chunked expect": {"-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked"},
	} {
		for _, deps := range []func(*submit.Deps){maxUpload(1 << 20), func(*submit.Deps) {}} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, deps)
				args := append([]string{
					"-sS", "-o", "-", "-w", "\n%{http_code}", "-F", "files=@-;filename=..", w.server.URL + "/api/v1/jobs",
				}, options...)
				cmd := exec.CommandContext(t.Context(), curl, args...)
				cmd.Stdin = io.LimitReader(zeros{}, 300<<20)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %s", err, stderr.String())
				}
				answer := string(out)
				if !strings.HasSuffix(answer, "\n413") && !strings.HasSuffix(answer, "\n422") ||
					!strings.Contains(answer, `"detail"`) {
					t.Errorf("got %q, %s", answer, stderr.String())
				}
				<-w.finished
				w.wantNothing()
			})
		}
	}
}

// TestExpect demands that a client that asks whether to send is told at once that it need not, and
// is let go.
func TestExpect(t *testing.T) {
	for _, test := range []struct {
		name   string
		deps   func(*submit.Deps)
		header string
		status int
	}{
		{"too large", maxUpload(1 << 20), fmt.Sprintf("Content-Length: %d\r\n", 300<<20), 413},
		{"full queue", func(d *submit.Deps) { d.Admission = place{full: true} }, "Transfer-Encoding: chunked\r\n", 503},
		{"two keys", func(*submit.Deps) {}, "Transfer-Encoding: chunked\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n",
			400},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.deps)
			conn := w.dial()
			fmt.Fprintf(conn, "%sExpect: 100-continue\r\n%s\r\n", head, test.header)
			reader := bufio.NewReader(conn)
			got, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.problem(w.read(got), test.status) // and not 100
			start := time.Now()
			<-w.finished
			if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("connection after the answer: got %v, want EOF", err)
			}
			if held := time.Since(start); held > 5*time.Second {
				t.Errorf("the connection was held for %s", held)
			}
			w.wantNothing()
		})
	}
	t.Run("good", func(t *testing.T) {
		w := newWorld(t)
		conn := w.dial()
		body := encode(script()...)
		fmt.Fprintf(conn, "%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", head, len(body))
		reader := bufio.NewReader(conn)
		if line, err := reader.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		if _, err := reader.Discard(2); err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, body)
		got, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.accepted(w.read(got))
	})
}

// TestIdleClientIsLetGo refuses a client that announces a large body and then sends nothing, and
// does not wait for it as long as for one that goes on sending.
func TestIdleClientIsLetGo(t *testing.T) {
	w := newWorld(t, maxUpload(1<<20))
	conn := w.dial()
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head, 300<<20)
	reader := bufio.NewReader(conn)
	got, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.problem(w.read(got), http.StatusRequestEntityTooLarge)
	start := time.Now()
	<-w.finished
	if held := time.Since(start); held > 5*time.Second {
		t.Errorf("the connection was held for %s", held)
	}
}

// TestDeafClient sends 100 MiB and only then reads, as simple clients do.
func TestDeafClient(t *testing.T) {
	w := newWorld(t)
	conn := w.dial()
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head, 100<<20)
	if n, err := io.Copy(conn, io.LimitReader(endless(file("..", "")), 100<<20)); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.problem(w.read(got), http.StatusUnprocessableEntity)
	w.wantNothing()
}

// TestPanic demands that nothing is left even of a request that we fail at.
func TestPanic(t *testing.T) {
	w := newWorld(t, func(d *submit.Deps) { d.Admission = place{check: func(*job.Spec) error { panic("a bug") }} })
	w.problem(w.post(script()...), http.StatusInternalServerError)
	w.wantNothing()
}

// TestDiskFillsUp refuses a file as soon as the storage gets too full, however little its sender
// said about its length.
func TestDiskFillsUp(t *testing.T) {
	w := newWorld(t)
	free, known := w.store.Free()
	if !known {
		t.Skip("this system does not tell what is free")
	}
	const room = 128 << 20
	w = newWorld(t, func(d *submit.Deps) { d.Env.Vars["MIN_FREE_BYTES"] = strconv.FormatInt(free-room, 10) })
	r := w.request(struct{ io.Reader }{io.LimitReader(endless(file("a", "")), 8*room)}, nil)
	got := w.do(r)
	w.problem(got, http.StatusInsufficientStorage)
	<-w.finished
	w.wantNothing()
}

// TestTransport does the same through a connection that is given up by its context.
func TestTransport(t *testing.T) {
	p := &admitting{began: make(chan struct{}, 100)}
	w := newWorld(t, func(d *submit.Deps) { d.Admission = p })
	for range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		r := w.request(endless(file("a", "")), nil).WithContext(ctx)
		failed := make(chan error)
		go func() {
			got, err := http.DefaultClient.Do(r)
			if err == nil {
				got.Body.Close()
			}
			failed <- err
		}()
		<-p.began
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-w.finished
	}
	w.wantNothing()
}
