package hostile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// request is the text of a request. The tests write it themselves, because net/http's client
// refuses to send much of what an attacker sends.
type request struct {
	method, target string
	header         []string // "Name: value", in this order; one of Host or Content-Length takes the place of ours
	body           string
	raw            string // all of the request, in place of the above, in the words of server.fill
	cut            bool   // this side is closed once everything is written
	as             string // the caller whose key is sent, unless there is an Authorization; empty: mine
	elsewhere      bool   // it comes from an address that no other request comes from
}

func get(target string, header ...string) request {
	return request{method: http.MethodGet, target: target, header: header}
}

func (r request) with(header ...string) request {
	r.header = append(slices.Clone(r.header), header...)
	return r
}

// by is the request sent by another caller, or by nobody.
func (r request) by(caller string) request {
	r.as = caller
	return r
}

func (r request) has(name string) bool {
	return slices.ContainsFunc(r.header, func(line string) bool {
		return strings.HasPrefix(strings.ToLower(line), strings.ToLower(name)+":")
	})
}

// keyed is the header with the key of the caller mine, in a request that is written by hand.
const keyed = "Authorization: Bearer KEY\r\n"

// fill puts the server's address in the place of ADDRESS, and the key of the caller mine in the place
// of KEY.
func (srv *server) fill(text string) string {
	text = strings.ReplaceAll(text, "ADDRESS", srv.addr)
	return strings.ReplaceAll(text, keyed, strings.Replace(keyed, "KEY", srv.keys[mine], 1))
}

// wire is the text of a request to the server.
func (srv *server) wire(r request) string {
	if r.raw != "" {
		return srv.fill(r.raw)
	}
	if r.as == "" {
		r.as = mine
	}
	if key := srv.keys[r.as]; key != "" && !r.has("Authorization") {
		r = r.with(bearer(key))
	}
	return r.text(srv.addr)
}

func (r request) text(addr string) string {
	has := r.has
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.method, r.target)
	if !has("Host") {
		fmt.Fprintf(&b, "Host: %s\r\n", addr)
	}
	if !has("Content-Length") && !has("Transfer-Encoding") && (r.body != "" || r.method != http.MethodGet &&
		r.method != http.MethodHead) {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	for _, line := range r.header {
		b.WriteString(strings.ReplaceAll(line, "ADDRESS", addr) + "\r\n")
	}
	b.WriteString("Connection: close\r\n\r\n")
	b.WriteString(r.body)
	return b.String()
}

// chunked sends the body in two chunks, without a word about its length.
func (r request) chunked() request {
	half := len(r.body) / 2
	r.header = append(slices.Clone(r.header), "Transfer-Encoding: chunked")
	r.body = fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, r.body[:half], len(r.body)-half, r.body[half:])
	return r
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// closed stands for a connection that was closed without an answer.
const closed = -1

const (
	// answerTime bounds one request with its answer.
	answerTime = 45 * time.Second
	// headerTime is how long the server waits for the header of a request.
	headerTime = 10 * time.Second
)

// send makes a request on a connection of its own. On a busy machine the header may take longer than
// the server waits for it; then it hangs up, as it should, and the request is sent again.
func (srv *server) send(r request) (a *answer, err error) {
	for range 3 {
		begun := time.Now()
		a, err = srv.sendOnce(r)
		if !errors.Is(err, io.ErrUnexpectedEOF) || time.Since(begun) < headerTime {
			break
		}
	}
	return a, err
}

// sendOnce writes the request while it reads the answer: many are refused before they have been sent.
func (srv *server) sendOnce(r request) (*answer, error) {
	text := srv.wire(r) // before the server waits for it
	dialer := net.Dialer{Timeout: answerTime}
	if r.elsewhere {
		dialer.LocalAddr = anotherAddress()
	}
	conn, err := dialer.Dial("tcp", srv.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.WriteString(conn, text) // the server may hang up before it has all
		if tcp, ok := conn.(*net.TCPConn); ok && r.cut {
			_ = tcp.CloseWrite()
		}
	}()
	a, err := readAnswer(bufio.NewReader(conn), r.method)
	if err == nil {
		srv.leaks.answered(r, a)
	}
	return a, err
}

// addresses counts those that anotherAddress has returned.
var addresses atomic.Uint32

// anotherAddress is one of this machine, of which Linux has 127.0.0.0/8, that no other request is
// sent from.
func anotherAddress() *net.TCPAddr {
	n := addresses.Add(1)
	return &net.TCPAddr{IP: net.IPv4(127, 1+byte(n>>14), byte(n>>7&127)+1, byte(n&127)+1)}
}

func readAnswer(in *bufio.Reader, method string) (*answer, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
		resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("%s, then: %w", resp.Status, err)
		}
		if resp.StatusCode >= http.StatusOK {
			return &answer{resp.StatusCode, resp.Header, body}, nil
		}
	}
}

// problem is the body of an error.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"errors"`
}

// fault says what is wrong with the answer to a request that must be refused. It returns "" for a
// right answer.
func (a *answer) fault(method, field string) string {
	if kind := a.header.Get("Content-Type"); kind != "application/problem+json" {
		return fmt.Sprintf("the error is of type %q: %.200s", kind, a.body)
	}
	if method == http.MethodHead {
		return ""
	}
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		return fmt.Sprintf("the problem is no JSON: %v: %.200s", err, a.body)
	}
	if p.Status != a.status || p.Title != http.StatusText(a.status) || p.Detail == "" {
		return fmt.Sprintf("the problem does not fit status %d: %.300s", a.status, a.body)
	}
	for _, inside := range []string{"goroutine ", ".go:", "/tmp/", "panic"} {
		if strings.Contains(string(a.body), inside) {
			return fmt.Sprintf("the problem shows the server's inside: %.300s", a.body)
		}
	}
	if len(a.body) > 16<<10 {
		return fmt.Sprintf("the problem has %d bytes", len(a.body))
	}
	if field == "" {
		return ""
	}
	for _, e := range p.Errors {
		if e.Field == field || strings.HasPrefix(e.Field, field+"[") || strings.HasPrefix(e.Field, field+".") {
			return ""
		}
	}
	return fmt.Sprintf("the problem does not name %q: %.300s", field, a.body)
}
