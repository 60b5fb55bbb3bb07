// Package origin answers only requests that are meant for this server: sent to a name it has, and
// not by a page of another site.
package origin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Config says which names a server has besides those of the loopback interface and its own address.
type Config struct {
	// Allowed are the operator's: names, *.example.com for all below example.com, * for any.
	Allowed []string
	// BaseURL is where the service is said to be found.
	BaseURL string
	// Service and Namespace are those of the Knative Service that this is, if it is one.
	Service, Namespace string
	// Addresses are this machine's own, for a server that is reached through a proxy beside it.
	Addresses []netip.Addr
}

// Names are those that a server answers to.
type Names struct {
	any       bool
	exact     map[string]bool
	below     []string // ".example.com"
	routed    string   // "submit.jobs.": what the names begin with by which Knative routes to this Service
	addresses map[netip.Addr]bool
}

// NewNames returns the names that a server with this configuration has. The error names every entry
// of ALLOWED_HOSTS at fault.
func NewNames(c Config) (*Names, error) {
	n := &Names{exact: map[string]bool{}, addresses: map[netip.Addr]bool{}}
	for _, a := range c.Addresses {
		n.addresses[plain(a)] = true
	}
	if u, err := url.Parse(c.BaseURL); err == nil {
		if err := n.add(u.Hostname()); err != nil && u.Hostname() != "" {
			return nil, fmt.Errorf("ORCH_BASE_URL: %w", err)
		}
	}
	if service := strings.ToLower(c.Service); service != "" {
		n.exact[service] = true
		name := service + "." + strings.ToLower(c.Namespace)
		n.exact[name] = true
		// The domains are Knative's to know. A page of another site cannot use this: the ingress routes
		// by its own names.
		n.routed = name + "."
	}
	var errs []error
	for _, entry := range c.Allowed {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		if err := n.add(entry); err != nil {
			errs = append(errs, fmt.Errorf("ALLOWED_HOSTS: %w", err))
		}
	}
	return n, errors.Join(errs...)
}

// add takes one entry of the configuration.
func (n *Names) add(entry string) error {
	if entry == "*" {
		n.any = true
		return nil
	}
	name, wild := strings.CutPrefix(entry, "*.")
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && !wild {
		n.addresses[plain(a)] = true
		return nil
	}
	name, valid := canonical(name)
	switch {
	case !valid:
		return fmt.Errorf("%.100q is not a host name; write names without scheme, port and path, such as "+
			"jobs.example.com, *.example.com, or * for any", entry)
	case wild:
		n.below = append(n.below, "."+name)
	default:
		n.exact[name] = true
	}
	return nil
}

// Has reports whether a Host, with or without a port, is a name of the server. Local is the address
// at which the request came in; it may be nil. The port does not matter: whoever forwards one
// chooses it.
func (n *Names) Has(host string, local net.Addr) bool {
	name, address, valid := parse(host)
	switch {
	case n.any:
		return true
	case !valid:
		return false
	case address.IsValid():
		return address.IsLoopback() || n.addresses[address] || isAt(address, local)
	case name == "localhost" || strings.HasSuffix(name, ".localhost") || n.exact[name]:
		return true
	case n.routed != "" && strings.HasPrefix(name, n.routed):
		return true
	}
	for _, suffix := range n.below {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// isAt reports whether a connection came in at an address.
func isAt(address netip.Addr, local net.Addr) bool {
	at, ok := local.(*net.TCPAddr)
	return ok && plain(at.AddrPort().Addr()) == address
}

// plain takes off an address what does not tell hosts apart: a zone, and the prefix of IPv4 in
// IPv6.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// parse reads a Host: a name in lower case, or an address, and perhaps a port.
func parse(host string) (name string, address netip.Addr, valid bool) {
	if rest, bracket := strings.CutPrefix(host, "["); bracket {
		inside, port, closed := strings.Cut(rest, "]")
		a, err := netip.ParseAddr(strings.Replace(inside, "%25", "%", 1)) // as in URLs, RFC 6874
		ok := closed && err == nil && a.Is6() && (port == "" || port[0] == ':' && isPort(port[1:]))
		if !ok {
			return "", netip.Addr{}, false
		}
		return "", plain(a), true
	}
	name, port, _ := strings.Cut(host, ":")
	if !isPort(port) {
		return "", netip.Addr{}, false
	}
	name, valid = canonical(name)
	if a, err := netip.ParseAddr(name); valid && err == nil {
		return "", plain(a), true
	}
	return name, netip.Addr{}, valid
}

func isPort(s string) bool {
	if s == "" { // RFC 3986 lets it be empty
		return true
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// The bounds of a name in the DNS.
const (
	maxName  = 253
	maxLabel = 63
)

// canonical returns a name in lower case and without the dot that may stand for the root, and
// whether it is one.
func canonical(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || strings.ContainsFunc(label, isForeign) {
			return "", false
		}
	}
	return strings.ToLower(name), true
}

// isForeign reports whether a character is none of host names; names in other scripts are sent in
// Punycode. Containers have underscores.
func isForeign(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		return false
	}
	return true
}
