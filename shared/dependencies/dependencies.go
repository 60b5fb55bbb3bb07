// Package dependencies finds out which packages a project needs: what its requirements, locks and
// inline metadata mean for the installer, and by which key the installed trees are cached.
package dependencies

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/settings"
)

// Mode says what is done about the packages that projects name.
type Mode string

// The modes.
const (
	Online  Mode = "online"  // they are installed from package indexes
	Offline Mode = "offline" // they come from the cache and the wheelhouse
	Off     Mode = "off"     // they are not installed
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	switch Mode(text) {
	case Online, Offline, Off:
		*m = Mode(text)
		return nil
	}
	return fmt.Errorf("%q is none of online, offline, off", text)
}

// Settings say how packages are installed.
type Settings struct {
	Mode    Mode          `env:"DEPENDENCIES" envDefault:"online"`
	Timeout time.Duration `env:"PREPARE_TIMEOUT" envDefault:"15m"`
	// Cache bounds the installed trees that are kept; 0: none are.
	Cache settings.Size `env:"DEPENDENCY_CACHE_BYTES" envDefault:"10Gi"`
	// Wheelhouse is a folder of wheels, where programs run.
	Wheelhouse string `env:"WHEELHOUSE_DIR"`
	Indexes
}

// Indexes are where packages come from. They may hold credentials.
type Indexes struct {
	Python      string   `env:"PIP_INDEX_URL"`
	PythonExtra []string `env:"PIP_EXTRA_INDEX_URL" envSeparator:" "`
	Node        string   `env:"NPM_CONFIG_REGISTRY"`
	NodeToken   string   `env:"NPM_AUTH_TOKEN"`
	Netrc       string   `env:"NETRC_FILE"`
}

// Check finds settings with which nothing could be installed.
func (s *Settings) Check() error {
	err := settings.CheckDurations(
		settings.Duration{Name: "PREPARE_TIMEOUT", Value: s.Timeout, Min: time.Second, Max: 24 * time.Hour},
	)
	if s.Wheelhouse != "" && !path.IsAbs(s.Wheelhouse) {
		err = errors.Join(err, fmt.Errorf("WHEELHOUSE_DIR: %q is not an absolute path", s.Wheelhouse))
	}
	return err
}

// Plan returns what is to be installed for the sources, or nil for nothing. An error of kind
// job.ErrInvalid says what is wrong with them.
func (s *Settings) Plan(in *prepare.Sources) (*prepare.Plan, error) {
	if s.Mode == Off {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	plan, err := read(in)
	if err != nil || plan == nil {
		return nil, err
	}
	plan.Runtime, plan.Timeout = in.Runtime, s.Timeout
	plan.Offline = s.Mode == Offline
	if plan.Offline {
		plan.Wheelhouse = s.Wheelhouse
	}
	plan.Digest = s.digest(in, plan)
	return plan, nil
}

// read finds out what the sources mean.
func read(in *prepare.Sources) (*prepare.Plan, error) {
	switch in.Runtime {
	case "python":
		return readPython(in)
	case "node":
		return readNode(in)
	}
	return nil, nil //nolint:nilnil // nothing is to be installed
}

// digest is over all that decides what gets installed, but for the interpreter.
func (s *Settings) digest(in *prepare.Sources, plan *prepare.Plan) string {
	hash := sha256.New()
	put := func(text string) { fmt.Fprintf(hash, "%d %s\n", len(text), text) }
	put(plan.From)
	put(plan.Folder)
	for _, name := range slices.Sorted(maps.Keys(in.Files)) {
		put(name)
		put(string(in.Files[name]))
	}
	switch in.Runtime {
	case "node":
		put(withoutUser(s.Node))
	default:
		for _, url := range append([]string{s.Python}, s.PythonExtra...) {
			put(withoutUser(url))
		}
	}
	if usesProject(in) {
		put(in.Project)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// withoutUser returns a URL without credentials: new ones do not change what is installed.
func withoutUser(url string) string {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		return url
	}
	host, tail, slash := strings.Cut(rest, "/")
	host = host[strings.LastIndexByte(host, '@')+1:]
	if slash {
		tail = "/" + tail
	}
	return scheme + "://" + host + tail
}
