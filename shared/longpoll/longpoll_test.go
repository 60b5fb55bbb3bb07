package longpoll_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/longpoll"
	"go-job-orchestrator/shared/store"
)

// world is the records of one job in a directory, and how often they were looked at.
type world struct {
	t      *testing.T
	ledger *ledger.Ledger
	index  *job.Index
	looks  []time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{t: t, ledger: ledger.New(s, time.Now)}
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.index = &job.Index{JobID: id, JobName: id.Name(), Namespace: "here", CreatedAt: id.Created(),
		Spec: job.Spec{Runtime: "python", Entrypoint: "a.py"}}
	w.must(w.ledger.Accept(t.Context(), w.index))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// look is what the functions look with.
func (w *world) look(ctx context.Context, id job.ID) (*job.Status, error) {
	w.looks = append(w.looks, time.Now())
	return w.ledger.Status(ctx, id)
}

func (w *world) until(ctx context.Context, wait time.Duration) (*job.Status, error) {
	return longpoll.Until(ctx, wait, w.look, w.index.JobID, nil)
}

func (w *world) begin(n int) {
	_, err := w.ledger.StartAttempt(w.t.Context(), w.index.JobID, n, "test", nil)
	w.must(err)
}

func (w *world) fail(n int) {
	now := time.Now()
	w.must(w.ledger.EndAttempt(w.t.Context(), w.index.JobID, job.Attempt{Number: n, Reason: job.ReasonError,
		FinishedAt: &now}))
}

func (w *world) end(p job.Phase) {
	_, _, err := w.ledger.Finish(w.t.Context(), w.index, job.Terminal{Phase: p, FinishedAt: time.Now()})
	w.must(err)
}

func (w *world) remove() {
	w.must(w.ledger.RequestRemoval(w.t.Context(), w.index.JobID))
}

// TestUntil lets jobs live while somebody waits for them. The clock is the test's.
func TestUntil(t *testing.T) {
	type step struct {
		after time.Duration
		do    func(*world)
	}
	begin := func(n int) func(*world) { return func(w *world) { w.begin(n) } }
	fail := func(n int) func(*world) { return func(w *world) { w.fail(n) } }
	end := func(p job.Phase) func(*world) { return func(w *world) { w.end(p) } }
	for name, test := range map[string]struct {
		before []func(*world)
		wait   time.Duration
		steps  []step
		phase  job.Phase // empty: the job is gone
		// The answer comes no earlier than this, and at most a second later.
		answer time.Duration
	}{
		"nothing happens": {nil, 30 * time.Second, nil, job.Pending, 30 * time.Second},
		"no wait":         {nil, 0, nil, job.Pending, 0},
		"over already":    {[]func(*world){end(job.Failed)}, time.Minute, nil, job.Failed, 0},
		"gone already":    {[]func(*world){(*world).remove}, time.Minute, nil, "", 0},
		"quick": {nil, time.Minute, []step{{20 * time.Millisecond, begin(1)},
			{100 * time.Millisecond, end(job.Succeeded)}}, job.Succeeded, 120 * time.Millisecond},
		"slow": {nil, time.Minute, []step{{20 * time.Second, begin(1)}, {20 * time.Second, end(job.Failed)}},
			job.Failed, 40 * time.Second},
		"with a retry": {nil, time.Minute, []step{{time.Second, begin(1)}, {time.Second, fail(1)},
			{time.Second, begin(2)}, {time.Second, end(job.Succeeded)}}, job.Succeeded, 4 * time.Second},
		"begins and goes on": {nil, 10 * time.Second, []step{{9*time.Second + 990*time.Millisecond, begin(1)}},
			job.Running, 10 * time.Second},
		"between two attempts": {[]func(*world){begin(1), fail(1)}, 5 * time.Second, nil, job.Running, 5 * time.Second},
		"never begins": {nil, time.Minute, []step{{13 * time.Second, end(job.Cancelled)}}, job.Cancelled,
			13 * time.Second},
		"ends as the time is up": {nil, 7 * time.Second, []step{{7*time.Second - time.Nanosecond, end(job.Succeeded)}},
			job.Succeeded, 7*time.Second - time.Nanosecond},
		"ends when the time is up": {nil, 7 * time.Second, []step{{8 * time.Second, end(job.Succeeded)}}, job.Pending,
			7 * time.Second},
		"removed meanwhile": {[]func(*world){begin(1)}, time.Minute, []step{{10 * time.Second, (*world).remove}}, "",
			10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which also fails when a goroutine is left
				w := newWorld(t)
				for _, do := range test.before {
					do(w)
				}
				lived := make(chan struct{})
				go func() {
					defer close(lived)
					for _, s := range test.steps {
						time.Sleep(s.after)
						s.do(w)
					}
				}()
				begun := time.Now()
				got, err := w.until(t.Context(), test.wait)
				took := time.Since(begun)
				switch {
				case test.phase == "":
					if !errors.Is(err, job.ErrNotFound) {
						t.Errorf("got %+v, %v; want an error of kind job.ErrNotFound", got, err)
					}
				case err != nil || got.Phase != test.phase:
					t.Errorf("got %+v, %v; want %s", got, err, test.phase)
				}
				if took < test.answer || took > test.answer+time.Second {
					t.Errorf("the answer came after %s, want %s or a second more", took, test.answer)
				}
				if took > test.wait {
					t.Errorf("the answer came after %s, the client would wait %s", took, test.wait)
				}
				<-lived
			})
		})
	}
}

