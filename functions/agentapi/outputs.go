package agentapi

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/agentwire"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/upload"
)

// outputs closes the results: it records which outputs there are, all of which must be stored.
func (f *Function) outputs(ctx context.Context, u upload.Upload) (any, error) {
	m := agentwire.Manifest{}
	if err := u.Body.Decode(ctx, &m); err != nil {
		return nil, err
	}
	id := u.Index.JobID
	if err := f.checkManifest(ctx, id, &m); err != nil {
		return nil, err
	}
	if err := f.Ledger.PutOutputs(ctx, id, m.Files); err != nil {
		return nil, err
	}
	return f.standing(ctx, id, m)
}

// checkManifest says what is wrong with a manifest, also against what is stored.
func (f *Function) checkManifest(ctx context.Context, id job.ID, m *agentwire.Manifest) error {
	if m.Files == nil {
		m.Files = []job.File{}
	}
	if err := checkFiles(m.Files); err != nil {
		return err
	}
	return f.checkStored(ctx, id, m.Files)
}

// standing tells whether the recorded outputs are those of m; the first record stands.
func (f *Function) standing(ctx context.Context, id job.ID, m agentwire.Manifest) (any, error) {
	files, err := f.Ledger.Outputs(ctx, id)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(files, m.Files) {
		return nil, api.Fail(http.StatusConflict, "Another list of the job's outputs is stored already.")
	}
	return m, nil
}

// maxType bounds a content type; RFC 6838 allows 127 bytes for each of its two parts.
const maxType = 255

func checkFiles(files []job.File) error {
	for i, file := range files {
		if message := checkFile(file); message != "" {
			return job.Invalid(fmt.Sprintf("files[%d]", i), message)
		}
		if i > 0 && files[i-1].Name >= file.Name {
			return job.Invalid(fmt.Sprintf("files[%d]", i), "is out of order: names must ascend, each once")
		}
	}
	// As it will be stored, where some characters take more bytes than they came with.
	data, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("encode outputs: %w", err)
	}
	if len(data) > maxManifest {
		return job.Refuse(job.ErrTooLarge, "files", fmt.Sprintf("takes more than %d bytes", maxManifest))
	}
	return nil
}

func checkFile(f job.File) string {
	if message := job.CheckOutputName(f.Name); message != "" {
		return "name: " + message
	}
	if f.Size < 0 {
		return "size: is negative"
	}
	if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != 32 || f.SHA256 != strings.ToLower(f.SHA256) {
		return "sha256: must be 64 lowercase hexadecimal digits"
	}
	if f.Mode != "" && f.Mode != job.ModeExecutable {
		return "mode: must be " + job.ModeExecutable + " for an executable file, and is left out for others"
	}
	if f.ContentType != "" {
		if _, _, err := mime.ParseMediaType(f.ContentType); err != nil || len(f.ContentType) > maxType {
			return "contentType: is not one"
		}
	}
	return ""
}

// statAtOnce is how many files are looked at at a time: a remote bucket takes a while to answer,
// and there may be ten thousand.
const statAtOnce = 16

// checkStored refuses files that are not stored with the size they are said to have.
func (f *Function) checkStored(ctx context.Context, id job.ID, files []job.File) error {
	errs := make([]error, len(files))
	var all errgroup.Group
	all.SetLimit(statAtOnce)
	for i, file := range files {
		all.Go(func() error {
			if err := f.checkSize(ctx, id, file); err != nil {
				errs[i] = fmt.Errorf("files[%d]: %w", i, err)
			}
			return nil // the error of the first file in the list is returned, not the first in time
		})
	}
	_ = all.Wait()
	for i, err := range errs {
		if errors.Is(err, job.ErrInvalid) {
			return job.Invalid(fmt.Sprintf("files[%d]", i), "is not stored with this size; send the file first")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Function) checkSize(ctx context.Context, id job.ID, file job.File) error {
	info, err := f.Store.Stat(ctx, ledger.ResultKey(id, file.Name))
	if errors.Is(err, job.ErrNotFound) || upload.IsClash(err) || err == nil && info.Size != file.Size {
		return job.ErrInvalid
	}
	return err
}
