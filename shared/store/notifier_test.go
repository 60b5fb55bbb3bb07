package store

import (
	"errors"
	"strings"
	"testing"
)

// notified reports whether a watcher was notified, and forgets that.
func notified(changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	default:
		return false
	}
}

// TestWatch changes what is watched in every way, and what is not.
func TestWatch(t *testing.T) {
	t.Parallel()
	s, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	put := func(key string) func() error {
		return func() error { _, err := s.Put(ctx, key, strings.NewReader("x")); return err }
	}
	away := errors.New("away")
	failing, hooked := *s, *s
	failing.hook = func(string, string) error { return away }
	hooked.hook = func(string, string) error { return nil }
	changed, leave := s.Watch("a/", "b/c/")
	late, leaveLate := s.Watch("a/")
	for _, step := range []struct {
		name     string
		do       func() error
		notifies bool
	}{
		{"put", put("a/x"), true},
		{"put over it", put("a/x"), true},
		{"create", func() error { return s.Create(ctx, "b/c/x", []byte("x")) }, true},
		{"create again", func() error { return s.Create(ctx, "b/c/x", []byte("x")) }, false},
		{"mark", func() error { return s.Mark(ctx, "a/m") }, true},
		{"mark again", func() error { return s.Mark(ctx, "a/m") }, false},
		{"remove", func() error { return s.Remove(ctx, "a/m") }, true},
		{"with a hook", func() error { return hooked.Mark(ctx, "a/m") }, true},
		{"another folder", put("b/x"), false},
		{"a folder below", put("a/d/x"), false},
		{"a file called so", put("b/c-"), false},
		{"in vain", func() error { return failing.Mark(ctx, "a/n") }, false},
		{"remove all", func() error { return s.RemoveAll(ctx, "a/") }, true},
	} {
		err := step.do()
		if got := notified(changed); got != step.notifies {
			t.Errorf("%s (%v): notified: %t, want %t", step.name, err, got, step.notifies)
		}
	}
	if !notified(late) || notified(late) { // many changes, and nobody listened
		t.Error("many changes must be one value")
	}
	if n := s.Watchers("a/"); n != 2 {
		t.Errorf("%d watch, want 2", n)
	}
	leave()
	if err := put("a/x")(); err != nil || notified(changed) || !notified(late) {
		t.Errorf("%v: only the watcher that stayed is to be notified", err)
	}
	leaveLate()
	if n := len(s.notifier.watchers); n > 0 {
		t.Errorf("%d folders are watched by nobody", n)
	}
}
