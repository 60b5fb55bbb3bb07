package contract

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/platform"
)

// keyring is the keys of callers in a file, which fails on demand.
type keyring struct {
	*access.File
	of   map[guardtest.Sender]string // the keys, by whose they are
	fail error
}

func newKeyring(t *testing.T, env *platform.Env) *keyring {
	t.Helper()
	file, err := access.OpenFile(filepath.Join(t.TempDir(), "keys.json"), env.Now, env.Log)
	if err != nil {
		t.Fatal(err)
	}
	k := &keyring{File: file, of: map[guardtest.Sender]string{}}
	past := env.Now().Add(-time.Minute)
	err = file.Update(t.Context(), func(ring *access.Keyring) error {
		for sender, q := range map[guardtest.Sender]access.Request{
			guardtest.Admin:      {Name: "root", Role: access.Admin},
			guardtest.User:       {Name: "laptop", Owner: guardtest.Ann, Role: access.User},
			guardtest.Reader:     {Name: "screen", Owner: guardtest.Ann, Role: access.Read},
			guardtest.OtherUser:  {Name: guardtest.Bob, Role: access.User},
			guardtest.ExpiredKey: {Name: "old", Owner: guardtest.Ann, Role: access.Admin, ExpiresAt: &past},
			guardtest.RevokedKey: {Name: "lost", Owner: guardtest.Ann, Role: access.User},
		} {
			text, made, err := ring.Add(q, env.Now(), rand.Reader)
			if err != nil {
				return err
			}
			k.of[sender] = text
			if sender == guardtest.RevokedKey {
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
	k.of[guardtest.MistypedKey] = flipped(k.of[guardtest.Admin])
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
