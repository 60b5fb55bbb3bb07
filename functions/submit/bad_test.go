package submit_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go-job-orchestrator/functions/submit"
	"go-job-orchestrator/shared/job"
)

// bad is a request that must be refused, and what its sender must be told.
type bad struct {
	name    string
	parts   []part
	body    string      // instead of parts
	header  http.Header // on top of the usual
	chunked bool
	deps    func(*submit.Deps)
	status  int    // 422 if 0
	field   string // of one of the errors; none are expected without
	message string // a part of that error's message, or of the detail without a field
}

func badNames() []bad {
	var list []bad
	for _, n := range []struct{ name, raw, message string }{
		{"empty", "", "needs a name"},
		{"dot", ".", "not a file name"},
		{"dots", "..", "not a file name"},
		{"slash", "a/b", "slash"},
		{"absolute", "/etc/passwd", "slash"},
		{"traversal", "../../etc/passwd", "slash"},
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
		{"invalid UTF-8", "a\xff", "UTF-8"},
		{"overlong UTF-8 slash", "a\xc0\xafb", "UTF-8"},
		{"surrogate UTF-8", "a\xed\xa0\x80", "UTF-8"},
	} {
		list = append(list, bad{
			name: "file name/" + n.name, parts: []part{file(n.raw, "x"), field("runtime", "python"),
				field("entrypoint", "a.py")},
			field: "files", message: n.message,
		})
	}
	for _, n := range []struct{ name, header, message string }{
		{"extended traversal", `filename*=UTF-8''%2e%2e%2fx`, "slash"},
		{"extended dots", `filename*=UTF-8''%2E%2E`, "not a file name"},
		{"extended NUL", `filename*=UTF-8''a%00`, "control character"},
		{"extended newline", `filename*=UTF-8''a%0d%0ab`, "control character"},
		{"extended invalid", `filename*=UTF-8''%ff`, "UTF-8"},
		{"extended wins", `filename="fine.py"; filename*=UTF-8''..%2fx`, "slash"},
		{"continued", `filename*0="../"; filename*1="x"`, "slash"},
		{"extended in another character set", `filename*=ISO-8859-1''a`, "sent as text"},
		{"extended reserved", `filename*=utf-8'en'index%2Ejson`, "reserved"},
	} {
		list = append(list, bad{
			name: "file name/" + n.name, parts: script(part{`Content-Disposition: form-data; name="files"; ` + n.header, "x"}),
			field: "files", message: n.message,
		})
	}
	return append(list,
		bad{name: "file name/duplicate", parts: script(file("a.py", "other")), field: "files",
			message: `two files are named "a.py"`},
		bad{name: "file name/duplicate, the other way to write it",
			parts: script(part{`Content-Disposition: form-data; name="files"; filename*=UTF-8''%61.py`, "x"}),
			field: "files", message: `two files are named "a.py"`},
	)
}

