package secretfile_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/secretfile"
)

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secrets.yaml")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGood(t *testing.T) {
	path := write(t, `
# a comment
db/password: {value: "hunter2hunter2", roles: [user]}
admin: {value: 0123, roles: [admin]}
api.v1:
  value: |
    two
    lines
"empty": {value: ""}
`, 0o600)
	f, err := secretfile.Open(path, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := f.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	user := []access.Role{access.User}
	want := []secret.Entry{{Name: "admin", Roles: []access.Role{access.Admin}}, {Name: "api.v1", Roles: user},
		{Name: "db/password", Roles: user}, {Name: "empty", Roles: user}}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"db/password": "hunter2hunter2", "admin": "0123", "api.v1": "two\nlines\n", "empty": "",
	} {
		if got, err := f.Value(name, access.Admin); err != nil || got != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"admin", "db", "nothing"} {
		if got, err := f.Value(name, access.User); err == nil || got != "" || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("%s for a user: got %q, %v", name, got, err)
		}
	}
}

// TestBad has files with mistakes. No message has a value.
func TestBad(t *testing.T) {
	const value = "hunter2hunter2"
	for name, test := range map[string]struct {
		text     string
		mode     os.FileMode
		contains []string
	}{
		"others can read it":  {"db: {value: x}", 0o640, []string{"chmod 600", "0640"}},
		"others can write it": {"db: {value: x}", 0o602, []string{"chmod 600"}},
		"not YAML":            {"db: {value: " + value, 0o600, []string{"is not YAML", "line"}},
		"an anchor":           {"db: {value: *" + value + "}", 0o600, []string{"is not YAML"}},
		"an alias":            {"a: &x {value: " + value + "}\nb: *x", 0o600, []string{"line 2", "must have the fields"}},
		"a list":              {"[" + value + "]", 0o600, []string{"must be names of secrets"}},
		"a text":              {value, 0o600, []string{"must be names of secrets"}},
		"a value alone":       {"db: " + value, 0o600, []string{"db: must have the fields value and roles"}},
		"no value":            {"db: {roles: [user]}", 0o600, []string{"db: needs a value"}},
		"null":                {"db: {value: }", 0o600, []string{"must be a text"}},
		"a list as value":     {"db: {value: [" + value + "]}", 0o600, []string{"must be a text"}},
		"NUL":                 {`db: {value: "` + value + `\0"}`, 0o600, []string{"NUL"}},
		"too long":            {"db: {value: " + strings.Repeat(value, 10_000) + "}", 0o600, []string{"Linux allows"}},
		"twice":               {"db: {value: x}\ndb: {value: " + value + "}", 0o600, []string{"line 2: db: is there twice"}},
		"a second document":   {"db: {value: x}\n---\nx: {value: " + value + "}", 0o600, []string{"second document"}},
		"all at once": {"DB: {value: " + value + "}\ndb: {value: x, rolls: [user]}\nx: {value: x, roles: [root]}\n" +
			"y: {value: x, roles: [read]}\nz: {value: x, roles: []}\nw: {value: x, roles: user}", 0o600,
			[]string{"line 1", `line 2: db: "rolls"`, "line 3", "line 4", "line 5", "line 6"}},
	} {
		_, err := secretfile.Open(write(t, test.text, test.mode), time.Now, slog.New(slog.DiscardHandler))
		if err == nil {
			t.Errorf("%s: is taken", name)
			continue
		}
		for _, text := range append(test.contains, "SECRETS_FILE") {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %q", name, err, text)
			}
		}
		if strings.Contains(err.Error(), value) {
			t.Errorf("%s: the message has the value: %v", name, err)
		}
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "nothing")} {
		if _, err := secretfile.Open(path, time.Now, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: is taken", path)
		}
	}
	for _, text := range []string{"", "# nothing\n", "---\n", "null"} {
		if _, err := secretfile.Open(write(t, text, 0o400), time.Now, slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestChanges replaces the file, by a faulty one as well, and takes it away.
func TestChanges(t *testing.T) {
	var log bytes.Buffer
	now := time.Now()
	path := write(t, "db: {value: one}", 0o600)
	f, err := secretfile.Open(path, func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct{ text, want, logs string }{
		{"db: {value: two, roles: [user]}", "two", ""}, {"db: {value: hunter2, x: 1}", "two", "not read again"},
		{"db: {value: three}", "three", ""}, {"", "three", "not read again"},
	} {
		log.Reset()
		now = now.Add(time.Minute)
		if step.text == "" {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, []byte(step.text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Value("db", access.User); got != step.want || err != nil {
			t.Errorf("step %d: got %q, %v", i, got, err)
		}
		if (step.logs != "") != strings.Contains(log.String(), "not read again") || strings.Contains(log.String(), "hunter2") {
			t.Errorf("step %d: the log is %q", i, log.String())
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add("db: {value: hunter2hunter2, roles: [user]}")
	f.Add("a: &x {value: *y}\n? [1]\n: {<<: *x}")
	f.Add("? {a: b}\n: c")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := secretfile.Open(write(t, text, 0o600), time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			return
		}
		entries, err := file.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if _, err := file.Value(e.Name, access.Admin); err != nil || !secret.IsName(e.Name) {
				t.Errorf("%q: %v", e.Name, err)
			}
		}
	})
}
