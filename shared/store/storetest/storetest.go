// Package storetest is what every backend of package store must do alike.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

// Options says how much of what costs time is done.
type Options struct {
	Rounds int // of writers who compete for one key
}

const parts = 4

// Run runs the suite. Open returns an empty Store.
func Run(t *testing.T, open func(t *testing.T) *store.Store, o Options) {
	for name, test := range map[string]func(*testing.T, *store.Store){
		"records":           testRecords,
		"blobs":             testBlobs,
		"early blobs":       testEarlyBlobs,
		"failing reader":    testFailingReader,
		"cancelled":         testCancelled,
		"odd keys":          testOddKeys,
		"refused keys":      testRefusedKeys,
		"neighbours":        testNeighbours,
		"ranges":            testRanges,
		"list":              testList,
		"list by pages":     testListPages,
		"list of odd names": testListOddNames,
		"remove":            testRemove,
		"remove all":        testRemoveAll,
		"kinds of errors":   testKinds,
		"hook":              testHook,
		"many at once":      testManyAtOnce,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	// In parallel, since most of it is waiting for a disk.
	for part := range parts {
		t.Run(fmt.Sprintf("one winner %d", part), func(t *testing.T) {
			t.Parallel()
			testOneWinner(t, open(t), (o.Rounds+parts-1)/parts)
		})
	}
}

func put(t *testing.T, s *store.Store, key, content string) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, strings.NewReader(content)); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

func create(t *testing.T, s *store.Store, key, content string) {
	t.Helper()
	if err := s.Create(t.Context(), key, []byte(content)); err != nil {
		t.Fatalf("Create(%q): %v", key, err)
	}
}

// want checks what is at a key by every way of asking.
func want(t *testing.T, s *store.Store, key, content string) {
	t.Helper()
	got, err := s.Read(t.Context(), key)
	if err != nil || string(got) != content {
		t.Errorf("Read(%q) = %.40q, %v; want %.40q", key, got, err, content)
	}
	info, err := s.Stat(t.Context(), key)
	if err != nil || info.Size != int64(len(content)) || info.ModTime.IsZero() {
		t.Errorf("Stat(%q) = %+v, %v; want %d bytes", key, info, err, len(content))
	}
	if exists, err := s.Exists(t.Context(), key); err != nil || !exists {
		t.Errorf("Exists(%q) = %v, %v; want true", key, exists, err)
	}
}

func wantMissing(t *testing.T, s *store.Store, key string) {
	t.Helper()
	if _, err := s.Read(t.Context(), key); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("Read(%q): %v; want ErrNotFound", key, err)
	}
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("Stat(%q): %v; want ErrNotFound", key, err)
	}
	if exists, err := s.Exists(t.Context(), key); err != nil || exists {
		t.Errorf("Exists(%q) = %v, %v; want false", key, exists, err)
	}
}

func wantList(t *testing.T, s *store.Store, prefix, after string, limit int, keys ...string) {
	t.Helper()
	got, err := s.List(t.Context(), prefix, after, limit)
	if err != nil {
		t.Errorf("List(%q, %q, %d): %v", prefix, after, limit, err)
		return
	}
	if keys == nil {
		keys = []string{}
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Errorf("List(%q, %q, %d) (-want +got):\n%s", prefix, after, limit, diff)
	}
}

func testRecords(t *testing.T, s *store.Store) {
	ctx := t.Context()
	wantMissing(t, s, "a/b/record.json")
	create(t, s, "a/b/record.json", "first")
	if err := s.Create(ctx, "a/b/record.json", []byte("second")); !errors.Is(err, job.ErrExists) {
		t.Errorf("second Create: %v; want ErrExists", err)
	}
	if err := s.Create(ctx, "a/b/record.json", []byte("first")); !errors.Is(err, job.ErrExists) {
		t.Errorf("Create of the same bytes: %v; want ErrExists", err)
	}
	want(t, s, "a/b/record.json", "first")
	for range 2 { // the second makes no difference
		if err := s.Mark(ctx, "a/mark"); err != nil {
			t.Errorf("Mark: %v", err)
		}
	}
	want(t, s, "a/mark", "")
	if err := s.Mark(ctx, "a/b/record.json"); err != nil {
		t.Errorf("Mark of a record: %v", err)
	}
	want(t, s, "a/b/record.json", "first")
	if err := s.Create(ctx, "a/mark", []byte("x")); !errors.Is(err, job.ErrExists) {
		t.Errorf("Create over a mark: %v; want ErrExists", err)
	}
	create(t, s, "a/empty", "")
	want(t, s, "a/empty", "")
	large := strings.Repeat("0123456789abcdef", 64<<10)
	create(t, s, "a/large", large)
	want(t, s, "a/large", large)
}

func second[T any](_ T, err error) error { return err }

// oddNames are names that users may give files.
func oddNames() []string {
	return []string{
		"with space", " leading", "trailing ", "ünïcödé", "日本語.txt", "😀", strings.Repeat("n", job.MaxNameBytes),
		strings.Repeat("é", job.MaxNameBytes/2), "x.attrs", "x.attrs~", "x.attrs~~", ".attrs", "attrs", "x.ATTRS",
		strings.Repeat("a", job.MaxNameBytes-6) + ".attrs", "a__0x2f__b", "__0x2e____0x2e__", "100%", "%2e%2e%2f", "%00",
		".hidden", "-rf", "--", "~", "...", "x..", "x..~", "a:b", `quo"te'`, "star*", "q?", "<>|", "$(x)", "#", "&=+",
		"x.tmp", "x.17a5b1c2d3e4f506.tmp", "new", "NUL", "con",
	}
}

