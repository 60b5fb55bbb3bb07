package hostile

import (
	"fmt"
	"strings"
)

// jsonRows are values that are not JSON, or not the JSON that the field needs.
func jsonRows() []row {
	deep := strings.Repeat("[", 100_000)
	broken := []string{
		"", " ", "x", "{", "[", "[}", "'a'", "true", "1", `"a"`, "\x00", "\ufeff[]", "[\"a\"]x", `["a"] ["b"]`, "// []",
		"[1,]", "nan", deep,
		strings.Repeat(`{"a":`, 20_000), `["\ud800"]`, `{"a":"\udfff"}`, `["\x"]`, "[\"\n\"]",
	}
	lists := append([]string{"{}", "null", "[1]", "[null]", "[[]]", "[{}]", "[true]", `{"0":"a"}`, `["a",]`,
		`["\u0000"]`}, broken...)
	maps := append([]string{
		"[]", "null", `{"A":1}`, `{"A":null}`, `{"A":["x"]}`, `{"A":{}}`, `{"A":"1","A":"2"}`, `{A:"1"}`, `{"A":"1",}`,
		`{"A"}`, `{"A":"1"}{}`, `[["A","1"]]`,
	}, broken...)
	var rows []row
	for i, value := range lists {
		rows = append(rows, refused(422, "args", fmt.Sprintf("args %d %.30q", i, value), with(text("args", value))))
	}
	for i, value := range maps {
		rows = append(rows,
			refused(422, "env", fmt.Sprintf("env %d %.30q", i, value), with(text("env", value))),
			refused(422, "labels", fmt.Sprintf("labels %d %.30q", i, value), with(text("labels", value))))
	}
	for _, label := range []string{
		"", "-a", "a-", "a b", "a/", "/a", "a/b/c", "A/b", "ü", strings.Repeat("k", 64), strings.Repeat("p", 254) + "/k",
		"a\\u0000", "../x", "a=b",
		"go-job-orchestrator/template", "go-job-orchestrator/x", "go-job-orchestrator/", "go-job-orchestrator/root",
	} {
		rows = append(rows,
			refused(422, "labels", fmt.Sprintf("label %.40q", label), with(text("labels", `{"`+label+`":"v"}`))),
			refused(422, "labels", fmt.Sprintf("label of a template %.40q", label),
				put("labels", script("true\n", text("labels", `{"`+label+`":"v"}`)))),
			refused(422, "labels", fmt.Sprintf("label in an event %.40q", label),
				requestedJob("l"+label, requestedData(`"labels":{"`+label+`":"v"}`))))
	}
	for _, value := range []string{"-v", "v-", "a b", "a/b", strings.Repeat("v", 64), "ü", `\u0000`} {
		rows = append(rows, refused(422, "labels", fmt.Sprintf("value of a label %.40q", value),
			with(text("labels", `{"k":"`+value+`"}`))))
	}
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf(`"k%d":"v"`, i))
	}
	rows = append(rows, refused(422, "labels", "many labels", with(text("labels", "{"+strings.Join(many, ",")+"}"))))
	return append(rows, requestedRows()...)
}

// requestedData is a job in JSON, with more fields.
func requestedData(more ...string) string {
	fields := append([]string{`"runtime":"binary"`, `"entrypoint":"run"`,
		`"files":[{"name":"run","content":"IyEvYmluL3NoCg=="}]`}, more...)
	return "{" + strings.Join(fields, ",") + "}"
}

// requestedRows are events whose data is no job.
func requestedRows() []row {
	var rows []row
	for name, test := range map[string]struct{ data, field string }{
		"nothing": {"", "data"}, "a list": {"[]", "data"}, "text": {`"x"`, "data"}, "nothing in it": {"{}", "files"},
		"null":          {"null", "files"},
		"unknown field": {requestedData(`"argz":[]`), "data"}, "more after it": {requestedData() + "{}", ""},
		"deep":            {strings.Repeat("[", 50_000), ""},
		"deep and whole":  {requestedData(`"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), "data"},
		"args of numbers": {requestedData(`"args":[1]`), "data"}, "args of text": {requestedData(`"args":"x"`), "data"},
		"env of numbers":             {requestedData(`"env":{"A":1}`), "data"},
		"env of lists":               {requestedData(`"env":["A=1"]`), "data"},
		"reserved variable":          {requestedData(`"env":{"PATH":"/"}`), "env"},
		"NUL in an argument":         {requestedData(`"args":["\u0000"]`), "args"},
		"timeout of text":            {requestedData(`"timeoutSeconds":"1"`), "data"},
		"timeout of a fraction":      {requestedData(`"timeoutSeconds":1.5`), "data"},
		"timeout below nothing":      {requestedData(`"timeoutSeconds":-1`), "timeoutSeconds"},
		"timeout of 1e30":            {requestedData(`"timeoutSeconds":1e30`), "data"},
		"retries":                    {requestedData(`"retries":101`), "retries"},
		"memory":                     {requestedData(`"memory":"lots"`), "memory"},
		"cpu":                        {requestedData(`"cpu":"NaN"`), "cpu"},
		"memory above the greatest":  {requestedData(`"memory":"2Gi"`), "memory"},
		"cpu above the greatest":     {requestedData(`"cpu":"3"`), "cpu"},
		"timeout above the greatest": {requestedData(`"timeoutSeconds":3601`), "timeoutSeconds"},
		"content": {`{"runtime":"binary","entrypoint":"run","files":[{"name":"run","content":"***"}]}`,
			"files"},
		"no files":      {`{"runtime":"binary","entrypoint":"run","files":[]}`, "files"},
		"files of text": {`{"runtime":"binary","entrypoint":"run","files":"run"}`, "data"},
		"two of a name": {`{"runtime":"binary","entrypoint":"run","files":[{"name":"run","content":""},{"name":"run","content":""}]}`, "files"},
		"nine files": {`{"runtime":"binary","entrypoint":"run","files":[` + strings.Repeat(`{"name":"run","content":""},`,
			8) + `{"name":"run","content":""}]}`, "files"},
	} {
		r := refused(422, test.field, "requested job: "+name, requestedJob(name, test.data))
		if test.field == "" || test.data == "" || strings.HasPrefix(test.data, "[[") {
			r.status, r.field = []int{400, 422}, ""
		}
		rows = append(rows, r)
	}
	return rows
}
