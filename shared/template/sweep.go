package template

import (
	"context"
	"errors"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
)

// drop removes one version. Its record goes last but for the mark: it names the folder.
func (s *Store) drop(ctx context.Context, name, key string) error {
	v, err := s.read(ctx, key)
	if errors.Is(err, job.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.store.RemoveAll(ctx, folder(name, v.Folder)); err != nil {
		return err
	}
	if err := s.store.Remove(ctx, key); err != nil {
		return err
	}
	return s.store.Remove(ctx, uploadKey(name, v.Folder))
}

// sweepBatch is how many marks are taken into memory at a time.
const sweepBatch = 500

// Sweep removes the files of versions that were replaced, and of those whose upload was cut off
// longer than age ago. It returns how many folders it dealt with.
func (s *Store) Sweep(ctx context.Context, age time.Duration) (int, error) {
	count := 0
	for after := ""; ; {
		keys, err := s.store.List(ctx, uploads, after, sweepBatch)
		if err != nil {
			return count, err
		}
		for _, key := range keys {
			after = key
			text, name, _ := strings.Cut(strings.TrimPrefix(key, uploads), "/")
			id, err := job.ParseID(text)
			if err != nil || CheckName(name) != "" || s.now().Sub(id.Created()) < age {
				continue
			}
			if err := s.sweep(ctx, name, id); err != nil {
				return count, err
			}
			count++
		}
		if len(keys) < sweepBatch {
			return count, nil
		}
	}
}

func (s *Store) sweep(ctx context.Context, name string, id job.ID) error {
	keys, err := s.versions(ctx, name)
	if err != nil {
		return err
	}
	for i, key := range keys {
		v, err := s.read(ctx, key)
		if err != nil && !errors.Is(err, job.ErrNotFound) {
			return err
		}
		switch {
		case err != nil || v.Folder != id:
		case i == len(keys)-1: // the current one
			return s.unmark(ctx, name, id, key)
		default:
			return s.drop(ctx, name, key)
		}
	}
	return s.Abort(ctx, name, id)
}

// unmark removes the mark of the current version, unless that was replaced meanwhile and needs it.
func (s *Store) unmark(ctx context.Context, name string, id job.ID, key string) error {
	if err := s.store.Remove(ctx, uploadKey(name, id)); err != nil {
		return err
	}
	keys, err := s.versions(ctx, name)
	if err != nil || len(keys) > 0 && keys[len(keys)-1] == key {
		return err
	}
	return s.store.Mark(ctx, uploadKey(name, id))
}
