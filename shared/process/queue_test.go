package process

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

// TestQueue holds the queue to a sorted list.
func TestQueue(t *testing.T) {
	t.Parallel()
	const jobs = 5000 // several chunks
	var q queue
	var want []job.ID // oldest first
	numbered := func(n int) job.ID { return job.ID(fmt.Sprintf("%032x", n*7919%10007)) }
	check := func(what string) {
		t.Helper()
		if q.Len() != len(want) {
			t.Fatalf("%s: %d wait, want %d", what, q.Len(), len(want))
		}
		places := map[job.ID]int{}
		for ahead, id := range want {
			places[id] = ahead
		}
		for n := range jobs {
			id := numbered(n)
			place, waits := places[id]
			if ahead, found := q.ahead(id); found != waits || ahead != place || q.has(id) != waits {
				t.Fatalf("%s: ahead(%s) is %d, %t; want %d, %t", what, id, ahead, found, place, waits)
			}
		}
	}
	check("empty")
	q.drop(numbered(0))
	for n := range jobs {
		q.add(numbered(n))
		q.add(numbered(n)) // once more changes nothing
		want = append(want, numbered(n))
	}
	slices.Sort(want)
	slices.Reverse(want)
	check("added")
	for n := 0; n < jobs; n += 3 {
		q.drop(numbered(n))
		q.drop(numbered(n)) // once more changes nothing
	}
	want = slices.DeleteFunc(want, func(id job.ID) bool { return !q.has(id) })
	if len(want) != jobs-(jobs+2)/3 {
		t.Fatalf("%d are left", len(want))
	}
	check("dropped")
	for len(want) > 50 {
		if got := q.next(); got != want[0] {
			t.Fatalf("next: got %s, want %s", got, want[0])
		}
		want = want[1:]
	}
	check("begun")
	for range 50 {
		q.next()
	}
	want = nil
	check("all begun")
	q.add(numbered(1))
	want = []job.ID{numbered(1)}
	check("added again")
}

// TestLongQueue demands that a queue with 200,000 jobs is asked for the place of each of them,
// however they come: looking through it for each takes an hour.
func TestLongQueue(t *testing.T) {
	t.Parallel()
	const jobs = 200_000
	for name, numbered := range map[string]func(n int) int{
		"older and older": func(n int) int { return n }, "younger and younger": func(n int) int { return jobs - n },
	} {
		var q queue
		id := func(n int) job.ID { return job.ID(fmt.Sprintf("%032x", numbered(n))) }
		begun := time.Now()
		for n := range jobs {
			q.add(id(n))
		}
		for n := range jobs {
			if _, waits := q.ahead(id(n)); !waits {
				t.Fatalf("%s: job %d is not there", name, n)
			}
		}
		for n := range jobs {
			q.drop(id(n))
		}
		if took := time.Since(begun); q.Len() > 0 || took > time.Minute {
			t.Errorf("%s: %d are left after %s", name, q.Len(), took)
		}
	}
}

// BenchmarkAhead asks for a place among as many jobs as may wait by default.
func BenchmarkAhead(b *testing.B) {
	var q queue
	for n := range 10_000 {
		q.add(job.ID(fmt.Sprintf("%032x", n)))
	}
	id := job.ID(fmt.Sprintf("%032x", 17))
	for b.Loop() {
		q.ahead(id)
	}
}
