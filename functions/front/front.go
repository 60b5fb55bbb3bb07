// Package front is the one public URL of the functions when each is a service of its own: it passes
// each request that the table of routes calls public on to the function that answers it, and its
// answer back, byte by byte as they come.
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

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
)

// Settings say where the functions are. What is not set is the Service of that name in this
// namespace.
type Settings struct {
	Submit    string `env:"SUBMIT_URL"`
	Status    string `env:"STATUS_URL"`
	Logs      string `env:"LOGS_URL"`
	Artifacts string `env:"ARTIFACTS_URL"`
	Outputs   string `env:"OUTPUTS_URL"`
	Cancel    string `env:"CANCEL_URL"`
	// ExposeUploads lets agents call through here: an upload is of no use without the other calls.
	// Those in the cluster have ARTIFACTS_URL.
	ExposeUploads bool `env:"EXPOSE_ARTIFACT_UPLOADS" envDefault:"false"`
}

// Backends are the URLs of the functions behind.
type Backends map[routes.Function]*url.URL

// Function answers what the functions behind it answer.
type Function struct {
	backends  Backends
	reach     []routes.Reach // of the calls that it passes on
	transport http.RoundTripper
	log       *slog.Logger
}

// New returns the function. Without exposeUploads it does not pass on the agents' calls.
func New(b Backends, exposeUploads bool, log *slog.Logger) *Function {
	reach := []routes.Reach{routes.Public}
	if exposeUploads {
		reach = append(reach, routes.Pods)
	}
	return &Function{backends: b, reach: reach, transport: newTransport(), log: log}
}

// Open returns the function with what env has.
func Open(env *platform.Env) (*Function, error) {
	var s Settings
	err := env.Load(&s)
	common, commonErr := env.Common()
	if err := errors.Join(err, commonErr); err != nil {
		return nil, err
	}
	b, err := s.backends(common.Namespace)
	if err != nil {
		return nil, err
	}
	return New(b, s.ExposeUploads, env.Log), nil
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

// parse reads the URL of a function. It has no path: the functions know only their own.
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

// Mount routes the function. Methods and paths are those of the functions' own Mount, so that Allow
// says here what it says there.
func (f *Function) Mount(r *api.Router) {
	openapi.Mount(r)
	proxies := map[routes.Function]*httputil.ReverseProxy{}
	for function, to := range f.backends {
		proxies[function] = f.proxy(to)
	}
	for _, one := range routes.All() {
		if one.Function == routes.Every || !slices.Contains(f.reach, one.Reach) {
			continue
		}
		proxy := proxies[one.Function.Service()]
		r.Handle(one, func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
			if err := checkPath(r.URL.Path); err != nil {
				return err
			}
			pass(proxy, w, r)
			return nil
		})
	}
}

// checkPath refuses what a server between here and the function might tidy into another path than
// the one that was looked up. No name of ours needs it.
func checkPath(path string) error {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return api.BadRequest("path", `must not have empty parts, nor the parts "." and ".."`)
		}
	}
	return nil
}

// proxy passes requests on to one function.
func (f *Function) proxy(to *url.URL) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { rewrite(r, to) },
		Transport:      f.transport,
		FlushInterval:  -1, // at once: a log is followed line by line
		ModifyResponse: known,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request,
			err error) {
			api.WriteError(w, r, f.log, explain(r, err))
		},
		ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelWarn),
	}
}

func rewrite(r *httputil.ProxyRequest, to *url.URL) {
	r.SetURL(to)                           // and with it the Host, by which Knative finds the service
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also what is no query: the function says what is wrong with it
	r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	r.SetXForwarded()
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, found := r.In.Header[name]; found { // what the ingress before us knows
			r.Out.Header[name] = values
		}
	}
	// What a browser says of a page was judged here, by the Host that the page knows; the function
	// gets another.
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		r.Out.Header.Del(name)
	}
	r.Out.Header.Del("Connection") // nothing behind speaks another protocol
	r.Out.Header.Del("Upgrade")
}

// The transport's limits. There is none for an answer to begin: it begins when an upload is over,
// and a function that was scaled to zero has to start.
const (
	dialTimeout = 10 * time.Second
	maxIdle     = 64
	// shorter than that of what listens, which would close a connection just when it is used
	idleTimeout     = 30 * time.Second
	maxHeader       = 256 << 10
	continueTimeout = 10 * time.Second // as long as a function may take to start; then the body is sent unasked
)

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost:   maxIdle,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: continueTimeout,
		DisableCompression:    true, // bytes pass as they are

		MaxResponseHeaderBytes: maxHeader,
	}
}
