package kubernetes

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"go-job-orchestrator/shared/job"
)

// cronJob is an API server with one CronJob, reap, or without it. It takes a patch only of the newest
// version.
type cronJob struct {
	mu      sync.Mutex
	one     *batchv1.CronJob
	version int
	patches int
	before  func() // called before each patch
}

func (c *cronJob) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPatch && c.before != nil {
		c.before()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.one == nil || r.URL.Path != "/apis/batch/v1/namespaces/jobs/cronjobs/reap" {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	if r.Method == http.MethodPatch {
		var patch batchv1.CronJob
		if r.Header.Get("Content-Type") != "application/merge-patch+json" ||
			json.NewDecoder(r.Body).Decode(&patch) != nil || patch.ResourceVersion != c.one.ResourceVersion {
			refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
			return
		}
		c.patches++
		c.put(patch.Spec.Schedule, patch.Annotations)
	}
	_ = json.NewEncoder(w).Encode(c.one)
}

// put stores a new version.
func (c *cronJob) put(schedule string, annotations map[string]string) {
	c.version++
	if annotations == nil && c.one != nil {
		annotations = c.one.Annotations
	}
	c.one = &batchv1.CronJob{TypeMeta: metav1.TypeMeta{Kind: "CronJob", APIVersion: "batch/v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "reap", ResourceVersion: strconv.Itoa(c.version), Annotations: annotations},
		Spec:       batchv1.CronJobSpec{Schedule: schedule}}
}

func (c *cronJob) schedule() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.one.Spec.Schedule
}

// count is how many patches it has taken.
func (c *cronJob) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.patches
}

// newSchedule returns a schedule with a clock that pass moves.
func newSchedule(t *testing.T, c *cronJob) (s *Schedule, pass func(time.Duration)) {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	client, err := NewClient(&rest.Config{Host: server.URL}, "jobs")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return NewSchedule(client, "reap", func() time.Time { return now }, slog.New(slog.DiscardHandler)),
		func(d time.Duration) { now = now.Add(d) }
}

// TestRounds makes rounds that see work and rounds that see none, with calls of launch between them.
func TestRounds(t *testing.T) {
	c := &cronJob{}
	c.put(EveryMinute, nil)
	s, pass := newSchedule(t, c)
	round := func(idle bool, meanwhile func(), want string) {
		t.Helper()
		end, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if meanwhile != nil {
			meanwhile()
		}
		if err := end(t.Context(), idle); err != nil {
			t.Error(err)
		}
		if got := c.schedule(); got != want {
			t.Errorf("the schedule is %s, want %s", got, want)
		}
	}
	hasten := func() {
		t.Helper()
		if err := s.HastenNow(t.Context()); err != nil {
			t.Error(err)
		}
	}
	round(false, nil, EveryMinute)
	round(true, nil, EveryFiveMinutes)
	hasten()
	if got := c.schedule(); got != EveryMinute {
		t.Errorf("launch has started, and the schedule is %s", got)
	}
	round(true, nil, EveryMinute) // launch may still be there, and then does not ask for the next job
	pass(quiet + time.Second)
	round(true, hasten, EveryMinute) // a job came while the round looked
	pass(quiet + time.Second)
	round(true, nil, EveryFiveMinutes)
	round(true, nil, EveryFiveMinutes)
	round(false, nil, EveryMinute) // it expires soon
	round(true, nil, EveryFiveMinutes)
	// A round that sees work counts, whoever changes the CronJob meanwhile.
	round(false, func() { c.put(EveryFiveMinutes, nil) }, EveryMinute)
}

// TestOwnSchedule leaves an operator's schedule alone.
func TestOwnSchedule(t *testing.T) {
	c := &cronJob{}
	c.put("*/2 * * * *", nil)
	s, _ := newSchedule(t, c)
	for _, idle := range []bool{true, false} {
		end, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := end(t.Context(), idle); err != nil {
			t.Error(err)
		}
	}
	if err := s.HastenNow(t.Context()); err != nil || c.patches != 0 {
		t.Errorf("%d patches, %v", c.patches, err)
	}
}

// TestHastenConflict has somebody else change the CronJob once, and then all the time.
func TestHastenConflict(t *testing.T) {
	c := &cronJob{}
	c.put(EveryFiveMinutes, nil)
	s, _ := newSchedule(t, c)
	c.before = func() {
		c.before = nil
		c.put(EveryFiveMinutes, nil)
	}
	if err := s.HastenNow(t.Context()); err != nil || c.schedule() != EveryMinute {
		t.Errorf("the schedule is %s, %v", c.schedule(), err)
	}
	c.before = func() { c.put(EveryFiveMinutes, nil) }
	if err := s.HastenNow(t.Context()); !errors.Is(err, job.ErrConflict) {
		t.Errorf("with others all the time: %v", err)
	}
}

// TestWithoutCronJob is a namespace in which there is none, and a process that has none named.
func TestWithoutCronJob(t *testing.T) {
	s, _ := newSchedule(t, &cronJob{})
	if err := s.HastenNow(t.Context()); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Begin(t.Context()); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	var none *Schedule
	none.Hasten()
	end, err := none.Begin(t.Context())
	if err != nil || end(t.Context(), true) != nil {
		t.Errorf("without a name: %v", err)
	}
}

// TestHasten asks for each of many jobs. The API server is called a moment after the first, and then
// once a minute; the last job is not forgotten.
func TestHasten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cronJob{}
		c.put(EveryFiveMinutes, nil)
		client, err := NewClient(&rest.Config{Host: "http://api.example", Transport: direct{c}}, "jobs")
		if err != nil {
			t.Fatal(err)
		}
		s := NewSchedule(client, "reap", time.Now, slog.New(slog.DiscardHandler))
		after := func(wait time.Duration, jobs, want int) {
			t.Helper()
			for range jobs {
				s.Hasten()
			}
			time.Sleep(wait)
			synctest.Wait()
			if got := c.count(); got != want {
				t.Errorf("%d patches, want %d", got, want)
			}
		}
		after(hastenAfter-time.Millisecond, 100, 0)
		after(2*time.Millisecond, 0, 1)
		if c.schedule() != EveryMinute {
			t.Errorf("the schedule is %s", c.schedule())
		}
		after(30*time.Second, 0, 1)
		after(29*time.Second, 100, 1)
		after(2*time.Second, 0, 2) // for the jobs within the minute
		after(5*time.Minute, 0, 2)
		after(hastenAfter+time.Millisecond, 1, 3)
	})
}

// direct is a transport that calls a handler.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}
