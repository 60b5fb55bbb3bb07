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

// Reason is one CamelCase word that says why a job is in its phase. It is Kubernetes' word where
// Kubernetes has one.
type Reason string

// The reasons. Completed and Error come from the program. The other reasons that end a job come
// from the platform, from a limit, or from the user.
const (
	ReasonCompleted        Reason = "Completed"
	ReasonError            Reason = "Error"            // the program exited with a code other than 0
	ReasonQueued           Reason = "Queued"           // it waits until it can run
	ReasonRetrying         Reason = "Retrying"         // an attempt failed, and the next one follows
	ReasonCancelled        Reason = "Cancelled"        // the user cancelled it
	ReasonDeadlineExceeded Reason = "DeadlineExceeded" // timeoutSeconds passed
	ReasonOOMKilled        Reason = "OOMKilled"        // used more than memory
	// it used more disk than its workspace may have, or its node had no disk space left
	ReasonEvicted     Reason = "Evicted"
	ReasonCannotRun   Reason = "ContainerCannotRun"
	ReasonFetchFailed Reason = "FetchFailed" // an uploaded file could not be read
	ReasonOutputsLost Reason = "OutputsLost" // outputs could not be stored
	ReasonInterrupted Reason = "Interrupted" // the server, pod or node went away while it ran
	ReasonStartFailed Reason = "StartFailed" // the platform could not start it
	ReasonPreparing   Reason = "Preparing"   // the packages that it needs are being installed
	// those packages could not be installed
	ReasonDependenciesFailed Reason = "DependenciesFailed"
)

// The reasons that only Kubernetes has. Its other reasons are passed on with the names that the
// kubelet and the controllers give them.
const (
	ReasonStarting      Reason = "ContainerCreating" // the image is being pulled, the files fetched
	ReasonPullBackOff   Reason = "ImagePullBackOff"  // the image cannot be pulled
	ReasonUnschedulable Reason = "Unschedulable"     // no node can run it
	ReasonSuspended     Reason = "Suspended"         // its queue has not admitted it
	ReasonQuotaExceeded Reason = "QuotaExceeded"     // the namespace's ResourceQuota leaves no room
	ReasonFailedCreate  Reason = "FailedCreate"      // its pod was refused
	ReasonNodeLost      Reason = "NodeLost"          // its node does not answer
	ReasonPreempted     Reason = "Preempted"         // its pod had to make room for a more important one
)

// Way is how a job came in.
type Way string

// The ways.
const (
	ByForm     Way = "form"
	ByTemplate Way = "template" // that a caller started
	ByEvent    Way = "event"
	ByRerun    Way = "rerun"
)

// Ways lists every way.
func Ways() []Way { return []Way{ByForm, ByTemplate, ByEvent, ByRerun} }

// File is one file of a job. SHA256 is in lowercase hexadecimal digits, Size in bytes.
type File struct {
	Name        string `json:"name"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	ContentType string `json:"contentType,omitempty"`
	// Mode is ModeExecutable, or empty for a file that is not executable.
	Mode string `json:"mode,omitempty"`
	// Archive is the format of an archive, one of ArchiveFormats, whose content is unpacked into the
	// program's folder. Entries and Unpacked are the files, folders and links in it, and their bytes.
	Archive  string `json:"archive,omitempty"`
	Entries  int    `json:"entries,omitempty"`
	Unpacked int64  `json:"unpackedBytes,omitempty"`
}

// The formats of archives.
const (
	Tar     = "tar"
	TarGzip = "tar.gz"
	TarZstd = "tar.zst"
	Zip     = "zip"
)

// ArchiveFormats lists the formats of archives.
func ArchiveFormats() []string { return []string{Tar, TarGzip, TarZstd, Zip} }

// ModeExecutable is the mode of an executable file, in the notation of chmod. Files have this mode
// or 0644. No other bits are copied, above all no set-user-ID bit.
const ModeExecutable = "0755"

// Perm returns the permissions to unpack the file with.
func (f File) Perm() fs.FileMode {
	if f.Mode == ModeExecutable {
		return 0o755
	}
	return 0o644
}

// programHead is the number of bytes that ModeOf looks at.
const programHead = 4

// ModeOf returns the mode of an uploaded file from its first bytes, because a form has no file
// modes. A file that the kernel can execute is executable: an ELF file, or a script with an
// interpreter line.
func ModeOf(head []byte) string {
	if bytes.HasPrefix(head, []byte("#!")) || bytes.HasPrefix(head, []byte("\x7fELF")) {
		return ModeExecutable
	}
	return ""
}

// Head keeps the first bytes that are written to it, as many as ModeOf needs.
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
	// PreparedFrom is when this machine began to bring the files and packages of a program that needs
	// packages.
	PreparedFrom *time.Time `json:"preparedFrom,omitempty"`
	// ExitCode is the program's exit code, or 128+N when signal N ended it. It is absent when the
	// program never ran.
	ExitCode *int   `json:"exitCode,omitempty"`
	Signal   string `json:"signal,omitempty"` // such as SIGKILL
	Reason   Reason `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
	// Limits says in words how the limits of cpu and memory were enforced.
	Limits *Limits `json:"limits,omitempty"`
	// Outputs is set on the attempt whose results are those of the job.
	Outputs *Outputs `json:"outputs,omitempty"`
	// Timing is there if the index of the job has Telemetry.
	Timing *Timing `json:"timing,omitempty"`
}

