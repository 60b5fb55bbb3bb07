// Package version says which version, commit and Go a command was built from.
package version

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// Unknown stands for a value that the build does not have.
const Unknown = "unknown"

// The linker sets these with -ldflags="-X go-job-orchestrator/shared/version.version=v1.2.3". They
// win over what Go finds. They are for builds without a repository, such as one from an archive of
// the source.
var version, commit, date string

// Info is what a command was built from.
type Info struct {
	// Version is the module's version: a tag, or a pseudo-version of the commit. It ends in +dirty
	// when files were changed after the commit.
	Version string
	// Commit is the hash of the commit, and Date its time in RFC 3339. They are Unknown without a
	// repository.
	Commit, Date string
	// Go is the version of Go.
	Go string
}

// Get returns what this command was built from.
var Get = sync.OnceValue(func() Info {
	build, _ := debug.ReadBuildInfo()
	return read(build, Info{Version: version, Commit: commit, Date: date})
})

// read returns the values from the linker, completed by those that Go recorded. build is nil when
// Go recorded nothing.
func read(build *debug.BuildInfo, linked Info) Info {
	noted := map[string]string{}
	var module string
	if build != nil {
		module = build.Main.Version
		for _, s := range build.Settings {
			noted[s.Key] = s.Value
		}
	}
	if module == "(devel)" { // Go's word for a build without a repository
		module = ""
	}
	return Info{
		Version: first(linked.Version, module),
		Commit:  first(linked.Commit, noted["vcs.revision"]),
		Date:    first(linked.Date, noted["vcs.time"]),
		Go:      runtime.Version(),
	}
}

// first returns the first text that is not empty, or Unknown.
func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return Unknown
}

// String is the version for people.
func (i Info) String() string {
	from := "commit " + i.Commit
	if i.Date != Unknown {
		from += " of " + i.Date
	}
	return strings.Join([]string{i.Version, fmt.Sprintf("(%s)", from), i.Go, runtime.GOOS + "/" + runtime.GOARCH}, " ")
}

// LogValue implements slog.LogValuer.
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("version", i.Version), slog.String("commit", i.Commit), slog.String("date", i.Date),
		slog.String("go", i.Go),
	)
}
