package jsonpath

import (
	"context"
	"fmt"
)

// Limits bounds the memory and the steps of all queries that share a Budget.
type Limits struct {
	Nodes    int // values in the document, at 16 bytes each
	Depth    int // of the document
	Selected int // nodes in one list, at 4 bytes each
	Work     int // steps: about one for each value that is visited, and for every 16 bytes of text that are compared
}

// DefaultLimits allow at most 10 MiB of memory, and a quarter of a second on a slow machine.
func DefaultLimits() Limits {
	return Limits{Nodes: 500_000, Depth: 1000, Selected: 100_000, Work: 5_000_000}
}

// LimitError says which limit a document or a query exceeds.
type LimitError struct{ message string }

func (e *LimitError) Error() string { return e.message }

func exceeds(format string, args ...any) error { return &LimitError{fmt.Sprintf(format, args...)} }

// Budget counts what queries use of the Limits. It is for one goroutine. It keeps the first error,
// and after that every query selects nothing.
type Budget struct {
	ctx    context.Context //nolint:containedctx // a budget ends with its request
	limits Limits
	used   int
	check  int // when to look at ctx again
	err    error
}

// NewBudget returns a Budget that also ends with ctx.
func NewBudget(ctx context.Context, l Limits) *Budget { return &Budget{ctx: ctx, limits: l} }

// checkEvery is how many steps a Budget takes between two checks of its context: a millisecond at
// most.
const checkEvery = 10_000

// spend counts steps, and reports whether to go on.
func (b *Budget) spend(steps int) bool {
	if b.err != nil {
		return false
	}
	b.used += steps
	if b.used > b.limits.Work {
		b.err = exceeds("takes more than %d steps to find", b.limits.Work)
		return false
	}
	if b.used >= b.check {
		b.check = b.used + checkEvery
		b.err = b.ctx.Err()
	}
	return b.err == nil
}

// text counts the steps for reading so many bytes.
func (b *Budget) text(bytes int) bool { return b.spend(1 + bytes/16) } //nolint:mnd // see Limits
