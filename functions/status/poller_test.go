package status_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// place is where the job runs. It counts how often it is asked.
type place struct {
	mu    sync.Mutex
	asked []time.Time
	says  job.Observation
	err   error
	hangs bool
}

func (p *place) Observe(ctx context.Context, _ job.ID) (job.Observation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, time.Now())
	if p.hangs {
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return job.Observation{}, ctx.Err()
	}
	return p.says, p.err
}

func (p *place) set(says job.Observation, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.says, p.err = says, err
}

func (p *place) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// since is at what seconds after begin it was asked.
func (p *place) since(begin time.Time) (seconds []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.asked {
		seconds = append(seconds, int(at.Sub(begin)/time.Second))
	}
	return seconds
}

// client asks for a job until it is answered or has enough.
type client struct {
	*httptest.ResponseRecorder
	answered chan struct{}
	leave    context.CancelFunc
}

// observed is the function, called without a network, so that the clock can be the test's.
func observed(t *testing.T, l *life, p *place, log slog.Handler) (call func(path string, header ...string) *client) {
	t.Helper()
	keys, err := token.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	router := api.NewRouter(slog.New(log)).Guarded(guardtest.New(keys, nil))
	mount(t, router, l, keys, p, slog.New(log))
	return func(path string, header ...string) *client {
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/jobs/"+string(lifeID)+path, nil)
		r.Header.Set("Authorization", "Bearer "+keys.Derive(token.User, lifeID))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		c := &client{httptest.NewRecorder(), make(chan struct{}), cancel}
		go func() {
			defer close(c.answered)
			defer cancel()
			router.ServeHTTP(c, r)
		}()
		return c
	}
}

// ids are those of the events that a client has had.
func (c *client) ids() (list []string) {
	for line := range strings.Lines(c.Body.String()) {
		if id, found := strings.CutPrefix(line, "id: "); found {
			list = append(list, strings.TrimSpace(id))
		}
	}
	return list
}

func (l *life) looked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.looks
}

// TestObservationsAreRare has many clients wait for one job in both ways.
func TestObservationsAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newLife(), &place{says: job.Observation{Reason: job.ReasonUnschedulable, Message: "no node has room"}}
		call := observed(t, l, p, slog.DiscardHandler)
		begin := time.Now()
		var streams []*client
		for range 20 {
			streams = append(streams, call("/events"))
		}
		waiting := call("", "Prefer", "wait=60")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if got, want := p.since(begin), []int{0, 1, 3, 7, 15, 25, 35, 45, 55}; !slices.Equal(got, want) {
			t.Errorf("observed at seconds %v, want %v", got, want)
		}
		if got := l.looked(); got < 21*55 {
			t.Errorf("the records were looked at %d times", got)
		}

		// What has changed is followed closely again.
		p.set(job.Observation{Reason: job.ReasonStarting}, nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got, want := p.since(begin)[9:], []int{65, 66, 68}; !slices.Equal(got, want) {
			t.Errorf("after a change it was observed at seconds %v, want %v", got, want)
		}
		<-waiting.answered
		if got := waiting.Body.String(); !strings.Contains(got, "Unschedulable") ||
			!strings.Contains(got, "no node has room") {
			t.Errorf("who waited a minute got %s", got)
		}

		// The first to come may be the first to go.
		streams[0].leave()
		<-streams[0].answered
		before := p.count()
		l.begin()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := p.count(); got == before {
			t.Error("a change in the records did not lead to an observation")
		}
		before = p.count()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := p.count(); got == before {
			t.Error("after a change in the records it was not observed closely")
		}

		l.end(job.Failed)
		ended := time.Now()
		for _, c := range streams[1:] {
			<-c.answered
			if got, want := c.ids(), []string{"1-Unschedulable-0", "1-ContainerCreating-0", "2--1", "3-Error-1"}; !slices.Equal(
				got, want) {
				t.Fatalf("a client got %q, want %q", got, want)
			}
		}
		if took := time.Since(ended); took > time.Second {
			t.Errorf("the end was told after %s", took)
		}
		before = p.count()
		time.Sleep(time.Minute)
		if got := p.count(); got != before {
			t.Errorf("observed %d times when nobody waited any more", got-before)
		}
		if l.watch != 0 {
			t.Errorf("%d still watch the records", l.watch)
		}
	}) // which fails when a goroutine is left
}

// TestOneLeaves demands that a job is observed as long as anybody waits for it.
func TestOneLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newLife(), &place{}
		call := observed(t, l, p, slog.DiscardHandler)
		first, second := call("/events"), call("/events")
		time.Sleep(time.Minute)
		first.leave()
		<-first.answered
		p.set(job.Observation{Reason: job.ReasonUnschedulable}, nil)
		time.Sleep(time.Minute)
		second.leave()
		<-second.answered
		if got, want := second.ids(), []string{"1-Queued-0", "1-Unschedulable-0"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestWatchIsTold demands that a stream of all jobs has a change by this process at once.
func TestWatchIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife()
		l.bell = make(chan struct{}, 1)
		router, _ := l.route(t)
		ctx, leave := context.WithCancel(t.Context())
		w, ended := httptest.NewRecorder(), make(chan struct{})
		go func() {
			defer close(ended)
			router.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/jobs/events", nil))
		}()
		time.Sleep(100 * time.Millisecond)
		l.begin()
		l.bell <- struct{}{}
		synctest.Wait()
		if !strings.Contains(w.Body.String(), `"Running"`) {
			t.Errorf("at once came only %s", w.Body)
		}
		leave()
		<-ended
	})
}

