package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
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

// states are the states of a job that were said. The log and the stream of states report them at the
// same time, and the stream from the beginning of the job's life.
type states struct {
	// delay is for how long a job has to wait until a line says so, where there is no terminal.
	delay time.Duration

	mu   sync.Mutex
	last string
	at   int  // the furthest step of the job's life
	said bool // the user has seen which job it is
}

// waitDelay is the delay of a run.
const waitDelay = time.Second

// The steps of a job's life: it waits; then its attempts run, each followed by a gap.
const waits = 0

func runs(attempt int) int      { return 2 * attempt }
func gapBehind(attempt int) int { return 2*attempt + 1 }

// next notes a state, and reports whether it is news. The lock is held.
func (s *states) next(text string, at int) bool {
	if text == "" || at < s.at || text == s.last {
		return false
	}
	s.last, s.at = text, at
	return true
}

// end lets no more states be said. It reports whether one was said.
func (s *states) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.at = "", math.MaxInt
	return s.said
}

// state says what the job is doing: on a terminal in the status line while it waits, else as a line.
func (s *session) state(text string, at int) {
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	switch {
	case !s.states.next(text, at):
	case at > waits || !s.console.terminal && s.states.delay == 0:
		s.sayState(text)
	case s.console.terminal:
		s.console.show(s.label() + " · " + text)
	default:
		time.AfterFunc(s.states.delay, func() {
			s.states.mu.Lock()
			defer s.states.mu.Unlock()
			if s.states.last == text && s.states.at == waits {
				s.sayState(text)
			}
		})
	}
}

func (s *session) sayState(text string) {
	s.states.said = true
	s.console.say("%s · %s", s.label(), text)
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
		s.state(stateText(status))
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
		s.state(stateText(&status))
	}
}

// stateText says a state in words, or "" if it is not worth a word, and at which step of the job's life
// it is.
func stateText(s *job.Status) (text string, at int) {
	text, n := string(s.Reason), max(len(s.Attempts), 1)
	if s.Message != "" {
		text += ": " + s.Message
	}
	switch {
	case s.Phase.Terminal():
		return "", waits
	case s.Phase == job.Running && s.Reason == job.ReasonRetrying:
		return retryText(s), gapBehind(n)
	case s.Phase == job.Running && s.Reason == "":
		return runningText(n), runs(n)
	case s.Phase == job.Running:
		return text, runs(n)
	case s.Reason == job.ReasonQueued:
		return queuedText(s.Queue), waits
	case s.Reason == job.ReasonPreparing:
		return "preparing: installs the packages that it needs", waits
	case s.Reason == job.ReasonStarting:
		return "starting", waits
	case s.Reason == "":
		return "pending", waits
	}
	return text, waits
}

func runningText(attempt int) string {
	if attempt > 1 {
		return fmt.Sprintf("running, attempt %d", attempt)
	}
	return "running"
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

	mu   sync.Mutex
	told bool
}

// tell is told of each failure, and with nil when all is well again.
func (t *troubleTeller) tell(err error, since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
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
