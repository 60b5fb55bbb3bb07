package logstore

import (
	"slices"
	"time"

	"go-job-orchestrator/shared/spool"
)

// All is the Tail that is the whole log.
const All = -1

// Query says which part of a log to read. Where several fields say where to begin, the last of
// these places counts.
type Query struct {
	Streams []spool.Stream
	Tail    int       // so many last lines, or All
	From    int64     // the offset in these streams, as Copy returned it
	Since   time.Time // what was written from then on; zero: all
	Attempt int       // what this attempt of the job wrote; 0: what all did
	Follow  bool      // until the job is over
}

// offset is how many bytes of the streams come before a position: of both it is that in the merged
// log.
func (q *Query) offset(p spool.Position) int64 {
	if len(q.Streams) == 1 {
		return *p.Of(q.Streams[0])
	}
	return p.Total()
}

func (q *Query) wants(e *storedChunk) bool {
	return slices.Contains(q.Streams, e.stream) && (q.Attempt == 0 || e.attempt == q.Attempt)
}
