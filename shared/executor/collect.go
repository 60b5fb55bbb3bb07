package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/fstree"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/spool"
)

// OutputLimits bounds what is stored of a job's outputs; its logs are stored in any case.
type OutputLimits struct {
	Files int
	Bytes int64
	// Room reports whether so many bytes more can be stored without filling up the disk. It may be
	// nil.
	Room func(bytes int64) bool

	leftOut int // in place of maxLeftOut, for tests
}

// Bounds of what is looked at in results/, whatever is stored of it: a program can leave any number
// of folders in each other, and collecting them must not take longer than the program did.
const (
	maxOutputDepth = 200    // folders in each other
	maxLeftOut     = 50_000 // files and folders, beside those that may be stored
)

// maxOmittedNames is how many left-out files the status names; the others are counted.
const maxOmittedNames = 20

// maxLosses is how many lost outputs the server's log names.
const maxLosses = 10

// collector stores the outputs of one job.
type collector struct {
	to     Results
	limits OutputLimits
	retry  time.Duration
	used   OutputLimits // what counts towards the limits: all but the logs
	small  errgroup.Group

	prepared bool    // packages were installed, and their log is an output
	entered  *folder // the folder that was entered last, until something in it was seen

	mu      sync.Mutex
	files   []job.File
	summary job.Outputs
	lost    error
	losses  int
}

func newCollector(to Results, limits OutputLimits, retry time.Duration) *collector {
	c := &collector{to: to, limits: limits, retry: retry}
	c.small.SetLimit(atOnce)
	return c
}

// collect stores both logs and every regular file under results/. Nothing else is opened: a link
// could lead anywhere, a FIFO would never end. A lost output does not keep the others from being
// stored.
func (c *collector) collect(ctx context.Context, w Workspace, l spool.Files) error {
	c.storeLog(ctx, job.StdoutFile, l.Stdout)
	c.storeLog(ctx, job.StderrFile, l.Stderr)
	c.small.Go(func() error { c.storeOrder(ctx, l); return nil })
	c.prepared = w.wasPrepared()
	c.storePrepareLog(ctx, w)
	err := c.walk(ctx, w)
	c.settle()
	c.lost = errors.Join(c.lost, err)
	slices.SortFunc(c.files, func(a, b job.File) int { return strings.Compare(a.Name, b.Name) })
	return c.lost
}

func (c *collector) walk(ctx context.Context, w Workspace) error {
	root, err := fstree.Open(w.root, filesDir, job.ResultsDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // the program removed it
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		c.omit(".", "results is not a folder any more")
		return nil
	case err != nil:
		return fmt.Errorf("open results: %w", err)
	}
	defer root.Close()
	most := c.limits.Files + cmp.Or(c.limits.leftOut, maxLeftOut)
	err = fstree.Walk{Depth: maxOutputDepth, Entries: most, Ordered: true}.Tree(ctx, root,
		func(e *fstree.Entry, err error) error {
			if err != nil { // it is the folder that was entered
				c.entered = nil
			}
			c.leave(e.Depth)
			return c.entry(ctx, e, err)
		})
	if err == nil {
		c.leave(0)
	}
	if errors.Is(err, fstree.ErrTooMany) {
		c.omit(".", fmt.Sprintf("results has more than %d files and folders; what comes after them was not looked at", most))
		return nil
	}
	return err
}

// entry stores an entry of results/, or says why not.
func (c *collector) entry(ctx context.Context, e *fstree.Entry, err error) error {
	if e.Depth == 1 && (job.IsLog(e.Name) || c.prepared && e.Name == job.PrepareLogFile) {
		c.omit(e.Name, "is the name of the program's own log; give the file another one")
		return fs.SkipDir
	}
	if e.PathLen() > job.MaxOutputNameBytes { // and all that is in it
		c.omit(shorten(e), fmt.Sprintf("the path is longer than %d bytes", job.MaxOutputNameBytes))
		return fs.SkipDir
	}
	switch {
	case errors.Is(err, fstree.ErrTooDeep):
		c.omit(e.Path(), fmt.Sprintf("what is in it lies more than %d folders deep", maxOutputDepth))
	case err != nil:
		c.omit(e.Path(), "cannot be read")
	case !e.IsDir():
		c.file(ctx, e)
	default:
		c.entered = &folder{e.Path(), e.Depth}
	}
	return nil
}

