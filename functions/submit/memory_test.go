package submit_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/platform"
)

// serveIn makes the test's program a server that stores in the directory it names, until its input ends.
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
	f, err := submit.Open(ctx, env)
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

// TestMemory uploads 1 GiB to a server in a process of its own, and looks at the most memory that it ever had.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 1 GiB")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system does not tell how much memory a process has had")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
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
	defer func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("server: %v", err)
		}
	}()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	idle := peak(t, cmd.Process.Pid)
	const size, limit = 1 << 30, 32 << 20
	whole := encode(script(file("large", ""))...)
	body := io.MultiReader(
		strings.NewReader(strings.TrimSuffix(whole, "\r\n--"+boundary+"--\r\n")),
		io.LimitReader(zeros{}, size),
		strings.NewReader("\r\n--"+boundary+"--\r\n"),
	)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+strings.TrimSpace(addr)+"/api/v1/jobs", body)
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
	after := peak(t, cmd.Process.Pid)
	t.Logf("idle %.1f MiB, after 1 GiB %.1f MiB", float64(idle)/(1<<20), float64(after)/(1<<20))
	if after-idle >= limit {
		t.Errorf("memory rose by %.1f MiB, want less than %d", float64(after-idle)/(1<<20), limit>>20)
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
