package command

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/version"
)

type settings struct {
	Port  uint16        `env:"PORT" envDefault:"8080"`
	Key   string        `env:"THE_KEY,required"`
	After time.Duration `env:"AFTER" envDefault:"1m"`
	Inner struct {
		Most int `env:"MOST" envDefault:"3"`
	}
}

// TestParse gives commands lines of all kinds.
func TestParse(t *testing.T) {
	plain := Usage{Summary: "Does it.", Settings: []any{&settings{}, &settings{}}}
	parts := Usage{Summary: "Does it.", Arguments: []string{"install", "sidecar"}}
	for line, test := range map[string]struct {
		usage    Usage
		argument string
		code     int
		done     bool
		out, err string
	}{
		"":                 {plain, "", 0, false, "", ""},
		"--help":           {plain, "", 0, true, "Does it.\n\nUsage: command.test\n", ""},
		"-h":               {plain, "", 0, true, "  AFTER=1m\n  MOST=3\n  PORT=8080\n  THE_KEY=(required)\n", ""},
		"-help":            {plain, "", 0, true, "Usage", ""},
		"help":             {plain, "", 0, true, "Usage", ""},
		"--version":        {plain, "", 0, true, "command.test " + version.Get().String() + "\n", ""},
		"version":          {plain, "", 0, true, "go1.", ""},
		"serve":            {plain, "", 2, true, "", `unknown argument "serve"`},
		"--versoin":        {plain, "", 2, true, "", "did you mean --version?"},
		"--help --version": {plain, "", 2, true, "", "too many"},
		"--help x":         {plain, "", 2, true, "", `"x"`},
		"--port=9000":      {plain, "", 2, true, "", "set PORT=9000"},
		"--the-key=x":      {plain, "", 2, true, "", "set THE_KEY=x"},
		"PORT=9000":        {plain, "", 2, true, "", "set PORT=9000"},
		"--":               {plain, "", 2, true, "", "--help"},
		"install":          {parts, "install", 0, false, "", ""},
		"isntall":          {parts, "", 2, true, "", "did you mean install?"},
		"install sidecar":  {parts, "", 2, true, "", "too many"},
		"install now":      {parts, "", 2, true, "", `"now"`},
		"-h ":              {parts, "", 0, true, "Usage: command.test install | sidecar\n", ""},
		" ":                {parts, "", 2, true, "", "install, sidecar"},
	} {
		var out, err strings.Builder
		argument, code, done := test.usage.Parse(append([]string{"/bin/command.test"}, strings.Fields(line)...), &out, &err)
		if argument != test.argument || code != test.code || done != test.done {
			t.Errorf("%q: got %q, %d, %v", line, argument, code, done)
		}
		if !strings.Contains(out.String(), test.out) || !strings.Contains(err.String(), test.err) || test.err != "" &&
			!strings.Contains(err.String(), "--help") {
			t.Errorf("%q: says %q and %q, want %q and %q", line, &out, &err, test.out, test.err)
		}
	}
}

func TestCommandName(t *testing.T) {
	info := &debug.BuildInfo{Path: "go-job-orchestrator/functions/cmd/submit"}
	if got := commandName([]string{"/ko-app/x"}, info); got != "submit" {
		t.Errorf("name %q", got)
	}
	if got := commandName([]string{"/ko-app/x"}, nil); got != "x" {
		t.Errorf("name without a build's notes %q", got)
	}
}
