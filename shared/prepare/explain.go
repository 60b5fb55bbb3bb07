package prepare

import (
	"fmt"
	"strings"
)

// mark is where an installer names the package that its message is about: between two texts, on a
// line that has a third. The agent links this package, and not the library of regular expressions.
type mark struct{ line, before, until string }

// marks are those of pip, of uv and of npm.
func marks() []mark {
	list := []mark{
		{"ERROR: No matching", "No matching distribution found for ", " \n"},
		{"ERROR: Could not find", "satisfies the requirement ", " \n"},
		{"ERROR: Failed building", "Failed building wheel for ", " \n"},
		{"ERROR: Failed to build", "Failed to build '", "'\n"},
		{"ERROR: Failed to build", "(", ",)\n"},
		{"ERROR: Invalid requirement", "Invalid requirement: ", ":\n"},
		{"ERROR: Package", "Package '", "'\n"},
		{"ERROR: Cannot install", "Cannot install ", "\x00because\n"},
		{"is not a supported wheel", "ERROR: ", " \n"},
		{" from http", "    ", "=<>!~;[ \n"}, // of a digest that differs
		{"Because", "Because ", "\x00was not found in the\n"},
		{"no version", "there is no version of ", " \n"},
		{"no versions", "there are no versions of ", " \n"},
		{"Because only", "Because only ", "<>=\n"},
		{"Failed to", "`", "`\n"},
	}
	for _, npm := range []string{"npm error ", "npm ERR! "} {
		list = append(list,
			mark{npm + "notarget No", "No matching version found for ", " \n"},
			mark{npm + "404  '", "404  '", "'\n"},
			mark{npm + "404 Not Found - GET", "", ""},
			mark{npm + "path", "/node_modules/", "\n"},
			mark{npm + "Missing:", "Missing: ", " \n"},
			mark{npm + "Invalid: lock", "lock file's ", " \n"},
		)
	}
	return list
}

// find returns the name in a line, or "".
func (m mark) find(line string) string {
	if !strings.Contains(line, m.line) {
		return ""
	}
	if m.before == "" { // the last part of a URL
		url, _, _ := strings.Cut(line[strings.Index(line, m.line)+len(m.line):], " - ")
		return url[strings.LastIndexByte(url, '/')+1:]
	}
	_, name, found := strings.Cut(line, m.before)
	if !found {
		return ""
	}
	if word, isWord := strings.CutPrefix(strings.TrimSuffix(m.until, "\n"), "\x00"); isWord {
		if name, _, found = strings.Cut(name, " "+word); !found {
			return ""
		}
		return name
	}
	if end := strings.IndexAny(name, m.until); end >= 0 {
		name = name[:end]
	}
	return name
}

// networkTrouble is what installers say when an index cannot be reached, or fails itself.
func networkTrouble(log string) bool {
	for _, text := range []string{
		// pip
		"Retrying (Retry(", "NewConnectionError", "Max retries exceeded", "ReadTimeoutError", "ConnectTimeoutError",
		"HTTP error 5", " Server Error: ", "Connection aborted", "Connection broken", "IncompleteRead",
		"Temporary failure in name resolution",
		// uv
		"error sending request for url", "HTTP status server error (5", "dns error", "operation timed out",
		"error decoding response body",
	} {
		if strings.Contains(log, text) {
			return true
		}
	}
	for _, code := range []string{"ECONN", "ETIMEDOUT", "EAI_AGAIN", "ENOTFOUND", "E50", "ERR_SOCKET", "FETCH_ERROR",
		"EHOSTUNREACH", "ENETUNREACH"} {
		if strings.Contains(log, "npm error code "+code) || strings.Contains(log, "npm ERR! code "+code) {
			return true
		}
	}
	return false
}

// The bounds of a message.
const (
	lastLines    = 10
	maxLastBytes = 1500
)

// explain says why a step failed that ended with a code of its own.
func explain(plan *Plan, out *Outcome) *Failure {
	f := &Failure{Network: !plan.Offline && networkTrouble(out.Log)}
	what := fmt.Sprintf("the packages of %s could not be installed", plan.From)
	if name := blamed(out.Log); name != "" {
		what = fmt.Sprintf("the package %s, which %s needs, could not be installed", name, plan.From)
	}
	switch {
	case f.Network:
		what += "; a package index could not be reached"
	case plan.Offline:
		what += "; this server installs only packages of its own (DEPENDENCIES=offline)"
	}
	f.Message = what + ". prepare.log has the whole output. Its last lines:\n" + tail(out.Log)
	return f
}

// blamed returns the package that an installer's messages are about, or "".
func blamed(log string) string {
	for _, m := range marks() {
		for line := range strings.Lines(log) {
			if name := strings.Trim(m.find(line), "',\"` \r\n."); name != "" {
				return name
			}
		}
	}
	return ""
}

// tail returns the last lines of a log.
func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	lines = lines[max(0, len(lines)-lastLines):]
	text := strings.Join(lines, "\n")
	if len(text) > maxLastBytes {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxLastBytes:], "")
	}
	return text
}
