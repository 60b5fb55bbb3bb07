package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// console is where gojob's own words go: lines on stderr, each beginning with "gojob:". On a terminal
// it also has a status line, which goes away when anything else is written.
type console struct {
	mu       sync.Mutex
	out      io.Writer
	quiet    bool // only errors are said
	terminal bool // out is a terminal, which can show a status line
	colour   bool
	width    func() int // of the terminal, in columns, as it is now
	shown    string     // the status line, or ""
	inLine   bool       // the program's output on the same terminal has not ended its line
}

// console returns the console of a command. quiet leaves out all but errors.
func (a *app) console(quiet bool) *console {
	c := &console{out: a.stderr, quiet: quiet, width: func() int { return 80 }}
	file, ok := a.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return c
	}
	dumb := a.getenv("TERM") == "dumb" || !obeysEscapes(file)
	c.terminal = !dumb
	c.colour = !dumb && a.getenv("NO_COLOR") == ""
	c.width = func() int {
		width, _, err := term.GetSize(int(file.Fd()))
		if err != nil || width <= 0 {
			return 80
		}
		return width
	}
	return c
}

// The colours of words (ECMA-48, select graphic rendition).
const (
	green  = "32"
	red    = "31"
	yellow = "33"
	dim    = "2"
)

// painted is a text with colours of our own, which is printed as it is.
type painted string

// paint colours a text where colours are shown.
func (c *console) paint(colour, text string) painted {
	text = harmless(text)
	if !c.colour {
		return painted(text)
	}
	return painted("\x1b[" + colour + "m" + text + "\x1b[0m")
}

// say prints a line, unless the console is quiet.
func (c *console) say(format string, values ...any) {
	if !c.quiet {
		c.fail(format, values...)
	}
}

// warn prints a line about what may not be as it was meant, unless the console is quiet.
func (c *console) warn(format string, values ...any) {
	c.say("%s %s", c.paint(yellow, "warning:"), fmt.Sprintf(format, values...))
}

// fail prints a line in any case.
func (c *console) fail(format string, values ...any) {
	for i, value := range values {
		if own, ok := value.(painted); ok {
			values[i] = string(own)
		} else if text := fmt.Sprint(value); strings.ContainsFunc(text, harmful) {
			values[i] = harmless(text)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	if c.inLine {
		fmt.Fprintln(c.out)
		c.inLine = false
	}
	fmt.Fprintf(c.out, string(c.paint(dim, "gojob:"))+" "+format+"\n", values...)
}

// show shows a status line on a terminal, in place of the one before. An empty text takes it away.
func (c *console) show(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	if text == "" || c.quiet || !c.terminal || c.inLine {
		return
	}
	c.shown = text
	fmt.Fprint(c.out, "\r"+string(c.paint(dim, cut("gojob: "+text, c.width()-1))))
}

// clear takes the status line away. The lock is held.
func (c *console) clear() {
	if c.shown != "" {
		c.shown = ""
		fmt.Fprint(c.out, "\r\x1b[K")
	}
}

// cut shortens a text to a number of columns, so that it does not go on in the next line.
func cut(text string, columns int) string {
	return runewidth.Truncate(text, max(columns, 1), "…")
}

// harmless keeps what a server or a file name says from controlling the terminal.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if harmful(r) {
			return '\ufffd'
		}
		return r
	}, text)
}

func harmful(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0
}

// output returns a writer for what the program writes, unchanged. The status line goes away before.
func (c *console) output(w io.Writer) io.Writer {
	file, ok := w.(*os.File)
	return &programOutput{console: c, out: w, terminal: ok && c.terminal && term.IsTerminal(int(file.Fd()))}
}

type programOutput struct {
	console  *console
	out      io.Writer
	terminal bool
}

// Write writes without the lock of the console, because a pipe or a terminal may be slow.
func (o *programOutput) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	o.console.mu.Lock()
	o.console.clear()
	if o.terminal {
		o.console.inLine = p[len(p)-1] != '\n'
	}
	o.console.mu.Unlock()
	return o.out.Write(p)
}