// badValues are forms that are whole but for one field.
func badValues() []bad {
	var list []bad
	one := func(field_ string, text string, at, message string) {
		list = append(list, bad{name: fmt.Sprintf("%s/%.30q", field_, text), parts: script(field(field_, text)), field: at,
			message: message})
	}
	for _, q := range []string{"1e309", "1e999999999", "-1", "0", "1 Gi", " 1", "1 ", "NaN", "Inf", "0x10", "1_000", "１",
		"1Ki1", "1g", "+", ".", "1e", "--1", "1\n", "\x00"} {
		one("cpu", q, "cpu", "quantity")
		if q == "-1" || q == "0" {
			list[len(list)-1].message = "out of range"
		}
	}
	one("cpu", "", "cpu", "empty")
	one("cpu", "1001", "cpu", "out of range")
	one("cpu", "1Ei", "cpu", "out of range")
	one("cpu", strings.Repeat("1", 25), "cpu", "24 characters")
	one("cpu", strings.Repeat("0", 1<<19), "cpu", "24 characters")
	for _, q := range []string{"1e309", "1 Gi", "NaN", "0x10", "512MB", "512mi", "half", "1e1000"} {
		one("memory", q, "memory", "not a Kubernetes quantity")
	}
	for _, q := range []string{"100m", "0", "-1", "-1Gi", "512", "1048575", "0.0000001Ei1"[:11]} {
		one("memory", q, "memory", "less than 1Mi")
	}
	list[len(list)-1] = bad{name: "memory/2Pi", parts: script(field("memory", "2Pi")), field: "memory",
		message: "at most 1Pi"}
	one("memory", "9223372036854775808", "memory", "at most 1Pi")
	one("memory", "9999999999999999999999Ei", "memory", "at most 1Pi")
	one("memory", strings.Repeat("9", 25), "memory", "24 characters")
	one("memory", "", "memory", "empty")

	const wantList = "JSON array of strings"
	for _, v := range []string{
		"", " ", "a", `"a"`, "1", "{}", `{"a":"b"}`, "true", "null", "[", "]", "[]]", `["a"`, `["a",]`, `[,"a"]`,
		`["a" "b"]`, "[1]", "[1.5]",
		"[true]", "[null]", `["a",null]`, `[["a"]]`, `[{}]`, `["a"] x`, `["a"]["b"]`, `["a"],`, "['a']", "[\"a\x01\"]",
		"[\"a\nb\"]", `["\x41"]`, "\ufeff[]",
		"[]\x00", strings.Repeat("[", 100_000), `["\u12"]`,
	} {
		one("args", v, "args", wantList)
	}
	one("args", `["a","\u0000"]`, "args[1]", "NUL")
	one("args", `["\ud800"]`, "args", "surrogate")
	one("args", `["\udc00\ud800"]`, "args", "surrogate")
	one("args", `["\ud83dx\ude00"]`, "args", "surrogate")
	one("args", `["`+strings.Repeat("a", job.MaxArgBytes+1)+`"]`, "args[0]", "Linux allows 131071")
	one("args", "["+strings.Repeat(`"",`, 200_000)+`""]`, "args", "together")
	one("args", "[\"\xff\"]", "args", "UTF-8")
	one("arg", "a\x00b", "args[0]", "NUL")
	one("arg", "\xff", "arg", "UTF-8")
	one("arg", strings.Repeat("a", job.MaxArgBytes+1), "args[0]", "Linux allows")

	const wantMap = "JSON object of strings"
	for _, name := range []string{"env", "labels"} {
		for _, v := range []string{
			"", "[]", `["a"]`, "null", `"a"`, "1", "{", "}", `{"a"}`, `{"a":}`, `{"a":"b",}`, `{"a":"b"}{}`, `{"a":"b"} x`,
			`{a:"b"}`, `{"a" "b"}`,
			`{1:"b"}`, `{"a":"b" "c":"d"}`, `{"a":"b":"c"}`,
		} {
			one(name, v, name, wantMap)
		}
		for _, v := range []string{`{"a":1}`, `{"a":null}`, `{"a":true}`, `{"a":["b"]}`, `{"a":{"b":"c"}}`} {
			one(name, v, name, `the value of "a" is not a string`)
		}
		one(name, `{"a":"1","b":"2","a":"1"}`, name, `"a" more than once`)
		one(name, `{"a":"1","\u0061":"2"}`, name, `"a" more than once`)
		one(name, `{"\ud800":"1"}`, name, "surrogate")
	}
	for _, v := range []struct{ json, at, message string }{
		{`{"":"x"}`, `env[""]`, "needs a name"},
		{`{"A=B":"x"}`, `env["A=B"]`, "cannot contain ="},
		{`{"A\u0000":"x"}`, `env["A\x00"]`, "printable ASCII"},
		{`{"A":"x\u0000y"}`, `env["A"]`, "NUL"},
		{`{"A B":"x"}`, `env["A B"]`, "printable ASCII"},
		{`{"Ä":"x"}`, `env["Ä"]`, "printable ASCII"},
		{`{"A\n":"x"}`, `env["A\n"]`, "printable ASCII"},
		{`{"` + strings.Repeat("A", 257) + `":"x"}`, `env["AAAA`, "257 bytes"},
		{`{"A":"` + strings.Repeat("x", job.MaxArgBytes) + `"}`, `env["A"]`, "Linux allows"},
		{`{"PATH":"/evil"}`, `env["PATH"]`, "set by the orchestrator"},
		{`{"HOME":"/"}`, `env["HOME"]`, "set by the orchestrator"},
		{`{"LANG":"C"}`, `env["LANG"]`, "set by the orchestrator"},
		{`{"TMPDIR":"/"}`, `env["TMPDIR"]`, "set by the orchestrator"},
		{`{"JOB_ID":"x"}`, `env["JOB_ID"]`, "choose another name"},
		{`{"OUTPUT_DIR":"x"}`, `env["OUTPUT_DIR"]`, "set by the orchestrator"},
	} {
		one("env", v.json, v.at, v.message)
	}
	for _, v := range []struct{ json, at, message string }{
		{`{"":"x"}`, `labels[""]`, "label's name"},
		{`{"-a":"x"}`, `labels["-a"]`, "label's name"},
		{`{"a b":"x"}`, `labels["a b"]`, "label's name"},
		{`{"a/b/c":"x"}`, `labels["a/b/c"]`, "label's name"},
		{`{"UP/b":"x"}`, `labels["UP/b"]`, "DNS name"},
		{`{"/b":"x"}`, `labels["/b"]`, "DNS name"},
		{`{"a/":"x"}`, `labels["a/"]`, "label's name"},
		{`{"a":"x y"}`, `labels["a"]`, "label's value"},
		{`{"a":"-"}`, `labels["a"]`, "label's value"},
		{`{"a":"` + strings.Repeat("x", 64) + `"}`, `labels["a"]`, "63"},
		{`{"a\n":"x"}`, `labels["a\n"]`, "label's name"},
		{`{"` + strings.Repeat("a", 1<<19) + `":"x"}`, `labels["aaaa`, "label's name"},
	} {
		one("labels", v.json, v.at, v.message)
	}
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf(`"l%d":"x"`, i))
	}
	one("labels", "{"+strings.Join(many, ",")+"}", "labels", "33 labels; at most 32")

	for _, name := range []string{"timeoutSeconds", "ttlSecondsAfterFinished", "retries"} {
		for _, v := range []string{"-1", "1.5", "1e3", "", "99999999999999999999", "+5", " 5", "5 ", "5\n", "0x5", "١",
			"five", "1_0"} {
			one(name, v, name, "whole number")
		}
	}
	one("timeoutSeconds", "0", "timeoutSeconds", "from 1 on")
	one("timeoutSeconds", "315360001", "timeoutSeconds", "out of range")
	one("ttlSecondsAfterFinished", "315360001", "ttlSecondsAfterFinished", "out of range")
	one("retries", "101", "retries", "from 0 to 100")
	one("retries", "9999999999", "retries", "from 0 to 100")
	for _, v := range []string{"-x", "a b", "a\nb", "$(id)", "a;b", "ä", strings.Repeat("a", 513)} {
		one("image", v, "image", "image reference")
	}
	return list
}

