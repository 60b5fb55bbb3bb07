package audit

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded is how many bytes of X-Forwarded-For are recorded: the last ones, which the nearest
// proxies have added.
const maxForwarded = 256

// origin returns the address that a connection came from, and what proxies say of those before it.
// The header counts only where the connection came from this machine or from a private network, as
// those of proxies do. Anybody else has written it without help.
func origin(r *http.Request) (from, forwardedFor string) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "", ""
	}
	address := peer.Addr().Unmap()
	if address.IsLoopback() || address.IsPrivate() || address.IsLinkLocalUnicast() {
		forwardedFor = strings.Join(r.Header.Values("X-Forwarded-For"), ", ")
	}
	return address.String(), clean(forwardedFor)
}

// clean returns the last addresses of a list, up to what is not an address. Proxies add addresses, so
// the client has sent that itself.
func clean(list string) string {
	if len(list) > maxForwarded {
		list = list[len(list)-maxForwarded:]
		_, list, _ = strings.Cut(list, ",")
	}
	var addresses []string
	for part := range strings.SplitSeq(list, ",") {
		text := strings.TrimSpace(part)
		if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil && a.Zone() == "" {
			addresses = append(addresses, a.Unmap().String())
		} else if p, err := netip.ParseAddrPort(text); err == nil {
			addresses = append(addresses, p.Addr().Unmap().WithZone("").String())
		} else {
			addresses = addresses[:0]
		}
	}
	return strings.Join(addresses, ", ")
}
