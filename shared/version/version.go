// Package version says what a command was built from.
package version

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// Unknown stands for what a build does not know of itself.
const Unknown = "unknown"

// What the linker writes, -ldflags="-X go-job-orchestrator/shared/version.version=v1.2.3", counts
// before what Go finds. It is for builds that see no repository, such as one from an archive of the
// source.
var version, commit, date string

// Info is what a command was built from.
type Info struct {
	// Version is that of the module: a tag, or a pseudo-version of the commit. It ends in +dirty when
	// files were changed.
	Version string
	// Commit is the commit's hash, Date its time in RFC 3339; Unknown without a repository.
	Commit, Date string
	// Go is the version of Go.
	Go string
}

// Get returns what this command was built from.
var Get = sync.OnceValue(func() Info {
	build, _ := debug.ReadBuildInfo()
	return read(build, Info{Version: version, Commit: commit, Date: date})
})

// read returns what the linker wrote, completed by what Go noted; build is nil when it noted
// nothing.
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
