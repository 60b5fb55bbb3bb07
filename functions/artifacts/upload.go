package artifacts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/executor"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/token"
)

// put stores an output, or one of the agent's records under .job/.
func (f *Function) put(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
	id, err := api.Authorize(r, p, f.keys, token.Agent)
	if err != nil {
		return err
	}
	ctx := r.Context()
	index, err := f.ledger.Index(ctx, id)
	if err != nil {
		return err
	}
	name := download.Name(p.ByName("filename"))
	record, isRecord := strings.CutPrefix(name, job.PrivateDir+"/")
	if record == job.StatusFile && isRecord { // answers with the record that stands, also when the job is over
		return f.finish(w, r, index)
	}
	over, err := f.ledger.Over(ctx, id)
	if err != nil {
		return err
	}
	if over {
		return job.Refuse(job.ErrConflict, "", "the job is over; nothing more is taken for it")
	}
	if isRecord {
		return f.record(w, r, index, record)
	}
	return f.output(w, r, id, name)
}

func (f *Function) output(w http.ResponseWriter, r *http.Request, id job.ID, name string) error {
	if message := job.CheckOutputName(name); message != "" {
		return job.Invalid("filename", message)
	}
	limit := int64(f.settings.MaxOutput)
	tooLarge := job.Refuse(job.ErrTooLarge, "filename", fmt.Sprintf("an output has at most %d bytes (MAX_OUTPUT_BYTES)", limit))
	if r.ContentLength > limit {
		return tooLarge
	}
	body, err := checked(r, limit, tooLarge)
	if err != nil {
		return err
	}
	d, err := f.store.Put(r.Context(), ledger.ResultKey(id, name), body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return api.BadRequest("body", "ended before its Content-Length")
	}
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusCreated, job.File{Name: name, Size: d.Size, SHA256: d.SHA256})
	return nil
}

// body is an upload that is refused, before it is stored, when it is too large or not what its digest says.
type body struct {
	r        io.Reader
	left     int64
	tooLarge error
	hash     hash.Hash
	want     []byte // nil: no digest was sent
}

func checked(r *http.Request, limit int64, tooLarge error) (*body, error) {
	b := &body{r: r.Body, left: limit, tooLarge: tooLarge, hash: sha256.New()}
	for _, name := range []string{"Content-Digest", "Repr-Digest"} { // RFC 9530
		if value := r.Header.Get(name); value != "" {
			text, found := strings.CutPrefix(value, "sha-256=:")
			sum, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, ":"))
			if !found || err != nil || len(sum) != sha256.Size {
				return nil, api.BadRequest(name, "must be sha-256=:<base64>:")
			}
			b.want = sum
		}
	}
	return b, nil
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.hash.Write(p[:n])
	if b.left -= int64(n); b.left < 0 {
		return 0, b.tooLarge
	}
	if errors.Is(err, io.EOF) && b.want != nil && !bytes.Equal(b.hash.Sum(nil), b.want) {
		return 0, job.Invalid("Content-Digest", "the body is not what its digest says; send it again")
	}
	return n, err
}

