// Package template keeps what jobs are started from: a job's specification and files under a name,
// every version of which is written once.
package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/store"
)

// Template is one version of a template.
type Template struct {
	Name      string    `json:"name"`
	Version   int       `json:"version"` // from 1
	Owner     string    `json:"owner"`   // the name of a caller
	CreatedAt time.Time `json:"createdAt"`
	// Events says which events start a job from it without a caller; nil: none.
	Events *Events `json:"events,omitempty"`
	// DefaultName is the Name of the Spec, which JSON leaves out beside the name of the template.
	DefaultName string `json:"defaultName,omitempty"`
	job.Spec
	Files []job.File `json:"files"`
	// Inferred says which parts of Spec were not sent, but followed from the files. Nil: none.
	Inferred *job.Inferred `json:"inferred,omitempty"`
	// Stdin is what the programs of its jobs read, unless they are started with something else.
	Stdin *job.File `json:"stdin,omitempty"`
	// Secrets are those of the operator, by name. A template has no values.
	Secrets []job.Secret `json:"secrets,omitempty"`
}

// Events says which events the Broker may start a job with. Each list has patterns: one with * at
// its end stands for all that begin so.
type Events struct {
	Types   []string `json:"types"`
	Sources []string `json:"sources"`
}

// record is a version as it is stored.
type record struct {
	Template
	// Caller is the owner. Versions that are older than callers have none, and an owner of another
	// kind; they belong to job.LocalOwner.
	Caller string `json:"caller,omitempty"`
	// Folder names where the files of this version lie.
	Folder job.ID `json:"folder"`
	// IdempotencyKey and Fingerprint are of the request that made it, so that it can be sent again.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	Fingerprint    string `json:"fingerprint,omitempty"`
}

// Version is a stored version.
type Version struct{ record }

// The folders. A mark in uploads says that the files of a folder may not belong to the current
// version.
const (
	records = ledger.Reserved + "template/"
	files   = ledger.Reserved + "template-files/"
	uploads = ledger.Reserved + "template-upload/"
)

func recordKey(name string, version int) string {
	return fmt.Sprintf("%s%s/%08d.json", records, name, version)
}
func folder(name string, id job.ID) string    { return files + name + "/" + string(id) + "/" }
func uploadKey(name string, id job.ID) string { return uploads + string(id) + "/" + name }

