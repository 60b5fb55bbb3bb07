package submit_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/platform"
)

// serveIn makes the test's program a server that stores in the directory it names, until its input
// ends.
const serveIn = "SUBMIT_TEST_SERVE_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveIn); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func serve(dir string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	env := platform.New(map[string]string{
		"STORAGE_DIR": dir, "TOKEN_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "K_SINK": "http://127.0.0.1:1",
	}, slog.New(slog.DiscardHandler))
	f, err := open(env)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	router := api.NewRouter(env.Log)
	f.Mount(router)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Println(ln.Addr())
	return (&api.Server{Log: env.Log, Wait: time.Second, Drain: env.Drain, MaxConnections: 1000}).Serve(ctx, ln, router)
}

// serverProcess starts a server in a process of its own, and returns its process and its address.
func serverProcess(t *testing.T) (pid int, url string) {
	t.Helper()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system does not tell how much memory a process has had")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program) //nolint:noctx // it ends with its input
	cmd.Env = append(os.Environ(), serveIn+"="+t.TempDir())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, "http://" + strings.TrimSpace(addr)
}

// TestMemory uploads 1 GiB to a server in a process of its own, and looks at the most memory that
// it ever had.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 1 GiB")
	}
	pid, addr := serverProcess(t)
	idle := peak(t, pid)
	const size, limit = 1 << 30, 32 << 20
	whole := encode(script(file("large", ""))...)
	body := io.MultiReader(
		strings.NewReader(strings.TrimSuffix(whole, "\r\n--"+boundary+"--\r\n")),
		io.LimitReader(zeros{}, size),
		strings.NewReader("\r\n--"+boundary+"--\r\n"),
	)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, addr+"/api/v1/jobs", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	answer, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != http.StatusCreated {
		t.Fatalf("got %s: %s (%v)", got.Status, answer, err)
	}
	after := peak(t, pid)
	t.Logf("idle %.1f MiB, after 1 GiB %.1f MiB", float64(idle)/(1<<20), float64(after)/(1<<20))
	if after-idle >= limit {
		t.Errorf("memory rose by %.1f MiB, want less than %d", float64(after-idle)/(1<<20), limit>>20)
	}
}

// TestMemoryOfEvents sends forty events at once that are as large as they may be, of the shapes
// that take the most memory to read.
func TestMemoryOfEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 160 MiB")
	}
	pid, url := serverProcess(t)
	w := &world{t: t, server: &httptest.Server{URL: url}}
	w.put("a", "", script(field("args", `["$.data[0]","$..none"]`))...)
	idle := peak(t, pid)
	const clients, size = 40, 4<<20 - 1000
	fill := func(element string) string {
		return "[" + strings.Repeat(element+",", (size-2)/(len(element)+1)) + "0]"
	}
	shapes := []string{
		fill("0"), fill("[]"), fill(`{"":0}`), fill(`""`), strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		`"` + strings.Repeat("x", size) + `"`, `{"x":[` + strings.Repeat(" ", size-20) + "]}",
	}
	structured := func(data, more string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + more + `,"data":` + data[:len(data)-200] + "}"
	}
	var wait sync.WaitGroup
	for n := range clients {
		wait.Go(func() {
			data := shapes[n%len(shapes)]
			w.event("?template=a", data, eventHeader(fmt.Sprint(n))...)
			w.event("?template=a", structured(`"`+data[:len(data)-300]+`"`, ""), "Content-Type", "application/cloudevents+json")
			w.event("?template=a", structured("[0]"+strings.Repeat(" ", 300), `,"ext":`+data[:len(data)-300]), "Content-Type",
				"application/cloudevents+json")
		})
	}
	wait.Wait()
	rise := peak(t, pid) - idle
	t.Logf("memory rose by %.1f MiB: %.1f for each of the %d events of 4 MiB", float64(rise)/(1<<20),
		float64(rise)/(1<<20)/clients, clients)
	if most := int64(clients * 3 * size * memoryFactor); rise > most {
		t.Errorf("memory rose by %.1f MiB, want at most %d", float64(rise)/(1<<20), most>>20)
	}
}

// peak is the most memory that a process has had resident.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
