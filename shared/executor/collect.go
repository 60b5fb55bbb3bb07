package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/backoff"
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

// storeTries is how often storing one output is tried before it is given up as lost.
const storeTries = 3

// Outputs of at most smallOutput bytes are stored atOnce at a time: what they take is the waiting
// for answers. A larger one has the whole connection, and the memory of the other side, for itself.
const (
	smallOutput = 1 << 20
	atOnce      = 4
)

// collector stores the outputs of one job.
type collector struct {
	to     Results
	limits OutputLimits
	retry  time.Duration
	used   OutputLimits // what counts towards the limits: all but the logs
	small  errgroup.Group

	entered *folder // the folder that was entered last, until something in it was seen

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
	err := c.walk(ctx, w)
	c.settle()
	c.lost = errors.Join(c.lost, err)
	slices.SortFunc(c.files, func(a, b job.File) int { return strings.Compare(a.Name, b.Name) })
	return c.lost
}

func (c *collector) storeLog(ctx context.Context, name string, f *os.File) {
	info, err := f.Stat()
	if err != nil {
		c.lose(err)
		return
	}
	c.store(ctx, job.File{Name: name, Size: info.Size()}, f, func() {})
}

// storeOrder stores the order of the log, if there is a log: without it nobody reads the whole
// files.
func (c *collector) storeOrder(ctx context.Context, l spool.Files) {
	order, err := l.Records()
	if err == nil && order.Size() > 0 {
		err = c.persist(ctx, func() error {
			_, err := order.Seek(0, io.SeekStart)
			return errors.Join(err, c.to.PutOrder(ctx, order))
		})
	}
	if err != nil {
		c.lose(fmt.Errorf("store the order of the log: %w", err))
	}
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
	if e.Depth == 1 && job.IsLog(e.Name) {
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

// store stores exactly as many bytes of f as the output has, at once or soon, and then calls over;
// a file whose tree is dead does not grow.
func (c *collector) store(ctx context.Context, output job.File, f *os.File, over func()) {
	if output.Size <= smallOutput {
		c.small.Go(func() error {
			defer over()
			c.put(ctx, output, f)
			return nil
		})
		return
	}
	c.settle()
	defer over()
	c.put(ctx, output, f)
}

// settle waits for all small outputs.
func (c *collector) settle() { _ = c.small.Wait() } // errors are noted where they occur

func (c *collector) put(ctx context.Context, output job.File, f *os.File) {
	name := output.Name
	var stored job.File
	err := c.persist(ctx, func() (err error) {
		stored, err = c.to.PutResult(ctx, name, io.NewSectionReader(f, 0, output.Size))
		return err
	})
	if reason := refusal(err); reason != "" && !job.IsLog(name) {
		c.omit(name, reason)
		return
	}
	if err != nil {
		c.omit(name, "could not be stored")
		c.lose(fmt.Errorf("store %s: %w", name, err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stored.Mode = output.Mode
	c.files = append(c.files, stored)
	c.summary.Count++
	c.summary.Bytes += stored.Size
}

// persist tries to store something a few times.
func (c *collector) persist(ctx context.Context, store func() error) (err error) {
	for try := range storeTries {
		if try > 0 && !backoff.Wait(ctx, c.retry) {
			return err
		}
		err = store()
		if err == nil || errors.Is(err, job.ErrExhausted) || refusal(err) != "" {
			return err
		}
	}
	return err
}

// refusal says why the storage does not take an output, for a cause that lies in the output itself.
func refusal(err error) string {
	switch {
	case errors.Is(err, job.ErrInvalid), errors.Is(err, job.ErrConflict):
		return "the storage cannot hold a file of this name: it is too long, or one part of it is the name of another file"
	case errors.Is(err, job.ErrTooLarge):
		return "is larger than the storage takes (MAX_OUTPUT_BYTES)"
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
