package status

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
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
	if q.Owner, err = access.Listed(r.Context(), q.Owner); err != nil {
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
	maxLabels    = 32 // no job has more, and each costs reads
)

func parameters() api.Query {
	return api.Query{
		Names: []string{"limit", "pageToken", "phase", "label", "name", "owner"},
		Others: map[string]string{
			"status": "phase", "state": "phase", "selector": "label", "labelselector": "label", "tag": "label",
			"page": "pageToken", "cursor": "pageToken", "continue": "pageToken", "nextpagetoken": "pageToken",
			"pagesize": "limit", "count": "limit", "user": "owner", "caller": "owner", "createdby": "owner", "jobname": "name",
		},
		Repeat: []string{"label"},
	}
}

// parseQuery reads limit, pageToken, phase, label (key=value), name and owner.
func parseQuery(raw string) (ledger.Query, error) {
	q := ledger.Query{Limit: defaultLimit, Labels: map[string]string{}}
	err := parameters().Each(raw, func(name, value string) error { return parseParameter(&q, name, value) })
	return q, err
}

func parseParameter(q *ledger.Query, name, value string) (err error) {
	switch name {
	case "limit":
		q.Limit, err = api.Number(name, value, 1, maxLimit)
		return err
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
	case "name":
		if message := job.CheckName(value); message != "" {
			return api.BadRequest("name", message)
		}
		q.Name = value
	case "owner":
		if message := access.CheckOwner(value); message != "" {
			return api.BadRequest("owner", message)
		}
		q.Owner = value
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
