package agentapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/upload/uploadtest"
)

func unmarshal[T any](t testing.TB, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

func TestStartAttempt(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		limits := `"limits":{"cpu":"1","memory":"1Gi"}`
		got := unmarshal[job.Attempt](t, w.record("POST attempts", `{"owner":"pod-1",`+limits+`}`, 201))
		if got.Number != 1 || got.StartedAt.IsZero() || got.Limits == nil || got.Limits.Memory != "1Gi" {
			t.Errorf("got %+v", got)
		}
		again := unmarshal[job.Attempt](t, w.record("POST attempts", `{"owner":"pod-1"}`, 201))
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("the same owner again (-first +second):\n%s", diff)
		}
		w.record("POST attempts", `{"owner":"pod-2"}`, 503)
		for _, body := range []string{`{}`, `{"owner":""}`, `{"owner":"a\u0000"}`, `{"owner":1}`, `[]`, `null`, ``,
			`{"owner":"x"} x`, `{"owner":"x","more":1}`, `{"owner":"` + strings.Repeat("x", 257) + `"}`, "{\"owner\":\"\xff\""} {
			w.record("POST attempts", body, 422)
		}
		// One that has ended was run; it is not given out again.
		w.record("PUT attempts/1/end", end(1), 201)
		got = unmarshal[job.Attempt](t, w.record("POST attempts", `{"owner":"pod-2"}`, 201))
		if got.Number != 2 {
			t.Errorf("got %+v", got)
		}
		w.record("POST attempts", `{"owner":"pod-1"}`, 503)
		// With the last attempt the job is over, and gives out no more.
		w.record("PUT attempts/2/end", end(2), 201)
		w.record("POST attempts", `{"owner":"pod-3"}`, 409)
	})
}

// An end that was recorded by one who did not come to record that of the job still leaves no
// attempt to be made.
func TestStartOfAJobThatIsOver(t *testing.T) {
	w := newFixture(t, t.TempDir())
	w.record("POST attempts", `{"owner":"pod-1"}`, 201)
	a := end(1)
	a.Reason = job.ReasonCompleted
	if err := w.Ledger.EndAttempt(t.Context(), w.ID, a); err != nil {
		t.Fatal(err)
	}
	w.record("POST attempts", `{"owner":"pod-2"}`, 409)
	if terminal, err := w.Ledger.Terminal(t.Context(), w.ID); err != nil || terminal.Phase != job.Succeeded {
		t.Errorf("got %+v, %v", terminal, err)
	}
}

