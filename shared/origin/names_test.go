package origin_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"go-job-orchestrator/shared/origin"
)

func open(t *testing.T, c origin.Config) *origin.Names {
	t.Helper()
	n, err := origin.NewNames(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNamesOfAnyServer(t *testing.T) {
	n := open(t, origin.Config{BaseURL: "http://job-orchestrator:8080"})
	here := &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 8080}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST": true, "LocalHost:1": true, "localhost.": true,
		"localhost:":  true,
		"a.localhost": true, "a.b.localhost.:80": true, "127.0.0.1": true, "127.0.0.1:8080": true, "127.255.255.254": true,
		"127.0.0.1.": true,
		"[::1]":      true, "[::1]:8080": true, "[0:0:0:0:0:0:0:1]": true, "[::ffff:127.0.0.1]:80": true, "[::1%25lo]": true,
		"[::1%lo]":  true,
		"192.0.2.7": true, "192.0.2.7:9": true, "[::ffff:192.0.2.7]": true, "job-orchestrator": true,
		"Job-Orchestrator:8080": true,
		"localhost:65535":       true, "localhost:65536": false, "localhost:-1": false, "localhost:+80": false,
		"localhost:http": false, "localhost:80:80": false,
		"": false, ":8080": false, ".": false, "..": false, "localhost..": false, ".localhost": false, "a..localhost": false,
		"evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "evil-localhost": false,
		"localhostx":             false,
		"127.0.0.1.evil.example": false, "127.1": false, "0x7f.0.0.1": false, "0177.0.0.1": false, "2130706433": false,
		"127.0.0.01": false,
		"128.0.0.1":  false, "0.0.0.0": false, "[::]": false, "192.0.2.8": false, "[::2]": false, "[fe80::1]": false,
		"::1": false, "::1:8080": false,
		"[::1": false, "[::1]8080": false, "[::1]:x": false, "[localhost]": false, "[127.0.0.1]": false, "[]": false,
		"[":              false,
		"user@localhost": false, "localhost@evil.example": false, "localhost/": false, "localhost#": false,
		"localhost,evil.example": false,
		"localhost evil.example": false, "lоcalhost": false, "ｌocalhost": false, "job-orchestraK": false,
		"localhost\x00":                 false,
		"job-orchestrator.evil.example": false, "*": false, "*.localhost": false, strings.Repeat("a.", 200) +
			"localhost": false,
		strings.Repeat("a", 64) + ".localhost": false, "xn--lcalhost-54a": false,
	} {
		if got := n.Has(host, here); got != want {
			t.Errorf("Has(%q) = %t; want %t", host, got, want)
		}
	}
	if n.Has("192.0.2.7", nil) {
		t.Error("an address passes for that of a connection of which nothing is known")
	}
	zoned := &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}
	for host, want := range map[string]bool{"[fe80::1]": true, "[fe80::1%25eth0]:80": true, "[fe80::2]": false} {
		if got := n.Has(host, zoned); got != want {
			t.Errorf("Has(%q) at %s = %t; want %t", host, zoned, got, want)
		}
	}
}

func TestAllowedNames(t *testing.T) {
	n := open(t, origin.Config{Allowed: []string{" Jobs.Example.com ", "*.Example.org", "192.0.2.9", "[2001:db8::1]", ""}})
	for host, want := range map[string]bool{
		"jobs.example.com": true, "JOBS.example.com.:443": true, "a.jobs.example.com": false, "example.com": false,
		"a.example.org": true, "a.b.example.org": true, "example.org": false, "evil-example.org": false,
		"a.example.org.evil.example": false,
		"192.0.2.9":                  true, "[2001:db8::1]:80": true, "[2001:db8::2]": false, "localhost": true,
	} {
		if got := n.Has(host, nil); got != want {
			t.Errorf("Has(%q) = %t; want %t", host, got, want)
		}
	}
	all := open(t, origin.Config{Allowed: []string{"*"}})
	for _, host := range []string{"evil.example", "192.0.2.1", ""} {
		if !all.Has(host, nil) {
			t.Errorf("* does not stand for %q", host)
		}
	}
}

func TestNamesOnKnative(t *testing.T) {
	n := open(t, origin.Config{Service: "submit", Namespace: "jobs",
		Addresses: []netip.Addr{netip.MustParseAddr("10.1.2.3")}})
	beside := &net.TCPAddr{IP: net.ParseIP("127.0.0.1")}
	for host, want := range map[string]bool{
		"submit": true, "submit.jobs": true, "submit.jobs.svc": true, "submit.jobs.svc.cluster.local": true,
		"submit.jobs.svc.cluster.local:80": true,
		"submit.jobs.svc.other.domain":     true, "submit.jobs.example.com": true, "SUBMIT.JOBS.EXAMPLE.COM": true,
		"submit.jobs.127.0.0.1.sslip.io": true,
		"10.1.2.3:8012":                  true, "127.0.0.1:8080": true,
		"submit.other.svc.cluster.local": false, "status.jobs.svc.cluster.local": false, "submit.jobsx.example.com": false,
		"submit.":                   true,
		"a.submit.jobs.example.com": false, "submit.jobs.": true, "10.1.2.4": false, "submit.example.com": false,
		"submit.jobs..com": false,
	} {
		if got := n.Has(host, beside); got != want {
			t.Errorf("Has(%q) = %t; want %t", host, got, want)
		}
	}
}

func TestFaultyNames(t *testing.T) {
	for _, entry := range []string{"https://example.com", "example.com:80", "example.com/x", "*.", "a*.example.com",
		"bücher.example", "a..b", "*.*.example.com", "*.192.0.2.1:80"} {
		_, err := origin.NewNames(origin.Config{Allowed: []string{"good.example", entry}})
		if err == nil || !strings.Contains(err.Error(), "ALLOWED_HOSTS") ||
			!strings.Contains(err.Error(), "is not a host name") || strings.Contains(err.Error(), "good") {
			t.Errorf("%q: %v", entry, err)
		}
	}
	_, err := origin.NewNames(origin.Config{Allowed: []string{"a b", "c d"}})
	if err == nil || strings.Count(err.Error(), "ALLOWED_HOSTS") != 2 {
		t.Errorf("two faults are told as %v", err)
	}
}
