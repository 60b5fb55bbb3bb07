package hostile

import (
	"fmt"
	"strings"
	"testing"
)

// strict are settings with low limits, which a form exceeds quickly.
func strict() []string {
	return []string{
		"MAX_UPLOAD_BYTES=2Mi", "MAX_FIELD_BYTES=256Ki", "MAX_FILES=8", "MAX_NAME_BYTES=100", "MAX_EVENT_BYTES=256Ki",
		"REAP_INTERVAL=1h",
		"KILL_GRACE=500ms", "MAX_MEMORY=1Gi", "MAX_CPU=2", "MAX_TIMEOUT_SECONDS=3600",
		"ORCH_BASE_URL=http://jobs.example:8080",
		"ALLOWED_HOSTS=ci.example",
	}
}

// requests are the groups of inputs that are refused before anything of a job begins.
func (s *suite) requests(t *testing.T) {
	srv := s.launch(t, s.all, folder(t), strict()...)
	calm := s.launch(t, s.all, folder(t), strict()...)
	s.run(t, "multipart", srv, memoryBound, func(g *group) { g.refuse(multipartRows()) })
	s.run(t, "names", srv, memoryBound, nameRows)
	s.run(t, "JSON", srv, memoryBound, func(g *group) { g.refuse(jsonRows()) })
	s.run(t, "env", srv, memoryBound, envRows)
	s.run(t, "quantities", srv, memoryBound, func(g *group) { g.refuse(quantityRows()) })
	s.run(t, "headers and Host", srv, memoryBound, func(g *group) { g.refuse(headerRows()); g.refuse(hostRows()) })
	s.run(t, "lists", srv, memoryBound, func(g *group) { g.refuse(listRows()) })
	open := s.launch(t, s.all, folder(t), append(strict(), "AUTH=open")...)
	s.throughFront(t, open)
	// All servers had the same start, so any difference was left behind by the inputs.
	before := calm.goroutines(t)
	for name, attacked := range map[string]*server{"attacked": srv, "open": open} {
		if after := attacked.goroutines(t); after > before+8 {
			t.Errorf("the %s server has %d goroutines, one that did nothing %d", name, after, before)
		}
	}
}

// whole is a form that would be accepted.
func whole() string { return encode(script("true\n")...) }

func multipartRows() []row {
	return append(append(typeRows(), brokenRows()...), append(partRows(), largeRows()...)...)
}

// typeRows are requests whose Content-Type is not that of a form.
func typeRows() []row {
	typed := func(value string) request {
		r := post("/api/v1/jobs", whole())
		r.header[0] = "Content-Type: " + value
		return r
	}
	none := post("/api/v1/jobs", whole())
	none.header = nil
	var rows []row
	for _, kind := range []string{
		"application/json", "application/x-www-form-urlencoded", "multipart/mixed; boundary=" + boundary,
		"multipart/form-dat; boundary=" + boundary,
		"text/plain", "multipart/form-data; boundary=", "*/*", ";", "multipart/form-data; =;;",
		`multipart/form-data; boundary="a`, "multipart",
		"multipart/form-data; boundary=a; boundary=b",
	} {
		rows = append(rows, row{name: "type " + kind, req: typed(kind), status: []int{400, 415}})
	}
	for _, coding := range []string{"gzip", "br", "deflate", "gzip, identity", "x", "zstd", "GZIP"} {
		rows = append(rows, refused(415, "", "coding "+coding, post("/api/v1/jobs", whole(), "Content-Encoding: "+coding)))
	}
	return append(rows,
		refused(415, "", "no type", none),
		refused(400, "Content-Type", "no boundary", typed("multipart/form-data")),
		refused(400, "Content-Type", "long boundary", typed("multipart/form-data; boundary="+strings.Repeat("b", 71))),
		refused(400, "Content-Type", "huge boundary", typed("multipart/form-data; boundary="+strings.Repeat("b", 30_000))),
		refused(400, "body", "other boundary", typed("multipart/form-data; boundary=other")),
	)
}

