package treecache

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/store"
)

type fixture struct {
	*Cache
	t   *testing.T
	now time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, now: time.Now()}
	f.Cache = &Cache{Store: s, Limit: 1 << 20, Now: func() time.Time { return f.now }, Log: slog.New(slog.DiscardHandler)}
	return f
}

func key(c string) string { return strings.Repeat(c, 64) }

func (f *fixture) claim(owner, key, holder string, want prepare.Turn) {
	f.t.Helper()
	if got, err := f.Claim(f.t.Context(), owner, key, holder); err != nil || got != want {
		f.t.Errorf("%s claims %.4s for %s: got %q, %v; want %q", holder, key, owner, got, err, want)
	}
}

func (f *fixture) put(owner, key, text string) {
	f.t.Helper()
	if err := f.Put(f.t.Context(), owner, key, "builder", strings.NewReader(text)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) read(owner, key string) (string, error) {
	f.t.Helper()
	in, err := f.Open(f.t.Context(), owner, key)
	if err != nil {
		return "", err
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	return string(text), err
}

// TestTurns has one of two build what both need, and each owner for themselves.
func TestTurns(t *testing.T) {
	f := newFixture(t)
	f.claim("ann", key("a"), "one", prepare.Build)
	f.claim("ann", key("a"), "two", prepare.Wait)
	f.claim("ann", key("a"), "one", prepare.Build) // goes on
	f.claim("bob", key("a"), "three", prepare.Build)
	f.now = f.now.Add(turnLasts + time.Second) // one died
	f.claim("ann", key("a"), "two", prepare.Build)
	f.claim("ann", key("a"), "one", prepare.Wait)
	if err := f.Release(t.Context(), "ann", key("a"), "one"); err != nil { // whose turn it is not
		t.Fatal(err)
	}
	f.claim("ann", key("a"), "one", prepare.Wait)
	if err := f.Release(t.Context(), "ann", key("a"), "two"); err != nil {
		t.Fatal(err)
	}
	f.claim("ann", key("a"), "one", prepare.Build)
	f.put("ann", key("a"), "tree")
	f.claim("ann", key("a"), "two", prepare.Stored)
	if got, err := f.read("ann", key("a")); err != nil || got != "tree" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := f.read("bob", key("a")); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("another owner: got %v", err)
	}
	for _, bad := range []string{"", "x", "../" + key("a"), strings.ToUpper(key("a")), key("a") + "0"} {
		if _, err := f.Claim(t.Context(), "ann", bad, "one"); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("key %q: got %v", bad, err)
		}
	}
}

// TestSpoiled damages an entry in every way; each time it counts as missing, and is built anew.
func TestSpoiled(t *testing.T) {
	text := strings.Repeat("some text, ", 10_000)
	for name, damage := range map[string]func(f *fixture, blob string, data []byte) error{
		"cut off": func(f *fixture, blob string, data []byte) error {
			_, err := f.Store.Put(f.t.Context(), blob, bytes.NewReader(data[:len(data)/2]))
			return err
		},
		"changed": func(f *fixture, blob string, data []byte) error {
			data[len(data)/2] ^= 1
			_, err := f.Store.Put(f.t.Context(), blob, bytes.NewReader(data))
			return err
		},
		"longer": func(f *fixture, blob string, data []byte) error {
			_, err := f.Store.Put(f.t.Context(), blob, bytes.NewReader(append(data, 0)))
			return err
		},
		"empty": func(f *fixture, blob string, _ []byte) error {
			_, err := f.Store.Put(f.t.Context(), blob, strings.NewReader(""))
			return err
		},
		"gone": func(f *fixture, blob string, _ []byte) error { return f.Store.Remove(f.t.Context(), blob) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.put("ann", key("a"), text)
			at := prefix("ann", key("a"))
			e, _, err := f.find(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			data, err := f.Store.Read(t.Context(), at+e.blob)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(f, at+e.blob, data); err != nil {
				t.Fatal(err)
			}
			if got, err := f.read("ann", key("a")); err == nil {
				t.Errorf("read %d bytes as if they were whole", len(got))
			}
			f.claim("ann", key("a"), "one", prepare.Build)
			f.put("ann", key("a"), text)
			if got, err := f.read("ann", key("a")); err != nil || got != text {
				t.Errorf("built anew: got %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestSweep removes what was not used for longest, and what a writer left that died.
func TestSweep(t *testing.T) {
	f := newFixture(t)
	for _, c := range []string{"a", "b", "c"} {
		f.put("ann", key(c), c)
		f.now = f.now.Add(time.Hour)
	}
	f.claim("ann", key("a"), "one", prepare.Stored) // so b is the oldest
	all, total, err := f.list(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	left := prefix("bob", key("d")) + blobName + "dead"
	if _, err := f.Store.Put(t.Context(), left, strings.NewReader("half")); err != nil {
		t.Fatal(err)
	}
	f.Limit = total - 1
	if removed, err := f.Sweep(t.Context()); err != nil || removed != 1 {
		t.Errorf("removed %d, %v", removed, err)
	}
	has := map[string]bool{}
	for _, c := range []string{"a", "b", "c"} {
		_, err := f.read("ann", key(c))
		has[c] = err == nil
	}
	if diff := cmp.Diff(map[string]bool{"a": true, "b": false, "c": true}, has); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if found, err := f.Store.Exists(t.Context(), left); err != nil || !found {
		t.Errorf("what may still be written: %v, %v", found, err)
	}
	f.now = f.now.Add(2 * leftAfter)
	if _, err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err := f.Store.Exists(t.Context(), left); err != nil || found {
		t.Errorf("what a dead writer left: %v, %v", found, err)
	}
}

func TestLimits(t *testing.T) {
	f := newFixture(t)
	f.Limit = 10
	text := "too much for this cache " + time.Now().String()
	err := f.Put(t.Context(), "ann", key("a"), "one", strings.NewReader(text))
	if !errors.Is(err, job.ErrTooLarge) {
		t.Errorf("too large: got %v", err)
	}
	f.claim("ann", key("a"), "two", prepare.Build)
	f.Limit = 0
	f.claim("ann", key("b"), "one", prepare.Build)
	f.claim("ann", key("b"), "two", prepare.Build) // without a cache nobody waits
	if err := f.Put(t.Context(), "ann", key("b"), "one", strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	// A body that fails stores nothing.
	f.Limit = 1 << 20
	broken := io.MultiReader(strings.NewReader("half"), failing{})
	if err := f.Put(t.Context(), "ann", key("c"), "one", broken); err == nil {
		t.Error("half an archive was stored")
	}
	if _, err := f.read("ann", key("c")); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("half an archive: got %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }
