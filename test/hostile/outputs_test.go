package hostile

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"go-job-orchestrator/shared/job"
)

// outputRows ask for files that the job does not have, and try to store files that must not be
// stored.
func outputRows(h *house) []row {
	id, auth := string(h.done.ID), bearer(h.done.Token)
	var rows []row
	for _, name := range []string{
		"..", "../index.json", "..%2findex.json", "%2e%2e/index.json", "%2e%2e%2f%2e%2e%2f.local%2ftoken.key",
		"..%5cindex.json", "....//index.json", "%00", "data.bin%00", "data.bin/",
		"data.bin/x", "./data.bin", "deep", "deep/", "deep//er/f.txt", "deep/../data.bin", "%252e%252e/index.json",
		"index.json", "status.json", "results/data.bin", ".job", ".job/outputs.json",
		"link-out", "link-in", "root/etc/passwd", "up/passwd", "fifo", "%ff", "a%0aSet-Cookie:%20b", "DATA.BIN",
		"data.bin;x", strings.Repeat("a", 5000), strings.Repeat("a/", 4000),
		"..%c0%af..%c0%afetc/passwd", "%2fetc%2fpasswd", "/etc/passwd", "stdout.log/../../index.json", "log", "tmp",
		"exit.json", "hold",
	} {
		rows = append(rows, refused(404, "", fmt.Sprintf("output %.60s", name), get("/outputs/"+id+"/"+name, auth)))
		if !slices.Contains([]string{"index.json"}, name) {
			rows = append(rows, row{name: fmt.Sprintf("artifact %.60s", name), req: get("/artifacts/"+id+"/"+name, auth),
				status: []int{403, 404}})
		}
	}
	for _, query := range []string{"format=rar", "format=", "format=zip&format=zip", "archive=zip", "format=../x", "%zz",
		"format=ZIP", "format=zip%00", "token=" + h.done.Token} {
		rows = append(rows, row{name: "query " + query[:min(20, len(query))], req: get("/outputs/"+id+"?"+query, auth),
			status: []int{400}})
		rows = append(rows, row{name: "query of a file " + query[:min(20, len(query))],
			req: get("/outputs/"+id+"/data.bin?"+query, auth), status: []int{400}})
	}
	for _, query := range []string{
		"tail=-1", "tail=x", "tail=1e9", "tail=2147483648", "tail=", "stream=stdin", "stream=../stdout", "stream=",
		"follow=yes", "follow=1", "from=1,1", "from=-1", "from=x", "from=", "from=1e3",
		"from=9999999999999999999", "since=", "since=x", "since=-1s", "since=99999999h", "since=2026-13-01T00:00:00Z",
		"since=2026-01-01", "since=0000-01-01T00:00:00Z", "attempt=0", "attempt=-1", "attempt=1e3", "attempt=99999",
		"timestamps=1", "timestamps=", "lines=1", "tail=1&tail=2", "%zz", "Tail=1",
	} {
		rows = append(rows, refused(400, "", "log "+query, get("/api/v1/jobs/"+id+"/logs?"+query, auth)))
	}
	rows = append(rows, row{name: "log from behind its end",
		req: get("/api/v1/jobs/"+id+"/logs?from=4611686018427387903", auth), status: []int{200, 400}})
	return rows
}

