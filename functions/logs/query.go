package logs

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
)

// defaultTail is how many lines are shown unless tail says otherwise.
const defaultTail = 200

// query is what a client asks for.
type query struct {
	logstore.Query
	timestamps bool
	noFollow   bool // it was said that it is not to follow
}

func parameters() api.Query {
	return api.Query{
		Names: []string{"tail", "stream", "follow", "timestamps", "since", "attempt", "from"},
		Others: map[string]string{"lines": "tail", "container": "stream", "f": "follow", "sincetime": "since",
			"sinceseconds": "since", "offset": "from"},
	}
}

// parseQuery reads the parameters.
func parseQuery(raw string, now time.Time) (query, error) {
	q := query{Query: logstore.Query{Tail: defaultTail, Streams: []spool.Stream{spool.Stdout, spool.Stderr}}}
	sent := map[string]bool{}
	err := parameters().Each(raw, func(name, value string) error {
		sent[name] = true
		return q.parse(name, value, now)
	})
	if !sent["tail"] && (sent["from"] || sent["since"]) {
		q.Tail = logstore.All
	}
	return q, err
}

func (q *query) parse(name, value string, now time.Time) (err error) {
	switch name {
	case "tail":
		return q.parseTail(value)
	case "stream":
		s, err := spool.ParseStream(value)
		if err != nil {
			return api.BadRequest("stream", "must be stdout or stderr; leave it out for both")
		}
		q.Streams = []spool.Stream{s}
	case "follow":
		q.Follow, err = api.Flag(name, value)
		q.noFollow = !q.Follow
	case "timestamps":
		q.timestamps, err = api.Flag(name, value)
	case "from":
		offset, ok := parseOffset(value)
		if !ok {
			return api.BadRequest("from", "must be the Log-Position of an earlier answer, a number of bytes")
		}
		q.From = offset
	case "since":
		return q.parseSince(value, now)
	case "attempt":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > job.MaxRetries+1 {
			return api.BadRequest("attempt", fmt.Sprintf("must be the number of an attempt, from 1 to %d; leave it out for all",
				job.MaxRetries+1))
		}
		q.Attempt = n
	}
	return err
}

func (q *query) parseTail(value string) error {
	if value == "all" {
		q.Tail = logstore.All
		return nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return api.BadRequest("tail", "must be a number of lines from 0 to 2147483647, or all")
	}
	q.Tail = int(n)
	return nil
}

// parseSince reads a time (RFC 3339) or how long ago it was (time.ParseDuration).
func (q *query) parseSince(value string, now time.Time) error {
	if ago, err := time.ParseDuration(value); err == nil && ago >= 0 {
		q.Since = now.Add(-ago)
		return nil
	}
	// A plus sign in a query string that is not escaped is a blank.
	at, err := time.Parse(time.RFC3339, strings.Replace(value, " ", "+", 1))
	if err != nil || at.Unix() <= 0 {
		return api.BadRequest("since", "must be a time such as 2026-01-31T08:00:00Z, or how long ago, such as 90s, 10m or 2h")
	}
	q.Since = at
	return nil
}

func parseOffset(value string) (int64, bool) {
	n, err := strconv.ParseUint(value, 10, 62)
	return int64(n), err == nil
}