// brokenRows are forms that end early, or bodies that are not forms.
func brokenRows() []row {
	all := whole()
	var rows []row
	for name, body := range map[string]string{
		"nothing": "", "no form": "hello", "only a boundary": "--" + boundary + "\r\n",
		"half a boundary":  "--" + boundary[:5],
		"ends in a header": all[:40], "ends in a part": all[:len(all)/2],
		"ends before the last boundary": strings.TrimSuffix(all, "--"+boundary+"--\r\n"),
		"ends in the last boundary":     all[:len(all)-4], "zeros": strings.Repeat("\x00", 5000),
		"line breaks": strings.Repeat("\r\n", 5000),
		"dashes":      strings.Repeat("--", 5000), "boundaries only": strings.Repeat("--"+boundary+"\r\n", 2000),
		"header without colon": encode(part{"Content-Disposition\r\n", "x"}),
		"header with NUL":      encode(part{"Content-Disposition: form-data; name=\"runtime\"\x00\r\n", "x"}),
		"no disposition":       encode(part{"Content-Type: text/plain\r\n", "x"}),
		"attachment":           encode(part{"Content-Disposition: attachment; name=\"runtime\"\r\n", "x"}),
		"empty disposition":    encode(part{"Content-Disposition: \r\n", "x"}),
		"no name":              encode(part{"Content-Disposition: form-data\r\n", "x"}),
		"empty name":           encode(part{"Content-Disposition: form-data; name=\"\"\r\n", "x"}),
		"open quote":           encode(part{"Content-Disposition: form-data; name=\"runtime\r\n", "x"}),
		"two names":            encode(part{"Content-Disposition: form-data; name=\"runtime\"; name=\"args\"\r\n", "x"}),
		"two filenames": encode(part{"Content-Disposition: form-data; name=\"files\"; filename=\"a\"; " +
			"filename=\"b\"\r\n", "x"}),
	} {
		rows = append(rows, refused(400, "body", name, post("/api/v1/jobs", body)))
	}
	cut := all[:len(all)-9] // anything after the last boundary is ignored
	short, long := post("/api/v1/jobs", all, fmt.Sprintf("Content-Length: %d", len(cut))),
		post("/api/v1/jobs", cut, "Content-Length: 9000")
	long.cut = true
	chunk := func(name, body string) row {
		r := post("/api/v1/jobs", body, "Transfer-Encoding: chunked")
		r.cut = true
		return refused(400, "body", name, r)
	}
	return append(rows,
		refused(400, "body", "shorter length", short), refused(400, "body", "longer length", long),
		chunk("chunk without size", "\r\n"+all), chunk("chunk of letters", "xyz\r\n"+all),
		chunk("chunk of minus one", "-1\r\n"+all),
		chunk("endless chunk", "ffffffffffffffff\r\n"+cut), chunk("chunk beyond 64 bits", "fffffffffffffffff\r\n"+all),
		chunk("chunk cut off", "ffff\r\n"+cut), chunk("no last chunk",
			fmt.Sprintf("%x\r\n%s\r\n", len(all)-5, all[:len(all)-5])),
		chunk("chunk extension", "5;"+strings.Repeat("x", 20_000)+"\r\n"+all),
		chunk("no line break after chunk", "5\r\nhelloworld"),
	)
}

