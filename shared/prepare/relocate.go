package prepare

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"sync"
)

// maxScriptHead is the size up to which a file in bin is taken for a script with an interpreter line.
const maxScriptHead = 64 << 10

// interpreterLine is the beginning of a script that pip or uv has made: the path of the environment's
// Python, behind #!, or where that line would be too long, behind exec.
var interpreterLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(#!(?:/bin/sh\n'''exec' "?)?)(/[^\n]*?/` + regexp.QuoteMeta(pythonTree) + `)(/bin/python)`)
})

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
	at := interpreterLine().FindSubmatchIndex(text)
	if at == nil || string(text[at[4]:at[5]]) == venv {
		return nil
	}
	changed := slices.Concat(text[:at[4]], []byte(venv), text[at[5]:])
	return root.WriteFile(name, changed, info.Mode().Perm())
}
