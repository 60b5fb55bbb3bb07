package cancel

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// fixture is a server with the function over a directory, and a runner that ends jobs through the
// ledger.
type fixture struct {
	*ledgertest.Fixture
	server *httptest.Server
	runner *runner
}

// runner is what runs jobs: it notices that one is to stop, and records how it ended.
type runner struct {
	f     *fixture
	mu    sync.Mutex
	stops []stop
	err   error
	// ends says how a job ends that is told to stop; nil for one that does not end.
	ends    func(index *job.Index, remove bool) *job.Terminal
	running sync.WaitGroup
}

type stop struct {
	id     job.ID
	remove bool
}

func (r *runner) Stop(ctx context.Context, id job.ID, remove bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops = append(r.stops, stop{id, remove})
	if r.err != nil {
		return r.err
	}
	attempts, err := r.f.Ledger.Attempts(ctx, id)
	if err != nil || len(attempts) == 0 || r.ends == nil {
		return err
	}
	index, err := r.f.Ledger.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.running.Go(func() {
		if t := r.ends(index, remove); t != nil {
			if _, _, err := r.f.Ledger.Finish(context.WithoutCancel(ctx), index, *t); err != nil && !r.gone(index.JobID) {
				r.f.T.Errorf("finish: %v", err)
			}
		}
	})
	return nil
}

func (r *runner) gone(id job.ID) bool {
	_, err := r.f.Ledger.Index(context.Background(), id)
	return errors.Is(err, job.ErrNotFound)
}

func cancelled(*job.Index, bool) *job.Terminal {
	return &job.Terminal{Phase: job.Cancelled, Reason: job.ReasonCancelled, FinishedAt: time.Now()}
}

func succeeded(*job.Index, bool) *job.Terminal {
	return &job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now()}
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{Fixture: ledgertest.New(t)}
	f.runner = &runner{f: f, ends: cancelled}
	t.Cleanup(f.runner.running.Wait)
	f.server = f.Serve(f.function())
	return f
}

func (f *fixture) function() *Function {
	f.T.Helper()
	return New(Deps{Env: f.Env(), Ledger: f.Ledger, Stopper: f.runner})
}

// impatient has the function wait for the end of a job for a short time.
func (f *fixture) impatient() *fixture {
	f.T.Helper()
	function := f.function()
	function.wait = 50 * time.Millisecond
	f.server = f.Serve(function)
	return f
}

func (f *fixture) job() *job.Index {
	f.T.Helper()
	return f.Job(func(index *job.Index) {
		index.Labels = map[string]string{"a": "b"}
		f.Must(f.Ledger.BeginUpload(f.T.Context(), index.JobID))
	})
}

