//go:build s3 && gs && azblob

// Package buckets runs everything that depends on the bucket against real servers of S3, Google
// Cloud Storage and Azure Blob Storage, which it installs and starts itself: versitygw and
// fake-gcs-server from the Go module proxy, azurite from npm. make buckets runs it.
package buckets

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob"

	"go-job-orchestrator/shared/store"
	"go-job-orchestrator/shared/store/drivers"
)

// The servers.
const (
	versitygw = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	fakeGCS   = "github.com/fsouza/fake-gcs-server@v1.56.1"
	azurite   = "azurite@3.35.0"
)

// The keys of servers that listen on this machine only. Azurite's is its own, which its
// documentation tells.
const (
	accessKey      = "jobs"
	secretKey      = "jobs-secret"
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// server is a real server of one kind of bucket.
type server struct {
	name string
	// args start it; address is where it is to listen, dir a folder of its own.
	args func(programs, dir, address string) []string
	// create makes a bucket there.
	create func(ctx context.Context, address, name string) error
	// url is that of a bucket by way of an address.
	url func(address, name string) string

	direct string // its own address
	proxy  *proxy // what all tests go through
}

func servers() []*server {
	return []*server{
		{
			name: "s3",
			args: func(programs, dir, address string) []string {
				return []string{filepath.Join(programs, "versitygw"), "--port", address, "--access", accessKey, "--secret",
					secretKey, "--quiet", "posix", dir}
			},
			create: createS3,
			url: func(address, name string) string {
				return "s3://" + name + "?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape("http://"+address)
			},
		},
		{
			name: "gs",
			args: func(programs, _, address string) []string {
				host, port, _ := net.SplitHostPort(address)
				return []string{
					filepath.Join(programs, "fake-gcs-server"), "-scheme", "http", "-host", host, "-port", port, "-backend", "memory",
					"-external-url", "http://" + address, "-public-host", address, "-log-level", "error",
				}
			},
			create: createGS,
			url: func(_, name string) string {
				return "gs://" + name + "?access_id=jobs@example.com&private_key_path=" + url.QueryEscape(os.Getenv("TEST_GS_KEY"))
			},
		},
		{
			name: "azblob",
			args: func(programs, _, address string) []string {
				host, port, _ := net.SplitHostPort(address)
				return []string{
					"node", filepath.Join(programs, "node_modules", "azurite", "dist", "src", "blob", "main.js"), "--blobHost", host,
					"--blobPort", port,
					"--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence",
				}
			},
			create: createAzure,
			url: func(address, name string) string {
				return "azblob://" + name + "?protocol=http&localemu=true&storage_account=" + azuriteAccount + "&domain=" +
					url.QueryEscape(address)
			},
		},
	}
}

func createS3(ctx context.Context, address, name string) error {
	b, err := blob.OpenBucket(ctx, "s3://"+name+"?region=us-east-1&use_path_style=true&endpoint="+
		url.QueryEscape("http://"+address))
	if err != nil {
		return err
	}
	defer b.Close()
	var client *s3.Client
	b.As(&client)
	_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(name)})
	return err
}

func createGS(ctx context.Context, address, name string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/storage/v1/b?project=test",
		strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func createAzure(ctx context.Context, address, name string) error {
	cred, err := azblob.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		return err
	}
	client, err := azblob.NewClientWithSharedKeyCredential("http://"+address+"/"+azuriteAccount, cred, nil)
	if err != nil {
		return err
	}
	_, err = client.CreateContainer(ctx, name, nil)
	return err
}

// running is the servers of this process, by name.
var running = map[string]*server{} //nolint:gochecknoglobals // set by TestMain, which starts and ends them

// TestMain starts the servers, and ends them after the tests.
func TestMain(m *testing.M) { os.Exit(withServers(m.Run)) }

func withServers(run func() int) int {
	dir, err := os.MkdirTemp("", "buckets-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := setCredentials(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	programs, err := installed()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, s := range servers() {
		stop, err := s.start(programs, filepath.Join(dir, s.name))
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
			return 1
		}
		defer stop()
		s.proxy = newProxy(s.direct, s.name != "gs")
		defer s.proxy.Close()
		running[s.name] = s
	}
	// The one way to tell the client of gs where to go.
	if err := os.Setenv("STORAGE_EMULATOR_HOST", running["gs"].proxy.address()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// setCredentials gives the clients, which look into the environment, what opens the servers.
func setCredentials(dir string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "gs-key.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_EC2_METADATA_DISABLED": "true",
		"AZURE_STORAGE_ACCOUNT": azuriteAccount, "AZURE_STORAGE_KEY": azuriteKey, "TEST_GS_KEY": file,
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// installed returns the folder with the servers, which are installed if they are not yet.
func installed() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "go-job-orchestrator", "test-servers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, install := range []struct {
		made string
		args []string
	}{
		{"versitygw-v1.8.0", []string{"go", "install", versitygw}},
		{"fake-gcs-server-v1.56.1", []string{"go", "install", fakeGCS}},
		{"azurite-3.35.0", []string{"npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", dir, azurite}},
	} {
		done := filepath.Join(dir, install.made)
		if _, err := os.Stat(done); err == nil {
			continue
		}
		cmd := exec.Command(install.args[0], install.args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", strings.Join(install.args, " "), err, bytes.TrimSpace(out))
		}
		if err := os.WriteFile(done, nil, 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// start starts the server on a free port and waits until it answers.
func (s *server) start(programs, dir string) (stop func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.direct = free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	args := s.args(programs, dir, s.direct)
	var output bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	stop = func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.direct)
		if err == nil {
			return stop, conn.Close()
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("%s ended: %s", args[0], output.String())
		default:
		}
		if time.Now().After(end) {
			stop()
			return nil, fmt.Errorf("%s does not listen: %w", args[0], err)
		}
	}
}

// each runs a test with every kind of bucket.
func each(t *testing.T, test func(t *testing.T, s *server)) {
	for _, name := range []string{"s3", "gs", "azblob"} {
		t.Run(name, func(t *testing.T) { test(t, running[name]) })
	}
}

// bucket makes a bucket and returns its name.
func (s *server) bucket(t *testing.T) string {
	t.Helper()
	name := "b" + strings.ToLower(rand.Text())
	if err := s.create(t.Context(), s.direct, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// open opens a bucket, or the part of one below a prefix.
func (s *server) open(t *testing.T, name, prefix string) *store.Store {
	t.Helper()
	address := s.url(s.proxy.address(), name)
	if prefix != "" {
		address += "&prefix=" + url.QueryEscape(prefix)
	}
	opened, err := drivers.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// fresh opens a new bucket.
func (s *server) fresh(t *testing.T) *store.Store {
	t.Helper()
	return s.open(t, s.bucket(t), "")
}
