package ledger

import (
	"context"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Each job has an entry in the list of its owner, so a caller's list costs what it shows, however
// many jobs others have.

// ownerPrefix is the folder of an owner's entries. It hashes the name: keys of records hold no
// capitals, and a name may have slashes.
func ownerPrefix(owner string) string {
	if owner == "" {
		owner = job.LocalOwner
	}
	return owners + ownerHash(owner) + "/"
}

func ownerHash(owner string) string { return hash(owner)[:32] }

// ownerNotePrefix is what the names of the notes begin with that say whose a job is that has no
// index yet. The hash of the owner follows. The name says it all, because on a directory an empty
// record needs no flush.
func ownerNotePrefix(id job.ID) string { return runPrefix(id) + "owner-" }

// noteOwner notes the owner of a job for AbortUpload. The entry of job.LocalOwner is found without.
func (l *Ledger) noteOwner(ctx context.Context, index *job.Index) error {
	if index.Owner == job.LocalOwner {
		return nil
	}
	return l.store.Mark(ctx, ownerNotePrefix(index.JobID)+ownerHash(index.Owner))
}

// notedOwner returns the entry that follows from the note of noteOwner, and nothing without a note.
func (l *Ledger) notedOwner(ctx context.Context, id job.ID) ([]string, error) {
	const most = 10 // there is one, unless others put theirs there
	keys, err := l.store.List(ctx, ownerNotePrefix(id), "", most)
	for i, key := range keys {
		keys[i] = owners + strings.TrimPrefix(key, ownerNotePrefix(id)) + "/" + shard(id)
	}
	return keys, err
}

// parseOwnerKey returns the ID of an entry in the list of an owner, and false for whatever else lies
// there.
func parseOwnerKey(key string) (job.ID, bool) {
	id, ok := unshard(key)
	if !ok {
		return "", false
	}
	folder, found := strings.CutSuffix(strings.TrimPrefix(key, owners), "/"+shard(id))
	return id, found && len(folder) == 32 && strings.Trim(folder, "0123456789abcdef") == ""
}