// badFields are about which fields there are.
func badFields() []bad {
	list := []bad{
		{name: "runtime/missing", parts: []part{field("entrypoint", "a.py"), file("a.py", "")}, field: "runtime",
			message: "required"},
		{name: "runtime/empty", parts: []part{field("runtime", ""), field("entrypoint", "a.py"), file("a.py", "")},
			field: "runtime", message: "required"},
		{name: "runtime/unknown", parts: []part{field("runtime", "cobol"), field("entrypoint", "a.py"), file("a.py", "")},
			field: "runtime", message: `"cobol" is not a runtime; there are: python`},
		{name: "runtime/case", parts: []part{field("runtime", "Python"), field("entrypoint", "a.py"), file("a.py", "")},
			field: "runtime", message: "not a runtime"},
		{name: "runtime/long", parts: []part{field("runtime", strings.Repeat("x", 1<<20)), field("entrypoint", "a.py"),
			file("a.py", "")}, field: "runtime", message: "not a runtime"},
		{name: "entrypoint/missing", parts: []part{field("runtime", "python"), file("a.py", "")}, field: "entrypoint",
			message: "required"},
		{name: "entrypoint/empty", parts: []part{field("runtime", "python"), field("entrypoint", ""), file("a.py", "")},
			field: "entrypoint", message: "required"},
		{name: "entrypoint/not uploaded", parts: []part{field("runtime", "python"), field("entrypoint", "b.py"),
			file("a.py", "")}, field: "entrypoint", message: `no uploaded file is named "b.py"; uploaded: a.py`},
		{name: "entrypoint/traversal", parts: []part{field("runtime", "python"), field("entrypoint", "../a.py"),
			file("a.py", "")}, field: "entrypoint", message: "slash"},
		{name: "entrypoint/dots", parts: []part{field("runtime", "python"), field("entrypoint", ".."), file("a.py", "")},
			field: "entrypoint", message: "not a file name"},
		{name: "entrypoint/option for java", parts: []part{field("runtime", "java"), field("entrypoint", "-version"),
			file("a.jar", "")}, field: "entrypoint", message: "Java class"},
		{name: "files/none", parts: []part{field("runtime", "python"), field("entrypoint", "a.py")}, field: "files",
			message: "-F files=@script.py"},
		{name: "files/as text", parts: []part{field("runtime", "python"), field("entrypoint", "a.py"),
			field("files", "print(1)")}, field: "files", message: "sent as text; send a file"},
		{name: "field/unknown", parts: script(field("command", "ls")), field: "command",
			message: "there are: files, arg, args"},
		{name: "field/unknown by case", parts: script(field("Args", "[]")), field: "Args", message: "not a field"},
		{name: "field/unknown and long", parts: script(field(strings.Repeat("x", 5000), "ls")),
			field: strings.Repeat("x", 60), message: "not a field"},
		{name: "field/prototype", parts: script(field("__proto__", "ls")), field: "__proto__", message: "not a field"},
		{name: "field/unknown file", parts: script(part{`Content-Disposition: form-data; name="upload"; filename="b.py"`,
			"x"}), field: "upload", message: "files belong to the field files"},
		{name: "field/as file", parts: script(part{`Content-Disposition: form-data; name="cpu"; filename="cpu.txt"`, "1"}),
			field: "cpu", message: "-F 'cpu=<file'"},
		{name: "field/without a name", parts: script(part{`Content-Disposition: form-data`, "1"}), status: 400,
			field: "body", message: "has no name"},
		{name: "field/with an empty name", parts: script(field("", "1")), status: 400, field: "body", message: "has no name"},
		{name: "field/too large", parts: script(field("args", strings.Repeat(" ", 2<<20))), status: 413, field: "args",
			message: "1048576 bytes (MAX_FIELD_BYTES)"},
		{name: "fields/too large together", parts: script(slices.Repeat([]part{field("arg", strings.Repeat("a", 1<<20))},
			5)...), status: 413, field: "arg", message: "MAX_FIELD_BYTES"},
		{name: "fields/20,000", parts: script(slices.Repeat([]part{field("arg", "x")}, 20_000)...), field: "arg",
			message: "more than 10000 fields"},
		{name: "fields/20,000 unknown", parts: script(slices.Repeat([]part{field("x", "x")}, 20_000)...), field: "x",
			message: "not a field"},
		{name: "files/101", parts: script(files(100)...), field: "files", message: "more than 100 files (MAX_FILES)"},
		{name: "files/20,000", parts: script(files(20_000)...), field: "files", message: "more than 100 files"},
		{name: "platform/not installed", parts: script(), deps: refuse("runtime", "python is not installed on this machine"),
			field: "runtime", message: "not installed"},
		{name: "platform/image", parts: script(field("image", "python:3.13")),
			deps: refuse("image", "images need Kubernetes"), field: "image", message: "Kubernetes"},
		{name: "platform/away", parts: script(), deps: func(d *submit.Deps) {
			d.Admission = place{check: func(*job.Spec) error { return fmt.Errorf("no answer: %w", job.ErrUnavailable) }}
		}, status: 503, message: "try again"},
		{name: "platform/broken", parts: script(), deps: func(d *submit.Deps) {
			d.Admission = place{check: func(*job.Spec) error { return io.ErrNoProgress }}
		}, status: 500, message: "Something went wrong"},
		{name: "queue full", parts: script(), deps: func(d *submit.Deps) { d.Admission = place{full: true} }, status: 503,
			message: "MAX_QUEUED_JOBS"},
		{name: "disk full", parts: script(), deps: func(d *submit.Deps) { d.Env.Vars["MIN_FREE_BYTES"] = "1Pi" },
			status: 507, message: "not enough storage"},
		{name: "disk full, length unknown", parts: script(), chunked: true,
			deps: func(d *submit.Deps) { d.Env.Vars["MIN_FREE_BYTES"] = "1Pi" }, status: 507, message: "not enough storage"},
		{name: "total/by Content-Length", parts: script(file("b", strings.Repeat("b", 4096))), deps: maxUpload(4096),
			status: 413, field: "files", message: "4096 bytes (MAX_UPLOAD_BYTES)"},
		{name: "total/by chunks", parts: script(file("b", strings.Repeat("b", 2<<20))), chunked: true,
			deps: maxUpload(1 << 20), status: 413, field: "files", message: "1048576 bytes (MAX_UPLOAD_BYTES)"},
		{name: "total/by chunks in a field", parts: script(field("args", strings.Repeat(" ", 1<<19))), chunked: true,
			deps: maxUpload(1 << 18), status: 413, field: "files", message: "MAX_UPLOAD_BYTES"},
		{name: "total/by chunks in a preamble", body: strings.Repeat("x\r\n", 1<<20) + encode(script()...), chunked: true,
			deps: maxUpload(1 << 20), status: 400, field: "body", message: "16384 bytes of header"},
		{name: "total/larger than the disk", parts: script(file("b", strings.Repeat("b", 4096))), deps: func(d *submit.Deps) {
			maxUpload(4096)(d)
			d.Env.Vars["MIN_FREE_BYTES"] = "1Pi"
		}, status: 413, field: "files", message: "MAX_UPLOAD_BYTES"},
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

func files(n int) []part {
	list := make([]part, n)
	for i := range list {
		list[i] = file(fmt.Sprintf("f%d", i), "x")
	}
	return list
}

func refuse(name, message string) func(*submit.Deps) {
	return func(d *submit.Deps) {
		d.Admission = place{check: func(*job.Spec) error { return job.Invalid(name, message) }}
	}
}

func maxUpload(n int64) func(*submit.Deps) {
	return func(d *submit.Deps) { d.Env.Vars["MAX_UPLOAD_BYTES"] = strconv.FormatInt(n, 10) }
}

// badBodies are no forms.
func badBodies() []bad {
	const early = "not a whole multipart form"
	whole := encode(script()...)
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
		{name: "body/cut after a header", body: strings.TrimSuffix(whole, "--\r\n") + "\r\n" + field("arg", "").header,
			status: 400, field: "body", message: early},
		{name: "body/cut after a field", body: strings.TrimSuffix(whole, "--\r\n") + "\r\n" + field("arg", "").header +
			"\r\n\r\nx", status: 400, field: "body", message: early},
		{name: "body/cut after a boundary", body: strings.TrimSuffix(whole, "--\r\n"), status: 400, field: "body",
			message: early},
		{name: "body/cut in the first header", body: "--" + boundary + "\r\nContent-Dispo", status: 400, field: "body",
			message: early},
		{name: "body/a header without colon", body: "--" + boundary + "\r\nContent-Disposition\r\n\r\nx\r\n--" + boundary +
			"--", status: 400, field: "body", message: early},
		{name: "body/an endless header", parts: script(part{"X: " + strings.Repeat("x", 11<<20), "x"}), status: 400,
			field: "body", message: "16384 bytes of header"},
		{name: "body/30,000 headers", parts: script(part{strings.Repeat("X: y\r\n", 30_000) + "X: y", "x"}), status: 400,
			field: "body", message: "16384 bytes of header"},
		{name: "part/no headers", body: "--" + boundary + "\r\n\r\nx\r\n--" + boundary + "--", status: 400, field: "body",
			message: "Content-Disposition"},
		{name: "part/no disposition", parts: script(part{"Content-Type: text/plain", "x"}), status: 400, field: "body",
			message: "Content-Disposition"},
		{name: "part/attachment", parts: script(part{`Content-Disposition: attachment; name="files"; filename="b"`, "x"}),
			status: 400, field: "body", message: "Content-Disposition"},
		{name: "part/two names", parts: script(part{`Content-Disposition: form-data; name="files"; name="cpu"; filename="b"`,
			"x"}), status: 400, field: "body", message: "Content-Disposition"},
		{name: "part/two file names",
			parts: script(part{`Content-Disposition: form-data; name="files"; filename="b"; filename="c"`, "x"}), status: 400,
			field: "body", message: "Content-Disposition"},
		{name: "part/open quote", parts: script(part{`Content-Disposition: form-data; name="files"; filename="b`, "x"}),
			status: 400, field: "body", message: "Content-Disposition"},
		{name: "part/NUL in the file name", parts: script(file("a\x00", "x")), status: 400, field: "body", message: early},
		{name: "part/escape in the file name", parts: script(file("a\x1b[31m", "x")), status: 400, field: "body",
			message: early},
		{name: "part/delete in the file name", parts: script(file("a\x7f", "x")), status: 400, field: "body", message: early},
		{name: "part/line feed in the file name", parts: script(file("a\nb", "x")), status: 400, field: "body",
			message: early},
		{name: "part/nested multipart as a field", parts: script(part{"Content-Disposition: form-data; " +
			"name=\"files\"\r\nContent-Type: multipart/mixed; boundary=inner", "--inner\r\nContent-Disposition: file; " +
			"filename=\"b\"\r\n\r\nx\r\n--inner--"}), field: "files", message: "sent as text"},
		{name: "key/two", parts: script(), header: http.Header{"Idempotency-Key": {"a", "b"}}, status: 400,
			field: "Idempotency-Key", message: "more than once"},
		{name: "key/the same twice", parts: script(), header: http.Header{"Idempotency-Key": {"a", "a"}}, status: 400,
			field: "Idempotency-Key", message: "more than once"},
		{name: "key/empty", parts: script(), header: http.Header{"Idempotency-Key": {""}}, status: 400,
			field: "Idempotency-Key", message: "1 to 255 characters"},
		{name: "key/spaces", parts: script(), header: http.Header{"Idempotency-Key": {"   "}}, status: 400,
			field: "Idempotency-Key", message: "1 to 255 characters"},
		{name: "key/256 characters", parts: script(), header: http.Header{"Idempotency-Key": {strings.Repeat("k", 256)}},
			status: 400, field: "Idempotency-Key", message: "1 to 255 characters"},
		{name: "key/of a refused form", parts: script(field("cpu", "x")), header: http.Header{"Idempotency-Key": {"k"}},
			field: "cpu", message: "quantity"},
	}
}

func TestBadInput(t *testing.T) {
	all := slices.Concat(badNames(), badValues(), badFields(), badBodies())
	t.Logf("%d bad inputs", len(all))
	usual, usualT := newWorld(t), t
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			w := usual
			if b.deps != nil {
				w = newWorld(t, b.deps)
			}
			defer func(old testing.TB) { w.t = old }(w.t)
			w.t = t
			w.refuses(b)
			if t.Failed() {
				usual = newWorld(usualT) // let it not fail the next ones
			}
		})
	}
	if len(usual.sink.sent()) > 0 {
		t.Errorf("events were sent: %v", usual.sink.sent())
	}
}

