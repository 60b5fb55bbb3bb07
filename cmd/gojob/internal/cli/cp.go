package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"go-job-orchestrator/cmd/gojob/internal/download"
	"go-job-orchestrator/shared/job"
)

func (a *app) cpCommand() *cobra.Command {
	quiet := false
	c := &cobra.Command{
		Use:   "cp JOB[:PATH] DEST",
		Short: "Download the outputs of a job",
		Long: `Downloads the outputs of a job that is over: all of them, one file, or one folder. The logs are among
them, as stdout.log, stderr.log and prepare.log.

All outputs go into the folder DEST, which is made if it is not there. A file or folder goes into DEST
if that is a folder, and is named DEST otherwise. "-" as DEST is standard output, for one file. Files
that are there are replaced. Nothing is written outside of DEST.

A file gets its name when it is whole and its SHA-256 is right. Until then it grows in a hidden file
beside it, whose name ends with .part, and the same command goes on where the last one stopped.`,
		Example: `  gojob cp @ results
  gojob cp words:count.txt .
  gojob cp fe5ddbd91522:stdout.log - | less`,
		Args:              arguments("JOB[:PATH] DEST", 2, 2),
		ValidArgsFunction: once(a.jobRefs()),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copy(cmd.Context(), args[0], args[1], quiet)
		},
	}
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing of gojob's own but errors")
	return c
}

// copy downloads what ref names, JOB[:PATH], to dest.
func (a *app) copy(ctx context.Context, ref, dest string, quiet bool) error {
	name, inside, _ := strings.Cut(ref, ":")
	if name == "" || dest == "" {
		return usagef("%q is no job and path, such as @:count.txt", ref)
	}
	if _, err := os.Lstat(name); err == nil && strings.Contains(dest, ":") {
		return usagef("cp copies from a job, and not to one; send files with: gojob run -f %s", name)
	}
	c, id, err := a.find(ctx, name)
	if err != nil {
		return err
	}
	token, err := c.JobToken(ctx, id)
	if err != nil {
		return err
	}
	console := a.console(quiet)
	options := download.Options{Logs: true, Retrying: console.sayRetry}
	from := download.Source{Client: c, ID: id, Token: token}
	files, err := from.List(ctx, options)
	if err != nil {
		return err
	}
	chosen, folder, err := download.Select(files, inside)
	var missing *download.MissingError
	if errors.As(err, &missing) {
		return &exitCodeError{exitNotFound, fmt.Errorf("%s: %w", short(id), err)}
	}
	if dest == "-" {
		if folder {
			return usagef("%q is a folder, and standard output takes one file, such as %s:%s", ref, name, job.StdoutFile)
		}
		return from.Stream(ctx, chosen[0], a.stdout, options)
	}
	dir, targets, err := targetsOf(chosen, folder, strings.Trim(path.Clean("/"+filepath.ToSlash(inside)), "/"), dest)
	if err != nil {
		return err
	}
	return a.save(ctx, from, console, dir, targets, options)
}

// save stores outputs and says so.
func (a *app) save(
	ctx context.Context, from download.Source, console *console, dir string, targets []download.Target, o download.Options,
) error {
	var total int64
	for _, t := range targets {
		total += t.File.Size
	}
	bar := console.newBar("downloading", total)
	o.Progress = func(done, _ int64) { bar.sent(done) }
	saved, err := from.Save(ctx, dir, targets, o)
	bar.end()
	if err != nil {
		return err
	}
	if len(saved) == 1 {
		console.say("%s (%s) → %s", saved[0].Name, size(saved[0].Size), relative(saved[0].Path))
		return nil
	}
	console.say("%s (%s) → %s", counted(len(saved), "file", "files"), size(total),
		relative(dir)+string(filepath.Separator))
	return nil
}

// targetsOf decides where the outputs go: into which folder, and with which names below it. inside is the
// path that was named, clean, and "" for all.
func targetsOf(files []job.File, folder bool, inside, dest string) (dir string, targets []download.Target, err error) {
	info, err := os.Stat(dest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	isDir := err == nil && info.IsDir()
	slash := strings.HasSuffix(filepath.ToSlash(dest), "/")
	switch {
	case err == nil && !isDir && (folder || slash):
		return "", nil, fmt.Errorf("%s is a file, and no folder", dest)
	case !folder && !isDir && !slash:
		return filepath.Dir(dest), []download.Target{{File: files[0], As: filepath.Base(dest)}}, nil
	case !folder:
		return dest, []download.Target{{File: files[0], As: path.Base(files[0].Name)}}, nil
	}
	prefix := ""
	if inside != "" && (isDir || slash) { // as cp -r: the folder itself goes into one that is there
		prefix = path.Base(inside)
	}
	for _, f := range files {
		name := f.Name
		if inside != "" {
			name = strings.TrimPrefix(name, inside+"/")
		}
		targets = append(targets, download.Target{File: f, As: path.Join(prefix, name)})
	}
	return dest, targets, nil
}

// relative writes a path as people do who mean the folder that they are in.
func relative(name string) string {
	name = filepath.Clean(name)
	if filepath.IsAbs(name) || strings.HasPrefix(name, "..") {
		return name
	}
	return "." + string(filepath.Separator) + name
}
