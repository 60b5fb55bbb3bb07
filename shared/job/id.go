package job

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// ID names one job: 32 lowercase hexadecimal digits, of which the first 12 are 48 bits of inverted
// Unix milliseconds and the other 20 are 80 random bits. Sorted in ascending order, IDs list the
// newest jobs first.
type ID string

const (
	idBytes   = 16
	idLength  = 2 * idBytes
	timeBytes = 6
	maxMillis = 1<<48 - 1
)

// NewID returns an ID for a job created at now, with 80 bits read from random.
func NewID(now time.Time, random io.Reader) (ID, error) {
	var b [idBytes]byte
	if _, err := io.ReadFull(random, b[timeBytes:]); err != nil {
		return "", fmt.Errorf("random bits of a job ID: %w", err)
	}
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], uint64(maxMillis-now.UnixMilli())) //nolint:gosec // milliseconds fit 48 bits until the year 10889
	copy(b[:timeBytes], t[2:])
	return ID(hex.EncodeToString(b[:])), nil
}

// ParseID returns s as an ID, or an error of kind ErrNotFound, because text that is not an ID names
// no job.
func ParseID(s string) (ID, error) {
	if len(s) != idLength {
		return "", fmt.Errorf("job ID of %d characters: %w", len(s), ErrNotFound)
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("job ID with a character other than 0-9 and a-f: %w", ErrNotFound)
		}
	}
	return ID(s), nil
}

// Created returns when the job was created, to the millisecond. The ID must be valid.
func (id ID) Created() time.Time {
	b, err := hex.DecodeString(string(id))
	if err != nil || len(b) != idBytes {
		return time.Time{}
	}
	var t [8]byte
	copy(t[2:], b[:timeBytes])
	return time.UnixMilli(maxMillis - int64(binary.BigEndian.Uint64(t[:]))).UTC() //nolint:gosec // 48 bits
}

// Name is the name of the job's Kubernetes Job. People use it as the name of the job too.
func (id ID) Name() string { return "run-" + string(id) }
