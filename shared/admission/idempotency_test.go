package admission_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// keyed is the least that makes a job, with an idempotency key.
func keyed() admission.Draft {
	d := python()
	d.KeyHash = ledger.HashKey(ledger.FormKeys, "k")
	return d
}

// wantRefused demands an error about the key.
func wantRefused(t *testing.T, err, kind error, message string) {
	t.Helper()
	var faults *job.Faults
	if !errors.Is(err, kind) || !errors.As(err, &faults) || faults.List[0].Field != "Idempotency-Key" ||
		!strings.Contains(err.Error(), message) {
		t.Errorf("got %v, want %v with %q", err, kind, message)
	}
}

// TestSameKeyAtOnce commits one request many times at once.
func TestSameKeyAtOnce(t *testing.T) {
	w := admissiontest.New(t, nil)
	c := w.Controller()
	const clients = 16
	var ids [clients]job.ID
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			index, err := commit(t.Context(), c, keyed(), "a.py=x", "b=y")
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = index.JobID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("got the jobs %s", ids)
		}
	}
	if got := w.Jobs(); len(got) != 1 || got[0] != ids[0] {
		t.Errorf("jobs: got %s, want %s", got, ids[0])
	}
	for _, name := range w.Tree() { // of the others nothing is left
		top, _, _ := strings.Cut(name, "/")
		if top != string(ids[0]) && top != ".orchestrator" && top != ".tmp" || strings.Contains(name, "uploads/") {
			t.Errorf("left: %s", name)
		}
	}
}

// TestOtherRequest uses a key again for another request, which leaves nothing.
func TestOtherRequest(t *testing.T) {
	base := func() admission.Draft {
		d := keyed()
		d.Args, d.Env = []string{"a", "b"}, map[string]string{"A": "1", "B": "2"}
		return d
	}
	files := []string{"a.py=print(1)", "data=x"}
	for name, test := range map[string]struct {
		change func(d *admission.Draft)
		files  []string
	}{
		"other argument":     {change: func(d *admission.Draft) { d.Args = []string{"a", "c"} }},
		"other order":        {change: func(d *admission.Draft) { d.Args = []string{"b", "a"} }},
		"other variable":     {change: func(d *admission.Draft) { d.Env = map[string]string{"A": "1", "B": "3"} }},
		"one field more":     {change: func(d *admission.Draft) { d.CPU = "1" }},
		"other file":         {files: []string{"a.py=print(1)", "data=y"}},
		"other file name":    {files: []string{"a.py=print(1)", "data2=x"}},
		"one file more":      {files: []string{"a.py=print(1)", "data=x", "more="}},
		"contents exchanged": {files: []string{"a.py=x", "data=print(1)"}},
		"other fingerprint":  {change: func(d *admission.Draft) { d.Fingerprint = "x" }},
	} {
		t.Run(name, func(t *testing.T) {
			w := admissiontest.New(t, nil)
			c := w.Controller()
			first, err := commit(t.Context(), c, base(), files...)
			if err != nil {
				t.Fatal(err)
			}
			before := w.Tree()
			other := base()
			if test.change != nil {
				test.change(&other)
			}
			if test.files == nil {
				test.files = files
			}
			_, err = commit(t.Context(), c, other, test.files...)
			wantRefused(t, err, job.ErrInvalid, "use a new key")
			if diff := cmp.Diff(before, w.Tree()); diff != "" {
				t.Errorf("stored (-before +after):\n%s", diff)
			}
			again, err := commit(t.Context(), c, base(), files[1], files[0])
			if err != nil || again.JobID != first.JobID {
				t.Errorf("sent again: got %v, %v", again, err)
			}
			fresh := base()
			fresh.KeyHash = ledger.HashKey(ledger.FormKeys, "another")
			if index, err := commit(t.Context(), c, fresh, files...); err != nil || index.JobID == first.JobID {
				t.Errorf("with another key: got %v, %v", index, err)
			}
		})
	}
}

