// Package hostile sends the inputs of attackers to the real command. For every input it demands the
// right answer, that a refused input leaves nothing behind, and that the server's memory stays
// small and it goes on answering. Each group has its table in a file of its own. docs/security.md
// says what they prove.
package hostile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

// leastInputs is how many inputs a run of all groups makes at least.
const leastInputs = 20_000

// suite is what all groups share.
type suite struct {
	all, front string // the commands
	searchPath string
	keys       token.Keys
	ring       *access.Keyring   // the document of the keys that servers have
	callers    map[string]string // the keys themselves, by what the tests call their owners
	leaks      *leaks

	mu     sync.Mutex
	groups []string
	counts map[string]int
}

func TestHostile(t *testing.T) {
	dir, err := os.MkdirTemp("", "hostile-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	keys, err := token.Parse(tokenKey)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{
		all: build(t, dir, "all"), front: build(t, dir, "front"), searchPath: searchPath(), keys: keys,
		counts: map[string]int{}, leaks: newLeaks(),
	}
	s.makeKeys(t)
	begin := time.Now()
	// Each of these has servers of its own, so they run beside each other.
	parts := map[string]func(t *testing.T){
		"requests": s.requests, "events": s.eventParts, "jobs": s.jobParts, "memory": s.memoryAttacks, "sandbox": s.sandbox,
		"exhaustion": s.exhaustion, "open": s.openParts, "logins": s.logins, "gateway": s.gateway,
		"cleaning": s.cleaning, "settings": s.settings,
	}
	var running sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		running.Go(func() { t.Run(name, parts[name]) })
	}
	running.Wait()
	s.report(t, time.Since(begin))
}

// report prints how many inputs each group made.
func (s *suite) report(t *testing.T, took time.Duration) {
	t.Helper()
	total := 0
	slices.Sort(s.groups)
	for _, name := range s.groups {
		fmt.Printf("%6d  %s\n", s.counts[name], name)
		total += s.counts[name]
	}
	fmt.Printf("%6d  hostile inputs in %d groups, in %.0f s\n", total, len(s.groups), took.Seconds())
	if len(s.groups) == allGroups && total < leastInputs {
		t.Errorf("only %d inputs were made, at least %d are wanted", total, leastInputs)
	}
}

// allGroups is how many groups there are when none was left out by -run.
const allGroups = 24

func (s *suite) count(group string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.counts[group]; !known {
		s.groups = append(s.groups, group)
	}
	s.counts[group] += n
}

// row is one input that must be refused, or that must be accepted without storing anything.
type row struct {
	name   string
	req    request
	status []int  // any of these
	field  string // which the problem has to name
	plain  bool   // refused by net/http itself, in plain text
}

func refused(status int, field, name string, req request) row {
	return row{name: name, req: req, status: []int{status}, field: field}
}

// group runs inputs of one kind against one server.
type group struct {
	*testing.T
	s      *suite
	name   string
	server *server
}

// memoryBound is how much memory a server may have at most while its inputs are refused. One that
// does nothing has 30 MiB.
const memoryBound = 160 << 20

// run runs a group. Then it checks what every group demands: the server answers, its memory was
// bounded, and no connection or file is left open.
func (s *suite) run(t *testing.T, name string, srv *server, bound int64, body func(g *group)) {
	t.Helper()
	s.count(name, 0)
	t.Run(name, func(t *testing.T) {
		g := &group{T: t, s: s, name: name, server: srv}
		before := srv.open(t)
		srv.resetPeak()
		body(g)
		if a, err := srv.send(get("/healthz")); err != nil || a.status != http.StatusOK {
			t.Errorf("the server does not answer any more: %v %v", a, err)
		}
		if peak := srv.peak(t); peak > bound {
			t.Errorf("the server took %s of memory, at most %s are allowed", mebi(peak), mebi(bound))
		}
		slack := atOnce + 4 // connections that the front keeps, and what is opened once and stays open
		if slices.ContainsFunc(srv.vars, func(v string) bool { return strings.HasPrefix(v, "K_SINK=") }) {
			slack += event.MaxSending // connections to the sink
		}
		if open := 0; !within(20*time.Second, func() bool { open = srv.open(t); return open <= before+slack }) {
			t.Errorf("%d files are open, %d were before: %v", open, before, srv.openFiles(t))
		}
		if text := srv.output.String(); strings.Contains(text, "panic:") || strings.Contains(text, "panic serving") {
			t.Error("the server panicked")
		}
	})
}

