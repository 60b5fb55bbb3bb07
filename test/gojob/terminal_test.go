package gojob

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a gojob that runs in a real terminal.
type terminal struct {
	t      testing.TB
	cmd    *exec.Cmd
	pty    *os.File
	screen lockedBuffer // all that was written to it
	read   chan struct{}
}

// terminal starts gojob in a terminal with a number of columns.
func (s *shell) terminal(columns int, args ...string) *terminal {
	s.t.Helper()
	term := &terminal{t: s.t, cmd: s.command(s.path, args...), read: make(chan struct{})}
	file, err := pty.StartWithSize(term.cmd, &pty.Winsize{Rows: 24, Cols: uint16(columns)})
	if err != nil {
		s.t.Fatal(err)
	}
	term.pty = file
	go func() {
		defer close(term.read)
		buffer := make([]byte, 4096)
		for {
			n, err := file.Read(buffer)
			_, _ = term.screen.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	s.t.Cleanup(func() {
		_ = term.cmd.Process.Kill()
		file.Close()
	})
	return term
}

func (t *terminal) until(text string) {
	t.t.Helper()
	until(t.t, fmt.Sprintf("%q is on the screen", text), func() bool { return strings.Contains(t.screen.String(), text) })
}

// press sends a key.
func (t *terminal) press(key string) {
	t.t.Helper()
	if _, err := t.pty.WriteString(key); err != nil {
		t.t.Fatal(err)
	}
}

const ctrlC = "\x03"

// end waits until gojob ends, and all that it wrote was read.
func (t *terminal) end() (code int) {
	t.t.Helper()
	var exited *exec.ExitError
	if err := t.cmd.Wait(); err != nil && !errors.As(err, &exited) {
		t.t.Fatal(err)
	}
	<-t.read
	return t.cmd.ProcessState.ExitCode()
}

// TestInterrupts presses Ctrl-C.
func TestInterrupts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	sleeper := func(t *testing.T) *shell {
		sh := newShell(t, s.url())
		sh.write("sleep.sh", sleepScript)
		return sh
	}
	submitted := func(sh *shell) string {
		id, _, _ := sh.gojob("get", "@", "-o", "name")
		return strings.TrimSpace(id)
	}
	t.Run("once detaches", func(t *testing.T) {
		t.Parallel()
		sh := sleeper(t)
		term := sh.terminal(80, "run", "sleep.sh")
		term.until("started")
		pressed := time.Now()
		term.press(ctrlC)
		term.until("gojob logs -f ")
		term.until("gojob cancel ")
		if code, took := term.end(), time.Since(pressed); code != 130 || took < 2*time.Second {
			t.Errorf("exit code %d after %s", code, took)
		}
		if phase := s.phase(submitted(sh)); phase != "Running" {
			t.Errorf("the job is %s", phase)
		}
		// The lines that it printed work.
		follow := sh.terminal(80, "logs", "-f", "@")
		follow.until("started")
		follow.press(ctrlC)
		if code := follow.end(); code != 130 {
			t.Errorf("logs -f ended with %d", code)
		}
		if _, words, code := sh.gojob("cancel", "@"); code != 0 {
			t.Error(words)
		}
	})
	t.Run("twice cancels", func(t *testing.T) {
		t.Parallel()
		sh := sleeper(t)
		term := sh.terminal(80, "run", "sleep.sh")
		term.until("started")
		term.press(ctrlC)
		term.until("again within two seconds")
		term.press(ctrlC)
		if code := term.end(); code != 130 || !strings.Contains(term.screen.String(), "cancelled") {
			t.Errorf("exit code %d:\n%s", code, &term.screen)
		}
		if phase := s.phase(submitted(sh)); phase != "Cancelled" {
			t.Errorf("the job is %s", phase)
		}
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		sh := sleeper(t)
		term := sh.terminal(80, "run", "--cancel-on-exit", "sleep.sh")
		term.until("started")
		term.press(ctrlC)
		if code := term.end(); code != 130 {
			t.Errorf("exit code %d:\n%s", code, &term.screen)
		}
		if phase := s.phase(submitted(sh)); phase != "Cancelled" {
			t.Errorf("the job is %s", phase)
		}
	})
}

// TestInterruptedUpload presses Ctrl-C before the job is accepted, and while its answer is on the way.
func TestInterruptedUpload(t *testing.T) {
	t.Parallel()
	t.Run("while it is sent", func(t *testing.T) {
		t.Parallel()
		s := serve(t)
		line := newBadLine(t, s)
		line.add("slow", "bandwidth", "upstream", `{"rate": 100}`) // kB/s
		sh := newShell(t, line.url())
		sh.write("sleep.sh", sleepScript)
		sh.write("data", strings.Repeat("0123456789abcdef", 1<<21)) // 32 MiB: more than the kernel's buffers take
		term := sh.terminal(80, "run", "-f", "data", "sleep.sh")
		term.until("uploading")
		term.press(ctrlC)
		if code := term.end(); code != 130 || !strings.Contains(term.screen.String(), "nothing was submitted") {
			t.Errorf("exit code %d:\n%s", code, &term.screen)
		}
		if jobs := s.jobs(); len(jobs) > 0 {
			t.Errorf("there are the jobs %v", jobs)
		}
	})
	t.Run("while the answer is on the way", func(t *testing.T) {
		t.Parallel()
		s := serve(t)
		line := newBadLine(t, s)
		line.add("late", "latency", "downstream", `{"latency": 3000}`)
		sh := newShell(t, line.url())
		sh.write("sleep.sh", sleepScript)
		term := sh.terminal(80, "run", "sleep.sh")
		until(t, "the job is accepted", func() bool { return len(s.jobs()) > 0 })
		term.press(ctrlC)
		if code := term.end(); code != 130 || !strings.Contains(term.screen.String(), "gojob logs -f "+s.jobs()[0][:12]) {
			t.Errorf("exit code %d:\n%s", code, &term.screen)
		}
		if jobs := s.jobs(); len(jobs) != 1 || s.phase(jobs[0]) != "Running" {
			t.Errorf("there are the jobs %v", jobs)
		}
	})
}

var (
	colours  = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	controls = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
)

// TestTerminal looks at what a terminal gets: colours, the status line, the bar.
func TestTerminal(t *testing.T) {
	t.Parallel()
	s := serve(t, "MAX_CONCURRENT_JOBS=1")
	sh := newShell(t, s.url())
	sh.write("sleep.sh", sleepScript)
	sh.write("colour.sh", "#!/bin/sh\nprintf '\\033[35mpurple\\033[0m no end of line'\n")

	if _, words, code := sh.gojob("submit", "-n", "first", "sleep.sh"); code != 0 {
		t.Fatal(words)
	}
	term := sh.terminal(60, "run", "colour.sh")
	term.until("queued, next to start")
	if _, words, code := sh.gojob("cancel", "first"); code != 0 {
		t.Fatal(words)
	}
	if code := term.end(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, &term.screen)
	}
	screen := term.screen.String()
	for _, want := range []string{
		"\r\x1b[K", // the status line goes away
		"\x1b[35mpurple\x1b[0m no end of line\r\n", // the program's bytes; gojob's line begins a new one
		"\x1b[32msucceeded\x1b[0m in ",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("no %q in\n%q", want, screen)
		}
	}
	for name, env := range map[string]string{"NO_COLOR": "NO_COLOR=1", "TERM=dumb": "TERM=dumb"} {
		plain := newShell(t, s.url())
		plain.write("hello.sh", "#!/bin/sh\necho hello\n")
		plain.env = append(plain.env, env)
		term := plain.terminal(60, "run", "hello.sh")
		if code := term.end(); code != 0 || colours.MatchString(term.screen.String()) {
			t.Errorf("%s: exit code %d, %q", name, code, &term.screen)
		}
	}
}

