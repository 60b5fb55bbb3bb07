// Package front is the one public URL when each function is a service of its own. It passes each
// request that the table of routes calls public to its function, and streams the answer back.
package front

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/metrics"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/page"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/settings"
	"go-job-orchestrator/shared/token"
	"go-job-orchestrator/shared/wakeup"
)

// Settings say where the functions are. The default of each is the Service with the function's name
// in this namespace.
type Settings struct {
	Submit    string `env:"SUBMIT_URL"`
	Status    string `env:"STATUS_URL"`
	Logs      string `env:"LOGS_URL"`
	Artifacts string `env:"ARTIFACTS_URL"`
	Outputs   string `env:"OUTPUTS_URL"`
	Cancel    string `env:"CANCEL_URL"`
	Keys      string `env:"KEYS_URL"`
	// ExposeUploads passes on all calls of agents, because uploads alone would be of no use. Agents in
	// the cluster use ARTIFACTS_URL instead.
	ExposeUploads bool `env:"EXPOSE_ARTIFACT_UPLOADS" envDefault:"false"`
}

// Backends are the URLs of the functions behind the front.
type Backends map[routes.Function]*url.URL

// Function passes requests to the functions behind it.
type Function struct {
	backends  Backends
	reach     []routes.Reach // which calls it passes on
	guard     api.Guard
	browsers  page.Sessions
	metrics   *metrics.Registry
	tokens    token.Keys
	now       func() time.Time
	transport http.RoundTripper
	log       *slog.Logger
}

// Open returns the function with the settings in env.
func Open(env *settings.Env) (*Function, error) {
	var s Settings
	err := env.Load(&s)
	common, commonErr := env.Common()
	tokens, tokensErr := env.Keys()
	gateway, gatewayErr := auth.Open(env, auth.Place{})
	next, nextErr := wakeup.Open(env)
	if err := errors.Join(err, commonErr, nextErr); err != nil {
		return nil, err
	}
	b, err := s.backends(common.Namespace)
	if err := errors.Join(err, tokensErr, gatewayErr); err != nil {
		return nil, err
	}
	next.Wake() // this process starts because of a request, mostly one for a job
	reach := []routes.Reach{routes.Public}
	if s.ExposeUploads { // the calls of agents
		reach = append(reach, routes.Pods)
	}
	return &Function{
		backends: b, reach: reach, browsers: gateway, metrics: metrics.New(), tokens: tokens, now: env.Now,
		transport: newTransport(), log: env.Log,
		// Whose a job is, the function knows that has the records.
		guard: guard.New(guard.Deps{Identify: gateway.Identify, Tokens: tokens, Now: env.Now}),
	}, nil
}

func (s *Settings) backends(namespace string) (Backends, error) {
	var errs []error
	b := Backends{}
	for _, one := range []struct {
		function routes.Function
		value    string
	}{
		{routes.Submit, s.Submit},
		{routes.Status, s.Status},
		{routes.Logs, s.Logs},
		{routes.Artifacts, s.Artifacts},
		{routes.Outputs, s.Outputs},
		{routes.Cancel, s.Cancel},
		{routes.Keys, s.Keys},
	} {
		if one.value == "" {
			one.value = fmt.Sprintf("http://%s.%s.svc.cluster.local", one.function, namespace)
		}
		u, err := parse(one.value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s_URL: %w", strings.ToUpper(string(one.function)), err))
		}
		b[one.function] = u
	}
	return b, errors.Join(errs...)
}

// parse reads the URL of a function. The URL must not have a path, because a function answers only
// at its own paths.
func parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL", raw)
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" ||
		bare.String() != u.String() {
		return nil, fmt.Errorf("%q is not the URL of a service, such as http://submit.jobs.svc.cluster.local", raw)
	}
	u.Path = ""
	return u, nil
}

// Mount routes the function. It uses the same methods and paths as the functions themselves, so
// that Allow is the same.
func (f *Function) Mount(r *api.Router) {
	r.Guarded(f.guard).Measured(f.metrics.Requests).PassesOn()
	openapi.Mount(r)
	page.Mount(r, f.browsers)
	f.metrics.Mount(r)
	proxies := map[routes.Function]*httputil.ReverseProxy{}
	for function, to := range f.backends {
		proxies[function] = f.proxy(to)
	}
	for _, one := range routes.All() {
		proxy, passed := proxies[one.Function.Service()]
		if !passed || !slices.Contains(f.reach, one.Reach) {
			continue
		}
		r.Handle(one, func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
			if err := checkPath(r.URL.Path); err != nil {
				return err
			}
			if one.Role == routes.Anyone { // nobody looks at credentials, so the function gets none
				r.Header.Del("Authorization")
			}
			pass(proxy, w, r)
			return nil
		})
	}
}

// checkPath refuses paths that a server between front and the function might clean, so that the
// function would see a different path from the one that was checked. No valid name contains such
// parts.
func checkPath(path string) error {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return api.BadRequest("path", `must not have empty segments, or the segments "." and ".."`)
		}
	}
	return nil
}

// proxy passes requests on to one function.
func (f *Function) proxy(to *url.URL) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { f.rewrite(r, to) },
		Transport:      f.transport,
		FlushInterval:  -1, // flush at once, because logs are followed line by line
		ModifyResponse: known,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request,
			err error) {
			api.WriteError(w, r, f.log, explain(r, err))
		},
		ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelWarn),
	}
}

func (f *Function) rewrite(r *httputil.ProxyRequest, to *url.URL) {
	r.SetURL(to)                           // it sets the Host too, by which Knative finds the service
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also if it is malformed: the function reports that
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	r.SetXForwarded()
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, found := r.In.Header[name]; found { // the ingress in front of this proxy has set it
			r.Out.Header[name] = values
		}
	}
	// The gate has checked these headers of browsers already, against the Host that the browser sent.
	// The function sees a different Host.
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		r.Out.Header.Del(name)
	}
	r.Out.Header.Del("Connection") // the functions do not upgrade to other protocols
	r.Out.Header.Del("Upgrade")
	r.Out.Header.Del("Cookie") // the session of a browser is for the gateway alone
	f.assert(r)
}

// assert tells the function who calls. It does not see the caller's own credentials.
func (f *Function) assert(r *httputil.ProxyRequest) {
	r.Out.Header.Del(access.AssertionHeader)
	c, called := access.From(r.In.Context())
	if !called {
		return
	}
	if c.Via != access.Open { // else it is the token of a job
		r.Out.Header.Del("Authorization")
	}
	if err := access.Assert(r.Out, c, f.tokens, f.now()); err != nil {
		f.log.ErrorContext(r.In.Context(), "caller not asserted", "error", err)
	}
}

// The transport's limits. There is no limit for the begin of an answer, because it begins only
// after an upload, and a function that was scaled to zero has to start first.
const (
	dialTimeout = 10 * time.Second
	maxIdle     = 64
	// shorter than that of the server, which could otherwise close a connection just when it is used
	idleTimeout     = 30 * time.Second
	maxHeader       = 256 << 10
	continueTimeout = 10 * time.Second // for a function to start; then the body is sent without 100 Continue
)

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost:   maxIdle,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: continueTimeout,
		DisableCompression:    true, // bytes pass unchanged

		MaxResponseHeaderBytes: maxHeader,
	}
}
