package executor

import (
	"fmt"
	"io/fs"
	"time"
)

func (t *Task) saveExit(r Result) {
	if err := t.Workspace.saveExit(t.Number, t.Timing.ExecStartedAt, r); err != nil {
		t.Log.Warn("exit not saved; a crash from here on would show as Interrupted", "job", t.Index.JobID, "error", err)
	}
}

type savedExit struct {
	Attempt int       `json:"attempt"`
	Exit    Exit      `json:"exit"`
	Ran     bool      `json:"ran"`
	From    time.Time `json:"from,omitzero"` // when it was begun to execute it
	At      time.Time `json:"at"`
}

// saveExit notes how the program ended before anything is stored, so that a crash meanwhile does
// not turn a program that has ended into one that was interrupted.
func (w Workspace) saveExit(attempt int, from time.Time, r Result) error {
	return w.WriteRecord(ExitRecord, savedExit{attempt, r.Exit, r.Ran, from, now()})
}

// loadExit returns what was saved, and when it was begun to execute the program.
func (w Workspace) loadExit(attempt int) (r Result, from time.Time, err error) {
	var saved savedExit
	if err := w.ReadRecord(ExitRecord, &saved); err != nil {
		return r, from, err
	}
	if saved.Attempt != attempt {
		return r, from, fmt.Errorf("saved exit of attempt %d: %w", saved.Attempt, fs.ErrNotExist)
	}
	return Result{Exit: saved.Exit, Ran: saved.Ran, At: saved.At}, saved.From, nil
}
