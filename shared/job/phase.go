package job

import (
	"bytes"
	"io/fs"
	"time"
)

// Phase says where a job is in its life. Succeeded, Failed and Cancelled are terminal: they never
// change.
type Phase string

// The phases.
const (
	Pending   Phase = "Pending"
	Running   Phase = "Running"
	Succeeded Phase = "Succeeded"
	Failed    Phase = "Failed"
	Cancelled Phase = "Cancelled"
)

// Phases lists every phase in the order of a job's life.
func Phases() []Phase { return []Phase{Pending, Running, Succeeded, Failed, Cancelled} }

// Terminal reports whether the job is over.
func (p Phase) Terminal() bool { return p == Succeeded || p == Failed || p == Cancelled }

// Reason is one CamelCase word that says why a job is in its phase: Kubernetes' own where it has
// one.
type Reason string

// The reasons. Error is the program's failure; the others that end a job are the platform's, or the
// user's wish.
const (
	ReasonCompleted        Reason = "Completed"
	ReasonError            Reason = "Error"            // the program ended with another code than 0
	ReasonQueued           Reason = "Queued"           // waiting for a free place
	ReasonRetrying         Reason = "Retrying"         // an attempt failed, the next one will follow
	ReasonCancelled        Reason = "Cancelled"        // the user cancelled it
	ReasonDeadlineExceeded Reason = "DeadlineExceeded" // timeoutSeconds passed
	ReasonOOMKilled        Reason = "OOMKilled"        // used more than memory
	// used more disk than its workspace may have, or its node had none left
	ReasonEvicted     Reason = "Evicted"
	ReasonCannotRun   Reason = "ContainerCannotRun"
	ReasonFetchFailed Reason = "FetchFailed" // an uploaded file could not be brought to the program
	ReasonOutputsLost Reason = "OutputsLost" // outputs could not be stored
	ReasonInterrupted Reason = "Interrupted" // the server, pod or node went away while it ran
	ReasonStartFailed Reason = "StartFailed" // the platform could not start it
)

// The reasons that only Kubernetes has; others are passed on as its kubelet and controllers name
// them.
const (
	ReasonStarting      Reason = "ContainerCreating" // the image is being pulled, the files fetched
	ReasonPullBackOff   Reason = "ImagePullBackOff"  // the image cannot be pulled
	ReasonUnschedulable Reason = "Unschedulable"     // no node can take it
	ReasonSuspended     Reason = "Suspended"         // its queue has not admitted it
	ReasonQuotaExceeded Reason = "QuotaExceeded"     // the namespace's ResourceQuota leaves no room
	ReasonFailedCreate  Reason = "FailedCreate"      // its pod was refused
	ReasonNodeLost      Reason = "NodeLost"          // its node does not answer
)

