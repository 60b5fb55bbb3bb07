package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// Everything but the jobs' own folders lies under one prefix, which no job ID can begin with.
const prefix = Reserved

// Reserved is the prefix of all keys that belong to no job's own folder.
const Reserved = ".orchestrator/"

// Folders under the prefix. An index entry is an empty record: that it exists is what it says.
const (
	uploads  = prefix + "uploads/"  // entry: files are being stored for a job not yet accepted
	all      = prefix + "jobs/"     // entry: an accepted job
	active   = prefix + "active/"   // entry: a job that is not over
	running  = prefix + "running/"  // entry: a job of which an attempt has begun
	phases   = prefix + "phase/"    // entry: a job that ended in a phase
	labels   = prefix + "label/"    // entry: a job that has a label
	names    = prefix + "name/"     // entry: a job that its user gave a name; see nameindex.go
	owners   = prefix + "owner/"    // entry: a job that belongs to a caller; see ownerindex.go
	expiry   = prefix + "expiry/"   // entry: when a job that is over is due for removal
	runs     = prefix + "run/"      // what happened to a job: attempts, cancel, outputs, order of its log
	logs     = prefix + "log/"      // segments of the log of a job that is not over
	asked    = prefix + "asked/"    // entry: a job whose user wants it removed
	removing = prefix + "removing/" // a copy of the index of a job whose removal has begun
	outbox   = prefix + "outbox/"   // steps of jobs that the sink has not taken yet; see outbox.go
	reports  = prefix + "report/"   // jobs whose numbers and spans are still to be sent; see reports.go
	keys     = prefix + "idempotency/"
	keysDue  = prefix + "idempotency-due/"
	chains   = prefix + "chain/"     // the jobs that events of jobs started, counted for each job that began such a chain
	chained  = prefix + "chained/"   // where such a job stands in its chain, for when its index is gone
	chainDue = prefix + "chain-due/" // entry: when a chain may be forgotten
)

func indexKey(id job.ID) string  { return string(id) + "/" + job.IndexFile }
func statusKey(id job.ID) string { return string(id) + "/" + job.StatusFile }

// JobPrefix is a job's own folder.
func JobPrefix(id job.ID) string { return string(id) + "/" }

// FileKey is where an uploaded file lies.
func FileKey(id job.ID, name string) string { return string(id) + "/" + name }

// ResultKey is where an output, or one of the two logs, lies.
func ResultKey(id job.ID, name string) string {
	return string(id) + "/" + job.ResultsDir + "/" + name
}

// LogPrefix is the folder for the segments of a job's log, which go when it is over.
func LogPrefix(id job.ID) string { return logs + string(id) + "/" }

// OrderKey is where the order of a job's log lies once it is over, in package spool's format.
func OrderKey(id job.ID) string { return runPrefix(id) + "order" }

// FormerOrderKey is where it lies for jobs that ended when it had no times, as JSON:
// {"runs":[{"stream":…,"bytes":…}]}.
func FormerOrderKey(id job.ID) string { return runPrefix(id) + "order.json" }

func runPrefix(id job.ID) string    { return runs + string(id) + "/" }
func preparingKey(id job.ID) string { return runPrefix(id) + "preparing" }

func cancelKey(id job.ID) string   { return runPrefix(id) + "cancel.json" }
func removeKey(id job.ID) string   { return asked + string(id) }
func outputsKey(id job.ID) string  { return runPrefix(id) + "outputs.json" }
func labelsKey(id job.ID) string   { return runPrefix(id) + "labels.json" }
func removingKey(id job.ID) string { return removing + string(id) }

// countedKey is the mark of a job that its acceptance, or its end, has been counted.
func countedKey(id job.ID, kind string) string { return runPrefix(id) + "counted-" + kind }

func attemptKey(id job.ID, n int, what string) string {
	return fmt.Sprintf("%sattempt-%04d-%s.json", runPrefix(id), n, what)
}

// shard spreads job IDs over folders by the time in them (74 hours, 17 minutes, 4 seconds, a
// quarter of a second), so that listing the newest of many jobs on a directory reads only the
// folders it shows. The order of keys stays that of IDs.
func shard(id job.ID) string {
	s := string(id)
	return s[:5] + "/" + s[5:7] + "/" + s[7:9] + "/" + s[9:10] + "/" + s
}

// unshard returns the ID at the end of a key, and false when there is none.
func unshard(key string) (job.ID, bool) {
	id, err := job.ParseID(key[strings.LastIndexByte(key, '/')+1:])
	return id, err == nil
}

// flatID returns the ID of an entry right in a folder, and false for whatever else lies there.
func flatID(folder, key string) (job.ID, bool) {
	id, err := job.ParseID(strings.TrimPrefix(key, folder))
	return id, err == nil
}

func phasePrefix(p job.Phase) string { return phases + strings.ToLower(string(p)) + "/" }

// labelPrefix hashes the label: keys of records hold no capitals, and a label may have any length.
func labelPrefix(key, value string) string {
	return labels + hash(key + "=" + value)[:32] + "/"
}

// expiryKey sorts by time.
func expiryKey(at time.Time, id job.ID) string {
	t := expiryTime(at)
	return expiry + t[:5] + "/" + t[5:7] + "/" + t[7:9] + "/" + t + "-" + string(id)
}

func expiryTime(at time.Time) string { return fmt.Sprintf("%012x", max(at.UnixMilli(), 0)) }

// parseExpiry is the reverse of expiryKey.
func parseExpiry(key string) (at time.Time, id job.ID, ok bool) {
	name := key[strings.LastIndexByte(key, '/')+1:]
	var millis int64
	stamp, rest, found := strings.Cut(name, "-")
	if !found {
		return time.Time{}, "", false
	}
	if _, err := fmt.Sscanf(stamp, "%x", &millis); err != nil {
		return time.Time{}, "", false
	}
	id, err := job.ParseID(rest)
	at = time.UnixMilli(millis).UTC()
	return at, id, err == nil && name == expiryTime(at)+"-"+string(id)
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
