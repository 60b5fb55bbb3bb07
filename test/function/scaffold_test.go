// Package function builds the root package as func does.
package function

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The main and the module that func writes around a Go function that has New; func-go is its
// middleware.
const (
	scaffoldMain = `package main

import (
	"fmt"
	"os"

	"knative.dev/func-go/http"

	f "go-job-orchestrator"
)

func main() {
	if err := http.Start(f.New()); err != nil {
		fmt.Fprintln(os.Stderr, err.Error())
		os.Exit(1)
	}
}
`
	scaffoldModule = `module s

go 1.26.0

replace go-job-orchestrator => ROOT

require (
	go-job-orchestrator v0.0.0-00010101000000-000000000000
	knative.dev/func-go v0.21.3
)
`
)

// TestScaffold builds the function into a program of another module, and starts it without its
// settings: it must end and say which are missing.
func TestScaffold(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.go": scaffoldMain, "go.mod": strings.ReplaceAll(scaffoldModule, "ROOT", root), "go.sum": string(sums),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-tags=grpcnotrace,disable_grpc_modules", "-o",
		"f", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := exec.CommandContext(t.Context(), filepath.Join(dir, "f"))
	run.Env = []string{"LISTEN_ADDRESS=127.0.0.1:0", "STORAGE_DIR=" + t.TempDir(), "MAX_FILES=many"}
	out, err := run.CombinedOutput()
	if err == nil {
		t.Fatalf("it ran without settings: %s", out)
	}
	for _, name := range []string{"TOKEN_KEYS", "MAX_FILES"} {
		if !strings.Contains(string(out), name) {
			t.Errorf("it does not say what is wrong with %s: %s", name, out)
		}
	}
}
