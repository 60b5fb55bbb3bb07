// Package keys lets admins list, make and revoke the keys of callers.
package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/routes"
)

// Store keeps the keyring: a file on one machine, a Secret on Kubernetes.
type Store interface {
	Load(ctx context.Context) (*access.Keyring, error)
	// Update changes the keyring. change may be called again when somebody else was faster.
	Update(ctx context.Context, change func(*access.Keyring) error) error
}

// Deps is what the function works with.
type Deps struct {
	Store  Store
	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger
}

// Function answers the calls about keys.
type Function struct{ Deps }

// New returns the function.
func New(d Deps) *Function { return &Function{d} }

// Mount routes the function.
func (f *Function) Mount(r *api.Router) {
	r.Handle(routes.ListKeys, f.list)
	r.Handle(routes.MakeKey, f.create)
	r.Handle(routes.RevokeKey, f.revoke)
}

// shown is a key as answers have it: without its hash.
type shown struct {
	access.Key
	Expired bool `json:"expired,omitempty"`
}

func (f *Function) show(k access.Key) shown {
	k.SHA256 = ""
	return shown{Key: k, Expired: k.ExpiresAt != nil && !f.Now().Before(*k.ExpiresAt)}
}

func (f *Function) list(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	if _, err := access.Require(r.Context(), access.Admin); err != nil {
		return err
	}
	ring, err := f.Store.Load(r.Context())
	if err != nil {
		return err
	}
	page := struct {
		Items []shown `json:"items"`
	}{Items: make([]shown, len(ring.Keys))}
	for i, k := range ring.Keys {
		page.Items[i] = f.show(k)
	}
	slices.SortFunc(page.Items, func(a, b shown) int { return b.CreatedAt.Compare(a.CreatedAt) })
	api.WriteJSON(w, http.StatusOK, page)
	return nil
}

// made is the answer to who makes a key. Key is the key itself, which nobody can tell later.
type made struct {
	shown
	Key string `json:"key"`
}

func (f *Function) create(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	caller, err := access.Require(r.Context(), access.Admin)
	if err != nil {
		return err
	}
	q, err := f.read(r)
	if err != nil {
		return err
	}
	var a made
	err = f.Store.Update(r.Context(), func(ring *access.Keyring) error {
		text, k, err := ring.Add(*q, f.Now(), f.Random)
		if err == nil {
			a = made{shown: f.show(*k), Key: text}
		}
		return err
	})
	if err != nil {
		return refuse(err)
	}
	f.Log.InfoContext(r.Context(), "key made", "key", a.ID, "name", a.Name, "owner", a.Owner, "role", a.Role,
		"replaces", a.Replaces, "by", caller.Owner)
	w.Header().Set("Location", routes.RevokeKey.URL(a.ID))
	api.WriteJSON(w, http.StatusCreated, a)
	return nil
}

func (f *Function) revoke(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	caller, err := access.Require(r.Context(), access.Admin)
	if err != nil {
		return err
	}
	id := p.ByName("id")
	err = f.Store.Update(r.Context(), func(ring *access.Keyring) error { return ring.Remove(id, f.Now()) })
	if err != nil {
		return refuse(err)
	}
	f.Log.InfoContext(r.Context(), "key revoked", "key", id, "by", caller.Owner)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// refuse gives an error of a keyring the kind that the API answers by.
func refuse(err error) error {
	for from, to := range map[error]error{access.ErrNoSuchKey: job.ErrNotFound, access.ErrLastAdmin: job.ErrConflict,
		access.ErrFull: job.ErrConflict} {
		if errors.Is(err, from) {
			return job.Refuse(to, "", err.Error())
		}
	}
	return err
}

// maxRequest bounds the body of a request for a key.
const maxRequest = 16 << 10

// request is the body of a request for a key.
type request struct {
	Name      string  `json:"name"`
	Owner     string  `json:"owner"`
	Role      string  `json:"role"`
	ExpiresAt *string `json:"expiresAt"`
	ExpiresIn string  `json:"expiresIn"`
	Replaces  string  `json:"replaces"`
	Grace     string  `json:"grace"`
}

// read reads the body of a request, and names all that is wrong with it.
func (f *Function) read(r *http.Request) (*access.Request, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, api.Fail(http.StatusUnsupportedMediaType, "Content-Type: send application/json.")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil {
		return nil, api.BadRequest("body", "could not be read to its end")
	}
	if len(data) > maxRequest {
		return nil, job.Refuse(job.ErrTooLarge, "body", fmt.Sprintf("is longer than %d bytes", maxRequest))
	}
	var sent request
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&sent); err != nil {
		return nil, notRequest(err)
	}
	if decoder.More() {
		return nil, api.BadRequest("body", "has more than one JSON object")
	}
	return f.check(sent)
}

// notRequest says why a body could not be decoded.
func notRequest(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" {
		return api.BadRequest(kind.Field, "must be a string, not of the kind "+kind.Value)
	}
	message := "is not a JSON object with name, owner, role, expiresAt or expiresIn, replaces and grace"
	if kind == nil {
		message += ": " + strings.TrimPrefix(err.Error(), "json: ")
	}
	return api.BadRequest("body", message)
}

func (f *Function) check(sent request) (*access.Request, error) {
	faults := &job.Faults{Kind: job.ErrInvalid}
	fault := func(field, message string) {
		if message != "" {
			faults.List = append(faults.List, job.Fault{Field: field, Message: message})
		}
	}
	if sent.Name != "" || sent.Replaces == "" {
		fault("name", access.CheckName(sent.Name))
	}
	if sent.Owner != "" {
		fault("owner", access.CheckOwner(sent.Owner))
	}
	q := &access.Request{Name: sent.Name, Owner: sent.Owner, Role: access.Role(sent.Role), Replaces: sent.Replaces,
		Grace: access.DefaultGrace}
	if sent.Role != "" || sent.Replaces == "" {
		fault("role", checkRole(sent.Role))
	}
	if sent.Grace != "" {
		var message string
		q.Grace, message = api.Duration(sent.Grace)
		fault("grace", message)
		if sent.Replaces == "" {
			fault("grace", "is how long a replaced key stays valid; send the ID of that key in replaces as well")
		}
	}
	q.ExpiresAt = f.end(sent, fault)
	if len(faults.List) > 0 {
		return nil, faults
	}
	return q, nil
}

// end returns until when a key is to be valid; nil if it does not expire.
func (f *Function) end(sent request, fault func(field, message string)) *time.Time {
	var end time.Time
	switch {
	case sent.ExpiresAt == nil && sent.ExpiresIn == "":
		return nil
	case sent.ExpiresAt != nil && sent.ExpiresIn != "":
		fault("expiresIn", "was sent beside expiresAt; send one of them")
	case sent.ExpiresIn != "":
		d, message := api.Duration(sent.ExpiresIn)
		if message == "" && d == 0 {
			message = "must be longer than 0s"
		}
		fault("expiresIn", message)
		end = f.Now().Add(d).UTC()
	default:
		var err error
		end, err = time.Parse(time.RFC3339, *sent.ExpiresAt)
		if err != nil {
			fault("expiresAt", "is not a time such as 2027-01-31T00:00:00Z")
		} else if !end.After(f.Now()) {
			fault("expiresAt", "is not in the future")
		}
	}
	return &end
}

// checkRole says what is wrong with the name of a role, or nothing.
func checkRole(name string) string {
	if name == "" {
		return "is required; choose admin, user or read"
	}
	if _, err := access.ParseRole(name); err != nil {
		return err.Error()
	}
	return ""
}