// Waited is how long the job waited for this, its first attempt, or for its packages to be installed.
func (a Attempt) Waited(id ID) time.Duration {
	from := a.StartedAt
	if a.PreparedFrom != nil {
		from = *a.PreparedFrom
	}
	return max(from.Sub(id.Created()), 0)
}

// Limits says in words how the limits of a program are enforced.
type Limits struct {
	CPU       string `json:"cpu"`
	Memory    string `json:"memory"`
	Workspace string `json:"workspace,omitempty"`
}

// Outputs sums up what a job left in results/: how many files and bytes were stored, and which
// entries were not.
type Outputs struct {
	Count        int       `json:"count"`
	Bytes        int64     `json:"bytes"`
	OmittedCount int       `json:"omittedCount,omitempty"`
	Omitted      []Omitted `json:"omitted,omitempty"` // the first of them
	// NotCollected lists the files outside results/, which are not outputs. It is nil when there are
	// none.
	NotCollected *NotCollected `json:"notCollected,omitempty"`
}

// NotCollected lists files in the program's working directory that are not in results/: new files,
// and uploaded files that the program changed. A name with a slash at its end is a folder, which
// counts as one.
type NotCollected struct {
	Count int      `json:"count"`
	Names []string `json:"names"`          // the first of them
	More  bool     `json:"more,omitempty"` // there were too many to count them all
}

// Omitted is one entry under results/ that was not stored, and why.
type Omitted struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// LocalOwner owns everything where nobody has to say who they are, and what was made before there
// were owners.
const LocalOwner = "local"

// Index is <jobID>/index.json: what the user asked for. Writing it is the acceptance of the job. It
// never changes.
type Index struct {
	JobID     ID        `json:"jobID"`
	JobName   string    `json:"jobName"`
	Namespace string    `json:"namespace"`
	CreatedAt time.Time `json:"createdAt"`
	Spec
	Files []File `json:"files"`
	// Stdin is what the program reads as its standard input; nil: nothing. It is stored as StdinFile.
	Stdin *File `json:"stdin,omitempty"`
	// Inferred says which parts of Spec were not sent, but followed from the files. It is nil for none.
	Inferred *Inferred `json:"inferred,omitempty"`
	// Secrets are the names of the job's secrets, without their values.
	Secrets []Secret `json:"secrets,omitempty"`
	// Warnings says what was accepted and may not do what its sender expects.
	Warnings []string `json:"warnings,omitempty"`
	// Token is the hash of the job's token, never the token.
	Token string `json:"token"`
	// IdempotencyKey is the hash of the user's Idempotency-Key, if one was sent.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// Template is the template that the job was started from, if there was one.
	Template *Origin `json:"template,omitempty"`
	// RerunOf is the job that this one repeats, if it does.
	RerunOf ID `json:"rerunOf,omitempty"`
	// Owner is the name of the caller that the job belongs to: who submitted it, or whose template it
	// was started from. The records of jobs that are older than callers have none, and maybe an
	// "owner" of another kind, which is ignored; they belong to LocalOwner.
	Owner string `json:"caller,omitempty"`
	// Trace is the trace of the request.
	Trace Trace `json:"trace,omitzero"`
	// Telemetry is nil if no collector was configured.
	Telemetry *Telemetry `json:"telemetry,omitempty"`
	// Hops is the number of jobs before this one in its chain, in which the event of each job started
	// the next. Root is the first job of the chain, unless this is the first.
	Hops int `json:"hops,omitempty"`
	Root ID  `json:"root,omitempty"`
	// Void marks an ID that was given up before its job was accepted; there is no such job.
	Void bool `json:"void,omitempty"`
}

