package admission

import (
	"context"
	"io"
	"net/http"
	"slices"
	"time"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/project"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/token"
)

// Tx is the admission of one job. It holds a place in the queue, and files that belong to no job
// yet, so the caller of Begin defers Abort.
//
// A Tx does not end with the context of its caller. Reading the request notices a client that goes
// away while it sends. Once the request is whole, a client that goes away, or closes its half of
// the connection, must not leave half of the records.
type Tx struct {
	c       *Controller
	id      job.ID
	release func()
	kept    bool // the job is accepted
	over    bool
}

// Draft is a job to be accepted, whose files are stored.
type Draft struct {
	job.Spec
	Files []job.File
	Stdin *job.File
	// Tree is what the files say of how they are run. Nil: only their names do.
	Tree *project.Tree
	// Secrets are those that the request has, and Inherited those of its template or of the job that it
	// repeats.
	Secrets, Inherited secret.Set
	// Faults are what is known to be wrong with the job; Commit names them with what it finds.
	Faults      error
	KeyHash     string // of the idempotency key, or empty
	Fingerprint string // of what was asked for; empty: of the job
	Template    *job.Origin
	RerunOf     job.ID
	Event       bool   // an event has asked for it
	Owner       string // the name of a caller
	Trace       job.Trace
	Chain       ledger.Lineage // Root is empty for a job that no event of another job starts
	// Inferred is what was inferred already; Commit infers the rest.
	Inferred *job.Inferred
}

// Receive is Begin for a job that is in the body of a request, which has a limited time to come.
func (c *Controller) Receive(w http.ResponseWriter, r *http.Request) (*Tx, error) {
	c.LimitReading(w)
	return c.Begin(r.Context(), r.ContentLength)
}

// Begin finds a place for a job that brings about size bytes along.
func (c *Controller) Begin(ctx context.Context, size int64) (tx *Tx, err error) {
	release, err := c.backend.Admit()
	if err != nil {
		return nil, err
	}
	if c.wake != nil {
		c.wake()
	}
	begun := &Tx{c: c, release: release}
	defer func() { // also after a panic
		if tx == nil {
			begun.Abort(ctx)
		}
	}()
	if err := c.CheckFree(size); err != nil {
		return nil, err
	}
	if begun.id, err = job.NewID(c.now(), c.random); err != nil {
		return nil, err
	}
	if err := c.records.BeginUpload(context.WithoutCancel(ctx), begun.id); err != nil {
		return nil, err
	}
	return begun, nil
}

// Put stores a file of the job, while there is space for it.
func (tx *Tx) Put(ctx context.Context, name string, content io.Reader) (job.File, error) {
	return tx.c.Put(context.WithoutCancel(ctx), ledger.FileKey(tx.id, name), name, content)
}

// Source is a file that a job gets a copy of.
type Source struct {
	Name string
	Mode string // empty: as its content says
	// Archive, Entries and Unpacked are those of an archive that was listed; see job.File.
	Archive  string
	Entries  int
	Unpacked int64
	Open     func(ctx context.Context) (io.ReadCloser, error)
}

