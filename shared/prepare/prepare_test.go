package prepare

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// service is a cache with one entry at most, and a plan.
type service struct {
	plan     *Plan
	turns    []Turn // what Claim answers, one after the other; then Build
	stored   []byte
	openErr  error
	claims   int
	released int
}

func (s *service) Plan(context.Context, *Sources) (*Plan, error) { return s.plan, nil }

func (s *service) Claim(context.Context, string) (Turn, error) {
	s.claims++
	if len(s.turns) == 0 {
		return Build, nil
	}
	turn := s.turns[0]
	s.turns = s.turns[1:]
	return turn, nil
}

func (s *service) OpenPackages(context.Context, string) (io.ReadCloser, error) {
	if s.openErr != nil {
		return nil, s.openErr
	}
	return io.NopCloser(bytes.NewReader(s.stored)), nil
}

func (s *service) StorePackages(_ context.Context, _ string, tar io.Reader) (err error) {
	s.stored, err = io.ReadAll(tar)
	return err
}

func (s *service) Release(context.Context, string) error { s.released++; return nil }

const answer = `{"path":"/usr/bin/python3","version":"3.11.7","platform":"p","pip":"23.0","venv":true,"uv":""}`

// newPreparer returns a preparer whose steps are played by install, which is called with the number
// of its call.
func newPreparer(t *testing.T, s *service, install func(files string, n int) Outcome) (*Preparer, *[]Step) {
	t.Helper()
	dir := t.TempDir()
	files, temp := filepath.Join(dir, "files"), filepath.Join(dir, "tmp")
	for _, d := range []string{files, temp} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var steps []Step
	return &Preparer{
		Service: s, Interpreter: "python3", Files: files, Temp: temp, StepFiles: "/w", StepTemp: "/t",
		Note: func(string) {}, Log: slog.New(slog.DiscardHandler), RetryPause: time.Microsecond,
		Run: func(_ context.Context, one Step) (Outcome, error) {
			steps = append(steps, one)
			if one.Path == "python3" && len(one.Args) == 3 {
				return Outcome{Output: answer}, nil
			}
			return install(files, len(steps)-1), nil
		},
	}, &steps
}

// installs makes a virtual environment with one script.
func installs(files string, _ int) Outcome {
	bin := filepath.Join(files, ".venv", "bin")
	err := os.MkdirAll(bin, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "tool"), []byte("#!/old/job/files/.venv/bin/python\nprint(1)\n"), 0o755)
	}
	if err != nil {
		return Outcome{Code: 1, Log: err.Error()}
	}
	return Outcome{}
}

func python() *Plan {
	return &Plan{Runtime: "python", From: "requirements.txt", Digest: "d", Timeout: time.Minute}
}

func TestBuildAndRestore(t *testing.T) {
	s := &service{plan: python()}
	p, steps := newPreparer(t, s, installs)
	installed, err := p.Prepare(t.Context(), &Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Installed{Runtime: "python", Trees: []string{".venv"}}, installed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(*steps); n != 3 || len(s.stored) == 0 || s.released != 0 {
		t.Errorf("%d steps, %d bytes stored, released %d times", n, len(s.stored), s.released)
	}
	// Another job waits, and gets the same without a step but the question.
	again := &service{plan: python(), stored: s.stored, turns: []Turn{Wait, Stored}}
	p, steps = newPreparer(t, again, installs)
	if _, err := p.Prepare(t.Context(), &Sources{}); err != nil || len(*steps) != 1 {
		t.Errorf("%d steps, %v", len(*steps), err)
	}
	text, err := os.ReadFile(filepath.Join(p.Files, ".venv", "bin", "tool"))
	if err != nil || string(text) != "#!/w/.venv/bin/python\nprint(1)\n" {
		t.Errorf("script %q, %v", text, err)
	}
}

func TestSpoiledCache(t *testing.T) {
	s := &service{plan: python(), stored: []byte("no archive"), turns: []Turn{Stored, Build}}
	p, steps := newPreparer(t, s, installs)
	if _, err := p.Prepare(t.Context(), &Sources{}); err != nil || len(*steps) != 3 {
		t.Errorf("%d steps, %v", len(*steps), err)
	}
	s = &service{plan: python(), openErr: job.ErrNotFound, turns: []Turn{Stored, Stored, Stored, Stored}}
	p, steps = newPreparer(t, s, installs)
	if _, err := p.Prepare(t.Context(), &Sources{}); err != nil || len(*steps) != 3 {
		t.Errorf("an entry that is never there: %d steps, %v", len(*steps), err)
	}
}

func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		plan  Plan
		out   func(n int) Outcome
		want  string
		steps int
	}{
		"unknown package": {*python(), func(int) Outcome {
			return Outcome{Code: 1, Log: "Looking in indexes\nERROR: No matching distribution found for nope==1\n"}
		}, "the package nope==1, which requirements.txt needs", 2},
		"network": {*python(), func(int) Outcome {
			return Outcome{Code: 1, Log: "WARNING: Retrying (Retry(total=4 ...\nERROR: No matching distribution found for a\n"}
		}, "could not be reached", 1 + networkTries},
		"index fails": {*python(), func(n int) Outcome {
			if n%3 == 0 { // the question to the index
				return Outcome{Code: indexFails}
			}
			return Outcome{Code: n % 3 / 2, Log: "satisfies the requirement small (from versions: none)\n"}
		}, "could not be reached", 1 + 3*networkTries},
		"killed": {*python(), func(int) Outcome {
			return Outcome{Code: 137, Reason: "OOMKilled", Message: "the program used more memory than its limit"}
		}, "used more memory", 2},
		"timeout": {*python(), func(int) Outcome { return Outcome{TimedOut: true} }, "PREPARE_TIMEOUT", 2},
		"offline": {Plan{Runtime: "python", From: "x", Offline: true, Timeout: time.Minute}, nil, "DEPENDENCIES=offline", 1},
		"not in the wheelhouse": {Plan{Runtime: "python", From: "x", Offline: true, Wheelhouse: "/w", Timeout: time.Minute},
			func(int) Outcome {
				return Outcome{Code: 1, Log: "satisfies the requirement small (from versions: none)\n"}
			}, "packages of its own (DEPENDENCIES=offline)", 2},
		"version": {Plan{Runtime: "python", From: "x", Python: ">=3.12", Timeout: time.Minute}, nil,
			"demands Python >=3.12", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{plan: &test.plan}
			p, steps := newPreparer(t, s, func(_ string, n int) Outcome { return test.out(n) })
			_, err := p.Prepare(t.Context(), &Sources{})
			var failure *Failure
			if !errors.As(err, &failure) || !strings.Contains(failure.Message, test.want) {
				t.Errorf("got %v; want a failure with %q", err, test.want)
			}
			if len(*steps) != test.steps || s.stored != nil || s.released != 1 {
				t.Errorf("%d steps, want %d; stored %t, released %d times", len(*steps), test.steps, s.stored != nil, s.released)
			}
		})
	}
}

