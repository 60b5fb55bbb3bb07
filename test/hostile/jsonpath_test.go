package hostile

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/token"
)

func (s *suite) userToken(id string) string { return s.keys.Derive(token.User, job.ID(id)) }

// jsonPaths are arguments that select too much, or take too long to find it.
func jsonPaths(g *group) {
	g.refuse(badPaths())
	g.refuse(missing(g))
	explosions(g)
	abandoned(g)
}

// pathTemplate makes a template with arguments.
func pathTemplate(g *group, name string, args ...string) {
	g.Helper()
	data, err := json.Marshal(args)
	if err != nil {
		g.Fatal(err)
	}
	g.server.template(g.T, name, script("true\n", text("args", string(data))))
}

// refusedPaths makes a template with arguments, and reports whether it was refused for them.
func refusedPaths(g *group, name string, args []string) bool {
	g.Helper()
	data, err := json.Marshal(args)
	if err != nil {
		g.Fatal(err)
	}
	a, err := g.server.send(put(name, script("true\n", text("args", string(data)))))
	if err != nil || a.status != http.StatusCreated && a.fault(http.MethodPut, "args") != "" {
		g.Errorf("%s: template %s: %s %v", g.name, name, brief(a), err)
	}
	return err != nil || a.status != http.StatusCreated
}

// badPaths are not JSONPaths, or are too large.
func badPaths() []row {
	var rows []row
	for _, path := range []string{
		"$.", "$[", "$..", "$[]", "$[?", "$[?]", "$[?@.a", "$.a b", "$.a[", "$['a", "$[\"a']", "$[1", "$[1:2:3:4]",
		"$[99999999999999999999]", "$[-9007199254740992]", "$[01]", "$.-", "$..[", "$.*.",
		"$[?@.a==]", "$[?(@.a]", "$[?nosuch(@)]", "$[?length(@)]", "$[?@ == 1e999999999999]", "$[?match(@.a)]",
		"$[?@.a == \"\\ud800\"]", "$[?!]", "$[?@.a=1]", "$.\x00", "$[''\x00]", "$.a.", "$.1a", "$[?(1)]",
		"$[" + strings.Repeat("?(", 5000), "$" + strings.Repeat("[?@", 2000), "$[?" + strings.Repeat("!", 20_000),
	} {
		r := refused(422, "args", fmt.Sprintf("path %.30q", path), put("badpath", script("true\n", text("arg", path))))
		if strings.Contains(path, "\x00") {
			r.field = ""
		}
		rows = append(rows, r)
	}
	return rows
}

// missing select nothing of the event that comes.
func missing(g *group) []row {
	var rows []row
	for i, path := range []string{
		"$.data.none", "$.data.list[9]", "$.data.list[-9]", "$.data[?@.k == 'v']", "$.data.list[5:]", "$.data.list[::0]",
		"$.data[?match(@, '(')]", "$.data[?search(@.name, '(x{1000}){1000}')]",
		"$.time", "$['data']['name']['x']", "$.data.list[9007199254740991]", "$.data.name.x.y.z", "$.data..none",
		"$[?@.none]", "$.data[?count(@.*) > 99]", "$.data[?length(@) > 1000000]",
	} {
		name := fmt.Sprintf("missing-%d", i)
		pathTemplate(g, name, "--", path)
		r := cloudEvent(name, "missing")
		r.body = `{"name":"cat.png","list":[1,2,3],"deep":{"a":{"b":"(a*)*b"}}}`
		rows = append(rows, refused(422, "args", "nothing at "+path, r))
	}
	return rows
}

// nested is data of n objects, each with wide members, one in the other.
func nested(depth, width int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString("{")
		for j := range width {
			fmt.Fprintf(&b, `"k%d_%d":%d,`, i, j, j)
		}
		b.WriteString(`"n":`)
	}
	return b.String() + "1" + strings.Repeat("}", depth)
}

// explosions select so much that it must be refused, soon and without taking the memory for it.
func explosions(g *group) {
	times := func(n int, arg string) []string {
		args := make([]string, n)
		for i := range args {
			args[i] = arg
		}
		return args
	}
	large := `{"text":"` + strings.Repeat("x", 3_900_000) + `"}`
	again := func(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s, n), ",") }
	wide := "[" + again("[1,2,3,4],", 60_000) + "]"
	for i, test := range []struct {
		name string
		args []string
		data string
	}{
		{"1,200 times all data", times(1200, "$.data"), large},
		{"900 times all data", times(900, "$.data"), large},
		{"900 times everything", times(900, "$['data','data','data']"), large},
		{"all data in every step", []string{"$..*"}, nested(400, 3)},
		{"three times all descendants", []string{"$..*..*..*"}, nested(90, 3)},
		{"five times all descendants", []string{"$..*..*..*..*..*"}, nested(60, 2)},
		{"descendants of descendants", []string{"$..[*]..[*]..[*]"}, nested(90, 3)},
		{"filters in filters", []string{"$..[?@..*..*]"}, nested(90, 3)},
		{"a filter that compares all with all", []string{"$..[?count(@..*..*) > 5]"}, nested(90, 3)},
		{"wide", []string{"$..*", "$..*", "$..*"}, wide},
		{"the same many times", []string{"$.data[" + again("0,", 2000) + "][" + again("0,", 2000) + "]"}, wide},
		{"all of it many times", []string{"$[" + again("*,", 200) + "][" + again("*,", 200) + "][*]"}, wide},
		{"slices", times(500, "$.data[0:9007199254740991]"), wide},
		{"deep", []string{"$..*..*"}, strings.Repeat("[", 5000) + strings.Repeat("]", 5000)},
		{"regular expression", []string{"$.data[?search(@, '(x+x+)+y')]"}, `["` + strings.Repeat("x", 500_000) + `"]`},
	} {
		name := fmt.Sprintf("explosion-%d", i)
		g.try(test.name, func(fail func(string, ...any)) {
			if refusedPaths(g, name, test.args) {
				return
			}
			r := cloudEvent(name, "explosion")
			r.body = test.data
			begin := time.Now()
			a, err := g.server.send(r)
			took := time.Since(begin)
			// A filter may find out soon that there is something, or that there is little.
			few := strings.Contains(test.name, "filter") && err == nil && a.status == http.StatusAccepted
			if err != nil || !few && (a.status < 400 || a.status >= 500) {
				fail("after %.1f s: %s %v, want a refusal", took.Seconds(), brief(a), err)
			}
			if took > soon {
				fail("it took %.1f s", took.Seconds())
			}
		})
	}
}

func brief(a *answer) string {
	if a == nil {
		return "no answer"
	}
	return fmt.Sprintf("%d %.200s", a.status, a.body)
}

// abandoned sends a request that takes long, and hangs up. The server must stop working on it.
func abandoned(g *group) {
	pathTemplate(g, "abandoned", "$..*..*..*..*")
	g.try("a client that hangs up", func(fail func(string, ...any)) {
		for i := range 8 {
			r := cloudEvent("abandoned", fmt.Sprint(i))
			r.body = nested(120, 4)
			conn, err := net.Dial("tcp", g.server.addr)
			if err != nil {
				fail("%v", err)
				return
			}
			_, _ = conn.Write([]byte(g.server.wire(r)))
			conn.Close()
		}
		// An idle server uses almost no CPU.
		quiet := within(soon, func() bool {
			before := g.server.ticks(g.T)
			time.Sleep(500 * time.Millisecond)
			return g.server.ticks(g.T)-before < 15
		})
		if !quiet {
			fail("the server goes on to work for clients that have gone")
		}
	})
}
