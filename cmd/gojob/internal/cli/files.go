package cli

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"go-job-orchestrator/cmd/gojob/internal/form"
	"go-job-orchestrator/cmd/gojob/internal/pack"
	"go-job-orchestrator/shared/job"
)

// fileFlags say what is sent beside the program.
type fileFlags struct {
	files, include []string
	stdin          string
	dryRun         bool
}

func (f *fileFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.files, "file", "f", nil,
		"send another file or folder, as `PATH[:DEST]`; a relative path keeps its folders")
	flags.StringArrayVar(&f.include, "include", nil,
		"send files of a folder that are ignored otherwise, by a `GLOB` as in .gitignore")
	flags.StringVar(&f.stdin, "stdin", "", "the `FILE` that the program reads as its standard input")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be sent, and send nothing")
}

// filesHelp explains what a folder is sent as.
const filesHelp = `
A folder is sent as it stands, less what .gojobignore says, or, if there is none, what .gitignore says.
Both have the same syntax. .git, .venv, venv, node_modules and __pycache__ stay away always, unless
--include names them. Links in the folder are kept, if they stay in it. --dry-run lists what would be
sent.`

// maxParts is how many files are sent one by one. More are sent as an archive, as the server takes at
// most MAX_FILES parts.
const maxParts = 50

// source is a file or folder of this machine, and its name in the job.
type source struct {
	path, dest string
	folder     bool
}

// gather adds the program's file or folder, and the files of -f, to a form. program is "" if the form
// has the program already.
func (a *app) gather(to *form.Form, f *fileFlags, program string) error {
	var sources []source
	folders := false
	if program != "" {
		info, err := os.Stat(program)
		if err != nil {
			return usagef("%w", err)
		}
		s := source{path: program, dest: filepath.Base(program), folder: info.IsDir()}
		if s.folder {
			s.dest = ""
		}
		sources, folders = append(sources, s), s.folder
	}
	for _, text := range f.files {
		s, err := sourceOf(text)
		if err != nil {
			return err
		}
		sources, folders = append(sources, s), folders || s.folder
	}
	if len(f.include) > 0 && !folders {
		return usagef("--include brings back files of a folder, and no folder is sent")
	}
	if folders || len(sources) > maxParts {
		return a.gatherArchive(to, f, sources)
	}
	for _, s := range sources {
		if message := job.CheckFileName(s.dest, job.MaxNameBytes); message != "" {
			return usagef("%s: %s", s.path, message)
		}
		if slices.ContainsFunc(to.Files, func(other form.File) bool { return other.Name == s.dest }) {
			return usagef("-f %s: another file has the name %s already", s.path, s.dest)
		}
		file, err := form.Local(s.path, s.dest)
		if err != nil {
			return usagef("%w", err)
		}
		to.Files = append(to.Files, file)
	}
	return nil
}

// gatherArchive sends all as one archive.
func (a *app) gatherArchive(to *form.Form, f *fileFlags, sources []source) error {
	var whole *pack.Plan
	for _, s := range sources {
		plan, err := s.plan(f.include)
		if err != nil {
			return fileError(err)
		}
		if whole == nil {
			whole = plan
		} else if err := whole.Join(plan); err != nil {
			return usagef("-f %s: %w", s.path, err)
		}
	}
	to.Archive = whole
	return nil
}

func (s source) plan(include []string) (*pack.Plan, error) {
	if s.folder {
		return pack.Folder(s.path, pack.Options{At: s.dest, Include: include})
	}
	return pack.Single(s.path, s.dest)
}

// fileError is an error about the caller's files: a wrong command line, or files that cannot be sent.
func fileError(err error) error {
	var faults *pack.FaultsError
	var missing *fs.PathError
	if !errors.As(err, &faults) && errors.As(err, &missing) {
		return usagef("%w", err)
	}
	return err
}

// sourceOf reads PATH[:DEST]. Without DEST a relative path keeps its folders, so that the program
// finds the file where it does here; any other path has its last name only.
func sourceOf(text string) (source, error) {
	s := source{path: text}
	info, err := os.Stat(text)
	named := false
	if err != nil {
		// The whole text is no file, so that a colon is what it is usually.
		if at := strings.LastIndexByte(text, ':'); at > 0 && (at > 1 || filepath.VolumeName(text) == "") {
			s.path, s.dest, named = text[:at], text[at+1:], true
			info, err = os.Stat(s.path)
		}
	}
	if err != nil {
		return s, usagef("-f %s: %w", text, err)
	}
	s.folder = info.IsDir()
	own := filepath.ToSlash(filepath.Clean(s.path))
	base := path.Base(own)
	if absolute, err := filepath.Abs(s.path); err == nil {
		base = filepath.Base(absolute) // of "." and ".." as well
	}
	switch {
	case !named && filepath.IsLocal(s.path) && own != ".":
		s.dest = own
	case !named:
		s.dest = base
	case strings.HasSuffix(s.dest, "/") && !s.folder:
		s.dest += base
	}
	if s.dest = path.Clean(s.dest); s.dest == "." {
		s.dest = ""
	}
	if s.dest == "" && !s.folder {
		s.dest = base
	}
	if s.dest != "" {
		if message := job.CheckPath(s.dest, job.MaxSegmentBytes); message != "" {
			return s, usagef("-f %s: %s", text, message)
		}
	}
	return s, nil
}
