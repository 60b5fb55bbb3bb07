package job_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// TestQueue reads what this version and earlier ones have written.
func TestQueue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*job.Queue{
		`"team-a"`: {Name: "team-a"}, `{"name":"team-a"}`: {Name: "team-a"}, `{"position":1,"ahead":0}`: job.InQueue(0),
		`{"position":8,"ahead":7}`: job.InQueue(7), `null`: nil,
	} {
		var got struct{ Queue *job.Queue }
		if err := json.Unmarshal([]byte(`{"queue":`+text+`}`), &got); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got.Queue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{`7`, `{"position":"x"}`, `"`, `[]`} {
		if err := json.Unmarshal([]byte(text), &job.Queue{}); err == nil {
			t.Errorf("%s is read", text)
		}
	}
	data, err := json.Marshal(job.InQueue(0))
	if err != nil || string(data) != `{"position":1,"ahead":0}` {
		t.Errorf("got %s, %v", data, err)
	}
}
