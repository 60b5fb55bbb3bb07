package logs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/joblog/joblogtest"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/logstore"
	"go-job-orchestrator/shared/spool"
	"go-job-orchestrator/shared/token"
)

// counter is a client that keeps nothing, and looks at the memory in use each time it has taken a
// few MiB.
type counter struct {
	header      http.Header
	status      int
	bytes, next int64
	peak        uint64
}

func (c *counter) Header() http.Header    { return c.header }
func (c *counter) WriteHeader(status int) { c.status = status }
func (c *counter) Flush()                 {}

func (c *counter) Write(p []byte) (int, error) {
	if c.bytes += int64(len(p)); c.bytes >= c.next {
		c.next = c.bytes + 8<<20
		c.peak = max(c.peak, heap())
	}
	return len(p), nil
}

// heap returns how many bytes are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// count calls the function without a network in between.
func (w *fixture) count(handler http.Handler, query string, next int64) *counter {
	w.T.Helper()
	c := &counter{header: http.Header{}, next: next}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.path()+"?"+query, nil)
	if err != nil {
		w.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Keys.Derive(token.User, w.Index.JobID))
	handler.ServeHTTP(c, req)
	if c.status != http.StatusOK {
		w.T.Fatalf("%s: %d", query, c.status)
	}
	return c
}

func (w *fixture) router() http.Handler {
	router := api.NewRouter(slog.New(slog.DiscardHandler)).Guarded(guardtest.New(w.Keys, w.Ledger))
	w.function.Mount(router)
	return router
}

// fill writes so many bytes to the logs' files, without keeping them in memory.
func (w *fixture) fill(block string, size int) {
	w.T.Helper()
	for range size / len(block) {
		w.Writer.Write(spool.Stdout, []byte(block))
	}
	w.Writer.Sync()
}

// recordsOf returns an order of runs of alternating streams, of which the first is stdout.
func recordsOf(runs ...int64) []byte {
	var all []byte
	var end spool.Position
	for i, n := range runs {
		*end.Of(streams()[i%2]) += n
		all = append(all, spool.Record{At: time.Now(), Attempt: 1, End: end}.Encode()...)
	}
	return all
}

