package local

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go-job-orchestrator/shared/event"
)

// echo sends every event of a server back to it, once for each template, and keeps what that
// answered.
type echo struct {
	t         *testing.T
	templates []string
	mu        sync.Mutex
	url       string
	statuses  map[string]map[int]int // by step and template, how often each status
	ends      map[string]bool        // the jobs whose success was answered
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Ce-Type") == event.Audit { // each begins a chain of its own, as any event from outside does
		w.WriteHeader(http.StatusAccepted)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		e.t.Error(err)
	}
	e.mu.Lock()
	url := e.url
	e.mu.Unlock()
	if url == "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	step := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Ce-Type"), "io.github.go-job-orchestrator.job."), ".v1")
	for _, template := range e.templates {
		again, err := http.NewRequest(http.MethodPost, url+"/events?template="+template, bytes.NewReader(body))
		if err != nil {
			e.t.Error(err)
			return
		}
		again.Header = r.Header.Clone()
		answer, err := http.DefaultClient.Do(again)
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable) // the server is going
			return
		}
		answer.Body.Close()
		key := step + " of " + r.Header.Get("Ce-Template") + " to " + template
		e.mu.Lock()
		if e.statuses[key] == nil {
			e.statuses[key] = map[int]int{}
		}
		e.statuses[key][answer.StatusCode]++
		e.mu.Unlock()
	}
	if step == "succeeded" {
		e.mu.Lock()
		e.ends[r.Header.Get("Ce-Subject")] = true
		e.mu.Unlock()
	}
	w.WriteHeader(http.StatusAccepted)
}

// TestLoop sends every event of the jobs of two templates to both templates, as Triggers without a
// filter do. Without a bound this would start thousands of jobs.
func TestLoop(t *testing.T) {
	t.Parallel()
	const most = 20
	back := &echo{t: t, templates: []string{"one", "two"}, statuses: map[string]map[int]int{}, ends: map[string]bool{}}
	outside := httptest.NewServer(back)
	defer outside.Close()
	s := start(t, t.TempDir(), "K_SINK="+outside.URL, "MAX_CHAINED_JOBS=20", "MAX_CONCURRENT_JOBS=4")
	one := s.put("one", script("true"))
	s.put("two", script("true"))
	back.mu.Lock()
	back.url = s.url
	back.mu.Unlock()
	one.start()
	s.until("every job of the chain has ended, and its end was answered", func() bool {
		back.mu.Lock()
		defer back.mu.Unlock()
		return len(back.ends) == most+1
	})
	var page struct {
		Items []struct{ JobID, Phase string }
	}
	if err := json.Unmarshal(s.request(http.MethodGet, "/api/v1/jobs?limit=500", nil, ""), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != most+1 {
		t.Errorf("there are %d jobs, want %d", len(page.Items), most+1)
	}
	back.mu.Lock()
	defer back.mu.Unlock()
	for key, statuses := range back.statuses {
		step, rest, _ := strings.Cut(key, " of ")
		from, to, _ := strings.Cut(rest, " to ")
		for status := range statuses {
			own := from == to && (step == "submitted" || step == "started")
			if status != http.StatusUnprocessableEntity && (own || status != http.StatusAccepted) {
				t.Errorf("%s was answered with %d", key, status)
			}
		}
	}
}
