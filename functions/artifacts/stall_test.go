package artifacts_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestUploadsThatStall demands that an upload ends that goes on for too long, whether something
// comes of it or not, and leaves nothing.
func TestUploadsThatStall(t *testing.T) {
	w := newFixture(t, t.TempDir(), "UPLOAD_TIMEOUT=500ms")
	for _, drip := range []bool{false, true} {
		if r, body := w.Stall(http.MethodPut, w.upload("stalled"), drip); r.StatusCode < 400 || r.StatusCode >= 500 {
			t.Errorf("drip %t: %s %s", drip, r.Status, body)
		}
	}
	if got := w.Results(); len(got) > 0 {
		t.Errorf("stored: %q", got)
	}
	if resp, body := w.Put("whole", strings.Repeat("x", 1<<20)); resp.StatusCode != http.StatusCreated {
		t.Errorf("one that comes in time: %s %s", resp.Status, body)
	}
}
