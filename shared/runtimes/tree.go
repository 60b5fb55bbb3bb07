package runtimes

import (
	"io/fs"
	"path"
	"strings"

	"go-job-orchestrator/shared/job"
)

// maxWalked is how many files and folders are looked at to find sources and libraries.
const maxWalked = 200_000

// walkFiles calls visit with each file of the program's folder that may belong to the program: not
// with what lies in results/, in hidden folders or in node_modules. Links are not followed.
func walkFiles(files fs.FS, visit func(name string)) error {
	left := maxWalked
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if left--; left < 0 {
			return fs.SkipAll
		}
		switch base := path.Base(name); {
		case name == ".":
		case d.IsDir() && (strings.HasPrefix(base, ".") || base == "node_modules" || name == job.ResultsDir):
			return fs.SkipDir
		case d.Type().IsRegular():
			visit(name)
		}
		return nil
	})
}

// foldersOf returns the folder that a file lies in and all above it, the nearest first. The last is
// ".", the folder that the program starts in.
func foldersOf(name string) []string {
	var list []string
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		list = append(list, dir)
		if dir == "." || dir == "/" {
			return list
		}
	}
}

// join joins a folder of the program to where the program sees its files.
func join(dir, name string) string {
	if name == "." {
		return dir
	}
	return dir + "/" + name
}

// exists reports whether there is a file or folder of that name.
func exists(files fs.FS, name string) bool {
	_, err := fs.Stat(files, name)
	return err == nil
}