// record stores one of the agent's records. Each may be sent again.
func (f *Function) record(w http.ResponseWriter, r *http.Request, index *job.Index, name string) error {
	if segment, found := strings.CutPrefix(name, "log/"); found {
		if err := logstore.Accept(r.Context(), f.store, index.JobID, segment, r.Body); err != nil {
			return err
		}
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	if name == "outputs.json" {
		return f.manifest(w, r, index.JobID)
	}
	parts := strings.Split(name, "/")
	if len(parts) == 3 && parts[0] == "attempts" {
		n, err := strconv.ParseUint(parts[1], 10, 10)
		if err != nil || n < 1 || int(n) > index.Retries+1 {
			return job.Invalid("filename", fmt.Sprintf("attempts have the numbers from 1 to %d", index.Retries+1))
		}
		switch parts[2] {
		case "start":
			return f.start(w, r, index.JobID, int(n))
		case "end":
			return f.end(w, r, index.JobID, int(n))
		}
	}
	return fmt.Errorf("record %q: %w", name, job.ErrNotFound)
}

func (f *Function) start(w http.ResponseWriter, r *http.Request, id job.ID, n int) error {
	var claim struct {
		Owner  string      `json:"owner"`
		Limits *job.Limits `json:"limits"`
	}
	if err := decode(r, &claim); err != nil {
		return err
	}
	if claim.Owner == "" {
		return job.Invalid("owner", "is required")
	}
	ctx := r.Context()
	a, err := f.ledger.StartAttempt(ctx, id, n, claim.Owner, claim.Limits)
	if errors.Is(err, job.ErrExists) {
		a, err = f.ledger.StartedBy(ctx, id, n, claim.Owner) // a repeated request is the same claim
	}
	if errors.Is(err, job.ErrExists) {
		return job.Refuse(job.ErrConflict, "owner", "this attempt is somebody else's")
	}
	if err != nil {
		return err
	}
	// Only now: whoever cancels looks for attempts after recording the wish.
	cancelled, err := f.ledger.CancelRequested(ctx, id)
	if err != nil {
		return err
	}
	if cancelled {
		return job.Refuse(job.ErrConflict, "", "the job is cancelled; do not run it")
	}
	api.WriteJSON(w, http.StatusCreated, a)
	return nil
}

func (f *Function) end(w http.ResponseWriter, r *http.Request, id job.ID, n int) error {
	var a job.Attempt
	if err := decode(r, &a); err != nil {
		return err
	}
	if a.Number != n || a.FinishedAt == nil {
		return job.Invalid("number", "must be that of the path, and finishedAt must be set")
	}
	if err := f.ledger.EndAttempt(r.Context(), id, a); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// manifest records the outputs, all of which must be stored.
func (f *Function) manifest(w http.ResponseWriter, r *http.Request, id job.ID) error {
	var m executor.Manifest
	if err := decode(r, &m); err != nil {
		return err
	}
	if err := f.checkFiles(r.Context(), id, m.Files); err != nil {
		return err
	}
	if err := logstore.PutOrder(r.Context(), f.store, id, m.Order); err != nil {
		return err
	}
	if err := f.ledger.PutOutputs(r.Context(), id, m.Files); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (f *Function) checkFiles(ctx context.Context, id job.ID, files []job.File) error {
	for i, file := range files {
		field := fmt.Sprintf("files[%d]", i)
		if message := job.CheckOutputName(file.Name); message != "" {
			return job.Invalid(field, message)
		}
		if i > 0 && files[i-1].Name >= file.Name {
			return job.Invalid(field, "the names must be in ascending order, each once")
		}
		info, err := f.store.Stat(ctx, ledger.ResultKey(id, file.Name))
		if errors.Is(err, job.ErrNotFound) || err == nil && info.Size != file.Size {
			return job.Invalid(field, "is not stored with this size")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Function) finish(w http.ResponseWriter, r *http.Request, index *job.Index) error {
	var t job.Terminal
	if err := decode(r, &t); err != nil {
		return err
	}
	if !t.Phase.Terminal() || t.FinishedAt.IsZero() || t.Reason == "" {
		return job.Invalid("phase", "must be Succeeded, Failed or Cancelled, with reason and finishedAt")
	}
	recorded, _, err := f.ledger.Finish(r.Context(), index, t)
	if err != nil {
		return err
	}
	if err := logstore.Retire(r.Context(), f.store, index.JobID); err != nil {
		f.log.WarnContext(r.Context(), "pieces of the log not removed", "job", index.JobID, "error", err)
	}
	api.WriteJSON(w, http.StatusCreated, recorded)
	return nil
}

// maxRecord bounds a record: a manifest of ten thousand files with long names.
const maxRecord = 16 << 20

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRecord))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return job.Invalid("body", "is not the JSON that this record needs")
	}
	return nil
}
