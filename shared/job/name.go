package job

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The names in a job's folder that the orchestrator itself uses.
const (
	IndexFile  = "index.json"
	StatusFile = "status.json"
	ResultsDir = "results"
	StdoutFile = "stdout.log"
	StderrFile = "stderr.log"
	// PrepareLogFile is among the outputs of a job whose packages were installed.
	PrepareLogFile = "prepare.log"
)

// MaxNameBytes bounds one segment of a file name. File systems allow 255 bytes, and the names of
// temporary files in the storage need some of these.
const MaxNameBytes = 200

// CheckFileName says what is wrong with the name of an uploaded file. It returns "" for a valid
// name, which is one path segment of valid UTF-8 without control characters and has at most the
// given number of bytes.
func CheckFileName(name string, bytes int) string {
	if message := checkSegment(name, bytes); message != "" {
		return message
	}
	switch name {
	case IndexFile, StatusFile, ResultsDir:
		return fmt.Sprintf("%q is reserved; rename the file", name)
	}
	return ""
}

// MaxOutputNameBytes bounds the path of an output below results/.
const MaxOutputNameBytes = 1000

// CheckOutputName says what is wrong with the name of an output, which is a slash-separated path
// below results/. It returns "" for a valid name.
func CheckOutputName(name string) string {
	if len(name) > MaxOutputNameBytes {
		return fmt.Sprintf("the path is longer than %d bytes", MaxOutputNameBytes)
	}
	if name != path.Clean(name) || strings.HasPrefix(name, "/") {
		return "the path is not a clean relative path"
	}
	segments := strings.Split(name, "/")
	if segments[0] == PrivateDir {
		return fmt.Sprintf("%q is reserved", PrivateDir)
	}
	if IsLog(segments[0]) && len(segments) > 1 {
		return fmt.Sprintf("%q is the name of a log of the program, so it cannot be a folder", segments[0])
	}
	for _, segment := range segments {
		if message := checkSegment(segment, MaxNameBytes); message != "" {
			return message
		}
	}
	return ""
}

// IsLog reports whether the output of that name is one of the program's two logs.
func IsLog(name string) bool { return name == StdoutFile || name == StderrFile }

// PrivateDir is a name that no output may have, because agents of earlier releases send their
// records below it.
const PrivateDir = ".job"

func checkSegment(name string, bytes int) string {
	switch {
	case name == "":
		return "a file needs a name"
	case name == "." || name == "..":
		return fmt.Sprintf("%q is not a file name", name)
	case len(name) > bytes:
		return fmt.Sprintf("the name has %d bytes; at most %d are allowed", len(name), bytes)
	case !utf8.ValidString(name):
		return fmt.Sprintf("%q is not valid UTF-8", name)
	case strings.ContainsAny(name, `/\`):
		return fmt.Sprintf("%q contains a slash or backslash; send a plain file name", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Sprintf("%q contains a control character", name)
	}
	return ""
}
