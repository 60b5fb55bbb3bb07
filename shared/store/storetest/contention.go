package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/store"
)

// testOneWinner has 16 writers compete for each key.
func testOneWinner(t *testing.T, s *store.Store, rounds int) {
	const writers = 16
	for round := range rounds {
		key := fmt.Sprintf("claims/%d/claim", round%5) // the folder may be new, empty or pruned
		var start, done sync.WaitGroup
		start.Add(1)
		results := make([]error, writers)
		reads := make([]string, writers)
		for w := range writers {
			done.Go(func() {
				start.Wait()
				results[w] = s.Create(t.Context(), key, fmt.Appendf(nil, "writer %d", w))
				data, err := s.Read(t.Context(), key)
				if err != nil {
					t.Errorf("read after Create: %v", err)
				}
				reads[w] = string(data)
			})
		}
		start.Done()
		done.Wait()
		winner := -1
		for w, err := range results {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: writers %d and %d both won", round, winner, w)
			case err == nil:
				winner = w
			case !errors.Is(err, job.ErrExists):
				t.Fatalf("round %d: writer %d: %v; want ErrExists", round, w, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		for w, got := range reads {
			if got != fmt.Sprintf("writer %d", winner) {
				t.Fatalf("round %d: writer %d reads %q, but %d won", round, w, got, winner)
			}
		}
		if err := s.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// testManyAtOnce has writers and removers in the same folders. On a directory, removing a folder's
// last key removes the folder: nobody else may notice.
func testManyAtOnce(t *testing.T, s *store.Store) {
	const writers, removers, rounds = 16, 8, 150
	written := make(chan string, writers)
	var done, removing sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for i := range rounds {
				key := fmt.Sprintf("s/%d/%d/%d/%d-%d", i%2, i%3, i%2, w, i)
				var err error
				switch i % 3 {
				case 0:
					err = s.Mark(t.Context(), key)
				case 1:
					err = s.Create(t.Context(), key, []byte(key))
				default:
					_, err = s.Put(t.Context(), key, strings.NewReader(key))
				}
				if err != nil {
					t.Errorf("write %d of %q: %v", i%3, key, err)
				}
				if exists, err := s.Exists(t.Context(), key); err != nil || !exists {
					t.Errorf("%q is missing after it was written: %v", key, err)
				}
				written <- key
			}
		})
	}
	for range removers {
		removing.Go(func() {
			for key := range written {
				if err := s.Remove(t.Context(), key); err != nil {
					t.Errorf("remove: %v", err)
				}
				if _, err := s.List(t.Context(), "s/", "", 3); err != nil {
					t.Errorf("list: %v", err)
				}
			}
		})
	}
	done.Wait()
	close(written)
	removing.Wait()
	wantList(t, s, "", "", 10)
}
