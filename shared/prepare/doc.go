// Package prepare installs the packages that a program needs before the program starts: it collects
// what the project says, runs the installer in the job's own sandbox or container, and keeps the
// installed trees in a cache. It is the same code beside a child process and in a pod. The agent
// links it, so it imports little: what a project's files mean is found out by package dependencies.
package prepare

import (
	"context"
	"io"
	"time"
)

// Sources are the files of a project that say which packages it needs.
type Sources struct {
	Runtime    string `json:"runtime"`
	Entrypoint string `json:"entrypoint"`
	// Files are their contents, by name. Of a Python entrypoint it is only the block of PEP 723.
	Files map[string][]byte `json:"files"`
	// Project is a digest of all uploaded files: some installations depend on them all.
	Project string `json:"project"`
	// Service is where installers in a pod reach agentapi, which leads them to package indexes.
	Service string `json:"service,omitempty"`
}

// Plan says what is to be installed.
type Plan struct {
	Runtime string `json:"runtime"`
	From    string `json:"from"` // the file that names the packages
	// Digest is over all that decides what gets installed, without the interpreter and its platform.
	Digest string `json:"digest"`
	// Requirements is a list in the format of pip, made from other files. Without it From is such a
	// list itself.
	Requirements string `json:"requirements,omitempty"`
	// Locked says that every package is named, so that nothing else is installed, and Hashed that the
	// digests of them all are known.
	Locked bool `json:"locked,omitempty"`
	Hashed bool `json:"hashed,omitempty"`
	// Python is the versions of Python that the project demands, such as ">=3.11"; empty: any.
	Python string `json:"python,omitempty"`
	// Folder is where npm installs, relative to the uploaded files.
	Folder   string   `json:"folder,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Env is what tells the installer of package indexes. It holds no credentials.
	Env []string `json:"env,omitempty"`
	// Offline installs only what Wheelhouse, a folder of wheels, has; without it only what is cached.
	Offline    bool   `json:"offline,omitempty"`
	Wheelhouse string `json:"wheelhouse,omitempty"`
	// Timeout bounds the whole installation.
	Timeout time.Duration `json:"timeout"`
}

// Turn is what is to be done about a key of the cache.
type Turn string

// The turns.
const (
	Stored Turn = "stored" // the tree is in the cache
	Build  Turn = "build"  // nobody builds it: the caller does
	Wait   Turn = "wait"   // another job builds it
)

// Claimed is the answer of agentapi to who asks for a turn.
type Claimed struct {
	Turn Turn `json:"turn"`
}

// Service knows what the sources mean, and has the cache. It is agentapi, or this process.
type Service interface {
	// Plan returns what is to be installed, or nil for nothing. An error of kind job.ErrInvalid is the
	// project's fault.
	Plan(ctx context.Context, s *Sources) (*Plan, error)
	// Claim asks for a turn. Asking again while building keeps others waiting.
	Claim(ctx context.Context, key string) (Turn, error)
	// OpenPackages returns the installed trees as a tar archive. Reading to the end without an error means that
	// it is what was stored.
	OpenPackages(ctx context.Context, key string) (io.ReadCloser, error)
	// StorePackages stores the trees, and ends the turn. An error of kind job.ErrTooLarge means that the cache
	// does not take so much.
	StorePackages(ctx context.Context, key string, tar io.Reader) error
	// Release ends a turn in which nothing was stored.
	Release(ctx context.Context, key string) error
}

// Step is one command of an installation. It runs in the folder of the program's files.
type Step struct {
	Path    string        `json:"path"` // looked up in PATH
	Args    []string      `json:"args"`
	Env     []string      `json:"env"` // all of it, but for PATH, HOME, LANG and TMPDIR
	Timeout time.Duration `json:"timeout"`
}

// Outcome is how a step ended.
type Outcome struct {
	Code   int    `json:"code"`
	Reason string `json:"reason,omitempty"` // why it was ended from outside; see job.Reason
	// Message explains Reason.
	Message string `json:"message,omitempty"`
	// TimedOut says that it took longer than its Timeout.
	TimedOut bool `json:"timedOut,omitempty"`
	// Output is the end of what it wrote to its standard output, and Log that of both streams.
	Output string `json:"output"`
	Log    string `json:"log"`
}

// Run runs a step where the program will run, with the same limits. It returns once nothing that
// the step has started lives.
type Run func(ctx context.Context, s Step) (Outcome, error)

// Installed is what was installed, for starting the program and for leaving the trees out of what it
// left.
type Installed struct {
	Runtime string   `json:"runtime"`
	Trees   []string `json:"trees"` // folders, relative to the program's files
}

// Failure is why the packages could not be installed, for the job's user.
type Failure struct {
	Message string
	Network bool   // an index could not be reached; another try may succeed
	Reason  string // why the step was ended from outside, such as OOMKilled
}

func (f *Failure) Error() string { return f.Message }

// Environment returns the interpreter that sees the packages, or "" for the one that there is, and
// the variables that the program gets besides. A value of PATH goes before what it has. files is the
// folder of the program's files, as it sees them.
func (i *Installed) Environment(files string) (interpreter string, env []string) {
	if i.Runtime != "python" || len(i.Trees) == 0 {
		return "", nil
	}
	venv := files + "/" + i.Trees[0]
	return venv + "/bin/python", []string{"VIRTUAL_ENV=" + venv, "PATH=" + venv + "/bin"}
}