// Of several pods that claim one attempt, one gets it.
func TestStartAttemptOnce(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		var all sync.WaitGroup
		statuses := make([]int, 16)
		for i := range statuses {
			all.Go(func() {
				resp, _ := w.call("POST attempts", strings.NewReader(fmt.Sprintf(`{"owner":"pod-%d"}`, i)))
				statuses[i] = resp.StatusCode
			})
		}
		all.Wait()
		count := map[int]int{}
		for _, s := range statuses {
			count[s]++
		}
		if diff := cmp.Diff(map[int]int{201: 1, 503: 15}, count); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A job that is to be cancelled is not run, and the attempt that nobody runs has its end.
func TestStartCancelled(t *testing.T) {
	w := newFixture(t, t.TempDir())
	if err := w.Ledger.RequestCancel(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.record("POST attempts", `{"owner":"pod-1"}`, 409)
	}
	terminal, err := w.Ledger.Terminal(t.Context(), w.ID)
	if err != nil || terminal.Phase != job.Cancelled || len(terminal.Attempts) != 0 {
		t.Errorf("got %+v, %v", terminal, err)
	}
}

// One that runs already is told as well, but has its end to record itself.
func TestStartCancelledMeanwhile(t *testing.T) {
	w := newFixture(t, t.TempDir())
	w.record("POST attempts", `{"owner":"pod-1"}`, 201)
	if err := w.Ledger.RequestCancel(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	if body := w.record("POST attempts", `{"owner":"pod-1"}`, 409); !strings.Contains(string(body), "cancelled") {
		t.Errorf("got %s", body)
	}
	attempts, err := w.Ledger.Attempts(t.Context(), w.ID)
	if err != nil || len(attempts) != 1 || attempts[0].FinishedAt != nil {
		t.Errorf("got %+v, %v", attempts, err)
	}
	w.record("PUT attempts/1/end", end(1), 201)
}

func end(n int) job.Attempt {
	now, code := time.Now().UTC(), 3
	return job.Attempt{Number: n, StartedAt: now, FinishedAt: &now, ExitCode: &code, Reason: job.ReasonError,
		Message: "the program exited with code 3"}
}

func TestEndAttempt(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		w.record("PUT attempts/1/end", end(1), 409)
		begun := unmarshal[job.Attempt](t, w.record("POST attempts", `{"owner":"pod-1","limits":{"cpu":"1","memory":"2"}}`,
			201))
		change := func(f func(a *job.Attempt)) job.Attempt {
			a := end(1)
			f(&a)
			return a
		}
		early, late, code := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour), 256
		for name, a := range map[string]any{
			"other number": end(2), "no end": change(func(a *job.Attempt) { a.FinishedAt = nil }),
			"no reason": change(func(a *job.Attempt) { a.Reason = "" }),
			"words":     change(func(a *job.Attempt) { a.Reason = "two words" }),
			"past":      change(func(a *job.Attempt) { a.FinishedAt = &early }),
			"future":    change(func(a *job.Attempt) { a.FinishedAt = &late }),
			"code":      change(func(a *job.Attempt) { a.ExitCode = &code }),
			"no JSON":   "{", "no object": "3", "no time": `{"number":1,"finishedAt":"yesterday"}`,
		} {
			if body := w.record("PUT attempts/1/end", a, 422); !strings.Contains(string(body), `"field"`) {
				t.Errorf("%s: %s", name, body)
			}
		}
		sent := end(1)
		sent.StartedAt = time.Time{}
		want := sent
		want.StartedAt, want.Limits = begun.StartedAt, begun.Limits
		got := unmarshal[job.Attempt](t, w.record("PUT attempts/1/end", sent, 201))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// The first record stands.
		other := end(1)
		other.Reason = job.ReasonOOMKilled
		got = unmarshal[job.Attempt](t, w.record("PUT attempts/1/end", other, 201))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sent again (-want +got):\n%s", diff)
		}
		attempts, err := w.Ledger.Attempts(t.Context(), w.ID)
		if diff := cmp.Diff([]job.Attempt{want}, attempts); diff != "" || err != nil {
			t.Errorf("recorded (-want +got):\n%s %v", diff, err)
		}
	})
}

func file(name, content string) job.File {
	return job.File{Name: name, Size: int64(len(content)), SHA256: uploadtest.SHA256(content),
		ContentType: "text/plain; charset=utf-8"}
}

