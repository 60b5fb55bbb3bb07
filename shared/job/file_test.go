package job_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"go-job-orchestrator/shared/job"
)

// TestModeOf looks at the beginning of files, however it arrives.
func TestModeOf(t *testing.T) {
	for content, want := range map[string]string{
		"#!/bin/sh\n":         "0755",
		"#!":                  "0755",
		"\x7fELF\x02\x01":     "0755",
		"":                    "",
		"#":                   "",
		"\x7fEL":              "",
		"print(1)\n#!":        "",
		" #!/bin/sh":          "",
		"\ufeff#!/bin/sh":     "", // the kernel does not take it either
		"MZ\x90\x00":          "",
		"PK\x03\x04 in a jar": "",
	} {
		for _, r := range []io.Reader{strings.NewReader(content), iotest.OneByteReader(strings.NewReader(content))} {
			var head job.Head
			if _, err := io.Copy(&head, r); err != nil {
				t.Fatal(err)
			}
			if got := job.ModeOf(head); got != want {
				t.Errorf("%q: mode %q, want %q", content, got, want)
			}
		}
	}
}
