package gojob

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	random "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// cutter is a toxic that cuts a connection when a random number of bytes, below Bytes, has passed. It
// does so to the first connections, as many as cuts has.
type cutter struct {
	Bytes int64 `json:"bytes"`
	cuts  *atomic.Int64
}

// cutterState is that of one connection.
type cutterState struct{ left int64 }

func (c *cutter) NewState() any {
	left := int64(0)
	if c.Bytes > 0 {
		left = random.Int64N(c.Bytes)
	}
	return &cutterState{left: left}
}

// Pipe implements toxics.Toxic.
func (c *cutter) Pipe(stub *toxics.ToxicStub) {
	state := stub.State.(*cutterState)
	for {
		select {
		case <-stub.Interrupt:
			return
		case chunk := <-stub.Input:
			if chunk == nil {
				stub.Close()
				return
			}
			if c.cuts.Load() > 0 && int64(len(chunk.Data)) >= state.left {
				c.cuts.Add(-1)
				stub.Output <- &stream.StreamChunk{Timestamp: chunk.Timestamp, Data: chunk.Data[:state.left]}
				stub.Close()
				return
			}
			state.left -= int64(len(chunk.Data))
			stub.Output <- chunk
		}
	}
}

// cutLine is a proxy before a server that cuts so many connections, in the direction upstream or
// downstream, each after less than so many bytes.
func cutLine(t *testing.T, s *server, direction string, cuts, bytes int64) (url string, left *atomic.Int64) {
	t.Helper()
	left = &atomic.Int64{}
	left.Store(cuts)
	name := fmt.Sprintf("cut-%p", left)
	toxics.Register(name, &cutter{cuts: left})
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, t.Name(), "localhost:0", "localhost:"+s.port)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	toxic, err := proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name":"cut","type":%q,"stream":%q,"attributes":{"bytes":%d}}`, name, direction, bytes)))
	if err != nil {
		t.Fatal(err)
	}
	toxic.Toxic.(*cutter).cuts = left // the library makes a new one of the type
	return "http://" + proxy.Listen, left
}

// transfer is a folder in which gojob runs.
type transfer struct {
	*testing.T
	dir string
}

func newTransfer(t *testing.T) *transfer { return &transfer{t, t.TempDir()} }

func (tr *transfer) command(url string, args ...string) *exec.Cmd {
	tr.Helper()
	path, err := gojob()
	if err != nil {
		tr.Fatal(err)
	}
	cmd := exec.CommandContext(tr.Context(), path, args...)
	cmd.Dir = tr.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tr.dir, "GOJOB_URL=" + url, "XDG_STATE_HOME=" + tr.dir + "/.state",
		"XDG_CONFIG_HOME=" + tr.dir + "/.config", "TMPDIR=" + tr.dir}
	return cmd
}

// gojob runs a command, which must succeed, and returns what it prints.
func (tr *transfer) gojob(url string, args ...string) (stdout, stderr string) {
	tr.Helper()
	cmd := tr.command(url, args...)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		tr.Fatalf("gojob %s: %v\n%s", strings.Join(args, " "), err, &words)
	}
	return out.String(), words.String()
}

func (tr *transfer) write(name string, content []byte) {
	tr.Helper()
	path := filepath.Join(tr.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		tr.Fatal(err)
	}
}

// noise is content that shows when something is missing, doubled or out of place.
func noise(size int) []byte {
	content := make([]byte, size)
	_, _ = rand.Read(content) // never fails
	return content
}

// archive returns the SHA-256 of the archive that a job was submitted with.
func (tr *transfer) archive(url, id string) string {
	tr.Helper()
	out, _ := tr.gojob(url, "get", "-o", "json", strings.TrimSpace(id))
	var status struct {
		Files []struct{ Name, SHA256 string }
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Files) != 1 {
		tr.Fatalf("%v: %s", err, out)
	}
	return status.Files[0].SHA256
}

// TestUploadIsCut cuts an upload ten times at random places, or when all was sent and only the answer
// is missing. It makes one job, which has every byte.
func TestUploadIsCut(t *testing.T) {
	t.Parallel()
	const size, cuts = 8 << 20, 10
	s := serve(t)
	for _, test := range []struct {
		direction   string
		size, bytes int64
	}{
		{"upstream", size, size},
		{"downstream", 100, 0}, // so little that the server is not asked before: what is cut is the answer
	} {
		t.Run(test.direction, func(t *testing.T) {
			t.Parallel()
			tr := newTransfer(t)
			tr.write("p/main.py", []byte("print('here')\n"))
			tr.write("p/noise", noise(int(test.size)))
			whole, _ := tr.gojob(s.url(), "submit", "p")
			want := tr.archive(s.url(), whole)
			url, left := cutLine(t, s, test.direction, cuts, test.bytes)
			name := "cut " + test.direction
			id, words := tr.gojob(url, "submit", "-n", name, "p")
			if left.Load() != 0 {
				t.Errorf("%d connections were not cut\n%s", left.Load(), words)
			}
			if got := tr.archive(s.url(), id); got == "" || got != want {
				t.Errorf("the archive has the SHA-256 %s, and %s without cuts", got, want)
			}
			if jobs, _ := tr.gojob(s.url(), "ls", "--all", "-o", "name", "--name", name); strings.Count(jobs, "\n") != 1 {
				t.Errorf("there are other jobs than one:\n%s", jobs)
			}
		})
	}
}

