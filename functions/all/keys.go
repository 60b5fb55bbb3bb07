package all

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/process"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/token"
)

// openKeys takes the keys from TOKEN_KEYS, or else from a file that is made at the first start. The
// file is in STORAGE_DIR, so that tokens are valid as long as their jobs exist.
func openKeys(env *platform.Env, c *settings.Common) error {
	if c.TokenKeys != "" {
		_, err := env.Keys()
		return err
	}
	path := filepath.Join(localFolder(c), "token.key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeKey(path, env.Random)
	}
	if err != nil {
		return fmt.Errorf("token key: %w", err)
	}
	keys, err := token.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	env.SetKeys(keys)
	return nil
}

// localFolder is in STORAGE_DIR, for what does not belong into a bucket.
func localFolder(c *settings.Common) string { return filepath.Join(c.StorageDir, process.Local) }

// makeKey writes a new key to a temporary file first, so that a crash cannot leave half a key at
// path.
func makeKey(path string, random io.Reader) ([]byte, error) {
	key := make([]byte, token.MinKeyBytes)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil { //nolint:gosec // programs of another user reach their workspace through it
		return nil, err
	}
	text := []byte(base64.StdEncoding.EncodeToString(key) + "\n")
	temp := path + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return nil, err
	}
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := os.Remove(temp); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
