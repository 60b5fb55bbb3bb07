// Package indexgate stands between installers and the package indexes of the operator: it adds the
// credentials, so that nothing that runs for a job ever has them. Packages may run code of their own
// while they are installed, so even the installer must not know them.
package indexgate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go-job-orchestrator/shared/dependencies"
	"go-job-orchestrator/shared/prepare"
)

// Gate passes requests on to indexes.
type Gate struct {
	origins []*origin
	python  []*index
	node    *index
	client  *http.Client
	key     []byte // signs links that lead beside the indexes
	log     *slog.Logger
}

// origin is a server that the gate speaks to.
type origin struct {
	scheme, host string
	authorize    func(r *http.Request) // nil: it needs no credentials
	number       int
}

// index is the address of an index.
type index struct {
	at   *origin
	path string // without a slash at its end
}

// answerTimeout bounds the wait for an index to begin its answer.
const answerTimeout = time.Minute

// New returns a gate for the indexes of the settings, or nil if there are none. All gates that serve
// the same installations need the same key.
func New(s *dependencies.Indexes, key []byte, log *slog.Logger) (*Gate, error) {
	transport, _ := http.DefaultTransport.(*http.Transport)
	transport = transport.Clone()
	transport.ResponseHeaderTimeout = answerTimeout
	g := &Gate{client: &http.Client{Transport: transport}, key: key, log: log}
	var errs []error
	if s.Netrc != "" {
		text, err := os.ReadFile(s.Netrc)
		if err != nil {
			return nil, fmt.Errorf("NETRC_FILE: %w", err)
		}
		for _, m := range parseNetrc(string(text)) {
			g.origin("https", m.host).authorize = basic(m.login, m.password)
		}
	}
	for i, address := range append([]string{s.Python}, s.PythonExtra...) {
		name := "PIP_INDEX_URL"
		if i > 0 {
			name = "PIP_EXTRA_INDEX_URL"
		}
		found, err := g.index(name, address)
		if errs = append(errs, err); err == nil && (found != nil || i == 0) {
			g.python = append(g.python, found)
		}
	}
	var err error
	if g.node, err = g.index("NPM_CONFIG_REGISTRY", s.Node); err == nil && g.node != nil && s.NodeToken != "" {
		g.node.at.authorize = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+s.NodeToken) }
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	if g.node == nil && g.python[0] == nil && len(g.python) == 1 {
		return nil, nil //nolint:nilnil // there is none
	}
	return g, nil
}

// index reads the address of an index, which may have a user and a password. An empty one is no
// index.
func (g *Gate) index(setting, address string) (*index, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%s: is not a URL such as https://host/simple", setting) // which may hold a password
	}
	at := g.origin(u.Scheme, u.Host)
	if u.User != nil {
		password, _ := u.User.Password()
		at.authorize = basic(u.User.Username(), password)
	}
	return &index{at, strings.TrimSuffix(u.EscapedPath(), "/")}, nil
}

func basic(user, password string) func(r *http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

// origin returns the origin, with the credentials that the netrc file has for its host.
func (g *Gate) origin(scheme, host string) *origin {
	var known func(r *http.Request)
	for _, o := range g.origins {
		if o.host == host && o.scheme == scheme {
			return o
		}
		if name, _, _ := strings.Cut(host, ":"); o.host == name {
			known = o.authorize
		}
	}
	o := &origin{scheme: scheme, host: host, authorize: known, number: len(g.origins)}
	g.origins = append(g.origins, o)
	return o
}

// Env is what tells installers of the gate, which they reach at base, a URL without a slash at its
// end. plan is what is to be installed.
func (g *Gate) Env(base string, in *prepare.Sources) []string {
	if g == nil {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil
	}
	if in.Runtime == "node" {
		return g.nodeEnv(base, in)
	}
	var env, extra []string
	for i, x := range g.python {
		switch {
		case x == nil: // the default index has no credentials
		case i == 0:
			env = append(env, "PIP_INDEX_URL="+x.below(base)+"/", "UV_DEFAULT_INDEX="+x.below(base)+"/")
		default:
			extra = append(extra, x.below(base)+"/")
		}
	}
	if len(extra) > 0 {
		env = append(env, "PIP_EXTRA_INDEX_URL="+strings.Join(extra, " "), "UV_INDEX="+strings.Join(extra, " "))
	}
	return append(env, "PIP_TRUSTED_HOST="+u.Host)
}

// nodeEnv also says for which host the lock may name the registry: npm then asks the gate instead.
func (g *Gate) nodeEnv(base string, in *prepare.Sources) []string {
	if g.node == nil {
		return nil
	}
	replaced := "npmjs"
	for _, text := range in.Files {
		if strings.Contains(string(text), `"`+g.node.at.scheme+"://"+g.node.at.host+"/") {
			replaced, _, _ = strings.Cut(g.node.at.host, ":")
		}
	}
	return []string{"npm_config_registry=" + g.node.below(base) + "/", "npm_config_replace_registry_host=" + replaced}
}

func (i *index) below(base string) string { return base + "/" + strconv.Itoa(i.at.number) + i.path }

// Serve answers a request for what is below base. rest is the path after it, with a slash at its
// beginning, as it was sent.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, base, rest string) {
	number, path, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(g.origins) || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	at := g.origins[n]
	path, allowed := g.allowed(at, "/"+path)
	if !allowed {
		http.NotFound(w, r)
		return
	}
	out, err := g.request(r, at, path)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	answer, err := g.client.Do(out) //nolint:gosec // the host is that of an index of the operator's
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) { // without the URL, which may hold what is not for the log
			err = failed.Err
		}
		g.log.WarnContext(r.Context(), "package index not reached", "host", at.host, "error", err)
		http.Error(w, "the package index could not be reached", http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	g.pass(w, answer, base)
}

