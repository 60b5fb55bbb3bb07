//go:build e2e

package e2e

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"testing"
)

// TestPage uses the page in a browser: front is reached at a loopback address, since browsers keep
// logins only for those and for https.
func TestPage(t *testing.T) {
	t.Parallel()
	s := installed(t)
	front, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	local := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(front) },
		Transport:     s.client.Transport,
		FlushInterval: -1,
	})
	defer local.Close()
	if out, err := exec.CommandContext(t.Context(), "make", "-C", "../..", "test/browser/node_modules").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--test", "cluster.test.js")
	cmd.Dir = "../browser"
	cmd.Env = append(os.Environ(), "PAGE_URL="+local.URL, "PAGE_KEY="+s.key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, shownKey.ReplaceAll(out, []byte("(a key)")))
	}
}
