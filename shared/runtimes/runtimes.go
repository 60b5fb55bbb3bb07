// Package runtimes has the table of runtimes: the command line that each runtime stands for, and
// how to find its interpreter on a machine. A new runtime needs only a new entry in the table.
package runtimes

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Runtime is one way to run a program.
type Runtime struct {
	Name string
	// Interpreter is the command that must be installed. It is empty when the program needs none.
	Interpreter string
	// Image is the image that programs run in on Kubernetes, unless a setting or the job names another
	// one.
	Image string
	// NonBlocking says that the interpreter does not wait until its standard streams are read, and
	// loses the unread rest when it exits.
	NonBlocking bool
	// inquiry is the arguments that make the interpreter print its real path, its folders and its
	// version.
	inquiry []string
	parse   func(output string) (Installed, error)
	// entrypoint says why the runtime cannot run a job's entrypoint, or returns "".
	entrypoint func(entrypoint string, files []string) string
	// options returns the interpreter's own options for a job, which come before args. It may be nil.
	options func(spec *job.Spec) []string
	// args returns the interpreter's arguments, which come before the user's. dir is the folder of the
	// uploaded files.
	args func(dir, entrypoint string, files []string) []string
	// env returns variables that the program gets besides those of every program. It may be nil.
	env func(dir string, spec *job.Spec) []string
	// build looks at the files, once they are there. It returns the arguments of a step that runs before
	// the program, and the program's own in place of those of args. Each may be nil, and build itself.
	build func(in sourceTree, entrypoint string, files []string) (build, program []string, err error)
	// explain finds the reason of a failure in the standard error of a program or its build. It may be
	// nil.
	explain func(stderr string, built bool) string
}

// sourceTree is the folder of the sources.
type sourceTree struct {
	files     fs.FS
	dir, temp string // as the program sees them
}

// All returns the runtimes.
func All() []Runtime {
	return []Runtime{python(), node(), java(), binary()}
}

func python() Runtime {
	return Runtime{
		Name: "python", Interpreter: "python3", Image: "python:3.13-slim",
		inquiry: []string{"-c", "import sys; print(sys.executable, sys.base_prefix, sys.prefix, sys.version.split()[0], " +
			"sep='\\n')"},
		parse: fourLines, entrypoint: uploaded,
		// -u, because Python writes to a pipe in blocks, and a follower would not see single lines.
		args: func(dir, entrypoint string, _ []string) []string { return []string{"-u", dir + "/" + entrypoint} },
		env:  pythonEnv, build: pythonBuild,
	}
}

func node() Runtime {
	return Runtime{
		Name: "node", Interpreter: "node", Image: "node:22-slim", NonBlocking: true,
		inquiry: []string{"-p", "[process.execPath, process.execPath, process.execPath, process.versions.node].join('\\n')"},
		parse:   fourLines, entrypoint: uploaded,
		args: func(dir, entrypoint string, _ []string) []string { return []string{dir + "/" + entrypoint} },
	}
}

func java() Runtime {
	return Runtime{
		Name: "java", Interpreter: "java", Image: "eclipse-temurin:21-jdk", // a JRE cannot compile source files
		inquiry: []string{"-XshowSettings:properties", "-version"},
		parse:   javaProperties, entrypoint: javaEntrypoint, options: jvmOptions, args: javaArgs, build: javaBuild,
		explain: javaExplain,
	}
}

func binary() Runtime {
	return Runtime{
		Name: "binary", Image: "debian:stable-slim", entrypoint: uploaded,
		args: func(string, string, []string) []string { return nil },
	}
}

// maxNamed is how many files a message lists at most.
const maxNamed = 10

func uploaded(entrypoint string, files []string) string {
	if slices.Contains(files, entrypoint) {
		return ""
	}
	some := files[:min(len(files), maxNamed)]
	list := fmt.Sprintf("%.1000s", strings.Join(some, ", "))
	if more := len(files) - len(some); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("no uploaded file is named %q; uploaded: %s", entrypoint, list) + meantFile(entrypoint, files)
}

// maxCompared is how many names are compared with a misspelt one.
const maxCompared = 1000

