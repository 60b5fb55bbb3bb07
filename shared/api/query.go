package api

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
)

// Query says which parameters the query of a call can have. Others are refused, because a request
// with a misspelt one must not be answered as if it had none.
type Query struct {
	Names  []string          // in the order in which an answer lists them
	Others map[string]string // words that people use for them, without capitals; see job.Meant
	Repeat []string          // those that can be sent several times
}

// Each calls take for each value that was sent. The names come in their order, so that of several
// faults the same one is always named.
func (q Query) Each(raw string, take func(name, value string) error) error {
	sent, err := url.ParseQuery(raw)
	if err != nil {
		return BadRequest("query", "is not a valid query string")
	}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		if !slices.Contains(q.Names, name) {
			return UnknownParameter(name, q.Others, q.Names...)
		}
		if len(sent[name]) > 1 && !slices.Contains(q.Repeat, name) {
			return BadRequest(name, "was sent more than once")
		}
		for _, value := range sent[name] {
			if err := take(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Values returns what was sent, by name. Of a parameter that is repeated it is the last value.
func (q Query) Values(raw string) (map[string]string, error) {
	values := map[string]string{}
	err := q.Each(raw, func(name, value string) error {
		values[name] = value
		return nil
	})
	return values, err
}

// Flag reads a parameter that is true or false.
func Flag(name, value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, BadRequest(name, "must be true or false")
	}
	return value == "true", nil
}

// Number reads a parameter that is a whole number from low to high.
func Number(name, value string, low, high int) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		return 0, BadRequest(name, fmt.Sprintf("must be a whole number from %d to %d", low, high))
	}
	return int(n), nil
}
