package docs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestConsole runs the console blocks of every page.
func TestConsole(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		if !slices.ContainsFunc(p.blocks, func(b block) bool { return b.kind == "console" }) {
			continue
		}
		t.Run(p.path, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			examples, err := filepath.Abs(root + "/examples")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(examples, dir+"/examples"); err != nil {
				t.Fatal(err)
			}
			s := newSession(t, dir, p)
			for _, b := range p.blocks {
				s.block(t, p.path, dir, b)
			}
		})
	}
}

// session is a page that is carried out.
type session struct {
	shell  *shell
	server *server
	host   string
	known  map[string]string // what the server gave in place of IDs, tokens and keys of the page
	value  *regexp.Regexp    // finds these in the page
}

func newSession(t *testing.T, dir string, p page) *session {
	t.Helper()
	host := "localhost:" + freePort(t)
	s := &session{shell: newShell(t, dir, "GOJOB_URL=http://"+host), host: host, known: map[string]string{}}
	s.server = start(t, s.host, filepath.Join(dir, "data"))
	pattern := value
	for _, b := range p.blocks {
		for _, key := range keyText.FindAllStringSubmatch(b.text, -1) {
			pattern += `|\b` + key[1] + `\b` // the ID alone may be any word
		}
	}
	s.value = regexp.MustCompile(pattern)
	return s
}

