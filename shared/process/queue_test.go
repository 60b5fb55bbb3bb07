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
	var q queue
	var want []job.ID // oldest first
	numbered := func(n int) job.ID { return job.ID(fmt.Sprintf("%032x", n*7919%1009)) }
	check := func(what string) {
		t.Helper()
		if q.Len() != len(want) || len(q.at) != len(want) {
			t.Fatalf("%s: %d wait, %d are known; want %d", what, q.Len(), len(q.at), len(want))
		}
		for n := range 300 {
			if id := numbered(n); q.has(id) != slices.Contains(want, id) {
				t.Fatalf("%s: has(%s) is %t", what, id, q.has(id))
			}
		}
	}
	if q.has(numbered(0)) {
		t.Error("an empty queue has a job")
	}
	for n := range 300 {
		q.add(numbered(n))
		want = append(want, numbered(n))
	}
	slices.Sort(want)
	slices.Reverse(want)
	check("added")
	for n := 0; n < 300; n += 3 {
		q.drop(numbered(n))
		q.drop(numbered(n)) // once more changes nothing
		want = slices.DeleteFunc(want, func(id job.ID) bool { return id == numbered(n) })
	}
	check("dropped")
	for len(want) > 50 {
		if got := q.next(); got != want[0] {
			t.Fatalf("next: got %s, want %s", got, want[0])
		}
		want = want[1:]
	}
	check("begun")
}

// TestLongQueue demands that a queue with 200,000 jobs is asked for each of them: looking through
// it for each takes an hour.
func TestLongQueue(t *testing.T) {
	t.Parallel()
	const jobs = 200_000
	var q queue
	begun := time.Now()
	for n := range jobs {
		q.add(job.ID(fmt.Sprintf("%032x", n)))
	}
	for n := range jobs {
		if !q.has(job.ID(fmt.Sprintf("%032x", n))) {
			t.Fatalf("job %d is not there", n)
		}
	}
	for n := range jobs {
		q.drop(job.ID(fmt.Sprintf("%032x", n)))
	}
	if took := time.Since(begun); q.Len() > 0 || took > time.Minute {
		t.Errorf("%d are left after %s", q.Len(), took)
	}
}
