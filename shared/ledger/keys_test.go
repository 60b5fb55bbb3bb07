package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

func idAt(t testing.TB, at time.Time, n int) job.ID {
	t.Helper()
	id, err := job.NewID(at, bytes.NewReader(fmt.Appendf(nil, "%010d", n)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestBefore(t *testing.T) {
	for id, want := range map[job.ID]job.ID{
		"00000000000000000000000000000001": "00000000000000000000000000000000",
		"0000000000000000000000000000000a": "00000000000000000000000000000009",
		"00000000000000000000000000000010": "0000000000000000000000000000000f",
		"000000000000000000000000000000a0": "0000000000000000000000000000009f",
		"10000000000000000000000000000000": "0fffffffffffffffffffffffffffffff",
		"a0000000000000000000000000000000": "9fffffffffffffffffffffffffffffff",
		"ffffffffffffffffffffffffffffffff": "fffffffffffffffffffffffffffffffe",
		"00000000000000000000000000000000": "",
	} {
		if got := before(id); got != want {
			t.Errorf("before(%s) = %s; want %s", id, got, want)
		}
	}
}

func TestShardKeepsTheOrder(t *testing.T) {
	var ids []job.ID
	for i := range 500 {
		at := start.Add(time.Duration(i*i*i) * 97 * time.Millisecond)
		ids = append(ids, idAt(t, at, i), idAt(t, at, i+1000))
	}
	slices.Sort(ids)
	for i, id := range ids {
		if back, ok := unshard(all + shard(id)); !ok || back != id {
			t.Errorf("unshard(shard(%s)) = %s, %v", id, back, ok)
		}
		if i > 0 && shard(ids[i-1]) >= shard(id) {
			t.Errorf("shard(%s) does not come before shard(%s)", ids[i-1], id)
		}
	}
	for _, key := range []string{"", "x", "x/", "x/y", "x/" + string(ids[0]) + ".json"} {
		if id, ok := unshard(key); ok {
			t.Errorf("unshard(%q) = %s", key, id)
		}
	}
}

func TestExpiryKeys(t *testing.T) {
	id := idAt(t, start, 1)
	var keys []string
	for _, at := range []time.Time{time.UnixMilli(-5), time.UnixMilli(0), time.UnixMilli(1), start,
		start.Add(time.Millisecond), start.Add(time.Hour), start.Add(20 * 365 * 24 * time.Hour),
		start.Add(200 * 365 * 24 * time.Hour)} {
		key := expiryKey(at, id)
		back, backID, ok := parseExpiry(key)
		if want := time.UnixMilli(max(at.UnixMilli(), 0)); !ok || backID != id || !back.Equal(want) {
			t.Errorf("parseExpiry(%s) = %v, %s, %v; want %v", key, back, backID, ok, want)
		}
		keys = append(keys, key)
	}
	if !slices.IsSorted(keys) {
		t.Errorf("not in the order of time: %v", keys)
	}
	for _, key := range []string{"", expiry, expiry + "x", expiry + string(id), expiry + "zz-" + string(id), expiry +
		"00-short",
		expiry + "0-" + string(id), expiryKey(start, id) + ".attrs"} {
		if _, _, ok := parseExpiry(key); ok {
			t.Errorf("parseExpiry(%q) found something", key)
		}
	}
}

// The comments in package store rely on it.
func TestKeysOfRecordsAreTheirOwnFileNames(t *testing.T) {
	id := idAt(t, start, 1)
	keys := []string{
		uploads + string(id), all + shard(id), active + string(id), running + string(id),
		phasePrefix(job.Succeeded) + shard(id), labelPrefix("Team", "Ünï/..") + shard(id),
		ownerPrefix("Ünï/../@x") + shard(id), ownerNotePrefix(id) + ownerHash("A"), formerOwnersKey,
		namePrefix("Ünï/../ x") + shard(id), nameNotePrefix(id) + nameHash("A"),
		expiryKey(start, id), attemptKey(id, 1, "start"), LogPrefix(id), removeKey(id), removingKey(id),
		claimKey(HashKey(FormKeys, "../K"), 1), goneKey(HashKey(FormKeys, "K"), id), releasedKey(HashKey(FormKeys, "K"), 2),
		dueKey(start, HashKey(FormKeys, "K")), cancelKey(id), outputsKey(id), labelsKey(id), OrderKey(id), indexKey(id),
		statusKey(id),
	}
	for _, key := range keys {
		if strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789._-/") != "" || strings.Contains(key, "..") ||
			strings.Contains(key, "__") {
			t.Errorf("key %s", key)
		}
	}
	if labelPrefix("a", "b=c") != labelPrefix("a=b", "c") {
		t.Log("the two labels, of which one is not valid, have one folder") // '=' is in no valid key
	}
}

// Showing a page of jobs costs the same whether there are 1,000 or 6,000, and whether they came
// over months or in one burst. What reading folders allocates grows with the entries read, and
// unlike time is the same on any machine.
func TestListCost(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 12,000 index entries")
	}
	const page = 50
	for _, between := range []time.Duration{10 * time.Millisecond, 2 * time.Minute} {
		t.Run(between.String(), func(t *testing.T) {
			dir := t.TempDir()
			s, err := store.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			l := New(s, time.Now)
			cost := func(after job.ID) float64 {
				return testing.AllocsPerRun(3, func() {
					ids, err := l.sharded(all)(t.Context(), after, page)
					if err != nil || len(ids) != page {
						t.Fatalf("%d jobs, %v; want %d", len(ids), err, page)
					}
				})
			}
			newest := start
			grow := func(n int) {
				for i := range n {
					newest = newest.Add(between)
					entry := filepath.Join(dir, all+shard(idAt(t, newest, i))) // the store would wait for the disk each time
					if err := errors.Join(os.MkdirAll(filepath.Dir(entry), 0o700), os.WriteFile(entry, nil, 0o600)); err != nil {
						t.Fatal(err)
					}
				}
			}
			grow(1000)
			few := cost("")
			grow(5_000)
			for name, after := range map[string]job.ID{"first page": "", "middle": idAt(t, start.Add(3_000*between), 0),
				"late": idAt(t, start.Add(200*between), 0)} {
				if many := cost(after); many > 2*few+1000 {
					t.Errorf("%s: %.0f allocations among 6,000 jobs, %.0f among 1,000", name, many, few)
				}
			}
		})
	}
}
