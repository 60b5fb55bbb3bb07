package prepare

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"slices"
)

// maxScriptHead is the size up to which a file in bin is taken for a script with an interpreter line.
const maxScriptHead = 64 << 10

// relocate has the scripts of a virtual environment, which lies in dir and is seen as venv, start
// with the Python of that environment: they hold its path, and may have been installed in another
// job's folder.
func relocate(dir, venv string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), "bin")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := relocateScript(root, e, venv); err != nil {
			return err
		}
	}
	return nil
}

func relocateScript(root *os.Root, e fs.DirEntry, venv string) error {
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxScriptHead {
		return err
	}
	name := "bin/" + e.Name()
	text, err := root.ReadFile(name)
	if err != nil {
		return err
	}
	from, to := interpreterLine(text)
	if from < 0 || string(text[from:to]) == venv {
		return nil
	}
	changed := slices.Concat(text[:from], []byte(venv), text[to:])
	return root.WriteFile(name, changed, info.Mode().Perm())
}

// interpreterLine returns where a script that pip or uv has made names its environment, or -1: behind
// #!, or where that line would be too long, behind exec.
func interpreterLine(text []byte) (from, to int) {
	for _, begin := range []string{"#!/bin/sh\n'''exec' \"", "#!/bin/sh\n'''exec' ", "#!"} {
		if !bytes.HasPrefix(text, []byte(begin+"/")) {
			continue
		}
		line, _, _ := bytes.Cut(text[len(begin):], []byte("\n"))
		if end := bytes.Index(line, []byte("/"+pythonTree+"/bin/python")); end >= 0 {
			return len(begin), len(begin) + end + len("/"+pythonTree)
		}
	}
	return -1, -1
}
