package job

import "time"

// Observation is the state of a job that was not over, as its backend sees it: Kubernetes, or the
// processes of this machine.
type Observation struct {
	// Over says that the job's end has been recorded meanwhile.
	Over bool
	// Reason and Message are empty when there is nothing to add to the records.
	Reason  Reason
	Message string
	// Lost says that the backend does not have the job, so nothing runs it until it is launched again.
	Lost bool
	// Stuck says that the job cannot start, for Reason, since the time Since.
	Stuck bool
	Since time.Time
	// Attempt is the end of the last attempt, and Terminal the end of the job, when the backend has
	// seen them and they are not recorded yet. The values must not be changed.
	Attempt  *Attempt
	Terminal *Terminal
}

// Same reports whether two observations are equal.
func (o Observation) Same(other Observation) bool {
	return (o.Attempt == nil) == (other.Attempt == nil) && (o.Terminal == nil) == (other.Terminal == nil) &&
		o.Over == other.Over && o.Reason == other.Reason && o.Message == other.Message &&
		o.Lost == other.Lost && o.Stuck == other.Stuck && o.Since.Equal(other.Since)
}