// call returns the status and body of an answer. It may be called by several at once.
func (f *fixture) call(method, path, bearer string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(f.T.Context(), method, f.server.URL+path, nil)
	if err != nil {
		return 0, nil, err
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if got.StatusCode >= 400 && got.Header.Get("Content-Type") != "application/problem+json" {
		err = errors.Join(err, errors.New("an error that is no problem"))
	}
	return got.StatusCode, body, err
}

func (f *fixture) cancel(want int, id job.ID) []byte {
	f.T.Helper()
	return f.must(want, http.MethodPost, "/api/v1/jobs/"+string(id)+"/cancel", f.Keys.Derive(token.User, id))
}

func (f *fixture) remove(want int, id job.ID) []byte {
	f.T.Helper()
	return f.must(want, http.MethodDelete, "/api/v1/jobs/"+string(id), f.Keys.Derive(token.User, id))
}

func (f *fixture) must(want int, method, path, bearer string) []byte {
	f.T.Helper()
	status, body, err := f.call(method, path, bearer)
	if err != nil {
		f.T.Fatal(err)
	}
	if status != want {
		f.T.Fatalf("%s %s: got %d, want %d: %s", method, path, status, want, body)
	}
	return body
}

func (f *fixture) phase(body []byte) job.Phase {
	f.T.Helper()
	var s job.Status
	if err := json.Unmarshal(body, &s); err != nil {
		f.T.Fatalf("%v: %s", err, body)
	}
	return s.Phase
}

func (f *fixture) wantNothing() {
	f.T.Helper()
	f.runner.running.Wait() // it may be recording what DELETE was faster than
	if got := f.Files(); len(got) > 0 {
		f.T.Errorf("left:\n%s", strings.Join(got, "\n"))
	}
}

func TestCancel(t *testing.T) {
	for _, test := range []struct {
		name  string
		ends  func(*job.Index, bool) *job.Terminal
		do    func(f *fixture, index *job.Index)
		want  int
		phase job.Phase
		again int // the answer to another cancel
	}{
		{"pending", cancelled, func(*fixture, *job.Index) {}, 200, job.Cancelled, 200},
		{"running", cancelled, func(f *fixture, i *job.Index) { f.Start(i, 1) }, 200, job.Cancelled, 200},
		{"running, ends by itself", succeeded, func(f *fixture, i *job.Index) { f.Start(i, 1) }, 409, job.Succeeded, 409},
		{"running, does not end", nil, func(f *fixture, i *job.Index) { f.impatient().Start(i, 1) }, 202, job.Running, 202},
		{"succeeded", nil, func(f *fixture, i *job.Index) { f.Start(i, 1); f.Finish(i, *succeeded(i, false)) }, 409,
			job.Succeeded, 409},
		{"cancelled", nil, func(f *fixture, i *job.Index) { f.Start(i, 1); f.Finish(i, *cancelled(i, false)) }, 200,
			job.Cancelled, 200},
		{"removed", nil, func(f *fixture, i *job.Index) { f.remove(204, i.JobID) }, 404, "", 404},
		{"being removed", nil, func(f *fixture, i *job.Index) { f.impatient().Start(i, 1); f.remove(202, i.JobID) }, 404,
			"", 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.runner.ends = test.ends
			index := f.job()
			test.do(f, index)
			for _, want := range []int{test.want, test.again} {
				body := f.cancel(want, index.JobID)
				switch want {
				case 200, 202:
					if got := f.phase(body); got != test.phase {
						t.Errorf("phase: got %s, want %s", got, test.phase)
					}
				case 409:
					if !strings.Contains(string(body), "over already: it is "+string(test.phase)) {
						t.Errorf("got %s", body)
					}
				}
			}
			if test.phase != "" {
				s, err := f.Ledger.Status(t.Context(), index.JobID)
				if err != nil || s.Phase != test.phase {
					t.Errorf("recorded: got %+v, %v", s, err)
				}
			}
			for _, s := range f.runner.stops {
				if s.id != index.JobID {
					t.Errorf("stopped %s", s.id)
				}
			}
		})
	}
}

func TestDelete(t *testing.T) {
	for name, do := range map[string]func(f *fixture, index *job.Index){
		"pending":   func(*fixture, *job.Index) {},
		"running":   func(f *fixture, i *job.Index) { f.Start(i, 1) },
		"succeeded": func(f *fixture, i *job.Index) { f.Start(i, 1); f.Finish(i, *succeeded(i, false)) },
		"cancelled": func(f *fixture, i *job.Index) { f.cancel(200, i.JobID) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			index := f.job()
			do(f, index)
			if body := f.remove(204, index.JobID); len(body) > 0 {
				t.Errorf("204 with the body %q", body)
			}
			f.wantNothing()
			f.remove(404, index.JobID)
			f.cancel(404, index.JobID)
			f.wantNothing()
			if i := slices.IndexFunc(f.runner.stops, func(s stop) bool { return s.remove }); i < 0 {
				t.Error("the runner was not told that nothing is kept")
			}
		})
	}
}

// TestDeleteThatTakesLong leaves the rest to the reaper.
func TestDeleteThatTakesLong(t *testing.T) {
	f := newFixture(t).impatient()
	f.runner.ends = nil
	index := f.job()
	f.Start(index, 1)
	if body := f.remove(202, index.JobID); len(body) > 0 {
		t.Errorf("202 with the body %q", body)
	}
	f.remove(404, index.JobID)
	f.Finish(index, *cancelled(index, true))
	if n, err := f.Ledger.RemoveExpired(t.Context()); n != 1 || err != nil {
		t.Errorf("reaper: got %d, %v", n, err)
	}
	f.wantNothing()
}

