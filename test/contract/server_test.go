package contract

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"go-job-orchestrator/functions/agentapi"
	"go-job-orchestrator/functions/all"
	"go-job-orchestrator/functions/artifacts"
	"go-job-orchestrator/functions/cancel"
	"go-job-orchestrator/functions/intake"
	"go-job-orchestrator/functions/keys"
	"go-job-orchestrator/functions/logs"
	"go-job-orchestrator/functions/outputs"
	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/auth"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/guard"
	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/metrics"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/token"
)

// startWait is how long a server may take to start or to stop on a busy machine.
const startWait = time.Minute

// startAll starts the real thing, every function in one process on one port, and returns its URL.
func startAll(t *testing.T, vars map[string]string) string {
	t.Helper()
	env := platform.New(map[string]string{
		"PORT": "0", "STORAGE_DIR": t.TempDir(), "PATH": os.Getenv("PATH"), "HOME": t.TempDir(), "KILL_GRACE": "1s",
		"DRAIN_TIMEOUT": "1s",
	}, slog.New(slog.DiscardHandler))
	for name, value := range vars {
		env.Vars[name] = value
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	greeting, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := all.Run(ctx, env, out)
		out.CloseWithError(io.EOF)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("server ended: %v", err)
			}
		case <-time.After(startWait):
			t.Error("server does not end")
		}
	})
	return "http://127.0.0.1:" + port(t, greeting)
}

// port reads the port from what a server says when it answers.
func port(t *testing.T, greeting *io.PipeReader) string {
	t.Helper()
	defer time.AfterFunc(startWait, func() { greeting.CloseWithError(context.DeadlineExceeded) }).Stop()
	line := make([]byte, 4096)
	n, err := greeting.Read(line)
	if err != nil {
		t.Fatalf("server does not start: %v", err)
	}
	go func() { _, _ = io.Copy(io.Discard, greeting) }()
	found := regexp.MustCompile(`http://localhost:(\d+)`).FindSubmatch(line[:n])
	if found == nil {
		t.Fatalf("no port in %q", line[:n])
	}
	return string(found[1])
}

// functions is every function except launch. So jobs wait for the agent, whose calls the test makes.
type functions struct {
	router  http.Handler
	bucket  *bucket
	keys    token.Keys
	keyring *keyring
	bubble  *testing.T // if set, requests are served where waiting takes no time

	requests int // so far
}

var _ http.RoundTripper = (*functions)(nil)

// identity makes what finds out who calls.
type identity func(f *functions, env *platform.Env) guard.Identify

// byKey is the gateway of one process with AUTH=keys.
func byKey(f *functions, env *platform.Env) guard.Identify {
	return auth.New(auth.Deps{Keys: f.keyring, Log: env.Log, Now: env.Now}).Identify
}

// byNothing is the gateway of one process with AUTH=open.
func byNothing(_ *functions, env *platform.Env) guard.Identify {
	return auth.New(auth.Deps{Open: true, Log: env.Log, Now: env.Now}).Identify
}

// byAssertion is what functions behind front have.
func byAssertion(f *functions, env *platform.Env) guard.Identify {
	return guard.Asserted(f.keys, env.Now)
}

// startFunctions starts the functions as one process has them with AUTH=keys.
func startFunctions(t *testing.T, vars map[string]string, set ...func(*platform.Env)) *functions {
	t.Helper()
	return startIdentified(t, byKey, vars, set...)
}

func startIdentified(
	t *testing.T, who identity, vars map[string]string, set ...func(*platform.Env),
) *functions {
	t.Helper()
	f := &functions{bucket: newBucket()}
	env := platform.New(vars, slog.New(slog.DiscardHandler))
	var err error
	if f.keys, err = token.New(make([]byte, token.MinKeyBytes)); err != nil {
		t.Fatal(err)
	}
	env.SetStore(f.bucket.Store())
	env.SetKeys(f.keys)
	for _, s := range set {
		s(env)
	}
	f.keyring = newKeyring(t, env)
	events := &event.Events{Sink: nowhere{}, Ledger: f.ledger()}
	router := api.NewRouter(env.Log).Guarded(guard.New(guard.Deps{
		Identify: who(f, env), Tokens: f.keys, Owners: events.Ledger, Now: env.Now,
	}))
	for _, function := range opened(t, env, events, f.keyring) {
		function.Mount(router)
	}
	openapi.Mount(router)
	f.router = router
	return f
}

// client is Ann's: a user whose calls have her key.
func (f *functions) client(c *contract) *client {
	return c.client("http://functions", f).with(f.keyring.of[guardmatrix.User])
}

// opened is every function that is part of the API.
func opened(
	t *testing.T, env *platform.Env, events *event.Events, callers keys.Store,
) map[routes.Function]serve.Function {
	t.Helper()
	b := backend.Remote()
	in, err := intake.Open(admission.Deps{Env: env, Events: events, Backend: b.Admission})
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := profile.Open(env)
	if err != nil {
		t.Fatal(err)
	}
	all := map[routes.Function]serve.Function{
		routes.Submit: in.Submit, routes.Templates: in.Templates, routes.Events: in.Events,
		routes.Keys:    keys.New(keys.Deps{Store: callers, Now: env.Now, Random: env.Random, Log: env.Log}),
		routes.Cancel:  cancel.New(cancel.Deps{Env: env, Ledger: events.Ledger, Stopper: b.Stopper}),
		routes.Metrics: metrics.New(),
	}
	for name, open := range map[routes.Function]func() (serve.Function, error){
		routes.Status: func() (serve.Function, error) {
			login := access.LoginSettings{Auth: []string{"keys"}}
			return status.New(status.Deps{Env: env, Profiles: profiles, Login: login.Login(false)})
		},
		routes.Logs: func() (serve.Function, error) { return logs.New(env) },
		routes.Artifacts: func() (serve.Function, error) {
			return artifacts.New(artifacts.Deps{Env: env, Ledger: events.Ledger})
		},
		routes.AgentAPI: func() (serve.Function, error) {
			return agentapi.New(agentapi.Deps{Env: env, Ledger: events.Ledger})
		},
		routes.Outputs: func() (serve.Function, error) { return outputs.New(env) },
	} {
		function, err := open()
		if err != nil {
			t.Fatal(err)
		}
		all[name] = function
	}
	return all
}

// nowhere is a sink that loses events. Requests are sent from inside and from outside of a bubble
// of synctest, which the sinks of a process would not allow.
type nowhere struct{}

var _ event.Sink = nowhere{}

// Send implements event.Sink.
func (nowhere) Send(context.Context, ce.Event) error { return nil }

// ledger reads and writes the records in the bucket beside the functions under test.
func (f *functions) ledger() *ledger.Ledger { return ledger.New(f.bucket.Store(), time.Now) }

// agent is the token in the pod of a job.
func (f *functions) agent(id job.ID) option { return bearer(f.keys.Derive(token.Agent, id)) }

// RoundTrip implements http.RoundTripper.
func (f *functions) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	// Each request is from another address, because an address may have few failed logins.
	r = r.Clone(r.Context())
	r.RemoteAddr = fmt.Sprintf("[2001:db8:%x:%x::1]:1", f.requests>>16, f.requests&0xffff)
	f.requests++
	if f.bubble == nil {
		f.router.ServeHTTP(w, r)
	} else {
		synctest.Test(f.bubble, func(t *testing.T) { f.router.ServeHTTP(w, r.WithContext(t.Context())) })
	}
	got := w.Result() //nolint:bodyclose // whoever called does
	if r.Method == http.MethodHead {
		got.Body = http.NoBody
	}
	return got, nil
}