func (w *world) refuses(b bad) {
	w.t.Helper()
	body := b.body
	if b.parts != nil {
		body = encode(b.parts...)
	}
	var reader io.Reader = strings.NewReader(body)
	if b.chunked {
		reader = struct{ io.Reader }{reader}
	}
	got := w.do(w.request(reader, b.header))
	w.wantNothing()
	if b.status == 0 {
		b.status = http.StatusUnprocessableEntity
	}
	p := w.problem(got, b.status)
	if len(got.body) > 16<<10 {
		w.t.Errorf("the answer has %d bytes", len(got.body))
	}
	if retry := got.Header.Get("Retry-After"); (retry != "") != (b.status == http.StatusServiceUnavailable) {
		w.t.Errorf("Retry-After: got %q", retry)
	}
	if b.field == "" {
		if !strings.Contains(p.Detail, b.message) {
			w.t.Errorf("detail: got %q, want %q in it", p.Detail, b.message)
		}
		return
	}
	for _, e := range p.Errors {
		if strings.HasPrefix(e.Field, b.field) && strings.Contains(e.Message, b.message) {
			if !strings.Contains(p.Detail, e.Message) {
				w.t.Errorf("detail: got %q, want %q in it", p.Detail, e.Message)
			}
			return
		}
	}
	w.t.Errorf("errors: got %+v, want one of the field %s with %q", p.Errors, b.field, b.message)
}

