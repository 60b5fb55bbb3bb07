package admissiontest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/backend"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/guard/guardtest"
	"go-job-orchestrator/shared/platform"
)

// serveIn makes the test's program a server that stores in the directory that it names, until its
// input ends.
const serveIn = "ADMISSION_TEST_SERVE_IN"

// Main is the TestMain of a package that calls Process.
func Main(m *testing.M, open Opener) {
	dir := os.Getenv(serveIn)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := serveFrom(dir, open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveFrom(dir string, open Opener) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	env := platform.New(map[string]string{
		"STORAGE_DIR": dir, "TOKEN_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "K_SINK": "http://127.0.0.1:1",
	}, slog.New(slog.DiscardHandler))
	events, err := event.Open(env, nil)
	if err != nil {
		return err
	}
	keys, err := env.Keys()
	if err != nil {
		return err
	}
	f, err := open(admission.Deps{Env: env, Events: events, Backend: backend.AnyRuntime{}})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	router := api.NewRouter(env.Log).Guarded(guardtest.New(keys, events.Ledger))
	f.Mount(router)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Println(ln.Addr())
	server := &api.Server{Log: env.Log, Wait: 10 * time.Second, Drain: env.Drain, MaxConnections: 1000}
	return server.Serve(ctx, ln, router)
}

// Process starts a server in a process of its own, and returns its process and its address.
func Process(t *testing.T) (pid int, url string) {
	t.Helper()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("this system does not tell how much memory a process has had")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
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
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, "http://" + strings.TrimSpace(address)
}

// Peak is the most memory that a process has had resident.
func Peak(t *testing.T, pid int) int64 {
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
