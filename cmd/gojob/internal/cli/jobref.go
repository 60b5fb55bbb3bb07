package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go-job-orchestrator/cmd/gojob/internal/client"
	"go-job-orchestrator/cmd/gojob/internal/settings"
	"go-job-orchestrator/shared/job"
)

// last is what the command line calls the job that was submitted last.
const last = "@"

// idDigits is how many digits an ID has.
const idDigits = 32

// shortDigits is how many digits of an ID people see. They are the milliseconds of the submit.
const shortDigits = 12

// short is the ID of a job for people.
func short(id job.ID) string { return string(id[:min(len(id), shortDigits)]) }

// noJobError says that no job has the name or ID that was given.
type noJobError struct{ server, ref string }

func (e *noJobError) Error() string {
	return fmt.Sprintf("%s: no job of yours has the ID or name %q; list them with: gojob ls", e.server, e.ref)
}

// find is resolve, with the client of the server that has the job.
func (a *app) find(ctx context.Context, ref string) (*client.Client, job.ID, error) {
	c, err := a.client()
	if err != nil {
		return nil, "", err
	}
	id, err := a.resolve(ctx, c, ref)
	return c, id, err
}

// resolve finds the job that the command line names: by its ID, by a unique prefix of that, by its
// name, of which the newest job counts, or by "@", the job that was submitted here last. A full ID
// is not looked up, so there may be no such job.
func (a *app) resolve(ctx context.Context, c *client.Client, ref string) (job.ID, error) {
	if ref == last {
		return a.lastSubmitted(c)
	}
	digits := strings.ToLower(strings.TrimPrefix(ref, "run-")) // what people copy from kubectl
	if id, err := job.ParseID(digits); err == nil {
		return id, nil
	}
	var byPrefix []job.ID
	if isPrefix(digits) {
		found, err := beginning(ctx, c, digits)
		if err != nil {
			return "", err
		}
		if byPrefix = found; len(found) == 1 && len(digits) >= shortDigits {
			return found[0], nil
		}
	}
	byName, err := newestNamed(ctx, c, ref)
	if err != nil {
		return "", err
	}
	return choose(c, ref, byPrefix, byName)
}

// choose decides between the jobs whose ID begins with ref and the newest one with that name.
func choose(c *client.Client, ref string, byPrefix []job.ID, byName job.ID) (job.ID, error) {
	switch {
	case len(byPrefix) == 0 && byName == "":
		return "", &noJobError{c.Server(), ref}
	case len(byPrefix) == 0:
		return byName, nil
	case len(byPrefix) == 1 && (byName == "" || byName == byPrefix[0]):
		return byPrefix[0], nil
	case byName != "" && byName != byPrefix[0]:
		return "", &usageError{fmt.Errorf("%q is the name of the job %s and the beginning of %s; give more digits",
			ref, byName, byPrefix[0])}
	}
	return "", &usageError{fmt.Errorf("the IDs of several jobs begin with %q, such as %s and %s; give more digits",
		ref, byPrefix[0], byPrefix[1])}
}

func isPrefix(text string) bool {
	return text != "" && len(text) < idDigits && strings.Trim(text, "0123456789abcdef") == ""
}

// beginning returns the first two jobs whose IDs begin with the digits. IDs are listed in ascending
// order, and a list can begin after any ID, so this costs one page of two.
func beginning(ctx context.Context, c *client.Client, digits string) ([]job.ID, error) {
	query := url.Values{"limit": {"2"}}
	if before := previous(digits); before != "" {
		query.Set("pageToken", before)
	}
	page, err := listJobs(ctx, c, query)
	if err != nil {
		return nil, err
	}
	var ids []job.ID
	for _, item := range page.Items {
		if strings.HasPrefix(string(item.JobID), digits) {
			ids = append(ids, item.JobID)
		}
	}
	return ids, nil
}

// previous is the largest ID that is smaller than all that begin with the digits; empty for none.
func previous(digits string) string {
	b := []byte(digits + strings.Repeat("0", idDigits-len(digits)))
	for i := len(b) - 1; i >= 0; i-- {
		switch b[i] {
		case '0':
			b[i] = 'f'
			continue
		case 'a':
			b[i] = '9'
		default:
			b[i]--
		}
		return string(b)
	}
	return ""
}

func newestNamed(ctx context.Context, c *client.Client, name string) (job.ID, error) {
	if job.CheckName(name) != "" {
		return "", nil
	}
	page, err := listJobs(ctx, c, url.Values{"limit": {"1"}, "name": {name}})
	if err != nil || len(page.Items) == 0 {
		return "", err
	}
	return page.Items[0].JobID, nil
}

// jobPage is a page of the list of jobs.
type jobPage struct {
	Items         []job.Summary `json:"items"`
	NextPageToken string        `json:"nextPageToken"`
}

func listJobs(ctx context.Context, c *client.Client, query url.Values) (jobPage, error) {
	var page jobPage
	_, err := c.JSON(ctx, client.Call{Method: http.MethodGet, Path: "/api/v1/jobs", Query: query}, &page)
	return page, err
}

func (a *app) lastSubmitted(c *client.Client) (job.ID, error) {
	id, err := settings.Last(a.dirs, c.Server())
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", &usageError{errors.New("@ is the last job that was submitted from here to " + c.Server() +
			", and there was none; list jobs with: gojob ls")}
	}
	return id, nil
}

// remember notes the job that @ stands for from now on. That it cannot be written is said, and does
// not make a submit fail. client must have been called before.
func (a *app) remember(id job.ID) {
	if a.target.URL == nil {
		return
	}
	if err := settings.Remember(a.dirs, a.target.URL.String(), id); err != nil {
		fmt.Fprintf(a.stderr, "gojob: @ does not stand for this job: %s\n", err)
	}
}
