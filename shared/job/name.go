package job

import (
	"fmt"
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
	// StdinFile is what the program reads as its standard input. Jobs of versions that did not have it
	// may have an uploaded file of this name.
	StdinFile = ".stdin"
	// PrepareLogFile is among the outputs of a job whose packages were installed.
	PrepareLogFile = "prepare.log"
)

// MaxNameBytes bounds one segment of a file name. File systems allow 255 bytes, and the names of
// temporary files in the storage need some of these.
const MaxNameBytes = 200

// CheckFileName says what is wrong with the name of an uploaded file. It returns "" for a valid
// name, which is a path (see CheckPath) that has at most the given number of bytes in each segment
// and does not lie where the orchestrator keeps its own records.
func CheckFileName(name string, bytes int) string {
	if message := CheckPath(name, bytes); message != "" {
		return message
	}
	switch first, rest, isPath := strings.Cut(name, "/"); first {
	case IndexFile, StatusFile, ResultsDir, StdinFile:
		if isPath {
			return fmt.Sprintf("%q is reserved, so %.100q cannot lie in it; rename the folder", first, rest)
		}
		return fmt.Sprintf("%q is reserved; rename the file", name)
	}
	return ""
}

// MaxOutputNameBytes bounds the path of a file: of an uploaded one, and of an output below results/.
const MaxOutputNameBytes = 1000

// CheckPath says what is wrong with the path of a file. It returns "" for a clean relative path whose
// segments are valid UTF-8 without control characters and have at most the given number of bytes
// each. A single name is such a path.
func CheckPath(name string, bytes int) string {
	switch {
	case len(name) > MaxOutputNameBytes && strings.Contains(name, "/"):
		return fmt.Sprintf("the path is longer than %d bytes", MaxOutputNameBytes)
	case strings.HasPrefix(name, "/"):
		return fmt.Sprintf("%.100q is an absolute path; send a relative one, without the first slash", name)
	case strings.HasSuffix(name, "/"):
		return fmt.Sprintf("%.100q ends with a slash, as only a folder does", name)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if message := checkSegment(segment, bytes); message != "" {
			if segment == "" && name != "" {
				return fmt.Sprintf("%.100q has two slashes after each other", name)
			}
			return message
		}
	}
	return ""
}

// CheckOutputName says what is wrong with the name of an output, which is a slash-separated path
// below results/. It returns "" for a valid name.
func CheckOutputName(name string) string {
	if message := CheckPath(name, MaxNameBytes); message != "" {
		return message
	}
	first, _, isPath := strings.Cut(name, "/")
	if first == PrivateDir {
		return fmt.Sprintf("%q is reserved", PrivateDir)
	}
	if IsLog(first) && isPath {
		return fmt.Sprintf("%q is the name of a log of the program, so it cannot be a folder", first)
	}
	return ""
}

// IsLog reports whether the output of that name is one of the program's two logs.
func IsLog(name string) bool { return name == StdoutFile || name == StderrFile }

// PrivateDir is a name that no output may have, because agents of earlier releases send their
// records below it.
const PrivateDir = ".job"

// MaxJobNameBytes bounds the name that a user gives a job.
const MaxJobNameBytes = 100

// CheckName says what is wrong with the name that a user gives a job, or returns "". Tables show
// such names, and URLs contain them, so characters that cannot be seen are not allowed.
func CheckName(name string) string {
	unseen := func(r rune) bool { return !unicode.IsPrint(r) }
	switch {
	case name == "":
		return "is empty"
	case len(name) > MaxJobNameBytes:
		return fmt.Sprintf("has %d bytes; at most %d are allowed", len(name), MaxJobNameBytes)
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case strings.ContainsFunc(name, unseen):
		return "contains a character that cannot be seen, such as a line break; use letters, digits, signs and blanks"
	case strings.TrimSpace(name) != name:
		return "begins or ends with a blank"
	}
	return ""
}

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
	case strings.Contains(name, `\`):
		return fmt.Sprintf("%q contains a backslash; separate folders with a slash", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Sprintf("%q contains a control character", name)
	}
	return ""
}
