package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/joblog/joblogtest"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/token"
)

// fixture is a server and one job whose log is written, shipped and read.
type fixture struct {
	*joblogtest.Fixture
	function *Function
	url      string
	stop     func() // stops the server, and waits for it
	handlers atomic.Int64
}

func streams() []spool.Stream { return joblogtest.Streams() }

func newFixture(t testing.TB) *fixture {
	t.Helper()
	w := &fixture{Fixture: joblogtest.New(t)}
	var err error
	w.function, err = New(w.Env())
	w.Must(err)
	w.serve()
	return w
}

// serve starts a server over the bucket, as after a restart.
func (w *fixture) serve() {
	w.T.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.T.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	router := api.NewRouter(log).Guarded(guardtest.New(w.Keys, w.Ledger))
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
			w.T.Error(err)
		}
	}()
	w.stop = func() { cancel(); <-done }
	w.T.Cleanup(w.stop)
	w.url = "http://" + ln.Addr().String()
}

func (w *fixture) path() string { return "/api/v1/jobs/" + string(w.Index.JobID) + "/logs" }

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
	req.Header.Set("Authorization", "Bearer "+w.Keys.Derive(token.User, w.Index.JobID))
	// a kept connection may be one of a server that has stopped
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return client.Do(req)
}

func (w *fixture) get(query string) *answer {
	resp, err := w.open(w.T.Context(), query)
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
	w.T.Helper()
	a := w.get(query)
	if a.err != nil || a.StatusCode != http.StatusOK {
		w.T.Fatalf("%s: %s %v", query, a.Status, a.err)
	}
	return a
}

var errAway = errors.New("storage is away")

func (w *fixture) shipper() *joblog.Shipper { return w.failingShipper(func() bool { return false }) }

func (w *fixture) failingShipper(fails func() bool) *joblog.Shipper {
	w.T.Helper()
	id := w.Index.JobID
	state, err := logstore.State(context.Background(), w.Store, id)
	if err != nil {
		w.T.Fatal(err)
	}
	return joblog.NewShipper(w.Spool, state, func(ctx context.Context, name string, data []byte) error {
		failed := fails()
		if failed && len(data)%2 == 0 {
			return errAway
		}
		err := logstore.Accept(ctx, w.Store, id, name, bytes.NewReader(data))
		if failed { // stored, and only the answer is lost
			return errAway
		}
		return err
	})
}

func (w *fixture) keepOrder() {
	w.T.Helper()
	order, err := w.Spool.Records()
	w.Must(err)
	w.Must(logstore.PutOrder(context.Background(), w.Store, w.Index.JobID, order))
}

func (w *fixture) conclude() {
	w.T.Helper()
	w.End(w.Index, job.Succeeded)
	w.Must(logstore.Retire(context.Background(), w.Store, w.Index.JobID))
}

// end does all that is done when a program has ended.
func (w *fixture) end(s *joblog.Shipper) {
	w.T.Helper()
	w.Ship(s)
	w.Keep()
	w.keepOrder()
	w.conclude()
}

// until waits for a condition.
func (w *fixture) until(what string, condition func() bool) {
	w.T.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.T.Fatalf("in vain waited until %s", what)
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
	r := &records{Ledger: w.Ledger, over: nothing, live: nothing}
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

// position is what Log-Position says.
func (a *answer) position() (n int64) {
	_, _ = fmt.Sscan(a.Trailer.Get("Log-Position"), &n)
	return n
}
