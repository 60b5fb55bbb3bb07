package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// line is one line of the table.
type line struct {
	what, against, ours, rival, ratio, target string
	met                                       bool
	rounds                                    int
	reason                                    string // why a target is missed, or nothing measured
}

type table []line

// print writes the table as Markdown, and below it why a target is missed.
func (t table) print(out io.Writer) error {
	cells := [][]string{
		{"what", "ours", "against", "its", "ratio", "target", "", "rounds"},
		{"---", "---", "---", "---", "---", "---", "---", "---"},
	}
	var notes []string
	for _, l := range t {
		verdict, rounds := "missed", strconv.Itoa(l.rounds)
		switch {
		case l.rounds == 0:
			verdict, rounds = "–", ""
		case l.met:
			verdict = "met"
		}
		if l.reason != "" {
			notes = append(notes, l.what+": "+l.reason)
			verdict += fmt.Sprintf(" (%d)", len(notes))
		}
		cells = append(cells, []string{l.what, l.ours, l.against, l.rival, l.ratio, l.target, verdict, rounds})
	}
	text := align(cells)
	for i, note := range notes {
		text += fmt.Sprintf("\n(%d) %s", i+1, note)
	}
	_, err := fmt.Fprintf(out, "%s, %s\n\n%s\n", machine(), time.Now().UTC().Format(time.DateOnly), text)
	return err
}

// align makes the columns straight.
func align(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			text.WriteString("| " + cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+1))
		}
		text.WriteString("|\n")
	}
	return text.String()
}

// machine says what all this was measured on.
func machine() string {
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for entry := range strings.Lines(string(info)) {
			if name, value, found := strings.Cut(entry, ":"); found && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s", model, runtime.NumCPU(), runtime.Version())
}
