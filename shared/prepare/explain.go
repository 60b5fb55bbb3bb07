package prepare

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// blames find the package that an installer's message is about. The first group is its name.
var blames = sync.OnceValue(func() []*regexp.Regexp {
	var list []*regexp.Regexp
	for _, expr := range []string{
		// pip
		`(?m)^ERROR: No matching distribution found for (\S+)`,
		`(?m)^ERROR: Could not find a version that satisfies the requirement (\S+)`,
		`(?m)^ERROR: Failed building wheel for (\S+)`,
		`(?m)^(?:ERROR|error): [Ff]ailed to build (?:installable wheels for .*\((\S+?)[,)]|'?(\S+?)'? when)`,
		`(?m)^ERROR: Invalid requirement: '?([^'\s:]+)`,
		`(?m)^ERROR: Package '([^']+)' requires a different Python`,
		`(?m)^ERROR: (\S+)==\S+ from \S+ .*(?:HASH|hash)`,
		`(?m)^    (\S+) from \S+ .*:\n\s+Expected sha256`,
		`(?m)^    (\S+?)(?:[=<>!~;\[]\S*)?(?: from \S+)?.*:\n\s+Expected sha256`,
		`(?m)^ERROR: Cannot install (.+?) because these package versions have conflicting dependencies`,
		`(?m)^ERROR: (\S+\.whl) is not a supported wheel on this platform`,
		`(?m)^ERROR: Wheel '?([^'\s]+)'? .*is invalid`,
		// uv
		`(?m)Because (\S+) was not found in the (?:package registry|provided package locations|cache)`,
		`(?m)Because there (?:is|are) no versions? of (\S+)`,
		`(?m)(?:Because|and) only (\S+?)[<>=]`,
		"(?m)Failed to (?:build|download|fetch|extract|read metadata for|download and build)(?: and build)?:? `([^`]+)`",
		`(?m)Because (\S+) has no wheels`,
		// npm
		`(?m)^npm (?:ERR!|error) (?:404|notarget)\s+'?(@?[^\s'@]+@\S+?)'? (?:is not in|could not be found)`,
		`(?m)^npm (?:ERR!|error) notarget No matching version found for (\S+?)\.?$`,
		`(?m)^npm (?:ERR!|error) 404 Not Found - GET \S*/(\S+?)(?: - .*)?$`,
		`(?m)^npm (?:ERR!|error) path .*/node_modules/((?:@[^/\s]+/)?[^/\s]+)$`,
		`(?m)^npm (?:ERR!|error) Missing: (\S+) from lock file`,
		`(?m)^npm (?:ERR!|error) Invalid: lock file's (\S+)`,
		`(?m)^npm (?:ERR!|error).*integrity checksum failed.*/(\S+?)/-/`,
	} {
		list = append(list, regexp.MustCompile(expr))
	}
	return list
})

// networkTrouble is what installers say when an index cannot be reached, or fails itself.
var networkTrouble = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(strings.Join([]string{
		// pip
		`Retrying \(Retry\(`, `NewConnectionError`, `Max retries exceeded`, `ReadTimeoutError`, `ConnectTimeoutError`,
		`HTTP error 5\d\d`, `5\d\d Server Error`, `Connection aborted`, `Connection broken`, `IncompleteRead`,
		`Temporary failure in name resolution`,
		// uv
		`error sending request for url`, `HTTP status server error \(5`, `Request failed after \d+ retr`, `dns error`,
		`operation timed out`, `error decoding response body`,
		// npm
		`npm (?:ERR!|error) code (?:ECONN|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|E5\d\d|ERR_SOCKET|FETCH_ERROR)`,
		`npm (?:ERR!|error) code (?:EHOSTUNREACH|ENETUNREACH)`,
	}, "|"))
})

// The bounds of a message.
const (
	lastLines    = 10
	maxLastBytes = 1500
)

// explain says why a step failed that ended with a code of its own.
func explain(plan *Plan, out *Outcome) *Failure {
	f := &Failure{Network: networkTrouble().MatchString(out.Log)}
	what := fmt.Sprintf("the packages of %s could not be installed", plan.From)
	if name := blamed(out.Log); name != "" {
		what = fmt.Sprintf("the package %s, which %s needs, could not be installed", name, plan.From)
	}
	if f.Network {
		what += "; a package index could not be reached"
	}
	f.Message = what + ". prepare.log has the whole output. Its last lines:\n" + tail(out.Log)
	return f
}

func blamed(log string) string {
	for _, expr := range blames() {
		match := expr.FindStringSubmatch(log)
		if match == nil {
			continue
		}
		for _, name := range match[1:] {
			if name != "" {
				return strings.Trim(name, "',\"`")
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
