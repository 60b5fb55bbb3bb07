package store

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"go-job-orchestrator/shared/job"
)

// escaped is what fileblob's own escapes look like, with or without the mark that encode adds.
var escaped = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`__(~*0x)`) })

// encode keeps keys out of fileblob's way, which takes a file that ends with ".attrs" for its own,
// joins a segment that ends with ".." to the next, and escapes what looks like an escape of its
// own: each of them gets one more "~". A key that fileblob escapes otherwise is refused, since the
// driver of directories would look for it elsewhere.
func encode(key string) (string, error) {
	if !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' }) {
		return "", fmt.Errorf("key %q: %w: control characters or no UTF-8", key, job.ErrInvalid)
	}
	segments := strings.Split(escaped().ReplaceAllString(key, "__~$1"), "/")
	for i, s := range segments {
		if s == "" || s == "." {
			return "", fmt.Errorf("key %q: %w: an empty segment", key, job.ErrInvalid)
		}
		if base := strings.TrimRight(s, "~"); strings.HasSuffix(base, ".attrs") || strings.HasSuffix(base, "..") {
			segments[i] = s + "~"
		}
	}
	return strings.Join(segments, "/"), nil
}
