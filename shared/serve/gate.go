package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/longpoll"
	"go-job-orchestrator/shared/origin"
	"go-job-orchestrator/shared/settings"
)

// Settings say who is answered, and bound what clients can have of any function that is served.
type Settings struct {
	// AllowedHosts are names by which the server is reached, besides those it knows itself.
	AllowedHosts []string `env:"ALLOWED_HOSTS"`
	// Origins are the other sites whose pages may use the API.
	Origins []string `env:"CORS_ORIGINS"`
	// Service is set by Knative: the name of the Service that this is.
	Service        string `env:"K_SERVICE"`
	MaxConnections uint16 `env:"MAX_CONNECTIONS" envDefault:"1024"`
	// MaxBuffered is the memory that all requests share for what does not stream; 0: a quarter of
	// GOMEMLIMIT, or defaultBuffered.
	MaxBuffered settings.Size `env:"MAX_BUFFERED_BYTES"`
	// StallTimeout is how long a client may keep the server waiting for the next piece of a request,
	// or for taking the next one of an answer.
	StallTimeout time.Duration `env:"STALL_TIMEOUT" envDefault:"1m"`
}

// The bounds of Settings, and what holds without them.
const (
	minConnections  = 16
	minBuffered     = 4 << 20
	defaultBuffered = 64 << 20
	// Uploads to the bucket of a cloud take half of GOMEMLIMIT; the rest is the garbage collector's.
	bufferedShare = 4
)

// Check finds settings with which nobody would be answered.
func (s *Settings) Check() error {
	var errs []error
	if s.MaxConnections < minConnections {
		errs = append(errs, fmt.Errorf("MAX_CONNECTIONS: %d is too few; set at least %d", s.MaxConnections, minConnections))
	}
	if s.MaxBuffered != 0 && s.MaxBuffered < minBuffered {
		errs = append(errs, fmt.Errorf("MAX_BUFFERED_BYTES: %d is too little; set at least 4Mi, or leave it out",
			s.MaxBuffered))
	}
	errs = append(errs, settings.CheckDurations(settings.Duration{Name: "STALL_TIMEOUT", Value: s.StallTimeout,
		Min: time.Second, Max: time.Hour}))
	_, namesErr := origin.NewNames(origin.Config{Allowed: s.AllowedHosts})
	_, sitesErr := origin.NewSites(s.Origins)
	return errors.Join(append(errs, namesErr, sitesErr)...)
}

// buffered is what all requests share where the process has so much memory.
func (s *Settings) buffered(memory int64) int64 {
	switch {
	case s.MaxBuffered > 0:
		return int64(s.MaxBuffered)
	case memory == math.MaxInt64: // no limit
		return defaultBuffered
	}
	return max(memory/bufferedShare, minBuffered)
}

// Gate is what every request passes before a function has it.
type Gate struct {
	settings Settings
	names    *origin.Names
	sites    *origin.Sites
	budget   *budget.Budget
	log      *slog.Logger
}

// OpenGate returns the gate with what env has.
func OpenGate(env *settings.Env) (*Gate, error) {
	g := &Gate{log: env.Log}
	common, err := env.Common()
	if err := errors.Join(env.Load(&g.settings), err); err != nil {
		return nil, err
	}
	c := origin.Config{Allowed: g.settings.AllowedHosts, BaseURL: common.BaseURL}
	if g.settings.Service != "" {
		c.Service, c.Namespace = g.settings.Service, common.Namespace
		c.Addresses = ownAddresses() // Knative's proxy beside the function passes on what comes to the pod's
	}
	if g.names, err = origin.NewNames(c); err != nil {
		return nil, err
	}
	if g.sites, err = origin.NewSites(g.settings.Origins); err != nil {
		return nil, err
	}
	g.budget = budget.New(g.settings.buffered(debug.SetMemoryLimit(-1)))
	return g, nil
}

// ownAddresses are those of this machine or pod.
func ownAddresses() []netip.Addr {
	found, err := net.InterfaceAddrs()
	if err != nil { // then it is not reached by its address
		return nil
	}
	var list []netip.Addr
	for _, a := range found {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p.Addr())
		}
	}
	return list
}

// MaxConnections is how many clients can be connected at a time.
func (g *Gate) MaxConnections() int { return int(g.settings.MaxConnections) }

// Handler answers requests; api.Router is one.
type Handler interface {
	http.Handler
	// Handles reports whether there is a call of that method and path.
	Handles(method, path string) bool
}

// Before returns a handler that passes on to h what may come in, with bounds on time and memory.
func (g *Gate) Before(h Handler) http.Handler {
	permitted := g.sites.Before(g.bounded(h), h.Handles)
	return api.Paced(origin.Guard(g.names, g.sites, permitted, g.log), g.settings.StallTimeout)
}

// bounded refuses what h cannot take.
func (g *Gate) bounded(h http.Handler) http.Handler {
	requests := make(chan struct{}, g.settings.MaxConnections) // a server that is not ours has no bound on connections
	longLived := make(chan struct{}, longLivedShare*int(g.settings.MaxConnections)/longLivedOf)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if coding := r.Header.Get("Content-Encoding"); r.ContentLength != 0 && coding != "" &&
			!strings.EqualFold(coding, "identity") {
			api.WriteError(w, r, g.log, api.Fail(http.StatusUnsupportedMediaType, "Content-Encoding: send the body as it is, "+
				"not compressed."))
			return
		}
		select {
		case requests <- struct{}{}:
			defer func() { <-requests }()
		default:
			api.WriteError(w, r, g.log, job.Refuse(job.ErrUnavailable, "", "there are too many requests (MAX_CONNECTIONS); "+
				"try again in a few seconds"))
			return
		}
		if IsLongLived(r) {
			select {
			case longLived <- struct{}{}:
				defer func() { <-longLived }()
			default:
				api.WriteError(w, r, g.log, job.Refuse(job.ErrUnavailable, "", "too many clients follow logs and wait for jobs "+
					"(MAX_CONNECTIONS); ask again in a few seconds, without waiting"))
				return
			}
		}
		ctx, end := g.budget.Open(r.Context())
		defer end()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Those who wait for something get so much of all connections: a job that does not end could have
// followers for all of them.
const (
	longLivedShare = 3
	longLivedOf    = 4
)

// IsLongLived reports whether a request asks for an answer that takes as long as a job: a log that is
// followed, its events, a wait.
func IsLongLived(r *http.Request) bool {
	if wait, _ := longpoll.Preferred(r.Header); wait > 0 {
		return true
	}
	if r.Method != http.MethodGet {
		return false
	}
	follow := r.URL.Query()["follow"]
	// A log as server-sent events is followed unless the request says otherwise.
	events := strings.Contains(r.Header.Get("Accept"), "text/event-stream") && !slices.Contains(follow, "false")
	return strings.HasSuffix(r.URL.Path, "/events") || events || slices.Contains(follow, "true")
}
