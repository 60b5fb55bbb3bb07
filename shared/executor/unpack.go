package executor

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"strings"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/job"
)

// The files beside those of the program that unpacking needs.
const (
	archiveFile  = "archive"       // a zip file, as long as it is unpacked
	unpackedFile = "unpacked.list" // the names and sizes of what was unpacked
)

// unpack brings the content of an archive into the program's folder. The archive is checked again,
// within the bounds that were found when it was accepted, and must be the one that was accepted.
func (t *Task) unpack(ctx context.Context, f job.File, dir *os.Root) error {
	in, err := t.From.Open(ctx, f.Name)
	if err != nil {
		return err
	}
	defer in.Close()
	root, err := os.OpenRoot(t.Workspace.root)
	if err != nil {
		return err
	}
	defer root.Close()
	list, err := root.OpenFile(unpackedFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	names := bufio.NewWriter(list)
	u := &archive.Unpacker{Root: dir, Modified: fetchTime(t.Index), Record: func(name string, size int64) error {
		_, err := fmt.Fprintf(names, "%d %s\n", size, name) // no name has a line break
		return err
	}}
	if t.Index.Runtime == "binary" {
		u.Program = t.Index.Entrypoint
	}
	source := &verified{ctx: ctx, r: io.LimitReader(in, f.Size+1), hash: sha256.New()}
	err = readArchive(source, f, root, u.Visit)
	if err == nil {
		err = source.verify(f)
	}
	if err == nil {
		err = u.Finish()
	}
	return errors.Join(err, names.Flush(), list.Close())
}

// readArchive reads an archive from its stream. A zip file is kept on the disk meanwhile, because its
// list is at its end.
func readArchive(source *verified, f job.File, root *os.Root, visit archive.Visit) error {
	limits := archive.Limits{Entries: f.Entries, Unpacked: f.Unpacked}
	if f.Archive != job.Zip {
		_, err := archive.ReadTar(source, f.Archive, limits, visit)
		return err
	}
	file, err := root.OpenFile(archiveFile, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer root.Remove(archiveFile) //nolint:errcheck // Reset removes it as well
	defer file.Close()
	if _, err := io.Copy(file, source); err != nil {
		return err
	}
	if err := source.verify(f); err != nil {
		return err
	}
	within := func(e archive.Entry, content io.Reader) error {
		if err := source.ctx.Err(); err != nil {
			return err
		}
		return visit(e, content)
	}
	_, err = archive.ReadZip(file, f.Size, limits, within)
	return err
}

// verified reads what was stored, and finds out whether it is what was accepted.
type verified struct {
	ctx  context.Context //nolint:containedctx // of one reading
	r    io.Reader
	hash hash.Hash
	n    int64
}

func (v *verified) Read(p []byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	return n, err
}

// verify is called when all was read.
func (v *verified) verify(want job.File) error {
	if v.n != want.Size || hex.EncodeToString(v.hash.Sum(nil)) != want.SHA256 {
		return errNotAccepted
	}
	return nil
}

var errNotAccepted = errors.New("the stored file is not the one that was accepted: size or SHA-256 differ")

// unpackedFiles calls each with the files and links that were unpacked. The program may have changed
// the list, so no more than most are read.
func (t *Task) unpackedFiles(most int, each func(name string, size int64)) error {
	root, err := os.OpenRoot(t.Workspace.root)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Lstat(unpackedFile)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("the list of unpacked files is no file any more")
	}
	list, err := root.Open(unpackedFile)
	if err != nil {
		return err
	}
	defer list.Close()
	const longest = job.MaxOutputNameBytes + 30
	lines := bufio.NewScanner(io.LimitReader(list, int64(most)*longest))
	lines.Buffer(nil, longest)
	for range most {
		if !lines.Scan() {
			break
		}
		text, name, _ := strings.Cut(lines.Text(), " ")
		size, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("the list of unpacked files: %w", err)
		}
		each(name, size)
	}
	return lines.Err()
}