// TestFingerprint demands that keys of earlier versions keep their meaning.
func TestFingerprint(t *testing.T) {
	spec := job.Spec{Runtime: "python", Entrypoint: "a.py", Args: []string{"a"}, Env: map[string]string{"A": "1"}}
	files := []job.File{{Name: "b", Size: 1, SHA256: "x", Mode: "0755"}, {Name: "a.py", Size: 2, SHA256: "y"}}
	got, err := admission.Fingerprint(spec, files, nil)
	const want = "4c7a6e8809aa5a286fece27422494f3a2fafbf740f83ed72d131b231e6e0894e"
	if err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if files[0].Mode != "0755" {
		t.Error("the files were changed")
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

// clocked is a server with a clock that can be set.
func clocked(t *testing.T) (*clock, *admissiontest.Server) {
	c := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return c, admissiontest.New(t, nil, func(d *admission.Deps) { d.Env.Now = c.Now })
}

func TestKeyOutlivesItsJob(t *testing.T) {
	now, w := clocked(t)
	c := w.Controller()
	send := func() (*job.Index, error) { return commit(t.Context(), c, keyed(), "a.py=x") }
	first, err := send()
	if err != nil {
		t.Fatal(err)
	}
	w.Finish(first.JobID)
	if again, err := send(); err != nil || again.JobID != first.JobID {
		t.Errorf("of a job that is over: got %v, %v", again, err)
	}
	w.Remove(first.JobID)
	_, err = send()
	wantRefused(t, err, job.ErrGone, "use a new key")
	now.pass(ledger.KeyLifetime - time.Second)
	_, err = send()
	wantRefused(t, err, job.ErrGone, "use a new key")
	now.pass(time.Second)
	second, err := send()
	if err != nil || second.JobID == first.JobID || len(w.Jobs()) != 1 {
		t.Errorf("after a day: got %v, %v; there are %s", second, err, w.Jobs())
	}
}

// TestKeyOfFailedRequest demands that a key is free again when its request came to nothing.
func TestKeyOfFailedRequest(t *testing.T) {
	w := admissiontest.New(t, nil)
	c := w.Controller()
	faulty := keyed()
	faulty.CPU, faulty.Faults = "x", job.Invalid("cpu", "x")
	if _, err := commit(t.Context(), c, faulty, "a.py=x"); !errors.Is(err, job.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	w.WantNothing()
	if _, err := commit(t.Context(), c, keyed(), "a.py=x"); err != nil {
		t.Error(err)
	}
}

// TestKeyOfDeadRequest claims a key for a request whose process died before it recorded the job.
func TestKeyOfDeadRequest(t *testing.T) {
	now, w := clocked(t)
	c := w.Controller()
	first, err := commit(t.Context(), c, keyed(), "a.py=x")
	if err != nil {
		t.Fatal(err)
	}
	// What is stored looks as if the process had died just before it wrote the index.
	if err := w.Store.RemoveAll(t.Context(), ledger.JobPrefix(first.JobID)); err != nil {
		t.Fatal(err)
	}
	_, err = commit(t.Context(), c, keyed(), "a.py=x")
	wantRefused(t, err, job.ErrUnavailable, "still being accepted")
	now.pass(time.Minute)
	if again, err := commit(t.Context(), c, keyed(), "a.py=x"); err != nil || again.JobID == first.JobID {
		t.Errorf("got %v, %v", again, err)
	}
}

// TestLostID records a job whose ID was given up for another request with the same key, since it
// took so long.
func TestLostID(t *testing.T) {
	now := time.Now()
	w := admissiontest.New(t, nil, func(d *admission.Deps) {
		d.Env.Now, d.Env.Random = func() time.Time { return now }, formtest.Zeros{}
	})
	id, err := job.NewID(now, formtest.Zeros{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Store.Create(t.Context(), ledger.FileKey(id, job.IndexFile), []byte(`{"void":true}`)); err != nil {
		t.Fatal(err)
	}
	_, err = commit(t.Context(), w.Controller(), keyed(), "a.py=x")
	wantRefused(t, err, job.ErrExists, "send it again")
	w.Deps.Env.Random = rand.Reader
	if _, err := commit(t.Context(), w.Controller(), keyed(), "a.py=x"); err != nil {
		t.Errorf("sent again: %v", err)
	}
}
