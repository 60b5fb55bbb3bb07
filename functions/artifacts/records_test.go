package artifacts_test

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

	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/token"
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
	stores(t, func(t *testing.T, w *world) {
		limits := `"limits":{"cpu":"1","memory":"1Gi"}`
		got := unmarshal[job.Attempt](t, w.record("attempts/next/start", `{"owner":"pod-1",`+limits+`}`, 201))
		if got.Number != 1 || got.StartedAt.IsZero() || got.Limits == nil || got.Limits.Memory != "1Gi" {
			t.Errorf("got %+v", got)
		}
		again := unmarshal[job.Attempt](t, w.record("attempts/next/start", `{"owner":"pod-1"}`, 201))
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("the same owner again (-first +second):\n%s", diff)
		}
		w.record("attempts/next/start", `{"owner":"pod-2"}`, 503)
		for _, body := range []string{`{}`, `{"owner":""}`, `{"owner":"a\u0000"}`, `{"owner":1}`, `[]`, `null`, ``, `{"owner":"x"} x`, `{"owner":"x","more":1}`, `{"owner":"` + strings.Repeat("x", 257) + `"}`, "{\"owner\":\"\xff\""} {
			w.record("attempts/next/start", body, 422)
		}
		// One that has ended was run; it is not given out again.
		w.record("attempts/1/end", end(1), 201)
		got = unmarshal[job.Attempt](t, w.record("attempts/next/start", `{"owner":"pod-2"}`, 201))
		if got.Number != 2 {
			t.Errorf("got %+v", got)
		}
		w.record("attempts/next/start", `{"owner":"pod-1"}`, 503)
		// With the last attempt the job is over, and gives out no more.
		w.record("attempts/2/end", end(2), 201)
		w.record("attempts/next/start", `{"owner":"pod-3"}`, 409)
	})
}

// An end that was recorded by one who did not come to record that of the job still leaves no attempt to be made.
func TestStartOfAJobThatIsOver(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.record("attempts/next/start", `{"owner":"pod-1"}`, 201)
	a := end(1)
	a.Reason = job.ReasonCompleted
	if err := w.ledger.EndAttempt(t.Context(), w.id, a); err != nil {
		t.Fatal(err)
	}
	w.record("attempts/next/start", `{"owner":"pod-2"}`, 409)
	if terminal, err := w.ledger.Terminal(t.Context(), w.id); err != nil || terminal.Phase != job.Succeeded {
		t.Errorf("got %+v, %v", terminal, err)
	}
}

// Of several pods that claim one attempt, one gets it.
func TestStartAttemptOnce(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		var all sync.WaitGroup
		statuses := make([]int, 16)
		for i := range statuses {
			all.Go(func() {
				resp, _ := w.put(".job/attempts/next/start", fmt.Sprintf(`{"owner":"pod-%d"}`, i))
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
	w := newWorld(t, t.TempDir())
	if err := w.ledger.RequestCancel(t.Context(), w.id); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.record("attempts/next/start", `{"owner":"pod-1"}`, 409)
	}
	terminal, err := w.ledger.Terminal(t.Context(), w.id)
	if err != nil || terminal.Phase != job.Cancelled || len(terminal.Attempts) != 0 {
		t.Errorf("got %+v, %v", terminal, err)
	}
}

// One that runs already is told as well, but has its end to record itself.
func TestStartCancelledMeanwhile(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.record("attempts/next/start", `{"owner":"pod-1"}`, 201)
	if err := w.ledger.RequestCancel(t.Context(), w.id); err != nil {
		t.Fatal(err)
	}
	if body := w.record("attempts/next/start", `{"owner":"pod-1"}`, 409); !strings.Contains(string(body), "cancelled") {
		t.Errorf("got %s", body)
	}
	attempts, err := w.ledger.Attempts(t.Context(), w.id)
	if err != nil || len(attempts) != 1 || attempts[0].FinishedAt != nil {
		t.Errorf("got %+v, %v", attempts, err)
	}
	w.record("attempts/1/end", end(1), 201)
}

func end(n int) job.Attempt {
	now, code := time.Now().UTC(), 3
	return job.Attempt{Number: n, StartedAt: now, FinishedAt: &now, ExitCode: &code, Reason: job.ReasonError, Message: "the program exited with code 3"}
}

func TestEndAttempt(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.record("attempts/1/end", end(1), 409)
		begun := unmarshal[job.Attempt](t, w.record("attempts/next/start", `{"owner":"pod-1","limits":{"cpu":"1","memory":"2"}}`, 201))
		change := func(f func(a *job.Attempt)) job.Attempt {
			a := end(1)
			f(&a)
			return a
		}
		early, late, code := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour), 256
		for name, a := range map[string]any{
			"other number": end(2), "no end": change(func(a *job.Attempt) { a.FinishedAt = nil }), "no reason": change(func(a *job.Attempt) { a.Reason = "" }),
			"words": change(func(a *job.Attempt) { a.Reason = "two words" }), "past": change(func(a *job.Attempt) { a.FinishedAt = &early }),
			"future": change(func(a *job.Attempt) { a.FinishedAt = &late }), "code": change(func(a *job.Attempt) { a.ExitCode = &code }),
			"no JSON": "{", "no object": "3", "no time": `{"number":1,"finishedAt":"yesterday"}`,
		} {
			if body := w.record("attempts/1/end", a, 422); !strings.Contains(string(body), `"field"`) {
				t.Errorf("%s: %s", name, body)
			}
		}
		sent := end(1)
		sent.StartedAt = time.Time{}
		want := sent
		want.StartedAt, want.Limits = begun.StartedAt, begun.Limits
		got := unmarshal[job.Attempt](t, w.record("attempts/1/end", sent, 201))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// The first record stands.
		other := end(1)
		other.Reason = job.ReasonOOMKilled
		got = unmarshal[job.Attempt](t, w.record("attempts/1/end", other, 201))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sent again (-want +got):\n%s", diff)
		}
		attempts, err := w.ledger.Attempts(t.Context(), w.id)
		if diff := cmp.Diff([]job.Attempt{want}, attempts); diff != "" || err != nil {
			t.Errorf("recorded (-want +got):\n%s %v", diff, err)
		}
	})
}

