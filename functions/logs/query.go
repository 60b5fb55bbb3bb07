package logs

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/joblog"
	"go-job-orchestrator/shared/logstore"
)

// defaultTail is how many lines are shown unless tail says otherwise.
const defaultTail = 200

// parseQuery reads tail, stream, follow and from. It knows no others: a misspelt follow must not end at once.
func parseQuery(raw string) (logstore.Query, error) {
	q := logstore.Query{Tail: defaultTail, Streams: []joblog.Stream{joblog.Stdout, joblog.Stderr}}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, api.BadRequest("query", "is not a valid query string")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // of several faults always the same is named
		if len(values[name]) > 1 {
			return q, api.BadRequest(name, "was sent more than once")
		}
		if err := parseParameter(&q, name, values[name][0]); err != nil {
			return q, err
		}
	}
	return q, nil
}

func parseParameter(q *logstore.Query, name, value string) error {
	switch name {
	case "tail":
		if value == "all" {
			q.Tail = logstore.All
			return nil
		}
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return api.BadRequest("tail", "must be a number of lines from 0 to 2147483647, or all")
		}
		q.Tail = int(n)
	case "stream":
		if value != string(joblog.Stdout) && value != string(joblog.Stderr) {
			return api.BadRequest("stream", "must be stdout or stderr; leave it out for both")
		}
		q.Streams = []joblog.Stream{joblog.Stream(value)}
	case "follow":
		if value != "true" && value != "false" {
			return api.BadRequest("follow", "must be true or false")
		}
		q.Follow = value == "true"
	case "from":
		at, ok := parsePosition(value)
		if !ok {
			return api.BadRequest("from", "must be the Log-Position of an earlier answer: bytes of stdout, a comma, bytes of stderr")
		}
		q.From = &at
	default:
		return api.BadRequest(name, "is not a parameter of this call; there are: tail, stream, follow, from")
	}
	return nil
}

func parsePosition(value string) (joblog.Position, bool) {
	a, b, _ := strings.Cut(value, ",")
	stdout, err1 := strconv.ParseUint(a, 10, 62)
	stderr, err2 := strconv.ParseUint(b, 10, 62)
	return joblog.Position{Stdout: int64(stdout), Stderr: int64(stderr)}, err1 == nil && err2 == nil //nolint:gosec // 62 bits fit
}
