// Package submit accepts jobs: it streams what a user sends into the bucket, and answers once the
// job is sure to be run.
package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/longpoll"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/token"
)

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.SubmitJob, f.submit)
	r.Handle(routes.GetJobToken, f.jobToken)
	r.Handle(routes.ListTemplates, f.listTemplates)
	r.Handle(routes.GetTemplate, f.showTemplate)
	r.Handle(routes.PutTemplate, f.putTemplate)
	r.Handle(routes.DeleteTemplate, f.deleteTemplate)
	r.Handle(routes.StartTemplate, f.startTemplate)
	r.Handle(routes.ReceiveEvent, f.receive)
	r.Handle(routes.AllowEvents, f.handshake)
}

// accepted is the answer to a submit. Job is there when the answer was to wait.
type accepted struct {
	JobID     job.ID      `json:"jobID"`
	JobName   string      `json:"jobName"`
	Namespace string      `json:"namespace"`
	Token     string      `json:"token"`
	Phase     job.Phase   `json:"phase"`
	CreatedAt time.Time   `json:"createdAt"`
	Job       *job.Status `json:"job,omitempty"`
}

func (f *Function) submit(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	body := &watched{ReadCloser: r.Body}
	r.Body = body
	index, err := f.accept(w, r)
	if err != nil {
		refuse(w, r, body, f.Env.Log, err)
		return nil
	}
	f.answer(w, r, index)
	return nil
}

// answer tells of the job that was accepted, with its token; once it is over, when the client would
// rather wait.
func (f *Function) answer(w http.ResponseWriter, r *http.Request, index *job.Index) {
	a := accepted{
		JobID: index.JobID, JobName: index.JobName, Namespace: index.Namespace,
		Token: f.keys.Derive(token.User, index.JobID), Phase: job.Pending, CreatedAt: index.CreatedAt,
	}
	if wait, asked := longpoll.Preferred(r.Header); asked {
		w.Header().Set(longpoll.Applied(wait))
		changed, leave := f.Events.Ledger.Watch(index.JobID)
		defer leave()
		// The job is accepted whatever comes now: an answer without its state is better than none.
		if s, err := longpoll.Until(r.Context(), wait, f.Events.Ledger.Status, index.JobID, changed); err == nil {
			a.Job, a.Phase = s, s.Phase
		}
	}
	w.Header().Set("Location", "/api/v1/jobs/"+string(index.JobID))
	api.WriteJSON(w, http.StatusCreated, a)
}

// accept reads the request, records its job and tells the launcher of it. After an error nothing of
// it is left.
func (f *Function) accept(w http.ResponseWriter, r *http.Request) (*job.Index, error) {
	keyHash, err := idempotencyKey(r, ledger.FormKeys)
	if err != nil {
		return nil, err
	}
	f.limitReading(w)
	return f.admit(r.Context(), r.ContentLength, func(ctx context.Context, id job.ID) (*draft, error) {
		sent, err := f.forms.Read(r.WithContext(ctx), f.defaults(), f.saver(id))
		if sent == nil {
			return nil, err
		}
		if err := f.check(sent, err); err != nil {
			return nil, err
		}
		return &draft{Spec: sent.Spec, Files: sent.Files, KeyHash: keyHash, Trace: traceOf(r)}, nil
	})
}

// limitReading keeps a client that stalls from holding its files and its place for ever. The
// deadline is the kernel's: not f.Env.Now.
func (f *Function) limitReading(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(f.settings.UploadTimeout))
}

// defaults is what a job has that says nothing else.
func (f *Function) defaults() job.Spec {
	return job.Spec{TTLSecondsAfterFinished: f.settings.DefaultTTL}
}

func traceOf(r *http.Request) job.Trace {
	return job.NewTrace(r.Header.Get("traceparent"), r.Header.Get("tracestate"))
}

