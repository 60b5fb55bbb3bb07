package local

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/dependencies/indextest"
	"go-job-orchestrator/shared/job"
)

// wheels returns so many small packages, each with a module of its name.
func wheels(n int) []indextest.Wheel {
	var list []indextest.Wheel
	for i := range n {
		name := fmt.Sprintf("small%d", i)
		list = append(list, indextest.Wheel{Name: name, Version: "1.0", Files: map[string]string{
			name + "/__init__.py": fmt.Sprintf("value = %d\n", i), name + "/data.txt": strings.Repeat("x", 1000),
		}})
	}
	return list
}

// indexed returns a server of packages, and the settings with which an orchestrator uses it.
func indexed(t *testing.T, x *indextest.Index) (url string, vars []string) {
	t.Helper()
	server := httptest.NewServer(x)
	t.Cleanup(server.Close)
	// The gate is on 127.0.0.1. A name tells one host from the other, as elsewhere.
	at := strings.Replace(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "localhost", 1)
	if x.User != "" {
		at = x.User + ":" + x.Password + "@" + at
	}
	url = "http://" + at[strings.LastIndexByte(at, '@')+1:]
	return url, []string{"PIP_INDEX_URL=http://" + at + "/simple", "NPM_CONFIG_REGISTRY=http://" + at + "/npm/"}
}

// withPackages is a Python program that needs all packages of a list.
func withPackages(list []indextest.Wheel, text string) form {
	f := python(text)
	for _, w := range list {
		f.files["requirements.txt"] += w.Name + "==" + w.Version + "\n"
	}
	return f
}

// TestRequirements has a program use packages of an index that wants a password. The second run
// finds them in the cache, so it asks no index and begins nearly as soon as a job without any.
func TestRequirements(t *testing.T) {
	t.Parallel()
	x := &indextest.Index{Wheels: wheels(20), User: "robot", Password: "index-password", Absolute: true}
	_, vars := indexed(t, x)
	s := start(t, t.TempDir(), vars...)
	f := withPackages(x.Wheels, "import small0, small19, sys\nprint(small0.value + small19.value, sys.prefix)\n")
	first := s.submit(f)
	got := first.wait()
	must(t, got, job.Succeeded, job.ReasonCompleted)
	if log := first.logs("tail=all"); !strings.HasPrefix(log, "19 ") || !strings.Contains(log, ".venv") {
		t.Errorf("log %q", log)
	}
	if got.NotCollected != nil {
		t.Errorf("not collected: %+v", got.NotCollected)
	}
	if log := first.output(job.PrepareLogFile); !strings.Contains(log, "Successfully installed") ||
		strings.Contains(log, x.Password) {
		t.Errorf("prepare.log: %s", log)
	}
	asked := len(x.Asked())
	if asked == 0 {
		t.Error("the index was asked nothing")
	}
	// What the packages add is the time from when the job was taken up until its attempt began.
	took := func() time.Duration {
		j := s.submit(f)
		got := j.wait()
		must(t, got, job.Succeeded, job.ReasonCompleted)
		return got.Attempts[0].StartedAt.Sub(*got.Attempts[0].PreparedFrom)
	}
	cached := min(took(), took(), took(), took())
	if again := len(x.Asked()); again != asked {
		t.Errorf("asked the index %d times more: %q", again-asked, x.Asked()[asked:])
	}
	t.Logf("20 packages from the cache take %s", cached)
	if cached > time.Second {
		t.Errorf("20 packages from the cache took %s", cached)
	}
}

