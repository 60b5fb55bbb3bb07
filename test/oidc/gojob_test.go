package oidc_test

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// commandLine is the built gojob of one user, who trusts the issuer's certificate.
type commandLine struct {
	t    *testing.T
	path string
	env  []string
	dir  string // of its configuration
}

func newCommandLine(t *testing.T, i *issuer) *commandLine {
	t.Helper()
	dir := t.TempDir()
	c := &commandLine{t: t, path: filepath.Join(dir, "gojob"), dir: filepath.Join(dir, "config", "gojob")}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "grpcnotrace,disable_grpc_modules", "-o", c.path,
		"go-job-orchestrator/cmd/gojob")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ca := filepath.Join(dir, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = []string{"HOME=" + dir, "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"), "SSL_CERT_FILE=" + ca,
		"PATH=" + os.Getenv("PATH")}
	return c
}

// output is what a command prints, and can be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (c *commandLine) command(args ...string) (*exec.Cmd, *output) {
	var out output
	cmd := exec.CommandContext(c.t.Context(), c.path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, &out, &out
	return cmd, &out
}

// run runs gojob, and returns what it printed and its exit code.
func (c *commandLine) run(args ...string) (string, int) {
	cmd, out := c.command(args...)
	_ = cmd.Run()
	return out.String(), cmd.ProcessState.ExitCode()
}

// login logs a user in at another browser.
func (c *commandLine) login(i *issuer, base, user string) {
	c.t.Helper()
	cmd, out := c.command("login", base, "--context", "team", "--oidc")
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	shown := regexp.MustCompile(`or open (\S+)\n`)
	var page []string
	for deadline := time.Now().Add(time.Minute); page == nil; time.Sleep(20 * time.Millisecond) {
		if page = shown.FindStringSubmatch(out.String()); time.Now().After(deadline) {
			c.t.Fatalf("no code is shown: %s", out)
		}
	}
	if got := submit(c.t, i, page[1], user, password); got.StatusCode != http.StatusOK {
		c.t.Fatalf("at %s: %s", page[1], got.Status)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "is now the context team; you are "+user) {
		c.t.Fatalf("%v: %s", err, out)
	}
}

func (c *commandLine) credentials() string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "credentials.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// field returns a field of the stored tokens.
func (c *commandLine) field(name string) string {
	c.t.Helper()
	m := regexp.MustCompile(`(?m)^ +` + name + `: (\S+)$`).FindStringSubmatch(c.credentials())
	if m == nil {
		c.t.Fatalf("the stored tokens have no %s", name)
	}
	return m[1]
}

func (c *commandLine) setField(name, value string) {
	c.t.Helper()
	text := regexp.MustCompile(`(?m)^( +`+name+`: )\S+$`).ReplaceAllString(c.credentials(), "${1}"+value)
	if err := os.WriteFile(filepath.Join(c.dir, "credentials.yaml"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// TestGojob logs in by the device flow of gojob login. Later commands get new tokens by themselves,
// also several at a time, although the issuer takes each refresh token once.
func TestGojob(t *testing.T) {
	i := newIssuer(t, users{"ann": "developers", "root": "platform-team"}, "cli")
	base, key := gateway(t, i)
	c := newCommandLine(t, i)
	if out, code := c.run("login", base, "--oidc", "--key"); code != 2 {
		t.Errorf("both ways: %d %s", code, out)
	}
	c.login(i, base, "ann")
	want := fmt.Sprintf("ann (user) at %s by oidc of the context team\n", base)
	if out, code := c.run("whoami"); out != want || code != 0 {
		t.Fatalf("%d %s", code, out)
	}
	info, err := os.Stat(filepath.Join(c.dir, "credentials.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}

	refresh := c.field("refresh")
	const past = "2020-01-01T00:00:00Z"
	c.setField("expires", past)
	if out, code := c.run("whoami"); out != want || code != 0 {
		t.Errorf("with an expired token: %d %s", code, out)
	}
	if c.field("refresh") == refresh || c.field("expires") == past {
		t.Error("the new tokens are not kept")
	}

	c.setField("expires", past)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if out, code := c.run("whoami"); out != want || code != 0 {
				t.Errorf("several at a time: %d %s", code, out)
			}
		})
	}
	all.Wait()

	c.setField("expires", past)
	c.setField("refresh", "stolen")
	out, code := c.run("whoami")
	if code != 4 || !strings.Contains(out, "log in again with: gojob login "+base) {
		t.Errorf("a login that has ended: %d %s", code, out)
	}
	if out, code := c.run("doctor"); code != 1 || !strings.Contains(out, "do: log in again: gojob login "+base) {
		t.Errorf("doctor: %d %s", code, out)
	}
	c.login(i, base, "root")
	if out, code := c.run("whoami"); !strings.HasPrefix(out, "root (admin)") || code != 0 {
		t.Errorf("after another login: %d %s", code, out)
	}
	if out, code := c.run("logout"); code != 0 || strings.Contains(c.credentials(), "refresh") {
		t.Errorf("%d %s", code, out)
	}

	cmd, printed := c.command("login", base, "--key")
	cmd.Stdin = strings.NewReader(key + "\n")
	if err := cmd.Run(); err != nil || !strings.Contains(printed.String(), "you are ci (read)") {
		t.Errorf("a key beside OpenID Connect: %v %s", err, printed)
	}
}
