package token_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

const (
	one   job.ID = "fe6aa1b2c3d4000102030405060708ff"
	other job.ID = "fe6aa1b2c3d4000102030405060708fe"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, token.MinKeyBytes) }

func newKeys(t testing.TB, keys ...[]byte) token.Keys {
	t.Helper()
	k, err := token.New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVerify(t *testing.T) {
	k := newKeys(t, key(1))
	user, agent := k.Derive(token.User, one), k.Derive(token.Agent, one)
	both := []token.Scope{token.User, token.Agent}
	for _, test := range []struct {
		name   string
		token  string
		id     job.ID
		scopes []token.Scope
		want   bool
	}{
		{"user", user, one, both[:1], true},
		{"agent", agent, one, both[1:], true},
		{"user for either", user, one, both, true},
		{"agent for either", agent, one, both, true},
		{"user for agent", user, one, both[1:], false},
		{"agent for user", agent, one, both[:1], false},
		{"no scope", user, one, nil, false},
		{"another job", user, other, both, false},
		{"another job's agent", agent, other, both, false},
		{"no job", user, "", both, false},
		{"empty", "", one, both, false},
		{"truncated", user[:len(user)-1], one, both, false},
		{"extended", user + "A", one, both, false},
		{"twice", user + user, one, both, false},
		{"padded", user + "=", one, both, false},
		{"leading space", " " + user, one, both, false},
		{"newline at the end", user + "\n", one, both, false},
		{"newline within", user[:10] + "\n" + user[10:], one, both, false},
		{"carriage return", user[:10] + "\r\n" + user[10:], one, both, false},
		{"newline for the last", user[:len(user)-1] + "\n", one, both, false},
		{"NUL", user + "\x00", one, both, false},
		{"other case", strings.ToUpper(user), one, both, false},
		{"the hash that is stored", token.Hash(user), one, both, false},
		{"of zeros", strings.Repeat("A", len(user)), one, both, false},
	} {
		if got := k.Verify(test.token, test.id, test.scopes...); got != test.want {
			t.Errorf("%s: Verify = %v; want %v", test.name, got, test.want)
		}
	}
	// The last character carries four bits only; the other two must not be ignored.
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	accepted := 0
	for i := range digits {
		if k.Verify(user[:len(user)-1]+digits[i:i+1], one, token.User) {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("%d last characters are accepted; want 1", accepted)
	}
}

// The bytes are those that DESIGN promises, so that tokens outlive a rewrite.
func TestDeriveIsStable(t *testing.T) {
	const want = "kzzbZW5VFtaoERgwSInY3xUE7YZIWenVQpadfXp21vQ"
	if got := newKeys(t, key(1)).Derive(token.User, one); got != want {
		t.Errorf("Derive = %q; want %q", got, want)
	}
}

func TestRotation(t *testing.T) {
	before := newKeys(t, key(1))
	during := newKeys(t, key(2), key(1))
	after := newKeys(t, key(2))
	old, fresh := before.Derive(token.User, one), during.Derive(token.User, one)
	for _, test := range []struct {
		name  string
		keys  token.Keys
		token string
		want  bool
	}{
		{"old token, old key", before, old, true}, {"old token, both keys", during, old, true},
		{"old token, new key", after, old, false},
		{"new token, old key", before, fresh, false}, {"new token, both keys", during, fresh, true},
		{"new token, new key", after, fresh, true},
	} {
		if got := test.keys.Verify(test.token, one, token.User); got != test.want {
			t.Errorf("%s: Verify = %v; want %v", test.name, got, test.want)
		}
	}
}

// With plain concatenation all of these would be the same text.
func TestNoTwoPairsCollide(t *testing.T) {
	k := newKeys(t, key(1))
	const text = "useragent0123"
	seen := map[string]string{}
	for i := range len(text) + 1 {
		pair := fmt.Sprintf("(%s, %s)", text[:i], text[i:])
		derived := k.Derive(token.Scope(text[:i]), job.ID(text[i:]))
		if twin, ok := seen[derived]; ok {
			t.Errorf("%s and %s have one token", pair, twin)
		}
		seen[derived] = pair
	}
}

func TestParse(t *testing.T) {
	good, url := base64.StdEncoding.EncodeToString(key(0xfb)), base64.URLEncoding.EncodeToString(key(0xfb))
	secret := base64.StdEncoding.EncodeToString([]byte("a secret that is too short"))
	for _, test := range []struct {
		name, in string
		want     string // in the error; "" for none
	}{
		{"one", good, ""}, {"two", good + "," + good, ""}, {"spaces and line break", " " + good + " ,\n" + good + "\n", ""},
		{"long", base64.StdEncoding.EncodeToString(make([]byte, 100)), ""},
		{"none", "", "key 1"}, {"comma", ",", "key 1"}, {"trailing comma", good + ",", "key 2"},
		{"leading comma", "," + good, "key 1"},
		{"short", secret, "26 bytes"}, {"second short", good + "," + secret, "key 2"},
		{"not base64", "!secret-passphrase!", "key 1"},
		{"base64 for URLs", url, "key 1"}, {"no padding", strings.TrimRight(good, "="), "key 1"},
		{"hexadecimal", strings.Repeat("zz", 33), "key 1"},
		{"semicolon", good + ";" + good, "key 1"}, {"31 bytes", base64.StdEncoding.EncodeToString(make([]byte, 31)),
			"31 bytes"},
	} {
		k, err := token.Parse(test.in)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want == "":
			if !k.Verify(k.Derive(token.User, one), one, token.User) {
				t.Errorf("%s: the keys do not verify what they derive", test.name)
			}
		case err == nil:
			t.Errorf("%s: no error", test.name)
		case !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %q does not say %q", test.name, err, test.want)
		default:
			for part := range strings.SplitSeq(test.in, ",") {
				if part = strings.TrimSpace(part); part != "" && strings.Contains(err.Error(), part) {
					t.Errorf("%s: the error %q has the key in it", test.name, err)
				}
			}
		}
	}
	if _, err := token.New(); err == nil {
		t.Error("New without keys succeeded")
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := newKeys(t, []byte("secret secret secret secret secret"))
	nested := struct{ Keys token.Keys }{k}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{k, nested, &nested} {
			got := fmt.Sprintf(format, v)
			if strings.Contains(got, "secret") || strings.Contains(got, "115") || strings.Contains(got, "0x73") {
				t.Errorf("%s prints %s", format, got)
			}
		}
	}
}

func TestHash(t *testing.T) {
	const want = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, appendix B.1
	if got := token.Hash("abc"); got != want {
		t.Errorf("Hash = %s; want %s", got, want)
	}
}

// FuzzVerify looks for a text, other than the token itself, that opens the job.
func FuzzVerify(f *testing.F) {
	k := newKeys(f, key(1), key(2))
	right := k.Derive(token.User, one)
	old := newKeys(f, key(2)).Derive(token.User, one)
	id, err := job.NewID(time.UnixMilli(1), bytes.NewReader(make([]byte, 16)))
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"", right, right + "\n", right + "=", right[:42], strings.Repeat("=", 43), string(id),
		"\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := k.Verify(text, one, token.User), text == right || text == old; got != want {
			t.Errorf("Verify(%q) = %v; want %v", text, got, want)
		}
		if k.Verify(text, other, token.User) {
			t.Errorf("%q opens another job", text)
		}
	})
}