// TestBar looks at the bar of an upload, whose terminal becomes narrower.
func TestBar(t *testing.T) {
	t.Parallel()
	s := serve(t)
	line := newBadLine(t, s)
	line.add("slow", "bandwidth", "upstream", `{"rate": 4000}`)
	sh := newShell(t, line.url())
	sh.write("hello.sh", "#!/bin/sh\necho hello\n")
	sh.write("data", strings.Repeat("0123456789abcdef", 1<<20)) // 16 MiB
	term := sh.terminal(100, "run", "-f", "data", "hello.sh")
	term.until("uploading")
	term.until("%")
	if err := pty.Setsize(term.pty, &pty.Winsize{Rows: 24, Cols: 50}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // what was drawn before is on the screen by then
	before := len(term.screen.String())
	if code := term.end(); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, &term.screen)
	}
	after := controls.ReplaceAllString(term.screen.String()[before:], "\n")
	drawn := 0
	for text := range strings.FieldsFuncSeq(after, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if strings.Contains(text, "uploading") {
			drawn++
		}
		if width := len([]rune(text)); width > 50 {
			t.Errorf("%d columns: %q", width, text)
		}
	}
	if drawn == 0 || !strings.Contains(after, "hello") {
		t.Errorf("the bar was not drawn again, or the output is not there:\n%q", after)
	}
	// Elsewhere it is one line.
	_, words, code := sh.gojob("run", "-f", "data", "hello.sh")
	if code != 0 || strings.Count(words, "uploading 16 MiB") != 1 || strings.Contains(words, "\r") {
		t.Errorf("exit code %d:\n%q", code, words)
	}
	if _, words, _ := sh.gojob("run", "-q", "-f", "data", "hello.sh"); words != "" {
		t.Errorf("-q: %q", words)
	}
}
