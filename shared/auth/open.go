package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/oidc"
	"go-job-orchestrator/shared/settings"
)

// Place is where a gateway stands.
type Place struct {
	// Loopback says that only programs of this machine reach it, so that auto means open.
	Loopback bool
	// KeysFile has the keys, unless KEYS_FILE says otherwise.
	KeysFile string
}

// Access is a gateway, and what it authenticates by.
type Access struct {
	*Gateway
	Login access.Login
	File  *access.File // nil: there is no file of keys
	env   *settings.Env
}

// Open returns the gateway with the settings of an Env.
func Open(env *settings.Env, p Place) (*Access, error) {
	var s Settings
	if err := env.Load(&s); err != nil {
		return nil, err
	}
	a := &Access{Login: s.Login(p.Loopback), env: env}
	s.Auth = a.Login.Modes
	d := Deps{Open: s.has(access.ModeOpen), Loopback: p.Loopback, Now: env.Now, Log: env.Log}
	if s.KeysFile != "" {
		p.KeysFile = s.KeysFile
	}
	var errs [4]error
	tokens, err := env.Keys()
	d.Sealer, errs[3] = tokens, err
	if p.KeysFile != "" {
		a.File, errs[0] = access.OpenFile(p.KeysFile, env.Now, env.Log)
	}
	if s.has(access.ModeKeys) && p.KeysFile == "" {
		errs[0] = errors.New("KEYS_FILE: AUTH=keys needs the file that has the keys")
	}
	if s.has(access.ModeKeys) && a.File != nil {
		d.Keys, errs[2] = s.keyring(env, a.File, filepath.Base(p.KeysFile))
	}
	if s.has(access.ModeOIDC) {
		issuer, err := oidc.New(s.Settings, http.DefaultClient, env.Now)
		if err == nil {
			d.Issuer = issuer
		}
		errs[1] = err
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if d.Open && !p.Loopback {
		env.Log.Warn("AUTH=open: everybody who reaches this server may run programs, and see and remove all jobs; set " +
			"AUTH=keys")
	}
	a.Gateway = New(d)
	return a, nil
}

// keyring returns the keyring in a file, or in the Secret that the file is mounted from.
func (s *Settings) keyring(env *settings.Env, file *access.File, entry string) (Keyring, error) {
	if s.KeysSecret == "" {
		return file, nil
	}
	common, err := env.Common()
	if err != nil {
		return nil, err
	}
	return OpenSecret(SecretConfig{
		Namespace: common.Namespace, Name: s.KeysSecret, Entry: entry, Folder: accountFolder,
		Host: env.Vars["KUBERNETES_SERVICE_HOST"], Port: env.Vars["KUBERNETES_SERVICE_PORT"],
	}, file, env.Now, env.Log)
}

// FirstKey makes a key for an admin if keys are asked for and there are none. It returns an empty
// text otherwise. Nobody can tell the key later.
func (a *Access) FirstKey(ctx context.Context) (string, error) {
	if !slices.Contains(a.Login.Modes, access.ModeKeys) || len(a.File.Current().Keys) > 0 {
		return "", nil
	}
	text := ""
	err := a.File.Update(ctx, func(ring *access.Keyring) error {
		if len(ring.Keys) > 0 { // another process was faster
			return nil
		}
		var err error
		text, _, err = ring.Add(access.FirstKey(), a.env.Now(), a.env.Random)
		return err
	})
	return text, err
}

// Describe says who may call, for people who start the server.
func (a *Access) Describe() string {
	if a.Open {
		return "everybody who reaches it can run programs here"
	}
	return fmt.Sprintf("callers need credentials (AUTH=%s)", strings.Join(a.Login.Modes, ","))
}

// Option is what callers have to tell curl besides, with a space after it; or nothing.
func (a *Access) Option() string {
	if a.Open {
		return ""
	}
	return `-H "Authorization: Bearer $KEY" `
}
