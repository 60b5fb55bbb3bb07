//go:build browser

package oidc_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestInChromium logs a person in by the page, in a real browser and at a real issuer.
func TestInChromium(t *testing.T) {
	i := newIssuer(t, users{"ann": "developers"}, "cli")
	base, _ := gateway(t, i)
	cmd := exec.CommandContext(t.Context(), "node", "--test", "oidc.test.js")
	cmd.Dir = "../browser"
	cmd.Env = append(os.Environ(), "PAGE_URL="+base, "PAGE_ISSUER="+i.URL, "PAGE_USER=ann", "PAGE_PASSWORD="+password)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
