package runtimes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// Installed is an interpreter found on this machine.
type Installed struct {
	Path    string   // its real executable, not a shim
	Folders []string // what it needs to read besides the system's own folders
	Version string
}

// inquiryTimeout bounds how long an interpreter may take to answer. It is long, because an
// interpreter that does not answer is missing until the next start, and on a busy machine a version
// manager's shim took half a minute.
const inquiryTimeout = time.Minute

// Machine says which runtimes this machine can run.
type Machine struct {
	installed map[string]Installed
	missing   map[string]string
}

// Detect looks for each runtime's interpreter in searchPath, which has the format of PATH, and asks
// it for its real path and version. The interpreter behind a shim of a version manager answers too.
func Detect(ctx context.Context, searchPath, home string) *Machine {
	m := &Machine{installed: map[string]Installed{}, missing: map[string]string{}}
	type result struct {
		name  string
		found Installed
		err   error
	}
	results := make(chan result)
	all := All()
	for _, r := range all {
		go func() {
			found, err := r.detect(ctx, searchPath, home)
			results <- result{r.Name, found, err}
		}()
	}
	for range all {
		a := <-results
		if a.err != nil {
			m.missing[a.name] = a.err.Error()
		} else {
			m.installed[a.name] = a.found
		}
	}
	return m
}

func (r Runtime) detect(ctx context.Context, searchPath, home string) (Installed, error) {
	if r.Interpreter == "" {
		return Installed{}, nil
	}
	path := lookPath(r.Interpreter, searchPath)
	if path == "" {
		return Installed{}, fmt.Errorf("%s is not in PATH", r.Interpreter)
	}
	ctx, cancel := context.WithTimeout(ctx, inquiryTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, r.inquiry...)
	cmd.Env = []string{"PATH=" + searchPath, "HOME=" + home, "LANG=C.UTF-8"}
	// A process that it leaves behind may hold its output open for ever.
	cmd.WaitDelay = time.Second
	var output answer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.New("it did not answer in time")
		}
		return Installed{}, fmt.Errorf("%s does not run: %w: %s", path, err, firstLine(output.String()))
	}
	return r.parse(output.String())
}

// maxAnswer is how many bytes of an interpreter's answer are kept.
const maxAnswer = 64 << 10

// answer keeps the first bytes that are written to it.
type answer struct{ kept bytes.Buffer } // not embedded: io.Copy would find its ReadFrom

func (a *answer) Write(p []byte) (int, error) {
	a.kept.Write(p[:min(len(p), maxAnswer-a.kept.Len())])
	return len(p), nil
}

func (a *answer) String() string { return a.kept.String() }

// lookPath is exec.LookPath with a path that is given, not read from the environment.
func lookPath(name, searchPath string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		if dir == "" || !filepath.IsAbs(dir) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line[:min(len(line), 200)]
}

func fourLines(output string) (Installed, error) {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if len(lines) < 4 {
		return Installed{}, fmt.Errorf("unexpected answer %q", firstLine(output))
	}
	lines = lines[len(lines)-4:]
	return newInstalled(lines[0], lines[3], lines[:3])
}

func javaProperties(output string) (Installed, error) {
	properties := map[string]string{}
	for line := range strings.Lines(output) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), " = "); found {
			properties[key] = value
		}
	}
	home, version := properties["java.home"], properties["java.version"]
	if home == "" {
		return Installed{}, errors.New("java does not say where its java.home is")
	}
	return newInstalled(filepath.Join(home, "bin", "java"), version, []string{home})
}

// newInstalled resolves links in the paths, because the folders that the links lead through must be
// readable too.
func newInstalled(path, version string, near []string) (Installed, error) {
	if _, err := exec.LookPath(path); err != nil || !filepath.IsAbs(path) {
		return Installed{}, fmt.Errorf("unexpected answer: %.200q is not the path of a program", path)
	}
	found := Installed{Path: path, Version: version}
	for _, p := range append(near, path) {
		if !filepath.IsAbs(p) || filepath.Clean(p) == "/" { // the sandbox would open the whole disk
			return Installed{}, fmt.Errorf("unexpected answer: %.200q is not the folder of an interpreter", p)
		}
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			return Installed{}, fmt.Errorf("find the interpreter's folders: %w", err)
		}
		for _, each := range []string{p, real} {
			if !slices.Contains(found.Folders, each) {
				found.Folders = append(found.Folders, each)
			}
		}
	}
	return found, nil
}

// Drop removes a runtime, for instance because it does not run in the sandbox.
func (m *Machine) Drop(name, why string) {
	delete(m.installed, name)
	m.missing[name] = why
}

// Lookup returns the installed interpreter of a runtime, or a fault of the field runtime that says
// what to do.
func (m *Machine) Lookup(name string) (Installed, error) {
	r, err := Find(name)
	if err != nil {
		return Installed{}, err
	}
	found, ok := m.installed[name]
	if !ok {
		return Installed{}, job.Invalid("runtime", fmt.Sprintf(
			"%s is not installed on this machine (%s); this server can run: %s. Install %s and start the server again, or "+
				"choose another runtime",
			name, m.missing[name], strings.Join(m.Names(), ", "), r.Interpreter))
	}
	return found, nil
}

// Check returns a fault of the field runtime when the machine cannot run it.
func (m *Machine) Check(name string) error {
	_, err := m.Lookup(name)
	return err
}

// Names lists the runtimes that can run, in the order of the table.
func (m *Machine) Names() []string {
	var names []string
	for _, r := range All() {
		if _, ok := m.installed[r.Name]; ok {
			names = append(names, r.Name)
		}
	}
	return names
}

// Folders lists the folders that the interpreters need to read.
func (m *Machine) Folders() []string {
	var list []string
	for _, found := range m.installed {
		list = append(list, found.Folders...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Missing says for each runtime that cannot run why it cannot.
func (m *Machine) Missing() map[string]string { return m.missing }

// String lists the runtimes with their versions, for people.
func (m *Machine) String() string {
	var parts []string
	for _, name := range m.Names() {
		parts = append(parts, strings.TrimSpace(name+" "+m.installed[name].Version))
	}
	return strings.Join(parts, ", ")
}

// SearchPath is the PATH of programs: first the folders of the interpreters, then those of the
// system.
func (m *Machine) SearchPath() string {
	var dirs []string
	for _, name := range m.Names() {
		if path := m.installed[name].Path; path != "" {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	dirs = append(dirs, "/usr/local/bin", "/usr/bin", "/bin")
	var unique []string
	for _, dir := range dirs {
		if !slices.Contains(unique, dir) {
			unique = append(unique, dir)
		}
	}
	return strings.Join(unique, ":")
}