func (s *session) block(t *testing.T, path, dir string, b block) {
	t.Helper()
	if b.file != "" {
		if err := os.WriteFile(filepath.Join(dir, b.file), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b.kind != "console" {
		return
	}
	steps, err := steps(b.text)
	if err != nil {
		t.Fatalf("%s:%d: %v", path, b.line, err)
	}
	for _, step := range steps {
		if err := s.step(t, step); err != nil {
			t.Fatalf("%s:%d: %v", path, b.line+step.line, err)
		}
	}
}

// step is a command and what it prints.
type step struct {
	line          int // in its block, from 0
	command, want string
}

func steps(text string) ([]step, error) {
	var list []step
	more := false // the command goes on
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		command, begins := strings.CutPrefix(l, "$ ")
		switch last := len(list) - 1; {
		case more:
			list[last].command += "\n" + l
			more = strings.HasSuffix(l, `\`)
		case begins:
			list = append(list, step{line: i, command: command})
			more = strings.HasSuffix(l, `\`)
		case last < 0:
			return nil, errors.New(`the block does not begin with "$ "`)
		case strings.HasPrefix(l, " "): // continues the line before
			list[last].want = strings.TrimSuffix(list[last].want, "\n") + l[1:] + "\n"
		default:
			list[last].want += l + "\n"
		}
	}
	return list, nil
}

// starts matches the command that starts the server of the page again, with other settings.
var starts = regexp.MustCompile(`^((?:[A-Z_]+=\S+ )*)make run$`)

func (s *session) step(t *testing.T, step step) error {
	t.Helper()
	if m := starts.FindStringSubmatch(step.command); m != nil {
		return s.restart(t, step, strings.Fields(m[1])...)
	}
	command, err := s.translate(step.command)
	if err != nil {
		return err
	}
	output, code, err := s.shell.run(strings.ReplaceAll(command, "localhost:8080", s.host))
	if err != nil {
		return fmt.Errorf("%s: %w", step.command, err)
	}
	got := strings.ReplaceAll(strings.ReplaceAll(output, "\r\n", "\n"), s.host, "localhost:8080")
	if code != 0 {
		return fmt.Errorf("%s\nexited with %d:\n%s", step.command, code, got)
	}
	if err := s.compare(step.want, got); err != nil {
		return fmt.Errorf("%s\n%w\nprinted:\n%s\nshown:\n%s", step.command, err, got, step.want)
	}
	return nil
}

// restart has another server in place of that of the page, on the same directory, and compares what
// it prints with what is shown.
func (s *session) restart(t *testing.T, step step, settings ...string) error {
	t.Helper()
	s.server.stop()
	s.server = start(t, s.host, s.server.dir, settings...)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got := strings.ReplaceAll(s.server.stdout.String(), s.host, "localhost:8080")
		err := s.compare(step.want, got)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s\n%w\nprinted:\n%s\nshown:\n%s", step.command, err, got, step.want)
		}
	}
}

// value finds what is another each time: times, keys, tokens and IDs. IDs as gojob shows them are told
// from other words by the digits that IDs of these years begin with.
const value = `\d{4}-\d\d-\d\dT[0-9:.]+Z|gojob_[0-9a-z]{10}_[0-9A-Za-z]{49}|\d{10}\.[A-Za-z0-9_-]{43}|` +
	`[A-Za-z0-9_-]{43,}|[0-9a-f]{32,}|\bfe5[0-9a-f]{9}\b|…`

// keyText finds keys, and their IDs.
var keyText = regexp.MustCompile(`gojob_([0-9a-z]{10})_[0-9A-Za-z]{49}`)

const (
	tokenLength  = 43
	sharedLength = 10 + 1 + tokenLength
	idLength     = 32
	shortLength  = 12 // of an ID as gojob shows it
	keyIDLength  = 10
)

// kind returns the pattern of a value, and whether it stands for the one that the server gave.
func kind(found string) (pattern string, stands bool) {
	switch {
	case found == "…":
		return `(?s:.*?)`, false
	case keyText.MatchString(found):
		return `gojob_[0-9a-z]{10}_[0-9A-Za-z]{49}`, true
	case len(found) == keyIDLength:
		return `[0-9a-z]{10}`, true
	case len(found) == sharedLength && strings.Contains(found, "."):
		return `\d{10}\.[A-Za-z0-9_-]{43}`, true
	case strings.HasSuffix(found, "Z") && strings.Contains(found, "T") && strings.Contains(found, ":"):
		return `\d{4}-\d\d-\d\dT[0-9:.]+Z`, false
	case len(found) == tokenLength:
		return `[A-Za-z0-9_-]{43}`, true
	case len(found) == idLength:
		return `[0-9a-f]{32}`, true
	case len(found) == shortLength:
		return `[0-9a-f]{12}`, true
	}
	return regexp.QuoteMeta(found), false
}

// translate puts what the server gave into a command.
func (s *session) translate(command string) (string, error) {
	var unknown []string
	command = s.value.ReplaceAllStringFunc(command, func(found string) string {
		if _, stands := kind(found); !stands {
			return found
		}
		given, ok := s.known[found]
		if !ok {
			unknown = append(unknown, found)
		}
		return given
	})
	if len(unknown) > 0 {
		return "", fmt.Errorf("%s\nno output before has %s", command, strings.Join(unknown, ", "))
	}
	return command, nil
}

// compare demands that got is what is shown, and keeps what stands for something.
func (s *session) compare(want, got string) error {
	want, got = strings.TrimRight(want, "\n"), strings.TrimRight(got, "\n")
	var pattern strings.Builder
	var names []string
	end := 0
	for _, at := range s.value.FindAllStringIndex(want, -1) {
		found := want[at[0]:at[1]]
		pattern.WriteString(regexp.QuoteMeta(want[end:at[0]]))
		end = at[1]
		p, stands := kind(found)
		given, known := s.known[found]
		switch {
		case stands && known:
			pattern.WriteString(regexp.QuoteMeta(given))
		case stands:
			names = append(names, found)
			pattern.WriteString("(" + p + ")")
		default:
			pattern.WriteString(p)
		}
	}
	pattern.WriteString(regexp.QuoteMeta(want[end:]))
	match := regexp.MustCompile(`^` + pattern.String() + `$`).FindStringSubmatch(got)
	if match == nil {
		return errors.New("does not print what is shown")
	}
	for i, name := range names {
		if err := s.keep(name, match[i+1]); err != nil {
			return err
		}
		if key := keyText.FindStringSubmatch(name); key != nil {
			if err := s.keep(key[1], keyText.FindStringSubmatch(match[i+1])[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep notes what a value of the page stands for.
func (s *session) keep(name, given string) error {
	if before, known := s.known[name]; known && before != given {
		return fmt.Errorf("%s stands for %s and for %s", name, before, given)
	}
	s.known[name] = given
	return nil
}

// shell is a bash that keeps its variables from one command to the next.
type shell struct {
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	number int
}

// newShell starts a bash in a folder, which is its user's home. It finds gojob.
func newShell(t *testing.T, dir string, env ...string) *shell {
	t.Helper()
	path, err := gojob()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--norc", "--noprofile")
	cmd.Dir = dir
	search := filepath.Dir(path) + string(filepath.ListSeparator) + searchPath()
	cmd.Env = append([]string{"PATH=" + search, "HOME=" + dir, "LANG=C.UTF-8"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := &shell{cmd: cmd, in: in, out: bufio.NewReader(r)}
	t.Cleanup(func() { s.kill(); _ = cmd.Wait(); r.Close() })
	return s
}

func (s *shell) kill() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }

// run carries out a command and returns all that it prints, and its exit code.
func (s *shell) run(command string) (output string, code int, err error) {
	s.number++
	mark := fmt.Sprintf("--- end of command %d: ", s.number)
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null\nprintf '\\n%s%%d\\n' $?\n", command, mark); err != nil {
		return "", 0, err
	}
	defer time.AfterFunc(patience, s.kill).Stop()
	var all strings.Builder
	for {
		l, err := s.out.ReadString('\n')
		if n, ended := strings.CutPrefix(l, mark); ended {
			code, err := strconv.Atoi(strings.TrimSpace(n))
			return strings.TrimSuffix(all.String(), "\n"), code, err
		}
		all.WriteString(l)
		if err != nil {
			return all.String(), 0, fmt.Errorf("the shell ended, or the command took longer than %s: %w", patience, err)
		}
	}
}
