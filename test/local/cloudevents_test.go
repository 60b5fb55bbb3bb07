package local

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
)

// sdk is a folder with the CloudEvents project's own SDK for JavaScript and the scripts that use
// it.
var sdk = sync.OnceValues(installSDK)

// installSDK installs what package-lock.json says, once for all runs of the tests on this machine.
func installSDK() (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s is needed: the SDK of the CloudEvents project speaks to this one in the tests: %w", tool,
				err)
		}
	}
	lock, err := os.ReadFile("cloudevents/package-lock.json")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(cache, "go-job-orchestrator", "sdk-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err != nil {
		if err := install(dir); err != nil {
			return "", err
		}
	}
	return dir, copyFiles(dir, "send.mjs", "receive.mjs")
}

func install(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "sdk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := copyFiles(temp, "package.json", "package-lock.json"); err != nil {
		return err
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = temp
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(temp, dir); err != nil && !os.IsExist(err) {
		if _, statErr := os.Stat(dir); statErr != nil { // else another run was faster
			return err
		}
	}
	return nil
}

func copyFiles(dir string, names ...string) error {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("cloudevents", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func node(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	dir, err := sdk()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", script)
	cmd.Dir = dir
	return cmd
}

// answer is what the sender got.
type answer struct {
	Status               int
	Location, Link, Body string
}

// send has the SDK send events.
func send(t *testing.T, url, mode string, events ...map[string]any) answer {
	t.Helper()
	input, err := json.Marshal(map[string]any{"url": url, "mode": mode, "events": events})
	if err != nil {
		t.Fatal(err)
	}
	cmd := node(t, "send.mjs")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("send.mjs: %v", err)
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return a
}

// received is an event of the server, as the SDK decoded it.
type received struct {
	Error, ID, Type, Source, Subject, Time, Traceparent, Template string
	Data                                                          map[string]any
}

func (r received) step() string {
	return strings.TrimSuffix(strings.TrimPrefix(r.Type, "io.github.go-job-orchestrator.job."), ".v1")
}

// receiver is the SDK waiting for events.
type receiver struct {
	url  string
	mu   sync.Mutex
	list []received
}

// receive starts a receiver on a port, or on any when that is 0.
func receive(t *testing.T, port string) *receiver {
	t.Helper()
	cmd := node(t, "receive.mjs")
	cmd.Env = append(os.Environ(), "PORT="+port)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("receive.mjs: %v", err)
	}
	r := &receiver{url: "http://127.0.0.1:" + strings.TrimSpace(first)}
	go func() {
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var e received
			if err := json.Unmarshal(line, &e); err != nil {
				e.Error = err.Error() + ": " + string(line)
			}
			r.mu.Lock()
			r.list = append(r.list, e)
			r.mu.Unlock()
		}
	}()
	return r
}

// of returns the events about a job, by step.
func (r *receiver) of(t *testing.T, id string) map[string]received {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	steps := map[string]received{}
	for _, e := range r.list {
		if e.Error != "" {
			t.Fatalf("the SDK refused an event: %s", e.Error)
		}
		if e.Subject != id || e.Type == event.Audit {
			continue
		}
		if before, twice := steps[e.step()]; twice && before.ID != e.ID {
			t.Errorf("%s came twice with the IDs %s and %s", e.Type, before.ID, e.ID)
		}
		steps[e.step()] = e
	}
	return steps
}

// until waits for steps of a job, and demands that there are no others.
func (r *receiver) until(t *testing.T, id string, steps ...string) map[string]received {
	t.Helper()
	until(t, fmt.Sprintf("%s of job %s are announced", steps, id), func() bool { return len(r.of(t, id)) >= len(steps) })
	got := r.of(t, id)
	slices.Sort(steps)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, steps) {
		t.Errorf("job %s: got %v, want %v", id, names, steps)
	}
	return got
}

// template is one that was put.
type template struct {
	s           *server
	name, Owner string
}