func TestManifest(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		for _, name := range []string{"B", "a/b", "a.txt", "stderr.log", "stdout.log"} {
			w.Put(name, name)
		}
		refused := map[string]string{
			"no JSON": `{`, "list": `[]`, "more": `{"files":[],"orders":{}}`, "after it": `{"files":[]}{}`,
			"not stored": `{"files":[{"name":"x","size":1,"sha256":"` + uploadtest.SHA256("x") + `"}]}`,
			"name":       `{"files":[{"name":"../x","size":1,"sha256":"` + uploadtest.SHA256("x") + `"}]}`,
			"reserved":   `{"files":[{"name":".job/x","size":1,"sha256":"` + uploadtest.SHA256("x") + `"}]}`,
			"size":       `{"files":[{"name":"B","size":2,"sha256":"` + uploadtest.SHA256("B") + `"}]}`,
			"negative":   `{"files":[{"name":"B","size":-1,"sha256":"` + uploadtest.SHA256("B") + `"}]}`,
			"no sum":     `{"files":[{"name":"B","size":1}]}`,
			"capitals":   `{"files":[{"name":"B","size":1,"sha256":"` + strings.ToUpper(uploadtest.SHA256("B")) + `"}]}`,
			"type": `{"files":[{"name":"B","size":1,"sha256":"` + uploadtest.SHA256("B") +
				`","contentType":"a b\r\nX: y"}]}`,
			"mode":       `{"files":[{"name":"B","size":1,"sha256":"` + uploadtest.SHA256("B") + `","mode":"4755"}]}`,
			"log folder": `{"files":[{"name":"stdout.log/x","size":1,"sha256":"` + uploadtest.SHA256("B") + `"}]}`,
		}
		for name, body := range refused {
			if got := w.record("PUT outputs", body, 422); !strings.Contains(string(got), `"field"`) {
				t.Errorf("%s: %s", name, got)
			}
		}
		w.record("PUT outputs", agentwire.Manifest{Files: []job.File{file("a.txt", "a.txt"), file("B", "B")}}, 422)
		w.record("PUT outputs", agentwire.Manifest{Files: []job.File{file("B", "B"), file("B", "B")}}, 422)
		if files, err := w.Ledger.Outputs(t.Context(), w.ID); err != nil || len(files) != 0 {
			t.Fatalf("recorded %v, %v", files, err)
		}

		m := agentwire.Manifest{Files: []job.File{file("B", "B"), file("a.txt", "a.txt"), file("a/b", "a/b"),
			file("stdout.log", "stdout.log")}}
		m.Files[1].Mode = "0755"
		for range 2 { // again is harmless
			got := unmarshal[agentwire.Manifest](t, w.record("PUT outputs", m, 201))
			if diff := cmp.Diff(m, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		files, err := w.Ledger.Outputs(t.Context(), w.ID)
		if diff := cmp.Diff(m.Files, files); diff != "" || err != nil {
			t.Errorf("recorded (-want +got):\n%s %v", diff, err)
		}
		// What is listed stays as it is, and so does the list.
		w.record("PUT outputs", agentwire.Manifest{Files: m.Files[:1]}, 409)
		resp, body := w.Put("B", "changed")
		uploadtest.WantProblem(t, resp, body, http.StatusConflict)
		if got, _ := w.Stored("B"); got != "B" {
			t.Errorf("stored %q", got)
		}
	})
}

func TestManifestOfNothing(t *testing.T) {
	w := newFixture(t, t.TempDir())
	for range 2 {
		if got := string(w.record("PUT outputs", `{"files":null,"order":{"runs":null}}`, 201)); !strings.Contains(got,
			`"files":[]`) {
			t.Errorf("got %s", got)
		}
	}
}

func TestManifestOfMany(t *testing.T) {
	w := newFixture(t, t.TempDir())
	m := agentwire.Manifest{Files: []job.File{}}
	for i := range 2000 {
		name := fmt.Sprintf("%04d", i)
		if _, err := w.Store.Put(t.Context(), ledger.ResultKey(w.ID, name), strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, file(name, name))
	}
	w.record("PUT outputs", m, 201)
}

func TestRecordSizes(t *testing.T) {
	w := newFixture(t, t.TempDir())
	for name, limit := range map[string]int{
		"POST attempts": 1 << 20, "PUT attempts/1/end": 1 << 20, "PUT attempts/1/report": 16 << 20, "PUT outputs": 16 << 20,
		"POST links": 1 << 20,
		"PUT log/segments/000000000000-000000000000": joblog.MaxSegment, "PUT log/order": spool.MaxRecords * spool.RecordSize,
	} {
		w.record(name, strings.Repeat(" ", limit+1), http.StatusRequestEntityTooLarge)
		resp, body := w.call(name, uploadtest.Unsized{Reader: strings.NewReader(strings.Repeat(" ", limit+1))})
		uploadtest.WantProblem(t, resp, body, http.StatusRequestEntityTooLarge)
	}
}

// A manifest that comes in small enough can take more bytes as it is stored, and could then not be
// read again.
func TestManifestThatGrows(t *testing.T) {
	w := newFixture(t, t.TempDir())
	m := agentwire.Manifest{}
	name := strings.Repeat(strings.Repeat("<", 199)+"/", 4)
	for i := range 4000 {
		m.Files = append(m.Files, file(fmt.Sprintf("%s%04d", name, i), "x"))
	}
	var body strings.Builder
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		t.Fatal(err)
	}
	w.record("PUT outputs", body.String(), http.StatusRequestEntityTooLarge)
}

