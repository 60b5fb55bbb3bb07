package auth_test

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/auth"
)

// cluster is an API server with the Secret of the keys, which is mounted as a file too.
type cluster struct {
	*httptest.Server
	t      *testing.T
	now    time.Time
	ring   *access.Keyring
	status int // of its answers
	slow   time.Duration
	asked  int
	path   string // of the file
	secret *auth.Secret
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, now: time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC), ring: &access.Keyring{},
		status: http.StatusOK, path: filepath.Join(t.TempDir(), "keys.json")}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(c.answer))
	t.Cleanup(c.Close)
	folder := t.TempDir()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
	for name, data := range map[string]string{"ca.crt": string(certificate), "token": "of the pod\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now, log := func() time.Time { return c.now }, slog.New(slog.DiscardHandler)
	file, err := access.OpenFile(c.path, now, log)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	config := auth.SecretConfig{Namespace: "jobs", Name: "keys", Entry: "keys.json", Host: host, Port: port,
		Folder: folder}
	if c.secret, err = auth.OpenSecret(config, file, now, log); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) answer(w http.ResponseWriter, r *http.Request) {
	c.asked++
	c.now = c.now.Add(c.slow)
	data, err := c.ring.Encode()
	if err != nil || r.URL.Path != "/api/v1/namespaces/jobs/secrets/keys" ||
		r.Header.Get("Authorization") != "Bearer of the pod" {
		c.t.Errorf("GET %s, %v", r.URL, err)
	}
	w.WriteHeader(c.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string][]byte{"keys.json": data}})
}

// add makes a key.
func (c *cluster) add() (text, id string) {
	c.t.Helper()
	text, k, err := c.ring.Add(access.Request{Name: "ann", Role: access.User}, c.now, rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	return text, k.ID
}

// mount puts the Secret into the file, as the kubelet does some time after a change.
func (c *cluster) mount() {
	c.t.Helper()
	data, err := c.ring.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.now = c.now.Add(time.Second) // after which the file is looked at again
}

// want demands an error of a look-up, and how often the API server was asked for it.
func (c *cluster) want(what, key string, want error, asked int) {
	c.t.Helper()
	before := c.asked
	who, err := c.secret.Lookup(key)
	if !errors.Is(err, want) || err == nil && who.Owner != "ann" || c.asked-before != asked {
		c.t.Errorf("%s: %+v, %v after asking %d times; want %v after %d", what, who, err, c.asked-before, want, asked)
	}
}

func TestSecret(t *testing.T) {
	c := newCluster(t)
	first, id := c.add()
	c.mount()
	c.want("after the start", first, nil, 0)

	c.now = c.now.Add(2 * time.Second)
	second, _ := c.add()
	c.want("a new key that is not mounted", second, nil, 1)
	c.want("again", second, nil, 0)
	c.want("a wrong key", first[:len(first)-1], access.ErrMalformed, 0)

	other, _ := (&cluster{t: t, ring: &access.Keyring{}}).add()
	c.want("an unknown key at once", other, access.ErrUnknownKey, 0)
	c.now = c.now.Add(2 * time.Second)
	c.want("an unknown key", other, access.ErrUnknownKey, 1)
	c.want("an unknown key again", other, access.ErrUnknownKey, 0)

	if err := c.ring.Remove(id, c.now); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(19 * time.Second)
	c.want("revoked a moment ago", first, nil, 0)
	c.now = c.now.Add(time.Second)
	c.want("revoked", first, access.ErrUnknownKey, 1)
	c.want("revoked, again", first, access.ErrUnknownKey, 0)

	// The file still has the key. It does not count before the kubelet must have changed it.
	c.status = http.StatusServiceUnavailable
	c.now = c.now.Add(20 * time.Second)
	c.want("revoked, without the API server", first, access.ErrUnknownKey, 1)
	c.want("without the API server", second, nil, 0)
	c.mount()
	third, _ := c.add()
	c.now = c.now.Add(2 * time.Minute)
	c.want("mounted, long without the API server", second, nil, 1)
	c.mount()
	c.want("mounted meanwhile", third, nil, 0)

	c.slow = 2 * time.Second
	c.want("an unknown key, with a slow API server", other, access.ErrUnknownKey, 0)
	c.now = c.now.Add(2 * time.Second)
	c.want("an unknown key, while the API server is slow", other, access.ErrUnknownKey, 1)
	c.want("an unknown key, after a slow answer", other, access.ErrUnknownKey, 0)
	c.slow = 0

	c.status = http.StatusNotFound // somebody has deleted the Secret
	c.now = c.now.Add(20 * time.Second)
	c.want("deleted", second, access.ErrUnknownKey, 1)
}

func TestSecretNeedsAPod(t *testing.T) {
	for name, config := range map[string]auth.SecretConfig{
		"no cluster": {Folder: t.TempDir()}, "no token": {Folder: t.TempDir(), Host: "localhost", Port: "443"},
	} {
		if _, err := auth.OpenSecret(config, nil, time.Now, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
