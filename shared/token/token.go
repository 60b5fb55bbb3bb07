// Package token derives and checks the tokens of jobs. A token is never stored. With the keys,
// computation alone shows whether a token opens a job, so a wrong token costs no read.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// Scope says what a token opens.
type Scope string

// The scopes. User opens everything of one job. Agent is for the job's pod, which may read the
// job's artifacts and write its results. Owner opens templates, and gets the tokens of the jobs
// that start from them.
const (
	User  Scope = "user"
	Agent Scope = "agent"
	Owner Scope = "owner"
	// Index opens the package indexes to the installer in the job's pod, until its program begins.
	Index Scope = "index"
)

// MinKeyBytes is the minimum length of a key: the length of the hash, as RFC 2104 recommends.
const MinKeyBytes = sha256.Size

// Keys derive tokens with the first key and verify them with any, so that keys can be replaced.
type Keys struct{ keys [][]byte }

// New returns Keys. It needs at least one key, and each key needs at least MinKeyBytes bytes.
func New(keys ...[]byte) (Keys, error) {
	if len(keys) == 0 {
		return Keys{}, errors.New("no token key")
	}
	for i, key := range keys {
		if len(key) < MinKeyBytes {
			return Keys{}, fmt.Errorf("token key %d has %d bytes; at least %d are needed", i+1, len(key), MinKeyBytes)
		}
	}
	return Keys{keys: keys}, nil
}

// Parse reads the setting TOKEN_KEYS: keys in base64, of 32 bytes or more, separated by commas.
func Parse(s string) (Keys, error) {
	var keys [][]byte
	for i, text := range strings.Split(s, ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return Keys{}, fmt.Errorf("token key %d is not base64 (make one with: head -c 32 /dev/urandom | base64)", i+1)
		}
		keys = append(keys, key)
	}
	return New(keys...)
}

// Derive returns the token of the given scope for one job, in base64 for URLs.
func (k Keys) Derive(scope Scope, id job.ID) string {
	return encode(mac(k.keys[0], scope, id))
}

// Verify reports whether token opens the job in one of the scopes. It takes the same time for every
// wrong token.
func (k Keys) Verify(token string, id job.ID, scopes ...Scope) bool {
	found := false
	for _, key := range k.keys {
		for _, scope := range scopes {
			// Tokens are compared as text, because different texts decode to the same bytes, for instance
			// with line breaks.
			if hmac.Equal([]byte(token), []byte(encode(mac(key, scope, id)))) {
				found = true
			}
		}
	}
	return found
}

// Owner returns the token of an owner. The token contains the owner's ID, so that one token opens
// all templates of the owner, and a wrong token costs no read.
func (k Keys) Owner(id job.ID) string { return string(id) + "." + k.Derive(Owner, id) }

// VerifyOwner returns the owner of a token, and false when the token is not an owner's.
func (k Keys) VerifyOwner(token string) (job.ID, bool) {
	name, rest, _ := strings.Cut(token, ".")
	id, err := job.ParseID(name)
	return id, err == nil && k.Verify(rest, id, Owner)
}

// Code returns an authentication code of the parts, for the purpose that it names, in base64 for
// URLs. A code of one purpose is none of another.
func (k Keys) Code(purpose string, parts ...string) string {
	return encode(code(k.keys[0], purpose, parts))
}

// Codes returns the code of the parts under each key, the first key's first. It is for codes that are
// compared with stored ones, which may be of an earlier key.
func (k Keys) Codes(purpose string, parts ...string) []string {
	codes := make([]string, len(k.keys))
	for i, key := range k.keys {
		codes[i] = encode(code(key, purpose, parts))
	}
	return codes
}

// VerifyCode reports whether a text is the code of the parts for this purpose.
func (k Keys) VerifyCode(text, purpose string, parts ...string) bool {
	found := false
	for _, key := range k.keys {
		if hmac.Equal([]byte(text), []byte(encode(code(key, purpose, parts)))) {
			found = true
		}
	}
	return found
}

// sharePurpose keeps the codes of shared tokens apart from all others under the same keys.
const sharePurpose = "share/v1"

// Share returns a token by which others may look at one job until a time: the seconds since 1970,
// a dot, and a code.
func (k Keys) Share(id job.ID, until time.Time) string {
	end := strconv.FormatInt(until.Unix(), 10)
	return end + "." + k.Code(sharePurpose, string(id), end)
}

// VerifyShare reports whether a token was made by Share for the job, and until when it is valid.
func (k Keys) VerifyShare(token string, id job.ID) (until time.Time, ok bool) {
	end, code, _ := strings.Cut(token, ".")
	seconds, err := strconv.ParseInt(end, 10, 64)
	return time.Unix(seconds, 0), err == nil && k.VerifyCode(code, sharePurpose, string(id), end)
}

func encode(mac []byte) string { return base64.RawURLEncoding.EncodeToString(mac) }

// String keeps the keys out of logs.
func (k Keys) String() string { return fmt.Sprintf("%d token keys", len(k.keys)) }

// GoString is String for %#v.
func (k Keys) GoString() string { return k.String() }

// Hash returns what may be stored of a token: the name of the algorithm and the SHA-256 in
// hexadecimal digits.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// mac is the code of a token of a job.
func mac(key []byte, scope Scope, id job.ID) []byte {
	return code(key, string(scope), []string{string(id)})
}

// code covers each part with its length before it, so that no two lists of parts run into the same
// bytes.
func code(key []byte, purpose string, parts []string) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range append([]string{purpose}, parts...) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return h.Sum(nil)
}
