package kubernetes

import (
	"context"
	"errors"
	"fmt"

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

// Keyring keeps the keys of callers in a Secret. The gateway has that Secret mounted, and reads it
// again when it changes.
type Keyring struct{ client *Client }

// NewKeyring returns the keyring of the client's namespace.
func NewKeyring(c *Client) *Keyring { return &Keyring{c} }

// Load returns the keyring as the Secret has it now. A Secret that does not exist has no keys.
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

// updateTries bounds how often a change is made again because somebody else was faster.
const updateTries = 10

// Update changes the keyring. When somebody else has changed the Secret meanwhile, change is called
// again with what they made of it.
func (k *Keyring) Update(ctx context.Context, change func(*access.Keyring) error) error {
	for range updateTries {
		ring, secret, err := k.load(ctx)
		if err != nil {
			return err
		}
		if err := change(ring); err != nil {
			return err
		}
		data, err := ring.Encode()
		if err != nil {
			return err
		}
		if secret == nil {
			err = k.client.createSecret(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: KeysSecret},
				Data: map[string][]byte{KeysEntry: data}})
		} else {
			if secret.Data == nil {
				secret.Data = map[string][]byte{}
			}
			secret.Data[KeysEntry] = data // its resource version makes sure that nobody was faster
			err = k.client.updateSecret(ctx, secret)
		}
		if !errors.Is(err, job.ErrConflict) && !errors.Is(err, job.ErrExists) {
			return err
		}
	}
	return fmt.Errorf("secret %s is changed all the time: %w", KeysSecret, job.ErrUnavailable)
}

// OpenKeyring returns the keyring of the namespace that this process runs in.
func OpenKeyring(env *platform.Env) (*Keyring, error) {
	c, err := InCluster(env)
	if err != nil {
		return nil, err
	}
	return NewKeyring(c), nil
}