func (s *server) put(name string, f form) template {
	s.t.Helper()
	body, contentType := f.encode()
	data := s.request(http.MethodPut, "/api/v1/templates/"+name, body, contentType)
	made := template{s: s, name: name}
	if err := json.Unmarshal(data, &made); err != nil || made.Owner == "" || bytes.Contains(data, []byte(`"token"`)) {
		s.t.Fatalf("put %s: %v: %s", name, err, data)
	}
	return made
}

// request makes a request as the caller, which must succeed.
func (s *server) request(method, path string, body []byte, contentType string) []byte {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		s.t.Fatalf("%s %s: %s, %v\n%s", method, path, resp.Status, err, data)
	}
	return data
}

// job returns a job with its token, by its path.
func (s *server) job(path string) *sent {
	s.t.Helper()
	j := &sent{s: s, ID: strings.TrimPrefix(path, "/api/v1/jobs/")}
	if err := json.Unmarshal(s.request(http.MethodGet, path+"/token", nil, ""), j); err != nil || j.Token == "" {
		s.t.Fatalf("token of %s: %q, %v", path, j.Token, err)
	}
	return j
}

// start starts a job by hand.
func (m template) start() *sent {
	m.s.t.Helper()
	j := &sent{s: m.s}
	if err := json.Unmarshal(m.s.request(http.MethodPost, "/api/v1/templates/"+m.name+"/jobs", nil, ""), j); err != nil {
		m.s.t.Fatal(err)
	}
	return j
}

const keepEvent = "cp event.json \"$OUTPUT_DIR\"; test ! -e event.data || cp event.data \"$OUTPUT_DIR\"; echo " +
	"\"$CE_TYPE $CE_ID $*\"\n"

