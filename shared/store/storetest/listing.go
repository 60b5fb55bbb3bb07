package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/store"
)

func testList(t *testing.T, s *store.Store) {
	wantList(t, s, "", "", 10)
	wantList(t, s, "none/", "", 10)
	// In the order of keys, in which a-b comes before a/b, though the folder a comes before the file
	// a-b.
	keys := []string{"a-b", "a.b", "a/b", "a/b-c", "a/b.d/e", "a/b/c/d", "a/c", "a0", "b/", "b/x/1", "b/x/2", "b0/x"}
	keys = slices.DeleteFunc(keys, func(k string) bool { return strings.HasSuffix(k, "/") || k == "a/b" })
	for _, key := range slices.Backward(keys) {
		if err := s.Mark(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	prefixes := []string{"", "a", "a/", "a/b", "a/b/", "a/b/c/", "a-", "b", "b/", "b/x/", "b/x/1", "b/x/11", "b0", "c",
		"c/", "a-b/", "a/c/x/", "a0/"}
	afters := append([]string{"", "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/e", "a/bb", "b/x", "b/x/", "b/x/10", "zzz",
		"A", "a/b/c/d/e"}, keys...)
	for _, prefix := range prefixes {
		for _, after := range afters {
			for _, limit := range []int{-1, 0, 1, 2, 3, len(keys), 1000} {
				var expected []string
				for _, key := range keys {
					if strings.HasPrefix(key, prefix) && key > after && len(expected) < limit {
						expected = append(expected, key)
					}
				}
				wantList(t, s, prefix, after, limit, expected...)
			}
		}
	}
}

func testListPages(t *testing.T, s *store.Store) {
	var keys []string
	for i := range 250 {
		key := fmt.Sprintf("p/%x/%x/%04d", i%3, i%7, i)
		keys = append(keys, key)
		if err := s.Mark(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(keys)
	for _, limit := range []int{1, 7, 250, 251} {
		var got []string
		for after := ""; ; {
			page, err := s.List(t.Context(), "p/", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page...)
			if len(page) < limit {
				break
			}
			after = page[len(page)-1]
		}
		if diff := cmp.Diff(keys, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", limit, diff)
		}
	}
}

// testListOddNames has names that the backend might take for its own.
func testListOddNames(t *testing.T, s *store.Store) {
	put(t, s, "f/result.tmp", "a user's")
	put(t, s, "f/result.txt", "a user's")
	put(t, s, "f/tmp", "a user's")
	put(t, s, "g/.tmp", "a user's")
	wantList(t, s, "", "", 10, "f/result.tmp", "f/result.txt", "f/tmp", "g/.tmp")
}

func testRemove(t *testing.T, s *store.Store) {
	ctx := t.Context()
	put(t, s, "a/b/c", "1")
	put(t, s, "a/b/d", "2")
	// twice, and folders
	for _, key := range []string{"a/b/missing", "no/such/folder", "a/b/c", "a/b/c", "a/b", "a", "a/b/d/e"} {
		if err := s.Remove(ctx, key); err != nil {
			t.Errorf("Remove(%q): %v", key, err)
		}
	}
	wantMissing(t, s, "a/b/c")
	want(t, s, "a/b/d", "2")
	create(t, s, "a/b/c", "again")
	want(t, s, "a/b/c", "again")
}

func testRemoveAll(t *testing.T, s *store.Store) {
	for _, key := range []string{"job/1", "job/results/x", "job/results/deep/er/y", "job2/1", "jo", "other/job/1"} {
		put(t, s, key, key)
	}
	for range 2 {
		if err := s.RemoveAll(t.Context(), "job/"); err != nil {
			t.Error(err)
		}
	}
	wantList(t, s, "", "", 10, "jo", "job2/1", "other/job/1")
	if err := s.RemoveAll(t.Context(), "never/was/"); err != nil {
		t.Error(err)
	}
}
