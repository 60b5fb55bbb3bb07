package submit

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
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
	// MaxChained is how many jobs the events of one job, and of those that it started, may start
	// together.
	MaxChained uint16 `env:"MAX_CHAINED_JOBS" envDefault:"1000"`
}

// Deps is what submit works with.
type Deps struct {
	Env       *platform.Env
	Events    *event.Events
	Admission backend.Admission
}

// Function answers POST /api/v1/jobs, the calls of templates, and POST and OPTIONS /events.
type Function struct {
	Deps
	bucket    *store.Store
	keys      token.Keys
	common    *platform.Common
	settings  Settings
	forms     *form.Reader
	templates *template.Store
	resolving chan struct{} // has a value for each event whose arguments are being found
}

// New returns the function.
func New(d Deps) (*Function, error) {
	f := &Function{Deps: d, resolving: make(chan struct{}, runtime.GOMAXPROCS(0))}
	var errs [5]error
	errs[0] = d.Env.Load(&f.settings)
	f.common, errs[1] = d.Env.Common()
	f.bucket, errs[2] = d.Env.Store()
	f.keys, errs[3] = d.Env.Keys()
	if d.Events.Sink == nil {
		errs[4] = event.ErrNoSink
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	f.templates = template.NewStore(f.bucket, d.Env.Now)
	f.forms = form.NewReader(form.Limits{
		TotalBytes: int64(f.settings.MaxUpload), FieldBytes: int64(f.settings.MaxField),
		Files: int(f.settings.MaxFiles), NameBytes: min(int(f.settings.MaxName), job.MaxNameBytes),
	})
	return f, nil
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