// Copy stores copies of files, one after the other.
func (tx *Tx) Copy(ctx context.Context, sources []Source) ([]job.File, error) {
	files := make([]job.File, 0, len(sources))
	for _, s := range sources {
		file, err := tx.copy(context.WithoutCancel(ctx), s)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (tx *Tx) copy(ctx context.Context, s Source) (job.File, error) {
	r, err := s.Open(ctx)
	if err != nil {
		return job.File{}, err
	}
	defer r.Close()
	file, err := tx.Put(ctx, s.Name, r)
	if s.Mode != "" {
		file.Mode = s.Mode
	}
	file.Archive, file.Entries, file.Unpacked = s.Archive, s.Entries, s.Unpacked
	return file, err
}

// Commit checks the job, records it and tells the launcher of it. If its idempotency key is that of
// an earlier job, it returns that one. After an error nothing of the job is recorded.
func (tx *Tx) Commit(ctx context.Context, d Draft) (*job.Index, error) {
	key := func(name string) string { return ledger.FileKey(tx.id, name) }
	p := Project{Spec: &d.Spec, Files: d.Files, Tree: d.Tree, Key: key}
	inferred, err := tx.c.Complete(context.WithoutCancel(ctx), p, d.Faults)
	err = tx.c.CheckSecrets(ctx, &d.Spec, d.Inherited.With(d.Secrets), err)
	if err := tx.c.Check(ctx, &d.Spec, d.Files, d.Tree, err); err != nil {
		return nil, err
	}
	if inferred != nil {
		d.Inferred = inferred
	}
	return tx.record(ctx, d)
}

// record is Commit for a draft that was checked.
func (tx *Tx) record(ctx context.Context, d Draft) (*job.Index, error) {
	ctx = context.WithoutCancel(ctx)
	c, id := tx.c, tx.id
	names, _ := programNames(d.Files, d.Tree) // without names there are no warnings
	var warnings []string
	if d.Dependencies != job.DependenciesOff { // else its user knows that nothing is installed
		warnings = c.Settings.Dependencies.Warnings(d.Runtime, d.Entrypoint, names)
	}
	index, err := c.recordChained(ctx, &job.Index{
		JobID: id, JobName: id.Name(), Namespace: c.common.Namespace, CreatedAt: id.Created(),
		Spec: c.fill(d.Spec), Files: executable(d), Stdin: d.Stdin, Inferred: d.Inferred, RerunOf: d.RerunOf,
		Warnings: warnings,
		Secrets:  d.Inherited.With(d.Secrets).Records(),
		Token:    token.Hash(c.keys.Derive(token.User, id)), IdempotencyKey: d.KeyHash,
		Template: d.Template, Owner: d.Owner, Trace: d.Trace, Hops: d.Chain.Hops, Root: d.Chain.Root,
		Telemetry: c.telemetry(&d),
	}, d)
	if err != nil {
		return nil, err
	}
	tx.kept = index.JobID == id
	if tx.kept && c.accepted != nil {
		c.accepted(index.Runtime, d.way())
	}
	c.announce(ctx, index)
	tx.Abort(ctx) // the place in the queue was kept until the launcher was told
	return index, nil
}

// telemetry is what a job's spans and numbers will need, if they are sent anywhere.
func (c *Controller) telemetry(d *Draft) *job.Telemetry {
	if c.common.Collector == "" {
		return nil
	}
	return &job.Telemetry{Source: d.way()}
}

func (d *Draft) way() job.Way {
	switch {
	case d.Event:
		return job.ByEvent
	case d.RerunOf != "":
		return job.ByRerun
	case d.Template != nil:
		return job.ByTemplate
	}
	return job.ByForm
}

// executable returns the files of a job, its program executable if it runs by itself.
func executable(d Draft) []job.File {
	i := slices.IndexFunc(d.Files, func(f job.File) bool { return f.Name == d.Entrypoint && f.Archive == "" })
	if runtime, err := runtimes.Find(d.Runtime); err != nil || runtime.Interpreter != "" || i < 0 {
		return d.Files
	}
	files := slices.Clone(d.Files) // a template's are shared
	files[i].Mode = job.ModeExecutable
	return files
}

// announce tells the launcher of the job. The job is recorded: should the event be lost, the reaper
// has the job launched.
func (c *Controller) announce(ctx context.Context, index *job.Index) {
	e := event.Of(c.common.BaseURL, ledger.SubmitNotice(index))
	if err := c.sink.Send(ctx, e); err != nil {
		c.log.WarnContext(ctx, "event not sent; the reaper will", "job", index.JobID, "error", err)
	}
}

// AbortTimeout bounds clearing up after a request whose client may be gone.
const AbortTimeout = 30 * time.Second

// Abort gives the place in the queue back, and removes the files of a job that was not accepted.
// After Commit it does nothing.
func (tx *Tx) Abort(ctx context.Context) {
	if tx.over {
		return
	}
	tx.over = true
	defer tx.release()
	if tx.kept || tx.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), AbortTimeout)
	defer cancel()
	if err := tx.c.records.AbortUpload(ctx, tx.id); err != nil {
		tx.c.log.WarnContext(ctx, "files of a refused request not removed; the reaper will", "job", tx.id, "error", err)
	}
}
