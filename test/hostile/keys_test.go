package hostile

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
)

// What the tests call the callers of the suite. Without another role they are users.
const (
	mine    = "mine"    // sends every request that names no other
	theirs  = "theirs"  // another owner
	admin   = "admin"   // the only admin whose key does not expire
	reader  = "reader"  // may look at what mine has
	expired = "expired" // was an admin
	revoked = "revoked" // was an admin
	nobody  = "nobody"  // sends no key
)

// makeKeys makes the keyring of all servers.
func (s *suite) makeKeys(t *testing.T) {
	t.Helper()
	s.ring, s.callers = &access.Keyring{}, map[string]string{}
	past := time.Now().Add(-time.Hour)
	for name, q := range map[string]access.Request{
		mine:    {Name: "laptop", Owner: mine, Role: access.User},
		theirs:  {Name: theirs, Role: access.User},
		admin:   {Name: "root", Role: access.Admin},
		reader:  {Name: "wall", Owner: mine, Role: access.Read},
		expired: {Name: expired, Role: access.Admin, ExpiresAt: &past},
		revoked: {Name: revoked, Role: access.Admin},
	} {
		text, _, err := s.ring.Add(q, time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.callers[name] = text
		s.leaks.add(text)
	}
	if err := s.ring.Remove(keyID(s.callers[revoked]), time.Now()); err != nil {
		t.Fatal(err)
	}
	s.leaks.add(tokenKey)
}

// keyID is the ID in a key.
func keyID(key string) string { return strings.Split(key, "_")[1] }

// store writes the document of the keys, as an operator does before the first start.
func (s *suite) store(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	data, err := s.ring.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "keys.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// leaks finds keys and tokens where none may be. It is safe for concurrent use.
type leaks struct {
	mu    sync.RWMutex
	cores map[string]bool // the first characters of secrets
	first [1 << 16]bool   // by their first two bytes
	found []string
}

// core is how many characters of a secret are too many to be found.
const core = 32

func newLeaks() *leaks { return &leaks{cores: map[string]bool{}} }

// add takes a key, a token of a job, or a shared one, and the shapes that hostile requests give it.
func (l *leaks) add(secret string) {
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
	if rest, isKey := strings.CutPrefix(secret, "gojob_"); isKey {
		_, secret, _ = strings.Cut(rest, "_")
	} else if _, code, shared := strings.Cut(secret, "."); shared {
		secret = code
	}
	if len(secret) < core { // no secret
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range []string{secret, strings.ToUpper(secret), basic} {
		l.cores[text[:core]] = true
		l.first[int(text[0])<<8|int(text[1])] = true
	}
}

// in returns a secret that data has in it, or nothing.
func (l *leaks) in(data []byte) string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := 0; i+core <= len(data); i++ {
		if l.first[int(data[i])<<8|int(data[i+1])] && l.cores[string(data[i:i+core])] {
			return string(data[i : i+core])
		}
	}
	return ""
}

// gives are the calls whose answers have a new key or token in them.
var gives = regexp.MustCompile(
	`^POST /api/v1/(jobs|templates/[^/]+/jobs|jobs/[^/]+/share|keys)$|^GET /api/v1/jobs/[^/]+/token$`)

// answered looks through an answer. A key or token that it is there to give is looked for from then
// on.
func (l *leaks) answered(r request, a *answer) {
	var header bytes.Buffer
	_ = a.header.Write(&header)
	given := gives.MatchString(r.method+" "+r.target) && a.status < http.StatusMultipleChoices
	if given {
		var secrets struct{ Token, Key string }
		_ = json.Unmarshal(a.body, &secrets)
		for _, secret := range []string{secrets.Token, secrets.Key} {
			if secret != "" {
				l.add(secret)
			}
		}
	}
	secret := l.in(header.Bytes())
	if !given && secret == "" {
		secret = l.in(a.body)
	}
	if secret != "" {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.found = append(l.found, "the answer to "+r.method+" "+r.target+" has "+secret)
	}
}

// check looks through all that a server has written.
func (l *leaks) check(t *testing.T, srv *server) {
	t.Helper()
	if secret := l.in([]byte(srv.output.String())); secret != "" {
		t.Errorf("the log of the server in %s has %s", srv.dir, secret)
	}
	_ = filepath.WalkDir(srv.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return nil // what programs have left can be too deep
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil // the same
		}
		if secret := l.in(append(data, path...)); secret != "" {
			t.Errorf("%s in the storage has %s", path, secret)
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range slices.Compact(l.found) {
		t.Error(line)
	}
	l.found = nil
}
