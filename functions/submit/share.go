package submit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
)

// How long a shared token is valid.
const (
	minShared     = time.Minute
	defaultShared = 24 * time.Hour
	maxShared     = 30 * 24 * time.Hour
)

// maxShareBody bounds the body of a request to share a job.
const maxShareBody = 4 << 10

// live returns the job that the path names, if it is still there for users.
func (f *Function) live(r *http.Request, p httprouter.Params) (job.ID, error) {
	id, err := job.ParseID(p.ByName("id"))
	if err != nil {
		return "", err
	}
	_, err = f.records.Live(r.Context(), id)
	return id, err
}

// share gives a token by which others may look at one job until a time, and change nothing of it.
func (f *Function) share(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := f.live(r, p)
	if err != nil {
		return err
	}
	lifetime, err := readLifetime(r)
	if err != nil {
		return err
	}
	until := f.now().Add(lifetime).Truncate(time.Second).UTC()
	api.WriteJSON(w, http.StatusCreated, struct {
		JobID     job.ID    `json:"jobID"`
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expiresAt"`
	}{id, f.keys.Share(id, until), until})
	return nil
}

// readLifetime reads {"expiresIn":"1h"}. Without it, or without a body, it is a day.
func readLifetime(r *http.Request) (time.Duration, error) {
	var body struct {
		ExpiresIn string `json:"expiresIn"`
	}
	d := json.NewDecoder(io.LimitReader(r.Body, maxShareBody))
	d.DisallowUnknownFields()
	err := d.Decode(&body)
	if err == nil && d.More() {
		err = errors.New("more than one value")
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return 0, api.BadRequest("body", `must be JSON such as {"expiresIn":"1h"}, or empty`)
	case body.ExpiresIn == "":
		return defaultShared, nil
	}
	lifetime, message := api.Duration(body.ExpiresIn)
	if message == "" && (lifetime < minShared || lifetime > maxShared) {
		message = fmt.Sprintf("is %s; it must be from %s to %s", lifetime, minShared, maxShared)
	}
	if message != "" {
		return 0, job.Invalid("expiresIn", message)
	}
	return lifetime, nil
}