// TestEventsOfAnotherSDK has the JavaScript SDK start jobs in each mode.
func TestEventsOfAnotherSDK(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	s.put("keep", script(keepEvent, `args=["$.data.name","$.subject"]`))
	s.put("bytes", script(keepEvent))
	event := func(id string, data any) map[string]any {
		return map[string]any{"id": id, "source": "/javascript", "type": "com.example.uploaded", "subject": "a b",
			"data": data, "datacontenttype": "application/json"}
	}
	for _, mode := range []string{"binary", "structured"} {
		t.Run(mode, func(t *testing.T) {
			first := send(t, s.url+"/events?template=keep", mode, event(mode, map[string]any{"name": "Zoë", "n": 1.5}))
			again := send(t, s.url+"/events?template=keep", mode, event(mode, map[string]any{"name": "Zoë", "n": 1.5}))
			if first.Status != http.StatusAccepted || first.Body != "" || again != first {
				t.Fatalf("got %+v, then %+v", first, again)
			}
			j := s.job(first.Location)
			must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
			if got := j.logs("stream=stdout"); got != "com.example.uploaded "+mode+" Zoë a b\n" {
				t.Errorf("log: got %q", got)
			}
			var data map[string]any
			if err := json.Unmarshal([]byte(j.output("event.data")), &data); err != nil || data["name"] != "Zoë" {
				t.Errorf("event.data: %v, %v", data, err)
			}
			var document struct{ Data, Subject any }
			if err := json.Unmarshal([]byte(j.output("event.json")), &document); err != nil || document.Subject != "a b" {
				t.Errorf("event.json: %v, %v", document, err)
			}
		})
		t.Run(mode+" bytes", func(t *testing.T) {
			want := "\x00\x01\xff\xfe\r\n\x80"
			e := event(mode+" bytes", nil)
			delete(e, "data")
			e["datacontenttype"], e["base64"] = "application/octet-stream", base64.StdEncoding.EncodeToString([]byte(want))
			got := send(t, s.url+"/events?template=bytes", mode, e)
			if got.Status != http.StatusAccepted {
				t.Fatalf("got %+v", got)
			}
			j := s.job(got.Location)
			must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
			if data := j.output("event.data"); data != want {
				t.Errorf("event.data: got %q, want %q", data, want)
			}
		})
	}
	t.Run("batch", func(t *testing.T) {
		got := send(t, s.url+"/events?template=keep", "batch", event("b1", map[string]any{"name": "1"}),
			event("b2", map[string]any{"name": "2"}))
		paths := strings.Split(got.Link, ", ")
		if got.Status != http.StatusAccepted || len(paths) != 2 || paths[0] == paths[1] {
			t.Fatalf("got %+v", got)
		}
		for i, path := range paths {
			path, _, _ = strings.Cut(strings.TrimPrefix(path, "<"), ">")
			j := s.job(path)
			j.wait()
			if got, want := j.logs(""), fmt.Sprintf("com.example.uploaded b%d %d a b\n", i+1, i+1); got != want {
				t.Errorf("log: got %q, want %q", got, want)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		if got := send(t, s.url+"/events?template=none", "binary",
			event("x", map[string]any{})); got.Status != http.StatusNotFound {
			t.Errorf("unknown template: got %+v", got)
		}
		if got := send(t, s.url+"/events?template=keep", "structured",
			event("x", map[string]any{})); got.Status != http.StatusUnprocessableEntity {
			t.Errorf("missing part: got %+v", got)
		}
	})
}

const traceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// TestEventsToAnotherSDK has the JavaScript SDK receive what jobs announce.
func TestEventsToAnotherSDK(t *testing.T) {
	t.Parallel()
	r := receive(t, "0")
	s := start(t, t.TempDir(), "K_SINK="+r.url, "MAX_CONCURRENT_JOBS=4")
	traced := script("echo $TRACEPARENT; exit 0", `args=["a"]`)
	traced.header = map[string]string{"Traceparent": traceParent}
	succeeded := s.submit(traced)
	failed := s.submit(script("exit 3"))
	cancelled := s.submit(script("echo up; exec sleep 600"))
	cancelled.running("up")
	cancelled.call(http.MethodPost, cancelled.path()+"/cancel")

	got := r.until(t, succeeded.ID, "submitted", "started", "succeeded")
	for step, phase := range map[string]string{"submitted": "Pending", "started": "Running", "succeeded": "Succeeded"} {
		e := got[step]
		if e.Data["phase"] != phase || e.Data["jobID"] != succeeded.ID || e.Traceparent != traceParent ||
			e.ID != succeeded.ID+"."+e.Type {
			t.Errorf("%s: got %+v", step, e)
		}
		if text, _ := json.Marshal(e); bytes.Contains(text, []byte(succeeded.Token)) ||
			bytes.Contains(text, []byte(`"token"`)) {
			t.Errorf("%s has a token: %s", step, text)
		}
	}
	_, data := succeeded.call(http.MethodGet, succeeded.path())
	var status map[string]any
	if err := json.Unmarshal(data, &status); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(status)
	b, _ := json.Marshal(got["succeeded"].Data)
	if !bytes.Equal(a, b) {
		t.Errorf("data of the end:\n%s, want what the API answers:\n%s", b, a)
	}
	if log := succeeded.logs(""); log != traceParent+"\n" {
		t.Errorf("TRACEPARENT: got %q", log)
	}
	if e := r.until(t, failed.ID, "submitted", "started", "failed")["failed"]; e.Data["exitCode"] != 3.0 {
		t.Errorf("failed: got %+v", e)
	}
	r.until(t, cancelled.ID, "submitted", "started", "cancelled")
	succeeded.call(http.MethodDelete, succeeded.path())
	r.until(t, succeeded.ID, "submitted", "started", "succeeded", "reaped")
}

// TestSinkThatIsDown lets jobs begin, end and be removed while the sink is down, and kills the
// server. All events must arrive once the sink is up.
func TestSinkThatIsDown(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := start(t, t.TempDir(), "K_SINK=http://127.0.0.1:"+port)
	ended, removed := s.submit(script("true")), s.submit(script("exit 1"))
	must(t, ended.wait(), job.Succeeded, job.ReasonCompleted)
	must(t, removed.wait(), job.Failed, job.ReasonError)
	removed.call(http.MethodDelete, removed.path())
	if !removed.gone() {
		t.Error("the job stays until somebody hears of it")
	}
	s.kill()
	r := receive(t, port)
	s.start()
	r.until(t, ended.ID, "submitted", "started", "succeeded")
	r.until(t, removed.ID, "submitted", "started", "failed", "reaped")
}

// listener is a sink that takes a while for each event.
type listener struct {
	*httptest.Server
	takes         time.Duration
	mu            sync.Mutex
	heard         map[string]int // by type and job
	sending, most int
}

func newListener(t *testing.T, takes time.Duration) *listener {
	l := &listener{takes: takes, heard: map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.sending++
		l.most = max(l.most, l.sending)
		l.mu.Unlock()
		time.Sleep(l.takes)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sending--
		if r.Header.Get("Ce-Type") == event.Audit { // these are about calls
			return
		}
		l.heard[r.Header.Get("Ce-Type")+" "+r.Header.Get("Ce-Subject")]++
	}))
	t.Cleanup(l.Close)
	return l
}

