package hostile

import (
	"fmt"
	"net/url"
	"strings"
)

// listRows are queries that no call accepts.
func listRows() []row {
	var rows []row
	bad := func(path, field, query string) {
		rows = append(rows, refused(400, field, fmt.Sprintf("%s?%.60s", path, query), get(path+"?"+query)))
	}
	for _, path := range []string{"/api/v1/jobs", "/api/v1/templates"} {
		for _, value := range []string{"0", "-1", "501", "1e3", "x", "", "1.0", "99999999999999999999", "+1", "%201", "0x1",
			"%00", "NaN"} {
			bad(path, "limit", "limit="+value)
		}
		for _, value := range []string{"", "..", "../x", "%00", strings.Repeat("G", 32), strings.Repeat("a", 31) + "Z",
			"a%2Fb", "%F0%9F%8E%89", strings.Repeat("f", 1000)} {
			bad(path, "pageToken", "pageToken="+value)
		}
		bad(path, "limit", "limit=1&limit=2")
		bad(path, "pageToken", "pageToken="+string(ghost)+"&pageToken="+string(ghost))
		bad(path, "query", "%zz")
		bad(path, "query", "a=%")
		bad(path, "query", "limit=1;pageToken=x")
		bad(path, "Limit", "Limit=1")
		bad(path, "x", "x")
		bad(path, "token", "token=x")
		bad(path, "", strings.Repeat("a", 3000)+"=1")
		bad(path, "", "limit[]=1")
	}
	for _, value := range []string{"Done", "running", "", "Running%00", "*", "Failed,Running"} {
		bad("/api/v1/jobs", "phase", "phase="+value)
	}
	for _, value := range []string{"", "a", "=", "=b", "-a=b", "a=-", "a=b=c", "a/b/c=d", "A/b=c", "a=b c", "ü=x",
		"../x=y", "a=..", "a%00=b", "a=b/c", "go*=x"} {
		bad("/api/v1/jobs", "label", "label="+url.QueryEscape(value))
	}
	bad("/api/v1/jobs", "label", "label=a%3D1&label=a%3D2")
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf("label=k%d%%3Dv", i))
	}
	bad("/api/v1/jobs", "label", strings.Join(many, "&"))
	return append(rows,
		row{name: "no such label", req: get("/api/v1/jobs?label=nothing%3Dx"), status: []int{200}},
		row{name: "behind all", req: get("/api/v1/jobs?pageToken=" + strings.Repeat("f", 32)), status: []int{200}},
		row{name: "before all", req: get("/api/v1/jobs?pageToken=" + strings.Repeat("0", 32)), status: []int{200}},
		row{name: "behind all templates", req: get("/api/v1/templates?pageToken=zzz"), status: []int{200}},
	)
}
