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

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

const head = "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: " + formtest.ContentType + "\r\n"

// admitting tells of every request that is being read.
type admitting struct {
	admissiontest.Backend
	began chan struct{}
}

func (a *admitting) Admit() (func(), error) {
	a.began <- struct{}{}
	return func() {}, nil
}

// cuts are the beginnings of requests whose clients go away.
func cuts() map[string]string {
	large := strings.Repeat("x", 1<<20)
	one := "--" + formtest.Boundary + "\r\n" + file("a.py", large).Header + "\r\n\r\n"
	two := one + large + "\r\n--" + formtest.Boundary + "\r\n"
	return map[string]string{
		"before the form":         "",
		"in a boundary":           "--bOu",
		"in the first header":     one[:len(one)-20],
		"before the first byte":   one,
		"in the first file":       one + large[:700_000],
		"at the first file's end": one + large,
		"between files":           two,
		"in the second header":    two + file("b", "").Header[:30],
		"in the second file":      two + file("b", "").Header + "\r\n\r\n" + large[:5],
		"in a field after files":  two + field("runtime", "").Header + "\r\n\r\npyth",
		"between fields": two + field("runtime", "").Header + "\r\n\r\npython\r\n--" + formtest.Boundary + "\r\n" +
			field("entrypoint", "").Header + "\r\n\r\na.py\r\n",
		"in the last boundary": strings.TrimSuffix(encode(script(file("b", large))...), "-\r\n"),
	}
}

func TestAborts(t *testing.T) {
	for _, framing := range []string{"length", "chunks"} {
		for _, ending := range []string{"close", "reset"} {
			t.Run(framing+"/"+ending, func(t *testing.T) {
				p := &admitting{began: make(chan struct{}, 100)}
				w := newServer(t, func(d *admission.Deps) { d.Backend = p })
				var all sync.WaitGroup
				for _, body := range cuts() {
					for range 4 {
						conn := w.Dial()
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
					<-w.Finished
				}
				w.WantNothing()
			})
		}
	}
}

// TestStalledClient demands that a client that stops sending is let go after UPLOAD_TIMEOUT, and
// told so.
func TestStalledClient(t *testing.T) {
	w := newServer(t, func(d *admission.Deps) {
		d.Env.Vars["UPLOAD_TIMEOUT"] = "100ms"
		d.Env.Now = func() time.Time { return time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC) } // no clock for sockets
	})
	conn := w.Dial()
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, 10<<20, encode(script()...)[:200])
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := w.Problem(w.Read(got), http.StatusBadRequest)
	if !strings.Contains(p.Detail, "UPLOAD_TIMEOUT") {
		t.Errorf("detail: got %q", p.Detail)
	}
	w.WantNothing()
}

// TestHalfClosed demands that a client that has said all it had to say gets its job.
func TestHalfClosed(t *testing.T) {
	w := newServer(t)
	body := encode(script()...)
	for range 20 {
		conn := w.Dial()
		fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.Accepted(w.Read(got))
	}
}

