package token_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/token"
)

func sealKeys(t testing.TB, keys ...string) token.Keys {
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

// TestSealAndOpen opens texts with the keys that have and have not sealed them.
func TestSealAndOpen(t *testing.T) {
	old, rotated, other := sealKeys(t, "a"), sealKeys(t, "b", "a"), sealKeys(t, "b")
	for _, text := range []string{"", "x", string(bytes.Repeat([]byte("long \x00\xff"), 100_000))} {
		sealed, err := old.Seal([]byte(text), "test", "job", "1")
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 4 && bytes.Contains(sealed, []byte(text[:4])) {
			t.Error("the text can be read")
		}
		again, err := old.Seal([]byte(text), "test", "job", "1")
		if err != nil || bytes.Equal(sealed, again) {
			t.Errorf("sealed twice alike, %v", err)
		}
		for name, keys := range map[string]token.Keys{"the same key": old, "a newer key before it": rotated} {
			got, err := keys.Open(sealed, "test", "job", "1")
			if err != nil || string(got) != text {
				t.Errorf("%s: got %d bytes, %v", name, len(got), err)
			}
		}
		if _, err := other.Open(sealed, "test", "job", "1"); !errors.Is(err, token.ErrSealKey) {
			t.Errorf("without the key: got %v", err)
		}
		for name, parts := range map[string][]string{
			"another job": {"test", "job", "2"}, "another purpose": {"test2", "job", "1"}, "fewer parts": {"test", "job"},
			"more parts": {"test", "job", "1", ""}, "run together": {"test", "job1", ""}, "no parts": {"test"},
		} {
			if _, err := old.Open(sealed, parts[0], parts[1:]...); !errors.Is(err, token.ErrSealed) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

// TestSealedByNewest makes sure that the first key seals.
func TestSealedByNewest(t *testing.T) {
	sealed, err := sealKeys(t, "b", "a").Seal([]byte("x"), "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealKeys(t, "b").Open(sealed, "test"); err != nil {
		t.Error(err)
	}
	if _, err := sealKeys(t, "a").Open(sealed, "test"); !errors.Is(err, token.ErrSealKey) {
		t.Errorf("the older key: got %v", err)
	}
}

// TestTampered changes, removes and adds each byte of a sealed text.
func TestTampered(t *testing.T) {
	keys := sealKeys(t, "a")
	sealed, err := keys.Seal([]byte("the text"), "test", "job")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, i int, data []byte) {
		t.Helper()
		got, err := keys.Open(data, "test", "job")
		if !errors.Is(err, token.ErrSealed) && !errors.Is(err, token.ErrSealKey) || got != nil {
			t.Errorf("%s %d: got %q, %v", what, i, got, err)
		}
	}
	for i := range sealed {
		for bit := range 8 {
			changed := slices.Clone(sealed)
			changed[i] ^= 1 << bit
			refused("changed byte", i, changed)
		}
		refused("without byte", i, slices.Delete(slices.Clone(sealed), i, i+1))
		refused("one more byte at", i, slices.Insert(slices.Clone(sealed), i, 0))
		refused("cut off at", i, sealed[:i])
	}
}

// TestCodes makes sure that each key has a code, as Code and VerifyCode have it.
func TestCodes(t *testing.T) {
	keys := sealKeys(t, "b", "a")
	want := []string{keys.Code("p", "x", "y"), sealKeys(t, "a").Code("p", "x", "y")}
	if diff := cmp.Diff(want, keys.Codes("p", "x", "y")); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

func FuzzOpen(f *testing.F) {
	keys := sealKeys(f, "a")
	sealed, err := keys.Seal([]byte("the text"), "test", "job")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-1])
	f.Add([]byte("gojs\x01"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := keys.Open(data, "test", "job")
		if (err == nil) != bytes.Equal(data, sealed) || err != nil && got != nil {
			t.Errorf("Open = %q, %v", got, err)
		}
	})
}