// File is one file of a job. SHA256 is in lowercase hexadecimal digits, Size in bytes.
type File struct {
	Name        string `json:"name"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	ContentType string `json:"contentType,omitempty"`
	// Mode is ModeExecutable, or empty for a file that is not executable.
	Mode string `json:"mode,omitempty"`
}

// ModeExecutable is the mode of an executable file, as chmod takes it. Files have this one or 0644:
// nothing else of a mode, and above all no set-user-ID bit, is carried from one place to another.
const ModeExecutable = "0755"

// Perm returns the permissions that the file has where it is unpacked.
func (f File) Perm() fs.FileMode {
	if f.Mode == ModeExecutable {
		return 0o755
	}
	return 0o644
}

// programHead is how many bytes tell a program.
const programHead = 4

// ModeOf returns the mode of an uploaded file that begins so. A form cannot say it, so the file
// does: what the kernel would execute, an ELF file or a script with an interpreter line, is
// executable.
func ModeOf(head []byte) string {
	if bytes.HasPrefix(head, []byte("#!")) || bytes.HasPrefix(head, []byte("\x7fELF")) {
		return ModeExecutable
	}
	return ""
}

// Head keeps the beginning of what is written to it, as much as ModeOf needs.
type Head []byte

// Write implements io.Writer.
func (h *Head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), programHead-len(*h))]...)
	return len(p), nil
}

// Attempt is one run of a job's program.
type Attempt struct {
	Number     int        `json:"number"` // from 1
	StartedAt  time.Time  `json:"startedAt"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	// ExitCode is the program's own, 128+N when signal N ended it, absent when it never ran.
	ExitCode *int   `json:"exitCode,omitempty"`
	Signal   string `json:"signal,omitempty"` // such as SIGKILL
	Reason   Reason `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
	// Limits says in words what held the program to its cpu and memory.
	Limits *Limits `json:"limits,omitempty"`
	// Outputs is set on the attempt whose results are the job's.
	Outputs *Outputs `json:"outputs,omitempty"`
}

// Limits says in words what is in force for a program.
type Limits struct {
	CPU       string `json:"cpu"`
	Memory    string `json:"memory"`
	Workspace string `json:"workspace,omitempty"`
}

// Outputs sums up what a job left in results/: how many files and bytes were stored, and what was
// not.
type Outputs struct {
	Count        int       `json:"count"`
	Bytes        int64     `json:"bytes"`
	OmittedCount int       `json:"omittedCount,omitempty"`
	Omitted      []Omitted `json:"omitted,omitempty"` // the first of them
	// NotCollected is what lies outside results/, and so is no output; nil: nothing.
	NotCollected *NotCollected `json:"notCollected,omitempty"`
}

// NotCollected is the files that a program wrote into its working directory and not into results/:
// new ones, and uploaded ones that it changed. A folder that ends in a slash counts as one.
type NotCollected struct {
	Count int      `json:"count"`
	Names []string `json:"names"`          // the first of them
	More  bool     `json:"more,omitempty"` // there were too many to look at all
}

// Omitted is one thing under results/ that was not stored, and why.
type Omitted struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Index is <jobID>/index.json: what the user asked for. Its write is the acceptance of the job, and
// it never changes.
type Index struct {
	JobID     ID        `json:"jobID"`
	JobName   string    `json:"jobName"`
	Namespace string    `json:"namespace"`
	CreatedAt time.Time `json:"createdAt"`
	Spec
	Files []File `json:"files"`
	// Token is the hash of the job's token, never the token.
	Token string `json:"token"`
	// IdempotencyKey is the hash of the user's Idempotency-Key, if one was sent.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// Template is what the job was started from, if from a template.
	Template *Origin `json:"template,omitempty"`
	// Owner names the owner whose token opens the job's own, if it has one. Whoever made the job
	// proved to be that owner, or the template is theirs.
	Owner ID `json:"owner,omitempty"`
	// Trace is the request's.
	Trace Trace `json:"trace,omitzero"`
	// Hops is how many jobs come before this one that each started the next by an event, and Root is
	// the first of them, if this is not the first itself.
	Hops int `json:"hops,omitempty"`
	Root ID  `json:"root,omitempty"`
	// Void marks an ID that was given up before its job was accepted; there is no such job.
	Void bool `json:"void,omitempty"`
}

// MayRetry reports whether an attempt of that number that ended for reason is followed by another.
// A program that cannot be run, or whose time is up, would fare no better; one whose outputs were
// lost did its work.
func (i *Index) MayRetry(number int, reason Reason) bool {
	if number > i.Retries {
		return false
	}
	switch reason {
	case ReasonCompleted, ReasonCancelled, ReasonDeadlineExceeded, ReasonCannotRun, ReasonOutputsLost:
		return false
	default:
		return true
	}
}

// Deadline is when the job's time is up if it has a limit, counted from its first attempt as
// Kubernetes counts activeDeadlineSeconds.
func (i *Index) Deadline(attempts []Attempt) time.Time {
	return attempts[0].StartedAt.Add(time.Duration(i.TimeoutSeconds) * time.Second)
}

// TimeUp reports whether the job's time was up by the time now.
func (i *Index) TimeUp(attempts []Attempt, now time.Time) bool {
	return i.TimeoutSeconds > 0 && !now.Before(i.Deadline(attempts))
}

// Expiry is when a job is removed that finished at a time.
func (i *Index) Expiry(finished time.Time) time.Time {
	return finished.Add(time.Duration(i.TTLSecondsAfterFinished) * time.Second)
}

// Origin is the template that a job was started from.
type Origin struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

// Terminal is <jobID>/status.json: how the job ended. It is written once.
type Terminal struct {
	JobID      ID         `json:"jobID"`
	Phase      Phase      `json:"phase"`
	Reason     Reason     `json:"reason"`
	Message    string     `json:"message,omitempty"`
	ExitCode   *int       `json:"exitCode,omitempty"`
	Attempts   []Attempt  `json:"attempts,omitempty"`
	StartedAt  *time.Time `json:"startedAt,omitempty"`
	FinishedAt time.Time  `json:"finishedAt"`
	ExpiresAt  time.Time  `json:"expiresAt"`
	Outputs    *Outputs   `json:"outputs,omitempty"`
}

// Summary is what a list shows of a job: what says which job it is and how it fares, and nothing
// that a user may want kept from others (arguments, file names, messages).
type Summary struct {
	JobID      ID                `json:"jobID"`
	JobName    string            `json:"jobName"`
	Namespace  string            `json:"namespace"`
	Runtime    string            `json:"runtime"`
	Labels     map[string]string `json:"labels,omitempty"`
	Phase      Phase             `json:"phase"`
	Reason     Reason            `json:"reason,omitempty"`
	ExitCode   *int              `json:"exitCode,omitempty"`
	CreatedAt  time.Time         `json:"createdAt"`
	StartedAt  *time.Time        `json:"startedAt,omitempty"`
	FinishedAt *time.Time        `json:"finishedAt,omitempty"`
	ExpiresAt  *time.Time        `json:"expiresAt,omitempty"`
}

// Conclude fills in how the job has ended.
func (s *Summary) Conclude(t *Terminal) {
	s.Phase, s.Reason, s.ExitCode, s.StartedAt = t.Phase, t.Reason, t.ExitCode, t.StartedAt
	s.FinishedAt, s.ExpiresAt = &t.FinishedAt, &t.ExpiresAt
}

// Status is a job as its owner sees it.
type Status struct {
	Summary
	Entrypoint     string    `json:"entrypoint"`
	Args           []string  `json:"args"`
	Image          string    `json:"image,omitempty"`
	Queue          string    `json:"queue,omitempty"`
	CPU            string    `json:"cpu,omitempty"`
	Memory         string    `json:"memory,omitempty"`
	TimeoutSeconds int64     `json:"timeoutSeconds,omitempty"`
	Retries        int       `json:"retries,omitempty"`
	Template       *Origin   `json:"template,omitempty"`
	Files          []File    `json:"files"`
	Message        string    `json:"message,omitempty"`
	Attempts       []Attempt `json:"attempts"`
	Outputs        *Outputs  `json:"outputs,omitempty"`
	// NotCollected is that of the outputs, where it is seen.
	NotCollected *NotCollected `json:"notCollected,omitempty"`
}

// Conclude fills in how the job has ended.
func (s *Status) Conclude(t *Terminal) {
	s.Summary.Conclude(t)
	s.Message = t.Message
	if t.Outputs != nil {
		outputs := *t.Outputs
		s.NotCollected, outputs.NotCollected = outputs.NotCollected, nil
		s.Outputs = &outputs
	}
	if t.Attempts != nil {
		s.Attempts = t.Attempts
	}
}

// Observation is how a job fares that was not over when it was looked at, as the place where it
// runs sees it.
type Observation struct {
	// Over tells that its end is recorded by now.
	Over bool
	// Reason and Message are empty when there is nothing to add to the records.
	Reason  Reason
	Message string
	// Lost tells that nothing there will ever run it unless it is launched again.
	Lost bool
	// Stuck tells that it cannot start for Reason, and since when.
	Stuck bool
	Since time.Time
	// Attempt is the last attempt, and Terminal the job, when their ends are seen and nobody has
	// recorded them. What they point to must not be changed.
	Attempt  *Attempt
	Terminal *Terminal
}

// Same reports whether two observations come to the same.
func (o Observation) Same(other Observation) bool {
	return (o.Attempt == nil) == (other.Attempt == nil) && (o.Terminal == nil) == (other.Terminal == nil) &&
		o.Over == other.Over && o.Reason == other.Reason && o.Message == other.Message &&
		o.Lost == other.Lost && o.Stuck == other.Stuck && o.Since.Equal(other.Since)
}
