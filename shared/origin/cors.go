package origin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/rs/cors"
)

// Sites are the other sites whose pages may use the API (CORS). Without any, browsers are refused
// everything for pages of other sites.
//
// Pages get no access to credentials that the browser keeps: Access-Control-Allow-Credentials is never
// sent, and the cookie of a session is SameSite=Lax and needs a header beside it, auth.PageHeader,
// that is not in requestHeaders. So a page can do only what the key or token allows that it sends
// itself.
type Sites struct {
	origins map[string]bool
	headers *cors.Cors
}

// preflightAge is how long a browser need not ask again. Chromium asks again after two hours at most.
const preflightAge = 2 * time.Hour

// requestHeaders lists what pages may send. Browsers let them send Accept and simple values of
// Content-Type and Range anyway.
func requestHeaders() []string {
	return []string{
		"Authorization", "Content-Type", "Idempotency-Key", "Prefer", "Last-Event-ID", "Range", "If-Range", "If-Match",
		"If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Traceparent", "Tracestate",
		"Ce-Specversion", "Ce-Id", "Ce-Source", "Ce-Type", "Ce-Subject", "Ce-Time", "Ce-Dataschema",
	}
}

// answerHeaders lists what pages may read of answers. Browsers let them read Cache-Control,
// Content-Length, Content-Type and Last-Modified anyway.
func answerHeaders() []string {
	return []string{
		"Location", "Preference-Applied", "Content-Disposition", "Content-Range", "Accept-Ranges", "ETag", "Repr-Digest",
		"Link", "Log-Position", "Job-Phase", "Allow", "Retry-After", "WWW-Authenticate",
	}
}

// NewSites returns the sites of these origins, such as https://app.example.com. The error names every
// entry of CORS_ORIGINS at fault.
func NewSites(entries []string) (*Sites, error) {
	s := &Sites{origins: map[string]bool{}}
	var list []string
	var errs []error
	for _, entry := range entries {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		origin, err := parseOrigin(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("CORS_ORIGINS: %w", err))
			continue
		}
		s.origins[origin] = true
		list = append(list, origin)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(list) > 0 {
		s.headers = cors.New(cors.Options{
			AllowedOrigins: list, AllowedMethods: methods(), AllowedHeaders: requestHeaders(),
			ExposedHeaders: answerHeaders(), MaxAge: int(preflightAge / time.Second),
		})
	}
	return s, nil
}

// methods lists those of the API.
func methods() []string {
	return []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete}
}

// parseOrigin returns an origin as browsers write it: in lower case, without the port that its scheme
// has anyway.
func parseOrigin(entry string) (string, error) {
	fault := func(what string) (string, error) {
		return "", fmt.Errorf("%.100q %s; write the origin of a site as its browsers do, such as https://app.example.com or "+
			"http://localhost:3000", entry, what)
	}
	if strings.Contains(entry, "*") {
		return fault("has a *, and each site has to be named")
	}
	u, err := url.Parse(entry)
	if err != nil {
		return fault("is not a URL")
	}
	scheme := strings.ToLower(u.Scheme)
	if scheme != "http" && scheme != "https" {
		return fault("does not begin with https:// or http://")
	}
	if u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(entry, "#") {
		return fault("has more than a scheme, a host and a port")
	}
	host, port := u.Hostname(), u.Port()
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return fault("has a zone")
		}
		if host = a.String(); a.Is6() {
			host = "[" + host + "]"
		}
	} else if name, valid := canonical(host); valid && !strings.HasSuffix(host, ".") {
		host = name
	} else {
		return fault("has no host name or address")
	}
	if strings.HasSuffix(u.Host, ":") || !isPort(port) {
		return fault("has a port that is none")
	}
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return scheme + "://" + host, nil
	}
	return scheme + "://" + host + ":" + port, nil
}

// admit reports whether a page of one of the sites has sent the request.
func (s *Sites) admit(r *http.Request) bool {
	origins := r.Header["Origin"]
	return s != nil && len(origins) == 1 && s.origins[origins[0]]
}

// Before returns a handler that answers preflights for calls that handles reports, and permits the
// pages of the sites to read the answers of h. It has to stand behind Guard, which refuses all other
// pages. OPTIONS without the headers of a preflight is passed on: that of /events is a handshake
// between servers.
func (s *Sites) Before(h http.Handler, handles func(method, path string) bool) http.Handler {
	if s == nil || s.headers == nil {
		return h
	}
	permitted := s.headers.Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The library does not know which methods a path has. What h answers to other preflights has
		// none of the headers of CORS, so the browser does not send the request.
		method := r.Header.Get("Access-Control-Request-Method")
		if r.Method == http.MethodOptions && method != "" && (!s.admit(r) || !handles(method, r.URL.Path)) {
			w.Header().Add("Vary", "Origin")
			h.ServeHTTP(w, r)
			return
		}
		permitted.ServeHTTP(w, r)
	})
}