// partRows are forms whose parts are not valid for a job.
func partRows() []row {
	as := func(header string) request { return with(part{header + "\r\n", "x"}) }
	rows := []row{
		refused(422, "files", "no parts", post("/api/v1/jobs", "--"+boundary+"--\r\n")),
		refused(422, "other", "unknown field", with(text("other", "x"))),
		refused(422, "Runtime", "field in capitals", with(text("Runtime", "x"))),
		refused(422, "runtime ", "field with a blank", with(text("runtime ", "x"))),
		refused(422, "token", "somebody's field", with(text("token", "x"))),
		refused(422, "owner", "owner", with(text("owner", string(ghost)))),
		refused(422, "runtime", "runtime twice", with(text("runtime", "python"))),
		refused(422, "args", "args twice", with(text("args", "[]"), text("args", "[]"))),
		refused(422, "files", "file as text", with(text("files", "x"))),
		refused(422, "env", "field as file", as(`Content-Disposition: form-data; name="env"; filename="x"`)),
		refused(422, "env", "field as file without name", as(`Content-Disposition: form-data; name="env"; filename=""`)),
		refused(422, "files", "file without name", as(`Content-Disposition: form-data; name="files"; filename=""`)),
		refused(422, "files", "name in RFC 5987",
			as(`Content-Disposition: form-data; name="files"; filename*=UTF-8''..%2Fx`)),
		refused(422, "image", "image", with(text("image", "alpine"))),
		refused(422, "queue", "queue", with(text("queue", "team-a"))),
		refused(422, "runtime", "unknown runtime", submit(program("cobol", "run", "x")...)),
		refused(422, "runtime", "runtime with NUL", submit(program("binary\x00", "run", "x")...)),
		refused(422, "args", "not UTF-8", with(text("args", "[\"\xff\"]"))),
		refused(422, "arg", "argument not UTF-8", with(text("arg", "\xc3\x28"))),
		refused(422, "args", "argument with NUL", with(text("arg", "a\x00b"))),
		refused(422, "field", "long unknown field", with(text("field"+strings.Repeat("x", 55), "x"))),
	}
	rows[len(rows)-1].field = "" // clipped
	for _, value := range []string{"", strings.Repeat("k", 256)} {
		rows = append(rows, refused(400, "Idempotency-Key", "key of "+fmt.Sprint(len(value)),
			with().with("Idempotency-Key: "+value)))
	}
	return append(rows,
		refused(400, "Idempotency-Key", "two keys", with().with("Idempotency-Key: a", "Idempotency-Key: b")),
		row{name: "odd expectation", req: with().with("Expect: the-unexpected"), status: []int{417}, plain: true},
	)
}

// largeRows exceed a bound.
func largeRows() []row {
	many := func(n int, one part) []part {
		parts := make([]part, n)
		for i := range parts {
			parts[i] = one
		}
		return parts
	}
	var files []part
	for i := range 8 {
		files = append(files, file(fmt.Sprintf("f%d", i), "x"))
	}
	big := strings.Repeat("x", 2<<20)
	preamble := post("/api/v1/jobs", big+"\r\n"+whole())
	disposition := "Content-Disposition: form-data; name=\"arg\"\r\n"
	return []row{
		refused(413, "files", "upload", with(file("big", big))),
		refused(413, "files", "upload in chunks", with(file("big", big)).chunked()),
		refused(413, "files", "length alone", post("/api/v1/jobs", "", "Content-Length: 9999999999")),
		refused(413, "files", "preamble", preamble),
		{name: "preamble in chunks", req: preamble.chunked(), status: []int{400, 413}},
		refused(413, "arg", "field", with(text("arg", big[:256<<10+1]))),
		refused(413, "arg", "fields together", with(many(9, text("arg", big[:124<<10]))...)),
		refused(422, "files", "files", with(files...)),
		refused(422, "arg", "arguments", with(many(10_001, text("arg", ""))...)),
		{name: "header of a part", req: with(part{disposition + "X: " + strings.Repeat("x", 24<<10) + "\r\n", "x"}),
			status: []int{400, 413, 422, 431}},
		{name: "headers of a part", req: with(part{disposition + strings.Repeat("X: y\r\n", 9000), "x"}),
			status: []int{400, 413, 422, 431}},
		{name: "headers of all parts", req: with(many(40, part{disposition + "X: " + strings.Repeat("x", 24<<10) + "\r\n",
			""})...), status: []int{400, 413, 422, 431}},
		{name: "folded header of a part", req: with(part{disposition + strings.Repeat(" x\r\n", 9000), "x"}),
			status: []int{400, 413, 422, 431}},
		{name: "name of a field", req: with(part{"Content-Disposition: form-data; name=\"" + strings.Repeat("n",
			24<<10) + "\"\r\n", "x"}), status: []int{400, 413, 422, 431}},
		{name: "parameters of a part", req: with(part{strings.TrimSuffix(disposition, "\r\n") + strings.Repeat("; a=b",
			9000) + "\r\n", "x"}), status: []int{400, 413, 422, 431}},
	}
}