// The end of the last attempt is that of the job.
func TestEndOfTheJob(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		w.record("POST attempts", `{"owner":"pod-1"}`, 201)
		w.record("PUT attempts/1/end", end(1), 201)
		if over, err := w.Ledger.Over(t.Context(), w.ID); err != nil || over {
			t.Fatalf("over before the retry: %v, %v", over, err)
		}
		w.record("POST attempts", `{"owner":"pod-2"}`, 201)
		w.Put("stdout.log", "out")
		w.Put("stderr.log", "")
		m := agentwire.Manifest{Files: []job.File{file("stderr.log", ""), file("stdout.log", "out")}}
		w.record("PUT outputs", m, 201)
		last := end(2)
		last.Outputs = &job.Outputs{Count: 2, Bytes: 3}
		w.record("PUT attempts/2/end", last, 201)
		got, err := w.Ledger.Terminal(t.Context(), w.ID)
		if err != nil || got.Phase != job.Failed || got.Reason != job.ReasonError || *got.ExitCode != 3 ||
			len(got.Attempts) != 2 || got.Outputs.Bytes != 3 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// Why its program was stopped an agent may not know. What it reports is kept for who finds out,
// unless it was the job's user.
func TestReport(t *testing.T) {
	stores(t, func(t *testing.T, w *fixture) {
		w.record("POST attempts", `{"owner":"pod-1"}`, 201)
		w.Put("x", "x")
		good := agentwire.Report{Attempt: end(1), Manifest: agentwire.Manifest{Files: []job.File{file("x", "x")}}}
		good.Attempt.Reason, good.Attempt.Outputs = job.ReasonInterrupted, &job.Outputs{Count: 1, Bytes: 1}
		for name, bad := range map[string]any{
			"no JSON": "{", "unknown field": `{"x":1}`, "number": agentwire.Report{Attempt: end(2)},
			"no end":     agentwire.Report{Attempt: job.Attempt{Number: 1}},
			"not stored": agentwire.Report{Attempt: end(1), Manifest: agentwire.Manifest{Files: []job.File{file("y", "y")}}},
		} {
			if body := w.record("PUT attempts/1/report", bad, 422); !strings.Contains(string(body), `"field"`) {
				t.Errorf("%s: %s", name, body)
			}
		}
		w.record("PUT attempts/1/report", good, 204)
		w.record("PUT attempts/1/report", good, 204)
		attempts, err := w.Ledger.Attempts(t.Context(), w.ID)
		if err != nil || attempts[0].FinishedAt != nil {
			t.Fatalf("ended by a report: %+v, %v", attempts, err)
		}
		if r, err := w.Ledger.Report(t.Context(), w.ID, 1); err != nil || len(r.Files) != 1 || r.Attempt.Outputs.Count != 1 {
			t.Errorf("kept %+v, %v", r, err)
		}
		if err := w.Ledger.RequestCancel(t.Context(), w.ID); err != nil {
			t.Fatal(err)
		}
		w.record("PUT attempts/1/report", good, 201)
		got, err := w.Ledger.Terminal(t.Context(), w.ID)
		if err != nil || got.Phase != job.Cancelled || got.Outputs.Count != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
		if files, err := w.Ledger.Outputs(t.Context(), w.ID); err != nil || len(files) != 1 {
			t.Errorf("outputs %v, %v", files, err)
		}
	})
}

// The next attempt's agent goes on with the log of the one before; nobody else gets it here.
func TestLogSoFar(t *testing.T) {
	w := newFixture(t, t.TempDir())
	w.record("PUT log/segments/000000000000-000000000000",
		`{"stdout":0,"stderr":0,"runs":[{"stream":"stdout","bytes":2},{"stream":"stderr","bytes":3}]}`+"\nhierr", 204)
	_, body := w.call("GET log", nil)
	state := unmarshal[joblog.State](t, body)
	if state.Next != 1 || state.Stdout != 2 || state.Stderr != 3 {
		t.Errorf("state %+v", state)
	}
	for stream, want := range map[string]string{"stdout": "hi", "stderr": "err"} {
		if _, body := w.call("GET log/streams/"+stream, nil); string(body) != want {
			t.Errorf("%s: %q", stream, body)
		}
	}
	want := slices.Concat(spool.Record{End: spool.Position{Stdout: 2}}.Encode(),
		spool.Record{End: spool.Position{Stdout: 2, Stderr: 3}}.Encode())
	if _, body := w.call("GET log/order", nil); !bytes.Equal(body, want) {
		t.Errorf("order: %q", body)
	}
	for _, call := range []string{
		"log?stream=stdout", "log?%zz", "log/streams/stdin", "log/streams/order", "log/streams/stdout?stream=stderr",
		"log/streams/stdout?tail=1", "log/streams/stdout?%zz",
		"log/order?tail=1",
	} {
		resp, body := w.call("GET "+call, nil)
		uploadtest.WantProblem(t, resp, body, http.StatusBadRequest)
	}
	for _, call := range []string{"log/streams/", "log/streams/stdout/x", "log/",
		"log/segments/000000000000-000000000000"} {
		if resp, _ := w.call("GET "+call, nil); resp.StatusCode != http.StatusNotFound &&
			resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %s", call, resp.Status)
		}
	}
}

