package dependencies

import (
	"fmt"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
)

// uvLock is uv.lock: a graph of packages, whose edges have conditions.
type uvLock struct {
	Version  int         `toml:"version"`
	Python   string      `toml:"requires-python"`
	Packages []uvPackage `toml:"package"`
}

type uvPackage struct {
	Name, Version string
	Source        uvSource
	Dependencies  []uvEdge
	Optional      map[string][]uvEdge `toml:"optional-dependencies"`
	Sdist         *uvFile
	Wheels        []uvFile
}

// uvSource says where a package comes from; one field is set.
type uvSource struct{ Registry, Git, URL, Path, Directory, Editable, Virtual string }

type uvEdge struct {
	Name, Version, Marker string
	Extra                 []string
	Source                *uvSource
}

type uvFile struct{ URL, Path, Hash string }

// isRoot reports whether a package is the project itself.
func (p *uvPackage) isRoot() bool {
	return p.Source.Virtual == "." || p.Source.Editable == "." || p.Source.Directory == "."
}

func readUvLock(name string, text []byte) (*prepare.Plan, error) {
	var lock uvLock
	if err := decode(name, text, &lock); err != nil {
		return nil, err
	}
	if lock.Version != 1 {
		return nil, job.Invalid(name, fmt.Sprintf("has version %d; 1 is supported", lock.Version))
	}
	w := &uvWalk{name: name, lock: &lock, reached: map[int][]conditions{}}
	for i := range lock.Packages {
		if lock.Packages[i].isRoot() {
			if err := w.follow(lock.Packages[i].Dependencies, nil); err != nil {
				return nil, err
			}
		}
	}
	plan, err := planOf(name, w.requirements())
	if plan != nil {
		plan.Python = lock.Python
	}
	return plan, err
}

// conditions are markers that all have to hold, in order and each once.
type conditions []string

func (c conditions) and(marker string) conditions {
	if marker == "" || slices.Contains(c, marker) {
		return c
	}
	return slices.Sorted(slices.Values(append(slices.Clone(c), marker)))
}

// The bounds of a walk: of the ways by which one package is reached, and of conditions on one way.
// A package with more is installed in any case.
const (
	maxWays       = 32
	maxConditions = 16
)

// uvWalk finds the packages that the project needs, and under which conditions.
type uvWalk struct {
	name    string
	lock    *uvLock
	reached map[int][]conditions // by the number of the package
	extras  map[string]bool      // what was followed of packages' extras
}

func (w *uvWalk) follow(edges []uvEdge, under conditions) error {
	for _, e := range edges {
		i := slices.IndexFunc(w.lock.Packages, func(p uvPackage) bool {
			return p.Name == e.Name && (e.Version == "" || p.Version == e.Version) &&
				(e.Source == nil || p.Source == *e.Source)
		})
		if i < 0 {
			return job.Invalid(w.name, fmt.Sprintf("names the package %.100q, which it does not describe", e.Name))
		}
		if err := w.reach(i, e.Extra, under.and(e.Marker)); err != nil {
			return err
		}
	}
	return nil
}

func (w *uvWalk) reach(i int, extras []string, under conditions) error {
	p := &w.lock.Packages[i]
	if len(w.reached[i]) >= maxWays || len(under) > maxConditions {
		under = nil
	}
	if w.visit(i, under) && !p.isRoot() {
		if err := w.follow(p.Dependencies, under); err != nil {
			return err
		}
	}
	for _, extra := range extras {
		way := fmt.Sprintf("%d %s %q", i, extra, under)
		if w.extras[way] {
			continue
		}
		if w.extras == nil {
			w.extras = map[string]bool{}
		}
		w.extras[way] = true
		if err := w.follow(p.Optional[extra], under); err != nil {
			return err
		}
	}
	return nil
}

// visit notes a way to a package, and reports whether it is new.
func (w *uvWalk) visit(i int, under conditions) bool {
	for _, seen := range w.reached[i] {
		if len(seen) == 0 || slices.Equal(seen, under) {
			return false
		}
	}
	w.reached[i] = append(w.reached[i], under)
	return true
}

func (w *uvWalk) requirements() []requirement {
	var list []requirement
	for i, ways := range w.reached {
		p := &w.lock.Packages[i]
		if p.isRoot() {
			continue
		}
		r := requirement{name: p.Name, version: p.Version, marker: anyOf(ways)}
		for _, f := range p.Wheels {
			r.hashes = append(r.hashes, f.Hash)
		}
		if p.Sdist != nil && p.Sdist.Hash != "" {
			r.hashes = append(r.hashes, p.Sdist.Hash)
		}
		switch s := p.Source; {
		case s.Git != "":
			address, commit, _ := strings.Cut(s.Git, "#")
			address, _, _ = strings.Cut(address, "?")
			r.from, r.hashes = "git+"+address+"@"+commit, nil
		case s.URL != "":
			r.from = s.URL
		case s.Path+s.Directory+s.Editable+s.Virtual != "":
			r.from = "./" + strings.TrimPrefix(s.Path+s.Directory+s.Editable+s.Virtual, "./")
		}
		r.hashes = slices.DeleteFunc(r.hashes, func(h string) bool { return h == "" })
		list = append(list, r)
	}
	return list
}

// anyOf is the marker that one of the ways is open, or "" if one always is.
func anyOf(ways []conditions) string {
	alternatives := make([]string, len(ways))
	for i, way := range ways {
		if len(way) == 0 {
			return ""
		}
		alternatives[i] = "(" + strings.Join(way, ") and (") + ")"
	}
	if len(alternatives) > 1 {
		for i := range alternatives {
			alternatives[i] = "(" + alternatives[i] + ")"
		}
	}
	slices.Sort(alternatives)
	return strings.Join(alternatives, " or ")
}
