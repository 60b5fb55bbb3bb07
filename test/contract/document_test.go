package contract

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	yaml "github.com/pb33f/go-yaml"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"github.com/pb33f/libopenapi/orderedmap"

	"go-job-orchestrator/functions/deadletter"
	"go-job-orchestrator/functions/launch"
	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/api"
	"go-job-orchestrator/shared/event"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/openapi"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/routes"
	"go-job-orchestrator/shared/token"
)

// TestDocument holds the descriptions to OpenAPI 3.1. That of the API stands by itself.
func TestDocument(t *testing.T) {
	for name, c := range map[string]*contract{"API": parse(t, openapi.Document()), "with the agent's calls": load(t)} {
		if ok, errs := c.validator.ValidateDocument(); !ok {
			t.Errorf("%s: %v", name, joined(errs))
		}
	}
}

// TestExamples holds every example in the description to its schema.
func TestExamples(t *testing.T) {
	e := &examples{T: t, contract: load(t)}
	for path, item := range e.document.Paths.PathItems.FromOldest() {
		e.parameters(path, item.Parameters)
		for _, o := range item.GetOperations().FromOldest() {
			e.parameters(o.OperationId, o.Parameters)
			if o.RequestBody != nil {
				e.content(o.OperationId, o.RequestBody.Content)
			}
			for status, response := range o.Responses.Codes.FromOldest() {
				e.headers(o.OperationId+" "+status, response.Headers)
				e.content(o.OperationId+" "+status, response.Content)
			}
		}
	}
	for name, schema := range e.document.Components.Schemas.FromOldest() {
		e.schema(name, schema)
	}
	if e.count < 100 {
		t.Errorf("only %d examples found", e.count)
	}
}

type examples struct {
	*testing.T
	*contract
	count int
}

func (e *examples) check(where string, schema *base.SchemaProxy, nodes ...*yaml.Node) {
	e.Helper()
	for _, node := range nodes {
		if node == nil {
			continue
		}
		e.count++
		var value any
		if err := node.Decode(&value); err != nil {
			e.Errorf("%s: %v", where, err)
		} else if ok, errs := e.schemas.ValidateSchemaObject(schema.Schema(), value); !ok {
			e.Errorf("%s: %v", where, joined(errs))
		}
	}
}

func (e *examples) named(where string, schema *base.SchemaProxy, list *orderedmap.Map[string, *base.Example]) {
	e.Helper()
	for name, example := range list.FromOldest() {
		e.check(where+" "+name, schema, example.Value)
	}
}

func (e *examples) parameters(where string, list []*v3.Parameter) {
	e.Helper()
	for _, p := range list {
		e.check(where+" "+p.Name, p.Schema, p.Example)
		e.named(where+" "+p.Name, p.Schema, p.Examples)
	}
}

func (e *examples) headers(where string, list *orderedmap.Map[string, *v3.Header]) {
	e.Helper()
	for name, h := range list.FromOldest() {
		e.check(where+" "+name, h.Schema, h.Example)
	}
}

func (e *examples) content(where string, list *orderedmap.Map[string, *v3.MediaType]) {
	e.Helper()
	for name, m := range list.FromOldest() {
		e.check(where+" "+name, m.Schema, m.Example)
		e.named(where+" "+name, m.Schema, m.Examples)
	}
}

// schema checks the examples of a schema and of what is in it.
func (e *examples) schema(where string, proxy *base.SchemaProxy) {
	e.Helper()
	s := proxy.Schema()
	e.check(where, proxy, s.Examples...)
	for name, property := range s.Properties.FromOldest() {
		if !property.IsReference() {
			e.schema(where+"."+name, property)
		}
	}
}

// TestClosed demands that every object has additionalProperties, so that an answer with an
// undescribed field does not pass.
func TestClosed(t *testing.T) {
	var check func(where string, proxy *base.SchemaProxy)
	check = func(where string, proxy *base.SchemaProxy) {
		s := proxy.Schema()
		if slices.Contains(s.Type, "object") && s.AdditionalProperties == nil {
			t.Errorf("%s has no additionalProperties", where)
		}
		for name, property := range s.Properties.FromOldest() {
			if !property.IsReference() {
				check(where+"."+name, property)
			}
		}
		if s.Items != nil && s.Items.IsA() && !s.Items.A.IsReference() {
			check(where+"[]", s.Items.A)
		}
	}
	for name, schema := range load(t).document.Components.Schemas.FromOldest() {
		check(name, schema)
	}
}

