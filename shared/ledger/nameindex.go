package ledger

import (
	"context"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Each job that its user gave a name has an entry in the list of that name, so a list by name costs
// what it shows.

// namePrefix is the folder of a name's entries. It hashes the name, which may have any characters.
func namePrefix(name string) string { return names + nameHash(name) + "/" }

func nameHash(name string) string { return hash(name)[:32] }

// nameNotePrefix is what the names of the notes begin with that say which name a job has that has no
// index yet. The hash of the name follows, as for owners.
func nameNotePrefix(id job.ID) string { return runPrefix(id) + "name-" }

// note notes for AbortUpload what the index entries of the job follow from, beside its labels.
func (l *Ledger) note(ctx context.Context, index *job.Index) error {
	if err := l.noteOwner(ctx, index); err != nil || index.Name == "" {
		return err
	}
	return l.store.Mark(ctx, nameNotePrefix(index.JobID)+nameHash(index.Name))
}

// noted returns the entries that follow from what note has noted.
func (l *Ledger) noted(ctx context.Context, id job.ID) ([]string, error) {
	ofOwner, err := l.notedOwner(ctx, id)
	if err != nil {
		return nil, err
	}
	const most = 10 // there is one, unless others put theirs there
	keys, err := l.store.List(ctx, nameNotePrefix(id), "", most)
	for i, key := range keys {
		keys[i] = names + strings.TrimPrefix(key, nameNotePrefix(id)) + "/" + shard(id)
	}
	return slices.Concat(ofOwner, keys), err
}
