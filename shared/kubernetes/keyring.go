package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
)

// The Secret that has the keys of callers, and its entry.
const (
	KeysSecret = "keys"
	KeysEntry  = "keys.json"
)

// FirstKey makes a keyring with the key of an admin. It returns the Secret of the keyring, as a
// manifest in JSON, and the key itself, which is not in the Secret.
func FirstKey(now time.Time, random io.Reader) (manifest []byte, key string, err error) {
	ring := &access.Keyring{}
	key, _, err = ring.Add(access.FirstKey(), now, random)
	if err != nil {
		return nil, "", err
	}
	data, err := ring.Encode()
	if err != nil {
		return nil, "", err
	}
	manifest, err = json.Marshal(corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: KeysSecret},
		Data:       map[string][]byte{KeysEntry: data},
	})
	if err != nil {
		return nil, "", fmt.Errorf("encode secret %s: %w", KeysSecret, err)
	}
	return manifest, key, nil
}

// Keyring keeps the keys of callers in a Secret. The gateway has that Secret mounted, and reads it
// again when it changes.
type Keyring struct{ client *Client }

// NewKeyring returns the keyring of the client's namespace.
func NewKeyring(c *Client) *Keyring { return &Keyring{c} }

// Load returns the keyring that the Secret has now. Without the Secret there are no keys.
func (k *Keyring) Load(ctx context.Context) (*access.Keyring, error) {
	ring, _, err := k.load(ctx)
	return ring, err
}

func (k *Keyring) load(ctx context.Context) (*access.Keyring, *corev1.Secret, error) {
	s, err := k.client.getSecret(ctx, KeysSecret)
	if errors.Is(err, job.ErrNotFound) {
		return &access.Keyring{}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	ring, err := access.ParseKeyring(s.Data[KeysEntry])
	if err != nil {
		return nil, nil, fmt.Errorf("secret %s: %w", KeysSecret, err)
	}
	return ring, s, nil
}

// updateTries bounds how often an update is tried while others change the Secret.
const updateTries = 10

// Update changes the keyring. If somebody else changes the Secret at the same time, change is called
// again with their keyring. Update does not create the Secret, because the right to create Secrets
// cannot be limited to one name.
func (k *Keyring) Update(ctx context.Context, change func(*access.Keyring) error) error {
	for range updateTries {
		ring, secret, err := k.load(ctx)
		if err != nil {
			return err
		}
		if secret == nil {
			return fmt.Errorf("secret %s does not exist; make secret creates it: %w", KeysSecret, job.ErrUnavailable)
		}
		if err := change(ring); err != nil {
			return err
		}
		data, err := ring.Encode()
		if err != nil {
			return err
		}
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[KeysEntry] = data
		// The Secret has the resource version that was read, so the update fails if it has changed since.
		if err := k.client.updateSecret(ctx, secret); !errors.Is(err, job.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("secret %s was changed by others %d times: %w", KeysSecret, updateTries, job.ErrUnavailable)
}

// OpenKeyring returns the keyring of the namespace that this process runs in.
func OpenKeyring(env *platform.Env) (*Keyring, error) {
	c, err := InCluster(env)
	if err != nil {
		return nil, err
	}
	return NewKeyring(c), nil
}
