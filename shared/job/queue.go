package job

import "encoding/json"

// Queue says where a job waits. A cluster with Kueue knows the name of the queue, and one machine
// the place in it.
type Queue struct {
	Name string `json:"name,omitempty"` // the Kueue LocalQueue
	// Position is 1 for the job that starts next, and Ahead is how many jobs wait before this one.
	// Position is 0 when the place is not known.
	Position int  `json:"position,omitempty"`
	Ahead    *int `json:"ahead,omitempty"`
}

// InQueue returns the Queue of a job before which so many others wait.
func InQueue(ahead int) *Queue { return &Queue{Position: ahead + 1, Ahead: &ahead} }

// UnmarshalJSON also reads the form that records of earlier versions have, which is the name.
func (q *Queue) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*q = Queue{}
		return json.Unmarshal(data, &q.Name)
	}
	type plain Queue
	return json.Unmarshal(data, (*plain)(q))
}