// draft is a job to be accepted, its files stored.
type draft struct {
	job.Spec
	Files       []job.File
	KeyHash     string // of the idempotency key, or empty
	Fingerprint string // of what was asked for; empty: of the job
	Template    *job.Origin
	Owner       job.ID
	Trace       job.Trace
	Chain       ledger.Lineage // Root is empty for a job that no event of another job starts
}

// fill stores the files of the job to come and says what it is.
type fill func(ctx context.Context, id job.ID) (*draft, error)

// admit makes a job of what fill does, about size bytes of it, unless its idempotency key is that
// of an earlier one, which is returned then. After an error nothing is left.
func (f *Function) admit(ctx context.Context, size int64, fill fill) (*job.Index, error) {
	release, err := f.Admission.Admit()
	if err != nil {
		return nil, err
	}
	defer release()
	if size <= int64(f.settings.MaxUpload) { // else no storage is large enough
		if err := f.checkFree(max(size, 0)); err != nil {
			return nil, err
		}
	}
	id, err := job.NewID(f.Env.Now(), f.Env.Random)
	if err != nil {
		return nil, err
	}
	kept := false
	defer func() { // also after a panic
		if !kept {
			f.abort(ctx, id)
		}
	}()
	// A client that goes away while it sends is noticed by reading. Once the request is whole, one
	// that goes away, or closes its half of the connection, must not leave half of the records.
	index, err := f.store(context.WithoutCancel(ctx), id, fill)
	if err != nil {
		return nil, err
	}
	kept = index.JobID == id
	f.announce(ctx, index) // before the place in the queue is given back
	return index, nil
}

// store stores the files of a new job and records it. The index it returns is that of an earlier
// job when the idempotency key says so.
func (f *Function) store(ctx context.Context, id job.ID, fill fill) (*job.Index, error) {
	if err := f.Events.Ledger.BeginUpload(ctx, id); err != nil {
		return nil, err
	}
	d, err := fill(ctx, id)
	if err != nil {
		return nil, err
	}
	index := &job.Index{
		JobID: id, JobName: id.Name(), Namespace: f.common.Namespace, CreatedAt: id.Created(),
		Spec: f.settings.fill(d.Spec), Files: executable(d),
		Token: token.Hash(f.keys.Derive(token.User, id)), IdempotencyKey: d.KeyHash,
		Template: d.Template, Owner: d.Owner, Trace: d.Trace, Hops: d.Chain.Hops, Root: d.Chain.Root,
	}
	return f.recordChained(ctx, index, d)
}

// executable returns the files of a job, its program executable if it runs by itself.
func executable(d *draft) []job.File {
	i := slices.IndexFunc(d.Files, func(f job.File) bool { return f.Name == d.Entrypoint })
	if runtime, err := runtimes.Find(d.Runtime); err != nil || runtime.Interpreter != "" || i < 0 {
		return d.Files
	}
	files := slices.Clone(d.Files) // a template's are shared
	files[i].Mode = job.ModeExecutable
	return files
}

// saver stores files of the job.
func (f *Function) saver(id job.ID) form.Saver {
	return f.saverTo(func(name string) string { return ledger.FileKey(id, name) })
}

func (f *Function) saverTo(key func(name string) string) form.Saver {
	return func(ctx context.Context, name string, content io.Reader) (job.File, error) {
		var head job.Head
		source := &metered{r: io.TeeReader(content, &head), check: func() error { return f.checkFree(0) }}
		d, err := f.bucket.Put(ctx, key(name), source)
		return job.File{Name: name, Size: d.Size, SHA256: d.SHA256, Mode: job.ModeOf(head)}, err
	}
}

