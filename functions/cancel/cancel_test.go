package cancel

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// world is a server with the function over a directory, and a runner that ends jobs through the
// ledger.
type world struct {
	t      testing.TB
	dir    string
	store  *store.Store
	ledger *ledger.Ledger
	keys   token.Keys
	server *httptest.Server
	runner *runner
}

// runner is what runs jobs: it notices that one is to stop, and records how it ended.
type runner struct {
	w     *world
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
	attempts, err := r.w.ledger.Attempts(ctx, id)
	if err != nil || len(attempts) == 0 || r.ends == nil {
		return err
	}
	index, err := r.w.ledger.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r.running.Go(func() {
		if t := r.ends(index, remove); t != nil {
			if _, _, err := r.w.ledger.Finish(context.WithoutCancel(ctx), index, *t); err != nil && !r.gone(index.JobID) {
				r.w.t.Errorf("finish: %v", err)
			}
		}
	})
	return nil
}

func (r *runner) gone(id job.ID) bool {
	_, err := r.w.ledger.Index(context.Background(), id)
	return errors.Is(err, job.ErrNotFound)
}

func cancelled(*job.Index, bool) *job.Terminal {
	return &job.Terminal{Phase: job.Cancelled, Reason: job.ReasonCancelled, FinishedAt: time.Now()}
}

