// Package logs serves the logs of jobs, live while they run and for as long as they are kept.
package logs

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/settings"
)

// A follower is woken by what this process stores. For what others store it looks at the bucket:
// soon after something came, since more may follow, and more seldom while all is quiet. With the
// interval at which logs are shipped it stays below a second.
const (
	firstPoll = 200 * time.Millisecond
	lastPoll  = 500 * time.Millisecond
)

// The trailers of an answer in text. Log-Position is how many bytes of the log, or of the one
// stream that is asked for, lie before its end; ?from=<Log-Position> goes on from there. Job-Phase
// is terminal when there is nothing behind its end: a follower that sees another one was cut off by
// the server, and goes on. It is absent when the job has just been removed.
const (
	phaseTrailer    = "Job-Phase"
	positionTrailer = "Log-Position"
)

// Settings are logs' own.
type Settings struct {
	// FollowTimeout is after how long a follower is sent off with where to go on; 0: never. Knative
	// cuts every answer off after a time, and does not say where.
	FollowTimeout time.Duration `env:"FOLLOW_TIMEOUT" envDefault:"0s"`
}

// Check finds settings with which no log could be followed.
func (s *Settings) Check() error {
	if s.FollowTimeout == 0 {
		return nil
	}
	return settings.CheckDurations(settings.Duration{Name: "FOLLOW_TIMEOUT", Value: s.FollowTimeout, Min: time.Second,
		Max: 30 * 24 * time.Hour})
}

// Function answers GET /api/v1/jobs/:id/logs with the bytes that the program wrote, or as
// server-sent events to whoever accepts only those. Its parameters: tail, the number of last lines
// (200) or "all"; stream, stdout or stderr (both); attempt, the number of one (all); since, a time
// or how long ago; from=<Log-Position>; timestamps=true, each line begins with its time;
// follow=true, go on until the job is over.
type Function struct {
	reader *logstore.Reader
	ledger *ledger.Ledger
	log    *slog.Logger
	Settings
}

// New returns the function with what env has.
func New(env *platform.Env) (*Function, error) {
	f := &Function{log: env.Log}
	s, storeErr := env.Store()
	records, ledgerErr := env.Ledger()
	if err := errors.Join(storeErr, ledgerErr, env.Load(&f.Settings)); err != nil {
		return nil, err
	}
	f.ledger = records
	f.reader = &logstore.Reader{Store: s, Records: records, FirstPoll: firstPoll, LastPoll: lastPoll}
	return f, nil
}

// Mount routes the function.
func (f *Function) Mount(r *api.Router) { r.Handle(routes.GetJobLogs, f.get) }

func (f *Function) get(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return err
	}
	q, err := parseQuery(r.URL.RawQuery, time.Now())
	if err != nil {
		return err
	}
	if acceptsEvents(r.Header) {
		return f.events(w, r, id, q)
	}
	ctx := r.Context()
	// Read before the log is: all of it is there once a job is over, so a phase that is terminal by
	// now holds for the end of the answer as well.
	s, err := f.ledger.Status(ctx, id)
	if err != nil {
		return err
	}
	out := newText(w, q)
	if out.inLine, err = f.inLine(ctx, id, q); err != nil {
		return err
	}
	end := trailers{phase: s.Phase}
	if q.Follow {
		out.begin() // the client is to see that it is connected before the first line comes
		end, err = f.follow(ctx, id, q.Query, out)
	} else {
		end.at, err = f.read(ctx, id, q.Query, out)
	}
	if err != nil && !out.begun {
		return err
	}
	if err != nil {
		api.CutOff(ctx, f.log.With("job", id), err)
	}
	out.begin()
	end.write(w.Header())
	return nil
}

// inLine reports whether an answer whose lines get times begins in the middle of a line that an
// earlier answer has begun.
func (f *Function) inLine(ctx context.Context, id job.ID, q query) (bool, error) {
	if !q.timestamps || q.From == 0 {
		return false, nil
	}
	before, err := f.reader.Before(ctx, id, q.Query)
	return before != '\n', err
}

// read writes the log as it is now.
func (f *Function) read(ctx context.Context, id job.ID, q logstore.Query, out logstore.Sink) (offset int64, err error) {
	offset, err = f.reader.Copy(ctx, id, q, nil, out)
	if err != nil {
		return offset, err
	}
	// While a job is being removed its log becomes shorter.
	_, err = f.ledger.Live(ctx, id)
	return offset, err
}

// follow writes the log until the job is over or gone, or the server stops.
func (f *Function) follow(ctx context.Context, id job.ID, q logstore.Query, out logstore.Sink) (trailers, error) {
	stop, release := f.stop(ctx)
	defer release()
	at, err := f.reader.Copy(ctx, id, q, stop, out)
	if err != nil {
		return trailers{at: at}, err
	}
	s, err := f.ledger.Status(ctx, id)
	if err == nil && attemptOver(s, q.Attempt) {
		// It may have ended since the reader last looked, because the server stops: then there is more.
		at, err = f.read(ctx, id, logstore.Query{Streams: q.Streams, Attempt: q.Attempt, Tail: logstore.All, From: at}, out)
	}
	if errors.Is(err, job.ErrNotFound) {
		return trailers{at: at}, nil // removed while it was followed
	}
	if err != nil {
		return trailers{at: at}, err
	}
	return trailers{phase: s.Phase, status: s, at: at}, nil
}

// stop returns a channel that is closed when a follower is to be sent off, and what to call once it
// has gone.
func (f *Function) stop(ctx context.Context) (stop <-chan struct{}, release func()) {
	if f.FollowTimeout == 0 {
		return api.Stopping(ctx), func() {}
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.FollowTimeout)
	go func() {
		select {
		case <-api.Stopping(ctx):
			cancel()
		case <-limit.Done():
		}
	}()
	return limit.Done(), cancel
}

// trailers say how an answer ends.
type trailers struct {
	phase  job.Phase
	status *job.Status // nil when the job has been removed
	at     int64       // offset in the log
}

func (t trailers) write(h http.Header) {
	h.Set(positionTrailer, strconv.FormatInt(t.at, 10))
	if t.phase != "" {
		h.Set(phaseTrailer, string(t.phase))
	}
}
