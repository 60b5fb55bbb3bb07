package project

import (
	"bytes"
	"path"
	"strings"
)

// The runtimes that files tell.
const (
	python = "python"
	node   = "node"
	java   = "java"
	binary = "binary"
)

// byEnding returns the runtime of a file that its name tells, or "".
func byEnding(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".py", ".pyz":
		return python
	case ".js", ".mjs", ".cjs":
		return node
	case ".java", ".jar", ".class":
		return java
	}
	return ""
}

// runtimeOf returns the runtime of a file, by its ending or its first bytes, or "".
func (t *Tree) runtimeOf(name string) string {
	if byName := byEnding(name); byName != "" {
		return byName
	}
	head := t.heads[name]
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		if base := path.Base(name); strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.") ||
			strings.HasSuffix(base, ".o") {
			return "" // a library, or a part of a program
		}
		return binary
	case bytes.HasPrefix(head, []byte("#!")):
		return byInterpreter(head[2:])
	}
	return ""
}

// byInterpreter returns the runtime for the first line of a script, which is without its "#!".
func byInterpreter(line []byte) string {
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := strings.Fields(string(line))
	if len(words) > 0 && path.Base(words[0]) == "env" {
		words = words[1:]
		for len(words) > 0 && (strings.HasPrefix(words[0], "-") || strings.Contains(words[0], "=")) {
			words = words[1:]
		}
	}
	if len(words) == 0 {
		return binary
	}
	switch command := path.Base(words[0]); {
	case strings.TrimRight(command, "0123456789.") == "python":
		return python
	case command == "node" || command == "nodejs":
		return node
	}
	return binary
}
