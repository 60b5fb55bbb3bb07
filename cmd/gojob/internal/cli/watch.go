package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/shared/job"
)

const (
	// watchAfter is when a run begins to ask how the job is doing. Most jobs are over before.
	watchAfter = 300 * time.Millisecond
	// placeEvery is how often a run asks for the job's place in the queue.
	placeEvery = 5 * time.Second
)

// states are the states of a job that were said. A log and the stream of states report them at the
// same time.
type states struct {
	mu   sync.Mutex
	last string
}

// state says what the job is doing: on a terminal in the status line, elsewhere as a line. A lasting
// state is a line on a terminal, too.
func (s *session) state(text string, lasting bool) {
	s.states.mu.Lock()
	same := s.states.last == text
	s.states.last = text
	s.states.mu.Unlock()
	switch {
	case same:
	case lasting || !s.console.terminal:
		s.console.say("%s · %s", s.label(), text)
	default:
		s.console.show(s.label() + " · " + text)
	}
}

// watch says how the job is doing while it writes nothing, until ctx is done or the job is over.
func (s *session) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(watchAfter):
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	queued := make(chan bool, 16)
	go s.watchPlace(ctx, queued)
	// What is wrong with the server is said for the log.
	_ = s.quietly().States(ctx, s.id, func(status *job.Status) {
		select {
		case queued <- status.Phase == job.Pending && status.Reason == job.ReasonQueued:
		default:
		}
		if text, lasting := stateText(status); text != "" {
			s.state(text, lasting)
		}
	})
}

// watchPlace asks for the place in the queue while the job waits in it.
func (s *session) watchPlace(ctx context.Context, queued <-chan bool) {
	ticker := time.NewTicker(placeEvery)
	defer ticker.Stop()
	waits := false
	for {
		select {
		case <-ctx.Done():
			return
		case waits = <-queued:
		case <-ticker.C:
		}
		if !waits {
			continue
		}
		var status job.Status
		if _, err := s.client.JSON(ctx, client.Call{Method: http.MethodGet, Path: s.path()}, &status); err != nil {
			continue
		}
		if text, lasting := stateText(&status); text != "" && status.Phase == job.Pending {
			s.state(text, lasting)
		}
	}
}

// stateText says a state in words, or "" if it is not worth a word. A lasting one stays on the screen.
func stateText(s *job.Status) (text string, lasting bool) {
	switch {
	case s.Phase.Terminal():
		return "", false
	case s.Phase == job.Running && s.Reason == job.ReasonRetrying:
		return retryText(s), true
	case s.Phase == job.Running && s.Reason == "":
		if n := len(s.Attempts); n > 1 {
			return fmt.Sprintf("running, attempt %d", n), true
		}
		return "running", true
	case s.Reason == job.ReasonQueued:
		return queuedText(s.Queue), false
	case s.Reason == job.ReasonPreparing:
		return "preparing: installs the packages that it needs", false
	case s.Phase == job.Pending && s.Reason == "":
		return "pending", false
	}
	text = string(s.Phase) + ": " + string(s.Reason)
	if s.Message != "" {
		text += ": " + s.Message
	}
	return text, true
}

func queuedText(q *job.Queue) string {
	switch {
	case q == nil || q.Ahead == nil && q.Name == "":
		return "queued"
	case q.Ahead == nil:
		return "queued in " + q.Name
	case *q.Ahead == 0:
		return "queued, next to start"
	case *q.Ahead == 1:
		return "queued, 1 job ahead"
	}
	return fmt.Sprintf("queued, %d jobs ahead", *q.Ahead)
}

func retryText(s *job.Status) string {
	last := len(s.Attempts)
	if last == 0 {
		return "retrying"
	}
	a := s.Attempts[last-1]
	text := fmt.Sprintf("attempt %d failed", a.Number)
	switch {
	case a.Reason == job.ReasonError && a.ExitCode != nil:
		text += fmt.Sprintf(" with exit code %d", *a.ExitCode)
	case a.Reason != "":
		text += ": " + string(a.Reason)
	}
	return text + "; the next one follows"
}

// longTrouble is from when on a user is told that there is no connection.
const longTrouble = 10 * time.Second

// troubleTeller tells a user that the server is unreachable, once it has been for a while.
type troubleTeller struct {
	console *console
	server  string
	giveUp  time.Duration
	told    bool
}

// tell is told of each failure, and with nil when all is well again.
func (t *troubleTeller) tell(err error, since time.Duration) {
	switch {
	case err == nil && t.told:
		t.told = false
		t.console.say("connected again")
	case err != nil && since > longTrouble && !t.told:
		t.told = true
		var unreachable *client.UnreachableError
		if errors.As(err, &unreachable) {
			err = unreachable.Err
		}
		t.console.say("no connection to %s (%s); trying again for up to %s", t.server, err, t.giveUp)
	}
}