// atOnce is how many inputs are on their way at a time.
const atOnce = 8

// each calls f for many inputs at a time.
func each[T any](rows []T, f func(T)) {
	var workers errgroup.Group
	workers.SetLimit(atOnce)
	for _, r := range rows {
		workers.Go(func() error { f(r); return nil })
	}
	_ = workers.Wait()
}

// refuse sends rows and demands their answers, and that not one of them has stored anything.
func (g *group) refuse(rows []row) {
	g.Helper()
	g.settle()
	before := g.server.files(g.T)
	each(rows, g.one)
	g.s.count(g.name, len(rows))
	g.unchanged(before)
}

// settle waits until nothing changes the storage any more: no job waits, none runs that will end by
// itself, and finished jobs are cleaned up.
func (g *group) settle() {
	g.Helper()
	until(g.T, "the server is at rest", func() bool {
		return len(listed(g, "phase=Pending")) == 0 && len(listed(g, "phase=Running")) <= g.server.lasting &&
			len(g.server.leftovers()) == len(listed(g, "phase=Running"))
	})
}

// unchanged demands that the storage has the files it had before.
func (g *group) unchanged(before map[string]int64) {
	g.Helper()
	after := g.server.files(g.T)
	// The server notices a closed connection a moment later.
	within(10*time.Second, func() bool { after = g.server.files(g.T); return maps.Equal(before, after) })
	if diff := cmp.Diff(before, after); diff != "" {
		g.Errorf("%s: refused inputs changed the storage (-before +after):\n%.3000s", g.name, diff)
	}
}

func (g *group) one(r row) {
	g.Helper()
	a, err := g.server.send(r.req)
	if err != nil {
		hungUp := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(),
			"reset by peer")
		if !hungUp || !slices.Contains(r.status, closed) {
			g.Errorf("%s: %q: no answer: %v; want %d", g.name, r.name, err, r.status)
		}
		return
	}
	if !slices.Contains(r.status, a.status) {
		g.Errorf("%s: %q: got %d, want %d: %.300s", g.name, r.name, a.status, r.status, a.body)
		return
	}
	if a.status < http.StatusBadRequest || r.plain && a.header.Get("Content-Type") != "application/problem+json" {
		return
	}
	if fault := a.fault(r.req.method, r.field); fault != "" {
		g.Errorf("%s: %q: %s", g.name, r.name, fault)
	}
	if challenge := a.header.Get("WWW-Authenticate"); (a.status == http.StatusUnauthorized) != (challenge != "") {
		g.Errorf("%s: %q: %d with WWW-Authenticate %q", g.name, r.name, a.status, challenge)
	}
}

// try is an input that the group checks itself.
func (g *group) try(name string, f func(fail func(format string, args ...any))) {
	g.Helper()
	g.s.count(g.name, 1)
	f(func(format string, args ...any) {
		g.Helper()
		g.Errorf("%s: %q: %s", g.name, name, fmt.Sprintf(format, args...))
	})
}

// tries makes many inputs that the group checks itself, several at a time.
func tries[T any](g *group, inputs map[string]T, f func(input T, fail func(format string, args ...any))) {
	g.Helper()
	each(slices.Sorted(maps.Keys(inputs)), func(name string) {
		g.try(name, func(fail func(string, ...any)) { f(inputs[name], fail) })
	})
}

// bearer is the header with a token.
func bearer(token string) string { return "Authorization: Bearer " + token }

// ghost is a job that does not exist.
const ghost = job.ID("fe5df73070535f3b1d397b4f85a949ff")

func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d,
			0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
