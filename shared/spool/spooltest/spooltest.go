// Package spooltest makes spools for tests.
package spooltest

import (
	"os"
	"testing"

	"go-job-orchestrator/shared/spool"
)

// New returns an empty spool in a folder of its own, and a Writer to it.
func New(tb testing.TB) (spool.Files, *spool.Writer) {
	tb.Helper()
	files := Open(tb, tb.TempDir())
	w, err := spool.NewWriter(files, 0)
	if err != nil {
		tb.Fatal(err)
	}
	return files, w
}

// Open opens the spool in a folder.
func Open(tb testing.TB, dir string) spool.Files {
	tb.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer root.Close()
	files, err := spool.Open(root)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { files.Close() })
	return files
}
