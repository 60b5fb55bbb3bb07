package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/shared/access"
)

// accountFolder has the token of the pod's account, and the certificate of the API server.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// The times of a Secret.
const (
	// askEvery is how old the keys may be.
	askEvery = 20 * time.Second
	// askForUnknown is how often the API server is asked because nobody has a key.
	askForUnknown = 2 * time.Second
	// askTimeout is how long a caller waits for the API server.
	askTimeout = 2 * time.Second
	// mountDelay is more than the kubelet takes to put a changed Secret into a pod. Keys that are
	// older are not better than those of the file.
	mountDelay = 2 * time.Minute
)

// Secret is a keyring in a Secret of Kubernetes that is also mounted as a file. The kubelet puts a
// changed Secret into pods within 90 seconds, so the API server is asked for it too, after the pod
// has run for a while. While the API server does not answer, the file counts. It uses no Kubernetes
// client, because linking one would slow down each start.
type Secret struct {
	file   *access.File
	entry  string
	url    string
	token  string // the path of the account's token, which changes
	client *http.Client
	now    func() time.Time
	log    *slog.Logger

	mu     sync.Mutex
	asked  time.Time
	loaded time.Time
	ring   *access.Keyring // nil: the file's
}

// SecretConfig says which Secret it is.
type SecretConfig struct {
	Namespace, Name, Entry string
	Host, Port             string // of the API server
	Folder                 string // accountFolder
}

// OpenSecret returns the keyring of a Secret that is mounted as file.
func OpenSecret(c SecretConfig, file *access.File, now func() time.Time, log *slog.Logger) (*Secret, error) {
	if c.Host == "" || c.Port == "" {
		return nil, errors.New("KEYS_SECRET: this is no pod in a cluster; leave it out")
	}
	certificate, err := os.ReadFile(filepath.Join(c.Folder, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("KEYS_SECRET: the pod's account has no token mounted: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		return nil, errors.New("KEYS_SECRET: ca.crt of the pod's account is not a certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		IdleConnTimeout: 2 * askEvery}
	return &Secret{
		file: file, entry: c.Entry, now: now, log: log, asked: now(), token: filepath.Join(c.Folder, "token"),
		url:    "https://" + net.JoinHostPort(c.Host, c.Port) + "/api/v1/namespaces/" + c.Namespace + "/secrets/" + c.Name,
		client: &http.Client{Transport: transport, Timeout: askTimeout},
	}, nil
}

// Lookup returns the caller whose key the text is, or an error of access.Keyring.Lookup.
func (s *Secret) Lookup(text string) (access.Caller, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().Sub(s.asked) >= askEvery {
		s.ask()
	}
	c, err := s.lookup(text)
	if errors.Is(err, access.ErrUnknownKey) && s.now().Sub(s.asked) >= askForUnknown { // it may be a new one
		s.ask()
		c, err = s.lookup(text)
	}
	return c, err
}

func (s *Secret) lookup(text string) (access.Caller, error) {
	if s.ring == nil || s.now().Sub(s.loaded) > mountDelay {
		return s.file.Lookup(text)
	}
	k, err := s.ring.Lookup(text, s.now())
	if err != nil {
		return access.Caller{}, err
	}
	return k.Caller(), nil
}

// ask gets the keyring from the API server. The pause before it is asked again begins with its answer,
// or unknown keys would have all callers wait for a slow API server all the time.
func (s *Secret) ask() {
	ring, err := s.load()
	s.asked = s.now()
	if err != nil {
		s.log.Warn("the Secret of the keys was not read; those read before, or mounted, are in force", "error", err)
		return
	}
	s.ring, s.loaded = ring, s.now()
}

// secretLimit bounds the answer of the API server: a Secret in base64, and its metadata.
const secretLimit = 3 << 20

func (s *Secret) load() (*access.Keyring, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout) // for all callers, not for one request
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil) //nolint:gosec // the address is the kubelet's
	if err != nil {
		return nil, fmt.Errorf("secret of the keys: %w", err)
	}
	token, err := os.ReadFile(s.token)
	if err != nil {
		return nil, fmt.Errorf("token of the pod's account: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r.Header.Set("Accept", "application/json")
	answer, err := s.client.Do(r) //nolint:gosec // the same
	if err != nil {
		return nil, fmt.Errorf("secret of the keys: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return &access.Keyring{}, nil
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("secret of the keys: the API server answers %s", answer.Status)
	}
	var secret struct {
		Data map[string][]byte `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, secretLimit)).Decode(&secret); err != nil {
		return nil, fmt.Errorf("secret of the keys: %w", err)
	}
	return access.ParseKeyring(secret.Data[s.entry])
}
