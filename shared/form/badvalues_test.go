package form_test

import (
	"fmt"
	"strings"

	"go-job-orchestrator/shared/job"
)

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
