// Command bench compares the orchestrator with other programs. Every row is a ratio: ours and its
// rivals take turns in the same run on the same machine, and the median counts. It connects only to
// processes that it started itself, over the loopback interface. Rows about a cluster are the
// exception; they need KUBECONFIG, and E2E_PROXY if only an HTTP proxy reaches its URLs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	if err := compare(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// options are what the command line says.
type options struct {
	only   *regexp.Regexp
	rounds int
	dir    string
	list   bool
}

// defaultRounds is how often each of a row's contestants has its turn.
const defaultRounds = 21

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("run", "", "only rows whose name matches the regular expression")
	flags.IntVar(&o.rounds, "rounds", 0, fmt.Sprintf("rounds of every row (default %d)", defaultRounds))
	flags.StringVar(&o.dir, "dir", os.TempDir(), "where to store; some 8 GiB, on a disk, while it runs")
	flags.BoolVar(&o.list, "list", false, "list the names of rows")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	o.only, err = regexp.Compile(*only)
	return o, err
}

// compare runs the rows and prints the table.
func compare(ctx context.Context, o options) error {
	if o.list {
		for _, r := range rows() {
			fmt.Println(r.name)
		}
		return nil
	}
	b, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	var table table
	for _, r := range rows() {
		if !o.only.MatchString(r.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", r.name)
		lines, err := b.enter(ctx, r)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil { // a row that cannot be measured must not end the others
			lines = []line{{what: r.name, reason: "not measured: " + err.Error()}}
		}
		table = append(table, lines...)
	}
	return table.print(os.Stdout)
}
