package project_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/archive"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/project"
)

// treeOf is a tree of files, each name=content, that were sent one by one.
func treeOf(t testing.TB, files ...string) *project.Tree {
	t.Helper()
	tree := project.New()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		if message := tree.Add(name); message != "" {
			t.Fatal(message)
		}
		if _, err := io.Copy(io.Discard, tree.Noting(name, strings.NewReader(content))); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// inArchive is the same tree as the content of an archive.
func inArchive(t testing.TB, files ...string) *project.Tree {
	t.Helper()
	var pairs []string
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		pairs = append(pairs, name, content)
	}
	tree := project.New()
	data := archivetest.Files(t, pairs...)
	if _, err := archive.ReadTar(bytes.NewReader(data), job.Tar, archive.Limits{Entries: 10_000, Unpacked: 1 << 30},
		tree.Visit(t.Context())); err != nil {
		t.Fatal(err)
	}
	return tree
}

// jar is a jar with a manifest, behind other entries.
func jar(t testing.TB, manifest string, before int) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range before {
		f, err := w.Create(fmt.Sprintf("META-INF/%d", i))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, strings.Repeat("x", i))
	}
	f, err := w.Create("META-INF/MANIFEST.MF")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(f, manifest)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const elf = "\x7fELF\x02\x01"

func TestInfer(t *testing.T) {
	program := jar(t, "Manifest-Version: 1.0\r\nMain-Class: app.Main\r\n", 3)
	library := jar(t, "Manifest-Version: 1.0\r\n", 0)
	for name, test := range map[string]struct {
		files               []string
		runtime, entrypoint string // as sent
		want                string // runtime entrypoint, or a part of the refusal
	}{
		"one python file":         {[]string{"hello.py"}, "", "", "python hello.py"},
		"one node file":           {[]string{"a.mjs"}, "", "", "node a.mjs"},
		"one java file":           {[]string{"Hello.java"}, "", "", "java Hello.java"},
		"one jar":                 {[]string{"a.jar=" + library}, "", "", "java a.jar"},
		"one class":               {[]string{"A.class"}, "", "", "java A.class"},
		"one ELF file":            {[]string{"prog=" + elf}, "", "", "binary prog"},
		"one script":              {[]string{"run=#!/bin/sh\necho"}, "", "", "binary run"},
		"a script of python":      {[]string{"run=#!/usr/bin/env -S python3 -u\n"}, "", "", "python run"},
		"a script of python 3.12": {[]string{"run=#!/usr/bin/python3.12\n"}, "", "", "python run"},
		"a script of node":        {[]string{"run=#!/usr/bin/env node"}, "", "", "node run"},
		"a script of env":         {[]string{"run=#!/usr/bin/env"}, "", "", "binary run"},
		"sh with an ending":       {[]string{"run.sh=#!/bin/bash\n"}, "", "", "binary run.sh"},
		"sh without #!":           {[]string{"run.sh=echo"}, "", "", "runtime: is required"},
		"one text":                {[]string{"a.txt=text"}, "", "", "entrypoint: is required"},
		"one file and a runtime":  {[]string{"script=print(1)"}, "python", "", "python script"},
		"a file in a folder":      {[]string{"src/hello.py"}, "", "", "python src/hello.py"},
		"a script and data":       {[]string{"data.csv", "hello.py", "README.md"}, "", "", "python hello.py"},
		"main.py":                 {[]string{"util.py", "main.py"}, "", "", "python main.py"},
		"main.py of a folder":     {[]string{"p/util.py", "p/main.py", "p/x/main.py"}, "", "", "python p/main.py"},
		"main.py that is not first": {[]string{"a.py", "x/main.py"}, "", "",
			"several files can be run: a.py (python), x/main.py (python)"},
		"a package":         {[]string{"pkg/__init__.py", "pkg/__main__.py", "setup.py"}, "", "", "python pkg/__main__.py"},
		"two packages":      {[]string{"a/__main__.py", "b/__main__.py"}, "", "", "a/__main__.py (python), b/__main__.py"},
		"main and __main__": {[]string{"main.py", "__main__.py"}, "", "", "main.py (python), __main__.py (python)"},
		"index.js":          {[]string{"index.js", "lib.js"}, "", "", "node index.js"},
		"package.json": {[]string{`package.json={"main":"./src/app.js"}`, "src/app.js", "index.js"}, "", "",
			"node src/app.js"},
		"package.json, short": {[]string{`package.json={"main":"src/app"}`, "src/app.js", "x.js"}, "", "", "node src/app.js"},
		"package.json, folder": {[]string{`p/package.json={"main":"src/"}`, "p/src/index.js", "p/x.js"}, "", "",
			"node p/src/index.js"},
		"package.json, missing": {[]string{`package.json={"main":"no.js"}`, "index.js", "x.js"}, "", "", "node index.js"},
		"package.json, above": {[]string{`p/package.json={"main":"../../x.js"}`, "p/index.js", "p/x.js"}, "", "",
			"node p/x.js"},
		"package.json, broken": {[]string{`package.json={"main":`, "index.js", "x.js"}, "", "", "node index.js"},
		"package.json, odd":    {[]string{`package.json={"main":{"a":1}}`, "index.js", "x.js"}, "", "", "node index.js"},
		"of node's modules":    {[]string{"node_modules/x/index.js", "app.js"}, "", "", "node app.js"},
		"what macOS adds": {[]string{"._a.py", "__MACOSX/._a.py", "a.py", ".git/hooks/x=#!/bin/sh"}, "", "",
			"python a.py"},
		"Main.java": {[]string{"src/main/java/x/Main.java", "src/main/java/x/B.java"}, "", "",
			"java src/main/java/x/Main.java"},
		"two of them": {[]string{"a/Main.java", "b/Main.java"}, "", "",
			"a/Main.java (java), b/Main.java (java)"},
		"a jar and its libs":   {[]string{"lib/a.jar=" + program, "app.jar=" + program}, "", "", "java app.jar"},
		"a jar without a main": {[]string{"a.jar=" + library, "b.jar=" + program, "x"}, "", "", "java b.jar"},
		"only libraries": {[]string{"a.jar=" + library, "b.jar=" + library}, "", "",
			"entrypoint: is required, because it does not"},
		"a program and its data": {[]string{"data/x", "lib/a.so.1=" + elf, "b.so=" + elf, "prog=" + elf}, "", "",
			"binary prog"},
		"several languages":         {[]string{"main.py", "index.js"}, "", "", "main.py (python), index.js (node)"},
		"that the runtime decides":  {[]string{"main.py", "index.js"}, "node", "", "node index.js"},
		"that the runtime does not": {[]string{"a.js", "b.js", "main.py"}, "node", "", "a.js (node), b.js (node)"},
		"none of the runtime":       {[]string{"a.js", "b.js"}, "java", "", "entrypoint: is required"},
		"many": {[]string{"1.py", "2.py", "3.py", "4.py", "5.py", "6.py", "7.py", "8.py", "9.py",
			"10.py", "11.py", "12.py"}, "", "", "and 2 more"},
		"by the entrypoint":       {[]string{"a.py", "b.js"}, "", "b.js", "node b.js"},
		"by the entrypoint's #!":  {[]string{"a.py", "b=#!/bin/sh"}, "", "b", "binary b"},
		"by a class's name":       {[]string{"src/x/App.java", "src/x/B.java"}, "", "x.App", "java x.App"},
		"not by the entrypoint":   {[]string{"a.py", "b"}, "", "b", "runtime: is required"},
		"by a missing entrypoint": {[]string{"a.py", "c.py"}, "", "b.py", "python b.py"}, // Check says that it is missing
		"both sent":               {[]string{"a.py"}, "node", "a.py", "node a.py"},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, tree := range map[string]*project.Tree{"files": treeOf(t, test.files...),
				"archive": inArchive(t, test.files...)} {
				spec := job.Spec{Runtime: test.runtime, Entrypoint: test.entrypoint}
				inferred, err := tree.Infer(&spec)
				if err != nil {
					if !errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), test.want) || inferred != nil {
						t.Errorf("%s: %v, want %q", kind, err, test.want)
					}
					continue
				}
				if got := spec.Runtime + " " + spec.Entrypoint; got != test.want {
					t.Errorf("%s: got %q, want %q", kind, got, test.want)
				}
				var want *job.Inferred
				if test.runtime == "" || test.entrypoint == "" {
					want = &job.Inferred{Runtime: spec.Runtime, Entrypoint: spec.Entrypoint}
					if test.runtime != "" {
						want.Runtime = ""
					}
					if test.entrypoint != "" {
						want.Entrypoint = ""
					}
				}
				if diff := cmp.Diff(want, inferred); diff != "" {
					t.Errorf("%s: inferred (-want +got):\n%s", kind, diff)
				}
			}
		})
	}
}