// The pieces of a log are taken while the job runs, and go when the whole logs are stored.
func TestLog(t *testing.T) {
	w := newFixture(t, t.TempDir())
	const segment = "000000000000-000000000000"
	for range 2 {
		w.record("PUT log/segments/"+segment, `{"stdout":0,"stderr":0,"runs":[{"stream":"stdout","bytes":2}]}`+"\nhi",
			http.StatusNoContent)
	}
	w.record("PUT log/segments/nonsense", "x", http.StatusUnprocessableEntity)
	pieces := func() int {
		keys, err := w.Store.List(t.Context(), ledger.LogPrefix(w.ID), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	if got := pieces(); got != 1 {
		t.Errorf("%d pieces", got)
	}
	w.Put("stdout.log", "hi")
	w.Put("stderr.log", "")
	w.record("PUT outputs", agentwire.Manifest{Files: []job.File{file("stderr.log", ""), file("stdout.log", "hi")}}, 201)
	w.record("POST attempts", `{"owner":"pod-1"}`, 201)
	a := end(1)
	a.Reason = job.ReasonCompleted
	w.record("PUT attempts/1/end", a, 201)
	if got := pieces(); got != 1 {
		t.Errorf("without the order of the log %d pieces are left", got)
	}
}

// The order of the log is stored with it, and then its pieces go.
func TestLogOrder(t *testing.T) {
	w := newFixture(t, t.TempDir())
	w.record("PUT log/segments/000000000000-000000000000", `{"stdout":0,"stderr":0}`+"\n", http.StatusNoContent)
	w.Put("stdout.log", "hi")
	w.Put("stderr.log", "")
	order := string(spool.Record{Attempt: 1, End: spool.Position{Stdout: 2}}.Encode())
	for range 2 { // again is harmless
		w.record("PUT log/order", order, http.StatusNoContent)
	}
	w.record("PUT outputs", agentwire.Manifest{Files: []job.File{file("stderr.log", ""), file("stdout.log", "hi")}}, 201)
	w.record("POST attempts", `{"owner":"pod-1"}`, 201)
	a := end(1)
	a.Reason = job.ReasonCompleted
	w.record("PUT attempts/1/end", a, 201)
	if keys, err := w.Store.List(t.Context(), ledger.LogPrefix(w.ID), "", 100); err != nil || len(keys) > 0 {
		t.Errorf("pieces %v are left, %v", keys, err)
	}
	if got, err := w.Store.Read(t.Context(), ledger.OrderKey(w.ID)); err != nil || string(got) != order {
		t.Errorf("the order is %q, %v", got, err)
	}
	w.record("PUT log/order", order, http.StatusConflict)
}

// What a digest says of a record counts as well.
func TestRecordDigest(t *testing.T) {
	w := newFixture(t, t.TempDir())
	resp, body := w.call("POST attempts", strings.NewReader(`{"owner":"x"}`), "Content-Digest", uploadtest.Digest("y"))
	uploadtest.WantProblem(t, resp, body, http.StatusUnprocessableEntity)
	if attempts, err := w.Ledger.Attempts(t.Context(), w.ID); err != nil || len(attempts) != 0 {
		t.Errorf("got %v, %v", attempts, err)
	}
}
