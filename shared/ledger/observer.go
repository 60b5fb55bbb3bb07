package ledger

import (
	"time"

	"go-job-orchestrator/shared/job"
)

// Observer counts what this process records. It is told once of each record, by the process whose
// record it is, and must return at once.
type Observer interface {
	// Started has how long a job waited before its first attempt, or before its packages were installed.
	Started(waited time.Duration)
	// AttemptEnded has how an attempt ended.
	AttemptEnded(reason job.Reason)
	// Ended has how a job ended, and how long it ran, from its first attempt on: 0 if there was none.
	Ended(runtime string, phase job.Phase, reason job.Reason, ran time.Duration)
}

// Observed returns a Ledger of the same records that tells o what it records.
func (l *Ledger) Observed(o Observer) *Ledger {
	observed := *l
	observed.observer = o
	return &observed
}

func (l *Ledger) observeStart(id job.ID, a job.Attempt) {
	if l.observer != nil && a.Number == 1 {
		l.observer.Started(a.Waited(id))
	}
}

func (l *Ledger) observeEnd(index *job.Index, t *job.Terminal) {
	if l.observer != nil {
		l.observer.Ended(index.Runtime, t.Phase, t.Reason, t.Ran())
	}
}