func file(name, content string) job.File {
	return job.File{Name: name, Size: int64(len(content)), SHA256: sha(content), ContentType: "text/plain; charset=utf-8"}
}

func TestManifest(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		for _, name := range []string{"B", "a/b", "a.txt", "stderr.log", "stdout.log"} {
			w.put(name, name)
		}
		refused := map[string]string{
			"no JSON": `{`, "list": `[]`, "more": `{"files":[],"orders":{}}`, "after it": `{"files":[]}{}`,
			"not stored": `{"files":[{"name":"x","size":1,"sha256":"` + sha("x") + `"}]}`,
			"name":       `{"files":[{"name":"../x","size":1,"sha256":"` + sha("x") + `"}]}`,
			"reserved":   `{"files":[{"name":".job/x","size":1,"sha256":"` + sha("x") + `"}]}`,
			"size":       `{"files":[{"name":"B","size":2,"sha256":"` + sha("B") + `"}]}`,
			"negative":   `{"files":[{"name":"B","size":-1,"sha256":"` + sha("B") + `"}]}`,
			"no sum":     `{"files":[{"name":"B","size":1}]}`,
			"capitals":   `{"files":[{"name":"B","size":1,"sha256":"` + strings.ToUpper(sha("B")) + `"}]}`,
			"type":       `{"files":[{"name":"B","size":1,"sha256":"` + sha("B") + `","contentType":"a b\r\nX: y"}]}`,
			"mode":       `{"files":[{"name":"B","size":1,"sha256":"` + sha("B") + `","mode":"4755"}]}`,
			"log folder": `{"files":[{"name":"stdout.log/x","size":1,"sha256":"` + sha("B") + `"}]}`,
		}
		for name, body := range refused {
			if got := w.record("outputs.json", body, 422); !strings.Contains(string(got), `"field"`) {
				t.Errorf("%s: %s", name, got)
			}
		}
		w.record("outputs.json", executor.Manifest{Files: []job.File{file("a.txt", "a.txt"), file("B", "B")}}, 422)
		w.record("outputs.json", executor.Manifest{Files: []job.File{file("B", "B"), file("B", "B")}}, 422)
		if files, err := w.ledger.Outputs(t.Context(), w.id); err != nil || len(files) != 0 {
			t.Fatalf("recorded %v, %v", files, err)
		}

		m := executor.Manifest{Files: []job.File{file("B", "B"), file("a.txt", "a.txt"), file("a/b", "a/b"), file("stdout.log", "stdout.log")}}
		m.Files[1].Mode = "0755"
		for range 2 { // again is harmless
			got := unmarshal[executor.Manifest](t, w.record("outputs.json", m, 201))
			if diff := cmp.Diff(m, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		files, err := w.ledger.Outputs(t.Context(), w.id)
		if diff := cmp.Diff(m.Files, files); diff != "" || err != nil {
			t.Errorf("recorded (-want +got):\n%s %v", diff, err)
		}
		// What is listed stays as it is, and so does the list.
		w.record("outputs.json", executor.Manifest{Files: m.Files[:1]}, 409)
		resp, body := w.put("B", "changed")
		wantProblem(t, resp, body, http.StatusConflict)
		if got, _ := w.stored("B"); got != "B" {
			t.Errorf("stored %q", got)
		}
	})
}

