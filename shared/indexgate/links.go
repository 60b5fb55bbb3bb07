package indexgate

import (
	"bufio"
	"bytes"
	"html"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"sync"
)

// maxToken bounds what is looked at at a time: a tag of a page, or a member of a JSON document.
const maxToken = 4 << 20

// upTo splits at a byte, which stays at the end of each part.
func upTo(end byte) bufio.SplitFunc {
	return func(data []byte, last bool) (advance int, token []byte, err error) {
		if i := bytes.IndexByte(data, end); i >= 0 {
			return i + 1, data[:i+1], nil
		}
		if last && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	}
}

func copyTokens(w io.Writer, r io.Reader, end byte, change func([]byte) []byte) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxToken)
	in.Split(upTo(end))
	for in.Scan() {
		if _, err := w.Write(change(in.Bytes())); err != nil {
			return err
		}
	}
	return in.Err()
}

var href = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(\shref\s*=\s*)("[^"]*"|'[^']*')`)
})

// copyPage copies a page of HTML, in the format of PEP 503.
func (g *Gate) copyPage(w io.Writer, r io.Reader, page *url.URL, base string) error {
	return copyTokens(w, r, '>', func(tag []byte) []byte {
		return href().ReplaceAllFunc(tag, func(attribute []byte) []byte {
			parts := href().FindSubmatch(attribute)
			link, err := page.Parse(html.UnescapeString(string(parts[2][1 : len(parts[2])-1])))
			if err != nil {
				return attribute
			}
			return append(parts[1][:len(parts[1]):len(parts[1])], `"`+html.EscapeString(g.through(link, base))+`"`...)
		})
	})
}

// through returns the address by which a link leads through the gate, or the link itself where the
// gate has no credentials for it.
func (g *Gate) through(link *url.URL, base string) string {
	for _, o := range g.origins {
		if o.scheme != link.Scheme || o.host != link.Host {
			continue
		}
		path := link.EscapedPath()
		if !g.isBelow(o, path) {
			path = signed + g.sign(o, path) + path
		}
		address := base + "/" + strconv.Itoa(o.number) + path
		if link.RawQuery != "" {
			address += "?" + link.RawQuery
		}
		if link.Fragment != "" {
			address += "#" + link.EscapedFragment()
		}
		return address
	}
	return link.String()
}

var tarball = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`("tarball"\s*:\s*")([^"\\]*)"`) })

// copyJSON copies a document of an npm registry.
func (g *Gate) copyJSON(w io.Writer, r io.Reader, base string) error {
	return copyTokens(w, r, ',', func(member []byte) []byte {
		if !bytes.Contains(member, []byte(`"tarball"`)) {
			return member
		}
		return tarball().ReplaceAllFunc(member, func(found []byte) []byte {
			parts := tarball().FindSubmatch(found)
			link, err := url.Parse(string(parts[2]))
			if err != nil {
				return found
			}
			return append(parts[1][:len(parts[1]):len(parts[1])], g.through(link, base)+`"`...)
		})
	})
}
