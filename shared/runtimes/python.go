package runtimes

import (
	"path"
	"strings"

	"go-job-orchestrator/shared/job"
)

// pythonEnv has modules found in the folders above the entrypoint as well. Python itself looks only
// in the folder of the script, so pkg/main.py could not import pkg. Without folders, or when the user
// sets PYTHONPATH, nothing is changed.
func pythonEnv(dir string, spec *job.Spec) []string {
	if _, set := spec.Env["PYTHONPATH"]; set || !strings.Contains(spec.Entrypoint, "/") {
		return nil
	}
	above := foldersOf(spec.Entrypoint)[1:]
	for i, folder := range above {
		above[i] = join(dir, folder)
	}
	return []string{"PYTHONPATH=" + strings.Join(above, ":")}
}

// pythonBuild runs the __main__.py of a package as python -m does, so that its imports may be
// relative. There is nothing to build.
func pythonBuild(in sourceTree, entrypoint string, _ []string) (build, program []string, err error) {
	inner := path.Dir(entrypoint)
	if path.Base(entrypoint) != "__main__.py" || inner == "." || !exists(in.files, inner+"/__init__.py") {
		return nil, nil, nil
	}
	parts := []string{path.Base(inner)}
	for folder := path.Dir(inner); folder != "." && exists(in.files, folder+"/__init__.py"); folder = path.Dir(folder) {
		parts = append([]string{path.Base(folder)}, parts...)
	}
	for _, part := range parts {
		if !isIdentifier(part) {
			return nil, nil, nil
		}
	}
	return nil, []string{"-u", "-m", strings.Join(parts, ".")}, nil
}

// isIdentifier reports whether a name can be that of a module. Names with other letters than these
// can as well, but are rare.
func isIdentifier(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