func TestManifestOfNothing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for range 2 {
		if got := string(w.record("outputs.json", `{"files":null,"order":{"runs":null}}`, 201)); !strings.Contains(got, `"files":[]`) {
			t.Errorf("got %s", got)
		}
	}
}

func TestManifestOfMany(t *testing.T) {
	w := newWorld(t, t.TempDir())
	m := executor.Manifest{Files: []job.File{}}
	for i := range 2000 {
		name := fmt.Sprintf("%04d", i)
		if _, err := w.store.Put(t.Context(), ledger.ResultKey(w.id, name), strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, file(name, name))
	}
	w.record("outputs.json", m, 201)
}

func TestRecordSizes(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for name, limit := range map[string]int{
		"attempts/next/start": 1 << 20, "attempts/1/end": 1 << 20, "attempts/1/report": 16 << 20, "outputs.json": 16 << 20, "log/000000000000-000000000000": joblog.MaxSegment,
	} {
		w.record(name, strings.Repeat(" ", limit+1), http.StatusRequestEntityTooLarge)
		resp, body := w.send(http.MethodPut, w.upload(".job/"+name), unsized{strings.NewReader(strings.Repeat(" ", limit+1))})
		wantProblem(t, resp, body, http.StatusRequestEntityTooLarge)
	}
}

// A manifest that comes in small enough can take more bytes as it is stored, and could then not be read again.
func TestManifestThatGrows(t *testing.T) {
	w := newWorld(t, t.TempDir())
	m := executor.Manifest{}
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
	w.record("outputs.json", body.String(), http.StatusRequestEntityTooLarge)
}

