package access

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The bounds of a keyring.
const (
	maxKeys      = 1000
	maxNameBytes = 64
	// maxOwnerBytes is how long the claim sub of a token may be: OpenID Connect Core 1.0, section 2.
	maxOwnerBytes = 255
	// MaxKeyringBytes is how long the document of a keyring may be. It is also the limit of a Secret.
	MaxKeyringBytes = 1 << 20
	// DefaultGrace is how long a key goes on being valid after another has replaced it.
	DefaultGrace = 24 * time.Hour
)

// The errors of a keyring.
var (
	ErrUnknownKey = errors.New("unknown key")
	ErrExpired    = errors.New("expired key")
	ErrNoSuchKey  = errors.New("no key has this ID; GET /api/v1/keys lists all keys")
	ErrLastAdmin  = errors.New("this is the last key of an admin that does not expire; make another one first")
	ErrFull       = errors.New("there are too many keys; revoke some")
)

// Key is what is recorded of a key: all but the key itself.
type Key struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Owner is the name that the caller's jobs are recorded under. Several keys may have one owner:
	// of a person's laptop and of their scheduler.
	Owner     string     `json:"owner"`
	Role      Role       `json:"role"`
	SHA256    string     `json:"sha256,omitempty"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	// Replaces is the ID of the key that this one replaces.
	Replaces string `json:"replaces,omitempty"`
}

// Caller is who sends a request with this key.
func (k *Key) Caller() Caller { return Caller{Owner: k.Owner, Role: k.Role, Via: "key " + k.ID} }

// valid reports whether the key is valid at a time.
func (k *Key) valid(now time.Time) bool { return k.ExpiresAt == nil || now.Before(*k.ExpiresAt) }

// Keyring is the keys that callers may have. It is not safe for concurrent changes.
type Keyring struct {
	Keys []Key `json:"keys"`
}

// ParseKeyring reads the JSON document of a keyring. An empty document is a keyring without keys.
func ParseKeyring(data []byte) (*Keyring, error) {
	ring := &Keyring{}
	if len(data) > MaxKeyringBytes {
		return nil, fmt.Errorf("keyring of %d bytes; at most %d are read", len(data), MaxKeyringBytes)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return ring, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(ring); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("keyring: there is more than one document")
	}
	return ring, ring.check()
}

// check refuses a keyring that somebody has edited into one that does not do what it seems to.
func (r *Keyring) check() error {
	if len(r.Keys) > maxKeys {
		return fmt.Errorf("keyring: %d keys: %w; at most %d", len(r.Keys), ErrFull, maxKeys)
	}
	seen := map[string]bool{}
	var errs []error
	for i := range r.Keys {
		k := &r.Keys[i]
		if k.Owner == "" {
			k.Owner = k.Name
		}
		errs = append(errs, k.check())
		if seen[k.ID] {
			errs = append(errs, fmt.Errorf("keyring: key %s is there twice", k.ID))
		}
		seen[k.ID] = true
	}
	return errors.Join(errs...)
}

func (k *Key) check() error {
	if len(k.ID) != idLength {
		return fmt.Errorf("keyring: key %.20q: its ID must have %d characters", k.ID, idLength)
	}
	if message := CheckName(k.Name); message != "" {
		return fmt.Errorf("keyring: key %s: name %s", k.ID, message)
	}
	if message := CheckOwner(k.Owner); message != "" {
		return fmt.Errorf("keyring: key %s: owner %s", k.ID, message)
	}
	if _, err := ParseRole(string(k.Role)); err != nil {
		return fmt.Errorf("keyring: key %s: %w", k.ID, err)
	}
	if len(k.SHA256) != 64 || strings.Trim(k.SHA256, "0123456789abcdef") != "" {
		return fmt.Errorf("keyring: key %s: sha256 must be 64 lowercase hexadecimal digits", k.ID)
	}
	return nil
}

// CheckOwner says what is wrong with the name of an owner, or nothing. It admits what identity
// providers call people, such as auth0|5f7c8ec7 or an address.
func CheckOwner(name string) string {
	other := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"\\<>", r) }
	switch {
	case name == "":
		return "is required"
	case len(name) > maxOwnerBytes:
		return fmt.Sprintf("has %d bytes; at most %d are allowed", len(name), maxOwnerBytes)
	case strings.ContainsFunc(name, other):
		return `must have printable characters of ASCII only, without spaces and " \ < >`
	}
	return ""
}