// TestHeadsAreBounded gives a tree far more than it keeps.
func TestHeadsAreBounded(t *testing.T) {
	tree := project.New()
	kept := int64(0)
	for i := range 5000 {
		for _, name := range []string{fmt.Sprintf("f%d", i), fmt.Sprintf("%d.jar", i)} {
			tree.Add(name)
			r := tree.Noting(name, strings.NewReader(strings.Repeat("x", 100_000)))
			n, err := io.Copy(io.Discard, r)
			if err != nil || n != 100_000 {
				t.Fatal(n, err)
			}
		}
	}
	kept = tree.Kept()
	if kept > 16*64<<10+1000*256 {
		t.Errorf("%d bytes are kept", kept)
	}
}

// FuzzManifest has anything as a jar and as the package.json.
func FuzzManifest(f *testing.F) {
	f.Add(jar(f, "Main-Class: x\n", 2))
	f.Add(`{"main":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		tree := project.New()
		for _, name := range []string{"a.jar", "package.json", "b"} {
			tree.Add(name)
			if _, err := io.Copy(io.Discard, tree.Noting(name, strings.NewReader(text))); err != nil {
				t.Fatal(err)
			}
		}
		spec := job.Spec{}
		if _, err := tree.Infer(&spec); err != nil && !errors.Is(err, job.ErrInvalid) {
			t.Error(err)
		} else if err == nil && !tree.Has(spec.Entrypoint) {
			t.Errorf("%q is not a file", spec.Entrypoint)
		}
	})
}
