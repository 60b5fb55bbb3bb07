package runtimes

import (
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// classesDir is the folder of the compiled classes, in the folder of temporary files.
const classesDir = "java-classes"

// maxSourcePaths bounds the paths of sources on the compiler's command line. Of a larger program the
// compiler gets the main source, and finds the others by their packages.
const maxSourcePaths = 512 << 10

// javaBuild compiles a program of several sources, or of one source in a package. Before Java 22
// java itself compiles a single file only, and later versions need the folders of packages, which
// uploaded files do not always have.
func javaBuild(in sourceTree, entrypoint string, _ []string) (compile, program []string, err error) {
	tree, err := readJavaTree(in.files)
	if err != nil {
		return nil, nil, err
	}
	switch path.Ext(entrypoint) {
	case ".jar":
		return nil, nil, nil // it names its libraries itself
	case ".class":
		return nil, javaClassFile(in, tree, entrypoint), nil
	case ".java":
	default: // the name of a class
		source := sourceOfClass(entrypoint, tree.sources)
		if source == "" {
			return nil, []string{"-cp", tree.classPath(in.dir, ".", "."), entrypoint}, nil
		}
		entrypoint = source
	}
	sources, err := readSources(in.files, tree.sources)
	if err != nil {
		return nil, nil, err
	}
	main := sources.byFile[entrypoint]
	if main == nil {
		return nil, nil, nil // java reports that the file is missing
	}
	together, err := sources.belonging(main)
	if err != nil {
		return nil, nil, err
	}
	jars := tree.jarFolders(entrypoint)
	if len(together) == 1 && main.pkg == "" { // java compiles a single file faster
		if len(jars) == 0 {
			return nil, []string{in.dir + "/" + entrypoint}, nil
		}
		return nil, []string{"-cp", strings.Join(wildcards(in.dir, jars), ":"), in.dir + "/" + entrypoint}, nil
	}
	classes := in.temp + "/" + classesDir
	folders := tree.classFolders(in.dir, main.root())
	libraries := strings.Join(slices.Concat(folders, tree.jarFiles(in.dir, jars)), ":")
	// The compiler is started by its module, because javac need not be in PATH.
	// -XX:TieredStopAtLevel=1 makes it start faster.
	compile = []string{
		"-XX:TieredStopAtLevel=1", "-m", "jdk.compiler/com.sun.tools.javac.Main", "-encoding", "UTF-8",
		"-d", classes, "-cp", libraries,
	}
	for _, name := range withinPaths(in.dir, together) {
		compile = append(compile, in.dir+"/"+name)
	}
	return compile, []string{"-cp", classes + ":" + tree.classPath(in.dir, main.root(), entrypoint), main.class()}, nil
}

// withinPaths returns the sources, or only the first if their paths are too long together.
func withinPaths(dir string, names []string) []string {
	total := 0
	for _, name := range names {
		total += len(dir) + len(name) + 2
	}
	if total > maxSourcePaths {
		return names[:1]
	}
	return names
}

// root is the folder that the folders of packages lie in: that of the source, without the folders of
// its package if it lies in them.
func (s *javaSource) root() string {
	dir := path.Dir(s.file)
	if s.pkg == "" {
		return dir
	}
	packages := strings.ReplaceAll(s.pkg, ".", "/")
	if dir == packages {
		return "."
	}
	if root, found := strings.CutSuffix(dir, "/"+packages); found {
		return root
	}
	return dir
}

// javaTree is what java finds in the program's folder.
type javaTree struct {
	files   fs.FS
	sources []string
	jars    map[string][]string // by their folders
}

func readJavaTree(files fs.FS) (*javaTree, error) {
	t := &javaTree{files: files, jars: map[string][]string{}}
	return t, walkFiles(files, func(name string) {
		switch path.Ext(name) {
		case ".java":
			t.sources = append(t.sources, name)
		case ".jar":
			t.jars[path.Dir(name)] = append(t.jars[path.Dir(name)], name)
		}
	})
}

// jarFolders returns the folders of the jars of a program: the folders above the entrypoint, and
// folders lib and libs in them.
func (t *javaTree) jarFolders(entrypoint string) (list []string) {
	for _, folder := range foldersOf(entrypoint) {
		for _, jars := range []string{folder, path.Join(folder, "lib"), path.Join(folder, "libs")} {
			if len(t.jars[jars]) > 0 {
				list = append(list, jars)
			}
		}
	}
	return list
}

// wildcards returns the folders as java takes them, which finds the jars in them itself.
func wildcards(dir string, folders []string) []string {
	list := make([]string, len(folders))
	for i, folder := range folders {
		list[i] = join(dir, folder) + "/*"
	}
	return list
}

// jarFiles returns the jars in the folders. The compiler is started without its launcher, which alone
// would find them.
func (t *javaTree) jarFiles(dir string, folders []string) (list []string) {
	for _, folder := range folders {
		for _, jar := range t.jars[folder] {
			list = append(list, join(dir, jar))
		}
	}
	return withinPaths("", list)
}

// classFolders returns the folders in which classes and resources are found: the program's folder,
// that of its sources, and that of its resources in the layout of Maven.
func (t *javaTree) classFolders(dir, root string) []string {
	list := []string{dir}
	if root != "." {
		list = append(list, join(dir, root))
	}
	if path.Base(root) == "java" {
		if resources := path.Join(path.Dir(root), "resources"); exists(t.files, resources) {
			list = append(list, join(dir, resources))
		}
	}
	return list
}

// classPath returns the class path that a program runs with.
func (t *javaTree) classPath(dir, root, entrypoint string) string {
	list := slices.Concat(t.classFolders(dir, root), wildcards(dir, t.jarFolders(entrypoint)))
	if all := dir + "/*"; !slices.Contains(list, all) {
		list = append(list, all)
	}
	return strings.Join(list, ":")
}

// javaClassFile returns the arguments that run a class file, which lies in the folders of its
// package.
func javaClassFile(in sourceTree, tree *javaTree, entrypoint string) []string {
	name := strings.TrimSuffix(entrypoint, ".class")
	root := "."
	if class := classNameIn(in.files, entrypoint); class != "" {
		if found, ok := strings.CutSuffix(name, "/"+class); ok {
			name, root = class, found
		}
	}
	return []string{"-cp", tree.classPath(in.dir, root, entrypoint), strings.ReplaceAll(name, "/", ".")}
}

// sourceOfClass returns the source that declares a class by its place, or "".
func sourceOfClass(class string, sources []string) string {
	file := strings.ReplaceAll(class, ".", "/") + ".java"
	best := ""
	for _, name := range sources {
		if name != file && !strings.HasSuffix(name, "/"+file) {
			continue
		}
		if best == "" || strings.Count(name, "/") < strings.Count(best, "/") {
			best = name
		}
	}
	return best
}

// maxSource is how many bytes of a source are read to find the names in it, and maxSources of all
// together.
const (
	maxSource  = 1 << 20
	maxSources = 64 << 20
)

func readBeginning(files fs.FS, name string) (string, error) {
	f, err := files.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSource))
	return string(text), err
}

