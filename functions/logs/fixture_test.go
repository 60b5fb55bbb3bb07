package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/spool/spooltest"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// fixture is a server and one job whose log is written, shipped and read.
type fixture struct {
	t        testing.TB
	store    *store.Store
	ledger   *ledger.Ledger
	keys     token.Keys
	index    *job.Index
	function *Function
	url      string
	stop     func() // stops the server, and waits for it
	handlers atomic.Int64
	files    spool.Files
	writer   *spool.Writer // under mu

	mu   sync.Mutex
	want map[spool.Stream]*bytes.Buffer
}

func streams() []spool.Stream { return []spool.Stream{spool.Stdout, spool.Stderr} }

// newFunction is the function over a bucket.
func newFunction(t testing.TB, s *store.Store, keys token.Keys) *Function {
	t.Helper()
	env := platform.New(nil, slog.New(slog.DiscardHandler))
	env.SetStore(s)
	env.SetKeys(keys)
	f, err := New(env)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	w := &fixture{t: t}
	var err error
	if w.store, err = store.OpenDir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if w.keys, err = token.New([]byte(strings.Repeat("k", token.MinKeyBytes))); err != nil {
		t.Fatal(err)
	}
	w.ledger = ledger.New(w.store, time.Now)
	w.accept()
	w.function = newFunction(t, w.store, w.keys)
	w.serve()
	return w
}

// accept makes a new job the one that is written and read.
func (w *fixture) accept() {
	w.t.Helper()
	id, err := job.NewID(time.Now(), rand.NewChaCha8([32]byte{byte(rand.Int()), byte(rand.Int()), byte(rand.Int())}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.index = &job.Index{JobID: id, CreatedAt: time.Now()}
	w.index.TTLSecondsAfterFinished = 3600
	if err := w.ledger.Accept(context.Background(), w.index); err != nil {
		w.t.Fatal(err)
	}
	w.want = map[spool.Stream]*bytes.Buffer{spool.Stdout: {}, spool.Stderr: {}}
	w.files, w.writer = spooltest.New(w.t)
}

// serve starts a server over the bucket, as after a restart.
func (w *fixture) serve() {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	router := api.NewRouter(log).Guarded(guardtest.New(w.keys, w.ledger))
	w.function.Mount(router)
	counted := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.handlers.Add(1)
		defer w.handlers.Add(-1)
		router.ServeHTTP(out, r)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := (&api.Server{Log: log, Wait: time.Minute, Drain: func() {}, MaxConnections: 1000}).Serve(ctx, ln,
			counted); err != nil {
			w.t.Error(err)
		}
	}()
	w.stop = func() { cancel(); <-done }
	w.t.Cleanup(w.stop)
	w.url = "http://" + ln.Addr().String()
}

func (w *fixture) path() string { return "/api/v1/jobs/" + string(w.index.JobID) + "/logs" }

// answer is a response that has been read to its end, if err is nil.
type answer struct {
	*http.Response
	body string
	err  error
}

// phase is what the trailer says.
func (a *answer) phase() job.Phase { return job.Phase(a.Trailer.Get("Job-Phase")) }

func (w *fixture) open(ctx context.Context, query string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+w.path()+"?"+query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.keys.Derive(token.User, w.index.JobID))
	// a kept connection may be one of a server that has stopped
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return client.Do(req)
}

func (w *fixture) get(query string) *answer {
	resp, err := w.open(w.t.Context(), query)
	if err != nil {
		return &answer{Response: &http.Response{}, err: err}
	}
	return finish(resp)
}

func finish(resp *http.Response) *answer {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{resp, string(body), err}
}

// read is get for what must succeed.
func (w *fixture) read(query string) *answer {
	w.t.Helper()
	a := w.get(query)
	if a.err != nil || a.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s %v", query, a.Status, a.err)
	}
	return a
}

var errAway = errors.New("storage is away")

func (w *fixture) shipper() *joblog.Shipper { return w.failingShipper(func() bool { return false }) }

func (w *fixture) failingShipper(fails func() bool) *joblog.Shipper {
	w.t.Helper()
	id := w.index.JobID
	state, err := logstore.State(context.Background(), w.store, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return joblog.NewShipper(w.files, state, func(ctx context.Context, name string, data []byte) error {
		failed := fails()
		if failed && len(data)%2 == 0 {
			return errAway
		}
		err := logstore.Accept(ctx, w.store, id, name, bytes.NewReader(data))
		if failed { // stored, and only the answer is lost
			return errAway
		}
		return err
	})
}

func (w *fixture) write(s spool.Stream, text string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writer.Write(s, []byte(text))
	w.writer.Sync()
	w.want[s].WriteString(text)
}

func (w *fixture) wanted(s spool.Stream) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.want[s].String()
}

func (w *fixture) ship(s *joblog.Shipper) {
	w.t.Helper()
	for n := 0; ; n++ {
		err := s.Flush(context.Background())
		if err == nil {
			return
		}
		if n == 1000 {
			w.t.Fatal(err)
		}
	}
}

// keep stores the whole logs, as at the end of a job.
func (w *fixture) keep() {
	w.t.Helper()
	ctx := context.Background()
	for stream, name := range map[spool.Stream]string{spool.Stdout: job.StdoutFile, spool.Stderr: job.StderrFile} {
		if _, err := w.store.Put(ctx, ledger.ResultKey(w.index.JobID, name),
			strings.NewReader(w.wanted(stream))); err != nil {
			w.t.Error(err)
		}
	}
	w.keepOrder()
}

func (w *fixture) keepOrder() {
	w.t.Helper()
	order, err := w.files.Records()
	if err == nil {
		err = logstore.PutOrder(context.Background(), w.store, w.index.JobID, order)
	}
	if err != nil {
		w.t.Error(err)
	}
}

func (w *fixture) conclude() {
	w.t.Helper()
	if _, _, err := w.ledger.Finish(context.Background(), w.index,
		job.Terminal{Phase: job.Succeeded, FinishedAt: time.Now()}); err != nil {
		w.t.Error(err)
	}
	if err := logstore.Retire(context.Background(), w.store, w.index.JobID); err != nil {
		w.t.Error(err)
	}
}

// end does all that is done when a program has ended.
func (w *fixture) end(s *joblog.Shipper) {
	w.t.Helper()
	w.ship(s)
	w.keep()
	w.conclude()
}

// until waits for a condition.
func (w *fixture) until(what string, condition func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("in vain waited until %s", what)
		}
	}
}

// records has a test do something at the moment when the reader asks for a record.
type records struct {
	*ledger.Ledger
	over, live func(call int)
	calls      struct{ over, live atomic.Int64 }
}

func (w *fixture) intercept() *records {
	nothing := func(int) {}
	r := &records{Ledger: w.ledger, over: nothing, live: nothing}
	w.function.reader.Records = r
	return r
}

// Over calls the hook behind the look at the record.
func (r *records) Over(ctx context.Context, id job.ID) (bool, error) {
	over, err := r.Ledger.Over(ctx, id)
	r.over(int(r.calls.over.Add(1)))
	return over, err
}

func (r *records) Live(ctx context.Context, id job.ID) (*job.Index, error) {
	index, err := r.Ledger.Live(ctx, id)
	r.live(int(r.calls.live.Add(1)))
	return index, err
}

// lastLines is what tail(1) prints.
func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines[max(len(lines)-n, 0):], "")
}

// position is what Log-Position says.
func (a *answer) position() (n int64) {
	_, _ = fmt.Sscan(a.Trailer.Get("Log-Position"), &n)
	return n
}
