package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
)

// bench is what the rows share: where things are built and stored.
type bench struct {
	options
	module string // the checkout
	dir    string
	bin    string // what was built
}

// open builds the measured programs, and the rivals that are built from source.
func open(ctx context.Context, o options) (*bench, error) {
	module, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.dir, "bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, module: module, dir: dir, bin: filepath.Join(dir, "bin")}
	if err := b.build(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// room is the environment in which one row is measured. Everything in it is removed when the row is
// done.
type room struct {
	*bench
	dir    string
	rounds int
	ends   []func() error
}

func (b *bench) enter(ctx context.Context, r row) (lines []line, err error) {
	dir, err := os.MkdirTemp(b.dir, "row-")
	if err != nil {
		return nil, err
	}
	in := &room{bench: b, dir: dir, rounds: defaultRounds}
	if b.options.rounds > 0 {
		in.rounds = b.options.rounds
	}
	defer func() { err = errors.Join(err, in.leave()) }()
	return r.measure(ctx, in)
}

// atEnd has f called when the row is done, after those that were given later.
func (r *room) atEnd(f func() error) { r.ends = append(r.ends, f) }

func (r *room) leave() error {
	var errs []error
	for _, f := range slices.Backward(r.ends) {
		errs = append(errs, f())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// folder makes a folder in the room.
func (r *room) folder(name string) (string, error) {
	path := filepath.Join(r.dir, name)
	return path, os.MkdirAll(path, 0o755)
}

// freePort returns a port that nobody listens on.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}
