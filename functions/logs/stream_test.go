package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/joblog/joblogtest"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/token"
)

// event is a server-sent event as a client reads it.
type event struct {
	ID, Type string
	Data     struct {
		Time     time.Time
		Text     string
		Base64   []byte
		Attempt  int
		Phase    job.Phase
		Reason   job.Reason
		ExitCode *int
		Removed  bool
	}
}

// bytes are those of the program that the event brings.
func (e *event) bytes() string { return e.Data.Text + string(e.Data.Base64) }

// listen opens a stream of events. A last ID is that of an event that the client had before.
func (w *fixture) listen(query, last string) *http.Response {
	w.T.Helper()
	req, err := http.NewRequestWithContext(w.T.Context(), http.MethodGet, w.url+w.path()+"?"+query, nil)
	if err != nil {
		w.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Keys.Derive(token.User, w.Index.JobID))
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		w.T.Fatal(err)
	}
	w.T.Cleanup(func() { resp.Body.Close() })
	return resp
}

// next reads an event, or returns nil at the end.
func next(t *testing.T, in *bufio.Reader) *event {
	t.Helper()
	e := &event{}
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" && e.Type == "" {
			return nil
		}
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.ID = value
		case "event":
			e.Type = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.Data); err != nil {
				t.Fatalf("%q: %v", value, err)
			}
		case "retry", "":
			if e.Type != "" {
				return e
			}
		default:
			t.Fatalf("a line %q", line)
		}
	}
}

func all(t *testing.T, resp *http.Response) []*event {
	t.Helper()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	var events []*event
	in := bufio.NewReader(resp.Body)
	for e := next(t, in); e != nil; e = next(t, in) {
		events = append(events, e)
	}
	return events
}

// summary is what matters of events for most tests.
func summary(events []*event) (list []string) {
	for _, e := range events {
		text := e.bytes()
		switch e.Type {
		case "attempt":
			text = fmt.Sprint(e.Data.Attempt)
		case "end":
			text = string(e.Data.Phase)
		}
		list = append(list, e.Type+" "+e.ID+" "+text)
	}
	return list
}

// attempt begins another attempt, whose log the next writes are.
func (w *fixture) attempt(n int) {
	w.T.Helper()
	err := w.Spool.Begin(n)
	if err == nil {
		w.Writer, err = spool.NewWriter(w.Spool, 0)
	}
	if err != nil {
		w.T.Fatal(err)
	}
}

// TestEvents follows a job over attempts as events, and reads the same once it is over, from any
// event on.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	begun := time.Now().Add(-time.Millisecond)
	w.attempt(1)
	w.Write(spool.Stdout, "one\n")
	w.Write(spool.Stderr, "oops\n")
	s := w.shipper()
	w.Ship(s)
	live := bufio.NewReader(w.listen("", "").Body)
	var got []*event
	for range 3 {
		got = append(got, next(t, live))
	}
	w.attempt(2) // it writes nothing
	w.attempt(3)
	w.Write(spool.Stdout, "two\n")
	w.end(s)
	for e := next(t, live); e != nil; e = next(t, live) {
		got = append(got, e)
	}
	want := []string{"attempt 0 1", "stdout 4 one\n", "stderr 9 oops\n", "attempt 9 2", "attempt 9 3", "stdout 13 two\n",
		"end 13-end Succeeded"}
	if diff := cmp.Diff(want, summary(got)); diff != "" {
		t.Errorf("live (-want +got):\n%s", diff)
	}
	for _, e := range got[1:3] {
		if e.Data.Time.Before(begun) || e.Data.Time.After(time.Now()) {
			t.Errorf("%s has the time %v", e.Type, e.Data.Time)
		}
	}
	if diff := cmp.Diff(want, summary(all(t, w.listen("", "")))); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	for last, want := range map[string][]string{
		"4":  {"attempt 4 1", "stderr 9 oops\n", "attempt 9 2", "attempt 9 3", "stdout 13 two\n", "end 13-end Succeeded"},
		"6":  {"attempt 6 1", "stderr 9 ps\n", "attempt 9 2", "attempt 9 3", "stdout 13 two\n", "end 13-end Succeeded"},
		"9":  {"attempt 9 3", "stdout 13 two\n", "end 13-end Succeeded"},
		"13": {"end 13-end Succeeded"},
	} {
		if diff := cmp.Diff(want, summary(all(t, w.listen("tail=1", last)))); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", last, diff)
		}
	}
	for query, want := range map[string][]string{
		"stream=stderr": {"attempt 0 1", "stderr 5 oops\n", "end 5-end Succeeded"},
		"stream=stdout&follow=true": {"attempt 0 1", "stdout 4 one\n", "attempt 4 2", "attempt 4 3", "stdout 8 two\n",
			"end 8-end Succeeded"},
		"attempt=3":              {"attempt 9 3", "stdout 13 two\n", "end 13-end Succeeded"},
		"attempt=2&follow=false": {"end 9-end Succeeded"},
		"attempt=1":              {"attempt 0 1", "stdout 4 one\n", "stderr 9 oops\n", "end 9-end Succeeded"},
		"tail=1":                 {"attempt 9 3", "stdout 13 two\n", "end 13-end Succeeded"},
		"tail=0":                 {"end 13-end Succeeded"},
	} {
		if diff := cmp.Diff(want, summary(all(t, w.listen(query, "")))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	if resp := w.listen("", "13-end"); resp.StatusCode != http.StatusNoContent {
		t.Errorf("who had the end gets %s", resp.Status)
	}
	for _, id := range []string{"x", "-1", "13-END", "1,2", "-end", "9223372036854775807"} {
		if resp := w.listen("", id); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("Last-Event-ID %s: %s", id, resp.Status)
		}
	}
}

