// Package page serves the page for people, /ui/, from files that are embedded in the binary. Their
// sources are in src. `make page` packs them: it puts the modules into one file, and compresses
// everything.
package page

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/routes"
)

// policy is the Content-Security-Policy of every answer. A program's log or output that finds its
// way into the page can neither run, nor send anything anywhere else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// How browsers keep the files: the document is asked for again each time, and names the version of
// the others, which never change.
const (
	revalidate = "no-cache"
	forever    = "public, max-age=31536000, immutable"
)

// document is the file that every path of the page begins with; the page itself knows what to show.
const document = "index.html"

//go:embed packed/*.gz
var packed embed.FS

// Sessions lets browsers log in; auth.Gateway is one.
type Sessions interface {
	// LogIn begins a session with the key in the body, and LogOut ends it.
	LogIn(w http.ResponseWriter, r *http.Request) error
	LogOut(w http.ResponseWriter, r *http.Request) error
	// Depart sends a browser to the OpenID Connect issuer, and Arrive takes it back.
	Depart(w http.ResponseWriter, r *http.Request) error
	Arrive(w http.ResponseWriter, r *http.Request) error
}

// Mount routes the page, and the sessions of browsers; nil: there are none.
func Mount(r *api.Router, s Sessions) {
	if s == nil {
		s = noSessions{}
	}
	r.Handle(routes.GetRoot, root)
	r.Handle(routes.FindPage, func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
		http.Redirect(w, r, "/ui/", http.StatusSeeOther)
		return nil
	})
	r.Handle(routes.GetPage, func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		switch p.ByName("path") {
		case "/login/oidc":
			return s.Depart(w, r)
		case "/login/callback":
			return s.Arrive(w, r)
		}
		return file(w, r, p.ByName("path"))
	})
	r.Handle(routes.HeadPage, func(w http.ResponseWriter, r *http.Request, p httprouter.Params) error {
		return file(w, r, p.ByName("path"))
	})
	r.Handle(routes.LogIn, func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
		return s.LogIn(w, r)
	})
	r.Handle(routes.LogOut, func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
		return s.LogOut(w, r)
	})
}

// noSessions is where no browser can log in.
type noSessions struct{}

func (noSessions) LogIn(http.ResponseWriter, *http.Request) error  { return api.NoSuchPath() }
func (noSessions) LogOut(http.ResponseWriter, *http.Request) error { return api.NoSuchPath() }
func (noSessions) Depart(http.ResponseWriter, *http.Request) error { return api.NoSuchPath() }
func (noSessions) Arrive(http.ResponseWriter, *http.Request) error { return api.NoSuchPath() }

// root leads browsers to the page. Programs are told which paths there are.
func root(w http.ResponseWriter, r *http.Request, _ httprouter.Params) error {
	w.Header().Set("Vary", "Accept")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return api.NoSuchPath()
	}
	http.Redirect(w, r, "/ui/", http.StatusSeeOther)
	return nil
}

// file answers with a file of the page: with the one that a path "/static/<version>/<name>" names,
// and else with the document.
func file(w http.ResponseWriter, r *http.Request, asked string) error {
	name, caching := document, revalidate
	if rest, static := strings.CutPrefix(asked, "/static/"); static {
		var of string
		of, name = path.Split(rest)
		caching = forever
		if strings.Trim(of, "/") != version { // of another version of the server, which is being replaced
			caching = "no-store"
		}
	}
	data, err := packed.ReadFile("packed/" + name + ".gz")
	if err != nil {
		return api.NoSuchPath()
	}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", caching)
	h.Set("Vary", "Accept-Encoding")
	tag := version
	if acceptsGzip(r) {
		tag += "-gz"
		h.Set("Content-Encoding", "gzip")
	} else if data, err = unpack(data); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	h.Set("ETag", `"`+tag+`"`)
	h.Set("Content-Length", strconv.Itoa(len(data))) // ServeContent leaves it out beside Content-Encoding
	r = r.Clone(r.Context())
	r.Header.Del("Range") // so it is always the whole
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	return nil
}

// acceptsGzip reports whether the client takes an answer that is compressed. All browsers do.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, quality, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return strings.ReplaceAll(quality, " ", "") != "q=0"
		}
	}
	return false
}

func unpack(data []byte) ([]byte, error) {
	in, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(in)
}
