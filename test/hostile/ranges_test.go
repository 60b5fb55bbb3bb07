package hostile

import (
	"fmt"
	"net/http"
	"strings"
)

// rangeRows ask for parts of a file that it does not have, or for very many of them.
func rangeRows(g *group, h *house) []row {
	n := len(content)
	path := "/outputs/" + string(h.done.ID) + "/data.bin"
	auth := bearer(h.done.Token)
	for value, want := range map[string]string{
		"bytes=0-0": content[:1], "bytes=0-": content, "bytes=-1": content[n-1:], "bytes=-9999999999": content,
		fmt.Sprintf("bytes=%d-%d", n-1, n+100): content[n-1:],
		"bytes= 1-2":                           content[1:3], "bytes=1-2,": content[1:3],
	} {
		g.try(value, func(fail func(string, ...any)) {
			a, err := g.server.send(get(path, auth, "Range: "+value))
			if err != nil || a.status != http.StatusPartialContent || string(a.body) != want {
				fail("got %v %v, want %q", a, err, want)
			}
		})
	}
	var rows []row
	for _, value := range []string{
		fmt.Sprintf("bytes=%d-", n), "bytes=99999999999999999999-", "bytes=9223372036854775807-",
		"bytes=9223372036854775808-", "bytes=5-2", "bytes=-0", "bytes=--1", "bytes=a-b",
		"bytes=1", "bytes=-", "bytes=0x1-", "bytes=1-2-3", "bytes=1.5-", "bytes=+1-", "bytes=１-", "lines=0-1", "bytes",
		"bytes 0-1", "bytes=0-18446744073709551616", "bytes=-18446744073709551616",
	} {
		for _, target := range []string{path, "/artifacts/" + string(h.done.ID) + "/run"} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				// RFC 9110, section 14.2: a server may ignore an invalid range.
				rows = append(rows, row{name: method + " " + target[:9] + " " + value, status: []int{200, 206, 416},
					req: request{method: method, target: target, header: []string{auth, "Range: " + value}}})
			}
		}
	}
	for name, value := range map[string]string{
		"many":        "bytes=" + strings.TrimSuffix(strings.Repeat("0-0,", 2000), ","),
		"overlapping": "bytes=" + strings.TrimSuffix(strings.Repeat("0-,", 15), ","),
		"descending":  "bytes=9-9,8-8,7-7,6-6", "empty": "bytes=", "commas": "bytes=" + strings.Repeat(",", 5000),
		"letters":            strings.Repeat("x", 30_000),
		"many that are none": "bytes=" + strings.TrimSuffix(strings.Repeat("9-1,", 2000), ","),
	} {
		rows = append(rows, row{name: name, status: []int{200, 206, 416}, req: get(path, auth, "Range: "+value)})
	}
	for _, header := range []string{"If-Range: W/\"x\"", "If-Range: " + strings.Repeat("\"", 999), "If-Match: W/",
		"If-None-Match: " + strings.Repeat(`"a",`, 5000), "If-Modified-Since: yesterday", "If-Unmodified-Since: 0"} {
		rows = append(rows, row{name: fmt.Sprintf("%.40s", header), status: []int{200, 206, 304, 412},
			req: get(path, auth, "Range: bytes=1-2", header)})
	}
	for _, format := range []string{"zip", "tar.gz"} {
		rows = append(rows, row{name: "range of " + format, status: []int{200},
			req: get("/outputs/"+string(h.done.ID)+"?format="+format, auth, "Range: bytes=99999999-")})
	}
	return append(rows, row{name: "two ranges", status: []int{200, 206, 400},
		req: get(path, auth, "Range: bytes=0-0", "Range: bytes=5-5")},
		refused(416, "", "behind the end", get(path, auth, fmt.Sprintf("Range: bytes=%d-", n))))
}
