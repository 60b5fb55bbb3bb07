package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/reload"
)

// Settings say where the profiles are.
type Settings struct {
	// File is the document of the profiles; empty: there are none.
	File string `env:"PROFILES_FILE"`
}

// Check finds faults that Parse does not know of. Their fields are paths in the document.
type Check func(*Set) []job.Fault

// File is the profiles in a file, which may be part of a mounted ConfigMap. It is read again when it
// has changed. While its content is faulty the profiles stay as they are. A nil File has no profiles.
type File struct {
	reloaded *reload.File[*Set]

	mu     sync.Mutex
	checks []Check
}

// Open reads the file that the settings name. The error has all faults, also those that the checks
// find.
func Open(env *platform.Env, checks ...Check) (*File, error) {
	var s Settings
	if err := env.Load(&s); err != nil {
		return nil, err
	}
	if s.File == "" {
		return &File{}, nil
	}
	switch _, err := os.Stat(s.File); {
	case errors.Is(err, fs.ErrNotExist) && isFolder(filepath.Dir(s.File)): // a ConfigMap that may be missing
		env.Log.Warn("there are no profiles, because there is no such file yet", "PROFILES_FILE", s.File)
	case err != nil:
		return nil, fmt.Errorf("PROFILES_FILE: %w", err)
	}
	f := &File{checks: checks}
	var err error
	f.reloaded, err = reload.Open(reload.Config[*Set]{
		What: "profiles", Path: s.File, Limit: maxBytes, Parse: f.parse, Now: env.Now, Log: env.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("PROFILES_FILE: %w", err)
	}
	return f, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Current returns the profiles, which must not be changed.
func (f *File) Current() *Set {
	if f == nil || f.reloaded == nil {
		return &Set{}
	}
	return f.reloaded.Current()
}

// Require adds a check, and returns the faults that it finds now. When the file changes it is made
// again.
func (f *File) Require(check Check) error {
	if f == nil || f.reloaded == nil {
		return nil
	}
	f.mu.Lock()
	f.checks = append(f.checks, check)
	f.mu.Unlock()
	if list := check(f.Current()); len(list) > 0 {
		return fmt.Errorf("PROFILES_FILE: %w", &job.Faults{Kind: job.ErrInvalid, List: list})
	}
	return nil
}

// parse parses a document, and makes all checks.
func (f *File) parse(document []byte) (*Set, error) {
	s, err := Parse(document)
	faults := &job.Faults{Kind: job.ErrInvalid}
	if err != nil && !errors.As(err, &faults) {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, check := range f.checks {
		faults.List = append(faults.List, check(s)...)
	}
	if len(faults.List) > 0 {
		return nil, faults
	}
	return s, nil
}
