package executor

import (
	"fmt"
	"io/fs"
	"time"
)

func (t *Task) saveExit(r Result) {
	if err := t.Workspace.saveExit(t.Number, r); err != nil {
		t.Log.Warn("exit not saved; a crash from here on would show as Interrupted", "job", t.Index.JobID, "error", err)
	}
}

type savedExit struct {
	Attempt int       `json:"attempt"`
	Exit    Exit      `json:"exit"`
	Ran     bool      `json:"ran"`
	At      time.Time `json:"at"`
}

// saveExit notes how the program ended before anything is stored, so that a crash meanwhile does
// not turn a program that has ended into one that was interrupted.
func (w Workspace) saveExit(attempt int, r Result) error {
	return w.WriteRecord(ExitRecord, savedExit{attempt, r.Exit, r.Ran, time.Now().UTC()})
}

func (w Workspace) loadExit(attempt int) (Result, error) {
	var saved savedExit
	if err := w.ReadRecord(ExitRecord, &saved); err != nil {
		return Result{}, err
	}
	if saved.Attempt != attempt {
		return Result{}, fmt.Errorf("saved exit of attempt %d: %w", saved.Attempt, fs.ErrNotExist)
	}
	return Result{Exit: saved.Exit, Ran: saved.Ran, At: saved.At}, nil
}