// signed begins a path that lies beside the indexes; the signature follows.
const signed = "/~"

// allowed returns the path at an origin that a request is for. The credentials open what lies below
// an index and what its pages link to, and not the rest of the server.
func (g *Gate) allowed(at *origin, path string) (string, bool) {
	if rest, found := strings.CutPrefix(path, signed); found {
		signature, tail, _ := strings.Cut(rest, "/")
		path = "/" + tail
		return path, hmac.Equal([]byte(signature), []byte(g.sign(at, path)))
	}
	return path, g.isBelow(at, path)
}

func (g *Gate) isBelow(at *origin, path string) bool {
	if strings.Contains(path, "/..") || strings.Contains(strings.ToLower(path), "%2e%2e") {
		return false
	}
	for _, i := range append(g.python, g.node) {
		if i != nil && i.at == at && (path == i.path || strings.HasPrefix(path, i.path+"/")) {
			return true
		}
	}
	return false
}

// sign returns the signature of a link. Installers put an ending behind it to get an archive's
// metadata.
func (g *Gate) sign(at *origin, path string) string {
	h := hmac.New(sha256.New, g.key)
	h.Write([]byte(at.scheme + "://" + at.host + strings.TrimSuffix(path, ".metadata")))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// request is the request to an index.
func (g *Gate) request(r *http.Request, at *origin, path string) (*http.Request, error) {
	if g.node != nil && g.node.at == at && g.node.path != "" {
		// npm puts the path of the registry before that of a lock, which may have it already.
		path = strings.Replace(path, g.node.path+g.node.path+"/", g.node.path+"/", 1)
	}
	address := at.scheme + "://" + at.host + path
	if r.URL.RawQuery != "" {
		address += "?" + r.URL.RawQuery
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, address, nil) //nolint:gosec // see above
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Accept", "Range", "If-None-Match", "If-Modified-Since", "User-Agent"} {
		if value := r.Header.Get(name); value != "" {
			out.Header.Set(name, value)
		}
	}
	if strings.Contains(r.Header.Get("Accept"), "vnd.pypi.simple") { // links are changed in HTML only
		out.Header.Set("Accept", "text/html, application/vnd.pypi.simple.v1+html;q=0.9")
	}
	if isFile(path) {
		out.Header.Set("Accept-Encoding", "identity") // an archive is not to be unpacked on the way
	}
	if at.authorize != nil {
		at.authorize(out)
	}
	return out, nil
}

// isFile reports whether a path is that of an archive or of its metadata, not of a page.
func isFile(path string) bool {
	for _, ending := range []string{".whl", ".gz", ".tgz", ".zip", ".bz2", ".xz", ".metadata"} {
		if strings.HasSuffix(path, ending) {
			return true
		}
	}
	return false
}

// pass passes an answer on, with links to the indexes led through the gate.
func (g *Gate) pass(w http.ResponseWriter, answer *http.Response, base string) {
	for _, name := range []string{"Content-Type", "ETag", "Last-Modified", "Content-Range", "Accept-Ranges",
		"Cache-Control"} {
		if value := answer.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	var err error
	switch {
	case answer.StatusCode == http.StatusOK && strings.HasSuffix(kind, "html"):
		w.WriteHeader(answer.StatusCode)
		err = g.copyPage(w, answer.Body, answer.Request.URL, base)
	case answer.StatusCode == http.StatusOK && strings.HasSuffix(kind, "json"):
		w.WriteHeader(answer.StatusCode)
		err = g.copyJSON(w, answer.Body, base)
	default:
		if answer.ContentLength >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(answer.ContentLength, 10))
		}
		w.WriteHeader(answer.StatusCode)
		_, err = io.Copy(w, answer.Body)
	}
	if err != nil {
		g.log.WarnContext(answer.Request.Context(), "answer of a package index cut off", "host", answer.Request.URL.Host,
			"error", err)
		panic(http.ErrAbortHandler) // the installer must not take the half for the whole
	}
}
