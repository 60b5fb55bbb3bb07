package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Credential is what a user proves to one server who they are with. Only the server with its URL
// gets it.
type Credential struct {
	// Context is the context that it was made for. Several may be for one server.
	Context string `yaml:"context"`
	URL     string `yaml:"url"`
	// Key is a key of the server. It is empty if OIDC is set.
	Key  string `yaml:"key,omitempty"`
	OIDC *OIDC  `yaml:"oidc,omitempty"`
}

// OIDC are the tokens that an OpenID Connect issuer has given to a user.
type OIDC struct {
	Issuer   string `yaml:"issuer"`
	ClientID string `yaml:"clientID"`
	// Audience is whom Token must be made for. If it is ClientID, Token is an ID token, else an access
	// token.
	Audience string `yaml:"audience"`
	TokenURL string `yaml:"tokenURL"`
	// Token is what the server gets, until Expires.
	Token   string    `yaml:"token"`
	Expires time.Time `yaml:"expires"`
	// Refresh is what the issuer gives a new Token for. It may be empty.
	Refresh string `yaml:"refresh,omitempty"`
}

// credentials is credentials.yaml.
type credentials struct {
	Credentials []Credential `yaml:"credentials"`
}

// CredentialsFile is the file of the credentials.
func CredentialsFile(d Dirs) string { return filepath.Join(d.Config, "credentials.yaml") }

// LoadCredentials reads the credentials. It refuses a file that others can read.
func LoadCredentials(d Dirs) ([]Credential, error) {
	path := CredentialsFile(d)
	if err := CheckPrivate(path); err != nil {
		return nil, err
	}
	var c credentials
	document, err := load(path, &c)
	if err != nil {
		return nil, err
	}
	for i, credential := range c.Credentials {
		u, err := ParseURL(credential.URL)
		if err == nil && credential.Key == "" && credential.OIDC == nil {
			err = errors.New("the credential has neither a key nor tokens")
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w; correct it, or log in again", path, lineOf(document, "credentials", i), err)
		}
		c.Credentials[i].URL = u.String()
	}
	return c.Credentials, nil
}

// CheckPrivate demands that only its owner can read a file, if it is there. On Windows the folder of
// the user sees to that.
func CheckPrivate(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || runtime.GOOS == "windows" {
		return nil
	}
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has credentials, and others can read or change it (mode %04o); run: chmod 600 '%s'",
			path, mode, path)
	}
	return nil
}

// changeCredentials reads the credentials, has them changed, and writes them, while no other gojob
// does.
func changeCredentials(d Dirs, change func([]Credential) []Credential) error {
	return locked(d.Config, func() error {
		list, err := LoadCredentials(d)
		if err != nil {
			return err
		}
		return save(CredentialsFile(d), credentials{change(list)})
	})
}

// SaveCredential keeps a credential in place of what its context had before.
func SaveCredential(d Dirs, c Credential) error {
	return changeCredentials(d, func(list []Credential) []Credential {
		list = slices.DeleteFunc(list, func(o Credential) bool { return o.Context == c.Context })
		return append(list, c)
	})
}

// RemoveCredentials removes those of a context, and returns how many there were.
func RemoveCredentials(d Dirs, context string) (removed int, err error) {
	list, err := LoadCredentials(d)
	if err != nil || !slices.ContainsFunc(list, func(c Credential) bool { return c.Context == context }) {
		return 0, err
	}
	err = changeCredentials(d, func(list []Credential) []Credential {
		before := len(list)
		list = slices.DeleteFunc(list, func(o Credential) bool { return o.Context == context })
		removed = before - len(list)
		return list
	})
	return removed, err
}

// find returns the credential for a server: that of the context, or, where the server was named by
// its URL, the first one for it. nil: there is none.
func find(list []Credential, context, url, current string) *Credential {
	var found *Credential
	for i := range list {
		c := &list[i]
		switch {
		case c.URL != url:
		case c.Context == context:
			return c
		case context == "" && (found == nil || c.Context == current):
			found = c
		}
	}
	return found
}