// TestOldObservation demands that what kept a job from starting is not said of one that runs.
func TestOldObservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newLife(), &place{says: job.Observation{Reason: job.ReasonUnschedulable}}
		c := observed(t, l, p, slog.DiscardHandler)("/events")
		time.Sleep(20 * time.Second)
		p.set(job.Observation{}, nil)
		l.begin()
		time.Sleep(time.Second)
		l.end(job.Succeeded)
		<-c.answered
		if got, want := c.ids(), []string{"1-Unschedulable-0", "2--1", "3-Error-1"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestPlaceAway demands that the records are told of also when the place does not answer, or says
// that it cannot.
func TestPlaceAway(t *testing.T) {
	for name, p := range map[string]*place{"hangs": {hangs: true}, "fails": {err: errors.New("connection refused")}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, log := newLife(), &counter{}
				call := observed(t, l, p, log)
				streams := []*client{call("/events"), call("/events"), call("", "Prefer", "wait=60")}
				time.Sleep(20 * time.Second)
				l.begin()
				time.Sleep(time.Second)
				l.end(job.Failed)
				ended := time.Now()
				for _, c := range streams {
					<-c.answered
				}
				if took := time.Since(ended); took > time.Second {
					t.Errorf("the end was told after %s", took)
				}
				for _, c := range streams[:2] {
					if got, want := c.ids(), []string{"1-Queued-0", "2--1", "3-Error-1"}; !slices.Equal(got, want) {
						t.Errorf("got %q, want %q", got, want)
					}
				}
				// Nobody may have waited for the last observation any more.
				if got, all := log.count(), p.count(); p.err != nil && got != all && got != all-1 || p.hangs && got != 0 {
					t.Errorf("%d warnings of %d observations", got, all)
				}
			})
		})
	}
}

// counter counts what is logged.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *counter) WithGroup(string) slog.Handler            { return c }
func (c *counter) Handle(context.Context, slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return nil
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestObservationOfOneAnswer demands that whoever does not wait gets what is so now.
func TestObservationOfOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newLife(), &place{says: job.Observation{Reason: job.ReasonUnschedulable}}
		call := observed(t, l, p, slog.DiscardHandler)
		stream := call("/events")
		synctest.Wait()
		p.set(job.Observation{Reason: job.ReasonPullBackOff}, nil)
		for range 3 {
			c := call("")
			<-c.answered
			if got := c.Body.String(); !strings.Contains(got, "ImagePullBackOff") {
				t.Errorf("got %s", got)
			}
		}
		if got := p.count(); got != 4 {
			t.Errorf("observed %d times for a stream and three answers, want 4", got)
		}
		stream.leave()
		<-stream.answered
	})
}

// TestSeenEnd has a job whose end is seen and not recorded yet: whoever asks, waits or follows is
// told of it.
func TestSeenEnd(t *testing.T) {
	finished := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	code := 137
	attempt := job.Attempt{
		Number: 1, Reason: job.ReasonOOMKilled, Message: "too much", ExitCode: &code, FinishedAt: &finished,
	}
	terminal := job.Terminal{
		Phase: job.Failed, Reason: job.ReasonOOMKilled, Message: "too much", ExitCode: &code,
		Attempts: []job.Attempt{attempt}, FinishedAt: finished, ExpiresAt: finished.Add(time.Hour),
		Outputs: &job.Outputs{Count: 3},
	}
	synctest.Test(t, func(t *testing.T) {
		l, p := newLife(), &place{}
		call := observed(t, l, p, slog.DiscardHandler)
		l.begin()
		waiting := []*client{call("/events"), call("", "Prefer", "wait=60")}
		time.Sleep(5 * time.Second)
		p.set(job.Observation{Attempt: &attempt, Terminal: &terminal}, nil)
		ended := time.Now()
		for _, c := range append(waiting, call("")) {
			<-c.answered
			body := c.Body.String()
			for _, want := range []string{
				`"phase":"Failed"`, `"reason":"OOMKilled"`, `"exitCode":137`, `"outputs":{"count":3`,
				"too much; this is what Kubernetes says",
			} {
				if !strings.Contains(body, want) {
					t.Errorf("%s is missing in %s", want, body)
				}
			}
		}
		if took := time.Since(ended); took > 10*time.Second {
			t.Errorf("the end was told after %s", took)
		}
	})
	synctest.Test(t, func(t *testing.T) { // an attempt that began after the records were read
		later := attempt
		later.Number = 2
		l, p := newLife(), &place{says: job.Observation{Attempt: &later}}
		c := observed(t, l, p, slog.DiscardHandler)("")
		<-c.answered
		if body := c.Body.String(); !strings.Contains(body, `"attempts":[]`) || !strings.Contains(body, `"Queued"`) {
			t.Errorf("got %s", body)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l, p := newLife(), &place{says: job.Observation{Attempt: &attempt}}
		call := observed(t, l, p, slog.DiscardHandler)
		l.begin()
		c := call("")
		<-c.answered
		for _, want := range []string{`"phase":"Running"`, `"reason":"Retrying"`, `"reason":"OOMKilled"`} {
			if !strings.Contains(c.Body.String(), want) {
				t.Errorf("%s is missing in %s", want, c.Body)
			}
		}
	})
}