// TestPackagesFail has projects whose packages cannot be installed.
func TestPackagesFail(t *testing.T) {
	t.Parallel()
	broken := indextest.Wheel{Name: "broken", Version: "1.0", Requires: []string{"nowhere>=2"}}
	x := &indextest.Index{Wheels: append(wheels(1), broken)}
	_, vars := indexed(t, x)
	s := start(t, t.TempDir(), vars...)
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"unknown":  {map[string]string{"requirements.txt": "no-such-package==1\n"}, "no-such-package"},
		"version":  {map[string]string{"requirements.txt": "small0==9\n"}, "small0==9"},
		"indirect": {map[string]string{"requirements.txt": "broken\n"}, "nowhere"},
		"syntax":   {map[string]string{"requirements.txt": "small0 === === 1\n"}, "requirements.txt"},
		"script":   {map[string]string{"main.py": "# /// script\n# dependencies = [\n# ///\n"}, "TOML"},
		"python": {map[string]string{
			"main.py": "# /// script\n# requires-python = \">=9\"\n# dependencies = [\"small0\"]\n# ///\n",
		}, "demands Python >=9"},
		"hash": {map[string]string{
			"requirements.txt": "small0==1.0 --hash=sha256:" + strings.Repeat("0", 64) + "\n",
		}, "small0"},
	} {
		t.Run(name, func(t *testing.T) {
			f := python("print('ran')\n", "retries=2")
			for name, text := range test.files {
				f.files[name] = text
			}
			j := s.submit(f)
			got := j.wait()
			must(t, got, job.Failed, job.ReasonDependenciesFailed)
			if len(got.Attempts) != 1 || got.ExitCode != nil || !strings.Contains(got.Message, test.want) {
				t.Errorf("%d attempts, exit code %v, message %q; want %q in it", len(got.Attempts), got.ExitCode, got.Message,
					test.want)
			}
			if log := j.logs("tail=all"); log != "" {
				t.Errorf("log %q", log)
			}
		})
	}
}

// TestPreparing looks at a job while its packages are installed, and ends it then.
func TestPreparing(t *testing.T) {
	t.Parallel()
	reached, release := make(chan struct{}, 100), make(chan struct{})
	x := &indextest.Index{Wheels: wheels(1), Fail: func(http.ResponseWriter, *http.Request) bool {
		reached <- struct{}{}
		<-release
		return false
	}}
	_, vars := indexed(t, x)
	s := start(t, t.TempDir(), append(vars, "MAX_CONCURRENT_JOBS=4")...)
	f := withPackages(x.Wheels, "import small0\nprint(small0.value)\n")
	j := s.submit(f)
	<-reached
	if got := j.status(); got.Phase != job.Pending || got.Reason != job.ReasonPreparing || got.StartedAt != nil ||
		len(got.Attempts) != 0 {
		t.Errorf("while it installs: %s (%s), %d attempts", got.Phase, got.Reason, len(got.Attempts))
	}
	f.files["requirements.txt"] += "# another list\n"
	cancelled := s.submit(f)
	<-reached
	if resp, data := cancelled.call(http.MethodPost, cancelled.path()+"/cancel"); resp.StatusCode != http.StatusAccepted &&
		resp.StatusCode != http.StatusOK {
		t.Errorf("cancel: %s %s", resp.Status, data)
	}
	must(t, cancelled.wait(), job.Cancelled, job.ReasonCancelled)
	f.fields = append(f.fields, "timeoutSeconds=1")
	f.files["requirements.txt"] += "# a third list\n"
	must(t, s.submit(f).wait(), job.Failed, job.ReasonDeadlineExceeded)
	// A server that dies meanwhile begins anew.
	s.kill()
	close(release)
	s.start()
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if got := j.status(); got.Attempts[0].PreparedFrom == nil || len(got.Attempts) != 1 {
		t.Errorf("attempts %+v", got.Attempts)
	}
}

// TestPrepareTimeout ends an installation that takes too long.
func TestPrepareTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	x := &indextest.Index{Wheels: wheels(1)}
	x.Fail = func(http.ResponseWriter, *http.Request) bool { <-release; return false }
	_, vars := indexed(t, x)
	t.Cleanup(func() { close(release) })
	s := start(t, t.TempDir(), append(vars, "PREPARE_TIMEOUT=3s")...)
	got := s.submit(withPackages(x.Wheels, "")).wait()
	must(t, got, job.Failed, job.ReasonDependenciesFailed)
	if !strings.Contains(got.Message, "PREPARE_TIMEOUT") {
		t.Errorf("message %q", got.Message)
	}
}

// TestNetworkFails has an index that fails for a while, and one that always does.
func TestNetworkFails(t *testing.T) {
	t.Parallel()
	failures := 0
	x := &indextest.Index{Wheels: wheels(1)}
	x.Fail = func(w http.ResponseWriter, _ *http.Request) bool {
		failures++
		if failures <= 4 { // pip gives up after three
			http.Error(w, "not now", http.StatusServiceUnavailable)
		}
		return failures <= 4
	}
	_, vars := indexed(t, x)
	s := start(t, t.TempDir(), vars...)
	j := s.submit(withPackages(x.Wheels, ""))
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if log := j.output(job.PrepareLogFile); !strings.Contains(log, "trying again (2 of 3)") {
		t.Errorf("prepare.log: %s", log)
	}
	gone := start(t, t.TempDir(), "PIP_INDEX_URL=http://127.0.0.1:1/simple")
	got := gone.submit(withPackages(x.Wheels, "")).wait()
	must(t, got, job.Failed, job.ReasonDependenciesFailed)
	if !strings.Contains(got.Message, "could not be reached") {
		t.Errorf("message %q", got.Message)
	}
}

