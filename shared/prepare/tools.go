package prepare

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"sync"

	"go-job-orchestrator/shared/job"
)

// The folders that packages are installed into.
const (
	pythonTree = ".venv"
	nodeTree   = "node_modules"
)

// treeName is the name of the folders that a runtime's packages are installed into.
func treeName(runtime string) string {
	if runtime == "node" {
		return nodeTree
	}
	return pythonTree
}

// info is what an interpreter says about itself and about the installers beside it.
type info struct {
	Path     string `json:"path"`
	Version  string `json:"version"`
	Platform string `json:"platform"` // system, processor, ABI and C library
	Pip      string `json:"pip"`      // its version; empty: there is none
	// Ensurepip says that the interpreter can put a pip of its own into a virtual environment.
	Ensurepip bool   `json:"ensurepip"`
	Venv      bool   `json:"venv"`
	Uv        string `json:"uv"` // its path; empty: there is none
	Npm       string `json:"npm"`
}

// Answers remembers what interpreters said about themselves, by their paths.
type Answers struct{ known sync.Map }

func (a *Answers) get(interpreter string) (info, bool) {
	if a == nil {
		return info{}, false
	}
	value, found := a.known.Load(interpreter)
	if !found {
		return info{}, false
	}
	about, ok := value.(info)
	return about, ok
}

func (a *Answers) put(interpreter string, about info) {
	if a != nil {
		a.known.Store(interpreter, about)
	}
}

const askPython = `import importlib.util as u, json, platform, shutil, sys, sysconfig
has = lambda name: u.find_spec(name) is not None
try:
    from pip import __version__ as pip
except Exception:
    pip = ""
print(json.dumps({
    "path": sys.executable, "version": platform.python_version(), "pip": pip,
    "platform": " ".join([sysconfig.get_platform(), str(sysconfig.get_config_var("SOABI")), *platform.libc_ver()]),
    "ensurepip": has("ensurepip"), "venv": has("venv"), "uv": shutil.which("uv") or "",
}))`

const askNode = `const fs = require("fs"), path = require("path");
let npm = "";
for (const dir of process.env.PATH.split(":")) {
  try { npm = fs.realpathSync(path.join(dir, "npm")); break } catch {}
}
let libc = "glibc";
try { if (fs.readdirSync("/lib").some(name => name.startsWith("ld-musl"))) libc = "musl" } catch {}
console.log(JSON.stringify({
  path: process.execPath, version: process.versions.node, npm,
  platform: [process.platform, process.arch, process.versions.modules, libc].join(" "),
}))`

// indexFails is the exit code by which askIndex says so.
const indexFails = 9

const askIndex = `import os, re, sys, urllib.error, urllib.request
name = re.sub(r"[-_.]+", "-", re.match(r"[\w.-]*", sys.argv[1]).group()).lower()
index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
try:
    urllib.request.urlopen(index + "/" + name + "/", timeout=30)
except urllib.error.HTTPError as e:
    sys.exit(9 if e.code >= 500 else 0)
except OSError:
    sys.exit(9)`

// probeStep is the step that asks the index of Python for a package.
func probeStep(interpreter, name string) Step {
	return Step{Path: interpreter, Args: []string{"-I", "-c", askIndex, name}}
}

// question is the step that asks an interpreter.
func question(runtime, interpreter string) Step {
	if runtime == "node" {
		return Step{Path: interpreter, Args: []string{"-e", askNode}}
	}
	return Step{Path: interpreter, Args: []string{"-I", "-c", askPython}}
}

func parseInfo(output string) (info, error) {
	var i info
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &i); err != nil || i.Path == "" || i.Version == "" {
		return i, fmt.Errorf("%w: the interpreter's answer %.200q", job.ErrInvalid, output)
	}
	return i, nil
}

// places are the folders that steps use, as they see them.
type places struct{ files, temp string }

// requirementsName is the file in temp that a plan's requirements are written to.
const requirementsName = "prepare-requirements.txt"

