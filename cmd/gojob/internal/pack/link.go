package pack

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkLinks refuses links that the server would refuse: those that lead out of the archive, or
// through another link.
func (w *walker) checkLinks() {
	var links []*Entry
	kinds := map[string]Kind{}
	for i := range w.plan.Entries {
		if e := &w.plan.Entries[i]; e.Kind == KindLink {
			links, kinds[e.Name] = append(links, e), KindLink
		}
	}
	for _, e := range links {
		if message := checkTarget(e, kinds); message != "" {
			name := strings.TrimPrefix(strings.TrimPrefix(e.Name, w.at), "/")
			w.fault(name, message)
		}
	}
}

// checkTarget says why a link would be refused, or returns "". The kinds are those of all links.
func checkTarget(e *Entry, kinds map[string]Kind) string {
	switch {
	case e.Target == "" || !utf8.ValidString(e.Target) || strings.ContainsFunc(e.Target, unicode.IsControl):
		return "is a link whose target is no path of printable characters"
	case len(e.Target) > maxTarget:
		return fmt.Sprintf("is a link with a target of more than %d bytes", maxTarget)
	case strings.HasPrefix(e.Target, "/"):
		return fmt.Sprintf("is a link to the absolute path %s; make it relative, or put a copy in its place", e.Target)
	case strings.Contains(e.Target, `\`):
		return fmt.Sprintf("is a link to %q, which has a backslash", e.Target)
	}
	at := path.Dir(e.Name)
	for segment := range strings.SplitSeq(e.Target, "/") {
		switch {
		case segment == "" || segment == ".":
			continue
		case kinds[at] == KindLink:
			return fmt.Sprintf("is a link that leads through another link, %s", at)
		case segment == ".." && at == ".":
			return fmt.Sprintf("is a link that leads out of the folder, to %s; put a copy in its place", e.Target)
		}
		at = path.Join(at, segment)
	}
	return ""
}
