package dependencies

import (
	"encoding/json"
	"path"
	"strings"

	"go-job-orchestrator/shared/prepare"
)

func readNode(in *prepare.Sources) (*prepare.Plan, error) {
	name := nearest(in, prepare.PackageFile)
	if name == "" || !prepare.NeedsPackages(in.Files[name]) {
		return nil, nil //nolint:nilnil // nothing is to be installed
	}
	plan := &prepare.Plan{From: name, Folder: path.Dir(name)}
	for _, file := range []string{prepare.ShrinkwrapFile, prepare.PackageLockFile} {
		if lock := path.Join(plan.Folder, file); in.Files[lock] != nil {
			plan.From, plan.Locked = lock, true
			return plan, nil
		}
	}
	plan.Warnings = []string{name + " has no package-lock.json: npm chooses the versions, and what is installed first " +
		"is used until the cache drops it"}
	return plan, nil
}

// usesFolders reports whether npm needs more of a project than its package.json and its lock:
// packages in its folders, or scripts of its own that run when packages are installed.
func usesFolders(text []byte) bool {
	var p struct {
		Scripts    map[string]json.RawMessage
		Workspaces json.RawMessage
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return true
	}
	for _, script := range []string{"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare",
		"postprepare"} {
		if p.Scripts[script] != nil {
			return true
		}
	}
	return len(p.Workspaces) > 0 || strings.Contains(string(text), `"file:`) || strings.Contains(string(text), `"link:`) ||
		strings.Contains(string(text), `"./`) || strings.Contains(string(text), `"../`)
}