// outputs looks at what became outputs, and sends what an agent may not.
func outputs(g *group, h *house) {
	g.refuse(uploadRows(g, h))
	segments(g, h)
	id, auth := string(h.done.ID), bearer(h.done.Token)
	var list struct{ Items []job.File }
	g.server.must(g.T, http.StatusOK, get("/outputs/"+id, auth), &list)
	names := make([]string, len(list.Items))
	for i, f := range list.Items {
		names[i] = f.Name
	}
	for _, never := range []string{"link-out", "link-in", "root", "up", "fifo", ".job", "\n", "\xff", "/passwd",
		"outputs.json"} {
		g.try("no output "+never, func(fail func(string, ...any)) {
			if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, never) }) {
				fail("it became one: %q", names)
			}
		})
	}
	for _, name := range []string{"page.html", `a"b.txt`, "a;filename=evil.html", "ünï code.txt", "data.bin", "hard.bin",
		"deep/er/f.txt"} {
		g.try("headers of "+name, func(fail func(string, ...any)) { harmless(g, h, name, fail) })
	}
	for _, format := range []string{"zip", "tar.gz"} {
		g.try("names in "+format, func(fail func(string, ...any)) {
			a := g.server.must(g.T, http.StatusOK, get("/outputs/"+id+"?format="+format, auth), nil)
			inside, err := entries(format, a.body)
			if err != nil || len(inside) != len(names) {
				fail("%d entries for %d outputs, %v", len(inside), len(names), err)
			}
			for _, name := range inside {
				if path.IsAbs(name) || name != path.Clean(name) || strings.HasPrefix(name, "..") || strings.Contains(name, `\`) {
					fail("an entry is named %q", name)
				}
			}
		})
	}
}

// harmless demands that a browser cannot run an output, and that the answer has its right name.
func harmless(g *group, h *house, name string, fail func(string, ...any)) {
	escaped := make([]string, 0, 3)
	for segment := range strings.SplitSeq(name, "/") {
		escaped = append(escaped, url.PathEscape(segment))
	}
	a, err := g.server.send(get("/outputs/"+string(h.done.ID)+"/"+strings.Join(escaped, "/"), bearer(h.done.Token)))
	if err != nil || a.status != http.StatusOK {
		fail("%v %v", a, err)
		return
	}
	kind, params, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
	if err != nil || kind != "attachment" || params["filename"] != path.Base(name) {
		fail("Content-Disposition is %q", a.header.Get("Content-Disposition"))
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Content-Security-Policy") != "sandbox" ||
		a.header.Get("Set-Cookie") != "" {
		fail("headers: %v", a.header)
	}
	if strings.Contains(a.header.Get("Access-Control-Allow-Origin"), "*") {
		fail("every site may read it")
	}
}

func entries(format string, data []byte) ([]string, error) {
	var names []string
	if format == "zip" {
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
			return nil, err
		}
		for _, f := range r.File {
			names = append(names, f.Name)
		}
		return names, err
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return names, err
		}
		if header.Typeflag != tar.TypeReg {
			return names, fmt.Errorf("%s is of type %c", header.Name, header.Typeflag)
		}
		names = append(names, header.Name)
	}
}

// uploadRows are the requests of a hostile agent, which has the right token of a running job.
func uploadRows(g *group, h *house) []row {
	auth := bearer(h.agent(g.s, h.running.ID))
	// A name with a method is that of one of the agent's own calls, and any other that of an output.
	send := func(name, body string, header ...string) request {
		method, target := http.MethodPut, "/artifacts/"+string(h.running.ID)+"/upload/"+name
		if m, rest, call := strings.Cut(name, " "); call {
			method, target = m, "/agent/v1/jobs/"+string(h.running.ID)+"/"+rest
		}
		return request{method: method, target: target, header: append([]string{auth}, header...), body: body}
	}
	var rows []row
	for _, name := range []string{
		"..", "../x", "%2e%2e/x", "..%2f..%2fstatus.json", "a//b", "a/./b", "a/../b", "a/", "%2fx", "a%5cb", "a%00b",
		"a%0ab", "%ff", ".job", ".job/", ".job/x", ".job/attempts/0/end", ".job/attempts/1/start", ".job/log/x",
		".job/log/../x", ".job/log/000000000001-000000000000", ".job/outputs.json/x", strings.Repeat("n", 201),
		strings.Repeat("d/", 600) + "x", "%2e%2e%2f%2e%2e%2f%2e%2e%2fx",
		"PUT attempts/0/end", "PUT attempts/102/end", "PUT attempts/01/end", "PUT attempts/-1/end", "PUT attempts/next/end",
		"PUT attempts/1/start", "PUT log/segments/x", "PUT log/segments/../x", "PUT log/segments/%2e%2e%2fx",
		"PUT log/segments/000000000000-zzzzzzzzzzzz", "PUT log/segments/000000000001-000000000000", "PUT outputs/x",
		"PUT ../" + string(h.done.ID) + "/outputs", "PUT %2e%2e/" + string(h.done.ID) + "/outputs",
	} {
		rows = append(rows, row{name: fmt.Sprintf("upload to %.50s", name), req: send(name, "x"),
			status: []int{400, 404, 409, 422}})
	}
	record := func(name, field string, bodies ...string) {
		for _, body := range bodies {
			r := row{name: fmt.Sprintf("%s %.40s", name, body), req: send(name, body), status: []int{422}, field: field}
			rows = append(rows, r)
		}
	}
	broken := []string{"", "{", "[]", "x", `{"x":1}`, "{}{}", strings.Repeat("[", 90_000), `"a"`, "1"}
	record("POST attempts", "body", broken...)
	record("POST attempts", "owner", "{}", `{"owner":""}`, `{"owner":"a\nb"}`,
		`{"owner":"`+strings.Repeat("x", 257)+`"}`)
	record("PUT attempts/1/end", "body", broken...)
	record("PUT attempts/1/end", "", "{}", `{"number":2}`, `{"number":1}`,
		`{"number":1,"finishedAt":"1970-01-01T00:00:00Z"}`, `{"number":1,"finishedAt":"9999-01-01T00:00:00Z"}`)
	record("PUT attempts/1/report", "body", broken...)
	record("PUT attempts/1/report", "", "{}", `{"attempt":{"number":2}}`, `{"attempt":{"number":1}}`)
	record("PUT outputs", "body", broken...)
	sum := strings.Repeat("0", 64)
	entry := func(name any, size int64, sha string) string {
		data, err := json.Marshal(map[string]any{"files": []any{map[string]any{"name": name, "size": size, "sha256": sha}}})
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
	for _, name := range []string{"..", "../x", "/x", "a//b", "", ".job/x", "a\nb", "nothing"} {
		record("PUT outputs", "files", entry(name, 1, sum))
	}
	record("PUT outputs", "files", entry("a", -1, sum), entry("a", 1, "x"),
		entry("a", 1, strings.ToUpper(strings.Repeat("a", 64))), entry("a", 1<<62, sum))
	record("POST links", "body", broken...)
	rows = append(rows,
		refused(413, "", "large record", send("POST attempts", strings.Repeat("x", 1<<20+1))),
		refused(413, "", "large list", send("PUT outputs", strings.Repeat(" ", 16<<20+1))),
		refused(413, "", "large log", send("PUT log/segments/000000000000-000000000000", "", "Content-Length: 99999999")),
		refused(415, "", "compressed", send("x", "x", "Content-Encoding: gzip")),
		refused(400, "Content-Range", "a part", send("x", "x", "Content-Range: bytes 0-0/5")),
		refused(400, "Content-Digest", "no digest", send("x", "x", "Content-Digest: sha-256=x")),
		refused(422, "Content-Digest", "another digest", send("x", "x",
			"Content-Digest: sha-256=:"+strings.Repeat("A", 43)+"=:")),
	)
	short := send("cut", "half", "Content-Length: 9")
	short.cut = true
	done := request{method: http.MethodPut, target: "/artifacts/" + string(h.done.ID) + "/upload/late",
		header: []string{bearer(h.agent(g.s, h.done.ID))}, body: "x"}
	return append(rows, refused(400, "body", "cut off", short), refused(409, "", "after the end", done))
}

// segments are invalid pieces of a log. They are stored as they are sent, and do not harm readers
// of the log.
func segments(g *group, h *house) {
	auth := bearer(h.agent(g.s, h.running.ID))
	for i, body := range []string{
		`{"stdout":0,"stderr":0,"records":"AAAA"}` + "\n", `{"stdout":0,"stderr":0,"records":"*"}` + "\n",
		`{"stdout":0,"stderr":0,"records":"` + strings.Repeat("/", 64) + `"}` + "\n",
		`{"stdout":0,"stderr":0,"records":"` + strings.Repeat("A", 320_000) + `"}` + "\n",
		"", "x", "{}\n", `{"stdout":-1,"stderr":0,"runs":[]}` + "\n",
		`{"stdout":0,"stderr":0,"runs":[{"stream":"stdin","bytes":1}]}` + "\nx",
		`{"stdout":0,"stderr":0,"runs":[{"stream":"stdout","bytes":9}]}` + "\nx",
		`{"stdout":0,"stderr":0,"runs":[{"stream":"stdout","bytes":-1}]}` + "\n",
		`{"stdout":9223372036854775807,"stderr":0,"runs":[{"stream":"stdout","bytes":9223372036854775807}]}` + "\nx",
		strings.Repeat("x", 100_000), strings.Repeat("[", 100_000) + "\n",
	} {
		g.try(fmt.Sprintf("log of %.40q", body), func(fail func(string, ...any)) {
			target := fmt.Sprintf("/agent/v1/jobs/%s/log/segments/%012x-%012x", h.running.ID, 100+i, 100+i)
			if a, err := g.server.send(request{method: http.MethodPut, target: target, header: []string{auth},
				body: body}); err != nil || a.status >= 500 {
				fail("stored: %s %v", brief(a), err)
			}
			// The job may have spoilt its own log, and nothing else.
			a, err := g.server.send(get(h.running.path()+"/logs?tail=all", bearer(h.running.Token)))
			if err != nil || len(a.body) > 1<<20 || a.status >= 400 && a.fault(http.MethodGet, "") != "" {
				fail("read: %s %v", brief(a), err)
			}
			if a, err := g.server.send(get(h.done.path()+"/logs?tail=all",
				bearer(h.done.Token))); err != nil || a.status != http.StatusOK {
				fail("another job's: %s %v", brief(a), err)
			}
		})
	}
}
