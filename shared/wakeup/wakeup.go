// Package wakeup starts the functions that a request will need next, while the function that has the
// request still works. On Knative a function that nobody calls has no pod, and the first request to
// it waits until there is one: functions that call each other would start one after another.
package wakeup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/shared/settings"
)

// Settings say which functions are started.
type Settings struct {
	// Services are names of Knative Services of this namespace, or URLs.
	Services []string `env:"WAKE" envSeparator:","`
}

// Check implements settings.Checker.
func (s *Settings) Check() error {
	var errs []error
	for _, service := range s.Services {
		if _, err := address(service, "namespace"); err != nil {
			errs = append(errs, fmt.Errorf("WAKE: %w", err))
		}
	}
	return errors.Join(errs...)
}

// address returns the URL that is asked.
func address(service, namespace string) (string, error) {
	if !strings.Contains(service, "/") {
		service = "http://" + service + "." + namespace + ".svc.cluster.local"
	}
	u, err := url.Parse(service)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is neither the name of a Knative Service nor a URL", service)
	}
	return u.JoinPath("healthz").String(), nil
}

const (
	// every is how often functions are called at most. They keep their pods for a minute at least.
	every = 20 * time.Second
	// patience bounds a call. What takes longer to start is needed by then, and called anyway.
	patience = 15 * time.Second
)

// Waker starts functions. Nil starts none.
type Waker struct {
	urls   []string
	client *http.Client
	now    func() time.Time
	log    *slog.Logger

	mu   sync.Mutex
	last time.Time
}

// Open returns a Waker of the functions that the settings name.
func Open(env *settings.Env) (*Waker, error) {
	var s Settings
	err := env.Load(&s)
	common, commonErr := env.Common()
	if err := errors.Join(err, commonErr); err != nil {
		return nil, err
	}
	w := &Waker{client: &http.Client{Timeout: patience}, now: env.Now, log: env.Log}
	for _, service := range s.Services {
		at, err := address(service, common.Namespace)
		if err != nil {
			return nil, fmt.Errorf("WAKE: %w", err)
		}
		w.urls = append(w.urls, at)
	}
	return w, nil
}

// Wake calls the functions and does not wait for them. It calls them again only after a while, so it
// may be called for each request. A call that fails is no fault: whoever needs the function calls it
// as well, and waits.
func (w *Waker) Wake() {
	if w == nil || len(w.urls) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if !w.last.IsZero() && now.Sub(w.last) < every {
		return
	}
	w.last = now
	for _, at := range w.urls {
		go w.call(at)
	}
}

// agent tells the calls of a Waker from the probes of Knative.
const agent = "go-job-orchestrator-wakeup"

// IsCall reports whether a request was sent to start the function that has it.
func IsCall(r *http.Request) bool { return r.UserAgent() == agent }

func (w *Waker) call(at string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		w.log.Warn("function not woken", "url", at, "error", err)
		return
	}
	request.Header.Set("User-Agent", agent)
	response, err := w.client.Do(request)
	if err != nil {
		w.log.Debug("function not woken", "url", at, "error", err)
		return
	}
	response.Body.Close()
}