// TestRemovedMeanwhile waits for a job that somebody else removes.
func TestRemovedMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.runner.ends = func(index *job.Index, _ bool) *job.Terminal {
		f.Finish(index, *succeeded(index, false))
		// DELETE may be faster
		if err := f.Ledger.Remove(context.Background(), index.JobID); err != nil && !errors.Is(err, job.ErrNotFound) {
			t.Error(err)
		}
		return nil
	}
	index := f.job()
	f.Start(index, 1)
	// 404, or 409 when the answer was made between its end and its removal.
	status, body, err := f.call(http.MethodPost, "/api/v1/jobs/"+string(index.JobID)+"/cancel",
		f.Keys.Derive(token.User, index.JobID))
	if err != nil || status != http.StatusNotFound && status != http.StatusConflict {
		t.Errorf("got %d %s, %v", status, body, err)
	}
	index = f.job()
	f.Start(index, 1)
	f.remove(204, index.JobID)
}

// TestRaces ends, cancels and removes one job at once; whatever comes first, the answers fit
// together.
func TestRaces(t *testing.T) {
	f := newFixture(t)
	for round := range 40 {
		index := f.job()
		if round%2 == 0 {
			f.Start(index, 1)
		}
		f.runner.ends = []func(*job.Index, bool) *job.Terminal{cancelled, succeeded}[round/2%2]
		bearer := f.Keys.Derive(token.User, index.JobID)
		path := "/api/v1/jobs/" + string(index.JobID)
		var all sync.WaitGroup
		var mu sync.Mutex
		got := map[int]int{}
		for range 4 {
			all.Go(func() {
				status, body, err := f.call(http.MethodPost, path+"/cancel", bearer)
				mu.Lock()
				defer mu.Unlock()
				if got[status]++; err != nil || !slices.Contains([]int{200, 409}, status) {
					t.Errorf("cancel: got %d: %s (%v)", status, body, err)
				}
			})
		}
		if round%2 == 0 {
			all.Go(func() { // may be that the program ends just now
				if _, _, err := f.Ledger.Finish(context.Background(), index, *succeeded(index, false)); err != nil {
					t.Errorf("finish: %v", err)
				}
			})
		}
		all.Wait()
		if len(got) != 1 {
			t.Errorf("cancel: got both %v", got)
		}
		f.runner.running.Wait()
		f.remove(204, index.JobID)
		f.runner.running.Wait()
	}
	f.wantNothing()
}

// TestDeletedByMany has each answered, and nothing left once the reaper has passed.
func TestDeletedByMany(t *testing.T) {
	f := newFixture(t)
	for round := range 20 {
		index := f.job()
		if round%2 == 0 {
			f.Start(index, 1)
		}
		bearer := f.Keys.Derive(token.User, index.JobID)
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				status, body, err := f.call(http.MethodDelete, "/api/v1/jobs/"+string(index.JobID), bearer)
				if err != nil || !slices.Contains([]int{202, 204, 404}, status) { // 404 for whoever comes after the removal
					t.Errorf("delete: got %d: %s (%v)", status, body, err)
				}
			})
		}
		all.Wait()
	}
	f.runner.running.Wait()
	// An end that was recorded just after the removal goes when it expires.
	later := ledger.New(f.Store, func() time.Time { return time.Now().Add(24 * time.Hour) })
	// So does what a removal left that got in another's way.
	if _, err := later.RemoveExpired(t.Context()); err != nil {
		t.Error(err)
	}
	f.wantNothing()
}

func TestStopperFails(t *testing.T) {
	for kind, want := range map[error]int{job.ErrUnavailable: 503, io.ErrNoProgress: 500} {
		f := newFixture(t)
		f.runner.err = kind
		index := f.job()
		f.cancel(want, index.JobID)
		f.remove(want, index.JobID)
		// The wish is recorded all the same, and the next who looks at the job sees it.
		if asked, err := f.Ledger.CancelRequested(t.Context(), index.JobID); !asked || err != nil {
			t.Errorf("cancel requested: %t, %v", asked, err)
		}
	}
}