// TestAllFaults demands that whoever makes several mistakes is told of all at once.
func TestAllFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		deps  func(*submit.Deps)
		parts []part
		want  []string
	}{
		{"values", nil, script(field("cpu", "x"), field("memory", "1"), field("env", "[]"), field("retries", "-1"),
			field("args", `["\u0000","a","\u0000"]`)),
			[]string{"args[0]", "args[2]", "cpu", "env", "memory", "retries"}},
		{"everything", nil, []part{
			field("cpu", "x"), field("extra", "1"), file("..", "x"), field("cpu", "y"), file("a/b", "x"),
			field("entrypoint", ""), field("memory", "huge"),
		}, []string{"cpu", "cpu", "entrypoint", "extra", "files", "files", "memory", "runtime"}},
		{"nothing", nil, nil, []string{"entrypoint", "files", "runtime"}},
		{"value and missing file", nil, []part{field("runtime", "python"), field("entrypoint", "a.py"), field("cpu", "x")},
			[]string{"cpu", "files"}},
		{"value and entrypoint", nil, []part{field("runtime", "python"), field("entrypoint", "b.py"), file("a.py", ""),
			field("cpu", "x")}, []string{"cpu", "entrypoint"}},
		{"value and runtime", nil, []part{field("runtime", "cobol"), field("entrypoint", "a.py"), file("a.py", ""),
			field("cpu", "x")}, []string{"cpu", "runtime"}},
		{"value and platform", refuse("image", "no images here"), script(field("cpu", "x"), field("image", "y")),
			[]string{"cpu", "image"}},
		{"platform and entrypoint", refuse("runtime", "not installed"),
			[]part{field("runtime", "python"), field("entrypoint", "b.py"), file("a.py", "")},
			[]string{"entrypoint", "runtime"}},
		{"a file's name does not make the entrypoint wrong as well", nil,
			[]part{field("runtime", "python"), field("entrypoint", "a.py"), file("x/a.py", "")}, []string{"files"}},
		{"an unknown field does not make the entrypoint wrong as well", nil, append([]part{field("x", "y")}, script()...),
			[]string{"x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := []func(*submit.Deps){}
			if test.deps != nil {
				options = append(options, test.deps)
			}
			w := newWorld(t, options...)
			p := w.problem(w.post(test.parts...), http.StatusUnprocessableEntity)
			var got []string
			for _, e := range p.Errors {
				got = append(got, e.Field)
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("fields: got %q, want %q", got, test.want)
			}
			w.wantNothing()
		})
	}
}

