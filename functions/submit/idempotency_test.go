package submit_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

func (w *world) keyed(key string, parts ...part) reply {
	w.t.Helper()
	return w.do(w.request(strings.NewReader(encode(parts...)), http.Header{"Idempotency-Key": {key}}))
}

// jobs lists the IDs of all jobs.
func (w *world) jobs() []job.ID {
	w.t.Helper()
	page, err := w.ledger.List(w.t.Context(), ledger.Query{Limit: 500})
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []job.ID
	for _, s := range page.Items {
		ids = append(ids, s.JobID)
	}
	return ids
}

func TestSameKeyAtOnce(t *testing.T) {
	w := newWorld(t)
	const clients = 16
	answers := make([]reply, clients)
	var all sync.WaitGroup
	for i := range clients {
		r := w.request(strings.NewReader(encode(script()...)), http.Header{"Idempotency-Key": {"k"}})
		all.Go(func() {
			got, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			answers[i] = w.read(got)
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	first := w.accepted(answers[0])
	for _, got := range answers {
		if a := w.accepted(got); a != first {
			t.Errorf("got %+v, want %+v", a, first)
		}
	}
	if got := w.jobs(); len(got) != 1 || got[0] != first.JobID {
		t.Errorf("jobs: got %s, want %s", got, first.JobID)
	}
	for _, name := range w.tree() { // of the others nothing is left
		top, _, _ := strings.Cut(name, "/")
		if top != string(first.JobID) && top != ".orchestrator" && top != ".tmp" {
			t.Errorf("left: %s", name)
		}
		if strings.Contains(name, "uploads/") {
			t.Errorf("left: %s", name)
		}
	}
}

func TestOtherBody(t *testing.T) {
	base := script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"2"}`), file("data", "x"))
	for name, parts := range map[string][]part{
		"other argument":  script(field("args", `["a","c"]`), field("env", `{"A":"1","B":"2"}`), file("data", "x")),
		"other order":     script(field("args", `["b","a"]`), field("env", `{"A":"1","B":"2"}`), file("data", "x")),
		"other variable":  script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"3"}`), file("data", "x")),
		"other file":      script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"2"}`), file("data", "y")),
		"other file name": script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"2"}`), file("data2", "x")),
		"one file more": script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"2"}`), file("data", "x"),
			file("more", "")),
		"one field more": script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"2"}`), file("data", "x"),
			field("cpu", "1")),
		"contents exchanged": {field("runtime", "python"), field("entrypoint", "a.py"), field("args", `["a","b"]`),
			field("env", `{"A":"1","B":"2"}`),
			file("a.py", "x"), file("data", "print(1)\n")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			first := w.accepted(w.keyed("k", base...))
			before := w.tree()
			p := w.problem(w.keyed("k", parts...), http.StatusUnprocessableEntity)
			if len(p.Errors) != 1 || p.Errors[0].Field != "Idempotency-Key" || !strings.Contains(p.Detail, "use a new key") {
				t.Errorf("got %+v", p)
			}
			if after := w.tree(); strings.Join(after, "\n") != strings.Join(before, "\n") {
				t.Errorf("stored: got %q, want %q", after, before)
			}
			if a := w.accepted(w.keyed("k", base...)); a.JobID != first.JobID {
				t.Errorf("got another job for the first body")
			}
		})
	}
}

