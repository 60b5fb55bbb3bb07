package access_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

func TestRoles(t *testing.T) {
	want := map[access.Role]map[access.Role]bool{
		access.Admin: {access.Admin: true, access.User: true, access.Read: true},
		access.User:  {access.Admin: false, access.User: true, access.Read: true},
		access.Read:  {access.Admin: false, access.User: false, access.Read: true},
		"":           {access.Admin: false, access.User: false, access.Read: false, "": false},
		"root":       {access.Admin: false, access.User: false, access.Read: false, "root": false},
	}
	for role, needs := range want {
		for need, allowed := range needs {
			if got := role.Allows(need); got != allowed {
				t.Errorf("%q allows %q: %t, want %t", role, need, got, allowed)
			}
		}
	}
	for name, good := range map[string]bool{"admin": true, "user": true, "read": true, "": false, "Admin": false} {
		if _, err := access.ParseRole(name); (err == nil) != good {
			t.Errorf("role %q: %v", name, err)
		}
	}
}

func TestSees(t *testing.T) {
	for _, test := range []struct {
		caller access.Caller
		owner  string
		want   bool
	}{
		{access.Caller{Owner: "ann", Role: access.User}, "ann", true},
		{access.Caller{Owner: "ann", Role: access.Read}, "ann", true},
		{access.Caller{Owner: "ann", Role: access.User}, "bob", false},
		{access.Caller{Owner: "ann", Role: access.User}, "", false},
		{access.Caller{Owner: "ann", Role: access.User}, access.Local, false},
		{access.Caller{Owner: "root", Role: access.Admin}, "bob", true},
		{access.Caller{Owner: "root", Role: access.Admin}, "", true},
	} {
		if got := test.caller.Sees(test.owner); got != test.want {
			t.Errorf("%+v sees %q: %t, want %t", test.caller, test.owner, got, test.want)
		}
	}
}

var begin = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)

func add(t *testing.T, ring *access.Keyring, q access.Request) (string, access.Key) {
	t.Helper()
	text, k, err := ring.Add(q, begin, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return text, *k
}

func TestLookup(t *testing.T) {
	ring := &access.Keyring{}
	end := begin.Add(time.Hour)
	root, _ := add(t, ring, access.Request{Name: "root", Role: access.Admin})
	brief, k := add(t, ring, access.Request{Name: "ci", Owner: "ann@example.com", Role: access.User, ExpiresAt: &end})
	other, _ := add(t, &access.Keyring{}, access.Request{Name: "root", Role: access.Admin})
	for _, test := range []struct {
		name, text string
		at         time.Time
		want       error
	}{
		{"valid", root, begin, nil},
		{"valid for an hour", brief, end.Add(-1), nil},
		{"expired", brief, end, access.ErrExpired},
		{"of another keyring", other, begin, access.ErrUnknownKey},
		{"empty", "", begin, access.ErrMalformed},
		{"cut off", root[:len(root)-1], begin, access.ErrMalformed},
		{"with a blank", root + " ", begin, access.ErrMalformed},
		{"in capitals", strings.ToUpper(root), begin, access.ErrMalformed},
		{"not ASCII", root[:20] + "é" + root[22:], begin, access.ErrMalformed},
	} {
		_, err := ring.Lookup(test.text, test.at)
		if !errors.Is(err, test.want) {
			t.Errorf("a key that is %s: %v, want %v", test.name, err, test.want)
		}
		if err != nil && len(test.text) > 20 && strings.Contains(err.Error(), test.text[18:]) {
			t.Errorf("the error %q has the key", err)
		}
	}
	if got := k.Caller(); got.Owner != "ann@example.com" || got.Role != access.User || !strings.Contains(got.Via, k.ID) {
		t.Errorf("caller %+v of key %+v", got, k)
	}
}

// TestTypos changes each character of a key, and swaps each with the next. The checksum must tell.
func TestTypos(t *testing.T) {
	ring := &access.Keyring{}
	text, _ := add(t, ring, access.Request{Name: "root", Role: access.Admin})
	for i := range text {
		changed := []byte(text)
		changed[i] = map[bool]byte{true: 'b', false: 'a'}[text[i] == 'a']
		swapped := []byte(text)
		if i+1 < len(text) {
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		}
		for _, typo := range []string{string(changed), string(swapped)} {
			if _, err := ring.Lookup(typo, begin); typo != text && !errors.Is(err, access.ErrMalformed) {
				t.Errorf("character %d: %v", i, err)
			}
		}
	}
}

// TestKeysAreUnlike makes many keys. No two may be alike, and what is stored must not have them.
func TestKeysAreUnlike(t *testing.T) {
	ring := &access.Keyring{}
	seen := map[string]bool{}
	for range 500 {
		text, k := add(t, ring, access.Request{Name: "a", Role: access.User})
		if len(text) != access.KeyLength || seen[text] || seen[k.ID] || !access.IsKey(text) {
			t.Fatalf("key %q with ID %q", text, k.ID)
		}
		seen[text], seen[k.ID] = true, true
	}
	data, err := ring.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for text := range seen {
		if access.IsKey(text) && bytes.Contains(data, []byte(text[17:30])) {
			t.Fatal("the document has a part of a key")
		}
	}
	read, err := access.ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ring, read); diff != "" {
		t.Errorf("written and read (-want +got):\n%s", diff)
	}
}

