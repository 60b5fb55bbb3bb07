package artifacts_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/token"
)

// TestUploadsThatStall demands that an upload ends that goes on for too long, whether something comes of it or not, and leaves nothing.
func TestUploadsThatStall(t *testing.T) {
	w := newWorld(t, t.TempDir(), "UPLOAD_TIMEOUT=500ms")
	for _, path := range []string{w.upload("stalled"), w.upload(".job/outputs.json"), w.upload(".job/log/0-0")} {
		for _, drip := range []bool{false, true} {
			c, err := net.Dial("tcp", w.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 1000000\r\n\r\n{", path, w.bearer(token.Agent, w.id))
			if drip {
				go func() {
					for {
						if _, err := io.WriteString(c, " "); err != nil {
							return
						}
						time.Sleep(20 * time.Millisecond)
					}
				}()
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if body, _ := io.ReadAll(r.Body); r.StatusCode < 400 || r.StatusCode >= 500 {
				t.Errorf("%s, drip %t: %s %s", path, drip, r.Status, body)
			}
			_ = c.Close()
		}
	}
	if got := w.results(); len(got) > 0 {
		t.Errorf("stored: %q", got)
	}
	if resp, body := w.put("whole", strings.Repeat("x", 1<<20)); resp.StatusCode != http.StatusCreated {
		t.Errorf("one that comes in time: %s %s", resp.Status, body)
	}
}