var syntax = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`) })

// CheckName says what is wrong with a template's name, or nothing.
func CheckName(name string) string {
	if !syntax().MatchString(name) {
		return "a template's name has 1 to 63 lowercase letters, digits or '-', and begins and ends with a letter or digit"
	}
	return ""
}

// Store is the templates in a bucket. Its methods may be called concurrently and by several
// processes.
type Store struct {
	store *store.Store
	now   func() time.Time
}

// NewStore returns the templates in s. The clock now is time.Now outside tests.
func NewStore(s *store.Store, now func() time.Time) *Store { return &Store{store: s, now: now} }

// tries bounds how often a reader or writer looks again while others change the same template.
const tries = 100

// maxVersions is more than there ever are of one template: older ones are swept.
const maxVersions = 100_000

// Current returns the newest version, or an error of kind job.ErrNotFound.
func (s *Store) Current(ctx context.Context, name string) (*Version, error) {
	for range tries {
		keys, err := s.versions(ctx, name)
		if err != nil {
			return nil, err
		}
		if len(keys) == 0 {
			break
		}
		v, err := s.read(ctx, keys[len(keys)-1])
		if !errors.Is(err, job.ErrNotFound) { // else replaced or deleted between the two reads
			return v, err
		}
	}
	return nil, Unknown(name)
}

// Unknown is the error for a template that does not exist, and for one that the caller must not see.
func Unknown(name string) error {
	return job.Refuse(job.ErrNotFound, "template", fmt.Sprintf("there is no template %.100q", name))
}

// versions returns the keys of all versions, the newest last. Other blobs in their folder are
// passed over.
func (s *Store) versions(ctx context.Context, name string) ([]string, error) {
	keys, err := s.store.List(ctx, records+name+"/", "", maxVersions)
	return slices.DeleteFunc(keys, func(key string) bool { return !isRecord(name, key) }), err
}

// isRecord reports whether a key is that of a version.
func isRecord(name, key string) bool {
	text, found := strings.CutSuffix(strings.TrimPrefix(key, records+name+"/"), ".json")
	version, err := strconv.Atoi(text)
	return found && err == nil && version > 0 && key == recordKey(name, version)
}

func (s *Store) read(ctx context.Context, key string) (*Version, error) {
	data, err := s.store.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	var v Version
	if err := json.Unmarshal(data, &v.record); err != nil {
		return nil, fmt.Errorf("decode %s: %w", key, err)
	}
	v.Owner, v.Spec.Name = v.Caller, v.DefaultName
	if v.Caller == "" { // every event could start it
		v.Owner, v.Events = job.LocalOwner, &Events{Types: []string{"*"}, Sources: []string{"*"}}
	}
	return &v, nil
}

// Begin notes that files of a version to come are about to be stored in a folder of their own.
func (s *Store) Begin(ctx context.Context, name string, id job.ID) error {
	return s.store.Mark(ctx, uploadKey(name, id))
}

// FileKey is where a file of the version to come lies.
func FileKey(name string, id job.ID, file string) string { return folder(name, id) + file }

// Abort removes the files of a version that was not saved.
func (s *Store) Abort(ctx context.Context, name string, id job.ID) error {
	if err := s.store.RemoveAll(ctx, folder(name, id)); err != nil {
		return err
	}
	return s.store.Remove(ctx, uploadKey(name, id))
}

// Draft is a version to come: its files lie in Folder, and its Version is not known yet.
type Draft struct {
	Template
	Folder                      job.ID
	IdempotencyKey, Fingerprint string
}

// Save makes the draft the current version of its template. If the template belongs to another
// owner by now, the error is of kind job.ErrExists.
func (s *Store) Save(ctx context.Context, d Draft) (*Version, error) {
	v := &Version{record{Template: d.Template, Caller: d.Owner, Folder: d.Folder, IdempotencyKey: d.IdempotencyKey,
		Fingerprint: d.Fingerprint}}
	v.DefaultName = d.Spec.Name
	for range tries {
		older, err := s.versions(ctx, d.Name)
		if err != nil {
			return nil, err
		}
		v.Version = 1
		var replaced job.ID
		if len(older) > 0 {
			last, err := s.read(ctx, older[len(older)-1])
			if errors.Is(err, job.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if last.Owner != d.Owner {
				return nil, fmt.Errorf("template %s: %w: it belongs to another owner", d.Name, job.ErrExists)
			}
			v.Version, replaced = last.Version+1, last.Folder
			// Noted before it is outdated, so that a crash leaves no files behind.
			if err := s.store.Mark(ctx, uploadKey(d.Name, last.Folder)); err != nil {
				return nil, err
			}
		}
		data, err := json.Marshal(v.record)
		if err != nil {
			return nil, fmt.Errorf("encode template: %w", err)
		}
		err = s.store.Create(ctx, recordKey(d.Name, v.Version), data)
		if errors.Is(err, job.ErrExists) { // another version was faster
			continue
		}
		if err != nil {
			return nil, err
		}
		// The sweeper removes the mark of this version: another writer may have replaced it by now and
		// needs the mark. The version before stays for a while: a slow writer that has not seen this one
		// yet must not find its number free. Its mark is set again, because a sweeper may have removed it
		// when that version was still the current one.
		if v.Version > 1 {
			_ = s.store.Mark(ctx, uploadKey(d.Name, replaced))
		}
		return v, nil
	}
	return nil, fmt.Errorf("save template %s: %w: others replace it all the time", d.Name, job.ErrUnavailable)
}

// Delete removes a template up to the given version. The records go first: without them there is no
// such template.
func (s *Store) Delete(ctx context.Context, v *Version) error {
	keys, err := s.versions(ctx, v.Name)
	if err != nil {
		return err
	}
	for _, key := range keys { // the oldest first, so that none of them becomes current again
		if key > recordKey(v.Name, v.Version) {
			continue
		}
		old, err := s.read(ctx, key)
		if errors.Is(err, job.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.store.Mark(ctx, uploadKey(v.Name, old.Folder)); err != nil {
			return err
		}
		if err := s.store.Remove(ctx, key); err != nil {
			return err
		}
		if err := s.Abort(ctx, v.Name, old.Folder); err != nil {
			return err
		}
	}
	return nil
}

// Open opens a file of a version. The error is of kind job.ErrNotFound when the version has been
// replaced or deleted meanwhile.
func (s *Store) Open(ctx context.Context, v *Version, file string) (io.ReadCloser, error) {
	return s.store.Open(ctx, FileKey(v.Name, v.Folder, file), 0, -1)
}
