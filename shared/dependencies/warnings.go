package dependencies

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go-job-orchestrator/shared/prepare"
)

// Warnings tells who submits a job, by the names of its files alone, what is not installed for it, or
// installed in versions that nobody has chosen.
func (m Mode) Warnings(runtime, entrypoint string, files []string) []string {
	has := func(dir, name string) bool { return slices.Contains(files, path.Join(dir, name)) }
	brings := func(dir, folder string) bool {
		folder = path.Join(dir, folder) + "/"
		return slices.ContainsFunc(files, func(name string) bool { return strings.HasPrefix(name, folder) })
	}
	for dir := path.Dir(entrypoint); ; dir = path.Dir(dir) {
		var found, missing string
		switch {
		case runtime == "python" && has(dir, prepare.RequirementsFile):
			found = prepare.RequirementsFile
		case runtime == "python" && has(dir, prepare.ProjectFile):
			found = prepare.ProjectFile
			if !has(dir, prepare.PyLockFile) && !has(dir, prepare.UvLockFile) {
				missing = "its packages are not installed, since there is no uv.lock and no pylock.toml"
			}
		case runtime == "node" && has(dir, prepare.PackageFile) && brings(dir, "node_modules"):
			return nil
		case runtime == "node" && has(dir, prepare.PackageFile):
			found = prepare.PackageFile
			if !has(dir, prepare.PackageLockFile) && !has(dir, prepare.ShrinkwrapFile) {
				missing = "npm chooses the versions of its packages, since there is no package-lock.json"
			}
		}
		switch name := path.Join(dir, found); {
		case found != "" && m == Off:
			return []string{fmt.Sprintf("%s: its packages are not installed, since this server installs none "+
				"(DEPENDENCIES=off)", name)}
		case missing != "":
			return []string{name + ": " + missing}
		case found != "" || dir == "." || dir == "/":
			return nil
		}
	}
}