// TestBlame has what installers write when a package cannot be installed.
func TestBlame(t *testing.T) {
	for _, test := range []struct{ log, want string }{
		{"ERROR: Could not find a version that satisfies the requirement small0==9 (from versions: 1.0)\n",
			"small0==9"},
		{"ERROR: Failed building wheel for native\nERROR: Could not build wheels",
			"native"},
		{"ERROR: Cannot install a and b==1 because these package versions have conflicting dependencies.",
			"a and b==1"},
		{"  × No solution found when resolving dependencies:\n  ╰─▶ Because nope was not found in the package registry",
			"nope"},
		{"npm error code E404\nnpm error 404 Not Found - GET http://127.0.0.1:1/npm/nope - not found\n",
			"nope"},
		{"npm error code ETARGET\nnpm error notarget No matching version found for small@9.\n",
			"small@9"},
		{"npm ERR! code 1\nnpm ERR! path /workspace/node_modules/@x/native\nnpm ERR! command failed\n",
			"@x/native"},
		{"something else\n",
			""},
	} {
		if got := blamed(test.log); got != test.want {
			t.Errorf("%q: got %q, want %q", test.log, got, test.want)
		}
	}
}

func TestCheckPython(t *testing.T) {
	for _, test := range []struct {
		conditions, version string
		met                 bool
	}{
		{"", "3.11.7", true}, {">=3.11", "3.11.7", true}, {">=3.12", "3.11.7", false}, {">=3.9,<4", "3.11.7", true},
		{">=3.9,<3.11", "3.11.0", false}, {"==3.11.*", "3.11.7", true}, {"==3.12.*", "3.11.7", false},
		{"!=3.11.*", "3.11.7", false}, {"~=3.11", "3.12.0", true}, {"~=3.11", "4.0", false}, {"~=3.11.2", "3.12", false},
		{">3.11.7", "3.11.7", false}, {"<=3.11.7", "3.11.7", true}, {">= 3.8", "3.13.0rc1", true}, {"junk", "3.11", true},
		{"===", "3.11", true}, {"==3.11.7", "3.11.7", true},
	} {
		if got := checkPython(test.conditions, test.version) == ""; got != test.met {
			t.Errorf("%q with %s: met %v", test.conditions, test.version, got)
		}
	}
}

