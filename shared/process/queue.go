package process

import (
	"slices"
	"sort"
	"strings"

	"go-job-orchestrator/shared/job"
)

// queue holds the jobs that wait for a slot, oldest first. It is a sorted list in chunks: a heap
// would not know the place of a job, and one long slice would be moved for each job that comes or
// leaves at its beginning.
type queue struct {
	chunks [][]job.ID // none of them is empty
	length int
}

// maxChunk is how long a chunk may get before it is split.
const maxChunk = 512

func (q *queue) Len() int { return q.length }

// older orders jobs by their age. IDs descend as jobs get younger.
func older(a, b job.ID) int { return strings.Compare(string(b), string(a)) }

// find returns the chunk where the job is, or belongs, and its place there.
func (q *queue) find(id job.ID) (chunk, at int, found bool) {
	chunk = sort.Search(len(q.chunks), func(i int) bool {
		ids := q.chunks[i]
		return older(ids[len(ids)-1], id) >= 0
	})
	if chunk == len(q.chunks) {
		if chunk--; chunk < 0 {
			return 0, 0, false
		}
	}
	at, found = slices.BinarySearchFunc(q.chunks[chunk], id, older)
	return chunk, at, found
}

func (q *queue) add(id job.ID) {
	chunk, at, found := q.find(id)
	if found {
		return
	}
	q.length++
	if len(q.chunks) == 0 {
		q.chunks = [][]job.ID{{id}}
		return
	}
	ids := slices.Insert(q.chunks[chunk], at, id)
	q.chunks[chunk] = ids
	if len(ids) > maxChunk {
		q.chunks[chunk] = ids[: maxChunk/2 : maxChunk/2]
		q.chunks = slices.Insert(q.chunks, chunk+1, slices.Clone(ids[maxChunk/2:]))
	}
}

func (q *queue) remove(chunk, at int) {
	q.length--
	q.chunks[chunk] = slices.Delete(q.chunks[chunk], at, at+1)
	if len(q.chunks[chunk]) == 0 {
		q.chunks = slices.Delete(q.chunks, chunk, chunk+1)
	}
}

// next takes the oldest job.
func (q *queue) next() job.ID {
	id := q.chunks[0][0]
	q.remove(0, 0)
	return id
}

func (q *queue) has(id job.ID) bool {
	_, _, found := q.find(id)
	return found
}

func (q *queue) drop(id job.ID) {
	if chunk, at, found := q.find(id); found {
		q.remove(chunk, at)
	}
}

// ahead returns how many jobs are older than one that waits, and false for one that does not.
func (q *queue) ahead(id job.ID) (int, bool) {
	chunk, at, found := q.find(id)
	if !found {
		return 0, false
	}
	for _, ids := range q.chunks[:chunk] {
		at += len(ids)
	}
	return at, true
}
