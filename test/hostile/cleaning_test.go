package hostile

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
)

// trap is a folder of the host into which a program tries to have the server write.
type trap struct{ bait, secret string }

func newTrap(t *testing.T) trap {
	t.Helper()
	dir := folder(t)
	bait := filepath.Join(dir, "bait")
	for _, name := range []string{bait, filepath.Join(bait, "inner")} {
		if err := os.Mkdir(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "secret.txt")
	if err := os.WriteFile(secret, []byte("a secret of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	return trap{bait, secret}
}

// untouched says what was put into the bait or done to the secret, or nothing.
func (tr trap) untouched() string {
	var found []string
	_ = filepath.WalkDir(tr.bait, func(path string, d os.DirEntry, _ error) error {
		if path != tr.bait && path != filepath.Join(tr.bait, "inner") {
			found = append(found, path)
		}
		return nil
	})
	if data, err := os.ReadFile(tr.secret); err != nil || string(data) != "a secret of the host" {
		found = append(found, fmt.Sprintf("the secret is %q (%v)", data, err))
	}
	return strings.Join(found, ", ")
}

// swaps are what a program puts in the place of its results, its log or its folders. $1 is the
// bait, $2 the secret.
func swaps() map[string]string {
	return map[string]string{
		"results to a folder":       "rm -rf results; ln -s $1 results",
		"results to a folder in it": "rm -rf results; ln -s $1/inner results",
		"results to a file":         "rm -rf results; ln -s $2 results",
		"results to nothing":        "rm -rf results; ln -s $1/new results",
		"results to itself":         "rm -rf results; ln -s results results",
		"results through a chain":   "rm -rf results; ln -s $1 a; ln -s a b; ln -s b results",
		"results to proc":           "rm -rf results; ln -s /proc/self/root$1 results",
		"results up and down":       "rm -rf results; ln -s ../../../../../../../../../../..$1 results",
		"log to a file":             "rm -f results/stdout.log; ln -s $2 results/stdout.log",
		"log to a new file": "rm -f results/stdout.log results/stderr.log; ln -s $1/out results/stdout.log; ln " +
			"-s $1/err results/stderr.log",
		"log to a folder":   "rm -f results/stdout.log; ln -s $1 results/stdout.log",
		"results as a pipe": "rm -rf results; mkfifo results",
		"log as a pipe":     "rm -f results/stdout.log; mkfifo results/stdout.log",
		"results as a file": "rm -rf results; echo x > results",
		"results as a socket": "rm -rf results; python3 -c 'import socket; " +
			"socket.socket(socket.AF_UNIX).bind(\"results\")'",
		"entrypoint to a file":        "rm -f run; ln -s $2 run",
		"an output to a file":         "ln -s $2 results/out; ln -s $1 results/dir",
		"results without permission":  "chmod 0 results; chmod 0 .",
		"workspace without anything":  "rm -rf ./* .[!.]*",
		"temporary folder to another": "rm -rf $TMPDIR/*; ln -s $1 $TMPDIR/x; ln -s $2 $TMPDIR/y",
	}
}

// cleaning has programs leave what is hard or dangerous to clear away.
func (s *suite) cleaning(t *testing.T) {
	srv := s.launch(t, s.all, folder(t), cleaningSettings()...)
	s.run(t, "cleaning up", srv, memoryBound, func(g *group) {
		tr := newTrap(g.T)
		swapped(g, tr)
		crashed(g, tr)
		leftBehind(g)
	})
}

func cleaningSettings() []string {
	return []string{"AUTH=open", "KILL_GRACE=500ms", "REAP_INTERVAL=100ms", "MAX_CONCURRENT_JOBS=48", "RETRY_BACKOFF=1m",
		"MAX_PROCESSES=64"}
}

const swapEnd = "\necho swapped\nexit 1\n"

// waiting waits until a job's first attempt has failed and the next one is due.
func waiting(t *testing.T, j *begun) {
	t.Helper()
	until(t, "the first attempt is over", func() bool {
		s := j.status(t)
		return s.Phase.Terminal() || len(s.Attempts) > 0 && s.Attempts[0].FinishedAt != nil
	})
}

// swapped has each job fail with an attempt left, and cancels it in the pause before that.
func swapped(g *group, tr trap) {
	jobs := map[string]*begun{}
	for name, source := range swaps() {
		g.s.count(g.name, 1)
		jobs[name] = g.server.begin(g.T, script(source+swapEnd, text("retries", "1"), text("arg", tr.bait),
			text("arg", tr.secret))...)
	}
	each(slices.Sorted(maps.Keys(jobs)), func(name string) {
		waiting(g.T, jobs[name])
		if got := jobs[name].cancel(g.T); got.Phase != job.Cancelled {
			g.Errorf("%s: %s, cancelled: %s (%s: %s)", g.name, name, got.Phase, got.Reason, got.Message)
		}
	})
	if touched := tr.untouched(); touched != "" {
		g.Errorf("%s: cancelled between attempts: on the host: %s", g.name, touched)
	}
	for name, j := range jobs {
		kept(g, name, j)
	}
}

// kept demands that the log is what the program wrote and that nothing of the host became an
// output.
func kept(g *group, name string, j *begun) {
	g.Helper()
	if log := j.logs(g.T, "tail=all&stream=stdout"); !strings.HasPrefix(log, "swapped\n") {
		g.Errorf("%s: %s: the log is %.100q", g.name, name, log)
	}
	for _, output := range []string{"out", "dir/secret.txt", "secret.txt", "inner"} {
		a, err := g.server.send(get("/outputs/"+string(j.ID)+"/"+output, bearer(j.Token)))
		if err != nil || a.status != http.StatusNotFound || strings.Contains(string(a.body), "secret of the host") {
			g.Errorf("%s: %s: output %s: %s %v", g.name, name, output, brief(a), err)
		}
	}
	if text := g.server.output.String(); strings.Contains(text, "a secret of the host") {
		g.Errorf("%s: %s: the server logged what the link leads to", g.name, name)
	}
}

// crashed kills the server between two attempts, and while programs run that have made the same
// swaps.
func crashed(g *group, tr trap) {
	between, during := map[string]*begun{}, map[string]*begun{}
	for name, source := range swaps() {
		g.s.count(g.name, 1)
		between[name] = g.server.begin(g.T, script(source+swapEnd, text("retries", "1"), text("arg", tr.bait),
			text("arg", tr.secret))...)
	}
	for _, j := range between {
		waiting(g.T, j)
	}
	for name, source := range swaps() {
		if strings.Contains(name, "without") { // a program that cannot print any more
			continue
		}
		g.s.count(g.name, 1)
		during[name] = g.server.begin(g.T, script(source+"\necho swapped\nexec sleep 1000\n", text("arg", tr.bait),
			text("arg", tr.secret))...)
	}
	for _, j := range during {
		j.says(g.T, "swapped")
	}
	g.server.vars = append(g.server.vars, "RETRY_BACKOFF=1s") // nobody waits for those that go on
	if took := g.server.restart(g.T); took > 10*time.Second {
		g.Errorf("%s: the next start took %.1f s", g.name, took.Seconds())
	}
	for name, j := range during {
		if got := j.wait(g.T); got.Reason != job.ReasonInterrupted {
			g.Errorf("%s: %s, server killed: %s (%s: %s)", g.name, name, got.Phase, got.Reason, got.Message)
		}
		kept(g, name, j)
	}
	for name, j := range between {
		// the second may have begun
		if got := j.wait(g.T); got.Reason != job.ReasonError && got.Reason != job.ReasonInterrupted {
			g.Errorf("%s: %s, server killed between attempts: %s (%s: %s)", g.name, name, got.Phase, got.Reason, got.Message)
		}
		kept(g, name, j)
	}
	if touched := tr.untouched(); touched != "" {
		g.Errorf("%s: server killed: on the host: %s", g.name, touched)
	}
}

// heaps are kinds of leftovers whose removal takes long or needs care.
func heaps() map[string]string {
	return map[string]string{
		"folders in a chain of 5,000": `import os
os.chdir('results')
for _ in range(5000): os.mkdir('d'); os.chdir('d')
`,
		"100 chains of 190": `import os
for i in range(100):
    os.chdir(os.environ['OUTPUT_DIR'])
    os.mkdir('%d' % i); os.chdir('%d' % i)
    for _ in range(189): os.mkdir('d'); os.chdir('d')
`,
		"chains beside results": `import os
os.chdir(os.environ['TMPDIR'])
for _ in range(5000): os.mkdir('d'); os.chdir('d')
`,
		"long names in a chain": `import os
os.chdir('results')
for _ in range(1000): os.mkdir('d' * 250); os.chdir('d' * 250)
`,
		"a chain closed to its owner": `import os
os.chdir('results')
made = []
for _ in range(300): os.mkdir('d'); made.append(os.open('d', os.O_RDONLY)); os.chdir('d')
for f in made: os.fchmod(f, 0)
`,
		"folders without permission": `import os
for i in range(300):
    os.makedirs('results/%d/in' % i); open('results/%d/in/f' % i, 'w').write('x'); os.chmod('results/%d/in' % i, 0); os.chmod('results/%d' % i, 0)
`,
		"files without permission": `import os
for i in range(300): open('results/%d' % i, 'w').write('x'); os.chmod('results/%d' % i, 0)
`,
		"odd modes": `import os
for m in (0o1777, 0o2777, 0o4777, 0o7000, 0o111, 0o222): os.mkdir('results/%o' % m); os.chmod('results/%o' % m, m)
`,
		"odd names": "import os\nfor n in (b'-rf', b' ', b'\\n', b'a\\nb', b'\\xff\\xfe', b'\\x01', b'x' * 255, b'*', " +
			"b'$(id)', b'~', b'...', b'\\\\', '\u202e'.encode(), b'stdout.log ', b'.job'): open(b'results/' + n, " +
			"'w').write('x')\n",
		"every byte as a name": `import os
for c in range(1, 256):
    if c not in (46, 47): open(b'results/' + bytes([c]), 'w').write('x')
`,
		"pipes": `import os
for i in range(500): os.mkfifo('results/p%d' % i)
`,
		"sockets": `import os, socket
for i in range(200): socket.socket(socket.AF_UNIX).bind('results/s%d' % i)
`,
		"links in a circle": `import os
os.symlink('b', 'results/a'); os.symlink('a', 'results/b'); os.symlink('.', 'results/dot'); os.symlink('..', 'results/up'); os.symlink('/', 'results/root')
`,
		"hard links": `import os
open('f', 'w').write('x' * 4096)
for i in range(500): os.link('f', 'results/h%d' % i)
`,
		"many small files": `import os
for i in range(3000): open('results/%d' % i, 'w').write('x')
`,
		"renamed while it ends": `import os
if os.fork() == 0:
    while True:
        try: os.rename('results', 'x'); os.rename('x', 'results')
        except OSError: pass
`,
	}
}

// heap is one kind of leftovers, made by a job.
type heap struct {
	name string
	j    *begun
}

// pile starts a program for each heap. When the heap is made the program either goes on or ends.
func pile(g *group, names []string, end string) []heap {
	g.Helper()
	g.s.count(g.name, len(names))
	list := make([]heap, len(names))
	for i, name := range names {
		list[i] = heap{name, g.server.begin(g.T, python(heaps()[name]+"print('made', flush=True)\n"+end)...)}
	}
	for _, h := range list {
		until(g.T, "the heap is made: "+h.name, func() bool {
			return h.j.status(g.T).Phase.Terminal() || strings.Contains(h.j.logs(g.T, "tail=all"), "made")
		})
	}
	return list
}

// clearing bounds how long anything of a heap may take.
const clearing = 30 * time.Second

// leftBehind demands that each heap is collected and cleared away within seconds, whether its job
// ends by itself, is cancelled, or is cut off by a crash of the server.
func leftBehind(g *group) {
	names := slices.Sorted(maps.Keys(heaps()))
	begin := time.Now()
	over := func(what string, h heap, reasons ...job.Reason) {
		got := h.j.wait(g.T)
		if took := time.Since(begin); took > clearing {
			g.Errorf("%s: %s, %s: it took %.1f s", g.name, h.name, what, took.Seconds())
		}
		// One that passes a limit of the workspace may be ended for that.
		if !slices.Contains(append(reasons, job.ReasonEvicted), got.Reason) {
			g.Errorf("%s: %s, %s: %s (%s: %s)", g.name, h.name, what, got.Phase, got.Reason, got.Message)
		}
	}
	for batch := range slices.Chunk(names, 8) {
		made := pile(g, batch, "")
		begin = time.Now()
		for _, h := range made {
			over("collected", h, job.ReasonCompleted)
		}
	}
	const stay = "import time\ntime.sleep(1000)\n"
	for batch := range slices.Chunk(names, 8) {
		made := pile(g, batch, stay)
		begin = time.Now()
		each(made, func(h heap) { h.j.cancel(g.T) })
		for _, h := range made {
			over("cancelled", h, job.ReasonCancelled)
		}
	}
	for batch := range slices.Chunk(names, 8) {
		made := pile(g, batch, stay)
		if took := g.server.restart(g.T); took > 10*time.Second {
			g.Errorf("%s: the start after a crash took %.1f s", g.name, took.Seconds())
		}
		begin = time.Now()
		for _, h := range made {
			over("server killed", h, job.ReasonInterrupted)
		}
	}
	gone(g, 2*patience) // nobody waits for that
}

// gone demands that nothing is left of workspaces.
func gone(g *group, atMost time.Duration) {
	g.Helper()
	var left []string
	if !within(atMost, func() bool { left = g.server.leftovers(); return len(left) == 0 }) {
		g.Errorf("%s: %d workspaces are left: %.300q", g.name, len(left), left)
	}
}
