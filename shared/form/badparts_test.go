package form_test

import (
	"net/http"
	"strings"

	"go-job-orchestrator/shared/form/formtest"
)

func badNames() []bad {
	var list []bad
	for _, n := range []struct{ name, raw, message string }{
		{"empty", "", "needs a name"},
		{"dot", ".", "not a file name"},
		{"dots", "..", "not a file name"},
		{"two slashes", "a//b", "two slashes"},
		{"this folder", "a/./b", "not a file name"},
		{"absolute", "/etc/passwd", "absolute"},
		{"traversal", "../../etc/passwd", "not a file name"},
		{"traversal in between", "a/../../etc/passwd", "not a file name"},
		{"1001 bytes", strings.Repeat("a/", 500) + "a", "longer than 1000"},
		{"201 bytes of a folder", strings.Repeat("a", 201) + "/a", "201 bytes"},
		{"trailing slash", "a.py/", "slash"},
		{"backslash", `..\\x`, "backslash"},
		{"unescaped backslash", `..\x`, "backslash"},
		{"drive", `C:\\a.py`, "backslash"},
		{"tab", "a\tb", "control character"},
		{"C1 control", "a\u0085b", "control character"},
		{"201 bytes", strings.Repeat("a", 201), "201 bytes"},
		{"201 bytes of runes", strings.Repeat("ä", 100) + "a", "201 bytes"},
		{"index.json", "index.json", "reserved"},
		{"status.json", "status.json", "reserved"},
		{"results", "results", "reserved"},
		{"in results", "results/a", "reserved"},
		{"in index.json", "index.json/a", "reserved"},
		{"invalid UTF-8", "a\xff", "UTF-8"},
		{"overlong UTF-8 slash", "a\xc0\xafb", "UTF-8"},
		{"surrogate UTF-8", "a\xed\xa0\x80", "UTF-8"},
	} {
		list = append(list, bad{
			name: "file name/" + n.name, parts: []formtest.Part{file(n.raw, "x"), field("runtime", "python"),
				field("entrypoint", "a.py")},
			field: "files", message: n.message,
		})
	}
	for _, n := range []struct{ name, header, message string }{
		{"extended traversal", `filename*=UTF-8''%2e%2e%2fx`, "not a file name"},
		{"extended dots", `filename*=UTF-8''%2E%2E`, "not a file name"},
		{"extended NUL", `filename*=UTF-8''a%00`, "control character"},
		{"extended newline", `filename*=UTF-8''a%0d%0ab`, "control character"},
		{"extended invalid", `filename*=UTF-8''%ff`, "UTF-8"},
		{"extended wins", `filename="fine.py"; filename*=UTF-8''..%2fx`, "not a file name"},
		{"continued", `filename*0="../"; filename*1="x"`, "not a file name"},
		{"extended in another character set", `filename*=ISO-8859-1''a`, "sent as text"},
		{"extended reserved", `filename*=utf-8'en'index%2Ejson`, "reserved"},
	} {
		list = append(list, bad{
			name: "file name/" + n.name, parts: script(part(`Content-Disposition: form-data; name="files"; `+n.header, "x")),
			field: "files", message: n.message,
		})
	}
	return append(list,
		bad{name: "file name/duplicate", parts: script(file("a.py", "other")), field: "files",
			message: `two files are named "a.py"`},
		bad{name: "file name/of a folder", parts: script(file("a.py/b", "x")), field: "files",
			message: `"a.py/b" lies in "a.py", which is a file`},
		bad{name: "file name/folder of a name", parts: script(file("b/c", "x"), file("b", "x")), field: "files",
			message: "both a file and a folder"},
		bad{name: "file name/duplicate in a folder", parts: script(file("b/c", "x"), file("b/c", "x")), field: "files",
			message: `two files are named "b/c"`},
		bad{name: "file name/duplicate, the other way to write it",
			parts: script(part(`Content-Disposition: form-data; name="files"; filename*=UTF-8''%61.py`, "x")),
			field: "files", message: `two files are named "a.py"`},
	)
}