// bytesRead returns what this process has read so far, from files and all else.
func bytesRead(t testing.TB) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("only Linux counts what a process reads: ", err)
	}
	var n int64
	if _, err := fmt.Sscanf(string(data), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTailReadsLittle reads a few lines of a large log, live and kept. No more is to be read than
// holds them.
func TestTailReadsLittle(t *testing.T) { // not parallel: it counts what the whole process reads
	w := newFixture(t)
	handler := w.router()
	w.fill(strings.Repeat(strings.Repeat("x", 99)+"\n", 10_000), 64<<20)
	w.Ship(w.shipper())
	check := func(what string) {
		t.Helper()
		for _, query := range []string{"tail=10", "tail=10&stream=stdout", "tail=0", ""} {
			before := bytesRead(t)
			c := w.count(handler, query, math.MaxInt64)
			if n := bytesRead(t) - before; n > 512<<10 {
				t.Errorf("%s, %q: %d bytes were read for %d", what, query, n, c.bytes)
			}
		}
	}
	check("live")
	w.keepOrder()
	w.Keep()
	w.conclude()
	check("kept")
}

// TestMemory reads a single line of 64 MiB in every way, live and kept. The memory for that must
// not grow with it.
func TestMemory(t *testing.T) { // not parallel: it measures the whole process
	const size, most = 64 << 20, 8 << 20
	w := newFixture(t)
	handler := w.router()
	w.fill(strings.Repeat("x", 1<<20), size)
	w.Ship(w.shipper())
	check := func(what string, follow string) {
		t.Helper()
		before := heap()
		for _, query := range []string{"tail=all", "tail=1", "", "from=0", "stream=stdout"} {
			c := w.count(handler, query+follow, 0)
			if c.bytes != size {
				t.Errorf("%s, %q: %d bytes", what, query, c.bytes)
			}
			if used := int64(c.peak) - int64(before); used > most {
				t.Errorf("%s, %q: took %d bytes of memory", what, query, used)
			}
		}
	}
	check("live", "")
	w.keepOrder()
	w.Keep()
	w.conclude()
	check("kept", "")
	check("kept", "&follow=true")
}

// TestWithoutOrder reads logs whose order is lost, or was made for others. All bytes must come, and
// none twice.
func TestWithoutOrder(t *testing.T) {
	t.Parallel()
	former := func(runs string) func(*fixture) error {
		return func(w *fixture) error {
			return w.Store.Create(t.Context(), ledger.FormerOrderKey(w.Index.JobID), []byte(`{"runs":[`+runs+`]}`))
		}
	}
	order := func(data []byte) func(*fixture) error {
		return func(w *fixture) error {
			return logstore.PutOrder(t.Context(), w.Store, w.Index.JobID, bytes.NewReader(data))
		}
	}
	const most = spool.MaxPosition
	tests := map[string]struct {
		put  func(*fixture) error
		want string
	}{
		"none":             {func(*fixture) error { return nil }, "out1\nout2\nerr1\nerr2\n"},
		"empty":            {order(nil), "out1\nout2\nerr1\nerr2\n"},
		"right":            {order(recordsOf(5, 5, 5, 5)), "out1\nerr1\nout2\nerr2\n"},
		"too little":       {order(recordsOf(0, 5, 5)), "err1\nout1\nout2\nerr2\n"},
		"too much":         {order(recordsOf(0, 5, 1000, 1000, 5)), "err1\nout1\nout2\nerr2\n"},
		"one stream":       {order(recordsOf(0, 10)), "err1\nerr2\nout1\nout2\n"},
		"nothing but huge": {order(recordsOf(most/2, most/2, most/2)), "out1\nout2\nerr1\nerr2\n"},
		"backwards": {order(slices.Concat(recordsOf(0, 5), recordsOf(5), recordsOf(0, 3))),
			"err1\nout1\nout2\nerr2\n"},
		"cut off": {order(recordsOf(0, 5, 5)[:spool.RecordSize*3-1]), "err1\nout1\nout2\nerr2\n"},
		"zeros":   {order(make([]byte, 1000)), "out1\nout2\nerr1\nerr2\n"},
		"ones":    {order(bytes.Repeat([]byte{0xff}, 1000)), "out1\nout2\nerr1\nerr2\n"},
		"former": {former(
			`{"stream":"stdout","bytes":5},{"stream":"stderr","bytes":5},{"stream":"stdout","bytes":5}`),
			"out1\nerr1\nout2\nerr2\n"},
		"former, huge": {former(
			`{"stream":"stderr","bytes":9223372036854775807},{"stream":"stderr","bytes":9223372036854775807}`),
			"err1\nerr2\nout1\nout2\n"},
		"former, others": {former(`{"stream":"stdin","bytes":1},{"stream":"stderr","bytes":-1}`), "out1\nout2\nerr1\nerr2\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			w.Write(spool.Stdout, "out1\nout2\n")
			w.Write(spool.Stderr, "err1\nerr2\n")
			if err := tt.put(w); err != nil {
				t.Fatal(err)
			}
			w.Keep()
			w.conclude()
			for n := range 6 {
				if a := w.read(fmt.Sprintf("tail=%d", n)); a.body != joblogtest.LastLines(tt.want, n) {
					t.Errorf("tail=%d is %q, want %q", n, a.body, joblogtest.LastLines(tt.want, n))
				}
			}
			if a := w.read("stream=stderr"); a.body != "err1\nerr2\n" {
				t.Errorf("stderr is %q", a.body)
			}
		})
	}
}

// TestLines looks at what counts as a line.
func TestLines(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "\n\n\n", "a", "a\n", "a\nb", "a\nb\n", "\na", "\r\n\r\n",
		"\x00\n\xff\xfe\n\x80", strings.Repeat("x", 65535) + "\n", strings.Repeat("x", 65536) + "\n" +
			strings.Repeat("y", 65536), strings.Repeat("\n", 70000)} {
		for _, kept := range []bool{false, true} {
			w := newFixture(t)
			w.Write(spool.Stderr, text)
			w.Ship(w.shipper())
			if kept {
				w.end(w.shipper())
			}
			for _, n := range []int{0, 1, 2, 3, 65536, 1 << 30} {
				if a := w.read(fmt.Sprintf("tail=%d", n)); a.body != joblogtest.LastLines(text, n) {
					t.Errorf("kept: %t, tail=%d of %.20q (%d bytes) has %d bytes, want %d", kept, n, text, len(text), len(a.body),
						len(joblogtest.LastLines(text, n)))
				}
			}
		}
	}
}

// BenchmarkTail reads the last 100 lines of logs of two sizes, live and kept. They should cost the
// same.
func BenchmarkTail(b *testing.B) {
	block := string(bytes.Repeat(append(bytes.Repeat([]byte("x"), 99), '\n'), 5_000))
	for _, size := range []int{1 << 20, 256 << 20} {
		w := newFixture(b)
		handler := w.router()
		w.fill(block, size)
		w.Ship(w.shipper())
		tail := func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.count(handler, "tail=100", math.MaxInt64)
			}
		}
		b.Run(fmt.Sprintf("live-%dMiB", size>>20), tail)
		w.keepOrder()
		w.Keep()
		w.conclude()
		b.Run(fmt.Sprintf("kept-%dMiB", size>>20), tail)
	}
}
