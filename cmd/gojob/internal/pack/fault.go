package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"

	"go-job-orchestrator/shared/job"
)

// FaultsError says why a folder cannot be sent. It names each path at fault.
type FaultsError struct {
	Folder string
	Faults []Note
}

// maxFaults bounds what the message of a FaultsError names.
const maxFaults = 20

func (e *FaultsError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s cannot be sent as it is:", e.Folder)
	for i, fault := range e.Faults {
		if i == maxFaults {
			fmt.Fprintf(&text, "\n  and %d more", len(e.Faults)-maxFaults)
			break
		}
		fmt.Fprintf(&text, "\n  %s %s", printable(fault.Path), fault.Message)
	}
	text.WriteString("\nmend this, or name what can stay away in .gojobignore")
	return text.String()
}

// printable returns a path as it is, or quoted if a terminal would not show it as it is.
func printable(path string) string {
	if strings.ContainsFunc(path, unprintable) {
		return strconv.Quote(path)
	}
	return path
}

func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

// checkName says why the server would refuse a name, or returns "".
func checkName(e Entry) string {
	if message := job.CheckPath(e.Name, job.MaxSegmentBytes); message != "" {
		return "would be refused: " + message
	}
	switch {
	case len(e.Name) >= 2 && e.Name[1] == ':' && isLetter(e.Name[0]):
		return "would be refused: the name begins like a drive of Windows; rename it"
	case strings.Count(e.Name, "/") >= maxDepth:
		return fmt.Sprintf("would be refused: it lies more than %d folders deep", maxDepth-1)
	case e.Name == job.ResultsDir && e.Kind != KindFolder:
		return "would be refused: it has the name of the folder for outputs; rename it"
	}
	return ""
}

// Bounds of the server (shared/archive).
const (
	maxDepth  = 50
	maxTarget = 900
)

// kindName names a kind of file that cannot be sent.
func kindName(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no file, folder or link"
}

// reason is what is wrong, without the path, which messages name first.
func reason(err error) string {
	var fault *fs.PathError
	if errors.As(err, &fault) {
		return fault.Err.Error()
	}
	return err.Error()
}
