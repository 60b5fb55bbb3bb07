package template_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/storetest"
	"go-job-orchestrator/shared/template"
)

type fixture struct {
	*template.Store
	bucket *ledgertest.Fixture
	mu     sync.Mutex
	now    time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := &fixture{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.bucket = ledgertest.Open(t, "", w.clock)
	w.Store = template.NewStore(w.bucket.Store, w.clock)
	return w
}

func (w *fixture) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(time.Millisecond)
	return w.now
}

// put does what the function does, on any of the two stores, and stops at the first error.
func put(
	t testing.TB, templates *template.Store, s *store.Store, name, owner string, id job.ID, content string,
) (*template.Version, error) {
	ctx := t.Context()
	if err := templates.Begin(ctx, name, id); err != nil {
		return nil, err
	}
	d, err := s.Put(ctx, template.FileKey(name, id, "main.py"), strings.NewReader(content))
	if err != nil {
		return nil, err
	}
	return templates.Save(ctx, template.Draft{Folder: id, Template: template.Template{
		Name: name, Owner: owner, Spec: job.Spec{Runtime: "python", Args: []string{content}},
		Files: []job.File{{Name: "main.py", Size: d.Size, SHA256: d.SHA256}},
	}})
}

func (w *fixture) put(name, owner, content string) *template.Version {
	w.bucket.T.Helper()
	v, err := put(w.bucket.T, w.Store, w.bucket.Store, name, owner, w.bucket.ID(), content)
	if err != nil {
		w.bucket.T.Fatal(err)
	}
	return v
}