func TestSameContentEncodedOtherwise(t *testing.T) {
	w := newWorld(t)
	base := script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"2"}`), file("data", "x"))
	first := w.accepted(w.keyed("k", base...))
	other := strings.ReplaceAll(encode(base...), boundary, "other")
	for name, r := range map[string]*http.Request{
		"other boundary": w.request(strings.NewReader(other), http.Header{"Content-Type": {"multipart/form-data; " +
			"boundary=other"}}),
		"other order": w.request(strings.NewReader(encode(
			file("data", "x"), field("env", `{ "B":"2", "A":"\u0031" }`), file("a.py", "print(1)\n"), field("arg", "a"),
			field("entrypoint", "a.py"), field("arg", "b"), field("runtime", "python"))), nil),
		"chunked": w.request(struct{ *strings.Reader }{strings.NewReader(encode(base...))}, nil),
		"default as value": w.request(strings.NewReader(
			encode(append(base, field("ttlSecondsAfterFinished", "86400"), field("retries", "0"), field("labels", "{}"))...)),
			nil),
	} {
		r.Header.Set("Idempotency-Key", "k")
		if name == "chunked" {
			r.ContentLength = -1
		}
		if a := w.accepted(w.do(r)); a != first {
			t.Errorf("%s: got %+v, want %+v", name, a, first)
		}
	}
	if got := w.jobs(); len(got) != 1 {
		t.Errorf("jobs: got %s", got)
	}
	if a := w.accepted(w.keyed("k2", base...)); a.JobID == first.JobID {
		t.Error("another key got the same job")
	}
	if a := w.accepted(w.post(base...)); a.JobID == first.JobID {
		t.Error("no key got the same job")
	}
}

// clock can be set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestKeyOutlivesItsJob(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w := newWorld(t, func(d *submit.Deps) { d.Env.Now = c.Now })
	first := w.accepted(w.keyed("k", script()...))
	if _, _, err := w.ledger.Finish(t.Context(), w.index(first.JobID),
		job.Terminal{Phase: job.Succeeded, FinishedAt: c.Now()}); err != nil {
		t.Fatal(err)
	}
	if a := w.accepted(w.keyed("k", script()...)); a != first {
		t.Errorf("of a job that is over: got %+v, want %+v", a, first)
	}
	if err := w.ledger.Remove(t.Context(), first.JobID); err != nil {
		t.Fatal(err)
	}
	p := w.problem(w.keyed("k", script()...), http.StatusGone)
	if len(p.Errors) != 1 || p.Errors[0].Field != "Idempotency-Key" || !strings.Contains(p.Detail, "use a new key") {
		t.Errorf("got %+v", p)
	}
	c.pass(ledger.KeyLifetime - time.Second)
	w.problem(w.keyed("k", script()...), http.StatusGone)
	c.pass(time.Second)
	second := w.accepted(w.keyed("k", script()...))
	if second.JobID == first.JobID {
		t.Error("after a day the key still means the first job")
	}
	if len(w.jobs()) != 1 {
		t.Errorf("jobs: got %s", w.jobs())
	}
}

// TestKeyOfFailedRequest demands that a key is free again when its request came to nothing.
func TestKeyOfFailedRequest(t *testing.T) {
	for name, fail := range map[string]func(w *world){
		"refused form": func(w *world) {
			w.problem(w.keyed("k", script(field("cpu", "x"))...),
				http.StatusUnprocessableEntity)
		},
		"aborted": func(w *world) {
			conn := w.dial()
			if _, err := conn.Write([]byte(head + "Idempotency-Key: k\r\nContent-Length: 1000\r\n\r\n" +
				encode(script()...)[:100])); err != nil {
				w.t.Fatal(err)
			}
			conn.Close()
			<-w.finished
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			fail(w)
			w.wantNothing()
			w.accepted(w.keyed("k", script(field("cpu", "1"))...))
		})
	}
}

// TestKeyOfDeadRequest claims a key for a request whose process died before it recorded the job.
func TestKeyOfDeadRequest(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w := newWorld(t, func(d *submit.Deps) { d.Env.Now = c.Now })
	first := w.accepted(w.keyed("k", script()...))
	// What is stored looks as if the process had died just before it wrote the index.
	if err := w.store.RemoveAll(t.Context(), string(first.JobID)+"/"); err != nil {
		t.Fatal(err)
	}
	p := w.problem(w.keyed("k", script()...), http.StatusServiceUnavailable)
	if !strings.Contains(p.Detail, "still being accepted") {
		t.Errorf("detail: got %q", p.Detail)
	}
	c.pass(time.Minute)
	if a := w.accepted(w.keyed("k", script()...)); a.JobID == first.JobID {
		t.Error("the dead request's ID is used again")
	}
}

// TestLostID records a job whose ID was given up for another request with the same key, since it
// took so long.
func TestLostID(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(d *submit.Deps) { d.Env.Now, d.Env.Random = func() time.Time { return now }, zeros{} })
	id, err := job.NewID(now, zeros{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.Create(t.Context(), ledger.FileKey(id, job.IndexFile), []byte(`{"void":true}`)); err != nil {
		t.Fatal(err)
	}
	p := w.problem(w.keyed("k", script()...), http.StatusConflict)
	if len(p.Errors) != 1 || p.Errors[0].Field != "Idempotency-Key" || !strings.Contains(p.Detail, "send it again") {
		t.Errorf("got %+v", p)
	}
}
