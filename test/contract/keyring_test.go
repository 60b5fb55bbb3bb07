package contract

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/platform"
)

// keyring is the keys of callers in a file, which fails on demand.
type keyring struct {
	*access.File
	of   map[guardmatrix.Sender]string // the keys, by whose they are
	fail error
}

func newKeyring(t *testing.T, env *platform.Env) *keyring {
	t.Helper()
	file, err := access.OpenFile(filepath.Join(t.TempDir(), "keys.json"), env.Now, env.Log)
	if err != nil {
		t.Fatal(err)
	}
	k := &keyring{File: file, of: map[guardmatrix.Sender]string{}}
	past := env.Now().Add(-time.Minute)
	err = file.Update(t.Context(), func(ring *access.Keyring) error {
		for sender, q := range map[guardmatrix.Sender]access.Request{
			guardmatrix.Admin:      {Name: "root", Role: access.Admin},
			guardmatrix.User:       {Name: "laptop", Owner: guardmatrix.Ann, Role: access.User},
			guardmatrix.Reader:     {Name: "screen", Owner: guardmatrix.Ann, Role: access.Read},
			guardmatrix.OtherUser:  {Name: guardmatrix.Bob, Role: access.User},
			guardmatrix.ExpiredKey: {Name: "old", Owner: guardmatrix.Ann, Role: access.Admin, ExpiresAt: &past},
			guardmatrix.RevokedKey: {Name: "lost", Owner: guardmatrix.Ann, Role: access.User},
		} {
			text, made, err := ring.Add(q, env.Now(), rand.Reader)
			if err != nil {
				return err
			}
			k.of[sender] = text
			if sender == guardmatrix.RevokedKey {
				if err := ring.Remove(made.ID, env.Now()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	k.of[guardmatrix.MistypedKey] = flipped(k.of[guardmatrix.Admin])
	return k
}

// Load implements keys.Store.
func (k *keyring) Load(ctx context.Context) (*access.Keyring, error) {
	if k.fail != nil {
		return nil, k.fail
	}
	return k.File.Load(ctx)
}

// Update implements keys.Store.
func (k *keyring) Update(ctx context.Context, change func(*access.Keyring) error) error {
	if k.fail != nil {
		return k.fail
	}
	return k.File.Update(ctx, change)
}