func TestAccess(t *testing.T) {
	f := newFixture(t)
	mine, other := f.job(), f.job()
	for name, test := range map[string]struct {
		id     job.ID
		bearer string
		want   int
	}{
		"agent":         {mine.JobID, f.Keys.Derive(token.Agent, mine.JobID), 403},
		"somebody else": {mine.JobID, f.Keys.Derive(token.User, other.JobID), 403},
		"unknown":       {job.ID(strings.Repeat("0", 32)), f.Keys.Derive(token.User, mine.JobID), 403},
		"no ID":         {"x", f.Keys.Derive(token.User, mine.JobID), 403},
		"unknown, mine": {job.ID(strings.Repeat("0", 32)), f.Keys.Derive(token.User, job.ID(strings.Repeat("0", 32))), 404},
	} {
		t.Run(name, func(t *testing.T) {
			f.must(test.want, http.MethodPost, "/api/v1/jobs/"+string(test.id)+"/cancel", test.bearer)
			f.must(test.want, http.MethodDelete, "/api/v1/jobs/"+string(test.id), test.bearer)
		})
	}
	f.must(405, http.MethodGet, "/api/v1/jobs/"+string(mine.JobID)+"/cancel", f.Keys.Derive(token.User, mine.JobID))
	if len(f.runner.stops) > 0 {
		t.Errorf("stopped: %v", f.runner.stops)
	}
	if over, err := f.Ledger.Over(t.Context(), mine.JobID); over || err != nil {
		t.Errorf("over: %t, %v", over, err)
	}
}

// TestRemote is a function that cannot tell whoever runs jobs: they notice in the records.
func TestRemote(t *testing.T) {
	f := newFixture(t)
	env := platform.New(map[string]string{"STORAGE_DIR": f.Dir}, slog.New(slog.DiscardHandler))
	d := Deps{Env: env, Ledger: f.Ledger, Stopper: backend.Remote().Stopper}
	function := New(d)
	f.server = f.Serve(function)
	index := f.job()
	f.Start(index, 1)
	noticed := make(chan error)
	other, err := store.OpenDir(f.Dir)
	f.Must(err)
	t.Cleanup(func() { other.Close() })
	records := ledger.New(other, time.Now)
	go func() { // as a runner does
		for {
			asked, err := records.CancelRequested(context.Background(), index.JobID)
			if err != nil || asked {
				_, _, finishErr := records.Finish(context.Background(), index, *cancelled(index, false))
				noticed <- errors.Join(err, finishErr)
				return
			}
		}
	}()
	f.cancel(200, index.JobID)
	if err := <-noticed; err != nil {
		t.Error(err)
	}
}

// TestAwaitIsTold demands that an end that this process records is seen at once, and that nobody
// asks the storage all the time meanwhile. The clock is the test's.
func TestAwaitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ends = 10*time.Second + time.Microsecond
		f := &fixture{Fixture: ledgertest.New(t)}
		index := f.job()
		f.Start(index, 1)
		function := f.function()
		begun := time.Now()
		ended := make(chan struct{})
		time.AfterFunc(ends, func() { defer close(ended); f.Finish(index, *cancelled(index, false)) })
		over, err := function.await(t.Context(), index.JobID)
		if took := time.Since(begun); !over || err != nil || took != ends {
			t.Errorf("await: %t, %v after %s; want the end after %s", over, err, took, ends)
		}
		<-ended // what comes behind the record is done by then
		index = f.job()
		f.Start(index, 1)
		begun = time.Now()
		over, err = function.await(t.Context(), index.JobID)
		if took := time.Since(begun); over || err != nil || took != maxWait || took > 30*time.Second {
			t.Errorf("await: %t, %v after %s; want an answer while it runs on, before proxies lose patience", over, err, took)
		}
	})
}