// TestStrangers puts blobs among the records that are none. They are no versions and no templates,
// and do not end a list.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	const owner = "ann"
	want := w.put("resize", owner, "ours")
	w.put("zoom", owner, "ours")
	evil := `{"name":"resize","version":9,"owner":"` + string(w.bucket.ID()) + `","folder":"` + string(w.bucket.ID()) + `"}`
	for _, name := range []string{
		"resize/stdout.log", "resize/stderr.log", "resize/99999999", "resize/99999999.json.attrs", "resize/9.json",
		"resize/000000009.json",
		"resize/+0000009.json", "resize/0000000x.json", "resize/00000000.json", "resize/deeper/00000009.json", "resize/~",
		"stdout.log", "Resize/00000001.json",
		"..x/00000001.json", "loose",
	} {
		if _, err := w.bucket.Store.Put(t.Context(), ".orchestrator/template/"+name, strings.NewReader(evil)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.Current(t.Context(), "resize")
	if err != nil || got.Version != want.Version || got.Owner != owner {
		t.Errorf("the current version is %+v, %v; want %+v", got, err, want)
	}
	if next := w.put("resize", owner, "next"); next.Version != want.Version+1 {
		t.Errorf("the next version is %d", next.Version)
	}
	var names []string
	for q := (template.Query{Limit: 1}); ; {
		list, next, err := w.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list {
			names = append(names, v.Name)
		}
		if q.After = next; next == "" {
			break
		}
	}
	if !slices.Equal(names, []string{"resize", "zoom"}) {
		t.Errorf("listed %q", names)
	}
}

func (w *fixture) content(v *template.Version) (string, error) {
	var b bytes.Buffer
	for _, f := range v.Files {
		r, err := w.Open(w.bucket.T.Context(), v, f.Name)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(&b, r)
		r.Close()
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func (w *fixture) left() []string {
	w.bucket.T.Helper()
	keys, err := w.bucket.Store.List(w.bucket.T.Context(), "", "", 1000)
	if err != nil {
		w.bucket.T.Fatal(err)
	}
	return keys
}

func TestVersions(t *testing.T) {
	w := newFixture(t)
	const owner = "ann"
	if _, err := w.Current(t.Context(), "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("Current of none: %v", err)
	}
	first := w.put("a", owner, "one")
	w.put("a-b", owner, "other")
	w.put("b", owner, "other")
	second := w.put("a", owner, "two")
	if first.Version != 1 || second.Version != 2 {
		t.Errorf("versions: got %d, %d", first.Version, second.Version)
	}
	current, err := w.Current(t.Context(), "a")
	if err != nil || current.Version != 2 {
		t.Fatalf("Current: %+v, %v", current, err)
	}
	if got, err := w.content(current); got != "two" || err != nil {
		t.Errorf("content: %q, %v", got, err)
	}
	if got, err := w.content(first); got != "one" || err != nil {
		t.Errorf("content of a version that was just replaced: %q, %v", got, err)
	}
	w.now = w.now.Add(3 * time.Hour)
	if _, err := w.Sweep(t.Context(), 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, err := w.content(first); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("content of a version that was replaced: %q, %v", got, err)
	}
	if keys := w.left(); len(keys) != 6 {
		t.Errorf("of three templates there is %q", keys)
	}
	if _, err := put(t, w.Store, w.bucket.Store, "a", "bob", w.bucket.ID(), "stolen"); !errors.Is(err, job.ErrExists) {
		t.Errorf("by another owner: %v", err)
	}
	if err := w.Delete(t.Context(), current); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Current(t.Context(), "a"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("Current of what was deleted: %v", err)
	}
	if again := w.put("a", "bob", "new"); again.Version != 1 {
		t.Errorf("version after a deletion: got %d", again.Version)
	}
}

func TestList(t *testing.T) {
	w := newFixture(t)
	want := []string{"a", "a-1", "a1", "b", "z9"}
	for _, name := range want {
		for range 3 {
			w.put(name, "ann", "x")
		}
	}
	got := w.pages(template.Query{Limit: 2})
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("List: got %q, want %q", got, want)
	}
}

func TestConcurrentWriters(t *testing.T) {
	w := newFixture(t)
	var wait sync.WaitGroup
	versions := make([]int, 16)
	for i := range versions {
		wait.Go(func() {
			v, err := put(t, w.Store, w.bucket.Store, "a", "ann", w.bucket.ID(), fmt.Sprint(i))
			if err != nil {
				t.Error(err)
				return
			}
			versions[i] = v.Version
		})
	}
	wait.Wait()
	slices.Sort(versions)
	for i, v := range versions {
		if v != i+1 {
			t.Fatalf("versions: got %v", versions)
		}
	}
	v, err := w.Current(t.Context(), "a")
	if err != nil || v.Version != 16 {
		t.Fatalf("Current: %+v, %v", v, err)
	}
	if _, err := w.content(v); err != nil {
		t.Error(err)
	}
	w.sweep()
	if keys := w.left(); len(keys) != 2 {
		t.Errorf("left: %q", keys)
	}
}

func (w *fixture) sweep() {
	w.bucket.T.Helper()
	w.mu.Lock()
	w.now = w.now.Add(3 * time.Hour)
	w.mu.Unlock()
	if _, err := w.Sweep(w.bucket.T.Context(), 2*time.Hour); err != nil {
		w.bucket.T.Fatal(err)
	}
}

var errDied = errors.New("the process died")

// TestCrashes has a process die before each change that replacing and deleting a template makes.
func TestCrashes(t *testing.T) {
	for n, more := 1, true; more; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newFixture(t)
			w.put("a", "ann", "old")
			changes := 0
			dying := storetest.WithHook(w.bucket.Store, func(string, string) error {
				if changes++; changes >= n {
					return errDied
				}
				return nil
			})
			templates := template.NewStore(dying, w.clock)
			v, err := put(t, templates, dying, "a", "ann", w.bucket.ID(), "new")
			deleted := err == nil && templates.Delete(t.Context(), v) == nil
			more = changes >= n
			w.sweep()
			w.sweep()
			current, findErr := w.Current(t.Context(), "a")
			switch {
			case deleted && findErr == nil:
				t.Errorf("deleted and still there: %+v", current)
			case errors.Is(findErr, job.ErrNotFound) && err == nil:
			case findErr != nil:
				t.Errorf("Current: %v after %v", findErr, err)
			default:
				got, contentErr := w.content(current)
				if contentErr != nil || got != current.Args[0] || err == nil && got != "new" {
					t.Errorf("content: %q, %v, of version %d", got, contentErr, current.Version)
				}
			}
			want := 2
			if findErr != nil {
				want = 0
			}
			if keys := w.left(); len(keys) != want {
				t.Errorf("left: %q", keys)
			}
		})
	}
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "a-b": true, "0": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, "a/b": false, "..": false, "a\n": false,
		strings.Repeat("a", 64): false, "é": false,
	} {
		if (template.CheckName(name) == "") != good {
			t.Errorf("CheckName(%q) = %q", name, template.CheckName(name))
		}
	}
}