func succeeded(*job.Index, bool) *job.Terminal {
	return &job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now()}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	var err error
	if w.store, err = store.OpenDir(w.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	if w.keys, err = token.New([]byte("0123456789abcdef0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	w.ledger = ledger.New(w.store, time.Now)
	w.runner = &runner{w: w, ends: cancelled}
	t.Cleanup(w.runner.running.Wait)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	router := api.NewRouter(log)
	w.function(log).Mount(router)
	w.server = httptest.NewServer(router)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) function(log *slog.Logger) *Function {
	w.t.Helper()
	env := platform.New(nil, log)
	env.SetKeys(w.keys)
	f, err := New(Deps{Env: env, Ledger: w.ledger, Stopper: w.runner})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) impatient() *world {
	w.t.Helper()
	log := slog.New(slog.DiscardHandler)
	router := api.NewRouter(log)
	f := w.function(log)
	f.wait = 50 * time.Millisecond
	f.Mount(router)
	w.server.Config.Handler = router
	return w
}

func (w *world) job() *job.Index {
	w.t.Helper()
	id, err := job.NewID(time.Now(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	index := &job.Index{
		JobID: id, JobName: id.Name(), CreatedAt: id.Created(), Spec: job.Spec{Runtime: "python", Entrypoint: "a",
			Labels: map[string]string{"a": "b"}, TTLSecondsAfterFinished: 60},
	}
	if err := w.ledger.BeginUpload(w.t.Context(), id); err != nil {
		w.t.Fatal(err)
	}
	if err := w.ledger.Accept(w.t.Context(), index); err != nil {
		w.t.Fatal(err)
	}
	return index
}

func (w *world) start(index *job.Index) {
	w.t.Helper()
	if _, err := w.ledger.StartAttempt(w.t.Context(), index.JobID, 1, "test", nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) finish(index *job.Index, t *job.Terminal) {
	w.t.Helper()
	if _, _, err := w.ledger.Finish(context.WithoutCancel(w.t.Context()), index, *t); err != nil {
		w.t.Fatal(err)
	}
}

// call returns the status and body of an answer. It may be called by several at once.
func (w *world) call(method, path, bearer string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, nil)
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

func (w *world) cancel(want int, id job.ID) []byte {
	w.t.Helper()
	return w.must(want, http.MethodPost, "/api/v1/jobs/"+string(id)+"/cancel", w.keys.Derive(token.User, id))
}

func (w *world) remove(want int, id job.ID) []byte {
	w.t.Helper()
	return w.must(want, http.MethodDelete, "/api/v1/jobs/"+string(id), w.keys.Derive(token.User, id))
}

func (w *world) must(want int, method, path, bearer string) []byte {
	w.t.Helper()
	status, body, err := w.call(method, path, bearer)
	if err != nil {
		w.t.Fatal(err)
	}
	if status != want {
		w.t.Fatalf("%s %s: got %d, want %d: %s", method, path, status, want, body)
	}
	return body
}

func (w *world) phase(body []byte) job.Phase {
	w.t.Helper()
	var s job.Status
	if err := json.Unmarshal(body, &s); err != nil {
		w.t.Fatalf("%v: %s", err, body)
	}
	return s.Phase
}

// files lists what is stored, but for records in the making.
func (w *world) files() []string {
	w.t.Helper()
	var list []string
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if name := strings.TrimPrefix(path, w.dir+"/"); err == nil && path != w.dir && name != ".tmp" {
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) wantNothing() {
	w.t.Helper()
	w.runner.running.Wait() // it may be recording what DELETE was faster than
	if got := w.files(); len(got) > 0 {
		w.t.Errorf("left:\n%s", strings.Join(got, "\n"))
	}
}

func TestCancel(t *testing.T) {
	for _, test := range []struct {
		name  string
		ends  func(*job.Index, bool) *job.Terminal
		do    func(w *world, index *job.Index)
		want  int
		phase job.Phase
		again int // the answer to another cancel
	}{
		{"pending", cancelled, func(*world, *job.Index) {}, 200, job.Cancelled, 200},
		{"running", cancelled, func(w *world, i *job.Index) { w.start(i) }, 200, job.Cancelled, 200},
		{"running, ends by itself", succeeded, func(w *world, i *job.Index) { w.start(i) }, 409, job.Succeeded, 409},
		{"running, does not end", nil, func(w *world, i *job.Index) { w.impatient().start(i) }, 202, job.Running, 202},
		{"succeeded", nil, func(w *world, i *job.Index) { w.start(i); w.finish(i, succeeded(i, false)) }, 409, job.Succeeded,
			409},
		{"cancelled", nil, func(w *world, i *job.Index) { w.start(i); w.finish(i, cancelled(i, false)) }, 200, job.Cancelled,
			200},
		{"removed", nil, func(w *world, i *job.Index) { w.remove(204, i.JobID) }, 404, "", 404},
		{"being removed", nil, func(w *world, i *job.Index) { w.impatient().start(i); w.remove(202, i.JobID) }, 404, "", 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.runner.ends = test.ends
			index := w.job()
			test.do(w, index)
			for _, want := range []int{test.want, test.again} {
				body := w.cancel(want, index.JobID)
				switch want {
				case 200, 202:
					if got := w.phase(body); got != test.phase {
						t.Errorf("phase: got %s, want %s", got, test.phase)
					}
				case 409:
					if !strings.Contains(string(body), "over already: it is "+string(test.phase)) {
						t.Errorf("got %s", body)
					}
				}
			}
			if test.phase != "" {
				s, err := w.ledger.Status(t.Context(), index.JobID)
				if err != nil || s.Phase != test.phase {
					t.Errorf("recorded: got %+v, %v", s, err)
				}
			}
			for _, s := range w.runner.stops {
				if s.id != index.JobID {
					t.Errorf("stopped %s", s.id)
				}
			}
		})
	}
}

func TestDelete(t *testing.T) {
	for name, do := range map[string]func(w *world, index *job.Index){
		"pending":   func(*world, *job.Index) {},
		"running":   func(w *world, i *job.Index) { w.start(i) },
		"succeeded": func(w *world, i *job.Index) { w.start(i); w.finish(i, succeeded(i, false)) },
		"cancelled": func(w *world, i *job.Index) { w.cancel(200, i.JobID) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			index := w.job()
			do(w, index)
			if body := w.remove(204, index.JobID); len(body) > 0 {
				t.Errorf("204 with the body %q", body)
			}
			w.wantNothing()
			w.remove(404, index.JobID)
			w.cancel(404, index.JobID)
			w.wantNothing()
			if i := slices.IndexFunc(w.runner.stops, func(s stop) bool { return s.remove }); i < 0 {
				t.Error("the runner was not told that nothing is kept")
			}
		})
	}
}

// TestDeleteThatTakesLong leaves the rest to the reaper.
func TestDeleteThatTakesLong(t *testing.T) {
	w := newWorld(t).impatient()
	w.runner.ends = nil
	index := w.job()
	w.start(index)
	if body := w.remove(202, index.JobID); len(body) > 0 {
		t.Errorf("202 with the body %q", body)
	}
	w.remove(404, index.JobID)
	w.finish(index, cancelled(index, true))
	if n, err := w.ledger.RemoveExpired(t.Context()); n != 1 || err != nil {
		t.Errorf("reaper: got %d, %v", n, err)
	}
	w.wantNothing()
}

// TestRemovedMeanwhile waits for a job that somebody else removes.
func TestRemovedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.runner.ends = func(index *job.Index, _ bool) *job.Terminal {
		w.finish(index, succeeded(index, false))
		// DELETE may be faster
		if err := w.ledger.Remove(context.Background(), index.JobID); err != nil && !errors.Is(err, job.ErrNotFound) {
			t.Error(err)
		}
		return nil
	}
	index := w.job()
	w.start(index)
	// 404, or 409 when the answer was made between its end and its removal.
	status, body, err := w.call(http.MethodPost, "/api/v1/jobs/"+string(index.JobID)+"/cancel",
		w.keys.Derive(token.User, index.JobID))
	if err != nil || status != http.StatusNotFound && status != http.StatusConflict {
		t.Errorf("got %d %s, %v", status, body, err)
	}
	index = w.job()
	w.start(index)
	w.remove(204, index.JobID)
}

// TestRaces ends, cancels and removes one job at once; whatever comes first, the answers fit
// together.
func TestRaces(t *testing.T) {
	w := newWorld(t)
	for round := range 40 {
		index := w.job()
		if round%2 == 0 {
			w.start(index)
		}
		w.runner.ends = []func(*job.Index, bool) *job.Terminal{cancelled, succeeded}[round/2%2]
		bearer := w.keys.Derive(token.User, index.JobID)
		path := "/api/v1/jobs/" + string(index.JobID)
		var all sync.WaitGroup
		var mu sync.Mutex
		got := map[int]int{}
		for range 4 {
			all.Go(func() {
				status, body, err := w.call(http.MethodPost, path+"/cancel", bearer)
				mu.Lock()
				defer mu.Unlock()
				if got[status]++; err != nil || !slices.Contains([]int{200, 409}, status) {
					t.Errorf("cancel: got %d: %s (%v)", status, body, err)
				}
			})
		}
		if round%2 == 0 {
			all.Go(func() { // may be that the program ends just now
				if _, _, err := w.ledger.Finish(context.Background(), index, *succeeded(index, false)); err != nil {
					t.Errorf("finish: %v", err)
				}
			})
		}
		all.Wait()
		if len(got) != 1 {
			t.Errorf("cancel: got both %v", got)
		}
		w.runner.running.Wait()
		w.remove(204, index.JobID)
		w.runner.running.Wait()
	}
	w.wantNothing()
}

// TestDeletedByMany has each answered, and nothing left once the reaper has passed.
func TestDeletedByMany(t *testing.T) {
	w := newWorld(t)
	for round := range 20 {
		index := w.job()
		if round%2 == 0 {
			w.start(index)
		}
		bearer := w.keys.Derive(token.User, index.JobID)
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				status, body, err := w.call(http.MethodDelete, "/api/v1/jobs/"+string(index.JobID), bearer)
				if err != nil || !slices.Contains([]int{202, 204, 404}, status) { // 404 for whoever comes after the removal
					t.Errorf("delete: got %d: %s (%v)", status, body, err)
				}
			})
		}
		all.Wait()
	}
	w.runner.running.Wait()
	// An end that was recorded just after the removal goes when it expires.
	later := ledger.New(w.store, func() time.Time { return time.Now().Add(24 * time.Hour) })
	// So does what a removal left that got in another's way.
	if _, err := later.RemoveExpired(t.Context()); err != nil {
		t.Error(err)
	}
	w.wantNothing()
}