// javaSources knows of all sources which types they declare.
type javaSources struct {
	files  fs.FS
	byFile map[string]*javaSource
	byType map[string][]*javaSource // by the simple names of types
}

func readSources(files fs.FS, names []string) (*javaSources, error) {
	all := &javaSources{files: files, byFile: map[string]*javaSource{}, byType: map[string][]*javaSource{}}
	left := maxSources
	for _, name := range names {
		text, err := readBeginning(files, name)
		if err != nil {
			return nil, err
		}
		if left -= len(text); left < 0 {
			break
		}
		s := parseJava(name, text)
		s.words = nil // those of all sources would take a lot of memory
		all.byFile[name] = s
		for _, t := range s.types {
			all.byType[t] = append(all.byType[t], s)
		}
	}
	return all, nil
}

// belonging lists main and the sources that it needs. A source is needed if it declares a type
// whose name is in main or in another needed source. Other sources may be separate programs, with
// classes of the same names. So those below main's own root come first, and one elsewhere is not
// needed for a name that is declared already.
func (a *javaSources) belonging(main *javaSource) ([]string, error) {
	b := &belonging{all: a, root: main.root(), taken: map[*javaSource]bool{}, types: map[string]bool{},
		names: map[string]bool{}}
	if err := b.add(main); err != nil {
		return nil, err
	}
	slices.Sort(b.list[1:])
	return b.list, nil
}

type belonging struct {
	all   *javaSources
	root  string
	list  []string
	taken map[*javaSource]bool
	types map[string]bool // with their packages
	names map[string]bool // without
}

func (b *belonging) add(s *javaSource) error {
	b.taken[s] = true
	b.list = append(b.list, s.file)
	for _, t := range s.types {
		b.types[s.pkg+"."+t], b.names[t] = true, true
	}
	text, err := readBeginning(b.all.files, s.file)
	if err != nil {
		return err
	}
	others := b.candidates(parseJava(s.file, text).words)
	for _, near := range []bool{true, false} {
		for _, own := range []bool{true, false} { // first the sources that are named after a type
			for _, c := range others {
				if b.taken[c.source] || c.near != near || own && !c.own || b.repeats(c) {
					continue
				}
				if err := b.add(c.source); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// candidate is a source that declares a type of a name that is used.
type candidate struct {
	source *javaSource
	name   string // of such a type
	own    bool   // the source is named after such a type
	near   bool   // it lies below the root of the main source
}

// candidates returns the sources that declare types of these names, in the order of their files.
func (b *belonging) candidates(words map[string]bool) []candidate {
	found := map[*javaSource]candidate{}
	for word := range words {
		for _, s := range b.all.byType[word] {
			c := found[s]
			found[s] = candidate{source: s, name: max(c.name, word), own: c.own || word == s.stem(),
				near: b.root == "." || strings.HasPrefix(s.file, b.root+"/")}
		}
	}
	list := slices.Collect(maps.Values(found))
	slices.SortFunc(list, func(x, y candidate) int { return strings.Compare(x.source.file, y.source.file) })
	return list
}

// repeats reports whether a candidate declares a type that is declared already.
func (b *belonging) repeats(c candidate) bool {
	if !c.near && b.names[c.name] {
		return true
	}
	return slices.ContainsFunc(c.source.types, func(t string) bool { return b.types[c.source.pkg+"."+t] })
}