// check adds the faults that only the whole form shows to those that were found in it.
func (f *Function) check(sent *form.Job, err error) error {
	faults := &job.Faults{Kind: job.ErrInvalid}
	if err != nil && !errors.As(err, &faults) {
		return err
	}
	faults.List = append(faults.List, f.settings.excess(&sent.Spec)...)
	wrong := func(field string) bool {
		return slices.ContainsFunc(faults.List, func(f job.Fault) bool { return f.Field == field })
	}
	if !wrong("runtime") {
		if err := add(faults, f.Admission.Check(&sent.Spec)); err != nil {
			return err
		}
	}
	runtime, err := runtimes.Find(sent.Spec.Runtime)
	if err != nil && !wrong("runtime") { // whatever the platform thinks of it
		if err := add(faults, err); err != nil {
			return err
		}
	}
	if err == nil && !wrong("entrypoint") && !wrong("files") {
		names := make([]string, len(sent.Files))
		for i, file := range sent.Files {
			names[i] = file.Name
		}
		if err := add(faults, runtime.CheckEntrypoint(sent.Spec.Entrypoint, names)); err != nil {
			return err
		}
	}
	if len(faults.List) == 0 {
		return nil
	}
	return faults
}

// add puts the faults that err has before those there are, and returns any other error.
func add(faults *job.Faults, err error) error {
	var more *job.Faults
	if err == nil {
		return nil
	}
	if !errors.As(err, &more) || !errors.Is(err, job.ErrInvalid) {
		return err
	}
	faults.List = append(slices.Clone(more.List), faults.List...)
	return nil
}

// record accepts the job, unless its idempotency key belongs to one that was accepted before.
func (f *Function) record(ctx context.Context, index *job.Index, print string) (*job.Index, error) {
	if index.IdempotencyKey == "" {
		return index, f.Events.Ledger.Accept(ctx, index)
	}
	if print == "" {
		var err error
		if print, err = fingerprint(index); err != nil {
			return nil, err
		}
	}
	earlier, err := f.claim(ctx, index, print)
	if earlier != nil || err != nil {
		return earlier, err
	}
	if err := f.Events.Ledger.Accept(ctx, index); err != nil {
		if releaseErr := f.Events.Ledger.ReleaseKey(ctx, index.IdempotencyKey, index.JobID); releaseErr != nil {
			f.Env.Log.Warn("idempotency key not released", "job", index.JobID, "error", releaseErr)
		}
		if errors.Is(err, job.ErrExists) {
			return nil, job.Refuse(job.ErrExists, "Idempotency-Key",
				"belongs to another request by now, since this one took so long; send it again to get that one's job")
		}
		return nil, err
	}
	return index, nil
}

// checkFree refuses a job of so many bytes when the storage would get too full to end the jobs
// there are.
func (f *Function) checkFree(size int64) error {
	free, known := f.bucket.Free()
	if known && free-size < int64(f.settings.MinFree) {
		return fmt.Errorf("%d bytes free, %d to come: %w", free, size, job.ErrExhausted)
	}
	return nil
}

// checkEvery is after how many bytes of a file the storage is looked at again: a request does not
// have to say how long it is, and others write meanwhile.
const checkEvery = 64 << 20

// metered has check called before the first byte is read, and from time to time.
type metered struct {
	r     io.Reader
	left  int64
	check func() error
}

func (m *metered) Read(p []byte) (int, error) {
	if m.left <= 0 {
		if err := m.check(); err != nil {
			return 0, err
		}
		m.left = checkEvery
	}
	n, err := m.r.Read(p)
	m.left -= int64(n)
	return n, err
}

// abortTimeout bounds clearing up after a request whose client may be gone.
const abortTimeout = 30 * time.Second

func (f *Function) abort(ctx context.Context, id job.ID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := f.Events.Ledger.AbortUpload(ctx, id); err != nil {
		f.Env.Log.Warn("files of a refused request not removed; the reaper will", "job", id, "error", err)
	}
}

// announce tells the launcher of the job. The job is recorded: should the event be lost, the reaper
// has the job launched.
func (f *Function) announce(ctx context.Context, index *job.Index) {
	e := event.Of(f.common.BaseURL, ledger.SubmitNotice(index))
	if err := f.Events.Sink.Send(context.WithoutCancel(ctx), e); err != nil {
		f.Env.Log.Warn("event not sent; the reaper will", "job", index.JobID, "error", err)
	}
}
