package dependencies

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
)

// requirement is one package of a lock, in the words of pip.
type requirement struct {
	name, version string
	// from is where the package lies, if not in an index: a URL or a folder.
	from   string
	marker string
	hashes []string
}

func (r requirement) line(hashed bool) string {
	text := r.name + "==" + r.version
	if r.from != "" {
		text = r.from
		if strings.Contains(r.from, "://") {
			text = r.name + " @ " + r.from
		}
	}
	if r.marker != "" {
		text += " ; " + r.marker
	}
	if hashed {
		for _, h := range r.hashes {
			text += " --hash=" + h
		}
	}
	return text
}

// planOf is the plan of a lock's packages. Where one has no digest, as those of repositories have
// not, the installer checks none: it takes either all or none.
func planOf(name string, list []requirement) (*prepare.Plan, error) {
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	plan := &prepare.Plan{From: name, Locked: true, Hashed: true}
	for _, r := range list {
		plan.Hashed = plan.Hashed && len(r.hashes) > 0
	}
	lines := make([]string, len(list))
	for i, r := range list {
		lines[i] = r.line(plan.Hashed)
		if strings.ContainsAny(lines[i], "\r\n") || r.name == "" || strings.HasPrefix(lines[i], "-") ||
			r.from == "" && r.version == "" {
			return nil, job.Invalid(name, fmt.Sprintf("the package %.100q cannot be installed from this lock", r.name))
		}
	}
	slices.Sort(lines)
	plan.Requirements = strings.Join(slices.Compact(lines), "\n") + "\n"
	if !plan.Hashed {
		plan.Warnings = []string{name + " has packages without a digest, so no digests are checked"}
	}
	return plan, nil
}

// pyLock is pylock.toml; see PEP 751.
type pyLock struct {
	Version  string      `toml:"lock-version"`
	Python   string      `toml:"requires-python"`
	Packages []pyPackage `toml:"packages"`
}

type pyPackage struct {
	Name, Version, Marker string
	Sdist, Archive        *pyFile
	Wheels                []pyFile
	VCS                   *struct {
		Type, URL string
		Commit    string `toml:"commit-id"`
	} `toml:"vcs"`
	Directory *struct{ Path string }
}

type pyFile struct {
	URL, Path string
	Hashes    map[string]string
}

func (f *pyFile) digests() []string {
	var list []string
	for _, algorithm := range slices.Sorted(maps.Keys(f.Hashes)) {
		if algorithm == "sha256" || algorithm == "sha384" || algorithm == "sha512" {
			list = append(list, algorithm+":"+f.Hashes[algorithm])
		}
	}
	return list
}

func readPyLock(name string, text []byte) (*prepare.Plan, error) {
	var lock pyLock
	if err := decode(name, text, &lock); err != nil {
		return nil, err
	}
	if major, _, _ := strings.Cut(lock.Version, "."); major != "1" {
		return nil, job.Invalid(name, fmt.Sprintf("has lock-version %q; 1 is supported", lock.Version))
	}
	var list []requirement
	for _, p := range lock.Packages {
		// Those of extras and of groups are for who asks for them; nobody can here.
		if strings.Contains(p.Marker, "extras") || strings.Contains(p.Marker, "dependency_groups") {
			continue
		}
		list = append(list, p.requirement())
	}
	plan, err := planOf(name, list)
	if plan != nil {
		plan.Python = lock.Python
	}
	return plan, err
}

func (p *pyPackage) requirement() requirement {
	r := requirement{name: p.Name, version: p.Version, marker: p.Marker}
	switch {
	case p.VCS != nil:
		r.from = p.VCS.Type + "+" + p.VCS.URL + "@" + p.VCS.Commit
	case p.Directory != nil:
		r.from = "./" + strings.TrimPrefix(p.Directory.Path, "./")
	case p.Archive != nil && p.Archive.URL != "":
		r.from, r.hashes = p.Archive.URL, p.Archive.digests()
	case p.Archive != nil:
		r.from, r.hashes = "./"+strings.TrimPrefix(p.Archive.Path, "./"), p.Archive.digests()
	default:
		for _, w := range p.Wheels {
			r.hashes = append(r.hashes, w.digests()...)
		}
		if p.Sdist != nil {
			r.hashes = append(r.hashes, p.Sdist.digests()...)
		}
	}
	return r
}
