package admission_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/token"
)

// catalog is the operator's secrets.
type catalog struct{ err error }

func (c catalog) Entries(context.Context) ([]secret.Entry, error) {
	return []secret.Entry{{Name: "db", Keyed: true, Roles: []access.Role{access.User}}}, c.err
}

func offering(err error) admissiontest.Option {
	return func(d *admission.Deps) { d.Secrets = catalog{err} }
}

const secretValue = "hunter2hunter2"

func withSecrets(set secret.Set) admission.Draft {
	d := keyed()
	d.Secrets = set.As(access.User)
	return d
}

// TestSecretsRecorded demands that the index names the secrets, that only the sealed blob has their
// values, and that it goes when the job ends.
func TestSecretsRecorded(t *testing.T) {
	w := admissiontest.New(t, nil, offering(nil))
	d := withSecrets(secret.Set{"A": secret.Text(secretValue), "B": secret.Reference("db/password")})
	d.Inherited = secret.Set{"A": secret.Reference("db"), "C": secret.Reference("db")}.As(access.Admin)
	index, err := commit(t.Context(), w.Controller(), d, "a.py=x")
	if err != nil {
		t.Fatal(err)
	}
	want := []job.Secret{{Name: "A"}, {Name: "B", From: "db/password", Role: "user"}, {Name: "C", From: "db", Role: "admin"}}
	if diff := cmp.Diff(want, w.Index(index.JobID).Secrets); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	sealed, err := w.Ledger.Secrets(t.Context(), index.JobID)
	if err != nil {
		t.Fatal(err)
	}
	values, err := secret.Open(sealed, w.Keys, index)
	if diff := cmp.Diff(map[string]string{"A": secretValue}, values); diff != "" || err != nil {
		t.Errorf("values: %v (-want +got):\n%s", err, diff)
	}
	for _, name := range w.Tree() {
		if strings.HasSuffix(name, "/") {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(w.Dir, name)); err != nil || bytes.Contains(data, []byte(secretValue)) {
			t.Errorf("%s has the value; %v", name, err)
		}
	}
	w.Finish(index.JobID)
	if _, err := w.Ledger.Secrets(t.Context(), index.JobID); err == nil {
		t.Error("the secrets are still there when the job is over")
	}
}

// TestSecretsAndKeys sends requests again, with the same and with other secrets, also after a
// rotation of the token keys.
func TestSecretsAndKeys(t *testing.T) {
	w := admissiontest.New(t, nil, offering(nil))
	same := func() admission.Draft {
		return withSecrets(secret.Set{"A": secret.Text(secretValue), "B": secret.Reference("db")})
	}
	first, err := commit(t.Context(), w.Controller(), same(), "a.py=x")
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		again, err := commit(t.Context(), w.Controller(), same(), "a.py=x")
		if err != nil || again.JobID != first.JobID {
			t.Errorf("%s, sent again: %v, %v", when, again, err)
		}
		for _, set := range []secret.Set{
			nil, {"A": secret.Text(secretValue)}, {"A": secret.Text("other"), "B": secret.Reference("db")},
			{"A": secret.Text(secretValue), "B": secret.Reference("db/x")},
			{"A": secret.Text(secretValue), "B": secret.Text("db")},
		} {
			_, err := commit(t.Context(), w.Controller(), withSecrets(set), "a.py=x")
			wantRefused(t, err, job.ErrInvalid, "use a new key")
		}
	}
	check("at once")
	rotated, err := token.New(bytes.Repeat([]byte("n"), token.MinKeyBytes), []byte(admissiontest.Key))
	if err != nil {
		t.Fatal(err)
	}
	w.Restart(offering(nil), func(d *admission.Deps) { d.Env.SetKeys(rotated) })
	check("after a rotation")
}

// TestSecretsRefused has secrets that a job cannot have. All faults are named at once, and nothing
// is left.
func TestSecretsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		set   secret.Set
		fault error
		kind  error
		want  []string
	}{
		"unknown": {secret.Set{"A": secret.Reference("gone"), "B": secret.Reference("db")}, nil, job.ErrInvalid,
			[]string{"secret.A", "there are: db"}},
		"all at once": {secret.Set{"A": secret.Reference("gone"), "PATH": secret.Text("x"), "X": secret.Text("\x00")}, nil,
			job.ErrInvalid, []string{"secret.A", "secret.PATH", "secret.X", "cpu"}},
		"not to be read": {secret.Set{"A": secret.Reference("db")}, job.ErrUnavailable, job.ErrUnavailable, nil},
	} {
		w := admissiontest.New(t, nil, offering(test.fault))
		d := withSecrets(test.set)
		d.KeyHash = ""
		if name == "all at once" {
			d.Faults = job.Invalid("cpu", "x")
		}
		_, err := commit(t.Context(), w.Controller(), d, "a.py=x")
		if !errors.Is(err, test.kind) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, text := range test.want {
			if !strings.Contains(fmt.Sprint(err), text) {
				t.Errorf("%s: got %v, want %q", name, err, text)
			}
		}
		w.WantNothing()
	}
}
