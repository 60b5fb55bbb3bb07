package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

// Query says which part of a log is read.
type Query struct {
	// Tail is the number of last lines; negative for all.
	Tail    int
	Since   time.Time // zero for no bound
	Stream  string    // stdout or stderr; empty for both
	Attempt int       // 0 for all
	// Follow goes on until the job, or the attempt, is over.
	Follow bool
}

// All is the Tail of a whole log.
const All = -1

// Sink takes what a program wrote.
type Sink interface {
	// Write takes bytes of stdout or stderr, and when they were read from the program; the time may be
	// zero. An error ends the reading, and is returned from it.
	Write(stream string, at time.Time, data []byte) error
	// Attempt says that what follows is of the attempt n.
	Attempt(n int) error
}

// End says how a job has ended. It is what the event "end" of a log has.
type End struct {
	Phase    job.Phase  `json:"phase"`
	Reason   job.Reason `json:"reason"`
	Message  string     `json:"message"`
	ExitCode *int       `json:"exitCode"`
	// Removed says that the job was removed while it was followed.
	Removed bool `json:"removed"`
}

// Log reads the log of a job into a sink. It returns nil for the end when the job is not over: only
// without Follow.
func (f *Follower) Log(ctx context.Context, id job.ID, q Query, sink Sink) (*End, error) {
	call := client.Call{Method: http.MethodGet, Path: "/api/v1/jobs/" + string(id) + "/logs", Query: q.values()}
	if q.Follow && q.Tail >= 0 && q.Since.IsZero() {
		// If the connection is cut before the first event, the last lines would be others by then.
		from, err := f.position(ctx, call)
		if err != nil {
			return nil, err
		}
		if q.Tail == 0 || from == "0" {
			call.Header = http.Header{}
			call.Header.Set("Last-Event-ID", from)
		}
	}
	l := &log{sink: sink}
	reached, err := f.events(ctx, call, !q.Follow, l.take)
	var answer *client.Error
	if errors.As(err, &answer) && answer.Status == http.StatusNotFound && reached {
		return &End{Removed: true}, nil
	}
	return l.end, err
}

func (q Query) values() url.Values {
	v := url.Values{"follow": {strconv.FormatBool(q.Follow)}, "tail": {"all"}}
	if q.Tail >= 0 {
		v.Set("tail", strconv.Itoa(q.Tail))
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Stream != "" {
		v.Set("stream", q.Stream)
	}
	if q.Attempt > 0 {
		v.Set("attempt", strconv.Itoa(q.Attempt))
	}
	return v
}

// position returns where the log ends now.
func (f *Follower) position(ctx context.Context, call client.Call) (at string, err error) {
	q := url.Values{}
	for name, values := range call.Query {
		q[name] = values
	}
	q.Set("tail", "0")
	q.Set("follow", "false")
	call.Query = q
	err = f.Retry(ctx, func(ctx context.Context, _ func()) error {
		response, err := f.caller.Do(ctx, call)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		var nothing [1]byte
		for {
			if _, err = response.Body.Read(nothing[:]); err != nil {
				break
			}
		}
		if at = response.Trailer.Get("Log-Position"); at == "" {
			return f.unreachable(fmt.Errorf("the answer has no Log-Position (%w)", err))
		}
		return nil
	})
	return at, err
}

// log takes the events of a log.
type log struct {
	sink    Sink
	attempt int
	end     *End
}

func (l *log) take(e event) (done bool, err error) {
	switch e.name {
	case "stdout", "stderr":
		var w struct {
			Time   time.Time
			Text   string
			Base64 []byte
		}
		if err := json.Unmarshal(e.data, &w); err != nil {
			return false, fmt.Errorf("the log has an event that cannot be read: %w", err)
		}
		data := w.Base64
		if len(data) == 0 {
			data = []byte(w.Text)
		}
		return false, l.sink.Write(e.name, w.Time, data)
	case "attempt":
		var a struct{ Attempt int }
		if err := json.Unmarshal(e.data, &a); err != nil || a.Attempt <= l.attempt {
			return false, err // after a cut the server says again which attempt it is
		}
		l.attempt = a.Attempt
		return false, l.sink.Attempt(a.Attempt)
	case "end":
		l.end = &End{}
		return true, json.Unmarshal(e.data, l.end)
	}
	return false, nil // of a later version
}

// States calls take with the job after each change of its phase, reason or attempts, from the
// beginning of its life, until it is over.
func (f *Follower) States(ctx context.Context, id job.ID, take func(*job.Status)) error {
	call := client.Call{Method: http.MethodGet, Path: "/api/v1/jobs/" + string(id) + "/events"}
	_, err := f.events(ctx, call, false, func(e event) (bool, error) {
		s := &job.Status{}
		if err := json.Unmarshal(e.data, s); err != nil {
			return false, fmt.Errorf("the state of the job cannot be read: %w", err)
		}
		take(s)
		return s.Phase.Terminal(), nil
	})
	return err
}