func TestStopperFails(t *testing.T) {
	for kind, want := range map[error]int{job.ErrUnavailable: 503, io.ErrNoProgress: 500} {
		w := newWorld(t)
		w.runner.err = kind
		index := w.job()
		w.cancel(want, index.JobID)
		w.remove(want, index.JobID)
		// The wish is recorded all the same, and the next who looks at the job sees it.
		if asked, err := w.ledger.CancelRequested(t.Context(), index.JobID); !asked || err != nil {
			t.Errorf("cancel requested: %t, %v", asked, err)
		}
	}
}

func TestAccess(t *testing.T) {
	w := newWorld(t)
	mine, other := w.job(), w.job()
	for name, test := range map[string]struct {
		id     job.ID
		bearer string
		want   int
	}{
		"nobody":        {mine.JobID, "", 401},
		"agent":         {mine.JobID, w.keys.Derive(token.Agent, mine.JobID), 403},
		"somebody else": {mine.JobID, w.keys.Derive(token.User, other.JobID), 403},
		"unknown":       {job.ID(strings.Repeat("0", 32)), w.keys.Derive(token.User, mine.JobID), 403},
		"no ID":         {"x", w.keys.Derive(token.User, mine.JobID), 403},
		"unknown, mine": {job.ID(strings.Repeat("0", 32)), w.keys.Derive(token.User, job.ID(strings.Repeat("0", 32))), 404},
	} {
		t.Run(name, func(t *testing.T) {
			w.must(test.want, http.MethodPost, "/api/v1/jobs/"+string(test.id)+"/cancel", test.bearer)
			w.must(test.want, http.MethodDelete, "/api/v1/jobs/"+string(test.id), test.bearer)
		})
	}
	w.must(405, http.MethodGet, "/api/v1/jobs/"+string(mine.JobID)+"/cancel", w.keys.Derive(token.User, mine.JobID))
	if len(w.runner.stops) > 0 {
		t.Errorf("stopped: %v", w.runner.stops)
	}
	if over, err := w.ledger.Over(t.Context(), mine.JobID); over || err != nil {
		t.Errorf("over: %t, %v", over, err)
	}
}

