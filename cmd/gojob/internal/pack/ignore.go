package pack

import (
	"os"
	"path/filepath"
	"strings"
)

// The names of the files with patterns.
const (
	ownIgnoreFile = ".gojobignore"
	gitIgnoreFile = ".gitignore"
)

// always are folders that stay away without being ignored: they are large, belong to one machine, or
// are made again.
func always(name string) bool {
	switch name {
	case ".git", ".venv", "venv", "node_modules", "__pycache__":
		return true
	}
	return false
}

// ignored decides which paths of a folder stay away. Paths have slashes, and are relative to the top:
// that of the Git repository, or the folder itself.
type ignored struct {
	file    string // the name of the files with patterns
	prefix  string // from the top to the folder, with a slash behind it; empty if they are the same
	common  []pattern
	include []pattern // relative to the folder
	lists   [][]pattern
}

// readIgnored finds what is ignored in a folder, whose path is absolute. Files of patterns below the
// folder are read by enter.
func readIgnored(folder string, include []string) (*ignored, error) {
	in := &ignored{file: ownIgnoreFile}
	for _, glob := range include {
		glob = strings.TrimPrefix(filepath.ToSlash(glob), "./")
		in.include = append(in.include, parsePattern(glob, ""))
	}
	if info, err := os.Stat(filepath.Join(folder, ownIgnoreFile)); err == nil && info.Mode().IsRegular() {
		return in, nil
	}
	in.file = gitIgnoreFile
	top := repository(folder)
	if top == "" {
		return in, nil
	}
	relative, err := filepath.Rel(top, folder)
	if err != nil {
		return nil, err
	}
	if in.common, err = readPatterns(exclude(top), "", true); err != nil {
		return nil, err
	}
	if relative == "." {
		return in, nil
	}
	in.prefix = filepath.ToSlash(relative) + "/"
	at := ""
	for segment := range strings.SplitSeq(strings.TrimSuffix(in.prefix, "/"), "/") {
		if err := in.push(filepath.Join(top, filepath.FromSlash(at)), at); err != nil {
			return nil, err
		}
		at += segment + "/"
	}
	return in, nil
}

// push reads the patterns of a folder, whose path from the top is base.
func (in *ignored) push(folder, base string) error {
	list, err := readPatterns(filepath.Join(folder, in.file), base, in.file == ownIgnoreFile)
	in.lists = append(in.lists, list)
	return err
}

// enter reads the patterns of a folder, whose path from the packed folder is name. leave forgets
// them.
func (in *ignored) enter(folder, name string) error {
	base := in.prefix
	if name != "" {
		base += name + "/"
	}
	return in.push(folder, base)
}

func (in *ignored) leave() { in.lists = in.lists[:len(in.lists)-1] }

// ignores reports whether a file of patterns says that a path stays away. The last pattern that is
// about it decides, and the nearest file first.
func (in *ignored) ignores(name string, folder bool) bool {
	path := in.prefix + name
	for i := len(in.lists) - 1; i >= 0; i-- {
		if p := last(in.lists[i], path, folder); p != nil {
			return !p.negated
		}
	}
	if p := last(in.common, path, folder); p != nil {
		return !p.negated
	}
	return false
}

func last(list []pattern, path string, folder bool) *pattern {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].matches(path, folder) {
			return &list[i]
		}
	}
	return nil
}

// included reports whether --include brings a path back. A pattern without a slash brings nothing
// back that lies in one of the folders that stay away always: only the folder itself.
func (in *ignored) included(name string, folder, within bool) bool {
	for i := range in.include {
		p := &in.include[i]
		if within && p.nameOnly {
			continue
		}
		if p.matches(name, folder) {
			return true
		}
	}
	return false
}

// reaches reports whether --include could bring back something in a folder that stays away.
func (in *ignored) reaches(within bool) bool {
	for i := range in.include {
		if !within || !in.include[i].nameOnly {
			return true
		}
	}
	return false
}

// repository returns the top of the Git repository that a folder lies in, or "".
func repository(folder string) string {
	for {
		if _, err := os.Lstat(filepath.Join(folder, ".git")); err == nil {
			return folder
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return ""
		}
		folder = parent
	}
}

// exclude returns the path of a repository's own file of patterns. In a worktree .git is a file that
// says where the repository is.
func exclude(top string) string {
	dir := filepath.Join(top, ".git")
	if text, ok := line(dir); ok {
		if path, found := strings.CutPrefix(text, "gitdir: "); found {
			dir = below(top, path)
		}
	}
	if text, ok := line(filepath.Join(dir, "commondir")); ok {
		dir = below(dir, text)
	}
	return filepath.Join(dir, "info", "exclude")
}

// line returns the content of a small file with one line.
func line(path string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 64<<10 {
		return "", false
	}
	text, err := os.ReadFile(path)
	return strings.TrimRight(string(text), "\r\n"), err == nil
}

func below(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
