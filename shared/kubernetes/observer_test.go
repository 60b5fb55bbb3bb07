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
	"github.com/google/go-cmp/cmp/cmpopts"
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
	pods    []corev1.Pod
	job     *batchv1.Job
	deleted bool // somebody has deleted the Job
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch {
	case r.Method == http.MethodDelete:
		c.deleted = true
		answer = metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess}
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
		"its last pod was killed":     {cluster{job: kubeJob(batchv1.JobFailed, "BackoffLimitExceeded", ""), pods: oom.pods}, 1, true, job.ReasonOOMKilled, true},
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
				!seen.Terminal.ExpiresAt.Equal(o.index.Expiry(seen.Terminal.FinishedAt)) || len(seen.Terminal.Attempts) != 1 ||
				(seen.Terminal.Outputs != nil) != (test.report && test.retries == 0)) {
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

// TestReported puts together what Kubernetes saw of the end of an attempt and what its agent said.
func TestReported(t *testing.T) {
	code := func(n int) *int { return &n }
	for name, test := range map[string]struct {
		exit   int32 // of the program's container
		why    string
		report job.Attempt
		want   job.Attempt
	}{
		"the agent knows the code": {137, "Error",
			job.Attempt{Reason: job.ReasonError, ExitCode: code(3), Message: "exited with code 3"},
			job.Attempt{Reason: job.ReasonError, ExitCode: code(3), Message: "exited with code 3"}},
		"the agent knows why": {0, "Completed", job.Attempt{Reason: job.ReasonInterrupted, Message: "told to stop"},
			job.Attempt{Reason: job.ReasonInterrupted, ExitCode: code(0), Message: "told to stop"}},
		"Kubernetes knows why": {137, "OOMKilled",
			job.Attempt{Reason: job.ReasonError, ExitCode: code(137), Signal: "SIGKILL", Message: "was killed"},
			job.Attempt{Reason: job.ReasonOOMKilled, ExitCode: code(137), Signal: "SIGKILL",
				Message: "the program used more than its memory and was killed by the kernel"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := made("mine", corev1.PodFailed, ends(programContainer, test.exit, test.why, ""))
			o := newObserved(t, &cluster{job: kubeJob("", "", ""), pods: []corev1.Pod{pod}}, 0)
			finished := time.Now().UTC()
			test.report.Number, test.report.FinishedAt = 1, &finished
			o.Must(o.Ledger.PutReport(t.Context(), o.index.JobID, ledger.Report{Attempt: test.report}))
			seen, err := o.Observe(t.Context(), o.index.JobID)
			o.Must(err)
			if diff := cmp.Diff(&test.want, seen.Attempt, cmpopts.IgnoreFields(job.Attempt{}, "Number", "StartedAt", "FinishedAt")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRecordedAttempts has the records say how each attempt ended, and not how the job did.
func TestRecordedAttempts(t *testing.T) {
	late := made("other", corev1.PodPending)
	for name, test := range map[string]struct {
		cluster cluster
		retries int
		want    job.Reason
	}{
		"the last one":             {cluster{job: kubeJob("", "", "")}, 0, job.ReasonError},
		"the time was up for more": {cluster{job: kubeJob(batchv1.JobFailed, "DeadlineExceeded", "")}, 1, job.ReasonDeadlineExceeded},
		"Kubernetes counts more":   {cluster{job: kubeJob(batchv1.JobFailed, "BackoffLimitExceeded", "")}, 1, job.ReasonError},
		"another follows":          {cluster{job: kubeJob("", "", ""), pods: []corev1.Pod{late}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newObserved(t, &test.cluster, test.retries)
			attempts, err := o.Ledger.Attempts(t.Context(), o.index.JobID)
			o.Must(err)
			now, code := time.Now().UTC(), 1
			a := attempts[0]
			a.FinishedAt, a.Reason, a.ExitCode = &now, job.ReasonError, &code
			o.Must(o.Ledger.EndAttempt(t.Context(), o.index.JobID, a))
			got, err := o.RecordEnd(t.Context(), o.index.JobID)
			if err != nil || got.Over != (test.want != "") {
				t.Fatalf("RecordEnd: %+v, %v", got, err)
			}
			if end, err := o.Ledger.Terminal(t.Context(), o.index.JobID); test.want != "" && (err != nil || end.Reason != test.want) {
				t.Errorf("ended with %+v, %v; want %s", end, err, test.want)
			}
		})
	}
}

// TestGivesUp ends a job that cannot start: in the records, and in Kubernetes.
func TestGivesUp(t *testing.T) {
	c := &cluster{job: kubeJob("", "", "")}
	o := newObserved(t, c, 0)
	index := o.Job()
	o.Must(o.GiveUp(t.Context(), index.JobID, job.Observation{Reason: job.ReasonPullBackOff, Message: "no such image"}))
	end, err := o.Ledger.Terminal(t.Context(), index.JobID)
	if err != nil || end.Phase != job.Failed || end.Reason != job.ReasonPullBackOff || end.Message != "no such image" {
		t.Errorf("recorded %+v, %v", end, err)
	}
	if !c.deleted {
		t.Error("its Job was not stopped")
	}
	o.Must(o.GiveUp(t.Context(), o.ID(), job.Observation{})) // one that is gone
}