// TestRefusalIsRead demands that clients that are still sending get to read why they are refused.
func TestRefusalIsRead(t *testing.T) {
	const size = 300 << 20
	tests := map[string]struct {
		deps    admissiontest.Option
		parts   []formtest.Part // the last goes on
		status  int
		message string
	}{
		"bad file name": {nil, []formtest.Part{file("..", "")}, 422, "not a file name"},
		"unknown field": {nil, []formtest.Part{field("x", "")}, 422, "not a field"},
		"too large":     {maxUpload(1 << 20), []formtest.Part{file("a", "")}, 413, "MAX_UPLOAD_BYTES"},
		"second file":   {nil, []formtest.Part{file("a", "x"), file("a", "")}, 422, "two files"},
		"full queue": {admissiontest.On(admissiontest.Backend{Full: true}), []formtest.Part{file("a", "")}, 503,
			"MAX_QUEUED_JOBS"},
		"large field":    {nil, []formtest.Part{field("args", "")}, 413, "MAX_FIELD_BYTES"},
		"not a form":     {nil, []formtest.Part{formtest.Raw("X: y", "")}, 400, "Content-Disposition"},
		"refused by key": {nil, []formtest.Part{file("a", "")}, 400, "Idempotency-Key"},
	}
	for name, test := range tests {
		for _, length := range []int64{size, -1} {
			t.Run(fmt.Sprintf("%s/length=%d", name, length), func(t *testing.T) {
				t.Parallel()
				options := []admissiontest.Option{}
				if test.deps != nil {
					options = append(options, test.deps)
				}
				w := newServer(t, options...)
				r := w.Request(io.LimitReader(formtest.Endless(test.parts...), size), nil)
				r.ContentLength = length
				if test.message == "Idempotency-Key" {
					r.Header["Idempotency-Key"] = []string{"a", "b"}
				}
				got := w.Do(r)
				p := w.Problem(got, test.status)
				if !strings.Contains(p.Detail, test.message) {
					t.Errorf("detail: got %q", p.Detail)
				}
				<-w.Finished
				w.WantNothing()
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
		for _, deps := range []admissiontest.Option{maxUpload(1 << 20), func(*admission.Deps) {}} {
			t.Run(name, func(t *testing.T) {
				w := newServer(t, deps)
				args := append([]string{
					"-sS", "-o", "-", "-w", "\n%{http_code}", "-F", "files=@-;filename=..", w.HTTP.URL + "/api/v1/jobs",
				}, options...)
				cmd := exec.CommandContext(t.Context(), curl, args...)
				cmd.Stdin = io.LimitReader(formtest.Zeros{}, 300<<20)
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
				<-w.Finished
				w.WantNothing()
			})
		}
	}
}

// TestExpect demands that a client that asks whether to send is told at once that it need not, and
// is let go.
func TestExpect(t *testing.T) {
	for _, test := range []struct {
		name   string
		deps   admissiontest.Option
		header string
		status int
	}{
		{"too large", maxUpload(1 << 20), fmt.Sprintf("Content-Length: %d\r\n", 300<<20), 413},
		{"full queue", admissiontest.On(admissiontest.Backend{Full: true}), "Transfer-Encoding: chunked\r\n", 503},
		{"two keys", func(*admission.Deps) {}, "Transfer-Encoding: chunked\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n",
			400},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newServer(t, test.deps)
			conn := w.Dial()
			fmt.Fprintf(conn, "%sExpect: 100-continue\r\n%s\r\n", head, test.header)
			reader := bufio.NewReader(conn)
			got, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.Problem(w.Read(got), test.status) // and not 100
			start := time.Now()
			<-w.Finished
			if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("connection after the answer: got %v, want EOF", err)
			}
			if held := time.Since(start); held > 5*time.Second {
				t.Errorf("the connection was held for %s", held)
			}
			w.WantNothing()
		})
	}
	t.Run("good", func(t *testing.T) {
		w := newServer(t)
		conn := w.Dial()
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
		w.Accepted(w.Read(got))
	})
}

// TestIdleClientIsLetGo refuses a client that announces a large body and then sends nothing, and
// does not wait for it as long as for one that goes on sending.
func TestIdleClientIsLetGo(t *testing.T) {
	w := newServer(t, maxUpload(1<<20))
	conn := w.Dial()
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head, 300<<20)
	reader := bufio.NewReader(conn)
	got, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Problem(w.Read(got), http.StatusRequestEntityTooLarge)
	start := time.Now()
	<-w.Finished
	if held := time.Since(start); held > 5*time.Second {
		t.Errorf("the connection was held for %s", held)
	}
}

// TestDeafClient sends 100 MiB and only then reads, as simple clients do.
func TestDeafClient(t *testing.T) {
	w := newServer(t)
	conn := w.Dial()
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head, 100<<20)
	if n, err := io.Copy(conn, io.LimitReader(formtest.Endless(file("..", "")), 100<<20)); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Problem(w.Read(got), http.StatusUnprocessableEntity)
	w.WantNothing()
}

// TestPanic demands that nothing is left even of a request that we fail at.
func TestPanic(t *testing.T) {
	w := newServer(t, func(d *admission.Deps) {
		d.Backend = admissiontest.Backend{Fault: func(*job.Spec) error { panic("a bug") }}
	})
	w.Problem(w.Post(script()...), http.StatusInternalServerError)
	w.WantNothing()
}

// TestDiskFillsUp refuses a file as soon as the storage gets too full, however little its sender
// said about its length.
func TestDiskFillsUp(t *testing.T) {
	w := newServer(t)
	free, known := w.Store.Free()
	if !known {
		t.Skip("this system does not tell what is free")
	}
	const room = 128 << 20
	w = newServer(t, admissiontest.Setting("MIN_FREE_BYTES", strconv.FormatInt(free-room, 10)))
	r := w.Request(struct{ io.Reader }{io.LimitReader(formtest.Endless(file("a", "")), 8*room)}, nil)
	got := w.Do(r)
	w.Problem(got, http.StatusInsufficientStorage)
	<-w.Finished
	w.WantNothing()
}

// TestTransport does the same through a connection that is given up by its context.
func TestTransport(t *testing.T) {
	p := &admitting{began: make(chan struct{}, 100)}
	w := newServer(t, func(d *admission.Deps) { d.Backend = p })
	for range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		r := w.Request(formtest.Endless(file("a", "")), nil).WithContext(ctx)
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
		<-w.Finished
	}
	w.WantNothing()
}