func TestShare(t *testing.T) {
	k := newKeys(t, []byte("secret secret secret secret secret"))
	rotated := newKeys(t, []byte("another secret another secret another"), []byte("secret secret secret secret secret"))
	until := time.Unix(1_800_000_000, 0)
	shared := k.Share(one, until)
	for _, keys := range []token.Keys{k, rotated} {
		if got, ok := keys.VerifyShare(shared, one); !ok || !got.Equal(until) {
			t.Errorf("%s is valid until %s, %t", shared, got, ok)
		}
	}
	end, code, _ := strings.Cut(shared, ".")
	for name, bad := range map[string]string{
		"later":           "1900000000." + code,
		"the same time":   "+" + shared,
		"with a zero":     "0" + shared,
		"no time":         "." + code,
		"no code":         end + ".",
		"the job's token": k.Derive(token.User, one),
		"its code alone":  code,
		"with more":       shared + ".",
		"of no time":      "soon." + k.Code("share/v1", string(one), "soon"),
	} {
		if _, ok := k.VerifyShare(bad, one); ok {
			t.Errorf("%s: %q is taken", name, bad)
		}
	}
	if _, ok := k.VerifyShare(shared, other); ok {
		t.Error("it opens another job")
	}
	if k.Verify(shared, one, token.User, token.Agent, token.Owner) || k.Verify(code, one, token.User, token.Agent) {
		t.Error("it passes for the job's token")
	}
}
