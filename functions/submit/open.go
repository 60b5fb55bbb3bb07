package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/runtimes"
	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/template"
	"go-job-orchestrator/shared/token"
)

// Settings are submit's own.
type Settings struct {
	MaxUpload     platform.Size `env:"MAX_UPLOAD_BYTES" envDefault:"4Gi"`
	MaxField      platform.Size `env:"MAX_FIELD_BYTES" envDefault:"1Mi"`
	MaxFiles      uint16        `env:"MAX_FILES" envDefault:"100"`
	MaxName       uint8         `env:"MAX_NAME_BYTES" envDefault:"200"`
	MinFree       platform.Size `env:"MIN_FREE_BYTES" envDefault:"256Mi"`
	UploadTimeout time.Duration `env:"UPLOAD_TIMEOUT" envDefault:"1h"`
	DefaultTTL    int64         `env:"DEFAULT_TTL_SECONDS" envDefault:"86400"`
	// What events are taken: their types and sources, with * at the end for all that begin so.
	EventTypes   []string      `env:"EVENT_TYPES" envDefault:"*"`
	EventSources []string      `env:"EVENT_SOURCES" envDefault:"*"`
	MaxEvent     platform.Size `env:"MAX_EVENT_BYTES" envDefault:"4Mi"`
	Bounds
	// MaxChained is how many jobs the events of one job, and of those that it started, may start together.
	MaxChained uint16 `env:"MAX_CHAINED_JOBS" envDefault:"1000"`
}

// Platform is what the place where jobs will run says of a job before it is accepted.
type Platform interface {
	// Admit reserves a place in the queue, or refuses with an error of kind job.ErrUnavailable.
	Admit() (release func(), err error)
	// Check returns the faults for which a job could never run here.
	Check(spec *job.Spec) error
}

// Deps is what submit works with.
type Deps struct {
	Store    *store.Store
	Ledger   *ledger.Ledger
	Keys     token.Keys
	Sink     event.Sink
	Platform Platform
	Common   *platform.Common
	Settings Settings
	Now      func() time.Time
	Random   io.Reader
	Log      *slog.Logger
}

// Function answers POST /api/v1/jobs, the calls of templates, and POST and OPTIONS /events.
type Function struct {
	Deps
	forms     *form.Reader
	shelf     *template.Shelf
	resolving chan struct{} // has a value for each event whose arguments are being found
}

// New returns the function.
func New(d Deps) *Function {
	resolving := make(chan struct{}, runtime.GOMAXPROCS(0))
	return &Function{Deps: d, resolving: resolving, shelf: template.NewShelf(d.Store, d.Now), forms: form.NewReader(form.Limits{
		TotalBytes: int64(d.Settings.MaxUpload), FieldBytes: int64(d.Settings.MaxField),
		Files: int(d.Settings.MaxFiles), NameBytes: min(int(d.Settings.MaxName), job.MaxNameBytes),
	})}
}

// Open returns the function with what env has.
func Open(ctx context.Context, env *platform.Env) (*Function, error) {
	return OpenWith(ctx, env, anywhere{})
}

// OpenWith is Open for a known place to run jobs at.
func OpenWith(ctx context.Context, env *platform.Env, p Platform) (*Function, error) {
	d := Deps{Platform: p, Now: env.Now, Random: env.Random, Log: env.Log}
	var errs [6]error
	errs[0] = env.Load(&d.Settings)
	d.Common, errs[1] = env.Common()
	d.Store, errs[2] = env.Store()
	d.Ledger, errs[3] = event.OpenLedger(env)
	d.Keys, errs[4] = env.Keys()
	d.Sink, errs[5] = event.OpenSink(env)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return New(d), nil
}

// Check finds settings with which no job could be submitted.
func (s *Settings) Check() error {
	var errs []error
	if s.DefaultTTL < 0 || s.DefaultTTL > job.MaxSeconds {
		errs = append(errs, fmt.Errorf("DEFAULT_TTL_SECONDS: %d is out of range: from 0 to %d", s.DefaultTTL, job.MaxSeconds))
	}
	if err := platform.CheckDurations(platform.Upload(s.UploadTimeout)); err != nil {
		errs = append(errs, err)
	}
	if s.MaxFiles == 0 {
		errs = append(errs, errors.New("MAX_FILES: 0 lets nobody send a program; set at least 1"))
	}
	if s.MaxName == 0 {
		errs = append(errs, errors.New("MAX_NAME_BYTES: 0 lets nobody name a file; set at least 1"))
	}
	if s.MaxEvent == 0 {
		errs = append(errs, errors.New("MAX_EVENT_BYTES: 0 lets no event in; set at least 64Ki"))
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

// anywhere is a place of which submit knows nothing.
type anywhere struct{}

func (anywhere) Admit() (func(), error) { return func() {}, nil }

func (anywhere) Check(spec *job.Spec) error {
	_, err := runtimes.Find(spec.Runtime)
	return err
}
