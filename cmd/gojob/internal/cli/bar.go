package cli

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"go-job-orchestrator/cmd/gojob/internal/form"
)

// barAfter is when an upload or a download is slow enough to be shown.
const barAfter = 500 * time.Millisecond

// bar shows how far a transfer is: a bar on a terminal, one line elsewhere.
type bar struct {
	console *console
	what    string
	total   int64 // 0 if it is not known
	now     atomic.Int64
	most    atomic.Int64
	timer   *time.Timer

	mu       sync.Mutex
	ended    bool
	progress *mpb.Progress
	bar      *mpb.Bar
}

// newBar begins a transfer.
func (c *console) newBar(what string, total int64) *bar {
	b := &bar{console: c, what: what, total: total}
	if !c.quiet {
		b.timer = time.AfterFunc(barAfter, b.show)
	}
	return b
}

// uploadBar begins the upload of a form.
func (s *session) uploadBar(f *form.Form) *bar { return s.console.newBar("uploading", formSize(f)) }

// formSize is how many bytes a form has, or 0 if that is not known.
func formSize(f *form.Form) int64 {
	n, err := f.Length()
	if err != nil {
		return 0 // the submit says why
	}
	return max(n, 0)
}

// sent takes how many bytes were sent since the transfer was begun, or begun again.
func (b *bar) sent(n int64) {
	b.now.Store(n)
	if n > b.most.Load() {
		b.most.Store(n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.SetCurrent(n)
	}
}

func (b *bar) show() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return
	}
	if !b.console.terminal {
		if b.total > 0 {
			b.console.say("%s %s", b.what, size(b.total))
		} else {
			b.console.say("%s", b.what)
		}
		return
	}
	b.progress = mpb.New(mpb.WithOutput(b.console.out), mpb.WithAutoRefresh())
	name := mpb.PrependDecorators(decor.Name("gojob: " + b.what + " "))
	if b.total > 0 {
		// One more than there is, so that the bar stays until the server has answered.
		b.bar = b.progress.AddBar(b.total+1, mpb.BarRemoveOnComplete(), name, mpb.AppendDecorators(
			decor.CountersKibiByte("% .1f / % .1f"), decor.Name(" "), decor.Percentage()))
	} else {
		b.bar = b.progress.AddSpinner(0, mpb.BarRemoveOnComplete(), name,
			mpb.AppendDecorators(decor.CurrentKibiByte("% .1f")))
	}
	b.bar.SetCurrent(b.now.Load())
}

// end takes the bar away.
func (b *bar) end() {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if b.bar != nil {
		b.bar.Abort(true)
		b.progress.Wait()
		b.bar = nil
	}
}

// whole reports whether all was sent at some time.
func (b *bar) whole() bool { return b.total > 0 && b.most.Load() >= b.total }
