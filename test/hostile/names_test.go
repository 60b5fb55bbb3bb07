package hostile

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"go-job-orchestrator/shared/job"
)

// badNames are not valid names of files in any call.
func badNames() []string {
	return []string{
		".", "..", "../x", "/etc/passwd", "a//b", "./a", "a/", `a\b`, `..\x`, `C:\x`, "a\x00b", "\x01", "a\tb", "a\x7fb",
		"a\u0085b",
		"\xff\xfe", "a\xc0\xafb", "..\xc0\xaf", "....//x", "../../../../../../etc/cron.d/x", "results/x", "results/../x",
	}
}

// nameRows are names of files, templates and entrypoints that lead elsewhere, or that no file
// system can store.
func nameRows(g *group) {
	var rows []row
	uploaded := append(badNames(), "index.json", "status.json", "results", strings.Repeat("n", 101),
		strings.Repeat("n", 255), strings.Repeat("ü", 60))
	for _, name := range uploaded {
		r := row{name: fmt.Sprintf("file %.40q", name), req: with(file(name, "x")), status: []int{422}, field: "files"}
		if strings.ContainsAny(name, "\x00\x7f\x01") { // no header may have them: then the form is no form
			r.status, r.field = []int{400, 422}, ""
		}
		rows = append(rows, r)
	}
	for _, name := range append(badNames(), "a/b", "nope", "run ", "RUN", "run\n", strings.Repeat("n", 300)) {
		rows = append(rows, refused(422, "entrypoint", fmt.Sprintf("entrypoint %.40q", name),
			submit(text("runtime", "binary"), text("entrypoint", name), file("run", "#!/bin/sh\n"))))
	}
	for _, name := range []string{"Main", "../Main", "Main.class", "a.b", "-cp", "@file", "x.jar"} {
		rows = append(rows, refused(422, "entrypoint", "class "+name,
			submit(text("runtime", "java"), text("entrypoint", name), file("run.txt", "x"))))
	}
	for _, name := range []string{
		"A", "a_b", "a.b", "-a", "a-", strings.Repeat("a", 64), "%2e%2e", "..%2fx", "a%00", "%C3%BC", "a%20b", "a%2Fb",
		"%2e", "template*", "a%0a",
	} {
		named := refused(422, "name", "template "+name, put(name, script("true\n")))
		if strings.Contains(strings.ToLower(name), "%2f") { // another path
			named.status, named.field = []int{404}, ""
		}
		rows = append(rows, named)
		rows = append(rows, row{name: "start of template " + name, status: []int{404, 422},
			req: post("/api/v1/templates/"+name+"/jobs", "")})
		rows = append(rows, row{name: "event for template " + name, status: []int{400, 404, 422},
			req: cloudEvent(name, "x")})
	}
	for _, name := range []string{"event.json", "event.data", "inputs"} {
		rows = append(rows, refused(422, "files", "file of an event "+name,
			put("names", script("true\n", file(name, "x")))))
	}
	for _, name := range append(badNames(), "", "event.json", "index.json") {
		data := fmt.Sprintf(
			`{"runtime":"binary","entrypoint":"run","files":[{"name":"run","content":""},{"name":%s,"content":""}]}`,
			quote(name))
		r := refused(422, "files", fmt.Sprintf("file in an event %.40q", name), requestedJob(name, data))
		if !utf8.ValidString(name) { // in JSON it becomes another name, which can be good
			continue
		}
		rows = append(rows, r)
	}
	for name, files := range map[string][]part{
		"below a file": {file("a", "x"), file("a/b", "y")}, "above a file": {file("a/b", "x"), file("a", "y")},
		"below the entrypoint": {file("run/x", "y")}, "in index.json": {file("index.json/x", "y")},
		"too long a path": {file(strings.Repeat("a/", 500)+"a", "x")},
	} {
		rows = append(rows, refused(422, "files", name, with(files...)))
	}
	rows = append(rows, refused(422, "archive", "archive of text", with(archive("x", "no archive"))),
		refused(422, "archive", "archive above", with(archive("../x", "x"))),
		refused(422, "entrypoint", "ambiguous", submit(file("a.py", "x"), file("b.py", "x"))),
		refused(422, "runtime", "nothing to run", submit(file("a.txt", "x"))))
	two := with(file("a", "x"), file("a", "y"))
	rows = append(rows, refused(422, "files", "two of a name", two),
		refused(422, "files", "the entrypoint twice", with(file("run", "x"))))
	g.refuse(rows)
	g.try("odd names reach the program as they are", func(fail func(string, ...any)) {
		odd := []string{"-rf", "a b", "$(id)", "ü 🎉", `q'"q`, ".hidden", "%2e%2e"}
		parts := script(`printf '%s\n' * .[!.]*; printf done`)
		for _, name := range odd {
			parts = append(parts, file(name, "x"))
		}
		j := g.server.begin(g.T, parts...)
		defer j.remove(g.T)
		if got := j.wait(g.T); got.Phase != job.Succeeded {
			fail("the job is %s (%s: %s)", got.Phase, got.Reason, got.Message)
		}
		lines := strings.Split(j.logs(g.T, "tail=all"), "\n")
		for _, name := range odd {
			if !slices.Contains(lines, name) {
				fail("%q is not among %q", name, lines)
			}
		}
	})
}

// quote writes a JSON string and leaves bytes that are not UTF-8 unchanged.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + `"`
}

// cloudEvent is an event in binary mode that is to start a template.
func cloudEvent(template, id string, header ...string) request {
	return request{method: http.MethodPost, target: "/events?template=" + template, body: `{"name":"cat.png"}`,
		header: append([]string{
			"ce-specversion: 1.0", "ce-id: " + id, "ce-source: /hostile", "ce-type: com.example.test",
			"Content-Type: application/json",
		}, header...)}
}

const requestedType = "io.github.go-job-orchestrator.job.requested.v1"

// requestedJob is an event that brings its job along.
func requestedJob(id, data string, header ...string) request {
	id = fmt.Sprintf("%x", id) // whatever it was, as a header may have it
	return request{method: http.MethodPost, target: "/events", body: data, header: append([]string{
		"ce-specversion: 1.0", "ce-id: id" + id, "ce-source: /hostile", "ce-type: " + requestedType,
		"Content-Type: application/json",
	}, header...)}
}
