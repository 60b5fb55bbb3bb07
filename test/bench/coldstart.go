package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// coldStart measures what it costs to start a function: the CPU time from exec to the first 200,
// and the memory in use then.
func coldStart(ctx context.Context, r *room) ([]line, error) {
	var all []line
	for _, f := range []struct {
		name   string
		limit  float64
		missed string
	}{
		{"logs", 1.6, bucketCosts}, {"outputs", 1.6, bucketCosts},
		{"artifacts", 1.6, bucketCosts + ", and the CloudEvents SDK its own"},
		{"front", 2.2, "it links what looks at callers, and Prometheus' client library"},
		{"launch", 1.9, bucketCosts + ", the CloudEvents SDK and client-go theirs"},
	} {
		root, err := r.pod(f.name, r.command(f.name))
		if err != nil {
			return nil, err
		}
		lines, err := r.starts(ctx, f.name, root, f.limit, f.missed)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// bucketCosts is why a function cannot start like a server that does nothing.
const bucketCosts = "gocloud.dev/blob links gRPC, protobuf and OpenTelemetry, whose packages make their tables at " +
	"every start"

// coldStartDriver measures the same of functions that have the driver of one cloud linked, which
// they do not use.
func coldStartDriver(ctx context.Context, r *room) ([]line, error) {
	if _, err := os.Stat(filepath.Join(r.module, "shared", "store", "drivers")); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no driver of a cloud yet")
	}
	var all []line
	for _, d := range []struct {
		tag   string
		limit float64
	}{{"s3", 2}, {"gs", 2.5}, {"azblob", 2}} {
		bin, err := r.folder(d.tag)
		if err != nil {
			return nil, err
		}
		if err := compile(ctx, r.module, bin, tags+","+d.tag, "./functions/cmd/logs"); err != nil {
			return nil, err
		}
		root, err := r.pod(d.tag, filepath.Join(bin, "logs"))
		if err != nil {
			return nil, err
		}
		lines, err := r.starts(ctx, "logs with "+d.tag, root, d.limit, "the cloud's own client has its tables to make")
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// starts has the function in a pod and a bare server in the same pod start in turn.
func (r *room) starts(ctx context.Context, name, root string, limit float64, missed string) ([]line, error) {
	vars, err := functionVars()
	if err != nil {
		return nil, err
	}
	c, err := r.contest(ctx,
		func(ctx context.Context) ([]float64, error) {
			return r.startOnce(ctx, spec{path: "/function", root: root, vars: vars})
		},
		func(ctx context.Context) ([]float64, error) {
			return r.startOnce(ctx, spec{path: "/nethttp", root: root, vars: vars})
		},
	)
	if err != nil {
		return nil, err
	}
	return c.lines(
		figure{what: "cold start of " + name + ", CPU", against: "bare net/http", rival: 1, index: 0, unit: milliseconds,
			limit: limit, missed: missed},
		figure{what: "memory of " + name + " after the first answer", against: "bare net/http", rival: 1, index: 1,
			unit: mebibytes, limit: 2, missed: missed},
	), nil
}

// startOnce starts a server up to its first 200 and returns what that took of CPU and memory.
func (r *room) startOnce(ctx context.Context, s spec) ([]float64, error) {
	p, err := r.serve(ctx, s)
	if err != nil {
		return nil, err
	}
	memory, err := p.resident()
	if err := errors.Join(err, p.kill()); err != nil {
		return nil, err
	}
	return []float64{p.used(), memory}, nil
}

// functionVars are the settings of a function in a cluster whose API server and Broker are not
// there.
func functionVars() (map[string]string, error) {
	key, err := tokenKey()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"STORAGE_DIR": "/data", "TOKEN_KEYS": key, "AUTH": "open", "K_SINK": "http://127.0.0.1:1", "NAMESPACE": "bench",
		"AGENT_IMAGE":             "agent",
		"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1", "TMPDIR": "/tmp",
	}, nil
}

// pod makes a root directory as a container has it, with a function, a bare server, and what
// Kubernetes gives a pod.
func (r *room) pod(name, function string) (root string, err error) {
	if root, err = r.folder(name); err != nil {
		return "", err
	}
	account := filepath.Join(root, "var", "run", "secrets", "kubernetes.io", "serviceaccount")
	for _, dir := range []string{account, filepath.Join(root, "data"), filepath.Join(root, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	authority, err := certificate()
	if err != nil {
		return "", err
	}
	return root, errors.Join(
		copyFile(filepath.Join(root, "function"), function),
		copyFile(filepath.Join(root, "nethttp"), r.command("nethttp")),
		os.WriteFile(filepath.Join(account, "token"), []byte("none"), 0o600),
		os.WriteFile(filepath.Join(account, "ca.crt"), authority, 0o600),
	)
}

// certificate returns one of the kind that the API server's are verified with.
func certificate() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// copyFile copies an executable.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
