package kubernetes

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"go-job-orchestrator/shared/ending"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/ledger/ledgertest"
)

// cluster is an API server that has the pods of one Job, and perhaps that Job.
type cluster struct {
	pods []corev1.Pod
	job  *batchv1.Job
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch {
	case strings.HasSuffix(r.URL.Path, "/pods"):
		answer = corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: c.pods}
	case strings.HasSuffix(r.URL.Path, "/events"):
		answer = corev1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "v1"}}
	case c.job != nil:
		j := c.job.DeepCopy()
		j.TypeMeta = metav1.TypeMeta{Kind: "Job", APIVersion: "batch/v1"}
		answer = j
	default:
		w.WriteHeader(http.StatusNotFound)
		answer = metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
			Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
		}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// observed is a job that an agent in the pod of some UID has begun, and what observes it.
type observed struct {
	*Observer
	*ledgertest.Fixture
	index *job.Index
}

func newObserved(t *testing.T, c *cluster, retries int) *observed {
	t.Helper()
	o := &observed{Fixture: ledgertest.New(t)}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	client, err := NewClient(&rest.Config{Host: server.URL}, "jobs")
	o.Must(err)
	o.Observer = NewObserver(client, &ending.Recorder{Ledger: o.Ledger, Store: o.Store, Now: time.Now})
	o.index = o.Job(func(i *job.Index) { i.Retries = retries })
	_, err = o.Ledger.StartAttempt(t.Context(), o.index.JobID, 1, "mine", nil)
	o.Must(err)
	return o
}

// TestObserveWritesNothing demands that to ask how a job fares changes nothing, and that the end
// that is seen so is the one that RecordEnd records.
func TestObserveWritesNothing(t *testing.T) {
	killed := made("mine", corev1.PodFailed, ends(programContainer, 137, "OOMKilled", ""))
	report := ledger.Report{
		Attempt: job.Attempt{Number: 1, Reason: job.ReasonInterrupted, Outputs: &job.Outputs{Count: 1, Bytes: 1}},
		Files:   []job.File{{Name: "kept", Size: 1}},
	}
	oom := cluster{job: kubeJob("", "", ""), pods: []corev1.Pod{killed}}
	for name, test := range map[string]struct {
		cluster cluster
		retries int
		report  bool
		reason  job.Reason
		over    bool
	}{
		"its pod and Job are gone":    {cluster{}, 0, false, job.ReasonInterrupted, true},
		"its pod is gone":             {cluster{job: kubeJob("", "", "")}, 1, false, job.ReasonInterrupted, false},
		"it was killed":               {oom, 0, false, job.ReasonOOMKilled, true},
		"it was killed, with outputs": {oom, 0, true, job.ReasonOOMKilled, true},
		"it is to run again":          {oom, 1, false, job.ReasonOOMKilled, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newObserved(t, &test.cluster, test.retries)
			ctx, id := t.Context(), o.index.JobID
			if test.report {
				now := time.Now().UTC()
				report.Attempt.FinishedAt = &now
				o.Must(o.Ledger.PutReport(ctx, id, report))
			}
			before := o.Files()
			var seen job.Observation
			for range 3 {
				var err error
				if seen, err = o.Observe(ctx, id); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(before, o.Files()); diff != "" {
				t.Errorf("to look has changed the records (-before +after):\n%s", diff)
			}
			if seen.Over || seen.Attempt == nil || seen.Attempt.Reason != test.reason || seen.Attempt.FinishedAt == nil ||
				(seen.Terminal != nil) != test.over {
				t.Fatalf("got %+v", seen)
			}
			if test.over && (seen.Terminal.Phase != job.Failed || seen.Terminal.Reason != test.reason ||
				!seen.Terminal.ExpiresAt.Equal(o.index.Expiry(seen.Terminal.FinishedAt)) || len(seen.Terminal.Attempts) != 1) {
				t.Errorf("terminal: got %+v", seen.Terminal)
			}
			o.wantRecorded(ctx, t, test.over, test.reason, test.report)
		})
	}
}

// wantRecorded has what was seen recorded, twice.
func (o *observed) wantRecorded(ctx context.Context, t *testing.T, over bool, reason job.Reason, outputs bool) {
	t.Helper()
	id := o.index.JobID
	for range 2 {
		if got, err := o.RecordEnd(ctx, id); err != nil || got.Over != over {
			t.Fatalf("RecordEnd: got %+v, %v", got, err)
		}
	}
	attempts, err := o.Ledger.Attempts(ctx, id)
	if err != nil || len(attempts) != 1 || attempts[0].Reason != reason || attempts[0].FinishedAt == nil {
		t.Errorf("attempts: got %+v, %v", attempts, err)
	}
	s, err := o.Ledger.Status(ctx, id)
	if err != nil || s.Phase.Terminal() != over || over && s.Reason != reason {
		t.Errorf("status: got %+v, %v", s, err)
	}
	files, err := o.Ledger.Outputs(ctx, id)
	kept := slices.ContainsFunc(files, func(f job.File) bool { return f.Name == "kept" })
	if err != nil || kept != outputs {
		t.Errorf("outputs: got %v, %v", files, err)
	}
	if got, err := o.Observe(ctx, id); err != nil || got.Over != over {
		t.Errorf("afterwards: got %+v, %v", got, err)
	}
}
