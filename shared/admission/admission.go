// Package admission accepts jobs. Each is a transaction: Begin finds a place for the job, Put
// stores its files, Commit checks and records it, and Abort removes what is left of a job that was
// not accepted.
package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/dependencies"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/token"
)

// Settings say what jobs are accepted.
type Settings struct {
	MaxUpload     settings.Size `env:"MAX_UPLOAD_BYTES" envDefault:"4Gi"`
	MaxField      settings.Size `env:"MAX_FIELD_BYTES" envDefault:"1Mi"`
	MaxFiles      uint16        `env:"MAX_FILES" envDefault:"100"`
	MaxName       uint8         `env:"MAX_NAME_BYTES" envDefault:"200"`
	MaxEntries    uint32        `env:"MAX_ARCHIVE_ENTRIES" envDefault:"50000"`
	MaxUnpacked   settings.Size `env:"MAX_UNPACKED_BYTES" envDefault:"8Gi"`
	MinFree       settings.Size `env:"MIN_FREE_BYTES" envDefault:"256Mi"`
	UploadTimeout time.Duration `env:"UPLOAD_TIMEOUT" envDefault:"1h"`
	DefaultTTL    int64         `env:"DEFAULT_TTL_SECONDS" envDefault:"86400"`
	Bounds
	// MaxChained is how many jobs the events of one job, and of those that it started, may start
	// together.
	MaxChained uint16 `env:"MAX_CHAINED_JOBS" envDefault:"1000"`
	// Dependencies says whether packages are installed, which the answer warns of.
	Dependencies dependencies.Mode `env:"DEPENDENCIES" envDefault:"online"`
}

// Check finds settings with which no job could be accepted.
func (s *Settings) Check() error {
	var errs []error
	if s.DefaultTTL < 0 || s.DefaultTTL > job.MaxSeconds {
		errs = append(errs, fmt.Errorf("DEFAULT_TTL_SECONDS: %d is out of range: from 0 to %d", s.DefaultTTL, job.MaxSeconds))
	}
	if err := settings.CheckDurations(settings.Upload(s.UploadTimeout)); err != nil {
		errs = append(errs, err)
	}
	if s.MaxFiles == 0 {
		errs = append(errs, errors.New("MAX_FILES: 0 lets nobody send a program; set at least 1"))
	}
	if s.MaxName == 0 {
		errs = append(errs, errors.New("MAX_NAME_BYTES: 0 lets nobody name a file; set at least 1"))
	}
	if s.MaxEntries == 0 || s.MaxUnpacked == 0 {
		errs = append(errs, errors.New("MAX_ARCHIVE_ENTRIES, MAX_UNPACKED_BYTES: 0 lets nobody send an archive; set at "+
			"least 1 and 64Ki"))
	}
	if s.MaxEntries > maxEntries {
		errs = append(errs, fmt.Errorf("MAX_ARCHIVE_ENTRIES: %d is more than %d, whose names would take too much memory",
			s.MaxEntries, maxEntries))
	}
	if s.MaxChained == 0 {
		errs = append(errs, errors.New("MAX_CHAINED_JOBS: 0 lets no job start another by its events; set at least 1"))
	}
	if s.MaxUpload == 0 || s.MaxField == 0 {
		errs = append(errs, errors.New("MAX_UPLOAD_BYTES, MAX_FIELD_BYTES: 0 lets nobody send anything; set at least 64Ki"))
	}
	errs = append(errs, s.Bounds.check())
	return errors.Join(errs...)
}

// maxEntries bounds the setting. Each name takes about 300 bytes of memory while an archive is read.
const maxEntries = 1_000_000

// NameBytes is how long the name of a file may be.
func (s *Settings) NameBytes() int { return min(int(s.MaxName), job.MaxNameBytes) }

// Deps is what a Controller works with.
type Deps struct {
	Env     *platform.Env
	Events  *event.Events
	Backend backend.Admission
	Secrets secret.Catalog // of the operator; nil: the one that the reaper publishes
	// Profiles are those that jobs can name; nil: those of the settings.
	Profiles *profile.File
	// Wake starts the functions that an accepted job needs. It is called when a request for a job
	// begins, and returns at once. Nil: nothing is to be started.
	Wake func()
	// Accepted is told of each accepted job its runtime, and how it came in. Nil: nobody counts.
	Accepted func(runtime string, by job.Way)
}

// Controller decides which jobs are accepted. The functions by which jobs come in share one.
type Controller struct {
	Settings Settings
	Forms    *form.Reader // reads jobs and templates from forms, within the settings

	backend   backend.Admission
	wake      func()
	accepted  func(runtime string, by job.Way)
	profiles  *profile.File
	bucket    *store.Store
	records   *ledger.Ledger
	sink      event.Sink
	templates *template.Store
	secrets   secret.Catalog
	keys      token.Keys
	common    *settings.Common
	now       func() time.Time
	random    io.Reader
	log       *slog.Logger
}

// New returns a Controller with the settings of an Env.
func New(d Deps) (*Controller, error) {
	c := &Controller{
		backend: d.Backend, wake: d.Wake, accepted: d.Accepted, records: d.Events.Ledger, sink: d.Events.Sink,
		now: d.Env.Now, random: d.Env.Random, log: d.Env.Log,
	}
	var errs [6]error
	errs[0] = d.Env.Load(&c.Settings)
	c.common, errs[1] = d.Env.Common()
	c.bucket, errs[2] = d.Env.Store()
	c.keys, errs[3] = d.Env.Keys()
	if c.sink == nil {
		errs[4] = event.ErrNoSink
	}
	errs[5] = c.openProfiles(d)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	c.templates = template.NewStore(c.bucket, c.now)
	if c.secrets = d.Secrets; c.secrets == nil {
		c.secrets = secret.NewPublished(c.bucket, c.keys)
	}
	c.Forms = form.NewReader(form.Limits{
		TotalBytes: int64(c.Settings.MaxUpload), FieldBytes: int64(c.Settings.MaxField),
		Files: int(c.Settings.MaxFiles), NameBytes: c.Settings.NameBytes(), Archive: c.Settings.archiveLimits(),
	})
	return c, nil
}

// Defaults is what a job has that says nothing else.
func (c *Controller) Defaults() job.Spec {
	return job.Spec{TTLSecondsAfterFinished: c.Settings.DefaultTTL}
}

// LimitReading keeps a client that stalls from holding its files and its place for ever. The
// deadline is the kernel's, so it follows no clock of tests.
func (c *Controller) LimitReading(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(c.Settings.UploadTimeout))
}

// CheckFree refuses a request of about so many bytes when the storage would get too full to end the
// jobs that there are. A request that says that it is larger than any may be is left to the reader
// of its form, since no storage is large enough for it.
func (c *Controller) CheckFree(size int64) error {
	if size > int64(c.Settings.MaxUpload) {
		return nil
	}
	return c.checkFree(max(size, 0))
}

func (c *Controller) checkFree(size int64) error {
	free, known := c.bucket.Free()
	if known && free-size < int64(c.Settings.MinFree) {
		return fmt.Errorf("%d bytes free, %d to come: %w", free, size, job.ErrExhausted)
	}
	return nil
}

// Put stores a file under a key of the bucket, while there is space for it.
func (c *Controller) Put(ctx context.Context, key, name string, content io.Reader) (job.File, error) {
	var head job.Head
	source := &metered{r: io.TeeReader(content, &head), check: func() error { return c.checkFree(0) }}
	d, err := c.bucket.Put(ctx, key, source)
	return job.File{Name: name, Size: d.Size, SHA256: d.SHA256, Mode: job.ModeOf(head)}, err
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