// TestManyFaults demands that a hostile form gets no hostile answer.
func TestManyFaults(t *testing.T) {
	w := newWorld(t)
	for name, parts := range map[string][]part{
		"fields":    script(slices.Repeat([]part{field("x", "y")}, 1000)...),
		"arguments": script(slices.Repeat([]part{field("arg", "\x00")}, 9000)...),
		"variables": script(field("env", "{"+strings.Repeat(`"A=`+strings.Repeat("x", 100)+`":"",`, 1)+`"B=":""}`)),
		"names":     script(slices.Repeat([]part{file("..", "y")}, 1000)...),
	} {
		t.Run(name, func(t *testing.T) {
			got := w.post(parts...)
			p := w.problem(got, http.StatusUnprocessableEntity)
			if len(p.Errors) > 40 || len(got.body) > 32<<10 {
				t.Errorf("%d errors in %d bytes", len(p.Errors), len(got.body))
			}
		})
	}
	w.wantNothing()
}

// TestBadConnections sends what no HTTP client would.
func TestBadConnections(t *testing.T) {
	whole := encode(script()...)
	w := newWorld(t)
	head := "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: " + contentType + "\r\n"
	for _, test := range []struct{ name, send, field, message string }{
		{"cut midway", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(whole), whole[:len(whole)/2]), "body",
			"ends early"},
		{"cut before the last boundary", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(whole),
			strings.TrimSuffix(whole, "--"+boundary+"--\r\n")), "body", "ends early"},
		{"no body at all", fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, len(whole)), "body", "ends early"},
		{"bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + whole, "body", "ends early"},
		{"cut chunk", head + "Transfer-Encoding: chunked\r\n\r\nffff\r\n" + whole[:20], "body", "ends early"},
		{"no last chunk", fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", head, len(whole)-10,
			whole[:len(whole)-10]), "body", "ends early"},
		{"negative length", head + "Content-Length: -1\r\n\r\n", "", ""},
		{"length and chunks", fmt.Sprintf("%sContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
			head, len(whole)-20, whole[:len(whole)-20]), "body", "ends early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			conn := w.dial()
			if _, err := io.WriteString(conn, test.send); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			answer := w.read(got)
			w.wantNothing()
			if test.field == "" {
				if got.StatusCode != http.StatusBadRequest { // net/http's own
					t.Errorf("got %s", got.Status)
				}
				return
			}
			p := w.problem(answer, http.StatusBadRequest)
			if len(p.Errors) != 1 || p.Errors[0].Field != test.field || !strings.Contains(p.Errors[0].Message, test.message) {
				t.Errorf("errors: got %+v", p.Errors)
			}
		})
	}
}

func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(w.t.Context(), "tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}
