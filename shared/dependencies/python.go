package dependencies

import (
	"fmt"
	"iter"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
)

func readPython(in *prepare.Sources) (*prepare.Plan, error) {
	if block, found := in.Files[in.Entrypoint]; found {
		return readScript(in.Entrypoint, block)
	}
	for _, read := range []struct {
		file string
		by   func(name string, text []byte) (*prepare.Plan, error)
	}{{prepare.RequirementsFile, readRequirements}, {prepare.PyLockFile, readPyLock}, {prepare.UvLockFile, readUvLock}} {
		name := nearest(in, read.file)
		if name == "" {
			continue
		}
		plan, err := read.by(name, in.Files[name])
		if plan == nil || err != nil {
			return nil, err
		}
		plan.From = name
		project, err := readProject(in, path.Join(path.Dir(name), prepare.ProjectFile))
		if plan.Python == "" && read.file != prepare.RequirementsFile {
			plan.Python = project
		}
		return plan, err
	}
	return nil, nil //nolint:nilnil // nothing is to be installed
}

// nearest returns the name of such a file that lies closest to the entrypoint, or "".
func nearest(in *prepare.Sources, file string) string {
	for dir := path.Dir(in.Entrypoint); ; dir = path.Dir(dir) {
		if name := path.Join(dir, file); in.Files[name] != nil {
			return name
		}
		if dir == "." || dir == "/" {
			return ""
		}
	}
}

// decode reads TOML. What is wrong with it is the user's to mend.
func decode(name string, text []byte, into any) error {
	if err := toml.Unmarshal(text, into); err != nil {
		return job.Invalid(name, "is not valid TOML: "+err.Error())
	}
	return nil
}

// readScript reads the block of PEP 723 of an entrypoint.
func readScript(name string, block []byte) (*prepare.Plan, error) {
	var meta struct {
		Dependencies []string `toml:"dependencies"`
		Python       string   `toml:"requires-python"`
	}
	if err := decode(name, block, &meta); err != nil {
		return nil, err
	}
	if len(meta.Dependencies) == 0 {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	for i, d := range meta.Dependencies {
		if strings.ContainsAny(d, "\r\n") || strings.HasPrefix(strings.TrimSpace(d), "-") {
			return nil, job.Invalid(name, fmt.Sprintf("dependencies[%d] is not a requirement: %.100q", i, d))
		}
	}
	return &prepare.Plan{From: name, Python: meta.Python, Requirements: strings.Join(meta.Dependencies, "\n") + "\n"}, nil
}

// readProject returns the versions of Python that a pyproject.toml demands.
func readProject(in *prepare.Sources, name string) (python string, err error) {
	text := in.Files[name]
	if text == nil {
		return "", nil
	}
	var meta struct {
		Project struct {
			Python string `toml:"requires-python"`
		} `toml:"project"`
	}
	err = decode(name, text, &meta)
	return meta.Project.Python, err
}

// readRequirements leaves the list to the installer, which knows its format.
func readRequirements(name string, text []byte) (*prepare.Plan, error) {
	plan := &prepare.Plan{From: name}
	pinned, some := true, false
	for line := range requirementLines(text) {
		if strings.HasPrefix(line, "-") && !isInclude(line) && !isEditable(line) {
			continue // an option
		}
		some = true
		pinned = pinned && (strings.Contains(line, "==") || strings.Contains(line, "@") || isInclude(line))
	}
	if !some {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	if !pinned {
		plan.Warnings = []string{name + " does not pin every version: what is installed first is used until the cache " +
			"drops it"}
	}
	return plan, nil
}

// requirementLines yields the lines of a requirements file that say something.
func requirementLines(text []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		joined := strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\\\n", " ")
		for line := range strings.SplitSeq(joined, "\n") {
			line = strings.TrimSpace(line)
			if i := strings.Index(line, " #"); i >= 0 {
				line = strings.TrimSpace(line[:i])
			}
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if !yield(line) {
				return
			}
		}
	}
}

func isInclude(line string) bool {
	return strings.HasPrefix(line, "-r") || strings.HasPrefix(line, "--requirement")
}

func isEditable(line string) bool {
	return strings.HasPrefix(line, "-e") || strings.HasPrefix(line, "--editable")
}

// archive is a requirement that is the name of a file.
var archive = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\.(whl|zip|tar\.gz|tgz)(\[|\s|;|$)`) })

// usesProject reports whether what is installed depends on files that are not among the sources: the
// project's own code, or archives beside it.
func usesProject(in *prepare.Sources) bool {
	for name, text := range in.Files {
		switch {
		case in.Runtime == "node":
			if path.Base(name) == prepare.PackageFile && usesFolders(text) {
				return true
			}
		case strings.HasSuffix(name, ".toml"), strings.HasSuffix(name, ".lock"):
			if strings.Contains(string(text), "path") || strings.Contains(string(text), "directory") ||
				strings.Contains(string(text), "editable") {
				return true
			}
		default:
			for line := range requirementLines(text) {
				if namesFile(line) {
					return true
				}
			}
		}
	}
	return false
}

func namesFile(line string) bool {
	if isInclude(line) || strings.HasPrefix(line, "-c") || strings.HasPrefix(line, "--constraint") {
		return false // which are among the sources
	}
	if strings.HasPrefix(line, "-f") || strings.HasPrefix(line, "--find-links") || isEditable(line) ||
		strings.Contains(line, "file:") {
		return true
	}
	requirement, _, _ := strings.Cut(line, ";")
	return !strings.Contains(requirement, "://") &&
		(strings.ContainsAny(requirement, "/") || strings.HasPrefix(requirement, ".") || archive().MatchString(requirement))
}