// CheckName says what is wrong with the name of a key, or nothing.
func CheckName(name string) string {
	switch {
	case name == "":
		return "is required"
	case len(name) > maxNameBytes:
		return fmt.Sprintf("has %d bytes; at most %d are allowed", len(name), maxNameBytes)
	case strings.Trim(name, base62+"._@+:/-") != "" || strings.Trim(name[:1]+name[len(name)-1:], base62) != "":
		return "must have letters, digits and . _ @ + : / - only, and begin and end with a letter or digit"
	}
	return ""
}

// Lookup returns the key that the text is. Its errors are ErrMalformed for a text with a typo,
// ErrUnknownKey, and ErrExpired.
func (r *Keyring) Lookup(text string, now time.Time) (*Key, error) {
	id, err := keyID(text)
	if err != nil {
		return nil, err
	}
	sum := []byte(digest(text))
	i := slices.IndexFunc(r.Keys, func(k Key) bool { return k.ID == id })
	if i < 0 || subtle.ConstantTimeCompare([]byte(r.Keys[i].SHA256), sum) != 1 {
		return nil, ErrUnknownKey
	}
	if !r.Keys[i].valid(now) {
		return nil, ErrExpired
	}
	return &r.Keys[i], nil
}

// Request is what an admin says of a key to be made.
type Request struct {
	Name      string
	Owner     string // empty: the name
	Role      Role
	ExpiresAt *time.Time
	// Replaces is the ID of a key that ends Grace from now; empty: none. The name, the owner and the
	// role are its own unless they are given.
	Replaces string
	Grace    time.Duration
}

// FirstKey asks for the key of a server that has none.
func FirstKey() Request { return Request{Name: "admin", Role: Admin} }

// Add makes a key. The text is the key itself, which is nowhere else. After an error the keyring must
// not be stored.
func (r *Keyring) Add(q Request, now time.Time, random io.Reader) (text string, made *Key, err error) {
	if len(r.Keys) >= maxKeys {
		return "", nil, fmt.Errorf("%w: %d", ErrFull, len(r.Keys))
	}
	adminBefore := r.hasAdmin("", now)
	if q.Replaces != "" {
		old := r.find(q.Replaces)
		if old == nil {
			return "", nil, ErrNoSuchKey
		}
		if q.Name == "" {
			q.Name = old.Name
		}
		if q.Owner == "" {
			q.Owner = old.Owner
		}
		if q.Role == "" {
			q.Role = old.Role
		}
		if end := now.Add(q.Grace).UTC(); old.valid(end) {
			old.ExpiresAt = &end
		}
	}
	if q.Owner == "" {
		q.Owner = q.Name
	}
	text, id, err := newKey(random)
	if err != nil {
		return "", nil, err
	}
	k := Key{ID: id, Name: q.Name, Owner: q.Owner, Role: q.Role, SHA256: digest(text), CreatedAt: now.UTC(),
		ExpiresAt: q.ExpiresAt, Replaces: q.Replaces}
	if err := k.check(); err != nil {
		return "", nil, err
	}
	r.Keys = append(r.Keys, k)
	if adminBefore && !r.hasAdmin("", now) {
		return "", nil, ErrLastAdmin
	}
	return text, &r.Keys[len(r.Keys)-1], nil
}

func (r *Keyring) find(id string) *Key {
	if i := slices.IndexFunc(r.Keys, func(k Key) bool { return k.ID == id }); i >= 0 {
		return &r.Keys[i]
	}
	return nil
}

// hasAdmin reports whether an admin has a key that does not expire, besides the one with an ID.
func (r *Keyring) hasAdmin(besides string, now time.Time) bool {
	return slices.ContainsFunc(r.Keys, func(k Key) bool {
		return k.ID != besides && k.Role == Admin && k.ExpiresAt == nil && k.valid(now)
	})
}

// Remove revokes a key. The last key of an admin stays: nobody could make another.
func (r *Keyring) Remove(id string, now time.Time) error {
	if r.find(id) == nil {
		return ErrNoSuchKey
	}
	if r.hasAdmin("", now) && !r.hasAdmin(id, now) {
		return ErrLastAdmin
	}
	r.Keys = slices.DeleteFunc(r.Keys, func(k Key) bool { return k.ID == id })
	return nil
}

// Encode returns the document of the keyring.
func (r *Keyring) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the keyring: %w", err)
	}
	return append(data, '\n'), nil
}
