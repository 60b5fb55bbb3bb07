// Package settings is what every process is given to stand on: its settings, its log, its clock and
// the keys of tokens. Package platform adds the bucket, which not every process has.
package settings

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caarlos0/env/v11"

	"go-job-orchestrator/shared/audit"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// Env is where a function runs. Its parts can be set before the functions are opened; those that
// are not set are made from the settings.
type Env struct {
	Vars   map[string]string // the settings: environment variables
	Log    *slog.Logger
	Now    func() time.Time
	Random io.Reader
	// AuditSink takes the records of calls; nil: they are in the log alone. event.Open sets it.
	AuditSink audit.Sink

	mu     sync.Mutex
	common *Common
	keys   *token.Keys
	drains []func()
}

// Common is the settings that several functions share.
type Common struct {
	Port       uint16 `env:"PORT" envDefault:"8080"`
	Namespace  string `env:"NAMESPACE"`
	BaseURL    string `env:"ORCH_BASE_URL" envDefault:"http://job-orchestrator:8080"`
	StorageDir string `env:"STORAGE_DIR" envDefault:"/data"`
	// StorageURL is the bucket, in the words of package drivers; without it everything is stored in
	// StorageDir.
	StorageURL string `env:"STORAGE_URL"`
	// SignedURLs is how long the URLs of the bucket are valid that clients and pods get to move bytes
	// past the functions; 0: they get none.
	SignedURLs time.Duration `env:"SIGNED_URL_TTL" envDefault:"0s"`
	TokenKeys  string        `env:"TOKEN_KEYS"`
	Sink       string        `env:"K_SINK"`
	// Collector is where numbers and spans of jobs are sent, by OTLP. Functions that record jobs leave
	// entries for who sends them.
	Collector string `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
}

// The bounds of SIGNED_URL_TTL: a large file takes a while to ask for, and a week is the most that
// S3 and Google sign for.
const (
	minSigned = time.Minute
	maxSigned = 7 * 24 * time.Hour
)

// Check implements Checker.
func (c *Common) Check() error {
	err := CheckCollector("OTEL_EXPORTER_OTLP_ENDPOINT", c.Collector)
	if c.SignedURLs != 0 && (c.SignedURLs < minSigned || c.SignedURLs > maxSigned) {
		err = errors.Join(err, fmt.Errorf("SIGNED_URL_TTL: %s is not a time for which a URL can be valid; set from 1m to "+
			"168h, or 0s for none", c.SignedURLs))
	}
	return err
}

// CheckCollector refuses a setting that is not the URL of a collector. Without a scheme an exporter would
// send to another place, and say so nowhere.
func CheckCollector(name, value string) error {
	u, err := url.Parse(value)
	if value != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("%s: %q is not the URL of a collector, such as http://localhost:4318", name, value)
	}
	return nil
}

// New returns an Env with the given settings, which logs to log.
func New(vars map[string]string, log *slog.Logger) *Env {
	return &Env{Vars: vars, Log: log, Now: time.Now, Random: rand.Reader}
}

// OSVars returns the environment of this process.
func OSVars() map[string]string { return env.ToMap(os.Environ()) }

// Checker is settings of which not every value makes sense. Load has them checked.
type Checker interface {
	// Check names every setting at fault.
	Check() error
}

// Load reads settings into a struct with tags of github.com/caarlos0/env. The error names every
// setting at fault.
func (e *Env) Load(into any) error {
	err := env.ParseWithOptions(into, env.Options{Environment: e.Vars})
	var all env.AggregateError
	if err != nil && !errors.As(err, &all) {
		return err
	}
	messages := make([]string, len(all.Errors))
	for i, one := range all.Errors {
		messages[i] = describe(one, into)
	}
	messages = append(messages, check(into, messages)...)
	if len(messages) == 0 {
		return nil
	}
	return fmt.Errorf("settings: %s", strings.Join(messages, "; "))
}

// check returns what the settings' own check finds, but for settings that have no value because it
// could not be read.
func check(settings any, unread []string) []string {
	c, ok := settings.(Checker)
	if !ok {
		return nil
	}
	err := c.Check()
	if err == nil {
		return nil
	}
	return slices.DeleteFunc(strings.Split(err.Error(), "\n"), func(line string) bool {
		names, _, _ := strings.Cut(line, ":")
		return slices.ContainsFunc(unread, func(message string) bool {
			name, _, _ := strings.Cut(message, ":")
			return strings.Contains(names, name)
		})
	})
}

// describe says what is wrong with a setting by the name its user knows, which is not that of the
// field.
func describe(err error, into any) string {
	var parse env.ParseError
	if errors.As(err, &parse) {
		if f, ok := reflect.TypeOf(into).Elem().FieldByName(parse.Name); ok {
			name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
			return name + ": " + plain(parse.Err)
		}
	}
	return strings.TrimPrefix(err.Error(), "env: ")
}

// plain says what is wrong with a number in words of its user, not of package strconv.
func plain(err error) string {
	var number *strconv.NumError
	switch {
	case errors.As(err, &number) && errors.Is(err, strconv.ErrRange):
		return fmt.Sprintf("%q is out of range", number.Num)
	case errors.As(err, &number):
		return fmt.Sprintf("%q is not a whole number from 0 on", number.Num)
	}
	return err.Error()
}

// Common returns the shared settings.
func (e *Env) Common() (*Common, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.loadCommon()
}

func (e *Env) loadCommon() (*Common, error) {
	if e.common != nil {
		return e.common, nil
	}
	var c Common
	if err := e.Load(&c); err != nil {
		return nil, err
	}
	if c.Namespace == "" {
		c.Namespace = podNamespace()
	}
	e.common = &c
	return e.common, nil
}

// podNamespace is the namespace of the pod this runs in, or "default".
func podNamespace() string {
	name, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil || len(name) == 0 {
		return "default"
	}
	return strings.TrimSpace(string(name))
}

// Keys returns the keys of tokens.
func (e *Env) Keys() (token.Keys, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.keys != nil {
		return *e.keys, nil
	}
	c, err := e.loadCommon()
	if err != nil {
		return token.Keys{}, err
	}
	if c.TokenKeys == "" {
		return token.Keys{}, errors.New("TOKEN_KEYS is required: base64 of 32 random bytes (head -c 32 /dev/urandom | " +
			"base64), several separated by commas")
	}
	keys, err := token.Parse(c.TokenKeys)
	if err != nil {
		return token.Keys{}, fmt.Errorf("TOKEN_KEYS: %w", err)
	}
	e.keys = &keys
	return keys, nil
}

// SetKeys makes all functions use k.
func (e *Env) SetKeys(k token.Keys) { e.keys = &k }

// OnDrain has f called before the process ends, after those that were given later.
func (e *Env) OnDrain(f func()) { e.drains = append(e.drains, f) }

// Audit returns the log of calls.
func (e *Env) Audit() *audit.Log { return audit.New(e.Log, e.AuditSink, e.Now) }

// Drain calls what OnDrain was given.
func (e *Env) Drain() {
	for _, f := range slices.Backward(e.drains) {
		f()
	}
}

// Size is a setting in bytes, written as a Kubernetes quantity such as 512Mi or 10Gi.
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	n, message := job.Size(string(text))
	if message != "" {
		return errors.New(message)
	}
	if n < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*s = Size(n)
	return nil
}