// The end of the last attempt is that of the job.
func TestEndOfTheJob(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.record("attempts/next/start", `{"owner":"pod-1"}`, 201)
		w.record("attempts/1/end", end(1), 201)
		if over, err := w.ledger.Over(t.Context(), w.id); err != nil || over {
			t.Fatalf("over before the retry: %v, %v", over, err)
		}
		w.record("attempts/next/start", `{"owner":"pod-2"}`, 201)
		w.put("stdout.log", "out")
		w.put("stderr.log", "")
		m := executor.Manifest{Files: []job.File{file("stderr.log", ""), file("stdout.log", "out")}}
		w.record("outputs.json", m, 201)
		last := end(2)
		last.Outputs = &job.Outputs{Count: 2, Bytes: 3}
		w.record("attempts/2/end", last, 201)
		got, err := w.ledger.Terminal(t.Context(), w.id)
		if err != nil || got.Phase != job.Failed || got.Reason != job.ReasonError || *got.ExitCode != 3 || len(got.Attempts) != 2 || got.Outputs.Bytes != 3 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// Why its program was stopped an agent may not know. What it reports is kept for who finds out, unless it was the job's user.
func TestReport(t *testing.T) {
	stores(t, func(t *testing.T, w *world) {
		w.record("attempts/next/start", `{"owner":"pod-1"}`, 201)
		w.put("x", "x")
		type report struct {
			Attempt  job.Attempt       `json:"attempt"`
			Manifest executor.Manifest `json:"manifest"`
		}
		good := report{Attempt: end(1), Manifest: executor.Manifest{Files: []job.File{file("x", "x")}}}
		good.Attempt.Reason, good.Attempt.Outputs = job.ReasonInterrupted, &job.Outputs{Count: 1, Bytes: 1}
		for name, bad := range map[string]any{
			"no JSON": "{", "unknown field": `{"x":1}`, "number": report{Attempt: end(2)}, "no end": report{Attempt: job.Attempt{Number: 1}},
			"not stored": report{Attempt: end(1), Manifest: executor.Manifest{Files: []job.File{file("y", "y")}}},
		} {
			if body := w.record("attempts/1/report", bad, 422); !strings.Contains(string(body), `"field"`) {
				t.Errorf("%s: %s", name, body)
			}
		}
		w.record("attempts/1/report", good, 204)
		w.record("attempts/1/report", good, 204)
		attempts, err := w.ledger.Attempts(t.Context(), w.id)
		if err != nil || attempts[0].FinishedAt != nil {
			t.Fatalf("ended by a report: %+v, %v", attempts, err)
		}
		if r, err := w.ledger.Report(t.Context(), w.id, 1); err != nil || len(r.Files) != 1 || r.Attempt.Outputs.Count != 1 {
			t.Errorf("kept %+v, %v", r, err)
		}
		if err := w.ledger.RequestCancel(t.Context(), w.id); err != nil {
			t.Fatal(err)
		}
		w.record("attempts/1/report", good, 201)
		got, err := w.ledger.Terminal(t.Context(), w.id)
		if err != nil || got.Phase != job.Cancelled || got.Outputs.Count != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
		if files, err := w.ledger.Outputs(t.Context(), w.id); err != nil || len(files) != 1 {
			t.Errorf("outputs %v, %v", files, err)
		}
	})
}

// The next attempt's agent goes on with the log of the one before; nobody else gets it here.
func TestLogSoFar(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.record("log/000000000000-000000000000", `{"stdout":0,"stderr":0,"runs":[{"stream":"stdout","bytes":2},{"stream":"stderr","bytes":3}]}`+"\nhierr", 204)
	_, body := w.send(http.MethodGet, w.file("status.json"), nil)
	state := unmarshal[joblog.State](t, body)
	if state.Next != 1 || state.Stdout != 2 || state.Stderr != 3 {
		t.Errorf("state %+v", state)
	}
	for stream, want := range map[string]string{"stdout": "hi", "stderr": "err"} {
		if _, body := w.send(http.MethodGet, w.file("results")+"?stream="+stream, nil); string(body) != want {
			t.Errorf("%s: %q", stream, body)
		}
	}
	want := slices.Concat(spool.Record{End: spool.Position{Stdout: 2}}.Encode(), spool.Record{End: spool.Position{Stdout: 2, Stderr: 3}}.Encode())
	if _, body := w.send(http.MethodGet, w.file("results")+"?stream=order", nil); !bytes.Equal(body, want) {
		t.Errorf("order: %q", body)
	}
	for _, query := range []string{"", "?stream=", "?stream=stdin", "?stream=stdout&stream=stderr", "?stream=stdout&tail=1", "?%zz"} {
		resp, body := w.send(http.MethodGet, w.file("results")+query, nil)
		wantProblem(t, resp, body, http.StatusBadRequest)
	}
	for _, target := range []string{w.file("status.json"), w.file("results")} {
		resp, body := w.send(http.MethodGet, target, nil, "Authorization", w.bearer(token.User, w.id))
		wantProblem(t, resp, body, http.StatusNotFound)
	}
}

// The pieces of a log are taken while the job runs, and go when the whole logs are stored.
func TestLog(t *testing.T) {
	w := newWorld(t, t.TempDir())
	const segment = "000000000000-000000000000"
	for range 2 {
		w.record("log/"+segment, `{"stdout":0,"stderr":0,"runs":[{"stream":"stdout","bytes":2}]}`+"\nhi", http.StatusNoContent)
	}
	w.record("log/nonsense", "x", http.StatusUnprocessableEntity)
	pieces := func() int {
		keys, err := w.store.List(t.Context(), ledger.LogPrefix(w.id), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	if got := pieces(); got != 1 {
		t.Errorf("%d pieces", got)
	}
	w.put("stdout.log", "hi")
	w.put("stderr.log", "")
	w.record("outputs.json", executor.Manifest{Files: []job.File{file("stderr.log", ""), file("stdout.log", "hi")}}, 201)
	w.record("attempts/next/start", `{"owner":"pod-1"}`, 201)
	a := end(1)
	a.Reason = job.ReasonCompleted
	w.record("attempts/1/end", a, 201)
	if got := pieces(); got != 1 {
		t.Errorf("without the order of the log %d pieces are left", got)
	}
}

// The order of the log is stored with it, and then its pieces go.
func TestLogOrder(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.record("log/000000000000-000000000000", `{"stdout":0,"stderr":0}`+"\n", http.StatusNoContent)
	w.put("stdout.log", "hi")
	w.put("stderr.log", "")
	order := string(spool.Record{Attempt: 1, End: spool.Position{Stdout: 2}}.Encode())
	for range 2 { // again is harmless
		w.record("order", order, http.StatusNoContent)
	}
	w.record("outputs.json", executor.Manifest{Files: []job.File{file("stderr.log", ""), file("stdout.log", "hi")}}, 201)
	w.record("attempts/next/start", `{"owner":"pod-1"}`, 201)
	a := end(1)
	a.Reason = job.ReasonCompleted
	w.record("attempts/1/end", a, 201)
	if keys, err := w.store.List(t.Context(), ledger.LogPrefix(w.id), "", 100); err != nil || len(keys) > 0 {
		t.Errorf("pieces %v are left, %v", keys, err)
	}
	if got, err := w.store.Read(t.Context(), ledger.OrderKey(w.id)); err != nil || string(got) != order {
		t.Errorf("the order is %q, %v", got, err)
	}
	w.record("order", order, http.StatusConflict)
}

// What a digest says of a record counts as well.
func TestRecordDigest(t *testing.T) {
	w := newWorld(t, t.TempDir())
	resp, body := w.put(".job/attempts/next/start", `{"owner":"x"}`, "Content-Digest", digestOf("y"))
	wantProblem(t, resp, body, http.StatusUnprocessableEntity)
	if attempts, err := w.ledger.Attempts(t.Context(), w.id); err != nil || len(attempts) != 0 {
		t.Errorf("got %v, %v", attempts, err)
	}
}
