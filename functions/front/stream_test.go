package front_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// raw sends a request as it is written and returns the answer without its body.
func (w *fixture) raw(request string) *http.Response {
	w.t.Helper()
	conn := w.dial()
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatalf("%.60q: %v", request, err)
	}
	got.Body.Close()
	return got
}

func (w *fixture) dial() net.Conn {
	w.t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(w.t.Context(), "tcp", w.front.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// patience bounds each wait for a condition. A test that passes never waits so long.
const patience = 30 * time.Second

func await[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing within %s", what, patience)
		panic("unreachable")
	}
}

// noise is an endless stream that is not compressible.
func noise(seed uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed)})
}

// maxGrowth is how much the memory may grow while much passes.
const maxGrowth = 16 << 20

// watchMemory returns a function that returns the maximum growth of the memory in use until its
// call.
func watchMemory() func() uint64 {
	read := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	runtime.GC()
	before, most := read(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				if now := read(); now > before {
					most = max(most, now-before)
				}
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		return most
	}
}

func TestLargeUploadAndDownload(t *testing.T) {
	const size = 160 << 20
	for name, length := range map[string]int64{"length known": size, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t)
			w.answer = func(rw http.ResponseWriter, r *http.Request) {
				hash := sha256.New()
				n, err := io.Copy(hash, r.Body)
				if err != nil || r.ContentLength != length {
					t.Errorf("upload of %d: read %d, %v", r.ContentLength, n, err)
				}
				rw.Header().Set("Got-Sha256", hex.EncodeToString(hash.Sum(nil)))
				if length >= 0 {
					rw.Header().Set("Content-Length", fmt.Sprint(size))
				}
				_, _ = io.Copy(rw, io.LimitReader(noise(2), size))
			}
			grown := watchMemory()
			sent := sha256.New()
			r := w.request("POST", "/api/v1/jobs", io.TeeReader(io.LimitReader(noise(1), size), sent))
			r.ContentLength = length
			got, err := w.front.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Body.Close()
			received, want := sha256.New(), sha256.New()
			if n, err := io.Copy(received, got.Body); n != size || err != nil {
				t.Errorf("download: %d bytes, %v", n, err)
			}
			if grew := grown(); grew > maxGrowth {
				t.Errorf("memory grew by %d bytes", grew)
			}
			if got.ContentLength != length {
				t.Errorf("length: got %d, want %d", got.ContentLength, length)
			}
			if got.Header.Get("Got-Sha256") != hex.EncodeToString(sent.Sum(nil)) {
				t.Error("the upload was changed")
			}
			if _, err := io.Copy(want, io.LimitReader(noise(2), size)); err != nil ||
				!bytes.Equal(received.Sum(nil), want.Sum(nil)) {
				t.Error("the download was changed")
			}
		})
	}
}

// TestFollow demands each line before the next one is written, and the trailers behind the last.
func TestFollow(t *testing.T) {
	w := newFixture(t)
	next := make(chan struct{})
	w.answer = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "Log-Position, Job-Phase")
		rw.Header().Set("Content-Type", "text/plain")
		control := http.NewResponseController(rw)
		_ = control.Flush()
		for i := range 3 {
			<-next
			fmt.Fprintln(rw, "line", i)
			_ = control.Flush()
		}
		<-next
		rw.Header().Set("Log-Position", "21")
		rw.Header().Set("Job-Phase", "Succeeded")
	}
	got, err := w.front.Client().Do(w.request("GET", "/api/v1/jobs/"+id+"/logs?follow=true", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(got.Body)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	for i := range 3 {
		next <- struct{}{}
		if line := await(t, "a line", lines); line != fmt.Sprint("line ", i) {
			t.Fatalf("got %q", line)
		}
	}
	next <- struct{}{}
	await(t, "the end", lines)
	if got.Trailer.Get("Log-Position") != "21" || got.Trailer.Get("Job-Phase") != "Succeeded" {
		t.Errorf("trailers: got %v", got.Trailer)
	}
}

func TestRangesAndEncodingsPass(t *testing.T) {
	w := newFixture(t)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, strings.Repeat("x", 1000))
	z.Close()
	w.answer = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Got-Accept-Encoding", r.Header.Get("Accept-Encoding"))
		rw.Header().Set("ETag", `"x"`)
		if r.URL.Path == "/outputs/"+id+"/z" {
			rw.Header().Set("Content-Encoding", "gzip")
			_, _ = rw.Write(zipped.Bytes())
			return
		}
		http.ServeContent(rw, r, "x.txt", time.Time{}, strings.NewReader("0123456789"))
	}
	r := w.request("GET", "/outputs/"+id+"/x.txt", nil)
	r.Header.Set("Range", "bytes=2-4")
	if got, body := w.do(r); got.StatusCode != http.StatusPartialContent || string(body) != "234" ||
		got.Header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("Range: got %s, %q, %v", got.Status, body, got.Header)
	}
	r = w.request("GET", "/outputs/"+id+"/x.txt", nil)
	r.Header.Set("If-None-Match", `"x"`)
	if got, _ := w.do(r); got.StatusCode != http.StatusNotModified {
		t.Errorf("If-None-Match: got %s", got.Status)
	}
	r = w.request("HEAD", "/outputs/"+id+"/x.txt", nil)
	if got, body := w.do(r); got.ContentLength != 10 || len(body) != 0 {
		t.Errorf("HEAD: got %d, %q", got.ContentLength, body)
	}
	r = w.request("GET", "/outputs/"+id+"/z", nil)
	r.Header.Set("Accept-Encoding", "br") // set by hand, so the client decodes nothing
	got, body := w.do(r)
	if !bytes.Equal(body, zipped.Bytes()) || got.Header.Get("Content-Encoding") != "gzip" ||
		got.Header.Get("Got-Accept-Encoding") != "br" {
		t.Errorf("compressed: got %d bytes, %v", len(body), got.Header)
	}
	got = w.raw("GET /outputs/" + id + "/z HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if got.ContentLength != int64(zipped.Len()) || got.Header.Get("Content-Encoding") != "gzip" ||
		got.Header.Get("Got-Accept-Encoding") != "" {
		t.Errorf("without Accept-Encoding: got %d bytes, %v", got.ContentLength, got.Header)
	}
}

