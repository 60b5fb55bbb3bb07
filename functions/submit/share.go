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

// How long a shared token is valid, in seconds.
const (
	minShared     = 60
	defaultShared = 24 * 60 * 60
	maxShared     = 30 * 24 * 60 * 60
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

// readLifetime reads {"expiresInSeconds": n}; without a body it is a day.
func readLifetime(r *http.Request) (time.Duration, error) {
	body := struct {
		ExpiresInSeconds int64 `json:"expiresInSeconds"`
	}{defaultShared}
	d := json.NewDecoder(io.LimitReader(r.Body, maxShareBody))
	d.DisallowUnknownFields()
	err := d.Decode(&body)
	if errors.Is(err, io.EOF) {
		err = nil
	} else if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return 0, api.BadRequest("body", `must be JSON such as {"expiresInSeconds":3600}, or empty`)
	}
	if body.ExpiresInSeconds < minShared || body.ExpiresInSeconds > maxShared {
		return 0, job.Invalid("expiresInSeconds", fmt.Sprintf("is %d; it must be from %d to %d", body.ExpiresInSeconds,
			minShared, maxShared))
	}
	return time.Duration(body.ExpiresInSeconds) * time.Second, nil
}
