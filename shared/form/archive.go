package form

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/budget"
	"go-job-orchestrator/shared/job"
)

// archive stores the archive as it is sent. A tar file is listed while it passes by, and a fault in
// it ends the upload.
func (p *parser) archive(ctx context.Context, name string, content io.Reader) error {
	if message := job.CheckFileName(name, p.limits.NameBytes); message != "" {
		return job.Invalid("archive", "its name: "+message)
	}
	if p.archived {
		return job.Invalid("archive", "was sent more than once; put everything into one archive")
	}
	p.archived = true
	if p.names[name] {
		return job.Invalid("archive", fmt.Sprintf("has the same name as one of the files, %q; rename the archive", name))
	}
	p.names[name] = true
	if len(p.faults) > 0 { // the form is refused, so the archive is neither stored nor listed
		p.files, p.unlisted = append(p.files, job.File{Name: name, Archive: job.Tar}), true
		return nil
	}
	read := &noting{r: content}
	head := make([]byte, archive.HeadBytes)
	n, err := io.ReadFull(read, head)
	if err != nil && read.err != nil {
		return broken(read.err)
	}
	format, err := archive.Detect(head[:n])
	if err != nil {
		return err
	}
	whole := io.MultiReader(bytes.NewReader(head[:n]), read)
	f, err := p.listed(ctx, name, format, whole)
	if err := p.kept("archive", name, read, err); err != nil {
		return err
	}
	p.files = append(p.files, f)
	return nil
}

// listed stores the archive and lists what is in it. A zip file is not listed, because its list is
// at its end.
func (p *parser) listed(ctx context.Context, name, format string, content io.Reader) (job.File, error) {
	if format == job.Zip {
		f, err := p.save(ctx, name, content)
		f.Archive = format
		return f, err
	}
	const factor = budget.Factor // the memory does not grow by being decoded
	if err := budget.Take(ctx, archive.Memory(format)/factor); err != nil {
		return job.File{}, err
	}
	listing := list(func(r io.Reader) (archive.Summary, error) {
		return archive.ReadTar(r, format, p.limits.Archive, p.tree.Visit(ctx))
	})
	defer listing.stop()
	f, err := p.save(ctx, name, io.TeeReader(content, listing))
	sum, fault := listing.end(err)
	if fault != nil && (err == nil || !errors.Is(fault, err)) {
		return job.File{}, fault
	}
	f.Archive, f.Entries, f.Unpacked = format, sum.Entries, sum.Unpacked
	return f, err
}