func TestReplace(t *testing.T) {
	ring := &access.Keyring{}
	old, k := add(t, ring, access.Request{Name: "ci", Owner: "ann", Role: access.User})
	text, next := add(t, ring, access.Request{Replaces: k.ID, Grace: time.Hour})
	if next.Name != "ci" || next.Owner != "ann" || next.Role != access.User || next.Replaces != k.ID {
		t.Errorf("got %+v", next)
	}
	for _, test := range []struct {
		text string
		at   time.Time
		want error
	}{
		{old, begin.Add(time.Hour - 1), nil}, {old, begin.Add(time.Hour), access.ErrExpired},
		{text, begin, nil}, {text, begin.Add(1000 * time.Hour), nil},
	} {
		if _, err := ring.Lookup(test.text, test.at); !errors.Is(err, test.want) {
			t.Errorf("%s later: %v, want %v", test.at.Sub(begin), err, test.want)
		}
	}
	// A grace never makes a key last longer.
	soon := begin.Add(time.Minute)
	_, brief := add(t, ring, access.Request{Name: "brief", Role: access.User, ExpiresAt: &soon})
	add(t, ring, access.Request{Replaces: brief.ID, Grace: time.Hour})
	for _, k := range ring.Keys {
		if k.ID == brief.ID && !k.ExpiresAt.Equal(soon) {
			t.Errorf("expires at %s, before at %s", k.ExpiresAt, soon)
		}
	}
	if _, _, err := ring.Add(access.Request{Replaces: "0000000000"}, begin, rand.Reader); !errors.Is(err,
		access.ErrNoSuchKey) {
		t.Errorf("replaces nothing: %v", err)
	}
}

func TestRemove(t *testing.T) {
	ring := &access.Keyring{}
	soon := begin.Add(time.Hour)
	_, root := add(t, ring, access.Request{Name: "root", Role: access.Admin})
	text, user := add(t, ring, access.Request{Name: "ann", Role: access.User})
	add(t, ring, access.Request{Name: "brief", Role: access.Admin, ExpiresAt: &soon})
	if err := ring.Remove(root.ID, begin); !errors.Is(err, access.ErrLastAdmin) {
		t.Errorf("the last admin's: %v", err)
	}
	if err := ring.Remove(user.ID, begin); err != nil {
		t.Error(err)
	}
	if _, err := ring.Lookup(text, begin); !errors.Is(err, access.ErrUnknownKey) {
		t.Errorf("a revoked key: %v", err)
	}
	if err := ring.Remove(user.ID, begin); !errors.Is(err, access.ErrNoSuchKey) {
		t.Errorf("twice: %v", err)
	}
	add(t, ring, access.Request{Name: "root2", Role: access.Admin})
	if err := ring.Remove(root.ID, begin); err != nil {
		t.Errorf("one of two admins': %v", err)
	}
}