// TestUploadIsRestarted kills the server while an upload arrives. It makes one job.
func TestUploadIsRestarted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	tr := newTransfer(t)
	tr.write("p/main.py", []byte("print('here')\n"))
	tr.write("p/noise", noise(8<<20))
	url, left := cutLine(t, s, "upstream", 1, 4<<20)
	cmd := tr.command(url, "submit", "p")
	var out, words lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.wait("the line is cut", func() bool { return left.Load() == 0 })
	s.stop()
	s.start()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &words)
	}
	if jobs, _ := tr.gojob(s.url(), "ls", "--all", "-o", "name"); jobs != out.String() {
		t.Errorf("there are the jobs %q, and %q was submitted", jobs, out.String())
	}
}

// TestDownloadIsCut cuts a download fifty times at random places. It goes on each time, and the file is
// the same byte for byte.
func TestDownloadIsCut(t *testing.T) {
	t.Parallel()
	const cuts = 50
	s := serve(t)
	tr := newTransfer(t)
	tr.write("main.py", []byte("import os\nout = os.environ['OUTPUT_DIR']\n"+
		"open(out + '/large', 'wb').write(os.urandom(24 << 20))\nopen(out + '/small', 'w').write('small')\n"))
	tr.gojob(s.url(), "run", "main.py")
	tr.gojob(s.url(), "cp", "@:large", "want")
	want, err := os.ReadFile(filepath.Join(tr.dir, "want"))
	if err != nil || len(want) != 24<<20 {
		t.Fatal(len(want), err)
	}
	last := func() string { id, _ := tr.gojob(s.url(), "get", "-o", "name", "@"); return strings.TrimSpace(id) }()
	url, left := cutLine(t, s, "downstream", cuts, 700<<10)
	_, words := tr.gojob(url, "cp", last, "got")
	got, err := os.ReadFile(filepath.Join(tr.dir, "got", "large"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("other bytes: %v\n%s", err, words)
	}
	if left.Load() != 0 {
		t.Errorf("%d connections were not cut", left.Load())
	}
	url, left = cutLine(t, s, "downstream", 10, 1<<20)
	out, _ := tr.gojob(url, "cp", last+":large", "-")
	if out != string(want) {
		t.Error("other bytes on standard output")
	}
	if left.Load() > 0 {
		t.Errorf("%d connections were not cut", left.Load())
	}
	if parts, _ := filepath.Glob(filepath.Join(tr.dir, "got", ".*")); len(parts) > 0 {
		t.Errorf("parts stay behind: %v", parts)
	}
}

// TestEarlyRefusal shows what the server says, also when it says so before all is sent.
func TestEarlyRefusal(t *testing.T) {
	t.Parallel()
	s := serve(t, "MAX_UPLOAD_BYTES=1Mi")
	tr := newTransfer(t)
	tr.write("p/main.py", noise(64<<20))
	cmd := tr.command(s.url(), "submit", "p")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "MAX_UPLOAD_BYTES") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestKilledDownload kills a download, and the same command goes on where it was.
func TestKilledDownload(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	s := serve(t)
	tr := newTransfer(t)
	tr.write("main.py", []byte("import os\nopen(os.environ['OUTPUT_DIR'] + '/large', 'wb').write(os.urandom(16 << 20))\n"))
	tr.gojob(s.url(), "run", "main.py")
	id, _ := tr.gojob(s.url(), "get", "-o", "name", "@")
	id = strings.TrimSpace(id)
	slow := &slowProxy{target: s.url()}
	proxy := httptest.NewServer(slow)
	t.Cleanup(proxy.Close)
	url := proxy.URL
	cmd := tr.command(url, "cp", id+":large", "got")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	part := func() int64 {
		parts, _ := filepath.Glob(filepath.Join(tr.dir, ".got.*.part"))
		if len(parts) == 0 {
			return 0
		}
		info, err := os.Stat(parts[0])
		if err != nil {
			return 0
		}
		return info.Size()
	}
	s.wait("a part has arrived", func() bool { return part() > size/8 })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	had := part()
	if had >= size {
		t.Fatal("it was too fast")
	}
	slow.fast.Store(true)
	slow.sent.Store(0)
	tr.gojob(url, "cp", id+":large", "got")
	if sent := slow.sent.Load(); sent > size-had+1<<16 {
		t.Errorf("%d bytes came again of %d, and %d were there", sent, size, had)
	}
	tr.gojob(s.url(), "cp", id+":large", "want")
	got, _ := os.ReadFile(filepath.Join(tr.dir, "got"))
	want, _ := os.ReadFile(filepath.Join(tr.dir, "want"))
	if len(want) != size || !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
}

// slowProxy passes on requests, and stops in the middle of an output until it is fast.
type slowProxy struct {
	target string
	fast   atomic.Bool
	sent   atomic.Int64
}

// ServeHTTP implements http.Handler.
func (p *slowProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, p.target+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(err)
	}
	request.Header = r.Header
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	if strings.HasSuffix(r.URL.Path, "/large") && !p.fast.Load() {
		_, _ = io.CopyN(w, response.Body, 6<<20)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	n, _ := io.Copy(w, response.Body)
	p.sent.Add(n)
}
