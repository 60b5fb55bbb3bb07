package process

import (
	"container/heap"
	"slices"

	"go-job-orchestrator/shared/job"
)

// queue holds the jobs that wait for a place, oldest first. IDs descend as jobs get younger.
type queue struct{ ids []job.ID }

var _ heap.Interface = (*queue)(nil)

func (q *queue) Len() int           { return len(q.ids) }
func (q *queue) Less(i, j int) bool { return q.ids[i] > q.ids[j] }
func (q *queue) Swap(i, j int)      { q.ids[i], q.ids[j] = q.ids[j], q.ids[i] }
func (q *queue) Push(x any)         { q.ids = append(q.ids, x.(job.ID)) } //nolint:forcetypeassert // only IDs are pushed

func (q *queue) Pop() any {
	last := q.ids[len(q.ids)-1]
	q.ids = q.ids[:len(q.ids)-1]
	return last
}

func (q *queue) add(id job.ID) { heap.Push(q, id) }

func (q *queue) next() job.ID { return heap.Pop(q).(job.ID) } //nolint:forcetypeassert // only IDs are pushed

func (q *queue) has(id job.ID) bool { return slices.Contains(q.ids, id) }

func (q *queue) drop(id job.ID) bool {
	i := slices.Index(q.ids, id)
	if i < 0 {
		return false
	}
	heap.Remove(q, i)
	return true
}