// Inferred has what the user left out of a Spec, as it followed from the files. What the user sent is
// empty here.
type Inferred struct {
	Runtime    string `json:"runtime,omitempty"`
	Entrypoint string `json:"entrypoint,omitempty"`
}

// Deadline is the time at which a job with a time limit must end. It counts from the first attempt
// with its preparation, as Kubernetes counts activeDeadlineSeconds.
func (i *Index) Deadline(attempts []Attempt) time.Time {
	from := attempts[0].StartedAt
	if prepared := attempts[0].PreparedFrom; prepared != nil {
		from = *prepared
	}
	return from.Add(time.Duration(i.TimeoutSeconds) * time.Second)
}

// TimeUp reports whether the job's time limit has passed at the time now.
func (i *Index) TimeUp(attempts []Attempt, now time.Time) bool {
	return i.TimeoutSeconds > 0 && !now.Before(i.Deadline(attempts))
}

// Expiry is the time at which a job that finished at the given time is removed.
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

// Ran is how long a job ran, from its first attempt on: 0 if there was none.
func (t *Terminal) Ran() time.Duration {
	if t.StartedAt == nil {
		return 0
	}
	return max(t.FinishedAt.Sub(*t.StartedAt), 0)
}

// Summary is what a list shows of a job: which job it is and how it is doing. It has nothing that a
// user may want to hide from others (arguments, file names, messages).
type Summary struct {
	JobID     ID                `json:"jobID"`
	JobName   string            `json:"jobName"`
	Namespace string            `json:"namespace"`
	Name      string            `json:"name,omitempty"` // that its user gave it
	Runtime   string            `json:"runtime"`
	Owner     string            `json:"owner"` // the name of a caller
	Labels    map[string]string `json:"labels,omitempty"`
	Phase     Phase             `json:"phase"`
	Reason    Reason            `json:"reason,omitempty"`
	ExitCode  *int              `json:"exitCode,omitempty"`
	CreatedAt time.Time         `json:"createdAt"`
	// PreparedFrom is that of the first attempt.
	PreparedFrom *time.Time `json:"preparedFrom,omitempty"`
	StartedAt    *time.Time `json:"startedAt,omitempty"`
	FinishedAt   *time.Time `json:"finishedAt,omitempty"`
	ExpiresAt    *time.Time `json:"expiresAt,omitempty"`
}

// Conclude fills in how the job has ended.
func (s *Summary) Conclude(t *Terminal) {
	s.Phase, s.Reason, s.ExitCode, s.StartedAt = t.Phase, t.Reason, t.ExitCode, t.StartedAt
	s.FinishedAt, s.ExpiresAt = &t.FinishedAt, &t.ExpiresAt
	if len(t.Attempts) > 0 {
		s.PreparedFrom = t.Attempts[0].PreparedFrom
	}
}

// Status is a job as its owner sees it.
type Status struct {
	Summary
	Entrypoint     string    `json:"entrypoint"`
	Args           []string  `json:"args"`
	Image          string    `json:"image,omitempty"`
	Queue          *Queue    `json:"queue,omitempty"`
	Profile        string    `json:"profile,omitempty"`
	CPU            string    `json:"cpu,omitempty"`
	Memory         string    `json:"memory,omitempty"`
	TimeoutSeconds int64     `json:"timeoutSeconds,omitempty"`
	Retries        int       `json:"retries,omitempty"`
	RetryOn        []string  `json:"retryOn,omitempty"`
	Dependencies   string    `json:"dependencies,omitempty"`
	Template       *Origin   `json:"template,omitempty"`
	RerunOf        ID        `json:"rerunOf,omitempty"`
	Files          []File    `json:"files"`
	Stdin          *File     `json:"stdin,omitempty"`
	Inferred       *Inferred `json:"inferred,omitempty"`
	Secrets        []Secret  `json:"secrets,omitempty"` // without roles
	Message        string    `json:"message,omitempty"`
	Attempts       []Attempt `json:"attempts"`
	Outputs        *Outputs  `json:"outputs,omitempty"`
	// NotCollected is moved here from Outputs, so that users see it.
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
