package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// errNoCluster is why rows about a cluster are not measured elsewhere.
var errNoCluster = errors.New("KUBECONFIG names no cluster")

// cluster is a namespace of the cluster that KUBECONFIG names, made for one row.
type cluster struct {
	*room
	namespace string
	server    *url.URL // of the API
	authority []byte   // PEM
	token     string   // of a ServiceAccount that may make Jobs and Secrets in the namespace, like launch's
	client    *http.Client
}

// newCluster makes a namespace, which goes when the row is done.
func (r *room) newCluster(ctx context.Context) (*cluster, error) {
	if os.Getenv("KUBECONFIG") == "" {
		return nil, errNoCluster
	}
	c := &cluster{room: r, namespace: "bench-" + strings.ToLower(rand.Text()[:8])}
	if _, err := kubectl(ctx, "create", "namespace", c.namespace); err != nil {
		return nil, err
	}
	r.atEnd(func() error {
		_, err := kubectl(context.WithoutCancel(ctx), "delete", "namespace", c.namespace, "--wait=false")
		return err
	})
	return c, nil
}

func kubectl(ctx context.Context, args ...string) (string, error) {
	return output(ctx, "kubectl", args...)
}

// in runs kubectl in the namespace.
func (c *cluster) in(ctx context.Context, args ...string) (string, error) {
	return kubectl(ctx, append([]string{"-n", c.namespace}, args...)...)
}

// login makes the ServiceAccount and a client of the API server that speaks for it.
func (c *cluster) login(ctx context.Context) error {
	for _, args := range [][]string{
		{"create", "serviceaccount", "launch"},
		{"create", "role", "launch", "--verb=create,get,list,deletecollection", "--resource=jobs.batch,secrets"},
		{"create", "rolebinding", "launch", "--role=launch", "--serviceaccount=" + c.namespace + ":launch"},
	} {
		if _, err := c.in(ctx, args...); err != nil {
			return err
		}
	}
	token, tokenErr := c.in(ctx, "create", "token", "launch", "--duration=1h")
	address, addressErr := kubectl(ctx, "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
	authority, err := kubectl(ctx, "config", "view", "--minify", "--flatten", "-o",
		"jsonpath={.clusters[0].cluster.certificate-authority-data}")
	if err := errors.Join(tokenErr, addressErr, err); err != nil {
		return err
	}
	c.token = token
	if c.server, err = url.Parse(address); err != nil {
		return fmt.Errorf("address of the API server: %w", err)
	}
	if net.ParseIP(c.server.Hostname()) == nil {
		return fmt.Errorf("the API server is %s; a function in a jail finds it by an IP address only", address)
	}
	if c.authority, err = base64.StdEncoding.DecodeString(authority); err != nil {
		return fmt.Errorf("certificate of the API server: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.authority)
	c.client = newClient(launchesAtATime)
	c.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return nil
}

// api is a call of the API server about objects of the namespace.
func (c *cluster) api(method, resource string, want int) request {
	path := "/api/v1"
	if resource == "jobs" {
		path = "/apis/batch/v1"
	}
	return request{
		method: method, url: c.server.String() + path + "/namespaces/" + c.namespace + "/" + resource, token: c.token,
		header: map[string]string{"Content-Type": "application/json"}, want: want,
	}
}
