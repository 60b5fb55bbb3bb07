package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
)

// Trust has the client trust a server of a test.
func (c *Client) Trust(certificate *x509.Certificate) {
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}