func testOddKeys(t *testing.T, s *store.Store) {
	var all []string
	for i, name := range oddNames() {
		if i%2 == 0 {
			put(t, s, "job/"+name, "put "+name)
			create(t, s, "job2/"+name, "put "+name)
		} else {
			create(t, s, "job/"+name, "put "+name)
			put(t, s, "job2/"+name, "put "+name)
		}
		all = append(all, "job/"+name, "job2/"+name)
	}
	// Only now, so that no two names may be one to the backend.
	for _, key := range all {
		want(t, s, key, "put "+key[strings.IndexByte(key, '/')+1:])
		if err := s.Create(t.Context(), key, nil); !errors.Is(err, job.ErrExists) {
			t.Errorf("Create(%q) over itself: %v; want ErrExists", key, err)
		}
	}
	for i, key := range all {
		if err := s.Remove(t.Context(), key); err != nil {
			t.Errorf("Remove(%q): %v", key, err)
		}
		wantMissing(t, s, key)
		if i+1 < len(all) {
			want(t, s, all[i+1], "put "+all[i+1][strings.IndexByte(all[i+1], '/')+1:])
		}
	}
}

func testRefusedKeys(t *testing.T, s *store.Store) {
	ctx := t.Context()
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "./a", "a/./b", "a/.", "a\x00b", "a\nb", "a\x1fb",
		"\xff", "a/\xc3"} {
		for op, err := range map[string]error{
			"Put": second(s.Put(ctx, key, strings.NewReader("x"))), "Create": s.Create(ctx, key, []byte("x")),
			"Mark": s.Mark(ctx, key),
			"Open": second(s.Open(ctx, key, 0, -1)), "Stat": second(s.Stat(ctx, key)), "Remove": s.Remove(ctx, key),
		} {
			if !errors.Is(err, job.ErrInvalid) {
				t.Errorf("%s(%q): %v; want ErrInvalid", op, key, err)
			}
		}
	}
	for _, prefix := range []string{"", "/", "a", "//", "./", "a//"} {
		if err := s.RemoveAll(ctx, prefix); !errors.Is(err, job.ErrInvalid) {
			t.Errorf("RemoveAll(%q): %v; want ErrInvalid", prefix, err)
		}
	}
	wantList(t, s, "", "", 10)
}

// testNeighbours has names that get in each other's way on a directory.
func testNeighbours(t *testing.T, s *store.Store) {
	// Names that a program may give its outputs in one folder.
	keys := []string{
		"r/x", "r/x.attrs/y", "r/x.attrs~/y", "r/a../b", "r/a..__0x2f__b", "r/a..~/b", "r/../up", "r/..~/up", "r/.../up",
		"r/" + strings.Repeat("d", job.MaxNameBytes-2) + "../" + strings.Repeat("f", job.MaxNameBytes),
	}
	for i, key := range keys {
		if i%2 == 0 {
			put(t, s, key, key)
		} else {
			create(t, s, key, key)
		}
	}
	for _, key := range keys {
		want(t, s, key, key)
	}
	wantMissing(t, s, "up") // ".." leads nowhere
	if err := s.RemoveAll(t.Context(), "r/x.attrs/"); err != nil {
		t.Error(err)
	}
	wantMissing(t, s, "r/x.attrs/y")
	for _, key := range slices.Delete(keys, 1, 2) {
		want(t, s, key, key)
	}
	if err := s.RemoveAll(t.Context(), "r/"); err != nil {
		t.Error(err)
	}
	wantList(t, s, "", "", 10)
}

func testKinds(t *testing.T, s *store.Store) {
	put(t, s, "file", "x")
	wantMissing(t, s, "none")
	wantMissing(t, s, "none/at/all")
	wantMissing(t, s, "file/below") // not a folder
	put(t, s, "folder/file", "x")
	wantMissing(t, s, "folder")
	if _, err := s.Read(t.Context(), "none"); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("the error %v does not name the key", err)
	}
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, io.LimitReader(zeros{}, 16<<20+1)); err != nil {
		t.Fatal(err)
	}
	put(t, s, "huge", buf.String())
	if _, err := s.Read(t.Context(), "huge"); err == nil {
		t.Error("a record beyond all bounds was read into memory")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func testHook(t *testing.T, s *store.Store) {
	put(t, s, "f/old", "old")
	var ops []string
	fail := errors.New("unplugged")
	hooked := WithHook(s, func(op, key string) error {
		ops = append(ops, op+" "+key)
		return fail
	})
	for op, err := range map[string]error{
		"put":    second(hooked.Put(t.Context(), "f/1", strings.NewReader("x"))),
		"create": hooked.Create(t.Context(), "f/2", []byte("x")),
		"mark":   hooked.Mark(t.Context(), "f/3"), "remove": hooked.Remove(t.Context(), "f/old"),
		"removeAll": hooked.RemoveAll(t.Context(), "f/"),
	} {
		if !errors.Is(err, fail) {
			t.Errorf("%s: %v; want the hook's error", op, err)
		}
	}
	slices.Sort(ops)
	if diff := cmp.Diff([]string{"create f/2", "mark f/3", "put f/1", "remove f/old", "removeAll f"}, ops); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	wantList(t, hooked, "", "", 10, "f/old")
}