// TestReplaceLastAdmin demands that a key which does not last cannot take the place of the last admin's.
func TestReplaceLastAdmin(t *testing.T) {
	soon := begin.Add(time.Hour)
	for name, q := range map[string]access.Request{
		"a user's": {Role: access.User}, "one that expires": {ExpiresAt: &soon}, "both": {Role: access.Read, ExpiresAt: &soon},
	} {
		ring := &access.Keyring{}
		_, root := add(t, ring, access.Request{Name: "root", Role: access.Admin})
		q.Replaces, q.Grace = root.ID, access.DefaultGrace
		if _, _, err := ring.Add(q, begin, rand.Reader); !errors.Is(err, access.ErrLastAdmin) {
			t.Errorf("%s: %v", name, err)
		}
		ring = &access.Keyring{}
		_, root = add(t, ring, access.Request{Name: "root", Role: access.Admin})
		add(t, ring, access.Request{Name: "root2", Role: access.Admin})
		q.Replaces = root.ID
		if _, _, err := ring.Add(q, begin, rand.Reader); err != nil {
			t.Errorf("%s, of two admins: %v", name, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	for _, q := range []access.Request{
		{Role: access.User}, {Name: "a"}, {Name: "a", Role: "root"}, {Name: "a b", Role: access.User},
		{Name: "-a", Role: access.User}, {Name: "a\n", Role: access.User},
		{Name: strings.Repeat("a", 65), Role: access.User}, {Name: "a", Owner: "<b>", Role: access.User},
	} {
		ring := &access.Keyring{}
		if text, _, err := ring.Add(q, begin, rand.Reader); err == nil || text != "" || len(ring.Keys) != 0 {
			t.Errorf("%+v: %v and %d keys", q, err, len(ring.Keys))
		}
	}
	ring := &access.Keyring{}
	for range 1000 {
		add(t, ring, access.Request{Name: "a", Role: access.User})
	}
	if _, _, err := ring.Add(access.Request{Name: "a", Role: access.User}, begin, rand.Reader); !errors.Is(err,
		access.ErrFull) {
		t.Errorf("one key too many: %v", err)
	}
	if data, err := ring.Encode(); err != nil || len(data) > access.MaxKeyringBytes {
		t.Errorf("a full keyring has %d bytes: %v", len(data), err)
	}
}

func TestBadDocuments(t *testing.T) {
	good := `{"id":"0123456789","name":"a","role":"user","sha256":"` + strings.Repeat("0", 64) +
		`","createdAt":"2026-01-01T00:00:00Z"}`
	for _, text := range []string{"", " \n", `{"keys":null}`, `{"keys":[` + good + `]}`} {
		if _, err := access.ParseKeyring([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for name, text := range map[string]string{
		"not JSON": "keys: []", "twice": `{"keys":[` + good + `,` + good + `]}`, "two documents": `{"keys":[]}{}`,
		"unknown field": `{"keys":[],"key":1}`, "no role": `{"keys":[` + strings.Replace(good, `"user"`, `""`, 1) + `]}`,
		"the key itself": `{"keys":[` + strings.Replace(good, strings.Repeat("0", 64), "gojob_x", 1) + `]}`,
		"no ID":          `{"keys":[` + strings.Replace(good, "0123456789", "", 1) + `]}`,
		"too large":      strings.Repeat(" ", access.MaxKeyringBytes) + good,
	} {
		if _, err := access.ParseKeyring([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, path string, c *clock, log *slog.Logger) *access.File {
	t.Helper()
	f, err := access.OpenFile(path, c.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFile has two processes with one file. What one changes holds for the other a second later.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	c := &clock{now: begin}
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	one, other := open(t, path, c, log), open(t, path, c, log)
	var text string
	var k *access.Key
	update := func(f *access.File, change func(*access.Keyring) error) {
		t.Helper()
		if err := f.Update(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	update(one, func(r *access.Keyring) (err error) {
		text, k, err = r.Add(access.Request{Name: "root", Role: access.Admin}, c.Now(), rand.Reader)
		return err
	})
	if _, err := one.Lookup(text); err != nil {
		t.Errorf("who made it: %v", err)
	}
	c.pass(time.Second)
	if got, err := other.Lookup(text); err != nil || got.Owner != "root" {
		t.Errorf("another, a second later: %+v %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info.Mode(), err)
	}
	// A failed change changes nothing.
	failed := errors.New("no")
	if err := one.Update(t.Context(), func(r *access.Keyring) error { r.Keys = nil; return failed }); !errors.Is(err,
		failed) {
		t.Error(err)
	}
	c.pass(time.Second)
	if _, err := one.Lookup(text); err != nil {
		t.Errorf("after a failed change: %v", err)
	}
	// A broken file leaves the keys that there were, and is logged once.
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.pass(time.Second)
		if _, err := other.Lookup(text); err != nil {
			t.Errorf("with a broken file: %v", err)
		}
	}
	if n := strings.Count(logged.String(), "not read again"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	if _, err := access.OpenFile(path, c.Now, log); err == nil {
		t.Error("a broken file can be opened")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Second)
	if _, err := other.Lookup(text); !errors.Is(err, access.ErrUnknownKey) {
		t.Errorf("without the file: %v", err)
	}
	_ = k
}

// TestFileLikeASecret replaces the file as the kubelet does: a link to another folder.
func TestFileLikeASecret(t *testing.T) {
	dir := t.TempDir()
	c := &clock{now: begin}
	write := func(version string) string {
		ring := &access.Keyring{}
		text, _ := add(t, ring, access.Request{Name: version, Role: access.Admin})
		data, err := ring.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Mkdir(filepath.Join(dir, version), 0o700),
			os.WriteFile(filepath.Join(dir, version, "keys.json"), data, 0o600),
			os.Symlink(version, filepath.Join(dir, "..tmp")),
			os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := write("v1")
	if err := os.Symlink("..data/keys.json", filepath.Join(dir, "keys.json")); err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, "keys.json"), c, slog.New(slog.DiscardHandler))
	if _, err := f.Lookup(first); err != nil {
		t.Error(err)
	}
	second := write("v2")
	c.pass(time.Second)
	if _, err := f.Lookup(second); err != nil {
		t.Error(err)
	}
	if _, err := f.Lookup(first); !errors.Is(err, access.ErrUnknownKey) {
		t.Error(err)
	}
}

// TestFileTakesTurns has many change the file at once. No change may be lost.
func TestFileTakesTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	c := &clock{now: begin}
	log := slog.New(slog.DiscardHandler)
	files := []*access.File{open(t, path, c, log), open(t, path, c, log)}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			err := files[i%2].Update(t.Context(), func(r *access.Keyring) error {
				_, _, err := r.Add(access.Request{Name: fmt.Sprint("k", i), Role: access.User}, begin, rand.Reader)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	c.pass(time.Second)
	for _, f := range files {
		if n := len(f.Current().Keys); n != 40 {
			t.Errorf("%d keys, want 40", n)
		}
	}
}

// TestFileIsLocked has another process keep the lock of the file. A change waits for as long as its
// context allows, and look-ups do not wait.
func TestFileIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	c := &clock{now: begin}
	f := open(t, path, c, slog.New(slog.DiscardHandler))
	change := func(ctx context.Context) (text string, err error) {
		err = f.Update(ctx, func(r *access.Keyring) (err error) {
			text, _, err = r.Add(access.Request{Name: "a", Role: access.Admin}, begin, rand.Reader)
			return err
		})
		return text, err
	}
	text, err := change(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	locked, err := os.Open(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	if err := unix.Flock(int(locked.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := change(ctx)
		done <- err
	}()
	for range 100 { // with the change waiting, or about to
		c.pass(time.Second)
		if _, err := f.Lookup(text); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, job.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("a change whose client has gone: %v", err)
	}
	if err := unix.Flock(int(locked.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if _, err := change(t.Context()); err != nil {
		t.Errorf("after the other process: %v", err)
	}
	if n := len(f.Current().Keys); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
}

func keysOf(t *testing.T, secrets ...string) token.Keys {
	t.Helper()
	var all [][]byte
	for _, s := range secrets {
		all = append(all, bytes.Repeat([]byte(s), 32))
	}
	k, err := token.New(all...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAssertion(t *testing.T) {
	ann := access.Caller{Owner: "ann@example.com", Role: access.User, Via: "oidc"}
	old, now := keysOf(t, "a"), keysOf(t, "b", "a")
	request := func(method, url string) *http.Request {
		return httptest.NewRequestWithContext(t.Context(), method, url, nil)
	}
	sent := request("GET", "http://gateway/api/v1/jobs/a%2Fb?x=1")
	if err := access.Assert(sent, ann, old, begin); err != nil {
		t.Fatal(err)
	}
	code := sent.Header.Get(access.AssertionHeader)
	payload, mac, _ := strings.Cut(code, ".")
	for name, test := range map[string]struct {
		method, url, code string
		keys              token.Keys
		at                time.Time
		good              bool
	}{
		"the same request":         {"GET", "http://status/api/v1/jobs/a%2Fb?x=1", code, old, begin, true},
		"after the keys' rotation": {"GET", "http://status/api/v1/jobs/a%2Fb", code, now, begin, true},
		"a minute later":           {"GET", "/api/v1/jobs/a%2Fb", code, old, begin.Add(time.Minute), true},
		"a clock that is behind":   {"GET", "/api/v1/jobs/a%2Fb", code, old, begin.Add(-10 * time.Second), true},
		"more than a minute later": {"GET", "/api/v1/jobs/a%2Fb", code, old, begin.Add(61 * time.Second), false},
		"from the future":          {"GET", "/api/v1/jobs/a%2Fb", code, old, begin.Add(-11 * time.Second), false},
		"another method":           {"DELETE", "/api/v1/jobs/a%2Fb", code, old, begin, false},
		"another path":             {"GET", "/api/v1/jobs/a", code, old, begin, false},
		"a path that looks alike":  {"GET", "/api/v1/jobs/a/b", code, old, begin, false},
		"other keys":               {"GET", "/api/v1/jobs/a%2Fb", code, keysOf(t, "c"), begin, false},
		"no code":                  {"GET", "/api/v1/jobs/a%2Fb", payload + ".", old, begin, false},
		"only a code":              {"GET", "/api/v1/jobs/a%2Fb", "." + mac, old, begin, false},
		"a text":                   {"GET", "/api/v1/jobs/a%2Fb", "x", old, begin, false},
	} {
		r := request(test.method, test.url)
		r.Header.Set(access.AssertionHeader, test.code)
		got, found, err := access.ReadAssertion(r, test.keys, test.at)
		switch {
		case test.good && (err != nil || !found || got != ann):
			t.Errorf("%s: %+v %t %v", name, got, found, err)
		case !test.good && (!errors.Is(err, access.ErrAssertion) || found || got != access.Caller{}):
			t.Errorf("%s: %+v %t %v, want an error", name, got, found, err)
		}
	}
	twice := request("GET", "/api/v1/jobs/a%2Fb")
	twice.Header[access.AssertionHeader] = []string{code, code}
	if _, found, err := access.ReadAssertion(twice, old, begin); found || err == nil {
		t.Errorf("sent twice: %t %v", found, err)
	}
	if _, found, err := access.ReadAssertion(request("GET", "/"), old, begin); found || err != nil {
		t.Errorf("without one: %t %v", found, err)
	}
	// Another caller's payload with this code.
	forged, err := json.Marshal(map[string]any{"sub": "root", "role": "admin", "iat": begin.Unix()})
	if err != nil {
		t.Fatal(err)
	}
	r := request("GET", "/api/v1/jobs/a%2Fb")
	r.Header.Set(access.AssertionHeader, string(forged)+"."+mac)
	if _, found, err := access.ReadAssertion(r, old, begin); found || err == nil {
		t.Errorf("forged: %t %v", found, err)
	}
}

// FuzzLookup looks for a text, other than the key itself, that is taken for a key.
func FuzzLookup(f *testing.F) {
	ring := &access.Keyring{}
	text, _, err := ring.Add(access.Request{Name: "root", Role: access.Admin}, begin, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{text, text[:10], "", "gojob_", strings.ToUpper(text), text + text} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := ring.Lookup(s, begin); err == nil && s != text {
			t.Errorf("%q is taken for a key", s)
		}
	})
}

// TestForeign makes sure that what is foreign is answered like what does not exist.
func TestForeign(t *testing.T) {
	unknown := job.Refuse(job.ErrNotFound, "template", "there is no template x")
	foreign := access.Foreign(unknown)
	var want, got *job.Faults
	if !errors.As(unknown, &want) || !errors.As(foreign, &got) || want != got {
		t.Errorf("%v becomes %v", unknown, foreign)
	}
	if !errors.Is(foreign, job.ErrNotFound) || !errors.Is(foreign, access.ErrForeign) || errors.Is(unknown, access.ErrForeign) {
		t.Errorf("%v, from %v", foreign, unknown)
	}
}

func TestTokenOf(t *testing.T) {
	if got := access.TokenOf(t.Context()); got != "" {
		t.Errorf("got %q of a request that no token has let in", got)
	}
	if got := access.TokenOf(access.WithToken(t.Context(), access.AgentToken)); got != access.AgentToken {
		t.Errorf("got %q", got)
	}
}
