package download

import (
	"mime"
	"net/url"
	"path"
	"strings"

	"go-job-orchestrator/shared/job"
)

// Attachment is a Content-Disposition that has the file saved under the last segment of its name:
// RFC 6266, with the name in ASCII for clients that know no RFC 8187.
func Attachment(name string) string {
	name = path.Base(name)
	return `attachment; filename="` + strings.Map(plain, name) + `"; filename*=UTF-8''` + encode(name)
}

// plain keeps what every client reads the same way between quotes. Some take a percent sign for the
// beginning of an escape.
func plain(r rune) rune {
	if r < ' ' || r > '~' || strings.ContainsRune(`"\%`, r) {
		return '_'
	}
	return r
}

// encode is the value-chars of RFC 8187, section 3.2.1, which has three characters less than a
// segment of a path.
func encode(s string) string {
	return strings.NewReplacer(":", "%3A", "=", "%3D", "@", "%40").Replace(url.PathEscape(s))
}

// unknownType is the type of what could be anything.
const unknownType = "application/octet-stream"

// maxTypeBytes bounds a content type; RFC 6838 allows 127 bytes for each of its two parts.
const maxTypeBytes = 255

// ContentType is the type that the records give a file, or else the one its name's extension stands
// for. The machine's own list of types is not asked: an answer must not depend on which server
// gives it.
func ContentType(f job.File) string {
	if f.ContentType != "" && len(f.ContentType) <= maxTypeBytes {
		if _, _, err := mime.ParseMediaType(f.ContentType); err == nil {
			return f.ContentType
		}
	}
	if t, ok := byExtension()[strings.ToLower(path.Ext(f.Name))]; ok {
		return t
	}
	return unknownType
}

func byExtension() map[string]string {
	const utf8 = "; charset=utf-8"
	return map[string]string{
		".txt": "text/plain" + utf8, ".log": "text/plain" + utf8, ".md": "text/markdown" + utf8, ".csv": "text/csv" + utf8,
		".tsv": "text/tab-separated-values" + utf8, ".html": "text/html" + utf8, ".htm": "text/html" + utf8,
		".css": "text/css" + utf8,
		".js":  "text/javascript" + utf8, ".mjs": "text/javascript" + utf8, ".py": "text/plain" + utf8,
		".java": "text/plain" + utf8,
		".xml":  "text/xml" + utf8, ".yaml": "application/yaml", ".yml": "application/yaml", ".json": "application/json",
		".jsonl": "application/jsonl", ".ndjson": "application/x-ndjson", ".pdf": "application/pdf",
		".wasm": "application/wasm",
		".png":  "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
		".avif": "image/avif", ".svg": "image/svg+xml", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".flac": "audio/flac",
		".wav": "audio/wav", ".mp4": "video/mp4", ".webm": "video/webm", ".zip": "application/zip", ".gz": "application/gzip",
		".tgz": "application/gzip", ".bz2": "application/x-bzip2", ".xz": "application/x-xz", ".zst": "application/zstd",
		".7z": "application/x-7z-compressed", ".tar": "application/x-tar", ".jar": "application/java-archive",
		".parquet": "application/vnd.apache.parquet", ".sqlite": "application/vnd.sqlite3",
	}
}

// isCompressed reports whether files of a content type gain nothing from being compressed again.
func isCompressed(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	switch t = strings.ToLower(strings.TrimSpace(t)); t {
	case "application/zip", "application/gzip", "application/x-bzip2", "application/x-xz", "application/zstd",
		"application/x-7z-compressed", "application/java-archive", "application/vnd.apache.parquet", "application/pdf",
		"audio/mpeg", "audio/ogg", "audio/flac", "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif":
		return true
	default:
		return strings.HasPrefix(t, "video/")
	}
}
