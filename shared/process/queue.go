package process

import (
	"container/heap"

	"go-job-orchestrator/shared/job"
)

// queue holds the jobs that wait for a slot, oldest first. IDs descend as jobs get younger.
type queue struct {
	ids []job.ID
	at  map[job.ID]int // where in ids each of them is
}

var _ heap.Interface = (*queue)(nil)

func (q *queue) Len() int           { return len(q.ids) }
func (q *queue) Less(i, j int) bool { return q.ids[i] > q.ids[j] }

func (q *queue) Swap(i, j int) {
	q.ids[i], q.ids[j] = q.ids[j], q.ids[i]
	q.at[q.ids[i]], q.at[q.ids[j]] = i, j
}

func (q *queue) Push(x any) {
	id := x.(job.ID) //nolint:forcetypeassert // only IDs are pushed
	if q.at == nil {
		q.at = map[job.ID]int{}
	}
	q.at[id] = len(q.ids)
	q.ids = append(q.ids, id)
}

func (q *queue) Pop() any {
	last := q.ids[len(q.ids)-1]
	q.ids = q.ids[:len(q.ids)-1]
	delete(q.at, last)
	return last
}

func (q *queue) add(id job.ID) { heap.Push(q, id) }

func (q *queue) next() job.ID { return heap.Pop(q).(job.ID) } //nolint:forcetypeassert // only IDs are pushed

func (q *queue) has(id job.ID) bool {
	_, found := q.at[id]
	return found
}

func (q *queue) drop(id job.ID) {
	if i, found := q.at[id]; found {
		heap.Remove(q, i)
	}
}
