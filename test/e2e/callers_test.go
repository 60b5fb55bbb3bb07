//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/routes"
)

// syncing is how long a change of the Secret keys may take until it is in force.
const syncing = time.Minute

// credential is what a request carries in Authorization.
type credential struct {
	name  string
	text  string // empty: nothing is sent
	bad   bool   // it authenticates nobody
	role  access.Role
	owner string
	opens routes.Tokens // of the job; 0: it is the token of another job
}

// madeKey is the answer to POST /api/v1/keys.
type madeKey struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

// makeKey has the admin make a key, which is revoked in the end.
func (s *service) makeKey(t *testing.T, fields map[string]string) madeKey {
	t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	resp, data := s.send(t, routes.MakeKey.Method, routes.MakeKey.URL(), s.key, "application/json", string(body))
	var made madeKey
	if err := json.Unmarshal(data, &made); err != nil || resp.StatusCode != http.StatusCreated || made.Key == "" {
		t.Fatalf("make a key: %s: %s", resp.Status, shownKey.ReplaceAll(data, []byte("(a key)")))
	}
	t.Cleanup(func() { // the test's context is over
		req, err := http.NewRequest(routes.RevokeKey.Method, s.url+routes.RevokeKey.URL(made.ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.authorize(req)
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotFound {
			t.Errorf("key %s stays: %s", made.ID, resp.Status)
		}
	})
	return made
}

// send sends a request with a key or a token, or with neither.
func (s *service) send(t *testing.T, method, path, bearer, kind, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := s.direct(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, data
}

// who returns the status of the answer to GET /api/v1/whoami, and the owner and the role in it.
func (s *service) who(t *testing.T, key string) (code int, who string) {
	t.Helper()
	resp, data := s.send(t, routes.GetCaller.Method, routes.GetCaller.URL(), key, "", "")
	var c struct{ Owner, Role string }
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, c.Owner + "/" + c.Role
}

// inForce waits until the gateway knows each key, and returns how long that took.
func (s *service) inForce(t *testing.T, list ...credential) time.Duration {
	t.Helper()
	begin := time.Now()
	for _, c := range list {
		until(t, syncing, "the key "+c.name+" is in force", func() bool {
			code, who := s.who(t, c.text)
			if code == http.StatusOK && who != c.owner+"/"+string(c.role) {
				t.Fatalf("the key %s is of %s", c.name, who)
			}
			return code == http.StatusOK
		})
	}
	return time.Since(begin)
}

// refused waits until the gateway refuses each key with 401. Failed logins that come too often are
// answered with 429.
func (s *service) refused(t *testing.T, list ...credential) time.Duration {
	t.Helper()
	begin := time.Now()
	for _, c := range list {
		until(t, syncing, "the key "+c.name+" is refused", func() bool {
			code, _ := s.who(t, c.text)
			return code == http.StatusUnauthorized
		})
	}
	return time.Since(begin)
}

// unknownKey is a key of the right form that the cluster has never had.
func unknownKey(t *testing.T) string {
	t.Helper()
	text, _, err := (&access.Keyring{}).Add(access.FirstKey(), time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// gateways are the pods of front, with the times their containers have been started again.
func gateways(t *testing.T) []string {
	t.Helper()
	const each = `jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].restartCount}{"\n"}{end}`
	return strings.Split(kube(t, "get", "pods", "-n", namespace, "-l", "serving.knative.dev/service=job-orchestrator",
		"--field-selector=status.phase=Running", "-o", each), "\n")
}