// TestUnpackRefuses has archives that would write elsewhere.
func TestUnpackRefuses(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"above":    {{Name: "../x", Typeflag: tar.TypeReg}},
		"absolute": {{Name: "/.venv/x", Typeflag: tar.TypeReg}},
		"beside":   {{Name: "main.py", Typeflag: tar.TypeReg}},
		"through":  {{Name: ".venv/../main.py", Typeflag: tar.TypeReg}},
		"link": {{Name: ".venv/l", Typeflag: tar.TypeSymlink, Linkname: "../.."},
			{Name: ".venv/l/x", Typeflag: tar.TypeReg}},
		"absolute link": {{Name: ".venv", Typeflag: tar.TypeSymlink, Linkname: "/tmp"},
			{Name: ".venv/escaped", Typeflag: tar.TypeReg}},
		"device":    {{Name: ".venv/d", Typeflag: tar.TypeChar}},
		"hard link": {{Name: ".venv/h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"twice":     {{Name: ".venv/x", Typeflag: tar.TypeReg}, {Name: ".venv/x", Typeflag: tar.TypeReg}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range headers {
				h.Mode = 0o644
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			root := filepath.Join(dir, "in", "files")
			if err := os.MkdirAll(root, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := Unpack(t.Context(), root, pythonTree, &b); err == nil {
				t.Error("unpacked")
			}
			for _, outside := range []string{filepath.Join(dir, "x"), filepath.Join(dir, "in", "x"), "/tmp/escaped"} {
				if _, err := os.Lstat(outside); err == nil {
					t.Errorf("%s was written", outside)
				}
			}
		})
	}
}

// TestPack keeps links, modes and times, and leaves out what cannot be kept.
func TestPack(t *testing.T) {
	root := t.TempDir()
	tree := filepath.Join(root, "app", "node_modules", "a")
	if err := os.MkdirAll(filepath.Join(tree, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_000_000, 0)
	for name, mode := range map[string]os.FileMode{"run": 0o755, "read": 0o600} {
		path := filepath.Join(tree, name)
		err := errors.Join(os.WriteFile(path, []byte(name), mode), os.Chtimes(path, at, at))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../../../etc", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	trees, err := findTrees(t.Context(), root, "app", nodeTree)
	if err != nil || !cmp.Equal(trees, []string{"app/node_modules"}) {
		t.Fatalf("trees %q, %v", trees, err)
	}
	var b bytes.Buffer
	if err := Pack(t.Context(), root, trees, &b); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if got, err := Unpack(t.Context(), to, nodeTree, &b); err != nil || !cmp.Equal(got, trees) {
		t.Fatalf("unpacked %q, %v", got, err)
	}
	var got []string
	for _, name := range []string{"run", "read", "link", "empty"} {
		info, err := os.Lstat(filepath.Join(to, "app", "node_modules", "a", name))
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprint(name, " ", info.Mode())
		if info.Mode().IsRegular() {
			line += fmt.Sprint(" ", info.ModTime().Unix())
		}
		got = append(got, line)
	}
	want := []string{"run -rwxr-xr-x 1000000", "read -rw-r--r-- 1000000", "link Lrwxrwxrwx", "empty drwxr-xr-x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestInstallers chooses the installer by what there is.
func TestInstallers(t *testing.T) {
	at := places{"/w", "/t"}
	plan := &Plan{Runtime: "python", From: "uv.lock", Requirements: "a==1\n", Locked: true, Hashed: true}
	for name, test := range map[string]struct {
		plan  *Plan
		about info
		want  string // of the last step
	}{
		"uv": {plan, info{Path: "/p", Uv: "/uv", Pip: "23.0", Venv: true},
			"/uv pip install --python /w/.venv/bin/python --no-deps --require-hashes -r /t/prepare-requirements.txt"},
		"pip": {python(), info{Path: "/p", Pip: "22.3", Venv: true}, "/p -m pip --python /w/.venv/bin/python install " +
			"--no-input --no-color --progress-bar off --disable-pip-version-check --no-cache-dir " +
			"--no-warn-script-location -r /w/requirements.txt"},
		"old pip": {python(), info{Path: "/p", Pip: "20.3.4", Venv: true, Ensurepip: true}, "/w/.venv/bin/python -m pip " +
			"install --no-input --no-color --progress-bar off --disable-pip-version-check --no-cache-dir " +
			"--no-warn-script-location -r /w/requirements.txt"},
		"no venv": {python(), info{Path: "/p", Pip: "23.0"}, "venv is missing"},
		"nothing": {python(), info{Path: "/p", Venv: true}, "neither pip nor"},
		"npm": {&Plan{Runtime: "node", Locked: true, Folder: "."}, info{Path: "/n", Npm: "/npm-cli.js"},
			"/n /npm-cli.js ci --prefix /w"},
		"npm, app": {&Plan{Runtime: "node", Folder: "app"}, info{Path: "/n", Npm: "/npm"},
			"/npm install --prefix /w/app --no-package-lock"},
		"no npm": {&Plan{Runtime: "node", Folder: "."}, info{Path: "/n"}, "there is no npm"},
	} {
		steps, failure := install(test.plan, test.about, at)
		got := ""
		if failure != nil {
			got = failure.Message
		} else {
			last := steps[len(steps)-1]
			got = last.Path + " " + strings.Join(last.Args, " ")
		}
		if failure == nil && got != test.want || failure != nil && !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