// TestEventBytes sends every kind of bytes as events, in writes that end anywhere. They must come
// as they are, as text where that is possible.
func TestEventBytes(t *testing.T) {
	t.Parallel()
	const text = "Grüße, 世界 🙂\r\n<script>&\u2028\x00 end"
	tests := map[string]struct {
		writes []string
		binary bool
	}{
		"a byte each":         {},
		"no text":             {writes: []string{"\xff\xfe", "ok", "\xc3"}, binary: true},
		"half a character":    {writes: []string{"\xf0\x9f", "\x99"}, binary: true},
		"a large one":         {writes: []string{strings.Repeat("世", 50_000)}},
		"a large one, binary": {writes: []string{strings.Repeat("\xe4\xb8", 50_000)}, binary: true},
		"nothing":             {},
	}
	bytewise := tests["a byte each"]
	bytewise.writes = nil
	for _, b := range []byte(strings.Repeat(text, 3)) {
		bytewise.writes = append(bytewise.writes, string([]byte{b}))
	}
	tests["a byte each"] = bytewise
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			s := w.shipper()
			for i, text := range tt.writes {
				w.Write(spool.Stdout, text)
				if i%7 == 0 {
					w.Ship(s)
				}
			}
			w.Ship(s)
			for _, kept := range []bool{false, true} {
				if kept {
					w.end(s)
				}
				got, binary, last := "", false, ""
				for _, e := range all(t, w.listen("follow=false&tail=all", "")) {
					if e.Type != "end" && e.Type != "attempt" {
						got += e.bytes()
						binary = binary || e.Data.Base64 != nil
						last = e.ID
					}
				}
				if want := strings.Join(tt.writes, ""); kept && got != want || !strings.HasPrefix(want, got) {
					t.Errorf("kept %t: %d bytes came, of %d", kept, len(got), len(want))
				}
				if kept && binary != tt.binary {
					t.Errorf("binary: %t", binary)
				}
				if want := fmt.Sprint(len(got)); last != "" && last != want {
					t.Errorf("kept %t: the last ID is %s after %s bytes", kept, last, want)
				}
			}
		})
	}
}

// TestEventCut breaks the connection after each event, and goes on behind the last one.
func TestEventCut(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper()
	want := ""
	for i := range 60 {
		text := strings.Repeat("ü", i%5+1)
		w.Write(streams()[i%2], text)
		want += text
		if i%8 == 0 {
			w.Ship(s)
		}
	}
	w.end(s)
	got := ""
	for last := ""; ; {
		resp := w.listen("tail=all", last)
		e := next(t, bufio.NewReader(resp.Body))
		for in := bufio.NewReader(io.MultiReader(strings.NewReader(""), resp.Body)); e.Type == "attempt"; {
			e = next(t, in)
		}
		resp.Body.Close()
		if e.Type == "end" {
			break
		}
		got += e.bytes()
		last = e.ID
	}
	if got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

// TestEventsRemoved removes a job that is followed.
func TestEventsRemoved(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	w.Write(spool.Stdout, "one\n")
	w.Ship(w.shipper())
	live := bufio.NewReader(w.listen("", "").Body)
	if e := next(t, live); e.bytes() != "one\n" {
		t.Errorf("%+v", e)
	}
	if err := w.Ledger.RequestRemoval(t.Context(), w.Index.JobID); err != nil {
		t.Fatal(err)
	}
	if e := next(t, live); e == nil || e.Type != "end" || !e.Data.Removed {
		t.Errorf("%+v", e)
	}
}

// TestAccept tells clients that want events from those that want text.
func TestAccept(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/plain": false, "text/*": false, "text/event-stream": true, "Text/Event-Stream": true,
		"text/event-stream;charset=utf-8": true,
		"text/event-stream;q=0":           false, "text/plain, text/event-stream": true,
		"text/plain, text/event-stream;q=0.5": false, "text/plain;q=0.4, text/event-stream;q=0.5": true,
		"*/*, text/event-stream": true, "text/event-streams": false, ";;;, text/event-stream": true,
	} {
		if got := acceptsEvents(http.Header{"Accept": {accept}}); got != want {
			t.Errorf("%q: %t", accept, got)
		}
	}
}

