package longpoll_test

import (
	"context"
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
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/longpoll"
)

// fixture is the records of one job in a directory, and how often they were looked at.
type fixture struct {
	*ledgertest.Fixture
	index *job.Index
	looks []time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Fixture: ledgertest.New(t)}
	f.index = f.Job()
	return f
}

// look is what the functions look with.
func (f *fixture) look(ctx context.Context, id job.ID) (*job.Status, error) {
	f.looks = append(f.looks, time.Now())
	return f.Ledger.Status(ctx, id)
}

func (f *fixture) until(ctx context.Context, wait time.Duration) (*job.Status, error) {
	return longpoll.Until(ctx, wait, f.look, f.index.JobID, nil)
}

func (f *fixture) fail(n int) {
	now := time.Now()
	f.Must(f.Ledger.EndAttempt(f.T.Context(), f.index.JobID, job.Attempt{Number: n, Reason: job.ReasonError,
		FinishedAt: &now}))
}

func (f *fixture) remove() { f.Must(f.Ledger.RequestRemoval(f.T.Context(), f.index.JobID)) }

// TestUntil lets jobs live while somebody waits for them. The clock is the test's.
func TestUntil(t *testing.T) {
	type step struct {
		after time.Duration
		do    func(*fixture)
	}
	begin := func(n int) func(*fixture) { return func(f *fixture) { f.Start(f.index, n) } }
	fail := func(n int) func(*fixture) { return func(f *fixture) { f.fail(n) } }
	end := func(p job.Phase) func(*fixture) { return func(f *fixture) { f.End(f.index, p) } }
	for name, test := range map[string]struct {
		before []func(*fixture)
		wait   time.Duration
		steps  []step
		phase  job.Phase // empty: the job is gone
		// The answer comes no earlier than this, and at most a second later.
		answer time.Duration
	}{
		"nothing happens": {nil, 30 * time.Second, nil, job.Pending, 30 * time.Second},
		"no wait":         {nil, 0, nil, job.Pending, 0},
		"over already":    {[]func(*fixture){end(job.Failed)}, time.Minute, nil, job.Failed, 0},
		"gone already":    {[]func(*fixture){(*fixture).remove}, time.Minute, nil, "", 0},
		"quick": {nil, time.Minute, []step{{20 * time.Millisecond, begin(1)},
			{100 * time.Millisecond, end(job.Succeeded)}}, job.Succeeded, 120 * time.Millisecond},
		"slow": {nil, time.Minute, []step{{20 * time.Second, begin(1)}, {20 * time.Second, end(job.Failed)}},
			job.Failed, 40 * time.Second},
		"with a retry": {nil, time.Minute, []step{{time.Second, begin(1)}, {time.Second, fail(1)},
			{time.Second, begin(2)}, {time.Second, end(job.Succeeded)}}, job.Succeeded, 4 * time.Second},
		"begins and goes on": {nil, 10 * time.Second, []step{{9*time.Second + 990*time.Millisecond, begin(1)}},
			job.Running, 10 * time.Second},
		"between two attempts": {[]func(*fixture){begin(1), fail(1)}, 5 * time.Second, nil, job.Running, 5 * time.Second},
		"never begins": {nil, time.Minute, []step{{13 * time.Second, end(job.Cancelled)}}, job.Cancelled,
			13 * time.Second},
		"ends as the time is up": {nil, 7 * time.Second, []step{{7*time.Second - time.Nanosecond, end(job.Succeeded)}},
			job.Succeeded, 7*time.Second - time.Nanosecond},
		"ends when the time is up": {nil, 7 * time.Second, []step{{8 * time.Second, end(job.Succeeded)}}, job.Pending,
			7 * time.Second},
		"removed meanwhile": {[]func(*fixture){begin(1)}, time.Minute, []step{{10 * time.Second, (*fixture).remove}}, "",
			10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which also fails when a goroutine is left
				f := newFixture(t)
				for _, do := range test.before {
					do(f)
				}
				lived := make(chan struct{})
				go func() {
					defer close(lived)
					for _, s := range test.steps {
						time.Sleep(s.after)
						s.do(f)
					}
				}()
				begun := time.Now()
				got, err := f.until(t.Context(), test.wait)
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
		f := newFixture(t)
		changed, leave := f.Ledger.Watch(f.index.JobID)
		defer leave()
		const begins, ends = 30*time.Second + time.Microsecond, 40*time.Second + 2*time.Microsecond
		time.AfterFunc(begins, func() { f.Start(f.index, 1) })
		ended := make(chan struct{})
		time.AfterFunc(ends, func() { defer close(ended); f.End(f.index, job.Succeeded) })
		begun := time.Now()
		got, err := longpoll.Until(t.Context(), time.Minute, f.look, f.index.JobID, changed)
		if took := time.Since(begun); err != nil || got.Phase != job.Succeeded || took != ends {
			t.Errorf("after %s: %+v, %v; want the end after %s", took, got, err, ends)
		}
		<-ended // what comes behind the record is done by then
		if !slices.ContainsFunc(f.looks, func(at time.Time) bool { return at.Sub(begun) == begins }) {
			t.Error("the beginning was not seen when it was")
		}
	})
}

// TestCost demands that the records are looked at often while a job is young, and rarely in the
// long run.
func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		begun := time.Now()
		if _, err := f.until(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		early := 0
		for i, at := range f.looks {
			if at.Sub(begun) <= time.Second {
				early++
			}
			if i > 0 && at.Sub(f.looks[i-1]) > time.Second {
				t.Errorf("between %s and %s nobody looked", f.looks[i-1].Sub(begun), at.Sub(begun))
			}
		}
		if early < 5 || len(f.looks) > 80 {
			t.Errorf("looked %d times, %d of them within the first second; want at most 80, and at least 5", len(f.looks), early)
		}
	})
}

func TestUntilEndsWithTheClient(t *testing.T) {
	for name, wait := range map[string]time.Duration{"at once": 0, "meanwhile": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				f.Start(f.index, 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if wait == 0 {
					cancel()
				} else {
					time.AfterFunc(wait, cancel)
				}
				begun := time.Now()
				// An error or how the job was: nobody is there any more to read it.
				if s, err := f.until(ctx, time.Minute); err != nil && !errors.Is(err, context.Canceled) || err == nil &&
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
	f := newFixture(t)
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
			return f.Ledger.Status(ctx, id)
		}, f.index.JobID, nil)
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
		"malformed, twice":   {[]string{"wait=x, wait=5"}, 0, false},
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