// folder is one that was entered.
type folder struct {
	name  string
	depth int
}

// leave tells that the walk has come to an entry of that depth. It follows the entry of the folder
// that it is in, so a folder that is followed by anything else was empty.
func (c *collector) leave(depth int) {
	if c.entered != nil && depth <= c.entered.depth {
		c.omit(c.entered.name, "is an empty folder; only files are stored")
	}
	c.entered = nil
}

// shorten returns the beginning of a path that is too long.
func shorten(e *fstree.Entry) string { return e.Path()[:job.MaxOutputNameBytes] + "…" }

func (c *collector) file(ctx context.Context, e *fstree.Entry) {
	name := e.Path()
	if !e.IsRegular() {
		c.omit(name, "is a "+typeName(e.Type())+", not a regular file")
		return
	}
	if message := job.CheckOutputName(name); message != "" {
		c.omit(name, message)
		return
	}
	f, err := e.Open()
	if err != nil {
		c.omit(name, "cannot be read")
		return
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		c.omit(name, "cannot be read")
		return
	}
	if reason := c.exceeds(info.Size()); reason != "" {
		f.Close()
		c.omit(name, reason)
		return
	}
	if c.limits.Room != nil && !c.limits.Room(info.Size()) {
		f.Close()
		c.omit(name, "the storage is nearly full (MIN_FREE_BYTES)")
		c.lose(fmt.Errorf("store %s with %d bytes: %w", name, info.Size(), job.ErrExhausted))
		return
	}
	c.used.Files++
	c.used.Bytes += info.Size()
	c.store(ctx, job.File{Name: name, Size: info.Size(), Mode: modeOf(info)}, f, func() { f.Close() })
}

// exceeds says which limit another output of that size would exceed, or "".
func (c *collector) exceeds(size int64) string {
	if c.used.Files >= c.limits.Files {
		return fmt.Sprintf("more than %d files (MAX_OUTPUT_FILES)", c.limits.Files)
	}
	if size > c.limits.Bytes-c.used.Bytes {
		return fmt.Sprintf("with its %d bytes the outputs would have more than %d (MAX_OUTPUT_BYTES)", size, c.limits.Bytes)
	}
	return ""
}

// modeOf keeps of a file's mode whether its owner can execute it.
func modeOf(info fs.FileInfo) string {
	if info.Mode()&0o100 != 0 {
		return job.ModeExecutable
	}
	return ""
}

func (c *collector) lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.losses++; c.losses <= maxLosses {
		c.lost = errors.Join(c.lost, err)
	}
}

func (c *collector) omit(name, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.summary.OmittedCount++
	if len(c.summary.Omitted) < maxOmittedNames {
		c.summary.Omitted = append(c.summary.Omitted, job.Omitted{Name: strings.ToValidUTF8(name, "\uFFFD"), Reason: reason})
	}
}

func typeName(t fs.FileMode) string {
	switch {
	case t&fs.ModeSymlink != 0:
		return "symbolic link"
	case t&fs.ModeNamedPipe != 0:
		return "FIFO"
	case t&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

func (t *Task) collect(ctx context.Context, l spool.Files, result *Result) {
	defer func() { t.Timing.CollectFinishedAt = now() }()
	c := newCollector(t.To, t.Limits, t.StoreRetry)
	collected := c.collect(ctx, t.Workspace, l)
	err := errors.Join(collected, t.To.PutManifest(ctx, c.files))
	result.Outputs = &c.summary
	behind, err2 := t.leftBehind(ctx)
	if err2 != nil { // the outputs are what matters
		t.Log.Warn("files outside results/ not looked for", "job", t.Index.JobID, "error", err2)
	}
	result.Outputs.NotCollected = behind
	if err == nil || t.removed() {
		return
	}
	t.Log.Error("outputs not stored", "job", t.Index.JobID, "error", err)
	const lost = "some of its outputs could not be stored"
	if result.Exit.Reason == "" && result.Exit.Code == 0 {
		result.Exit.Reason, result.Exit.Message = job.ReasonOutputsLost, lost
	} else {
		result.Exit.Message = join(result.Exit.Message, lost)
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