// badFields are about which fields there are.
func badFields() []bad {
	list := []bad{
		{name: "entrypoint/traversal", parts: []formtest.Part{field("runtime", "python"), field("entrypoint", "../a.py"),
			file("a.py", "")}, field: "entrypoint", message: "not a file name"},
		{name: "entrypoint/dots", parts: []formtest.Part{field("runtime", "python"), field("entrypoint", ".."), file("a.py",
			"")},
			field: "entrypoint", message: "not a file name"},
		{name: "files/none", parts: []formtest.Part{field("runtime", "python"), field("entrypoint", "a.py")}, field: "files",
			message: "-F files=@script.py"},
		{name: "files/as text", parts: []formtest.Part{field("runtime", "python"), field("entrypoint", "a.py"),
			field("files", "print(1)")}, field: "files", message: "sent as text; send a file"},
		{name: "field/unknown", parts: script(field("command", "ls")), field: "command",
			message: "there are: files, archive, arg, args"},
		{name: "field/unknown by case", parts: script(field("Args", "[]")), field: "Args", message: "not a field"},
		{name: "field/unknown and long", parts: script(field(strings.Repeat("x", 5000), "ls")),
			field: strings.Repeat("x", 60), message: "not a field"},
		{name: "field/prototype", parts: script(field("__proto__", "ls")), field: "__proto__", message: "not a field"},
		{name: "field/unknown file", parts: script(part(`Content-Disposition: form-data; name="upload"; filename="b.py"`,
			"x")), field: "upload", message: "files belong to the fields files and archive"},
		{name: "field/as file", parts: script(part(`Content-Disposition: form-data; name="cpu"; filename="cpu.txt"`, "1")),
			field: "cpu", message: "-F 'cpu=<file'"},
		{name: "field/without a name", parts: script(part(`Content-Disposition: form-data`, "1")), status: 400,
			field: "body", message: "has no name"},
		{name: "field/with an empty name", parts: script(field("", "1")), status: 400, field: "body", message: "has no name"},
		{name: "field/too large", parts: script(field("args", strings.Repeat(" ", 2<<20))), status: 413, field: "args",
			message: "1048576 bytes (MAX_FIELD_BYTES)"},
		{name: "fields/too large together", parts: script(formtest.Repeat(field("arg", strings.Repeat("a", 1<<20)), 5)...),
			status: 413, field: "arg", message: "MAX_FIELD_BYTES"},
		{name: "fields/20,000", parts: script(formtest.Repeat(field("arg", "x"), 20_000)...), field: "arg",
			message: "more than 10000 fields"},
		{name: "fields/20,000 unknown", parts: script(formtest.Repeat(field("x", "x"), 20_000)...), field: "x",
			message: "not a field"},
		{name: "files/101", parts: script(formtest.Files(100)...), field: "files",
			message: "more than 100 files (MAX_FILES)"},
		{name: "files/20,000", parts: script(formtest.Files(20_000)...), field: "files", message: "more than 100 files"},
		{name: "total/by Content-Length", parts: script(file("b", strings.Repeat("b", 4096))), limit: 4096,
			status: 413, field: "files", message: "4096 bytes (MAX_UPLOAD_BYTES)"},
		{name: "total/by chunks", parts: script(file("b", strings.Repeat("b", 2<<20))), chunked: true,
			limit: 1 << 20, status: 413, field: "files", message: "1048576 bytes (MAX_UPLOAD_BYTES)"},
		{name: "total/by chunks in a field", parts: script(field("args", strings.Repeat(" ", 1<<19))), chunked: true,
			limit: 1 << 18, status: 413, field: "files", message: "MAX_UPLOAD_BYTES"},
		{name: "total/by chunks in a preamble", body: strings.Repeat("x\r\n", 1<<20) + formtest.Encode(script()...),
			chunked: true,
			limit:   1 << 20, status: 400, field: "body", message: "16384 bytes of header"},
	}
	for _, name := range []string{"runtime", "entrypoint", "args", "env", "labels", "cpu", "memory", "image",
		"timeoutSeconds", "ttlSecondsAfterFinished", "retries"} {
		value := map[string]string{"args": "[]", "env": "{}", "labels": "{}", "runtime": "python", "entrypoint": "a.py"}[name]
		if value == "" {
			value = "1"
		}
		list = append(list, bad{name: "twice/" + name, parts: script(field(name, value), field(name, value)), field: name,
			message: "more than once"})
	}
	return list
}

