package local

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// writeKeys writes a file with a key for each request, and returns the keys.
func writeKeys(t *testing.T, path string, requests ...access.Request) []string {
	t.Helper()
	ring, keys := &access.Keyring{}, make([]string, len(requests))
	for i, q := range requests {
		var err error
		if keys[i], _, err = ring.Add(q, time.Now(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	writeRing(t, path, ring)
	return keys
}

// writeRing puts a keyring into a file, as an editor does that replaces the file.
func writeRing(t *testing.T, path string, ring *access.Keyring) {
	t.Helper()
	data, err := ring.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".edited", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".edited", path); err != nil {
		t.Fatal(err)
	}
}

func readRing(t *testing.T, path string) *access.Keyring {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := access.ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// caller calls with a key, and keeps the answers.
type caller struct {
	s       *server
	key     string
	answers *bytes.Buffer // nil: are not kept
}

// do makes a call with a JSON body, if there is one, and returns the status and the answer.
func (c caller) do(method, path, body string) (int, []byte) {
	c.s.t.Helper()
	req, err := http.NewRequest(method, c.s.url+path, strings.NewReader(body))
	if err != nil {
		c.s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.s.t.Fatal(err)
	}
	if c.answers != nil {
		fmt.Fprintf(c.answers, "%v %s\n", resp.Header, data)
	}
	return resp.StatusCode, data
}

// want makes a call and checks the status.
func (c caller) want(status int, method, path, body string) []byte {
	c.s.t.Helper()
	got, data := c.do(method, path, body)
	if got != status {
		c.s.t.Errorf("%s %s: %d, want %d\n%s", method, path, got, status, data)
	}
	return data
}

// wants is want without a body, and says who calls.
func (c caller) wants(name string, status int, method, path string) {
	c.s.t.Helper()
	if got, data := c.do(method, path, ""); got != status {
		c.s.t.Errorf("%s: %s %s: %d, want %d\n%s", name, method, path, got, status, data)
	}
}

// madeKey is the answer to who makes a key.
type madeKey struct{ ID, Key, Owner string }

// make makes a key. Its answer is not kept.
func (c caller) make(body string) madeKey {
	c.s.t.Helper()
	c.answers = nil
	var k madeKey
	if err := json.Unmarshal(c.want(http.StatusCreated, "POST", "/api/v1/keys", body), &k); err != nil || k.Key == "" {
		c.s.t.Fatalf("make a key: %v", err)
	}
	return k
}

// jobIDs are the IDs in a list of jobs.
func (c caller) jobIDs(query string) []string {
	c.s.t.Helper()
	var page struct {
		Items []struct{ JobID string }
	}
	if err := json.Unmarshal(c.want(http.StatusOK, "GET", "/api/v1/jobs?limit=500&"+query, ""), &page); err != nil {
		c.s.t.Fatal(err)
	}
	ids := make([]string, len(page.Items))
	for i, one := range page.Items {
		ids[i] = one.JobID
	}
	return ids
}

// soon waits until a call has a status.
func (c caller) soon(what string, status int) {
	c.s.t.Helper()
	c.s.until(what, func() bool { got, _ := c.do("GET", "/api/v1/whoami", ""); return got == status })
}

// TestKeys uses keys as an operator does, from the first start on. At the end no key may be anywhere
// but where it was made.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "AUTH=keys")
	answers := &bytes.Buffer{}
	first := s.firstKey()
	as := func(key string) caller { return caller{s: s, key: key, answers: answers} }
	admin := as(first)
	keysFile := filepath.Join(s.dir, ".local", "keys.json")
	checkKeysFile(t, keysFile, first)
	if n := strings.Count(s.output.String(), first); n != 1 {
		t.Errorf("the first key is printed %d times", n)
	}
	printed := s.output.String()

	ann := admin.make(`{"name":"ann","role":"user"}`)
	bob := admin.make(`{"name":"bob","role":"user"}`)
	look := admin.make(`{"name":"ann-dashboard","owner":"ann","role":"read"}`)
	s.key = ann.Key
	j := s.submit(script("echo hello; echo x > results/x\n"))
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	for _, c := range []struct {
		name, key           string
		looks, shares, ends int
	}{
		{"nobody", "", 401, 401, 401},
		{"another user", bob.Key, 404, 404, 404},
		{"a reader of the same owner", look.Key, 200, 403, 403},
		{"an admin", first, 200, 201, 409},
		{"the owner", ann.Key, 200, 201, 409},
	} {
		for _, path := range []string{j.path(), j.path() + "/logs", "/outputs/" + j.ID, "/outputs/" + j.ID + "/x",
			"/artifacts/" + j.ID + "/run"} {
			as(c.key).wants(c.name, c.looks, "GET", path)
		}
		as(c.key).wants(c.name, c.shares, "POST", j.path()+"/share")
		as(c.key).wants(c.name, c.ends, "POST", j.path()+"/cancel")
	}
	as(look.Key).want(http.StatusForbidden, "DELETE", j.path(), "")
	as(look.Key).want(http.StatusForbidden, "GET", "/api/v1/keys", "")
	as(ann.Key).want(http.StatusForbidden, "POST", "/api/v1/keys", `{"name":"eve","role":"admin"}`)
	s.key = look.Key
	if resp, data, err := s.post(script("true\n")); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a reader submits: %v %s %s", err, resp.Status, data)
	}
	for key, want := range map[string][]string{ann.Key: {j.ID}, look.Key: {j.ID}, bob.Key: {}, first: {j.ID}} {
		if diff := cmp.Diff(want, as(key).jobIDs("")); diff != "" {
			t.Errorf("list (-want +got):\n%s", diff)
		}
	}

	admin.want(http.StatusNoContent, "DELETE", "/api/v1/keys/"+bob.ID, "")
	as(bob.Key).soon("a revoked key is refused", http.StatusUnauthorized)

	rotated := admin.make(`{"replaces":"` + ann.ID + `","grace":"10m"}`)
	if rotated.Owner != "ann" {
		t.Errorf("the new key's owner is %q", rotated.Owner)
	}
	as(ann.Key).want(http.StatusOK, "GET", j.path(), "")
	as(rotated.Key).want(http.StatusOK, "GET", j.path(), "")
	again := admin.make(`{"replaces":"` + rotated.ID + `","grace":"0s"}`)
	as(rotated.Key).soon("a replaced key without grace is refused", http.StatusUnauthorized)
	as(again.Key).want(http.StatusOK, "GET", j.path(), "")

	// The file can be edited by hand.
	ring := readRing(t, keysFile)
	carol, _, err := ring.Add(access.Request{Name: "carol", Role: access.User}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ring.Keys = append(ring.Keys[:1], ring.Keys[len(ring.Keys)-1]) // the admin's and carol's
	writeRing(t, keysFile, ring)
	as(carol).soon("a key that was added by hand is valid", http.StatusOK)
	as(again.Key).soon("a key that was removed by hand is refused", http.StatusUnauthorized)
	if err := os.WriteFile(keysFile, []byte("{ faulty"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.until("the fault in the file is logged", func() bool {
		as(carol).want(http.StatusOK, "GET", "/api/v1/whoami", "") // those read before are in force
		return strings.Contains(s.output.String(), "keys not read again")
	})
	writeRing(t, keysFile, ring)

	s.restart()
	printed += s.output.String()
	admin.want(http.StatusOK, "GET", "/api/v1/whoami", "")
	if strings.Contains(s.output.String(), "The first key") {
		t.Error("the second start prints a key")
	}
	checkKeysFile(t, keysFile, first, ann.Key, bob.Key, look.Key, rotated.Key, again.Key, carol)
	s.stop()
	printed = strings.ReplaceAll(printed+s.output.String(), "shown this once: "+first+"\n", "")
	s.output = &lines{}
	_, _ = s.output.Write(append([]byte(printed), answers.Bytes()...))
	hides(s, first, ann.Key, bob.Key, look.Key, rotated.Key, again.Key, carol)
}

// checkKeysFile makes sure that the file is for its owner only, and has none of the keys.
func checkKeysFile(t *testing.T, path string, keys ...string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode of %s is %o, want 600", path, got)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if _, secret, _ := strings.Cut(strings.TrimPrefix(key, "gojob_"), "_"); bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s has the secret of a key", path)
		}
	}
	for _, k := range readRing(t, path).Keys {
		if len(k.SHA256) != 64 {
			t.Errorf("key %s has the hash %q", k.ID, k.SHA256)
		}
	}
}

// TestFirstKeyOnce starts two servers at a time that have one file of keys. One of them makes the
// first key.
func TestFirstKeyOnce(t *testing.T) {
	t.Parallel()
	keysFile := filepath.Join(t.TempDir(), "keys.json")
	servers := make([]*server, 2)
	var all sync.WaitGroup
	for i := range servers {
		dir := t.TempDir()
		all.Go(func() { servers[i] = start(t, dir, "AUTH=keys", "KEYS_FILE="+keysFile) })
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	printed := 0
	for _, s := range servers {
		s.stop() // after which all that it says has been read
		printed += strings.Count(s.output.String(), "The first key")
	}
	if n := len(readRing(t, keysFile).Keys); printed != 1 || n != 1 {
		t.Errorf("%d first keys are printed and %d keys are stored, want one", printed, n)
	}
}

// TestAuth starts servers that other machines reach, or not, with each word of AUTH.
func TestAuth(t *testing.T) {
	t.Parallel()
	const warning, first = "AUTH=open: everybody who reaches this server", "The first key"
	for name, c := range map[string]struct {
		settings      []string
		status        int // of a list without credentials
		warns, prints bool
	}{
		"loopback":               {nil, 200, false, false},
		"loopback, auto":         {[]string{"AUTH=auto"}, 200, false, false},
		"loopback, keys":         {[]string{"AUTH=keys"}, 401, false, true},
		"all addresses":          {[]string{"HOST=0.0.0.0"}, 401, false, true},
		"all addresses, auto":    {[]string{"HOST=0.0.0.0", "AUTH=auto"}, 401, false, true},
		"all addresses, open":    {[]string{"HOST=0.0.0.0", "AUTH=open"}, 200, true, false},
		"IPv6, all addresses":    {[]string{"HOST=::"}, 401, false, true},
		"loopback, open written": {[]string{"AUTH=open"}, 200, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, t.TempDir(), append(c.settings, "SANDBOX=off")...)
			for round := range 2 {
				caller{s: s}.want(c.status, "GET", "/api/v1/jobs", "")
				s.stop()
				said := s.output.String()
				if got := strings.Contains(said, warning); got != c.warns {
					t.Errorf("start %d warns: %v, want %v:\n%s", round+1, got, c.warns, said)
				}
				if got := strings.Contains(said, first); got != (c.prints && round == 0) {
					t.Errorf("start %d prints a key: %v:\n%s", round+1, got, said)
				}
				s.start()
			}
		})
	}
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"AUTH=nobody": `AUTH: \"nobody\" is not auto, open, keys or oidc`, "AUTH=open,keys": "AUTH: auto and open stand alone",
		"AUTH=oidc": "OIDC_ISSUER:", "AUTH=keys,none": `AUTH: \"none\"`,
	} {
		out, code := run(t, path, "STORAGE_DIR="+t.TempDir(), "PORT="+freePort(t), setting)
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d and\n%s", setting, code, out)
		}
	}
}