var stamped = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z `)

// TestTimestamps has each line begin with the time at which it was written, also when it came in
// pieces and when the answer is the second half of another.
func TestTimestamps(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper()
	for i, text := range []string{"one\n", "tw", "o\n", "\n", "three\nfour\n", "five"} {
		w.Write(streams()[i%2], text)
		w.Ship(s)
	}
	for _, kept := range []bool{false, true} {
		if kept {
			w.end(s)
		}
		for _, stream := range []string{"", "&stream=stdout", "&stream=stderr"} {
			plain := w.read("tail=all" + stream).body
			whole := w.read("timestamps=true&tail=all" + stream).body
			var lines bytes.Buffer
			var last time.Time
			for line := range strings.Lines(whole) {
				stamp := stamped.FindString(line)
				at, err := time.Parse(time.RFC3339, strings.TrimSpace(stamp))
				if err != nil || at.Before(last) || time.Since(at) > time.Minute {
					t.Errorf("kept %t%s: %q after %v", kept, stream, line, last)
				}
				last = at
				lines.WriteString(line[len(stamp):])
			}
			if lines.String() != plain {
				t.Errorf("kept %t%s: %q without its times is not %q", kept, stream, whole, plain)
			}
			for from := 1; from <= len(plain); from++ {
				head := w.read(fmt.Sprintf("timestamps=true&tail=all&from=%d%s", from, stream)).body
				if !strings.HasSuffix(whole, head) || len(stamped.ReplaceAllString(head, "")) > len(head) {
					t.Errorf("kept %t%s: from %d comes %q, of %q", kept, stream, from, head, whole)
				}
				if begins := plain[from-1] == '\n' && from < len(plain); begins != stamped.MatchString(head) {
					t.Errorf("kept %t%s: from %d comes %q", kept, stream, from, head)
				}
			}
		}
	}
}

// TestSince reads what was written from a time on.
func TestSince(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s := w.shipper()
	begun := time.Now().Add(-time.Hour).Truncate(time.Microsecond) // as finely as times are kept
	var end spool.Position
	for i := range 5000 { // as if one line had been written each second
		text := fmt.Sprintf("line %d\n", i)
		stream := streams()[i%2]
		if _, err := w.Spool.Of(stream).WriteString(text); err != nil {
			t.Fatal(err)
		}
		*end.Of(stream) += int64(len(text))
		record := spool.Record{At: begun.Add(time.Duration(i) * time.Second / 2), Attempt: 1 + i/4000, End: end}
		if _, err := w.Spool.Order.Write(record.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	w.Ship(s)
	for _, kept := range []bool{false, true} {
		if kept {
			w.end(s)
		}
		for _, second := range []int{-100, 0, 1, 777, 1023, 1024, 1025, 2000, 2400, 2499} {
			since := begun.Add(time.Duration(second) * time.Second).UTC().Format(time.RFC3339Nano)
			first := max(2*second, 0)
			if got, want := w.read("since="+since).body, fmt.Sprintf("line %d\n", first); !strings.HasPrefix(got, want) ||
				strings.Count(got, "\n") != 5000-first {
				t.Errorf("kept %t: since second %d come %d lines, from %.12q on, want %q", kept, second, strings.Count(got, "\n"),
					got, want)
			}
			if got := w.read("stream=stderr&since=" + since).body; strings.Count(got, "\n") != 2500-first/2 {
				t.Errorf("kept %t: since second %d come %d lines of stderr", kept, second, strings.Count(got, "\n"))
			}
			if got := w.read("tail=3&since=" + since).body; got != joblogtest.LastLines("line 4997\nline 4998\nline 4999\n",
				min(3, 5000-first)) {
				t.Errorf("kept %t: the last lines since second %d are %q", kept, second, got)
			}
		}
		if got := w.read("since=1s").body; got != "" {
			t.Errorf("kept %t: since a second ago comes %.20q", kept, got)
		}
		for attempt, want := range map[int]int{1: 4000, 2: 1000, 3: 0} {
			if got := w.read(fmt.Sprintf("tail=all&attempt=%d", attempt)).body; strings.Count(got, "\n") != want {
				t.Errorf("kept %t: attempt %d has %d lines, want %d", kept, attempt, strings.Count(got, "\n"), want)
			}
		}
		if got := w.read("tail=1&attempt=1").body; got != "line 3999\n" {
			t.Errorf("kept %t: the last line of attempt 1 is %q", kept, got)
		}
	}
}