// TestCredentials has a program, and code that runs while a package of its own is installed, look
// for what opens the index.
func TestCredentials(t *testing.T) {
	t.Parallel()
	x := &indextest.Index{Wheels: wheels(1), User: "robot", Password: "index-password"}
	_, vars := indexed(t, x)
	s := start(t, t.TempDir(), vars...)
	const spy = `
import os, subprocess, sys
def look():
    texts = [repr(dict(os.environ))]
    for top in ("/workspace", "/tmp", "/proc", os.getcwd(), os.path.expanduser("~"), "/etc"):
        for dir, _, names in os.walk(top):
            for name in names:
                path = os.path.join(dir, name)
                if os.path.isfile(path) and os.path.getsize(path) < 1 << 20:
                    try:
                        texts.append(open(path, errors="replace").read(1 << 20))
                    except OSError:
                        pass
    return "-".join(["index", "password"]) in "".join(texts) # the compiled code must not hold it in one
`
	f := python(spy + `
import seen, small0, urllib.request, urllib.error
print("found by the program:", look(), "by the package:", seen.found)
try:
    urllib.request.urlopen(seen.index.rstrip("/") + "/small0/", timeout=20)
    print("index open")
except urllib.error.HTTPError as e:
    print("index closed", e.code)
`)
	f.files["requirements.txt"] = "small0\n./own.zip\n"
	f.files["own.zip"] = sdist(spy)
	j := s.submit(f)
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if log := j.logs("tail=all"); log != "found by the program: False by the package: False\nindex closed 404\n" {
		t.Errorf("log %q\nprepare.log %s", log, j.output(job.PrepareLogFile))
	}
	if log := j.output(job.PrepareLogFile); strings.Contains(log, x.Password) {
		t.Errorf("prepare.log tells the password: %s", log)
	}
	// Nor does anything in the storage tell.
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), x.Password) {
			t.Errorf("%s tells the password", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sdist is a package named seen of which a module is made by code that runs when it is installed. The
// code may call look of the module it begins with.
func sdist(spy string) string {
	return string(indextest.Source("seen", "1.0", spy+`
import zipfile
def build_wheel(directory, settings=None, metadata=None):
    index = os.environ.get("PIP_INDEX_URL") or os.environ.get("UV_DEFAULT_INDEX", "")
    name = "seen-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as z:
        z.writestr("seen.py", "found = %r\nindex = %r\n" % (look(), index))
        z.writestr("seen-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: seen\nVersion: 1.0\n")
        z.writestr("seen-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("seen-1.0.dist-info/RECORD", "")
    return name
`))
}

// TestNode has projects of npm: with a lock, which may name the registry, and without one.
func TestNode(t *testing.T) {
	t.Parallel()
	small := indextest.Package{Name: "small", Version: "1.0.0", Files: map[string]string{
		"index.js": "module.exports = { value: 42, made: require('fs').existsSync(__dirname + '/made') }\n"},
		Manifest: map[string]any{"scripts": map[string]string{"install": "echo \"$NPM_PASSWORD\" >made"}}}
	x := &indextest.Index{Packages: []indextest.Package{small}, User: "robot", Password: "index-password"}
	url, vars := indexed(t, x)
	s := start(t, t.TempDir(), vars...)
	lock := func(registry string) string {
		return fmt.Sprintf(`{"name":"app","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
"":{"name":"app","version":"1.0.0","dependencies":{"small":"1.0.0"}},
"node_modules/small":{"version":"1.0.0","resolved":"%s/small/-/small-1.0.0.tgz",
"integrity":"%s","hasInstallScript":true}}}`,
			registry, small.Integrity())
	}
	const (
		required = "const small = require('small'); console.log(small.value, small.made)"
		imported = "import small from 'small'; console.log(small.value, small.made)"
	)
	manifest := `{"name":"app","version":"1.0.0","dependencies":{"small":"1.0.0"}}`
	for name, test := range map[string]struct {
		entrypoint, text, lock string
		log                    string
	}{
		"lock of npm":      {"main.js", required, lock("https://registry.npmjs.org"), ""},
		"lock of registry": {"main.mjs", imported, lock(url + "/npm"), ""},
		"no lock":          {"main.js", required, "", "no package-lock.json"},
	} {
		t.Run(name, func(t *testing.T) {
			f := form{runtime: "node", entrypoint: test.entrypoint, files: map[string]string{
				test.entrypoint: test.text, "package.json": manifest}}
			if test.lock != "" {
				f.files["package-lock.json"] = test.lock
			}
			for range 2 {
				asked := len(x.Asked())
				j := s.submit(f)
				got := j.wait()
				must(t, got, job.Succeeded, job.ReasonCompleted)
				if log := j.logs("tail=all"); log != "42 true\n" || got.NotCollected != nil {
					t.Errorf("log %q, not collected %+v", log, got.NotCollected)
				}
				log := j.output(job.PrepareLogFile)
				if !strings.Contains(log, test.log) || strings.Contains(log, x.Password) {
					t.Errorf("prepare.log: %s", log)
				}
				if again := strings.Contains(log, "were in the cache"); again != (len(x.Asked()) == asked) {
					t.Errorf("from the cache: %v, asked %q", again, x.Asked()[asked:])
				}
			}
		})
	}
	f := form{runtime: "node", entrypoint: "main.js", files: map[string]string{"main.js": "",
		"package.json": `{"dependencies":{"nowhere":"1"}}`}}
	got := s.submit(f).wait()
	must(t, got, job.Failed, job.ReasonDependenciesFailed)
	if !strings.Contains(got.Message, "nowhere") {
		t.Errorf("message %q", got.Message)
	}
	f.files["package.json"] = `{"type":"commonjs"}`
	j := s.submit(f)
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if resp, _ := j.call(http.MethodGet, "/outputs/"+j.ID+"/"+job.PrepareLogFile); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a job without packages has a log of their installation: %s", resp.Status)
	}
}

// TestOffline installs what a folder of wheels has, and nothing else.
func TestOffline(t *testing.T) {
	t.Parallel()
	house, err := os.MkdirTemp("/var/tmp", "wheels-") // programs have a /tmp of their own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(house) })
	for _, w := range wheels(2) {
		if err := os.WriteFile(filepath.Join(house, w.File()), w.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(house, 0o755); err != nil {
		t.Fatal(err)
	}
	s := start(t, t.TempDir(), "DEPENDENCIES=offline", "WHEELHOUSE_DIR="+house)
	j := s.submit(withPackages(wheels(2), "import small1\nprint(small1.value)\n"))
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	must(t, s.submit(withPackages(wheels(3), "")).wait(), job.Failed, job.ReasonDependenciesFailed)
}

// TestNoDependencies installs nothing for a job that says so, also when it runs again, until it is
// run again with its packages.
func TestNoDependencies(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "DEPENDENCIES=offline")
	f := withPackages(wheels(1), "print('ran')\n")
	f.fields = append(f.fields, "dependencies=off")
	resp, data, err := s.post(f)
	if err != nil || resp.StatusCode != http.StatusCreated || strings.Contains(string(data), "warnings") {
		t.Errorf("answered %s, %v", data, err)
	}
	j := s.submit(f)
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	rerun := func(fields ...string) *sent {
		body, kind := form{fields: fields}.encode()
		status, data := ask(t, s, http.MethodPost, j.path()+"/rerun", "", body, kind)
		again := &sent{s: s}
		if err := json.Unmarshal(data, again); err != nil || status != http.StatusCreated {
			t.Fatalf("rerun with %q: %d %s", fields, status, data)
		}
		return again
	}
	must(t, rerun("name=again").wait(), job.Succeeded, job.ReasonCompleted)
	must(t, rerun("dependencies=auto").wait(), job.Failed, job.ReasonDependenciesFailed)
}

// TestOff warns of what is not installed.
func TestOff(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "DEPENDENCIES=off")
	f := withPackages(wheels(1), "print('ran')\n")
	_, data, err := s.post(f)
	if err != nil || !strings.Contains(string(data), `"warnings":["requirements.txt`) {
		t.Errorf("answered %s, %v", data, err)
	}
	j := s.submit(f)
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if log := j.logs("tail=all"); log != "ran\n" {
		t.Errorf("log %q", log)
	}
}
