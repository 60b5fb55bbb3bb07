package upload

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
	"os"
	"strings"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
)

// Body is an upload's body, whose reading fails when it is cut off, too large, or not what its
// digests say. Whoever reads it to the end and gets no error has it whole.
type Body struct {
	r       io.Reader
	limit   int64
	length  int64 // as it was announced; negative: it was not
	read    int64
	hash    hash.Hash // nil without digests
	digests []digest
}

// digest is a SHA-256 that a header announced.
type digest struct {
	header string
	sum    []byte
}

func newBody(r *http.Request, limit int64) (*Body, error) {
	b := &Body{r: r.Body, limit: limit, length: r.ContentLength}
	if r.ContentLength > limit {
		return nil, b.tooLarge()
	}
	// RFC 9110, sections 8.4 and 14.5: an encoded or partial body must not be stored as if it were the
	// file.
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, api.Fail(http.StatusUnsupportedMediaType, "Content-Encoding: send the file as it is; what is encoded "+
			"is stored under its own name.")
	}
	if r.Header.Get("Content-Range") != "" {
		return nil, api.BadRequest("Content-Range", "is not possible; send the whole file")
	}
	for _, name := range []string{"Content-Digest", "Repr-Digest"} {
		sum, err := parseDigest(name, r.Header.Values(name))
		if err != nil {
			return nil, err
		}
		if sum != nil {
			b.digests, b.hash = append(b.digests, digest{name, sum}), sha256.New()
		}
	}
	return b, nil
}

// parseDigest reads the sha-256 of a header of RFC 9530, if there is one. Other algorithms are
// passed over, as it demands.
func parseDigest(header string, values []string) ([]byte, error) {
	var sum []byte
	for _, member := range strings.Split(strings.Join(values, ","), ",") {
		algorithm, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		if algorithm != "sha-256" {
			continue
		}
		text, opened := strings.CutPrefix(value, ":")
		text, closed := strings.CutSuffix(text, ":")
		decoded, err := base64.StdEncoding.DecodeString(text)
		if !opened || !closed || err != nil || len(decoded) != sha256.Size {
			return nil, api.BadRequest(header, "must be sha-256=:<base64 of 32 bytes>:")
		}
		sum = decoded // the last one counts, RFC 9651, section 4.2.2
	}
	return sum, nil
}

func (b *Body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.read += int64(n)
	if b.read > b.limit {
		return 0, b.tooLarge()
	}
	if b.hash != nil {
		b.hash.Write(p[:n])
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		return n, b.end()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fmt.Errorf("%w (%w)", api.BadRequest("body", "took too long to arrive (UPLOAD_TIMEOUT, STALL_TIMEOUT); "+
			"nothing was stored, send it again"), err)
	default: // whatever it is, the rest will not come
		return n, fmt.Errorf("%w (%w)", api.BadRequest("body", "ended early; nothing was stored, send it again"), err)
	}
}

// end is the error that a complete body ends with.
func (b *Body) end() error {
	for _, d := range b.digests {
		if !bytes.Equal(d.sum, b.hash.Sum(nil)) {
			return job.Invalid(d.header, "is not that of the body; nothing was stored, send it again")
		}
	}
	return io.EOF
}

func (b *Body) tooLarge() error {
	return job.Refuse(job.ErrTooLarge, "body", fmt.Sprintf("is larger than %d bytes; nothing was stored", b.limit))
}

// Decode reads a record: one JSON value that has no other fields than it may. Only a body that
// arrived whole is looked at, so that one that was cut off is not called invalid.
func (b *Body) Decode(ctx context.Context, into any) error {
	data, err := budget.ReadAll(ctx, b, b.length, b.limit)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return job.Invalid("body", "is not the JSON that this record needs: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return job.Invalid("body", "has something after its JSON value")
	}
	return nil
}
