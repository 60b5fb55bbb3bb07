package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

func testBlobs(t *testing.T, s *store.Store) {
	const small = 256 << 10 // clouds store what is larger in another way
	big := strings.Repeat("streamed", 100_000)
	for _, content := range []string{"", "x", big[:small-1], big[:small], big[:small+1], big} {
		sum := sha256.Sum256([]byte(content))
		expected := store.Digest{Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
		// Readers that offer WriteTo, and those that return little at a time.
		for _, r := range []io.Reader{strings.NewReader(content),
			iotest.DataErrReader(iotest.HalfReader(strings.NewReader(content)))} {
			got, err := s.Put(t.Context(), "job/blob", r)
			if err != nil || got != expected {
				t.Errorf("Put of %d bytes = %+v, %v; want %+v", len(content), got, err, expected)
			}
			want(t, s, "job/blob", content)
		}
	}
	create(t, s, "job/record", "r")
	put(t, s, "job/record", "overwritten")
	want(t, s, "job/record", "overwritten")
}

var errReader = errors.New("the client went away")

// testEarlyBlobs demands that who watches is told of a blob that can be read by then, once, and of
// none that was not stored.
func testEarlyBlobs(t *testing.T, s *store.Store) {
	bell, leave := s.Watch("run/")
	defer leave()
	rang := func() bool {
		select {
		case <-bell:
			return true
		default:
			return false
		}
	}
	for _, content := range []string{"first", "", "another, longer one"} {
		if err := s.PutEarly(t.Context(), "run/piece", strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		want(t, s, "run/piece", content)
		if !rang() || rang() {
			t.Fatalf("%q: who watches must be told once", content)
		}
	}
	err := s.PutEarly(t.Context(), "run/piece", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errReader)))
	if !errors.Is(err, errReader) || rang() {
		t.Errorf("a reader that fails: %v, or it was told of", err)
	}
	want(t, s, "run/piece", "another, longer one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutEarly(ctx, "run/none", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	wantMissing(t, s, "run/none")
	seen := make(chan string)
	for round := range 20 { // whoever reads a blob at once may remove it before it is durable
		go func() {
			<-bell
			got, err := s.Read(context.WithoutCancel(t.Context()), "run/piece")
			seen <- fmt.Sprintln(string(got), err, s.Remove(context.WithoutCancel(t.Context()), "run/piece"))
			<-bell // of the removal
			seen <- ""
		}()
		if err := s.PutEarly(t.Context(), "run/piece", strings.NewReader(fmt.Sprint(round))); err != nil {
			t.Errorf("removed meanwhile: %v", err)
		}
		if got, want := <-seen, fmt.Sprintln(round, nil, nil); got != want {
			t.Errorf("round %d: whoever was told read %q, want %q", round, got, want)
		}
		<-seen
		wantMissing(t, s, "run/piece")
	}
}

func testFailingReader(t *testing.T, s *store.Store) {
	for _, n := range []int{0, 1, 100, 600_000} {
		body := func(err error) io.Reader {
			return io.MultiReader(strings.NewReader(strings.Repeat("x", n)), iotest.ErrReader(err))
		}
		key := fmt.Sprintf("new/%d", n)
		if _, err := s.Put(t.Context(), key, body(errReader)); !errors.Is(err, errReader) {
			t.Errorf("Put of a failing reader: %v; want the reader's error", err)
		}
		wantMissing(t, s, key)
		put(t, s, "old/blob", "the old one")
		if _, err := s.Put(t.Context(), "old/blob", body(errReader)); !errors.Is(err, errReader) {
			t.Errorf("Put of a failing reader: %v; want the reader's error", err)
		}
		want(t, s, "old/blob", "the old one")
		for _, kind := range []error{job.ErrTooLarge, job.ErrInvalid, io.ErrUnexpectedEOF} {
			if _, err := s.Put(t.Context(), key, body(fmt.Errorf("part: %w", kind))); !errors.Is(err, kind) {
				t.Errorf("Put of a reader that fails with %v: %v", kind, err)
			}
		}
	}
	wantList(t, s, "", "", 10, "old/blob")
}

func testCancelled(t *testing.T, s *store.Store) {
	put(t, s, "old", "the old one")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	midway := func(n int) error {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Put(ctx, "new/midway", io.MultiReader(strings.NewReader(strings.Repeat("x", n)),
			readerFunc(func([]byte) (int, error) {
				cancel()
				return 0, io.EOF
			})))
		return err
	}
	for name, err := range map[string]error{
		"Put":              second(s.Put(cancelled, "new/put", strings.NewReader("x"))),
		"Put over another": second(s.Put(cancelled, "old", strings.NewReader("x"))),
		"Put midway":       midway(300_000),
		"Put of little":    midway(3),
		"Create":           s.Create(cancelled, "new/create", []byte("x")),
		"Mark":             s.Mark(cancelled, "new/mark"),
		"List":             second(s.List(cancelled, "", "", 10)),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v; want context.Canceled", name, err)
		}
	}
	want(t, s, "old", "the old one")
	wantList(t, s, "", "", 10, "old")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func testRanges(t *testing.T, s *store.Store) {
	const content = "0123456789"
	put(t, s, "blob", content)
	for _, test := range []struct {
		offset, length int64
		want           string
	}{
		{0, -1, content}, {0, 10, content}, {0, 100, content}, {0, 0, ""}, {0, 1, "0"}, {3, 4, "3456"}, {3, -1, "3456789"},
		{9, 1, "9"},
		{9, 5, "9"}, {10, -1, ""}, {10, 1, ""}, {11, -1, ""}, {1000, 1, ""}, {1000, -1, ""}, {5, 0, ""},
	} {
		r, err := s.Open(t.Context(), "blob", test.offset, test.length)
		if err != nil {
			t.Errorf("Open(%d, %d): %v", test.offset, test.length, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != test.want {
			t.Errorf("Open(%d, %d) reads %q, %v; want %q", test.offset, test.length, got, err, test.want)
		}
		if r.Size != int64(len(content)) || r.ModTime.IsZero() {
			t.Errorf("Open(%d, %d) says %+v; want the size of the whole", test.offset, test.length, r.Info)
		}
		if f := r.File(); f != nil {
			if test.offset != 0 || test.length >= 0 {
				t.Errorf("Open(%d, %d) gives the file of a part", test.offset, test.length)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Open(t.Context(), "blob", -1, -1); err == nil {
		t.Error("Open at a negative offset succeeded")
	}
	// Whoever reads keeps what it began to read.
	r, err := s.Open(t.Context(), "blob", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, s, "blob", "abcdefghij")
	if got, err := io.ReadAll(r); err != nil || string(got) != content {
		t.Errorf("read %q, %v while it was replaced; want %q", got, err, content)
	}
}
