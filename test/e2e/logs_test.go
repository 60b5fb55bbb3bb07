//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// noisy is a program that fails, and that would damage its log if the log were a file that it can
// write to.
const noisy = `i=0; while [ $i -lt 500 ]; do echo "$JOB_ATTEMPT out $i"; echo "$JOB_ATTEMPT err $i" >&2; i=$((i+1)); done
echo "$JOB_ATTEMPT reopened" >/dev/stdout
: >/dev/stderr
printf '%s no newline' "$JOB_ATTEMPT"
exit 3
`

// TestLogOverAttempts has a job fail in two pods. Its log has what both wrote, in the order in
// which they wrote it, with times and by attempt, while it runs and afterwards, as text and as
// events.
func TestLogOverAttempts(t *testing.T) {
	t.Parallel()
	s := installed(t)
	j := s.submit(t, shell(noisy, "retries=1"))
	live := j.events("")
	defer live.Body.Close()
	j.ends("Failed", "Error")
	var want strings.Builder
	for attempt := 1; attempt <= 2; attempt++ {
		for i := range 500 {
			fmt.Fprintf(&want, "%d out %d\n%d err %d\n", attempt, i, attempt, i)
		}
		fmt.Fprintf(&want, "%d reopened\n%d no newline", attempt, attempt)
	}
	whole := j.logs("tail=all")
	if whole != want.String() {
		t.Errorf("the log has %d bytes, want %d:\n%.300s", len(whole), want.Len(), whole)
	}
	if got, types := eventText(t, live); got != whole || !strings.HasPrefix(types, "attempt ") ||
		strings.Count(types, "attempt") != 2 || !strings.HasSuffix(types, " end") {
		t.Errorf("as events it has %d bytes, and the types %.300s", len(got), types)
	}
	first := j.logs("tail=all&attempt=1")
	if second := j.logs("tail=all&attempt=2"); first+second != whole || !strings.HasPrefix(second, "2 out 0\n") {
		t.Errorf("the attempts have %d and %d bytes", len(first), len(second))
	}
	for _, at := range []int{0, 1, len(whole) / 3, len(first), len(whole)} {
		if got := j.logs(fmt.Sprintf("from=%d", at)); got != whole[at:] {
			t.Errorf("from %d come %d bytes, want %d", at, len(got), len(whole)-at)
		}
		resumed := j.events(fmt.Sprint(at))
		if got, _ := eventText(t, resumed); got != whole[at:] {
			t.Errorf("events from %d on have %d bytes, want %d", at, len(got), len(whole)-at)
		}
		resumed.Body.Close()
	}
	stamped := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z `)
	if got := stamped.ReplaceAllString(j.logs("tail=all&timestamps=true"), ""); got != whole {
		t.Errorf("with times it has %d bytes beside them, want %d", len(got), len(whole))
	}
	if got := j.logs("since=24h"); got != whole {
		t.Errorf("since yesterday it has %d bytes", len(got))
	}
	if got := j.logs("since=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)); got != "" {
		t.Errorf("since the future it has %q", got)
	}
}

// events opens the log as a stream of events, by the public URL.
func (r *run) events(last string) *http.Response {
	r.t.Helper()
	req := r.request(http.MethodGet, "/api/v1/jobs/"+r.ID+"/logs?tail=all")
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("events: %s", resp.Status)
	}
	return resp
}

// eventText reads events to their end, and returns what the program wrote and the types in their
// order.
func eventText(t *testing.T, resp *http.Response) (text, types string) {
	t.Helper()
	var all, kinds strings.Builder
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		name, value, _ := strings.Cut(in.Text(), ": ")
		switch name {
		case "event":
			kinds.WriteString(" " + value)
		case "data":
			var data struct {
				Text   string
				Base64 []byte
			}
			if err := json.Unmarshal([]byte(value), &data); err != nil {
				t.Fatalf("%q: %v", value, err)
			}
			all.WriteString(data.Text + string(data.Base64))
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return all.String(), strings.TrimSpace(kinds.String())
}