// TestReasons demands that the description explains every phase and reason that jobs can have.
func TestReasons(t *testing.T) {
	schemas := load(t).document.Components.Schemas
	for _, phase := range job.Phases() {
		contains(t, schemas.GetOrZero("Phase").Schema().Description, fmt.Sprintf("| `%s` |", phase))
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), "../../shared/job/phase.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || fmt.Sprint(spec.Type) != "Reason" {
			return true
		}
		for _, value := range spec.Values {
			found++
			contains(t, schemas.GetOrZero("Reason").Schema().Description, fmt.Sprintf("| `%s` |", literal(t, value)))
		}
		return true
	})
	if found == 0 {
		t.Error("no reasons in shared/job/phase.go")
	}
}

func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	l, ok := e.(*ast.BasicLit)
	if !ok {
		t.Fatalf("%T is not a literal", e)
	}
	s, err := strconv.Unquote(l.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testRoutes holds the descriptions and the server to the table of routes: every call of the one is
// in the other, with the same role and tokens, and the server answers exactly those.
func testRoutes(t *testing.T, c *contract, to *client) {
	found := map[routes.Route]bool{}
	for path, item := range c.document.Paths.PathItems.FromOldest() {
		for method, o := range item.GetOperations().FromOldest() {
			route, known := routeOf(strings.ToUpper(method), path)
			if !known {
				t.Errorf("%s %s is described and not in the table", method, path)
				continue
			}
			found[route] = true
			got := described(t, o)
			if anyone := (requirement{role: routes.Anyone, open: true}); got == anyone && strings.Contains(path, "{token}") {
				got = requirement{role: routes.NoCaller, tokens: routes.Index}
			}
			if want := tabled(route); got != want {
				t.Errorf("%s %s: the description says that %+v opens it, the table %+v", method, path, got, want)
			}
		}
	}
	for _, route := range routes.All() {
		if route.Reach == routes.Cluster || route.Function == routes.Gateway {
			continue // events of the Broker, and the page with its logins, are no part of the API
		}
		if !found[route] {
			t.Errorf("%s is not described", route)
		}
		if got, want := allowed(t, to, route), strings.Join(methods(probe(route)), ", "); got != want {
			t.Errorf("%s: the server has %q, the table %q", route.Path, got, want)
		}
	}
}

// routeOf is the route of a described call: of those that it could be, the one with the longest
// path.
func routeOf(method, path string) (best routes.Route, found bool) {
	for _, r := range routes.All() {
		if r.Method == method && covers(r, path) && (!found || len(r.Path) > len(best.Path)) {
			best, found = r, true
		}
	}
	return best, found
}

// methods are those of all routes that a path could be of.
func methods(path string) []string {
	var list []string
	for _, r := range routes.All() {
		if covers(r, path) {
			list = append(list, r.Method)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// requirement is what a call needs of its sender.
type requirement struct {
	role   access.Role
	tokens routes.Tokens
	open   bool // nothing with AUTH=open
}

// tabled is what the table of routes says.
func tabled(r routes.Route) requirement {
	return requirement{role: r.Role, tokens: r.Tokens, open: r.Role != routes.NoCaller && !r.TokenWhenOpen}
}

// described is what the description says of an operation. Its requirements are alternatives. An empty
// one is for AUTH=open, unless it is the only one.
func described(t *testing.T, o *v3.Operation) requirement {
	t.Helper()
	if o.Security == nil {
		t.Errorf("%s does not say what it needs", o.OperationId)
	}
	if len(o.Security) == 0 {
		return requirement{role: routes.Anyone, open: true}
	}
	all := requirement{role: routes.NoCaller}
	tokens := map[string]routes.Tokens{"jobToken": routes.User, "sharedToken": routes.Shared, "agentToken": routes.Agent}
	roles := map[string]access.Role{}
	for _, alternative := range o.Security {
		if alternative.Requirements == nil || alternative.Requirements.Len() == 0 {
			all.open = true
			continue
		}
		for scheme, named := range alternative.Requirements.FromOldest() {
			if one, known := tokens[scheme]; known {
				all.tokens |= one
				continue
			}
			if len(named) != 1 {
				t.Fatalf("%s: %s names %d roles, want one", o.OperationId, scheme, len(named))
			}
			roles[scheme] = access.Role(named[0])
		}
	}
	if len(roles) == 0 {
		return all
	}
	all.role = roles["callerKey"]
	if want := map[string]access.Role{"callerKey": all.role, "oidc": all.role}; !maps.Equal(roles, want) {
		t.Errorf("%s: callers need the roles %v; keys and tokens of the issuer are worth the same", o.OperationId, roles)
	}
	return all
}

// covers reports whether a path, also one as it is described, is one of a route. Names of files may
// have slashes.
func covers(r routes.Route, path string) bool {
	pattern := regexp.MustCompile(`\*\w+`).ReplaceAllString(regexp.MustCompile(`:\w+`).ReplaceAllString(r.Path, "[^/]+"),
		".+")
	return regexp.MustCompile("^" + pattern + "$").MatchString(path)
}

// probe is a path of a route.
func probe(route routes.Route) string {
	return strings.NewReplacer(":id", strings.Repeat("0", 32), "*filename", "a", ":name", "a", ":number", "1",
		":segment", "000000000000-000000000000", ":stream", "stdout",
		":key", strings.Repeat("0", 64), ":token", "x", "*path", "0/simple/").Replace(route.Path)
}

// allowed asks the server itself which methods a route has.
func allowed(t *testing.T, to *client, route routes.Route) string {
	t.Helper()
	methods := strings.Split(to.call(t, http.StatusMethodNotAllowed, "PROBE", probe(route)).Header.Get("Allow"), ", ")
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// TestMounted makes sure that each function answers the calls that the table gives it, and no
// others.
func TestMounted(t *testing.T) {
	env := platform.New(nil, slog.New(slog.DiscardHandler))
	env.SetStore(newBucket().Store())
	keys, err := token.New(make([]byte, token.MinKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	env.SetKeys(keys)
	records, err := env.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	all := opened(t, env, &event.Events{Sink: nowhere{}, Ledger: records}, newKeyring(t, env))
	all[routes.Launch] = launch.New(launch.Deps{Records: records, Log: env.Log})
	if all[routes.DeadLetter], err = deadletter.New(env.Env); err != nil {
		t.Fatal(err)
	}
	for name, function := range all {
		router := api.NewRouter(env.Log)
		function.Mount(router)
		for _, route := range routes.All() {
			if got, want := router.Handles(route.Method, probe(route)), route.Function == name; got != want &&
				!own(route) {
				if other := answersToo(name, route); !other {
					t.Errorf("%s: %s answers it: %t, want %t", route, name, got, want)
				}
			}
		}
	}
	for _, route := range routes.All() {
		if _, found := all[route.Function]; !found && !own(route) {
			t.Errorf("%s: nobody is opened here for %s", route, route.Function)
		}
	}
}

// own reports whether a call is answered by every function, or by the gateway.
func own(r routes.Route) bool { return r.Function == routes.Every || r.Function == routes.Gateway }

// answersToo reports whether a function has a route of its own with the same method and path as
// another's: launch and deadletter have.
func answersToo(name routes.Function, route routes.Route) bool {
	return slices.ContainsFunc(routes.All(), func(r routes.Route) bool {
		return r.Function == name &&
			r.String() == route.String()
	})
}

// TestFields demands that the description has exactly the fields of the forms, which the code names
// when it meets another.
func TestFields(t *testing.T) {
	c := load(t)
	to := startFunctions(t, nil).client(c)
	for schema, call := range map[string]struct{ method, path string }{
		"JobForm":      {http.MethodPost, "/api/v1/jobs"},
		"TemplateForm": {http.MethodPut, "/api/v1/templates/fields"},
	} {
		got := to.call(t, http.StatusUnprocessableEntity, call.method, call.path, form(t, field{name: "other"}))
		_, list, _ := strings.Cut(problem(t, got), "there are: ")
		fields := strings.Split(list, ", ")
		slices.Sort(fields)
		described := slices.Collect(c.document.Components.Schemas.GetOrZero(schema).Schema().Properties.KeysFromOldest())
		for pattern := range c.document.Components.Schemas.GetOrZero(schema).Schema().PatternProperties.KeysFromOldest() {
			prefix, _, _ := strings.Cut(strings.TrimPrefix(pattern, "^"), "[")
			described = append(described, strings.ReplaceAll(prefix, `\.`, ".")+"NAME")
		}
		slices.Sort(described)
		if !slices.Equal(fields, described) {
			t.Errorf("the form has %q, %s has %q", fields, schema, described)
		}
	}
}

// fixed gives the same answer to every request.
type fixed struct{ *http.Response }

func (f fixed) RoundTrip(*http.Request) (*http.Response, error) { return f.Response, nil }

// TestBroken tests the test: answers that differ from the description must not pass.
func TestBroken(t *testing.T) {
	const (
		id   = "fe661b7ab1f7d0c1a1f35b2f8c9e4d60"
		good = `{"items":[{"jobID":"` + id + `","jobName":"run-` + id + `","namespace":"default","runtime":"python",` +
			`"owner":"ann","phase":"Pending","createdAt":"2026-11-23T13:30:18Z"}]}`
		fault = `{"type":"about:blank","title":"Bad Request","status":400,"detail":"limit","errors":[{"field":"limit","message":"no"}]}`
	)
	type answered struct {
		path, contentType string
		status            int
		body              string
		header            http.Header
	}
	usual := http.Header{"Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}}
	with := func(name, value string) http.Header {
		h := usual.Clone()
		h.Set(name, value)
		return h
	}
	c := load(t)
	const list, health, js, bad = "/api/v1/jobs", "/healthz", "application/json", "application/problem+json"
	for name, test := range map[string]struct {
		answered
		want string // in the error; empty for none
	}{
		"good":                {answered{list, js, 200, good, usual}, ""},
		"good problem":        {answered{list, bad, 400, fault, usual}, ""},
		"good path not there": {answered{"/none", bad, 404, strings.ReplaceAll(fault, "400", "404"), usual}, ""},
		"missing field": {answered{list, js, 200, strings.Replace(good, `"namespace":"default",`, "", 1), usual},
			"namespace"},
		"another field": {answered{list, js, 200, strings.Replace(good, `"phase"`, `"token":"a","phase"`, 1),
			usual}, "token"},
		"wrong type":             {answered{list, js, 200, strings.Replace(good, `"default"`, "1", 1), usual}, "namespace"},
		"not in the enumeration": {answered{list, js, 200, strings.Replace(good, "Pending", "Waiting", 1), usual}, "phase"},
		"pattern":                {answered{list, js, 200, strings.Replace(good, `":"fe66`, `":"FE66`, 1), usual}, "jobID"},
		"format": {answered{list, js, 200, strings.Replace(good, "2026-11-23T", "yesterday ", 1), usual},
			"createdAt"},
		"no JSON":               {answered{list, js, 200, "<html>", usual}, "decoded"},
		"missing header":        {answered{list, js, 200, good, with("Cache-Control", "")}, "Cache-Control"},
		"another header":        {answered{list, js, 200, good, with("X-Token", "secret")}, "X-Token"},
		"wrong header":          {answered{list, js, 200, good, with("Cache-Control", "public")}, "no-store"},
		"another status":        {answered{list, js, 418, good, usual}, "418"},
		"another content type":  {answered{list, "text/html", 200, good, usual}, "text/html"},
		"constant":              {answered{health, "text/plain", 200, "OK", nil}, "ok"},
		"problem in plain text": {answered{list, "text/plain", 400, "bad", usual}, "text/plain"},
		"another problem field": {answered{list, bad, 400, strings.Replace(fault, `"title"`, `"code":1,"title"`, 1), usual},
			"code"},
		"path not described":     {answered{"/none", js, 200, good, usual}, "not described"},
		"path without a problem": {answered{"/none", "text/plain", 404, "404 page not found", usual}, "text/plain"},
		"unasked refusal":        {answered{list + "?limit=0", js, 200, good, usual}, "limit"},
		"unknown parameter":      {answered{list + "?limits=1", js, 200, good, usual}, "limits"},
	} {
		t.Run(name, func(t *testing.T) {
			h := test.header.Clone()
			if h == nil {
				h = http.Header{}
			}
			if h.Get("Cache-Control") == "" {
				h.Del("Cache-Control")
			}
			h.Set("Content-Type", test.contentType)
			next := fixed{&http.Response{StatusCode: test.status, Header: h, Body: io.NopCloser(strings.NewReader(test.body))}}
			_, err := c.client("http://broken", next).try(t.Context(), http.MethodGet, test.path)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got error %v", err)
			case test.want != "" && err == nil:
				t.Errorf("passed")
			case test.want != "":
				contains(t, err.Error(), test.want)
			}
		})
	}
}

// TestMissing tests the test: it must name a described answer that was never received.
func TestMissing(t *testing.T) {
	c := load(t)
	all := c.missing(nil)
	if len(all) != len(c.described()) || len(all) < 150 {
		t.Errorf("missing: %d of %d", len(all), len(c.described()))
	}
	to := startFunctions(t, nil).client(c)
	to.call(t, http.StatusOK, http.MethodGet, "/healthz")
	health := answer{"getHealth", "200", "text/plain"}
	if slices.Contains(c.missing(nil), "never answered: "+health.String()) {
		t.Error("an answer that was got is missing")
	}
	contains(t, strings.Join(c.missing(map[answer]string{health: "cannot be"}), "\n"), "needless exception: "+
		health.String())
}
