package status

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
)

// page is the answer to a list. NextPageToken is absent on the last page.
type page struct {
	Items         []job.Summary `json:"items"`
	NextPageToken string        `json:"nextPageToken,omitempty"`
}

func (f *Function) list(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	found, err := f.records.List(r.Context(), q)
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, page{Items: found.Items, NextPageToken: string(found.Next)})
	return nil
}

// The bounds of a page.
const (
	defaultLimit = 50
	maxLimit     = 500
	maxLabels    = 32 // no job has more; each costs reads
)

// parseQuery reads limit, pageToken, phase and label (key=value, repeatable). It knows no others: a
// filter that is misspelt must not list everything.
func parseQuery(raw string) (ledger.Query, error) {
	q := ledger.Query{Limit: defaultLimit, Labels: map[string]string{}}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, api.BadRequest("query", "is not a valid query string")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // the same query always gets the same answer
		list := values[name]
		if name != "label" && len(list) > 1 {
			return q, api.BadRequest(name, "was sent more than once")
		}
		for _, value := range list {
			if err := parseParameter(&q, name, value); err != nil {
				return q, err
			}
		}
	}
	return q, nil
}

func parseParameter(q *ledger.Query, name, value string) error {
	switch name {
	case "limit":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n < 1 || n > maxLimit {
			return api.BadRequest("limit", fmt.Sprintf("must be a whole number from 1 to %d", maxLimit))
		}
		q.Limit = int(n)
	case "pageToken":
		id, err := job.ParseID(value)
		if err != nil {
			return api.BadRequest("pageToken", "must be the nextPageToken of an earlier answer")
		}
		q.After = id
	case "phase":
		if !slices.Contains(job.Phases(), job.Phase(value)) {
			return api.BadRequest("phase", fmt.Sprintf("must be one of %v", job.Phases())+job.MeantPhase(value))
		}
		q.Phase = job.Phase(value)
	case "label":
		return parseLabel(q, value)
	default:
		return api.UnknownParameter(name, map[string]string{
			"status": "phase", "state": "phase", "selector": "label", "labelselector": "label", "tag": "label",
			"page": "pageToken", "cursor": "pageToken", "continue": "pageToken", "nextpagetoken": "pageToken",
			"pagesize": "limit", "count": "limit",
		}, "limit", "pageToken", "phase", "label")
	}
	return nil
}

func parseLabel(q *ledger.Query, value string) error {
	key, v, found := strings.Cut(value, "=")
	if !found {
		message := "must be key=value"
		if key, v, found := strings.Cut(value, ":"); found && job.CheckLabel(key, v) == "" {
			message += fmt.Sprintf("; did you mean %s=%s?", key, v)
		}
		return api.BadRequest("label", message)
	}
	if message := job.CheckLabel(key, v); message != "" {
		return api.BadRequest("label", message)
	}
	if len(q.Labels) == maxLabels {
		return api.BadRequest("label", fmt.Sprintf("can be sent %d times at most", maxLabels))
	}
	if old, twice := q.Labels[key]; twice && old != v {
		return api.BadRequest("label", fmt.Sprintf("%s cannot have two values", key))
	}
	q.Labels[key] = v
	return nil
}
