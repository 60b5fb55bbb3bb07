package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The way the images are built; see ko.yaml and the Makefile.
const (
	tags    = "grpcnotrace,disable_grpc_modules"
	ldflags = "-s -w"
)

func (b *bench) build(ctx context.Context) error {
	if err := compile(ctx, b.module, b.bin, tags, "./functions/cmd/...", "./cmd/gojob"); err != nil {
		return err
	}
	return compile(ctx, filepath.Join(b.module, "test", "bench", "rivals"), b.bin, "", "./...")
}

// compile builds packages of the module in dir into the folder to.
func compile(ctx context.Context, dir, to, tags string, packages ...string) error {
	args := []string{"build", "-C", dir, "-trimpath", "-ldflags=" + ldflags, "-tags=" + tags, "-o", to + "/"}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", strings.Join(packages, " "), err, out)
	}
	return nil
}

// command returns the path of something that was built.
func (b *bench) command(name string) string { return filepath.Join(b.bin, name) }

// errMissing is wrapped in errors about rivals that cannot be installed.
var errMissing = errors.New("cannot be had here")

// installed returns the path of a program. If it is missing, and if possible, it is installed from
// a Debian package.
func installed(ctx context.Context, program, debian string) (string, error) {
	if path, err := find(program); err == nil {
		return path, nil
	}
	cmd := exec.CommandContext(ctx, "apt-get", "install", "-y", "-qq", "--no-install-recommends", debian)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s %w: apt-get install %s: %w: %s", program, errMissing, debian, err, lastLine(out))
	}
	return find(program)
}

// find is LookPath, also where only root looks.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", program))
}

// output runs a program and returns what it printed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var failed *exec.ExitError
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, lastLine(failed.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