// meantFile suggests the file that an entrypoint was meant to be: one in a folder, or of a name that
// is nearly the same.
func meantFile(entrypoint string, files []string) string {
	best := ""
	for _, name := range files {
		inFolder := strings.HasSuffix(name, "/"+entrypoint)
		isFolder := name == entrypoint+"/__main__.py" || name == entrypoint+"/index.js"
		if (inFolder || isFolder) && (best == "" || strings.Count(name, "/") < strings.Count(best, "/")) {
			best = name
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %.300s?", best)
	}
	return job.Meant(entrypoint, files[:min(len(files), maxCompared)], nil)
}

// javaEntrypoint also accepts the name of a class, which may be in uploaded jars, class files or
// sources.
func javaEntrypoint(entrypoint string, files []string) string {
	message := uploaded(entrypoint, files)
	if strings.HasSuffix(entrypoint, ".java") || strings.HasSuffix(entrypoint, ".jar") {
		return message
	}
	// java takes such a name for an option or a file of options, and has no way to escape it.
	if strings.HasPrefix(entrypoint, "-") || strings.HasPrefix(entrypoint, "@") {
		return fmt.Sprintf("%q is not the name of a Java class: it begins with %q", entrypoint, entrypoint[:1])
	}
	if message == "" || strings.HasSuffix(entrypoint, ".class") {
		return message
	}
	if strings.Contains(entrypoint, "/") { // a class has dots
		return message
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".jar") || strings.HasSuffix(name, ".class") {
			return ""
		}
	}
	if sourceOfClass(entrypoint, files) != "" {
		return ""
	}
	return message
}

func javaArgs(dir, entrypoint string, files []string) []string {
	isJar := func(name string) bool { return strings.HasSuffix(name, ".jar") }
	switch {
	case strings.HasSuffix(entrypoint, ".jar"):
		return []string{"-jar", dir + "/" + entrypoint}
	case strings.HasSuffix(entrypoint, ".java") && slices.ContainsFunc(files, isJar): // the source may use them
		return []string{"-cp", dir + "/*", dir + "/" + entrypoint}
	case strings.HasSuffix(entrypoint, ".java"):
		return []string{dir + "/" + entrypoint}
	}
	return []string{"-cp", dir + ":" + dir + "/*", strings.TrimSuffix(entrypoint, ".class")}
}

// Find returns the runtime of that name.
func Find(name string) (Runtime, error) {
	var names []string
	for _, r := range All() {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Runtime{}, job.Invalid("runtime", fmt.Sprintf("%.60q is not a runtime; there are: %s", name,
		strings.Join(names, ", "))+
		job.Meant(name, names, otherNames()))
}

// otherNames maps other words for the runtimes to their names. The words have no separators between
// their parts.
func otherNames() map[string]string {
	others := map[string]string{}
	for name, words := range map[string]string{
		"python": "py pypy pip uv ipython",
		"node":   "js mjs javascript ts typescript npm deno bun",
		"java":   "jdk jre jvm jar openjdk temurin class",
		"binary": "sh bash zsh shell script elf exe executable native go golang rust c",
	} {
		for word := range strings.FieldsSeq(words) {
			others[word] = name
		}
	}
	return others
}

// CheckEntrypoint returns a fault of the field entrypoint if the runtime cannot run it.
func (r Runtime) CheckEntrypoint(entrypoint string, files []string) error {
	if message := r.entrypoint(entrypoint, files); message != "" {
		return job.Invalid("entrypoint", message)
	}
	return nil
}

// Command returns the program to start and its arguments. The user's arguments are among them,
// exactly as sent. interpreter is the path of the runtime's interpreter. dir is the folder of the
// uploaded files as the program sees it.
func (r Runtime) Command(interpreter, dir string, index *job.Index) (path string, args []string) {
	path = interpreter
	if r.Interpreter == "" {
		path = dir + "/" + index.Entrypoint
	}
	return path, slices.Concat(r.optionsFor(index), r.args(dir, index.Entrypoint, names(index)), index.Args)
}

func (r Runtime) optionsFor(index *job.Index) []string {
	if r.options == nil {
		return nil
	}
	return r.options(&index.Spec)
}

// Build returns the interpreter's arguments for the build step, and then those for the program,
// with the user's among them. build is nil when there is nothing to build, and program when it is what
// Command returned. files are the uploaded files. dir and temp are the folders of the uploaded and of
// temporary files, as the program sees them.
func (r Runtime) Build(files fs.FS, dir, temp string, index *job.Index) (build, program []string, err error) {
	if r.build == nil {
		return nil, nil, nil
	}
	build, program, err = r.build(sourceTree{files, dir, temp}, index.Entrypoint, names(index))
	if err != nil {
		return nil, nil, err
	}
	options := r.optionsFor(index)
	if build != nil {
		build = slices.Concat(options, build)
	}
	if program != nil {
		program = slices.Concat(options, program, index.Args)
	}
	return build, program, nil
}

// Env returns the variables that the runtime gives the program. dir is the folder of the uploaded
// files as the program sees it.
func (r Runtime) Env(dir string, index *job.Index) []string {
	if r.env == nil {
		return nil
	}
	return r.env(dir, &index.Spec)
}

// Explain returns the reason why a program or its build failed, from its standard error, or "".
func (r Runtime) Explain(stderr string, built bool) string {
	if r.explain == nil {
		return ""
	}
	return r.explain(stderr, built)
}

func names(index *job.Index) []string {
	list := make([]string, len(index.Files))
	for i, f := range index.Files {
		list[i] = f.Name
	}
	return list
}