// TestWoken demands that what this process does is seen at once, also when looks have become rare.
func TestWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		changed, leave := w.ledger.Watch(w.index.JobID)
		defer leave()
		const begins, ends = 30*time.Second + time.Microsecond, 40*time.Second + 2*time.Microsecond
		time.AfterFunc(begins, func() { w.begin(1) })
		ended := make(chan struct{})
		time.AfterFunc(ends, func() { defer close(ended); w.end(job.Succeeded) })
		begun := time.Now()
		got, err := longpoll.Until(t.Context(), time.Minute, w.look, w.index.JobID, changed)
		if took := time.Since(begun); err != nil || got.Phase != job.Succeeded || took != ends {
			t.Errorf("after %s: %+v, %v; want the end after %s", took, got, err, ends)
		}
		<-ended // what comes behind the record is done by then
		if !slices.ContainsFunc(w.looks, func(at time.Time) bool { return at.Sub(begun) == begins }) {
			t.Error("the beginning was not seen when it was")
		}
	})
}

// TestCost demands that the records are looked at often while a job is young, and rarely in the
// long run.
func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		begun := time.Now()
		if _, err := w.until(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		early := 0
		for i, at := range w.looks {
			if at.Sub(begun) <= time.Second {
				early++
			}
			if i > 0 && at.Sub(w.looks[i-1]) > time.Second {
				t.Errorf("between %s and %s nobody looked", w.looks[i-1].Sub(begun), at.Sub(begun))
			}
		}
		if early < 5 || len(w.looks) > 80 {
			t.Errorf("looked %d times, %d of them within the first second; want at most 80, and at least 5", len(w.looks), early)
		}
	})
}

func TestUntilEndsWithTheClient(t *testing.T) {
	for name, wait := range map[string]time.Duration{"at once": 0, "meanwhile": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.begin(1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if wait == 0 {
					cancel()
				} else {
					time.AfterFunc(wait, cancel)
				}
				begun := time.Now()
				// An error or how the job was: nobody is there any more to read it.
				if s, err := w.until(ctx, time.Minute); err != nil && !errors.Is(err, context.Canceled) || err == nil &&
					s.Phase != job.Running {
					t.Errorf("got %+v, %v", s, err)
				}
				if took := time.Since(begun); took != wait {
					t.Errorf("went on for %s, want %s", took, wait)
				}
			})
		})
	}
}

func TestUntilEndsWithTheServer(t *testing.T) {
	w := newWorld(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		looked := 0
		s, err := longpoll.Until(r.Context(), time.Hour, func(ctx context.Context, id job.ID) (*job.Status, error) {
			if looked++; looked == 2 { // it waits by now
				stop()
			}
			return w.ledger.Status(ctx, id)
		}, w.index.JobID, nil)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(rw, string(s.Phase))
	})
	ended := make(chan error, 1)
	go func() {
		ended <- (&api.Server{Log: slog.New(slog.DiscardHandler), Wait: time.Minute, Drain: func() {},
			MaxConnections: 100}).Serve(ctx, ln, handler)
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); err != nil || string(body) != string(job.Pending) {
		t.Errorf("got %q, %v; want how the job is", body, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFailureOfALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("the storage is away")
		if _, err := longpoll.Until(t.Context(), time.Minute, func(context.Context, job.ID) (*job.Status, error) {
			return nil,
				away
		}, "", nil); !errors.Is(err, away) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPreferred(t *testing.T) {
	for name, test := range map[string]struct {
		prefer []string
		want   time.Duration
		asked  bool
	}{
		"nothing":            {nil, 0, false},
		"empty":              {[]string{""}, 0, false},
		"seconds":            {[]string{"wait=30"}, 30 * time.Second, true},
		"none":               {[]string{"wait=0"}, 0, true},
		"quoted":             {[]string{`wait="5"`}, 5 * time.Second, true},
		"spaces and case":    {[]string{" WAIT = 5 "}, 5 * time.Second, true},
		"with a parameter":   {[]string{"wait=5; foo=bar"}, 5 * time.Second, true},
		"among others":       {[]string{"respond-async, wait=5, handling=lenient"}, 5 * time.Second, true},
		"in a second field":  {[]string{"respond-async", "wait=5"}, 5 * time.Second, true},
		"twice":              {[]string{"wait=5, wait=7"}, 5 * time.Second, true},
		"longer than we do":  {[]string{"wait=61"}, time.Minute, true},
		"much longer":        {[]string{"wait=2147483647"}, time.Minute, true},
		"beyond any number":  {[]string{"wait=99999999999999999999"}, 0, false},
		"negative":           {[]string{"wait=-1"}, 0, false},
		"a fraction":         {[]string{"wait=1.5"}, 0, false},
		"with a unit":        {[]string{"wait=5s"}, 0, false},
		"without a value":    {[]string{"wait"}, 0, false},
		"with an empty one":  {[]string{"wait="}, 0, false},
		"another preference": {[]string{"await=5, wait-for=5"}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, asked := longpoll.Preferred(http.Header{"Prefer": test.prefer}); got != test.want || asked != test.asked {
				t.Errorf("got %s, %v; want %s, %v", got, asked, test.want, test.asked)
			}
		})
	}
	if name, value := longpoll.Applied(90 * time.Second); name != "Preference-Applied" || value != "wait=90" {
		t.Errorf("got %s: %s", name, value)
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p longpoll.Pace
		pauses := func(n int) (list []time.Duration) {
			for range n {
				begun := time.Now()
				<-p.Next()
				list = append(list, time.Since(begun))
			}
			return list
		}
		first := pauses(30)
		if !slices.IsSorted(first) || first[0] > 100*time.Millisecond || first[29] != time.Second ||
			first[28] != time.Second {
			t.Errorf("pauses: got %s", first)
		}
		p.Reset()
		if again := pauses(30); !slices.Equal(again, first) {
			t.Errorf("after Reset: got %s", again)
		}
	})
}
