package gojob

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// arguments are the arguments of all processes, as every user of the machine sees them.
func arguments(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, _ := os.ReadFile(file) // it may have ended
		all.Write(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
		all.WriteString("\n")
	}
	return all.String()
}

// echoes reports whether a terminal shows what is typed.
func (t *terminal) echoes() bool {
	state, err := unix.IoctlGetTermios(int(t.pty.Fd()), unix.TCGETS)
	if err != nil {
		t.t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// TestTypedKey types a key at a terminal, which does not show it, and interrupts that.
func TestTypedKey(t *testing.T) {
	t.Parallel()
	s := serve(t, "AUTH=keys")
	key := s.firstKey()
	user := newShell(t, s.url())

	term := user.terminal(80, "login")
	term.until("Key for " + s.url() + ": ")
	until(t, "the terminal does not echo", func() bool { return !term.echoes() })
	term.press(ctrlC)
	if code := term.end(); code != 130 || !term.echoes() {
		t.Errorf("interrupted: %d, the terminal echoes: %t\n%s", code, term.echoes(), term.screen.String())
	}

	term = user.terminal(80, "login")
	term.until("Key for ")
	until(t, "the terminal does not echo", func() bool { return !term.echoes() })
	term.press(key + "\r")
	if code := term.end(); code != 0 || !term.echoes() {
		t.Errorf("ended with %d, the terminal echoes: %t", code, term.echoes())
	}
	if screen := term.screen.String(); strings.Contains(screen, key) || !strings.Contains(screen, "you are admin (admin)") {
		t.Errorf("the screen: %s", screen)
	}
}

// TestSecretsStayHidden uses a stored key. Neither it nor a token of a job is in the arguments of a
// process, in what is printed, or in a file that others can read.
func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	s := serve(t, "AUTH=keys")
	key := s.firstKey()
	user := newShell(t, s.url())
	user.write("key", key)
	if err := os.Chmod(filepath.Join(user.dir, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, words, code := user.sh("gojob login < key"); code != 0 {
		t.Fatal(words)
	}
	user.write("wait.py", "import time\nprint('runs', flush=True)\ntime.sleep(600)\n")
	run := user.begin("run", "-s", "PASSWORD=hunter22", "wait.py")
	run.until("runs")
	if all := arguments(t); strings.Contains(all, key) || !strings.Contains(all, "wait.py") {
		t.Error("the key is in the arguments of a process")
	}
	printed := run.stdout.String() + run.stderr.String()
	for _, args := range [][]string{
		{"get", "@", "-o", "json"}, {"ls", "-o", "yaml"}, {"context", "ls", "-o", "json"}, {"context", "show"}, {"doctor"}, {"whoami"},
		{"key", "ls", "-o", "json"}, {"open", "--print"}, {"cancel", "@"}, {"logout"}, {"ls"},
	} {
		out, words, _ := user.gojob(args...)
		printed += out + words
	}
	run.end()
	secret := regexp.MustCompile(regexp.QuoteMeta(key) + `|gojob_[0-9a-z]{10}_|hunter22`)
	if found := secret.FindString(printed); found != "" {
		t.Errorf("%s is printed:\n%s", found, printed)
	}
	err := filepath.WalkDir(user.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if secret.Match(text) && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has a secret, and the mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpen opens the page in a browser. The arguments of the browser have the name of a file that only
// its user can read, which leads to the token once.
func TestOpen(t *testing.T) {
	t.Parallel()
	s := serve(t, "AUTH=keys")
	key := s.firstKey()
	user := newShell(t, s.url())
	user.env = append(user.env, "GOJOB_TOKEN="+key, "BROWSER="+filepath.Join(user.dir, "browser"), "TMPDIR="+t.TempDir())
	user.write("browser", "#!/bin/sh\nprintf %s \"$1\" > opened.new && mv opened.new opened\nexec sleep 600\n")
	user.write("hello.py", "print('hello')\n")
	if _, words, code := user.gojob("submit", "-q", "hello.py"); code != 0 {
		t.Fatal(words)
	}
	run := user.begin("open", "@")
	var opened []byte
	until(t, "the browser was started", func() bool {
		opened, _ = os.ReadFile(filepath.Join(user.dir, "opened"))
		return len(opened) > 0
	})
	if all := arguments(t); strings.Contains(all, key) {
		t.Error("the key is in the arguments of a process")
	}
	file, found := strings.CutPrefix(string(opened), "file://")
	info, err := os.Stat(file)
	if !found || err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%s: %v %v", opened, info, err)
	}
	text, err := os.ReadFile(file)
	m := regexp.MustCompile(`url=(http://127\.0\.0\.1:\d+)(/[A-Z0-9]{20,})'`).FindStringSubmatch(string(text))
	if err != nil || m == nil || strings.Contains(string(text), key) {
		t.Fatalf("%s %v", text, err)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string) (int, string) {
		response, err := client.Get(m[1] + path)
		if err != nil {
			return 0, ""
		}
		response.Body.Close()
		return response.StatusCode, response.Header.Get("Location")
	}
	if code, to := get("/"); code != http.StatusNotFound || to != "" {
		t.Errorf("without the secret: %d %s", code, to)
	}
	id := s.newestOf(key)
	want := s.url() + "/ui/jobs/" + id + "#token=" + key
	if code, to := get(m[2]); code != http.StatusSeeOther || to != want {
		t.Errorf("%d %s, want %s", code, to, want)
	}
	if code, to := get(m[2]); to != "" {
		t.Errorf("a second time: %d %s", code, to)
	}
	if code := run.end(); code != 0 {
		t.Errorf("ended with %d: %s", code, run.stderr.String())
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the file is still there")
	}
	for pid := range strings.FieldsSeq(processes(t, "sleep 600", user.dir)) {
		if n, err := strconv.Atoi(pid); err == nil {
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
}

// processes are those with these arguments that run in a folder.
func processes(t *testing.T, line, dir string) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		text, _ := os.ReadFile(file)
		at, _ := os.Readlink(filepath.Join(filepath.Dir(file), "cwd"))
		if strings.TrimSpace(string(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))) == line && at == dir {
			found = append(found, filepath.Base(filepath.Dir(file)))
		}
	}
	return strings.Join(found, " ")
}

// newestOf returns the newest job of a server with keys.
func (s *server) newestOf(key string) string {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, s.url()+"/api/v1/jobs?limit=1", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(response.Body)
	m := regexp.MustCompile(`"jobID":"([0-9a-f]{32})"`).FindStringSubmatch(text.String())
	if m == nil {
		s.t.Fatalf("no job: %s", text.String())
	}
	return m[1]
}