// TestExpectContinue holds the body back until the function asks for it, and never sends it to one
// that refuses.
func TestExpectContinue(t *testing.T) {
	w := newFixture(t)
	asked, ask := make(chan struct{}), make(chan struct{})
	w.answer = func(rw http.ResponseWriter, r *http.Request) {
		close(asked)
		<-ask
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %v", body, err)
	}
	conn := w.dial()
	fmt.Fprintf(conn, "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: "+
		"100-continue\r\nConnection: close\r\n\r\n")
	await(t, "the request without its body", asked)
	close(ask)
	reader := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	status, err := reader.ReadString('\n')
	if err != nil || status != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", status, err)
	}
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "body")
	// The proxy and the server beneath may both say 100, and clients take any number of them (RFC
	// 9110, section 15.2).
	got, err := http.ReadResponse(reader, nil)
	for err == nil && got.StatusCode == http.StatusContinue {
		got, err = http.ReadResponse(reader, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); string(body) != "body <nil>" || err != nil {
		t.Errorf("got %s %v %q, %v; the log: %s", got.Status, got.Header, body, err, w.log)
	}
}

func TestExpectContinueRefused(t *testing.T) {
	w := newFixture(t)
	w.answer = func(rw http.ResponseWriter, r *http.Request) { refuse(rw) }
	conn := w.dial()
	fmt.Fprintf(conn, "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 400000000\r\nExpect: 100-continue\r\n\r\n")
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	reader := bufio.NewReader(conn)
	got, err := http.ReadResponse(reader, nil)
	if err != nil || got.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("got %v, %v", got, err)
	}
	defer got.Body.Close()
	if _, err := io.Copy(io.Discard, got.Body); err != nil {
		t.Error(err)
	}
	if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) { // and is not waited for
		t.Errorf("after the refusal: got %v, want the end", err)
	}
}

func refuse(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.Header().Set("Connection", "close")
	rw.WriteHeader(http.StatusRequestEntityTooLarge)
	_, _ = io.WriteString(rw, `{"status":413,"detail":"too large"}`)
}

// TestEarlyRefusal demands that a client that is still sending can read the reason of the refusal,
// whether the function reads on or closes the connection.
func TestEarlyRefusal(t *testing.T) {
	for name, length := range map[string]int64{"length known": 200 << 20, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			w := newFixture(t)
			w.answer = func(rw http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(rw).EnableFullDuplex()
				_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
				refuse(rw)
				_ = http.NewResponseController(rw).Flush()
				_, _ = io.CopyN(io.Discard, r.Body, 8<<20) // as a client behind a slow link would be given time
			}
			r := w.request("POST", "/api/v1/jobs", io.LimitReader(noise(1), 200<<20))
			r.ContentLength = length
			got, body := w.do(r)
			if p := w.problem(got, body, http.StatusRequestEntityTooLarge); p.Detail != "too large" {
				t.Errorf("got %+v", p)
			}
		})
	}
}
