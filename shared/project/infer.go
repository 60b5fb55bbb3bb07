package project

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/runtimes"
)

// candidate is a way to run the files.
type candidate struct{ runtime, entrypoint string }

func (c candidate) String() string { return c.entrypoint + " (" + c.runtime + ")" }

// Infer fills in the runtime and the entrypoint that the specification leaves out, where they follow
// from the files. It returns what it filled in, or nil for nothing. For a field that does not follow
// the error is of kind job.ErrInvalid, and names the candidates.
func (t *Tree) Infer(spec *job.Spec) (*job.Inferred, error) {
	switch {
	case spec.Runtime != "" && spec.Entrypoint != "":
		return nil, nil //nolint:nilnil // nothing to infer
	case spec.Entrypoint != "":
		return t.inferRuntime(spec)
	}
	found := t.candidates(spec.Runtime)
	if len(found) != 1 {
		return nil, undecided(spec, found)
	}
	inferred := &job.Inferred{Entrypoint: found[0].entrypoint}
	if spec.Runtime == "" {
		inferred.Runtime = found[0].runtime
		spec.Runtime = inferred.Runtime
	}
	spec.Entrypoint = inferred.Entrypoint
	return inferred, nil
}

// inferRuntime finds the runtime of an entrypoint.
func (t *Tree) inferRuntime(spec *job.Spec) (*job.Inferred, error) {
	kind := ""
	if t.Has(spec.Entrypoint) {
		kind = t.runtimeOf(spec.Entrypoint)
	} else if kind = byEnding(spec.Entrypoint); kind == "" && t.isClass(spec.Entrypoint) {
		kind = java
	}
	if kind == "" {
		return nil, job.Invalid("runtime", fmt.Sprintf("is required, because it does not follow from the entrypoint %.100q: "+
			"send python, node, java or binary", spec.Entrypoint))
	}
	spec.Runtime = kind
	return &job.Inferred{Runtime: kind}, nil
}

// isClass reports whether java finds a class of that name in the files.
func (t *Tree) isClass(name string) bool {
	runtime, err := runtimes.Find(java)
	return err == nil && runtime.CheckEntrypoint(name, t.Names()) == nil
}

// maxCandidates is how many candidates a message names.
const maxCandidates = 10

// undecided is the error for none or several candidates.
func undecided(spec *job.Spec, found []candidate) error {
	faults := &job.Faults{Kind: job.ErrInvalid}
	if len(found) == 0 {
		if spec.Runtime == "" {
			faults.List = append(faults.List, job.Fault{Field: "runtime", Message: "is required, because it does not follow " +
				"from the files: send python, node, java or binary"})
		}
		faults.List = append(faults.List, job.Fault{Field: "entrypoint", Message: "is required, because it does not follow " +
			"from the files: send the name of the file to run"})
		return faults
	}
	some := found[:min(len(found), maxCandidates)]
	names := make([]string, len(some))
	for i, c := range some {
		names[i] = fmt.Sprintf("%.200s", c)
	}
	list := strings.Join(names, ", ")
	if more := len(found) - len(some); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	message := "is required, because several files can be run: " + list + "; send the one to run"
	faults.List = append(faults.List, job.Fault{Field: "entrypoint", Message: message})
	return faults
}

// candidates returns the ways to run the files by a runtime, or by any if it is empty. The files that
// are named by convention come before all others.
func (t *Tree) candidates(runtime string) []candidate {
	names := slices.DeleteFunc(slices.Clone(t.Names()), ignored)
	if len(names) == 1 {
		if kind := t.runtimeOf(names[0]); runtime != "" || kind != "" {
			return []candidate{{kind, names[0]}}
		}
		return nil
	}
	fits := func(c candidate) bool { return runtime == "" || c.runtime == runtime }
	var found []candidate
	for _, c := range t.conventional(names) {
		if fits(c) && !slices.Contains(found, c) {
			found = append(found, c)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, name := range names {
		c := candidate{t.runtimeOf(name), name}
		if c.runtime != "" && fits(c) && (path.Ext(name) != ".jar" || !inLib(name) && t.isProgram(name)) {
			found = append(found, c)
		}
	}
	// Those at the top first: they are likelier to be meant.
	slices.SortStableFunc(found, func(a, b candidate) int {
		return strings.Count(a.entrypoint, "/") - strings.Count(b.entrypoint, "/")
	})
	return found
}

// conventional returns the files whose names say that they are the program: main.py, index.js and
// the main file of package.json in the first folder; __main__.py and Main.java in any; and jars that
// name their main class.
func (t *Tree) conventional(names []string) (found []candidate) {
	first := firstFolder(names)
	if name := path.Join(first, "main.py"); t.Has(name) {
		found = append(found, candidate{python, name})
	}
	if name := t.nodeMain(first); name != "" {
		found = append(found, candidate{node, name})
	}
	for _, name := range names {
		switch path.Base(name) {
		case "__main__.py":
			found = append(found, candidate{python, name})
		case "Main.java":
			found = append(found, candidate{java, name})
		}
		if path.Ext(name) == ".jar" && !inLib(name) && t.isProgram(name) {
			found = append(found, candidate{java, name})
		}
	}
	return found
}

// firstFolder returns the folder that all files lie in and that holds more than one folder or a file.
// It is the only folder at the top of an archive that was made of a folder, else "".
func firstFolder(names []string) string {
	if len(names) == 0 {
		return ""
	}
	first, _, isPath := strings.Cut(names[0], "/")
	for _, name := range names {
		if !isPath || !strings.HasPrefix(name, first+"/") {
			return ""
		}
	}
	return first
}

// nodeMain returns the file that node runs for a folder: the main file of its package.json, else
// index.js. It returns "" if there is neither.
func (t *Tree) nodeMain(dir string) string {
	var manifest struct {
		Main json.RawMessage `json:"main"`
	}
	var main string
	if text := t.heads[path.Join(dir, "package.json")]; len(text) > 0 && json.Unmarshal(text, &manifest) == nil {
		_ = json.Unmarshal(manifest.Main, &main) // node ignores one that is not a string
	}
	var names []string
	// Like that of a package, it cannot lie above the folder.
	if main = strings.TrimPrefix(path.Join("/", dir, path.Clean("/"+main)), "/"); main != dir {
		names = append(names, main, main+".js", main+"/index.js")
	}
	for _, name := range append(names, path.Join(dir, "index.js"), path.Join(dir, "index.mjs"),
		path.Join(dir, "index.cjs")) {
		if t.Has(name) {
			return name
		}
	}
	return ""
}
