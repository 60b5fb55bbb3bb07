package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go-job-orchestrator/shared/job"
	"golang.org/x/sys/unix"

	"go-job-orchestrator/shared/reload"
)

// File is a keyring in a file, which may be that of a mounted Secret. It is read again when it has
// changed. It is safe for concurrent use.
type File struct {
	path string
	file *reload.File[*Keyring]
	now  func() time.Time
	// turn has room for one change of the file at a time. Look-ups do not wait for it.
	turn chan struct{}
}

// OpenFile returns the keyring in the file of that path. A file that does not exist is a keyring
// without keys.
func OpenFile(path string, now func() time.Time, log *slog.Logger) (*File, error) {
	f := &File{path: path, now: now, turn: make(chan struct{}, 1)}
	var err error
	f.file, err = reload.Open(f.config(log))
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) config(log *slog.Logger) reload.Config[*Keyring] {
	return reload.Config[*Keyring]{
		What: "keys", Path: f.path, Limit: MaxKeyringBytes, Parse: ParseKeyring, Now: f.now, Log: log,
	}
}

// Lookup returns the caller whose key the text is, or an error of Keyring.Lookup.
func (f *File) Lookup(text string) (Caller, error) {
	k, err := f.Current().Lookup(text, f.now())
	if err != nil {
		return Caller{}, err
	}
	return k.Caller(), nil
}

// Current returns the keyring, which must not be changed. While the file cannot be read, the keys
// are those that were read last: a mistake in the file must not lock out everybody.
func (f *File) Current() *Keyring { return f.file.Current() }

// Load returns the keyring as the file has it now.
func (f *File) Load(context.Context) (*Keyring, error) { return reload.Read(f.config(nil)) }

// Update changes the keyring and stores it. Changes by several processes take turns; look-ups do not
// wait meanwhile. The file is replaced as a whole, so a crash leaves the one or the other.
func (f *File) Update(ctx context.Context, change func(*Keyring) error) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return lockError(f.path+".lock", ctx.Err())
	}
	unlock, err := lock(ctx, f.path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	ring, err := reload.Read(f.config(nil))
	if err != nil {
		return err
	}
	if err := change(ring); err != nil {
		return err
	}
	data, err := ring.Encode()
	if err != nil {
		return err
	}
	if err := replace(f.path, data); err != nil {
		return err
	}
	return f.file.Reload()
}

// The times of a lock that another process has.
const (
	lockTimeout = 10 * time.Second
	lockRetry   = 10 * time.Millisecond
)

// lock waits until no other process changes the keyring, or until ctx ends. The kernel gives the lock
// back when a process dies.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the keys: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = file.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("lock of the keys: %w", err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(lockError(path, ctx.Err()), file.Close())
		case <-time.After(lockRetry):
		}
	}
}

// lockError says that another change of the keyring did not end in time, so that the client tries
// again.
func lockError(path string, err error) error {
	return fmt.Errorf("another change of the keys has the lock %s: %w: %w", path, job.ErrUnavailable, err)
}

// replace stores a file that only its owner may read.
func replace(path string, data []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // of mode 0600
	if err != nil {
		return fmt.Errorf("store the keys: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, writeErr := file.Write(data)
	if err := errors.Join(writeErr, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("store the keys: %w", err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("store the keys: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("store the keys: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("store the keys: %w", err)
	}
	return nil
}
