package secret_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/store"
)

// fixed is a catalog.
type fixed struct {
	entries []secret.Entry
	err     error
}

func (f fixed) Entries(context.Context) ([]secret.Entry, error) { return f.entries, f.err }

func catalog() []secret.Entry {
	return []secret.Entry{
		{Name: "db", Keyed: true, Roles: []access.Role{access.User}},
		{Name: "file/key", Roles: []access.Role{access.User}},
		{Name: "nobody"},
		{Name: "root", Keyed: true, Roles: []access.Role{access.Admin}},
	}
}

func TestReferences(t *testing.T) {
	for _, test := range []struct {
		from  string
		role  access.Role
		found bool
	}{
		{"db", access.User, true}, {"db", access.Admin, true}, {"db", access.Read, false}, {"db", "", false},
		{"db/password", access.User, true}, {"dbx", access.User, false}, {"root", access.User, false},
		{"root/x", access.User, false}, {"root/x", access.Admin, true}, {"file/key", access.User, true},
		{"file", access.User, false}, {"file/other", access.User, false}, {"nobody", access.Admin, false},
		{"token-keys", access.Admin, false},
	} {
		faults := secret.Set{"A": secret.Reference(test.from), "B": secret.Text("x")}.As(test.role).CheckReferences(catalog())
		if (len(faults) == 0) != test.found {
			t.Errorf("%s for %q: got %v", test.from, test.role, faults)
		}
		for _, f := range faults {
			if f.Field != "secret.A" || strings.Contains(f.Message, "root") && test.role != access.Admin {
				t.Errorf("%s for %q: got %v", test.from, test.role, f)
			}
		}
	}
	if diff := cmp.Diff([]string{"db", "file/key"}, secret.Allowed(catalog(), access.User)); diff != "" {
		t.Errorf("for users (-want +got):\n%s", diff)
	}
}

func TestParseRoles(t *testing.T) {
	for text, want := range map[string][]access.Role{
		"": {access.User}, "user": {access.User}, "admin": {access.Admin}, "admin, user": {access.Admin, access.User},
		"read": nil, "root": nil, "admin,": nil,
	} {
		var names []string
		if text != "" {
			names = strings.Split(text, ",")
		}
		got, err := secret.ParseRoles(names)
		if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (want == nil) {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
}

// TestPublished publishes catalogs, changes what is published, and rotates the keys.
func TestPublished(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := secret.NewPublished(s, testKeys(t, "a"))
	want := func(p *secret.Published, want []secret.Entry) {
		t.Helper()
		got, err := p.Entries(t.Context())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	publish := func(p *secret.Published, entries []secret.Entry) {
		t.Helper()
		if err := p.Publish(t.Context(), fixed{entries: entries}); err != nil {
			t.Fatal(err)
		}
	}
	want(p, nil)
	publish(p, nil)
	path := filepath.Join(dir, ".orchestrator/secrets/catalog.json")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is published: %v", err)
	}
	publish(p, catalog())
	want(p, catalog())
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	publish(p, catalog())
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same catalog is written again: %v", err)
	}
	if err := p.Publish(t.Context(), fixed{err: job.ErrUnavailable}); !errors.Is(err, job.ErrUnavailable) {
		t.Errorf("a catalog that cannot be read: %v", err)
	}
	want(p, catalog())

	rotated, other := secret.NewPublished(s, testKeys(t, "b", "a")), secret.NewPublished(s, testKeys(t, "b"))
	want(rotated, catalog())
	want(other, nil)
	publish(rotated, catalog())
	want(other, catalog())

	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, forged := range []string{
		strings.Replace(string(data), `"root"`, `"keys"`, 1), strings.Replace(string(data), `"admin"`, `"user"`, 1),
		`{"entries":[{"name":"token-keys","roles":["user"]}],"code":""}`, `{`, ``, `null`,
	} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(forged), 0o600); err != nil {
			t.Fatal(err)
		}
		want(other, nil)
	}
	publish(other, nil)
	want(other, nil)
	publish(other, catalog())
	publish(other, []secret.Entry{})
	want(other, []secret.Entry{})
}