// installPython returns the steps that make the virtual environment and install into it: by uv, or
// else by the pip of the interpreter, or else by one that the interpreter puts into the environment.
func installPython(p *Plan, i info, at places) ([]Step, *Failure) {
	if missing := checkPython(p.Python, i.Version); missing != "" {
		return nil, &Failure{Message: fmt.Sprintf("%s demands Python %s, and this is Python %s", p.From, missing,
			i.Version)}
	}
	venv := at.files + "/" + pythonTree
	list, args := at.files+"/"+p.From, []string(nil)
	if p.Requirements != "" {
		list = at.temp + "/" + requirementsName
	}
	if p.Locked {
		args = append(args, "--no-deps")
	}
	if p.Hashed {
		args = append(args, "--require-hashes")
	}
	if p.Offline {
		args = append(args, "--no-index", "--find-links", p.Wheelhouse)
	}
	args = append(args, "-r", list)
	if i.Uv != "" {
		return []Step{
			{Path: i.Uv, Args: []string{"venv", "--no-project", "--python", i.Path, venv}},
			{Path: i.Uv, Args: append([]string{"pip", "install", "--python", venv + "/bin/python"}, args...)},
		}, nil
	}
	install := append([]string{"install", "--no-input", "--no-color", "--progress-bar", "off",
		"--disable-pip-version-check", "--no-cache-dir", "--no-warn-script-location"}, args...)
	switch {
	case !i.Venv:
		return nil, noInstaller(i, "its module venv is missing")
	case atLeast(i.Pip, pipForOthers):
		return []Step{
			{Path: i.Path, Args: []string{"-m", "venv", "--without-pip", venv}},
			{Path: i.Path, Args: append([]string{"-m", "pip", "--python", venv + "/bin/python"}, install...)},
		}, nil
	case i.Ensurepip:
		return []Step{
			{Path: i.Path, Args: []string{"-m", "venv", venv}},
			{Path: venv + "/bin/python", Args: append([]string{"-m", "pip"}, install...)},
		}, nil
	}
	return nil, noInstaller(i, "it has neither pip nor the module ensurepip")
}

// pipForOthers is the first version of pip that can install into an environment that it is not in.
const pipForOthers = "22.3"

func noInstaller(i info, why string) *Failure {
	return &Failure{Message: fmt.Sprintf("Python %s at %s cannot install packages: %s, and there is no uv. Install uv, "+
		"or pip and venv (on Debian: python3-pip and python3-venv), or use an image that has them", i.Version, i.Path, why)}
}

// installNode returns the step that installs a project's packages: those of its lock, or else what
// package.json allows today.
func installNode(p *Plan, i info, at places) ([]Step, *Failure) {
	if i.Npm == "" {
		return nil, &Failure{Message: fmt.Sprintf("Node %s at %s cannot install packages: there is no npm. Install npm, "+
			"or use an image that has it", i.Version, i.Path)}
	}
	command := "install"
	if p.Locked {
		command = "ci"
	}
	args := []string{command, "--prefix", path.Join(at.files, p.Folder)}
	if !p.Locked {
		args = append(args, "--no-package-lock")
	}
	if strings.HasSuffix(i.Npm, ".js") {
		return []Step{{Path: i.Path, Args: append([]string{i.Npm}, args...)}}, nil
	}
	return []Step{{Path: i.Npm, Args: args}}, nil
}

// install returns the steps of a plan.
func install(p *Plan, i info, at places) ([]Step, *Failure) {
	if p.Runtime == "node" {
		return installNode(p, i, at)
	}
	return installPython(p, i, at)
}

// toolEnv is what installers are told beside the indexes: to ask nobody anything, to read no
// configuration of the machine, and to keep nothing outside the folder for temporary files.
func toolEnv(at places) []string {
	return []string{
		"HOME=" + at.temp, "TMPDIR=" + at.temp, "LANG=C.UTF-8",
		"PIP_CONFIG_FILE=/dev/null", "PIP_RETRIES=2", "PIP_TIMEOUT=30", "PYTHONNOUSERSITE=1",
		"UV_NO_CONFIG=1", "UV_PYTHON_DOWNLOADS=never", "UV_CACHE_DIR=" + at.temp + "/uv", "UV_LINK_MODE=copy",
		"UV_NO_PROGRESS=1", "UV_COMPILE_BYTECODE=1", "NO_COLOR=1",
		"npm_config_cache=" + at.temp + "/npm", "npm_config_userconfig=" + at.temp + "/.npmrc",
		"npm_config_globalconfig=" + at.temp + "/.npmrc-global", "npm_config_audit=false", "npm_config_fund=false",
		"npm_config_update_notifier=false", "npm_config_progress=false", "npm_config_color=false",
		"npm_config_fetch_retries=2", "npm_config_fetch_retry_mintimeout=500", "npm_config_fetch_retry_maxtimeout=5000",
		"CI=1",
	}
}
