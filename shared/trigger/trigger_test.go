package trigger_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/trigger"
)

const limit = 64 << 10

// read reads a request with the given body and headers.
func read(t testing.TB, body string, header ...string) ([]cloudevent.Event, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return trigger.Read(httptest.NewRecorder(), r, limit)
}

// binary are the headers of an event in binary mode.
func binary(more ...string) []string {
	return append([]string{"ce-specversion", "1.0", "ce-id", "17", "ce-source", "/s", "ce-type", "t"}, more...)
}

const structured = "application/cloudevents+json; charset=utf-8"

func one(t testing.TB, body string, header ...string) *trigger.Event {
	t.Helper()
	list, err := read(t, body, header...)
	if err != nil || len(list) != 1 {
		t.Fatalf("Read: %d events, %v", len(list), err)
	}
	e, err := trigger.New(list[0])
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// contents are the files that an event brings along.
func contents(t testing.TB, e *trigger.Event) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, f := range e.Files() {
		data, err := io.ReadAll(f.Open())
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = data
	}
	return files
}

func TestModes(t *testing.T) {
	const spaced = `{ "n" : 12345678901234567890, "x":[1,2] , "html":"<&>" }`
	bytes := "\x00\xff\r\nbin"
	for name, test := range map[string]struct {
		body   string
		header []string
		data   string // event.data, byte by byte
		want   string // event.json
	}{
		"binary JSON": {spaced, binary("content-type", "application/json", "ce-subject", "s/1", "ce-time",
			"2026-01-02T03:04:05.678Z", "ce-myext", "v"), spaced,
			`{"data":{"n":12345678901234567890,"x":[1,2],"html":"<&>"},"datacontenttype":"application/json","id":"17","myext":"v","source":"/s","specversion":"1.0","subject":"s/1","time":"2026-01-02T03:04:05.678Z","type":"t"}`},
		"binary bytes": {bytes, binary("content-type", "application/octet-stream"), bytes,
			`{"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(bytes)) +
				`","datacontenttype":"application/octet-stream","id":"17","source":"/s","specversion":"1.0","type":"t"}`},
		"binary text": {"a,b\n1,2\n", binary("content-type", "text/csv"), "a,b\n1,2\n",
			`{"data":"a,b\n1,2\n","datacontenttype":"text/csv","id":"17","source":"/s","specversion":"1.0","type":"t"}`},
		"binary without data": {"", binary(), "", `{"id":"17","source":"/s","specversion":"1.0","type":"t"}`},
		"structured JSON": {`{"specversion":"1.0","id":"17","source":"/s","type":"t","num":5,"flag":true,"data":` + spaced +
			`}`, []string{"content-type", structured}, spaced,
			`{"data":{"n":12345678901234567890,"x":[1,2],"html":"<&>"},"flag":true,"id":"17","num":5,"source":"/s","specversion":"1.0","type":"t"}`},
		"structured text": {`{"specversion":"1.0","id":"17","source":"/s","type":"t","datacontenttype":"text/plain","data":"é\u0001\n"}`, []string{"content-type", structured}, "é\x01\n",
			`{"data":"é\u0001\n","datacontenttype":"text/plain","id":"17","source":"/s","specversion":"1.0","type":"t"}`},
		"structured bytes": {`{"specversion":"1.0","id":"17","source":"/s","type":"t","datacontenttype":"image/png","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(bytes)) + `"}`,
			[]string{"content-type", structured}, bytes,
			`{"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(bytes)) +
				`","datacontenttype":"image/png","id":"17","source":"/s","specversion":"1.0","type":"t"}`},
	} {
		t.Run(name, func(t *testing.T) {
			files := contents(t, one(t, test.body, test.header...))
			if got := string(files["event.data"]); got != test.data {
				t.Errorf("event.data: got %q, want %q", got, test.data)
			}
			if _, there := files["event.data"]; there != (test.data != "") {
				t.Error("event.data is there without data, or the reverse")
			}
			if diff := cmp.Diff(test.want+"\n", string(files["event.json"])); diff != "" {
				t.Errorf("event.json (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBatch(t *testing.T) {
	event := func(id string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"t","data":{"id":%q}}`, id, id)
	}
	list, err := read(t, "["+event("1")+","+event("2")+"]", "content-type", "application/cloudevents-batch+json; "+
		"charset=utf-8")
	if err != nil || len(list) != 2 || list[1].ID() != "2" || string(list[1].Data()) != `{"id":"2"}` {
		t.Errorf("batch: got %v, %v", list, err)
	}
	if list, err := read(t, "[]", "content-type", "application/cloudevents-batch+json"); err != nil || len(list) != 0 {
		t.Errorf("empty batch: got %v, %v", list, err)
	}
	for name, body := range map[string]string{
		"101 events": "[" + strings.Repeat(event("1")+",", 100) + event("1") + "]", "one is bad": "[" + event("1") +
			`,{"specversion":"1.0"}]`, "no array": event("1"),
		"no JSON": "[", "null in it": "[null]", "nothing in it": "[{}]",
	} {
		if list, err := read(t, body, "content-type", "application/cloudevents-batch+json"); err == nil {
			t.Errorf("%s: got %v", name, list)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		body   string
		header []string
		kind   error // nil: malformed
	}{
		"no event": {"{}", []string{"content-type", "application/json"}, nil},
		"nothing":  {"", nil, nil},
		"no id":    {"", []string{"ce-specversion", "1.0", "ce-source", "/s", "ce-type", "t"}, nil},
		"empty id": {"", []string{"ce-specversion", "1.0", "ce-id", "", "ce-source", "/s", "ce-type", "t"}, nil},
		"unknown specversion": {"", []string{"ce-specversion", "7.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"},
			nil},
		"bad time":              {"", binary("ce-time", "yesterday"), nil},
		"no JSON data":          {"{", binary("content-type", "application/json"), nil},
		"no JSON data, +json":   {"{", binary("content-type", "application/vnd.x+json; charset=utf-8"), nil},
		"structured no JSON":    {"{", []string{"content-type", structured}, nil},
		"structured no version": {`{"id":"1","source":"/s","type":"t"}`, []string{"content-type", structured}, nil},
		"structured 9.9": {`{"specversion":"9.9","id":"1","source":"/s","type":"t"}`,
			[]string{"content-type", structured}, nil},
		"bad base64": {`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"*"}`,
			[]string{"content-type", structured}, nil},
		"large": {strings.Repeat("x", limit+1), binary("content-type", "text/plain"), job.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := read(t, test.body, test.header...)
			if err == nil {
				t.Fatalf("got %v", list)
			}
			if test.kind != nil && !errors.Is(err, test.kind) {
				t.Errorf("got %v, want kind %v", err, test.kind)
			}
			if message := err.Error(); len(message) > 600 || !utf8.ValidString(message) ||
				strings.ContainsAny(message, "\n\x00") {
				t.Errorf("no message for people: %q", message)
			}
		})
	}
}

// unread fails the test when anything of it is read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// TestTooLargeByItsLength demands that nobody waits for what will be refused.
func TestTooLargeByItsLength(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/events", unread{t})
	r.ContentLength = limit + 1
	if list, err := trigger.Read(httptest.NewRecorder(), r, limit); !errors.Is(err, job.ErrTooLarge) {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestEnv(t *testing.T) {
	e := one(t, "x", binary("content-type", "text/plain", "ce-subject", "s", "ce-time", "2026-01-02T03:04:05Z",
		"ce-dataschema", "http://s.example/x", "ce-traceparent", "00-a")...)
	want := map[string]string{
		"CE_ID": "17", "CE_SOURCE": "/s", "CE_TYPE": "t", "CE_SPECVERSION": "1.0", "CE_SUBJECT": "s",
		"CE_TIME":            "2026-01-02T03:04:05Z",
		"CE_DATACONTENTTYPE": "text/plain", "CE_DATASCHEMA": "http://s.example/x", "CE_TRACEPARENT": "00-a",
	}
	if diff := cmp.Diff(want, e.Env()); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestResolve(t *testing.T) {
	e := one(t,
		`{"name":"a b","n":12345678901234567890,"f":1.50,"yes":true,"no":null,"list":["x",{"k":"<v>"},2],"empty":""}`,
		binary("content-type", "application/json", "ce-subject", "sub")...)
	for name, test := range map[string]struct{ args, want []string }{
		"none": {nil, []string{}},
		"plain": {[]string{"a", "$", "$x", "$(date)", "$HOME", "", "x$.data"},
			[]string{"a", "$", "$x", "$(date)", "$HOME", "", "x$.data"}},
		"attribute": {[]string{"$.subject", "$['id']"}, []string{"sub", "17"}},
		"text and number": {[]string{"--name", "$.data.name", "$.data.n", "$.data.f"},
			[]string{"--name", "a b", "12345678901234567890", "1.50"}},
		"other values": {[]string{"$.data.yes", "$.data.no", "$.data.list", "$.data.empty"},
			[]string{"true", "null", `["x",{"k":"<v>"},2]`, ""}},
		"several":           {[]string{"<", "$.data.list[*]", ">"}, []string{"<", "x", `{"k":"<v>"}`, "2", ">"}},
		"filter":            {[]string{"$.data.list[?@.k].k"}, []string{"<v>"}},
		"escaped":           {[]string{"$$.data", "$$[0]", "$$$.x", "$$x"}, []string{"$.data", "$[0]", "$$$.x", "$$x"}},
		"descendants":       {[]string{"$..k"}, []string{"<v>"}},
		"negative index":    {[]string{"$.data.list[-1]"}, []string{"2"}},
		"quoted in a query": {[]string{`$.data["name"]`}, []string{"a b"}},
	} {
		t.Run(name, func(t *testing.T) {
			if faults := trigger.CheckArgs(test.args); len(faults) > 0 {
				t.Errorf("CheckArgs: %v", faults)
			}
			got, err := trigger.Resolve(t.Context(), test.args, e)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
		})
	}
	for _, arg := range []string{"$.data.none", "$.data.list[9]", "$.data.list[?@.k == 'w']", "$.time"} {
		if got, err := trigger.Resolve(t.Context(), []string{"a", arg}, e); !errors.Is(err, job.ErrInvalid) ||
			!strings.Contains(err.Error(), "args[1]") {
			t.Errorf("%s: got %q, %v", arg, got, err)
		}
	}
	if got, err := trigger.Resolve(t.Context(), []string{"$.id"}, nil); !errors.Is(err, job.ErrInvalid) {
		t.Errorf("without an event: got %q, %v", got, err)
	}
	if got, err := trigger.Resolve(t.Context(), []string{"$$.id", "x"}, nil); err != nil ||
		cmp.Diff([]string{"$.id", "x"}, got) != "" {
		t.Errorf("without a reference: got %q, %v", got, err)
	}
}

func TestCheckArgs(t *testing.T) {
	faults := trigger.CheckArgs([]string{"ok", "$.", "$.a[", "$[", "$.a b", "$.fine", "$..", "$[?]"})
	if len(faults) != 6 || faults[0].Field != "args[1]" || !strings.Contains(faults[0].Message, "$$.") {
		t.Errorf("got %v", faults)
	}
}

func TestCheckFileName(t *testing.T) {
	for _, name := range []string{"event.json", "event.data", "inputs"} {
		if trigger.CheckFileName(name) == "" {
			t.Errorf("%s is let in", name)
		}
	}
	if message := trigger.CheckFileName("event.js"); message != "" {
		t.Error(message)
	}
}

func requested(t *testing.T, data string) cloudevent.Event {
	t.Helper()
	list, err := read(t, data, "ce-specversion", "1.0", "ce-id", "17", "ce-source", "/s", "ce-type", trigger.Requested,
		"content-type", "application/json")
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func TestParseRequest(t *testing.T) {
	limits := trigger.Limits{Files: 2, NameBytes: 20}
	defaults := job.Spec{TTLSecondsAfterFinished: 60}
	good := `{"runtime":"python","entrypoint":"a.py","args":["x"],"env":{"A":"1"},"files":[{"name":"a.py","content":"cHJpbnQoMSkK"},{"name":"b","content":""}]}`
	r, files, err := trigger.ParseRequest(requested(t, good), defaults, limits)
	if err != nil || r.TTLSecondsAfterFinished != 60 || r.Runtime != "python" || string(files["a.py"]) != "print(1)\n" ||
		len(files) != 2 {
		t.Errorf("got %+v, %q, %v", r, files, err)
	}
	for name, test := range map[string]struct{ data, want string }{
		"nothing":        {"", "data"},
		"no object":      {"[]", "data"},
		"unknown field":  {strings.Replace(good, `"args"`, `"argz"`, 1), "argz"},
		"more after it":  {`{"a":1}`, "data"},
		"no files":       {`{"runtime":"python","entrypoint":"a.py"}`, "files"},
		"bad entry":      {strings.Replace(good, `"entrypoint":"a.py"`, `"entrypoint":"../a.py"`, 1), "entrypoint"},
		"slash":          {strings.Replace(good, `"b"`, `"/b"`, 1), "files[1]"},
		"in the event's": {strings.Replace(good, `"b"`, `"event.json/b"`, 1), "files[1]"},
		"no archive":     {strings.Replace(good, `"args"`, `"archive":{"name":"x.zip","content":"*"},"args"`, 1), "archive"},
		"archive twice":  {strings.Replace(good, `"args"`, `"archive":{"name":"a.py","content":""},"args"`, 1), "archive"},
		"archive's name": {strings.Replace(good, `"args"`, `"archive":{"name":"../x","content":""},"args"`, 1), "archive"},
		"bad variable":   {strings.Replace(good, `"A"`, `"PATH"`, 1), "PATH"},
		"no base64":      {strings.Replace(good, `"content":""`, `"content":"*"`, 1), "files[1]"},
		"name twice":     {strings.Replace(good, `"b"`, `"a.py"`, 1), "files[1]"},
		"traversal":      {strings.Replace(good, `"b"`, `"../b"`, 1), "files[1]"},
		"reserved":       {strings.Replace(good, `"b"`, `"index.json"`, 1), "files[1]"},
		"the event's":    {strings.Replace(good, `"b"`, `"event.json"`, 1), "files[1]"},
		"three files":    {strings.Replace(good, `"files":[`, `"files":[{"name":"c","content":""},`, 1), "MAX_FILES"},
		"long name":      {strings.Replace(good, `"b"`, `"`+strings.Repeat("b", 21)+`"`, 1), "files[1]"},
		"an owner": {strings.Replace(good, `"args"`, `"owner":"fe5dec2101c784500db3b1d380684c65","args"`, 1),
			"whose key"},
		"an owner, null": {strings.Replace(good, `"args"`, `"Owner":null,"args"`, 1), "owner"},
		"reserved label": {strings.Replace(good, `"args"`, `"labels":{"go-job-orchestrator/template":"x"},"args"`, 1),
			"reserved"},
		"negative":        {strings.Replace(good, `"args"`, `"retries":-1,"args"`, 1), "retries"},
		"NUL in an arg":   {strings.Replace(good, `["x"]`, `["\u0000"]`, 1), "args[0]"},
		"number for text": {strings.Replace(good, `["x"]`, `[1]`, 1), "data"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := trigger.ParseRequest(requested(t, test.data), defaults, limits)
			if !errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something with %q", err, test.want)
			}
		})
	}
	for kind, want := range map[string]string{strings.Replace(trigger.Requested, ".v1", ".v2", 1): "version",
		"com.example.x": "template"} {
		e := requested(t, good)
		e.SetType(kind)
		if _, _, err := trigger.ParseRequest(e, defaults, limits); !errors.Is(err, job.ErrInvalid) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

// FuzzStructured demands that whatever is read as an event makes a document that holds the same.
func FuzzStructured(f *testing.F) {
	f.Add(`{"specversion":"1.0","id":"17","source":"/s","type":"t","data":{"a":[1,"x"]}}`)
	f.Add(
		`{"specversion":"1.0","id":"17","source":"/s","type":"t","ext":5,"datacontenttype":"text/plain","data":"\ud83d"}`)
	f.Add(`{"specversion":"0.3","id":"17","source":"/s","type":"t","data_base64":"AAA="}`)
	f.Fuzz(func(t *testing.T, body string) {
		list, err := read(t, body, "content-type", structured)
		if err != nil {
			return
		}
		e, err := trigger.New(list[0])
		if err != nil {
			return
		}
		var document map[string]any
		if err := json.Unmarshal(contents(t, e)["event.json"], &document); err != nil {
			t.Fatalf("%v: %s", err, contents(t, e)["event.json"])
		}
		if got, err := trigger.Resolve(t.Context(), []string{"$.id", "$.type"}, e); err != nil ||
			got[0] != fmt.Sprint(document["id"]) {
			t.Errorf("Resolve: %q, %v", got, err)
		}
	})
}

// FuzzResolve demands that references never make what Linux or people cannot read of good events.
func FuzzResolve(f *testing.F) {
	for _, path := range []string{"$.data", "$.data.list[*]", "$..*", "$[?@.x>1]", "$.data['\\u0000']", "$.",
		"$[999999999999999999]"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		e := one(t, `{"list":[1,"x",null]}`, binary("content-type", "application/json")...)
		got, err := trigger.Resolve(t.Context(), []string{path}, e)
		if err == nil && len(got) == 0 {
			t.Errorf("%q became nothing", path)
		}
		if (err == nil) && len(trigger.CheckArgs([]string{path})) > 0 {
			t.Errorf("%q was refused, and resolves to %q", path, got)
		}
	})
}

func TestIdentity(t *testing.T) {
	const body = `{ "n" : 1, "s": "a b\" " }`
	identity := func(body string, header ...string) string {
		t.Helper()
		list, err := read(t, body, header...)
		if err != nil {
			t.Fatal(err)
		}
		return trigger.Identity(list[0])
	}
	structuredWith := func(more string) string {
		return identity(`{"specversion":"1.0","id":"17","source":"/s","type":"t",`+more+`}`, "content-type", structured)
	}
	JSON := []string{"content-type", "application/json"}
	base := identity(body, binary(JSON...)...)
	for name, got := range map[string]string{
		"again":           identity(body, binary(JSON...)...),
		"made again":      identity(body, binary(append(JSON, "ce-time", "2026-01-02T03:04:05Z")...)...),
		"space":           identity(`{"n":1,"s":"a b\" "}`+"\n", binary(JSON...)...),
		"charset":         identity(body, binary("content-type", "Application/JSON;charset=utf-8")...),
		"no content type": identity(body, binary()...),
		"on its way": identity(body, binary(append(JSON, "ce-knativehistory", "x", "ce-knativearrivaltime", "y",
			"ce-traceparent", "z", "ce-tracestate", "z", "ce-jobhops", "4")...)...),
		"structured":        structuredWith(`"data":` + body),
		"structured, typed": structuredWith(`"datacontenttype":"application/json","data":` + body),
		"in base64": structuredWith(`"datacontenttype":"application/json","data_base64":"` +
			base64.StdEncoding.EncodeToString([]byte(body)) + `"`),
		"null attribute": structuredWith(`"subject":null,"data":` + body),
	} {
		if got != base {
			t.Errorf("%s: is another event", name)
		}
	}
	for name, got := range map[string]string{
		"data":           identity(`{"n":2,"s":"a b\" "}`, binary(JSON...)...),
		"space in text":  identity(`{"n":1,"s":"ab\" "}`, binary(JSON...)...),
		"content type":   identity(body, binary("content-type", "text/plain")...),
		"another +json":  identity(body, binary("content-type", "application/x+json")...),
		"no data":        identity("", binary()...),
		"subject":        identity(body, binary(append(JSON, "ce-subject", "s")...)...),
		"schema":         identity(body, binary(append(JSON, "ce-dataschema", "s:s")...)...),
		"extension":      identity(body, binary(append(JSON, "ce-ext", "s")...)...),
		"its value":      identity(body, binary(append(JSON, "ce-ext", "t")...)...),
		"two extensions": identity(body, binary(append(JSON, "ce-ex", "t", "ce-t", "")...)...),
		"id": identity(body, "ce-specversion", "1.0", "ce-id", "18", "ce-source", "/s", "ce-type", "t",
			"content-type", "application/json"),
		"source": identity(body, "ce-specversion", "1.0", "ce-id", "7", "ce-source", "/s1", "ce-type", "t", "content-type",
			"application/json"),
		"template": identity(body, binary(append(JSON, "ce-template", "a")...)...),
	} {
		if got == base {
			t.Errorf("%s: is the same event", name)
		}
	}
	if a, b := structuredWith(`"num":5,"flag":true`), identity("", binary("ce-num", "5", "ce-flag", "true")...); a != b {
		t.Error("numbers and truth values of structured mode make another event")
	}
	if a, b := structuredWith(`"datacontenttype":"text/plain","data":"\u00e9"`),
		identity("é", binary("content-type", "text/plain")...); a != b {
		t.Error("text of structured mode makes another event")
	}
}

// TestStructured sends what an event in JSON can be by mistake, or by intent.
func TestStructured(t *testing.T) {
	event := func(more string) string {
		return `{"specversion":"1.0","id":"17","source":"/s","type":"t"` + more + `}`
	}
	for name, body := range map[string]string{
		"data_base64 a number":   event(`,"data_base64":1`),
		"data_base64 empty list": event(`,"data_base64":[]`),
		"both data":              event(`,"data":1,"data_base64":"AAAA"`),
		"a name twice":           event(`,"data":1,"data":2`),
		"id twice":               event(`,"id":"18"`),
		"twice in capitals":      event(`,"ID":"18"`),
		"no name":                event(`,"":1`),
		"an object":              event(`,"ext":{"a":1}`),
		"a list":                 event(`,"ext":[` + strings.Repeat("0,", 1000) + `0]`),
		"deep":                   event(`,"ext":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)),
		"too many":               event(strings.Repeat(`,"a":1`, 300)),
		"text no string":         event(`,"datacontenttype":"text/plain","data":{"a":1}`),
		"encoding":               `{"specversion":"0.3","id":"17","source":"/s","type":"t","datacontentencoding":"","data":"x"}`,
		"0.3":                    `{"specversion":"0.3","id":"17","source":"/s","type":"t"}`,
		"Data":                   event(`,"Data":"x"`),
		"a list of events":       "[" + event("") + "]",
		"something after it":     event("") + event(""),
	} {
		if list, err := read(t, body, "content-type", structured); err == nil {
			t.Errorf("%s: got %v", name, list)
		} else if message := err.Error(); len(message) > 600 || !utf8.ValidString(message) ||
			strings.ContainsAny(message, "\n\x00") {
			t.Errorf("%s: no message for people: %q", name, message)
		}
		if _, err := read(t, "["+body+"]", "content-type", "application/cloudevents-batch+json"); err == nil {
			t.Errorf("%s: in a batch it is let in", name)
		}
	}
	// It must not come so far that somebody decodes it.
	if _, err := read(t, event(`,"ext":[0,0]`), "content-type", structured); !strings.Contains(fmt.Sprint(err),
		"ext: is not text") {
		t.Errorf("a list as an attribute: %v", err)
	}
	if _, err := read(t, "", binary("ce-data", "x")...); err == nil {
		t.Error("an attribute named data is let in")
	}
	files := contents(t, one(t, event(` , "data" : { "a" : [1 , 2] , "b": "\u00e9 }" } `), "content-type", structured))
	if got := string(files["event.data"]); got != `{ "a" : [1 , 2] , "b": "\u00e9 }" }` {
		t.Errorf("event.data: got %q", got)
	}
}

// TestLargeData writes data that does not fit into one piece.
func TestLargeData(t *testing.T) {
	text := strings.Repeat("é\x01\"", 20_000)
	for kind, data := range map[string]string{
		"text/plain": text, "application/octet-stream": strings.Repeat("\xff\x00\x01", 20_001) + "x",
		"application/json": "[" + strings.Repeat(` "\\\" ", `, 8_000) + "1]",
	} {
		r := httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(data))
		for i, header := 0, binary("content-type", kind); i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		list, err := trigger.Read(httptest.NewRecorder(), r, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		e, err := trigger.New(list[0])
		if err != nil {
			t.Fatal(err)
		}
		files := contents(t, e)
		if string(files["event.data"]) != data {
			t.Errorf("%s: event.data is not what was sent", kind)
		}
		var document struct {
			Data       json.RawMessage `json:"data"`
			DataBase64 []byte          `json:"data_base64"`
		}
		if err := json.Unmarshal(files["event.json"], &document); err != nil {
			t.Fatal(err)
		}
		got := string(document.DataBase64)
		switch kind {
		case "text/plain":
			var s string
			if err := json.Unmarshal(document.Data, &s); err != nil {
				t.Fatal(err)
			}
			got = s
		case "application/json":
			var compact bytes.Buffer
			if err := json.Compact(&compact, []byte(data)); err != nil {
				t.Fatal(err)
			}
			got, data = string(document.Data), compact.String()
		}
		if got != data {
			t.Errorf("%s: the data of event.json is not what was sent", kind)
		}
	}
}

// TestResolveIsBounded demands that no template and no event make arguments that no program could
// be given, nor take long to find that out.
func TestResolveIsBounded(t *testing.T) {
	list := func(n int, element string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
	}
	large := func(t *testing.T, data string) *trigger.Event {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(data))
		for i, header := 0, binary("content-type", "application/json"); i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		events, err := trigger.Read(httptest.NewRecorder(), r, 4<<20)
		if err != nil {
			t.Fatal(err)
		}
		e, err := trigger.New(events[0])
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	many := func(n int, arg string) []string {
		args := make([]string, n)
		for i := range args {
			args[i] = arg
		}
		return args
	}
	nested := strings.Repeat(`{"a":[`, 400) + "1" + strings.Repeat("]}", 400)
	for name, test := range map[string]struct {
		args []string
		data string
		want string
	}{
		"one large":          {many(900, "$.data"), `"` + strings.Repeat("x", 3_900_000) + `"`, "args[0]"},
		"many small":         {many(900, "$.data"), `"` + strings.Repeat("x", 2000) + `"`, "1048576 bytes"},
		"many values":        {[]string{"-v", "$.data[*]"}, list(200_000, "0"), "args[1]"},
		"stars":              {[]string{"$..*..*..*"}, nested, "args[0]"},
		"work of all":        {many(900, "$.data[0][?count($..*) > 5]"), "[[1]," + list(3000, "0")[1:], "steps"},
		"values of the data": {[]string{"$.id", "$.data[0]"}, list(1_900_000, "0"), "500000 values"},
		"depth of the data": {[]string{"$.data[0]"}, strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
			"deeper than 1000"},
		"too many": {many(1200, "$.data"), "1", "more than 1000 times"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := trigger.Resolve(t.Context(), test.args, large(t, test.data))
			if !errors.Is(err, job.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %d arguments, %.300v; want something with %q", len(got), err, test.want)
			}
		})
	}
	if got, err := trigger.Resolve(t.Context(), many(900, "$.data.x"),
		large(t, `{"x":"y","large":"`+strings.Repeat("x", 3_900_000)+`"}`)); err != nil || len(got) != 900 {
		t.Errorf("small parts of a large event: got %d arguments, %v", len(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trigger.Resolve(ctx, []string{"$..*..*"}, large(t, nested)); !errors.Is(err, context.Canceled) {
		t.Errorf("of a client that has gone: %v", err)
	}
	if faults := trigger.CheckArgs(many(1200, "$.data")); len(faults) != 1 || faults[0].Field != "args" {
		t.Errorf("CheckArgs: %v", faults)
	}
	if faults := trigger.CheckArgs([]string{"$." + strings.Repeat("a", 5000)}); len(faults) != 1 ||
		!strings.Contains(faults[0].Message, "4096") {
		t.Errorf("CheckArgs: %v", faults)
	}
}
