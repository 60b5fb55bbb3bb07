package job_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

func newID(t testing.TB, now time.Time, random io.Reader) job.ID {
	t.Helper()
	id, err := job.NewID(now, random)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIDsAreNewestFirst(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ids []job.ID
	for _, after := range []time.Duration{
		0, time.Millisecond, 2 * time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour, 365 * 24 * time.Hour,
		100 * 365 * 24 * time.Hour,
	} {
		now := start.Add(after)
		// The random bits must not matter: the older job gets the lowest bits, the younger the highest.
		id := newID(t, now, bytes.NewReader(bytes.Repeat([]byte{byte(len(ids) * 28)}, 10)))
		if got := id.Created(); !got.Equal(now) {
			t.Errorf("Created() of %s = %v; want %v", id, got, now)
		}
		if parsed, err := job.ParseID(string(id)); err != nil || parsed != id {
			t.Errorf("ParseID(%q) = %q, %v", id, parsed, err)
		}
		if id.Name() != "run-"+string(id) {
			t.Errorf("Name() = %q", id.Name())
		}
		ids = append(ids, id)
	}
	slices.Reverse(ids)
	if !slices.IsSorted(ids) {
		t.Errorf("not in order, the newest first: %v", ids)
	}
}

func TestIDLayout(t *testing.T) {
	got := newID(t, time.UnixMilli(0x0123456789ab), bytes.NewReader([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}))
	if want := job.ID("fedcba98765400010203040506070809"); got != want {
		t.Errorf("NewID = %s; want %s", got, want)
	}
}

func TestIDsDiffer(t *testing.T) {
	seen := map[job.ID]bool{}
	now := time.Now()
	for range 10_000 {
		seen[newID(t, now, rand.Reader)] = true
	}
	if len(seen) != 10_000 {
		t.Errorf("%d different IDs of 10000", len(seen))
	}
}

func TestNewIDWithoutRandomness(t *testing.T) {
	if id, err := job.NewID(time.Now(), bytes.NewReader(make([]byte, 9))); err == nil || id != "" {
		t.Errorf("NewID = %q, %v from too few bits; want an error", id, err)
	}
}

const goodID = "fe6aa1b2c3d4000102030405060708ff"

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{
		"", "f", goodID[1:], goodID + "0", strings.ToUpper(goodID), "g" + goodID[1:], goodID[:31] + "\n", " " + goodID[1:],
		goodID[:31] + "/",
		"run-" + goodID, "..", "../" + goodID[3:], strings.Repeat("é", 16), strings.Repeat("０", 10) + "00", "0x" +
			goodID[2:], goodID[:31] + "\x00",
		"+" + goodID[1:], "-" + goodID[1:], "________________________________", goodID[:8] + "-" + goodID[9:],
	} {
		if id, err := job.ParseID(s); !errors.Is(err, job.ErrNotFound) || id != "" {
			t.Errorf("ParseID(%q) = %q, %v; want ErrNotFound", s, id, err)
		}
	}
	if got := job.ID("junk").Created(); !got.IsZero() {
		t.Errorf("Created() of no ID = %v; want the zero time", got)
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"", goodID, strings.ToUpper(goodID), goodID + "0", strings.Repeat("0", 32),
		strings.Repeat("f", 32)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := job.ParseID(s)
		if err != nil {
			return
		}
		if string(id) != s || len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
			t.Fatalf("ParseID(%q) = %q", s, id)
		}
		// The time in an ID, with the same random bits, gives the same ID again.
		if again := newID(t, id.Created(), strings.NewReader("0123456789")); again[:12] != id[:12] {
			t.Errorf("%s was created at %v, which makes %s", id, id.Created(), again)
		}
	})
}
