package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
)

// secretsRecord is the file in which the sidecar leaves the secrets for exec. It lies in a volume
// that is in memory alone, and exec removes it before it starts the program.
const secretsRecord = "secrets.json"

// errSecrets means that the program did not get its secrets, so it is not started.
var errSecrets = errors.New("the program's secrets could not be opened")

func (c *client) secrets(ctx context.Context) (map[string]string, error) {
	body, err := c.get(ctx, routes.GetSecrets.URL(string(c.id)))
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var answer agentwire.Secrets
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return nil, errors.New("decode the secrets: the answer is not in the format of this version")
	}
	return answer.Values, nil
}

// passSecrets leaves the secrets of a job for exec. An error of errSecrets is for the job's user.
func (s *sidecar) passSecrets(ctx context.Context, index *job.Index) error {
	if len(index.Secrets) == 0 {
		return nil
	}
	values := map[string]string{}
	for _, one := range index.Secrets {
		if one.From != "" {
			continue
		}
		got, err := s.client.secrets(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errSecrets, err)
		}
		maps.Copy(values, got)
		break // they come all at once
	}
	for _, one := range index.Secrets {
		if one.From == "" {
			continue
		}
		value, err := s.named(one.From)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", errSecrets, job.SecretField(one.Name), err)
		}
		values[one.Name] = value
	}
	data, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("%w: they cannot be encoded", errSecrets)
	}
	if err := s.writeSecrets(data); err != nil {
		s.log.Error("secrets cannot be written", "error", err)
		return fmt.Errorf("%w: the pod has no room for them, or was made by another version of the server", errSecrets)
	}
	return nil
}

// writeSecrets writes the record whole or not at all. Its error has paths, which are for the log.
func (s *sidecar) writeSecrets(data []byte) error {
	temp := filepath.Join(s.paths.secrets, secretsRecord+".tmp")
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(s.paths.secrets, secretsRecord))
}

// named returns a secret of the operator's from where its Secret is mounted. A name without a key
// means the only value of the Secret, or the one whose key is "value".
func (s *sidecar) named(name string) (string, error) {
	base, key, keyed := strings.Cut(name, "/")
	folder, err := os.OpenRoot(filepath.Join(s.paths.named, base))
	if err != nil {
		return "", fmt.Errorf("the operator's secret %s is not there", base)
	}
	defer folder.Close()
	if !keyed {
		if key, err = onlyKey(folder); err != nil {
			return "", fmt.Errorf("the operator's secret %s: %w", base, err)
		}
	}
	file, err := folder.Open(key)
	if err != nil {
		return "", fmt.Errorf("the operator's secret %s has no value %s", base, key)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, job.MaxArgBytes+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("the operator's secret %s cannot be read: %w", name, err)
	case len(data) > job.MaxArgBytes:
		return "", fmt.Errorf("the operator's secret %s is longer than a variable can be", name)
	case !utf8.Valid(data) || strings.Contains(string(data), "\x00"):
		return "", fmt.Errorf("the operator's secret %s is not a text, so it cannot be a variable", name)
	}
	return string(data), nil
}

// onlyKey returns the key of a mounted Secret that a name without a key means.
func onlyKey(folder *os.Root) (string, error) {
	const usual = "value"
	entries, err := fs.ReadDir(folder.FS(), ".")
	if err != nil {
		return "", errors.New("it is not there")
	}
	var keys []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") { // which the kubelet uses to replace all at once
			keys = append(keys, e.Name())
		}
		if e.Name() == usual {
			return usual, nil
		}
	}
	switch len(keys) {
	case 0:
		return "", errors.New("it is not there")
	case 1:
		return keys[0], nil
	}
	return "", fmt.Errorf("it has %d values; name one of them after a slash", len(keys))
}

// takeSecrets returns the secrets that the sidecar has left, and removes them: the program gets them
// as variables, and finds no file of them.
func (p paths) takeSecrets(index *job.Index) (map[string]string, error) {
	if len(index.Secrets) == 0 {
		return nil, nil //nolint:nilnil // there are none
	}
	path := filepath.Join(p.secrets, secretsRecord)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSecrets, err)
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("%w: %w", errSecrets, err)
	}
	var values map[string]string
	if json.Unmarshal(data, &values) != nil {
		return nil, fmt.Errorf("%w: they are not in the format of this version", errSecrets)
	}
	for _, one := range index.Secrets {
		if _, there := values[one.Name]; !there {
			return nil, fmt.Errorf("%w: %s is missing", errSecrets, job.SecretField(one.Name))
		}
	}
	return values, nil
}
