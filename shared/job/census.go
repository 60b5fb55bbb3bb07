package job

import "time"

// Census is how many records there are.
type Census struct {
	Jobs map[Phase]int // all that are kept
	// Oldest is when the job was accepted that has waited for longest; zero: none waits.
	Oldest time.Time
	Owed   int // notices that the sink has not taken yet
}