// of returns how often the steps of a job were announced, and of how many kinds all events were.
func (l *listener) of(id string) (steps map[string]int, kinds int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	steps = map[string]int{}
	for _, step := range []string{"submitted", "started", "succeeded"} {
		steps[step] = l.heard["io.github.go-job-orchestrator.job."+step+".v1 "+id]
	}
	return steps, len(l.heard)
}

// TestSlowListener has a sink that takes a second for each event. It must receive every event of
// every job, once.
func TestSlowListener(t *testing.T) {
	t.Parallel()
	l := newListener(t, time.Second)
	s := start(t, t.TempDir(), "K_SINK="+l.URL, "MAX_CONCURRENT_JOBS=4", "REAP_INTERVAL=1s")
	jobs := make([]*sent, 30)
	for i := range jobs {
		jobs[i] = s.submit(script("true"))
	}
	for _, j := range jobs {
		must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	}
	s.until("all steps of all jobs are announced", func() bool { _, n := l.of(""); return n == 3*len(jobs) })
	for _, j := range jobs {
		steps, _ := l.of(j.ID)
		if want := map[string]int{"submitted": 1, "started": 1, "succeeded": 1}; !maps.Equal(steps, want) {
			t.Errorf("job %s: announced %v, want each step once", j.ID, steps)
		}
	}
	if l.most > 64 {
		t.Errorf("%d events were sent at a time", l.most)
	}
}

// TestQueuedJobsAreAnnouncedOnce has jobs wait for longer than the reaper takes an event to be
// lost.
func TestQueuedJobsAreAnnouncedOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for 40 s")
	}
	l := newListener(t, 0)
	s := start(t, t.TempDir(), "K_SINK="+l.URL, "MAX_CONCURRENT_JOBS=1", "REAP_INTERVAL=100ms")
	first := s.submit(script("exec sleep 40")) // after 30 s an event counts as lost
	waiting := s.submit(script("true"))
	must(t, first.wait(), job.Succeeded, job.ReasonCompleted)
	must(t, waiting.wait(), job.Succeeded, job.ReasonCompleted)
	s.until("its end is announced", func() bool { steps, _ := l.of(waiting.ID); return steps["succeeded"] > 0 })
	steps, kinds := l.of(waiting.ID)
	if want := map[string]int{"submitted": 1, "started": 1, "succeeded": 1}; !maps.Equal(steps, want) || kinds > 6 {
		t.Errorf("announced %v, and %d kinds of events in all; want each step once, and nothing else", steps, kinds)
	}
}