// badBodies are no forms.
func badBodies() []bad {
	const early = "not a whole multipart form"
	whole := formtest.Encode(script()...)
	return []bad{
		{name: "type/none", parts: script(), header: http.Header{"Content-Type": nil}, status: 415,
			message: "multipart/form-data"},
		{name: "type/JSON", body: "{}", header: http.Header{"Content-Type": {"application/json"}}, status: 415,
			message: "multipart/form-data"},
		{name: "type/urlencoded", body: "runtime=python",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, status: 415, message: "-F"},
		{name: "type/mixed", parts: script(), header: http.Header{"Content-Type": {"multipart/mixed; boundary=" + boundary}},
			status: 415, message: "multipart/form-data"},
		{name: "type/garbage", parts: script(), header: http.Header{"Content-Type": {";;;"}}, status: 415,
			message: "multipart/form-data"},
		{name: "type/two boundaries", parts: script(), header: http.Header{"Content-Type": {contentType + "; boundary=x"}},
			status: 415, message: "multipart/form-data"},
		{name: "type/no boundary", parts: script(), header: http.Header{"Content-Type": {"multipart/form-data"}},
			status: 400, field: "Content-Type", message: "boundary"},
		{name: "type/empty boundary", parts: script(),
			header: http.Header{"Content-Type": {`multipart/form-data; boundary=""`}}, status: 400, field: "Content-Type",
			message: "boundary"},
		{name: "type/71 characters of boundary", parts: script(),
			header: http.Header{"Content-Type": {"multipart/form-data; boundary=" + strings.Repeat("b", 71)}}, status: 400,
			field: "Content-Type", message: "1 to 70"},
		{name: "type/another boundary", parts: script(),
			header: http.Header{"Content-Type": {"multipart/form-data; boundary=other"}}, status: 400, field: "body",
			message: early},
		{name: "type/compressed", parts: script(), header: http.Header{"Content-Encoding": {"gzip"}}, status: 415,
			message: "Content-Encoding"},
		{name: "body/empty", body: "", status: 400, field: "body", message: early},
		{name: "body/a boundary only", body: "--" + boundary, status: 400, field: "body", message: early},
		{name: "body/the last boundary only", body: "--" + boundary + "--", field: "files", message: "at least one file"},
		{name: "body/garbage", body: strings.Repeat("\x00\xff garbage", 1000), status: 400, field: "body", message: early},
		{name: "body/garbage in lines", body: strings.Repeat("garbage\r\n", 1000), status: 400, field: "body",
			message: early},
		{name: "body/one endless line", body: strings.Repeat("x", 1<<20), status: 400, field: "body", message: early},
		{name: "body/no last boundary", body: strings.TrimSuffix(whole, "--"+boundary+"--\r\n"), status: 400, field: "body",
			message: early},
		{name: "body/no last boundary but the next one's beginning", body: strings.TrimSuffix(whole, "--\r\n") + "\r\n",
			status: 400, field: "body", message: "Content-Disposition"},
		{name: "body/last boundary cut", body: strings.TrimSuffix(whole, "-\r\n"), status: 400, field: "body",
			message: early},
		{name: "body/cut in a file", body: whole[:len(whole)-len(boundary)-12], status: 400, field: "body", message: early},
		{name: "body/cut in a header", body: strings.TrimSuffix(whole, "--\r\n") + "\r\nContent-Dispo", status: 400,
			field: "body", message: early},
		{name: "body/cut after a header", body: strings.TrimSuffix(whole, "--\r\n") + "\r\n" + field("arg", "").Header,
			status: 400, field: "body", message: early},
		{name: "body/cut after a field", body: strings.TrimSuffix(whole, "--\r\n") + "\r\n" + field("arg", "").Header +
			"\r\n\r\nx", status: 400, field: "body", message: early},
		{name: "body/cut after a boundary", body: strings.TrimSuffix(whole, "--\r\n"), status: 400, field: "body",
			message: early},
		{name: "body/cut in the first header", body: "--" + boundary + "\r\nContent-Dispo", status: 400, field: "body",
			message: early},
		{name: "body/a header without colon", body: "--" + boundary + "\r\nContent-Disposition\r\n\r\nx\r\n--" + boundary +
			"--", status: 400, field: "body", message: early},
		{name: "body/an endless header", parts: script(part("X: "+strings.Repeat("x", 11<<20), "x")), status: 400,
			field: "body", message: "16384 bytes of header"},
		{name: "body/30,000 headers", parts: script(part(strings.Repeat("X: y\r\n", 30_000)+"X: y", "x")), status: 400,
			field: "body", message: "16384 bytes of header"},
		{name: "part/no headers", body: "--" + boundary + "\r\n\r\nx\r\n--" + boundary + "--", status: 400, field: "body",
			message: "Content-Disposition"},
		{name: "part/no disposition", parts: script(part("Content-Type: text/plain", "x")), status: 400, field: "body",
			message: "Content-Disposition"},
		{name: "part/attachment", parts: script(part(`Content-Disposition: attachment; name="files"; filename="b"`, "x")),
			status: 400, field: "body", message: "Content-Disposition"},
		{name: "part/two names", parts: script(part(`Content-Disposition: form-data; name="files"; name="cpu"; filename="b"`,
			"x")), status: 400, field: "body", message: "Content-Disposition"},
		{name: "part/two file names",
			parts: script(part(`Content-Disposition: form-data; name="files"; filename="b"; filename="c"`, "x")), status: 400,
			field: "body", message: "Content-Disposition"},
		{name: "part/open quote", parts: script(part(`Content-Disposition: form-data; name="files"; filename="b`, "x")),
			status: 400, field: "body", message: "Content-Disposition"},
		{name: "part/NUL in the file name", parts: script(file("a\x00", "x")), status: 400, field: "body", message: early},
		{name: "part/escape in the file name", parts: script(file("a\x1b[31m", "x")), status: 400, field: "body",
			message: early},
		{name: "part/delete in the file name", parts: script(file("a\x7f", "x")), status: 400, field: "body", message: early},
		{name: "part/line feed in the file name", parts: script(file("a\nb", "x")), status: 400, field: "body",
			message: early},
		{name: "part/nested multipart as a field", parts: script(part("Content-Disposition: form-data; "+
			"name=\"files\"\r\nContent-Type: multipart/mixed; boundary=inner", "--inner\r\nContent-Disposition: file; "+
			"filename=\"b\"\r\n\r\nx\r\n--inner--")), field: "files", message: "sent as text"},
	}
}
