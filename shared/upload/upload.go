// Package upload takes what agents send for their jobs: a body that is stored whole or not at all,
// for a job that is not over.
package upload

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"syscall"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/token"
)

// Settings are those of all functions that take uploads.
type Settings struct {
	// MaxOutput bounds a single output.
	MaxOutput settings.Size `env:"MAX_OUTPUT_BYTES" envDefault:"4Gi"`
	// UploadTimeout bounds one upload: after twice that the reaper takes what is stored of it for a
	// dead one's.
	UploadTimeout time.Duration `env:"UPLOAD_TIMEOUT" envDefault:"1h"`
}

// Check finds settings with which nothing could be uploaded.
func (s *Settings) Check() error { return settings.CheckDurations(settings.Upload(s.UploadTimeout)) }

// Deps is what a function that takes uploads is opened with.
type Deps struct {
	Env    *platform.Env
	Ledger *ledger.Ledger // announces what it records
}

// Base is what all functions that take uploads have.
type Base struct {
	Store     *store.Store
	Ledger    *ledger.Ledger
	Uploads   *Receiver
	Keys      token.Keys
	MaxOutput int64
	Links     time.Duration // how long URLs of the bucket are valid; 0: there are none
	Now       func() time.Time
	Log       *slog.Logger
}

// Open returns the base of a function. The error names all faults at once.
func Open(d Deps) (*Base, error) {
	var settings Settings
	loadErr := d.Env.Load(&settings)
	s, storeErr := d.Env.Store()
	keys, keysErr := d.Env.Keys()
	common, err := d.Env.Common()
	if err := errors.Join(loadErr, storeErr, keysErr, err); err != nil {
		return nil, err
	}
	return &Base{
		Store: s, Ledger: d.Ledger, Uploads: &Receiver{Store: s, Ledger: d.Ledger, Timeout: settings.UploadTimeout},
		Keys: keys, MaxOutput: int64(settings.MaxOutput), Links: common.SignedURLs, Now: d.Env.Now, Log: d.Env.Log,
	}, nil
}

// Receiver takes uploads.
type Receiver struct {
	Store   *store.Store
	Ledger  *ledger.Ledger
	Timeout time.Duration // bounds one upload
}

// Upload is what one request brings.
type Upload struct {
	Index *job.Index
	Body  *Body
}

// Store stores an upload. It returns what to answer with, or nil.
type Store func(ctx context.Context, u Upload) (any, error)

// Receive answers a request that brings something for a job. The body has at most limit bytes.
func (u *Receiver) Receive(w http.ResponseWriter, r *http.Request, id job.ID, limit int64, to Store) error {
	// A client that has sent everything and closed its side still waits for the answer, which
	// net/http does not know. One that has gone ends the body.
	ctx := context.WithoutCancel(r.Context())
	index, err := u.open(ctx, id)
	if err != nil {
		return err
	}
	body, err := newBody(r, limit)
	if err != nil {
		return err
	}
	// The deadline is the kernel's: not that of a clock that tests set.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(u.Timeout))
	stored, err := to(ctx, Upload{index, body})
	if err != nil {
		return err
	}
	if stored == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	api.WriteJSON(w, http.StatusCreated, stored)
	return nil
}

// open returns the job if it still takes uploads.
func (u *Receiver) open(ctx context.Context, id job.ID) (*job.Index, error) {
	index, err := u.Ledger.Index(ctx, id)
	if err != nil {
		return nil, err
	}
	over, err := u.Ledger.Over(ctx, id)
	if err != nil {
		return nil, err
	}
	if over {
		return nil, ErrOver()
	}
	return index, nil
}

// ErrOver is the error for a job that is over.
func ErrOver() error {
	return api.Fail(http.StatusConflict, "The job is over; nothing more is taken for it.")
}

// CheckOutputs is an error once the list of the job's outputs is stored.
func (u *Receiver) CheckOutputs(ctx context.Context, id job.ID) error {
	listed, err := u.Ledger.Outputs(ctx, id)
	if err == nil && len(listed) > 0 {
		err = api.Fail(http.StatusConflict, "The list of the job's outputs is stored already; nothing is added to them.")
	}
	return err
}

// CheckRemoved removes what was stored for a job that has been removed meanwhile: nobody else ever
// would.
func (u *Receiver) CheckRemoved(ctx context.Context, id job.ID, key string) error {
	_, err := u.Ledger.Index(ctx, id)
	if errors.Is(err, job.ErrNotFound) {
		err = errors.Join(err, u.Store.Remove(ctx, key))
	}
	return err
}

// IsClash reports whether a bucket that is a directory refused a name since a part of it is a
// file's, or since it is a folder's.
func IsClash(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EEXIST)
}