const succeededType = "io.github.go-job-orchestrator.job.succeeded.v1"

// broker delivers every event to each Trigger that matches: late, several times, in any order, and
// again when the receiver asks for it.
type broker struct {
	t        *testing.T
	mu       sync.Mutex
	refuse   int // so many ends are lost before any is taken
	triggers []func(http.Header) string
	wait     sync.WaitGroup
	statuses map[int]int
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Error(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse > 0 && r.Header.Get("Ce-Type") == succeededType {
		b.refuse--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for _, trigger := range b.triggers {
		url := trigger(r.Header)
		if url == "" {
			continue
		}
		for range 3 {
			b.wait.Go(func() { b.deliver(url, r.Header, body) })
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// deliver delivers until the receiver has accepted the event or has refused it for good.
func (b *broker) deliver(url string, header http.Header, body []byte) {
	for range 50 {
		req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			b.t.Error(err)
			return
		}
		req.Header = header.Clone()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		answered, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		b.mu.Lock()
		b.statuses[resp.StatusCode]++
		b.mu.Unlock()
		switch code := resp.StatusCode; {
		case code < http.StatusMultipleChoices:
			if len(answered) > 0 {
				b.t.Errorf("a Broker would take the body of a %d for an event: %q", code, answered)
			}
			if rand.IntN(2) == 0 { // its acknowledgement is lost
				continue
			}
			return
		case code == http.StatusNotFound, code == http.StatusConflict, code == http.StatusTooManyRequests,
			code >= http.StatusInternalServerError:
		default:
			b.t.Errorf("delivery to %s: %s: %s", url, resp.Status, answered)
			return
		}
	}
}

// TestChainThroughABroker has the end of each job of one template start one of the next, through a
// Broker that does its worst.
func TestChainThroughABroker(t *testing.T) {
	t.Parallel()
	b := &broker{t: t, statuses: map[int]int{}, refuse: 2}
	outside := httptest.NewServer(b)
	defer outside.Close()
	s := start(t, t.TempDir(), "K_SINK="+outside.URL, "MAX_CONCURRENT_JOBS=4")
	b.mu.Lock()
	b.triggers = append(b.triggers, func(h http.Header) string { // what a Trigger says in YAML
		if h.Get("Ce-Type") != succeededType || h.Get("Ce-Template") != "count" {
			return ""
		}
		return s.url + "/events?template=sum&withOutputs=true"
	})
	b.mu.Unlock()
	count := s.put("count", script(`mkdir "$OUTPUT_DIR/deep"; echo "$JOB_ID" > "$OUTPUT_DIR/deep/number"`))
	s.put("sum", script(`cat inputs/deep/number; echo "$1"`, `args=["$.data.jobID"]`))
	want := map[string]bool{}
	for range 5 {
		j := count.start()
		want[j.ID+"\n"+j.ID+"\n"] = true
	}
	type page struct {
		Items []struct{ JobID, Phase string }
	}
	var second page
	s.until("five jobs of the second template have succeeded", func() bool {
		data := s.request(http.MethodGet, "/api/v1/jobs?label=go-job-orchestrator/template=sum&phase=Succeeded&limit=500",
			nil, "")
		if err := json.Unmarshal(data, &second); err != nil {
			t.Fatal(err)
		}
		return len(second.Items) >= len(want)
	})
	b.wait.Wait()
	var all page
	if err := json.Unmarshal(s.request(http.MethodGet, "/api/v1/jobs?label=go-job-orchestrator/template=sum&limit=500",
		nil, ""), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Items) != len(want) {
		t.Errorf("%d jobs of the second template, want %d; the Broker got %v", len(all.Items), len(want), b.statuses)
	}
	for _, item := range all.Items {
		log := s.job("/api/v1/jobs/" + item.JobID).logs("")
		if !want[log] {
			t.Errorf("log: got %q", log)
		}
		delete(want, log)
	}
}
