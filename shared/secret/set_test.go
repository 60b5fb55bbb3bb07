package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/token"
)

func testKeys(t testing.TB, keys ...string) token.Keys {
	t.Helper()
	var list [][]byte
	for _, key := range keys {
		list = append(list, bytes.Repeat([]byte(key), token.MinKeyBytes))
	}
	k, err := token.New(list...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const (
	jobA = job.ID("fe5dd76d6eea4ca28966cc503bf71408")
	jobB = job.ID("fe5dd76d6eea4ca28966cc503bf71409")
)

func TestParse(t *testing.T) {
	for text, from := range map[string]string{
		"": "", "x": "", "a@b": "", " @db": "", "@@": "", "@@db": "", "@db": "db", "@db.v2-x": "db.v2-x",
		"@db/password": "db/password", "@db/.x": "!", "@db/_x.y": "db/_x.y", "@": "!", "@DB": "!", "@db/": "!", "@db/a/b": "!",
		"@-db": "!", "@db-": "!", "@../x": "!", "@db/..": "!", "@db\n": "!", "@hunter2 hunter2": "!",
	} {
		v, message := secret.Parse(text)
		if bad := from == "!"; bad != (message != "") || !bad && v.From != from {
			t.Errorf("%q: got %v, %q", text, v, message)
		}
		if strings.Contains(message, "hunter2") {
			t.Errorf("the message has the value: %s", message)
		}
	}
	set := secret.Set{}
	for name, text := range map[string]string{"A": "@@x", "B": "plain", "C": "@db"} {
		set[name], _ = secret.Parse(text)
	}
	sealed, err := set.Seal(testKeys(t, "a"), jobA)
	if err != nil {
		t.Fatal(err)
	}
	got, err := secret.Open(sealed, testKeys(t, "a"), &job.Index{JobID: jobA, Secrets: set.Records()})
	if diff := cmp.Diff(map[string]string{"A": "@x", "B": "plain"}, got); diff != "" || err != nil {
		t.Errorf("values (-want +got):\n%s%v", diff, err)
	}
}

// TestPrintsNothing formats secrets in every way that a log, a panic or a record may.
func TestPrintsNothing(t *testing.T) {
	const value = "hunter2hunter2"
	set := secret.Set{"A": secret.Text(value), "B": secret.Reference("db")}
	type inside struct {
		hidden secret.Set
		Seen   *secret.Set
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "set", set, "value", set["A"])
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "set", set, "value", set["A"])
	data, err := json.Marshal([]any{set, inside{set, &set}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(set), fmt.Sprintf("%v %+v %#v %s %q", set, set, set, set, set), log.String(), string(data),
		fmt.Sprintf("%v %+v %#v", inside{set, &set}, &inside{set, &set}, inside{set, &set}),
		fmt.Sprint(set["A"]), fmt.Sprintf("%x", set["A"]), fmt.Sprint(set.Check(&job.Spec{})),
	} {
		if strings.Contains(text, value) || strings.Contains(text, fmt.Sprintf("%x", value)) {
			t.Errorf("has the value: %s", text)
		}
	}
}

func TestCheck(t *testing.T) {
	const value = "hunter2hunter2"
	many := secret.Set{}
	for i := range job.MaxSecrets + 1 {
		many[fmt.Sprint("S", i)] = secret.Text("x")
	}
	for name, test := range map[string]struct {
		set             secret.Set
		env             map[string]string
		field, contains string
	}{
		"good":     {set: secret.Set{"A": secret.Text(value), "b.c-d": secret.Text(""), "C": secret.Reference("db")}},
		"too many": {set: many, field: "secret", contains: "at most 64"},
		"no name":  {set: secret.Set{"": secret.Text(value)}, field: "secret.", contains: "needs a name"},
		"a blank":  {set: secret.Set{"a b": secret.Text(value)}, field: "secret.a b", contains: "blanks"},
		"control":  {set: secret.Set{"a\n": secret.Text(value)}, field: `secret.a\n`, contains: "printable"},
		"reserved": {set: secret.Set{"PATH": secret.Text(value)}, field: "secret.PATH", contains: "orchestrator"},
		"long name": {set: secret.Set{strings.Repeat("x", 300): secret.Text(value)},
			field: "secret." + strings.Repeat("x", 80), contains: "300 bytes"},
		"in env as well": {set: secret.Set{"A": secret.Text(value)}, env: map[string]string{"A": "1"}, field: "secret.A",
			contains: "same name"},
		"NUL":      {set: secret.Set{"A": secret.Text(value + "\x00")}, field: "secret.A", contains: "NUL"},
		"no UTF-8": {set: secret.Set{"A": secret.Text(value + "\xff")}, field: "secret.A", contains: "UTF-8"},
		"large": {set: secret.Set{"A": secret.Text(strings.Repeat(value, 10_000))}, field: "secret.A",
			contains: "Linux allows"},
		"large together": {set: secret.Set{"A": secret.Text(strings.Repeat("x", 100_000))},
			env: map[string]string{"B": strings.Repeat("x", 1<<20)}, field: "args", contains: "together"},
	} {
		t.Run(name, func(t *testing.T) {
			faults := test.set.Check(&job.Spec{Env: test.env})
			found := slices.ContainsFunc(faults, func(f job.Fault) bool {
				return f.Field == test.field && strings.Contains(f.Message, test.contains)
			})
			if found != (test.field != "") || test.field == "" && len(faults) > 0 {
				t.Errorf("got %v", faults)
			}
			if strings.Contains(fmt.Sprint(faults), "hunter2") {
				t.Errorf("the faults have the value: %v", faults)
			}
		})
	}
}

// TestOpen opens sealed secrets for other jobs, with other keys, and after a change.
func TestOpen(t *testing.T) {
	set := secret.Set{"A": secret.Text("1"), "B": secret.Text("2"), "C": secret.Reference("db")}
	keys := testKeys(t, "a")
	sealed, err := set.Seal(keys, jobA)
	if err != nil {
		t.Fatal(err)
	}
	index := func(id job.ID, names ...string) *job.Index {
		i := &job.Index{JobID: id, Secrets: []job.Secret{{Name: "C", From: "db", Role: "user"}}}
		for _, name := range names {
			i.Secrets = append(i.Secrets, job.Secret{Name: name})
		}
		return i
	}
	if got, err := secret.Open(sealed, testKeys(t, "b", "a"), index(jobA, "B", "A")); err != nil || len(got) != 2 {
		t.Errorf("after a rotation: got %v, %v", got, err)
	}
	changed := slices.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for name, test := range map[string]struct {
		sealed []byte
		keys   token.Keys
		index  *job.Index
		want   error
	}{
		"another job":     {sealed, keys, index(jobB, "A", "B"), token.ErrSealed},
		"changed":         {changed, keys, index(jobA, "A", "B"), token.ErrSealed},
		"nothing":         {nil, keys, index(jobA, "A", "B"), token.ErrSealed},
		"without the key": {sealed, testKeys(t, "b"), index(jobA, "A", "B"), token.ErrSealKey},
		"one too few":     {sealed, keys, index(jobA, "A"), nil},
		"one too many":    {sealed, keys, index(jobA, "A", "B", "D"), nil},
	} {
		got, err := secret.Open(test.sealed, test.keys, test.index)
		if err == nil || got != nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if sealed, err := (secret.Set{"C": secret.Reference("db")}).Seal(keys, jobA); sealed != nil || err != nil {
		t.Errorf("without own values: got %d bytes, %v", len(sealed), err)
	}
}

// TestFingerprints makes sure that the codes differ when the secrets do, and are known after a
// rotation.
func TestFingerprints(t *testing.T) {
	old, rotated := testKeys(t, "a"), testKeys(t, "b", "a")
	if got := (secret.Set{}).Fingerprints(old); got != nil {
		t.Errorf("without secrets: got %q", got)
	}
	seen := map[string]int{}
	for i, set := range []secret.Set{
		{"A": secret.Text("1")}, {"A": secret.Text("2")}, {"B": secret.Text("1")}, {"A": secret.Reference("1")},
		{"A": secret.Text("")}, {"A": secret.Text("1"), "B": secret.Text("")}, {"A1": secret.Text("")},
	} {
		before, after := set.Fingerprints(old), set.Fingerprints(rotated)
		if len(before) != 1 || len(after) != 2 || after[1] != before[0] {
			t.Errorf("%v: got %q, %q", set, before, after)
		}
		if other, twice := seen[before[0]]; twice {
			t.Errorf("%d and %d have the same code", other, i)
		}
		seen[before[0]] = i
	}
}

// TestMissing demands the values again that were the user's own, and no others.
func TestMissing(t *testing.T) {
	before := []job.Secret{{Name: "A"}, {Name: "B", From: "db", Role: "admin"}, {Name: "C"}, {Name: "D", From: "x"}}
	faults := secret.Missing(before, secret.Set{"C": secret.Text("3"), "D": secret.Reference("y"), "E": secret.Text("5")})
	if len(faults) != 1 || faults[0].Field != "secret.A" || !strings.Contains(faults[0].Message, "sent again") {
		t.Errorf("faults: %v", faults)
	}
}

func FuzzOpen(f *testing.F) {
	keys := testKeys(f, "a")
	index := &job.Index{JobID: jobA, Secrets: []job.Secret{{Name: "A"}}}
	sealed, err := secret.Set{"A": secret.Text("hunter2hunter2")}.Seal(keys, jobA)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, true)
	f.Add([]byte(`{"A":"1"}`), false)
	f.Add([]byte(`{"A":1}`), false)
	f.Add([]byte(`{"A":"1","A":"2","B":"3"}`), false)
	f.Fuzz(func(t *testing.T, data []byte, whole bool) {
		if !whole { // so that what is inside is parsed, too
			var err error
			if data, err = keys.Seal(data, "secrets/v1", string(jobA)); err != nil {
				t.Fatal(err)
			}
		}
		values, err := secret.Open(data, keys, index)
		if _, there := values["A"]; err == nil && (!there || len(values) != 1) {
			t.Errorf("got %v", values)
		}
	})
}
