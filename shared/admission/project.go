package admission

import (
	"context"
	"errors"
	"io"
	"slices"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/project"
)

// Project is a job as it was sent, and its files.
type Project struct {
	Spec  *job.Spec
	Files []job.File
	// Tree is what the files say. Nil: only their names do, and nothing that is in an archive.
	Tree *project.Tree
	// Key returns where a file is stored. It may be nil when there is no archive.
	Key func(name string) string
}

// Complete lists the archive if it is a zip file, which has its list at its end, and fills in the
// runtime and entrypoint that were not sent. It returns what it filled in. The faults of err are
// returned as well; any other error of it is returned as it is.
func (c *Controller) Complete(ctx context.Context, p Project, err error) (*job.Inferred, error) {
	faults := &job.Faults{Kind: job.ErrInvalid}
	if err != nil && !errors.As(err, &faults) {
		return nil, err
	}
	if isFaulty(faults, "files", "archive") {
		return nil, err
	}
	if err := c.listZip(ctx, p); err != nil {
		var found *job.Faults
		if !errors.As(err, &found) {
			return nil, err
		}
		return nil, &job.Faults{Kind: faults.Kind, List: slices.Concat(faults.List, found.List)}
	}
	if isFaulty(faults, "runtime", "entrypoint") {
		return nil, err
	}
	tree := p.Tree
	if tree == nil {
		names, listed := programNames(p.Files, nil)
		if !listed {
			return nil, err
		}
		tree = project.New()
		for _, name := range names {
			tree.Add(name)
		}
	}
	inferred, fault := tree.Infer(p.Spec)
	if fault == nil {
		return inferred, err
	}
	var found *job.Faults
	if !errors.As(fault, &found) {
		return nil, fault
	}
	return nil, &job.Faults{Kind: faults.Kind, List: slices.Concat(found.List, faults.List)}
}

// isFaulty reports whether one of the fields has a fault.
func isFaulty(faults *job.Faults, fields ...string) bool {
	return slices.ContainsFunc(faults.List, func(f job.Fault) bool { return slices.Contains(fields, f.Field) })
}

// listZip lists the archive if it is a zip file and was not listed yet.
func (c *Controller) listZip(ctx context.Context, p Project) error {
	i := slices.IndexFunc(p.Files, func(f job.File) bool { return f.Archive == job.Zip && f.Entries == 0 })
	if i < 0 || p.Tree == nil || p.Key == nil {
		return nil
	}
	f := &p.Files[i]
	if err := budget.Take(ctx, archive.Memory(f.Archive)/budget.Factor); err != nil {
		return err
	}
	sum, err := archive.ReadZip(c.bucket.ReaderAt(ctx, p.Key(f.Name), f.Size), f.Size, c.Settings.archiveLimits(),
		p.Tree.Visit(ctx))
	f.Entries, f.Unpacked = sum.Entries, sum.Unpacked
	return err
}

func (s *Settings) archiveLimits() archive.Limits {
	return archive.Limits{Entries: int(s.MaxEntries), Unpacked: int64(s.MaxUnpacked)}
}

// ListArchive lists an archive that is in memory.
func (c *Controller) ListArchive(ctx context.Context, f *job.File, content interface {
	io.Reader
	io.ReaderAt
}, size int64, tree *project.Tree,
) error {
	head := make([]byte, min(size, archive.HeadBytes))
	if _, err := content.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var err error
	if f.Archive, err = archive.Detect(head); err != nil {
		return err
	}
	if err := budget.Take(ctx, archive.Memory(f.Archive)/budget.Factor); err != nil {
		return err
	}
	var sum archive.Summary
	if f.Archive == job.Zip {
		sum, err = archive.ReadZip(content, size, c.Settings.archiveLimits(), tree.Visit(ctx))
	} else {
		sum, err = archive.ReadTar(content, f.Archive, c.Settings.archiveLimits(), tree.Visit(ctx))
	}
	f.Entries, f.Unpacked = sum.Entries, sum.Unpacked
	return err
}

// listAgain lists the files of a stored job, also those in its archive. It returns nil for a job
// without an archive, since the names of the others are known.
func (c *Controller) listAgain(ctx context.Context, from *job.Index) (*project.Tree, error) {
	i := slices.IndexFunc(from.Files, func(f job.File) bool { return f.Archive != "" })
	if i < 0 {
		return nil, nil //nolint:nilnil // see above
	}
	tree := project.New()
	for n, f := range from.Files {
		if n != i {
			tree.Add(f.Name)
		}
	}
	f, key := from.Files[i], ledger.FileKey(from.JobID, from.Files[i].Name)
	if err := budget.Take(ctx, archive.Memory(f.Archive)/budget.Factor); err != nil {
		return nil, err
	}
	if f.Archive == job.Zip {
		_, err := archive.ReadZip(c.bucket.ReaderAt(ctx, key, f.Size), f.Size, c.Settings.archiveLimits(), tree.Visit(ctx))
		return tree, err
	}
	in, err := c.bucket.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	_, err = archive.ReadTar(in, f.Archive, c.Settings.archiveLimits(), tree.Visit(ctx))
	return tree, err
}

// programNames returns the names that an entrypoint may have. They are not known of a job with an
// archive that was listed before, as that of a template: then ok is false.
func programNames(files []job.File, tree *project.Tree) (names []string, ok bool) {
	if tree != nil {
		return tree.Names(), true
	}
	for _, f := range files {
		if f.Archive != "" {
			return nil, false
		}
		names = append(names, f.Name)
	}
	return names, true
}
