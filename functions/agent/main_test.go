package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFormerWord has a launcher of an earlier version start the sidecar.
func TestFormerWord(t *testing.T) {
	for name, test := range map[string]struct{ line, want []string }{
		"today's":  {[]string{"agent", "sidecar"}, []string{"agent", "sidecar"}},
		"former":   {[]string{"agent", "attend"}, []string{"agent", "sidecar"}},
		"exec":     {[]string{"agent", "exec"}, []string{"agent", "exec"}},
		"too many": {[]string{"agent", "attend", "exec"}, []string{"agent", "attend", "exec"}},
		"nothing":  {nil, nil},
	} {
		if diff := cmp.Diff(test.want, current(test.line)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
