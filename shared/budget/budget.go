// Package budget bounds the memory that all requests of a process take together for what they bring
// and ask for.
package budget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"go-job-orchestrator/shared/job"
)

const (
	// Factor is how many bytes of memory a byte of a request costs: it is read, decoded, checked and
	// encoded again, and the garbage of that lies about for a while.
	Factor = 4
	// free is what each request has without asking, so that small requests are answered also when
	// large ones have taken all there is. The number of connections bounds how many there are.
	free = 64 << 10
	// patience is how long a request waits for others to give memory back.
	patience = 5 * time.Second
)

// Budget is memory that requests share.
type Budget struct {
	room     *semaphore.Weighted
	size     int64
	patience time.Duration
}

// New returns a Budget of so many bytes.
func New(size int64) *Budget {
	return &Budget{room: semaphore.NewWeighted(size), size: size, patience: patience}
}

// account is what one request has of the budget.
type account struct {
	budget *Budget

	mu     sync.Mutex
	text   int64 // bytes of memory for what it brought
	record int64 // and for the largest record that was read for it
	held   int64
	closed bool
}

type accountKey struct{}

// Open returns a context in which what is taken counts against the budget, until close is called.
func (b *Budget) Open(ctx context.Context) (with context.Context, close func()) {
	a := &account{budget: b}
	return context.WithValue(ctx, accountKey{}, a), a.close
}

func (a *account) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.settle(0)
}

// settle gives back what is more than want.
func (a *account) settle(want int64) {
	if want < a.held {
		a.budget.room.Release(a.held - want)
		a.held = want
	}
}

// change has f change what the request takes, and waits for as much. When that takes too long, the
// error is of kind job.ErrUnavailable.
func change(ctx context.Context, f func(a *account)) error {
	a, _ := ctx.Value(accountKey{}).(*account)
	if a == nil { // nobody's request
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	text, record := a.text, a.record
	f(a)
	// One request alone may always go on.
	want := min(max(a.text+a.record-free, 0), a.budget.size)
	if want <= a.held {
		a.settle(want)
		return nil
	}
	limit, cancel := context.WithTimeout(ctx, a.budget.patience)
	defer cancel()
	if err := a.budget.room.Acquire(limit, want-a.held); err != nil {
		a.text, a.record = text, record
		if ctx.Err() != nil {
			return fmt.Errorf("wait for memory: %w", ctx.Err())
		}
		return job.Refuse(job.ErrUnavailable, "", "other requests take all the memory there is for large ones "+
			"(MAX_BUFFERED_BYTES); send this again in a few seconds")
	}
	a.held = want
	return nil
}

// Take takes what n bytes of a request cost until it is over.
func Take(ctx context.Context, n int64) error {
	return change(ctx, func(a *account) { a.text += Factor * n })
}

// give gives back what was taken of n bytes.
func give(ctx context.Context, n int64) {
	_ = change(ctx, func(a *account) { a.text -= Factor * n }) // needs no waiting
}

// TakeRecord takes what a stored record of n bytes costs. A request goes on with one record at a
// time, so the largest counts.
func TakeRecord(ctx context.Context, n int64) error {
	return change(ctx, func(a *account) { a.record = max(a.record, Factor*n) })
}

// small is what is read before memory for more is taken: most bodies end before.
const small = 8 << 10

// ReadAll reads r to its end; r itself must fail when that comes too late, after limit bytes. When
// it is longer than a little, memory for length bytes is taken before more is read, so that those
// who wait for others hold next to nothing; for limit bytes if length is not known and therefore
// negative.
func ReadAll(ctx context.Context, r io.Reader, length, limit int64) ([]byte, error) {
	head, err := io.ReadAll(io.LimitReader(r, small))
	if err != nil || len(head) < small {
		return head, errors.Join(err, Take(ctx, int64(len(head))))
	}
	size := length
	if length < 0 || length > limit {
		size = limit
	}
	size = max(size, small)
	if err := Take(ctx, size); err != nil {
		return nil, err
	}
	var all bytes.Buffer
	if length >= 0 {
		all.Grow(int(size) + bytes.MinRead) // or it would be copied again and again
	}
	all.Write(head)
	_, err = all.ReadFrom(r)
	give(ctx, size-int64(all.Len()))
	return all.Bytes(), err
}
