package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

func newDirs(t *testing.T) Dirs {
	t.Helper()
	dir := t.TempDir()
	return Dirs{Config: filepath.Join(dir, "config"), State: filepath.Join(dir, "state")}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:8080": "http://localhost:8080", "127.0.0.1": "http://127.0.0.1", "[::1]:9": "http://[::1]:9",
		"jobs.localhost": "http://jobs.localhost", "jobs.example.com": "https://jobs.example.com",
		"http://JOBS.example.com:80/": "http://jobs.example.com", "https://a.b:443/x/": "https://a.b/x",
		"https://a.b:8443": "https://a.b:8443", " https://a.b\n": "https://a.b", "a.b/jobs": "https://a.b/jobs",
	} {
		if got, err := ParseURL(text); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "ftp://a", "https://", "https://:80", "https://u:p@a", "https://a?b", "https://a#b", "http://a b", "mailto:x", "://",
		"https://%zz",
	} {
		if got, err := ParseURL(text); err == nil {
			t.Errorf("%q is taken as %s", text, got)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("the password is repeated: %v", err)
		}
	}
}

// TestResolve finds the server by each way, and gives it no key of another one.
func TestResolve(t *testing.T) {
	d := newDirs(t)
	for _, ctx := range []Context{{"one", "https://one.example.com"}, {"two", "https://two.example.com"}} {
		err := ChangeConfig(d, func(c *Config) error { c.Put(ctx); c.Current = "one"; return nil })
		if err == nil {
			err = SaveCredential(d, Credential{Context: ctx.Name, URL: ctx.URL, Key: "key-" + ctx.Name})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// A context that was made to name another server.
	if err := SaveCredential(d, Credential{Context: "moved", URL: "https://before.example.com", Key: "key-before"}); err != nil {
		t.Fatal(err)
	}
	if err := ChangeConfig(d, func(c *Config) error { c.Put(Context{"moved", "https://evil.example.com"}); return nil }); err != nil {
		t.Fatal(err)
	}
	type env map[string]string
	for _, c := range []struct {
		name  string
		flags Flags
		env   env
		want  string // URL, source and token, or a part of the error
	}{
		{"current", Flags{}, nil, "https://one.example.com|the context one|key-one"},
		{"--context", Flags{Context: "two"}, env{"GOJOB_URL": "http://x.example.com"}, "https://two.example.com|the context two|key-two"},
		{"--url of another", Flags{URL: "https://three.example.com"}, nil, "https://three.example.com|--url|"},
		{"--url of a known one", Flags{URL: "https://two.example.com/"}, nil, "https://two.example.com|--url|key-two"},
		{"--url without encryption", Flags{URL: "http://two.example.com"}, nil, "http://two.example.com|--url|"},
		{"--url of another port", Flags{URL: "https://two.example.com:8443"}, nil, "https://two.example.com:8443|--url|"},
		{"--url of a path", Flags{URL: "https://two.example.com/x"}, nil, "https://two.example.com/x|--url|"},
		{"--url of a subdomain", Flags{URL: "https://a.two.example.com"}, nil, "https://a.two.example.com|--url|"},
		{"a context that moved", Flags{Context: "moved"}, nil, "https://evil.example.com|the context moved|"},
		{"both, alike", Flags{URL: "two.example.com", Context: "two"}, nil, "https://two.example.com|the context two|key-two"},
		{"both, unlike", Flags{URL: "one.example.com", Context: "two"}, nil, "give one of them"},
		{"GOJOB_URL", Flags{}, env{"GOJOB_URL": "https://two.example.com"}, "https://two.example.com|GOJOB_URL|key-two"},
		{"GOJOB_CONTEXT", Flags{}, env{"GOJOB_CONTEXT": "two"}, "https://two.example.com|the context two|key-two"},
		{"GOJOB_TOKEN alone", Flags{}, env{"GOJOB_TOKEN": "t\n"}, "https://one.example.com|the context one|t"},
		{"GOJOB_TOKEN of GOJOB_URL", Flags{}, env{"GOJOB_TOKEN": "t", "GOJOB_URL": "https://x.example.com"}, "https://x.example.com|GOJOB_URL|t"},
		{"GOJOB_TOKEN of another", Flags{Context: "two"}, env{"GOJOB_TOKEN": "t", "GOJOB_URL": "https://x.example.com"},
			"https://two.example.com|the context two|key-two"},
		{"GOJOB_TOKEN of another, --url", Flags{URL: "https://y.example.com"}, env{"GOJOB_TOKEN": "t", "GOJOB_URL": "https://x.example.com"},
			"https://y.example.com|--url|"},
		{"GOJOB_TOKEN with a blank", Flags{}, env{"GOJOB_TOKEN": "a secret"}, "GOJOB_TOKEN has a character at position 2"},
		{"no such context", Flags{Context: "tow"}, nil, "did you mean two?"},
	} {
		got, err := Resolve(c.flags, func(name string) string { return c.env[name] }, d)
		text := ""
		if err == nil {
			text = fmt.Sprintf("%s|%s|%s", got.URL, got.Source, got.Token)
		}
		if err == nil && text != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q, %v; want %q", c.name, text, err, c.want)
		}
	}
	if got, err := Resolve(Flags{}, func(string) string { return "" }, newDirs(t)); err != nil || got.URL.String() != DefaultURL {
		t.Errorf("without anything: %+v %v", got, err)
	}
}

// TestManyAtOnce has several processes change the files at the same time: none loses what another has
// written, and nobody else can read it.
func TestManyAtOnce(t *testing.T) {
	d := newDirs(t)
	var all sync.WaitGroup
	const many = 12
	for i := range many {
		all.Go(func() {
			name, url := fmt.Sprintf("c%d", i), fmt.Sprintf("https://s%d.example.com", i)
			if err := SaveCredential(d, Credential{Context: name, URL: url, Key: "k"}); err != nil {
				t.Error(err)
			}
			if err := ChangeConfig(d, func(c *Config) error { c.Put(Context{name, url}); return nil }); err != nil {
				t.Error(err)
			}
			if err := Remember(d, url, job.ID(fmt.Sprintf("%032d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	config, err := LoadConfig(d)
	if err != nil || len(config.Contexts) != many {
		t.Errorf("%d contexts, %v", len(config.Contexts), err)
	}
	list, err := LoadCredentials(d)
	if err != nil || len(list) != many {
		t.Errorf("%d credentials, %v", len(list), err)
	}
	if id, err := Last(d, "https://s7.example.com"); err != nil || id != job.ID(fmt.Sprintf("%032d", 7)) {
		t.Errorf("%q %v", id, err)
	}
	for _, dir := range []string{d.Config, d.State} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 || strings.HasSuffix(e.Name(), "lock") {
				t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
			}
		}
	}
}

// TestStaleLock goes on after a process that died while it changed the files.
func TestStaleLock(t *testing.T) {
	d := newDirs(t)
	lock := filepath.Join(d.Config, ".lock")
	if err := os.MkdirAll(d.Config, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(lock, old, old); err != nil {
		t.Fatal(err)
	}
	if err := ChangeConfig(d, func(*Config) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestLinkedConfig changes a file that is a link, as those who keep their settings elsewhere have.
func TestLinkedConfig(t *testing.T) {
	d, elsewhere := newDirs(t), filepath.Join(t.TempDir(), "config.yaml")
	if err := os.MkdirAll(d.Config, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(elsewhere, []byte("contexts: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, ConfigFile(d)); err != nil {
		t.Fatal(err)
	}
	err := ChangeConfig(d, func(c *Config) error { c.Put(Context{"a", "https://a.example.com"}); return nil })
	text, _ := os.ReadFile(elsewhere)
	if diff := cmp.Diff("contexts:\n  - name: a\n    url: https://a.example.com\n", string(text)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if info, err := os.Lstat(ConfigFile(d)); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v %v", info.Mode(), err)
	}
}

// TestFaults names the file and the line of what is wrong in it.
func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"credentials:\n  - context: a\n    url: https://a.example.com\n": "credentials.yaml:2: the credential has neither a key nor tokens",
		"credentials:\n  - context: a\n    url: nope nope\n    key: k\n": "credentials.yaml:2: ",
		"credentials:\n  - context: a\n    password: k\n":                "credentials.yaml:3: field password not found",
		"credentials: [\n":                 "credentials.yaml:",
		"credentials:\n  - context: [a]\n": "credentials.yaml:2: cannot unmarshal",
		"credentials:\n  - {context: a, url: 'https://a.example.com', key: s, expires: x}": "credentials.yaml:2: ",
	} {
		d := newDirs(t)
		if err := os.MkdirAll(d.Config, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(CredentialsFile(d), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCredentials(d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}
