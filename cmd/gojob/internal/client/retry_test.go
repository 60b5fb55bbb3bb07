package client_test

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"

	"go-job-orchestrator/cmd/gojob/internal/client"
)

// TestRetryUnconnected has nobody listen. That is waited for only where the server was seen before: a
// wrong address is said at once.
func TestRetryUnconnected(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "none")
	var dialer net.Dialer
	conn, refused := dialer.DialContext(t.Context(), "unix", address)
	if refused == nil {
		_ = conn.Close()
		t.Fatal("there is a server where none is")
	}
	failed := &client.UnreachableError{Server: address, Err: &url.Error{Op: "Get", URL: "http://" + address, Err: refused}}
	moved := &client.Retry{}
	moved.Moved()
	for name, test := range map[string]struct {
		retry *client.Retry
		err   error
		again bool
	}{
		"never seen":       {&client.Retry{}, failed, false},
		"seen before":      {&client.Retry{Reached: true}, failed, true},
		"got through":      {moved, failed, true},
		"an unknown name":  {&client.Retry{Reached: true}, notFound(address), false},
		"an answer of 503": {&client.Retry{}, &client.Error{Status: 503}, true},
		"an answer of 422": {&client.Retry{}, &client.Error{Status: 422}, false},
		"no call at all":   {&client.Retry{Reached: true}, errors.New("a file cannot be read"), false},
	} {
		if again := test.retry.Again(t.Context(), test.err); again != test.again {
			t.Errorf("%s: tried again: %s", name, strconv.FormatBool(again))
		}
	}
}

func notFound(server string) error {
	return &client.UnreachableError{Server: server, Err: &net.DNSError{Err: "no such host", Name: server, IsNotFound: true}}
}
