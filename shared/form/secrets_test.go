package form_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// TestSecrets reads secrets as texts and as files.
func TestSecrets(t *testing.T) {
	asFile := func(name, content string) formtest.Part {
		return part(`Content-Disposition: form-data; name="`+name+`"; filename="x"`, content)
	}
	parts := script(field("secret.A", "one"), asFile("secret.B", "@two\n"), field("secret.C", "@db/password"),
		field("secret.d-e.f", "@@three"), field("secret.EMPTY", ""))
	got, err := usual().Read(submit(t, formtest.Encode(parts...), nil), job.Spec{}, saver{}.save)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A", "B", "C", "EMPTY", "d-e.f"}
	if diff := cmp.Diff(want, got.Secrets.Names()); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	for name, from := range map[string]string{"A": "", "B": "", "C": "db/password", "d-e.f": ""} {
		if got.Secrets[name].From != from {
			t.Errorf("%s: got %v", name, got.Secrets[name])
		}
	}
	overrides, err := usual().ReadOverrides(submit(t, formtest.Encode(field("secret.A", "one"), field("arg", "x")), nil), saver{}.save)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A"}, overrides.Secrets.Names()); diff != "" {
		t.Errorf("overrides (-want +got):\n%s", diff)
	}
}

// TestBadSecrets has secrets that no form can have. No message has a value.
func TestBadSecrets(t *testing.T) {
	const value = "hunter2hunter2"
	many := make([]formtest.Part, job.MaxSecrets+1)
	for i := range many {
		many[i] = field(fmt.Sprint("secret.S", i), value)
	}
	for name, test := range map[string]struct {
		parts          []formtest.Part
		field, message string
	}{
		"twice":       {[]formtest.Part{field("secret.A", value), field("secret.A", value)}, "secret.A", "more than once"},
		"too many":    {many, "secret", "more than 64"},
		"no UTF-8":    {[]formtest.Part{field("secret.A", value+"\xff")}, "secret.A", "UTF-8"},
		"not a name":  {[]formtest.Part{field("secret.A", "@"+value+"!")}, "secret.A", "write @@"},
		"large":       {[]formtest.Part{field("secret.A", strings.Repeat(value, 100_000))}, "secret.A", "MAX_FIELD_BYTES"},
		"odd name":    {[]formtest.Part{field("secret.a b", value), field("secret.a b", value)}, "secret.a b", "once"},
		"mistyped":    {[]formtest.Part{field("secrets.A", value)}, "secrets.A", "secret.NAME"},
		"without one": {[]formtest.Part{field("secret", value)}, "secret", "did you mean secret.NAME?"},
	} {
		_, err := usual().Read(submit(t, formtest.Encode(script(test.parts...)...), nil), job.Spec{}, saver{}.save)
		var faults *job.Faults
		if !errors.As(err, &faults) || faults.List[0].Field != test.field ||
			!strings.Contains(faults.List[0].Message, test.message) {
			t.Errorf("%s: got %v", name, err)
		}
		if strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: the message has the value: %v", name, err)
		}
	}
}