// TestRemote is a function that cannot tell whoever runs jobs: they notice in the records.
func TestRemote(t *testing.T) {
	w := newWorld(t)
	env := platform.New(map[string]string{"STORAGE_DIR": w.dir}, slog.New(slog.DiscardHandler))
	d := Deps{Env: env, Ledger: w.ledger, Stopper: backend.Remote().Stopper}
	if _, err := New(d); err == nil || !strings.Contains(err.Error(), "TOKEN_KEYS") {
		t.Errorf("without keys: got %v", err)
	}
	env.SetKeys(w.keys)
	f, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	router := api.NewRouter(env.Log)
	f.Mount(router)
	w.server.Config.Handler = router
	index := w.job()
	w.start(index)
	noticed := make(chan error)
	go func() { // as a runner does
		for {
			asked, err := w.ledger.CancelRequested(context.Background(), index.JobID)
			if err != nil || asked {
				_, _, finishErr := w.ledger.Finish(context.Background(), index, *cancelled(index, false))
				noticed <- errors.Join(err, finishErr)
				return
			}
		}
	}()
	w.cancel(200, index.JobID)
	if err := <-noticed; err != nil {
		t.Error(err)
	}
}

// TestAwaitIsTold demands that an end that this process records is seen at once, and that nobody
// asks the storage all the time meanwhile. The clock is the test's.
func TestAwaitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ends = 10*time.Second + time.Microsecond
		w := &world{t: t}
		s, err := store.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w.ledger = ledger.New(s, time.Now)
		index := w.job()
		w.start(index)
		f := w.function(slog.New(slog.DiscardHandler))
		begun := time.Now()
		ended := make(chan struct{})
		time.AfterFunc(ends, func() { defer close(ended); w.finish(index, cancelled(index, false)) })
		over, err := f.await(t.Context(), index.JobID)
		if took := time.Since(begun); !over || err != nil || took != ends {
			t.Errorf("await: %t, %v after %s; want the end after %s", over, err, took, ends)
		}
		<-ended // what comes behind the record is done by then
	})
}
