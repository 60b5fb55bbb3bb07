package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/executor"
)

// TestStartRecord has a sidecar restarted by an image of another version than that of exec: each
// finds the record of the start under the name that it knows.
func TestStartRecord(t *testing.T) {
	for _, name := range []string{startRecord, "turn.json"} {
		t.Run(name, func(t *testing.T) {
			dir, want := t.TempDir(), start{Number: 2}
			s := &sidecar{paths: paths{work: dir}}
			if s.started() {
				t.Error("an empty workspace was started")
			}
			if err := s.start(want); err != nil {
				t.Fatal(err)
			}
			var got start
			if err := executor.NewWorkspace(dir).ReadRecord(name, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			former := &sidecar{paths: paths{work: t.TempDir()}}
			if err := former.workspace().WriteRecord(name, want); err != nil {
				t.Fatal(err)
			}
			if !former.started() {
				t.Error("what a sidecar has left was not found")
			}
		})
	}
}
