package trigger_test

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestDataIsExact demands that the program gets the data byte by byte, in structured mode and in a
// batch.
func TestDataIsExact(t *testing.T) {
	exact := func(json string) [2]string { return [2]string{`"data":` + json, json} }
	with := func(contentType, json, want string) [2]string {
		return [2]string{`"datacontenttype":"` + contentType + `","data":` + json, want}
	}
	bytes := func(contentType, data string) [2]string {
		text := base64.StdEncoding.EncodeToString([]byte(data))
		return [2]string{`"datacontenttype":"` + contentType + `","data_base64":"` + text + `"`, data}
	}
	for name, test := range map[string][2]string{
		"exponent":                exact(`1e3`),
		"exponents":               exact(`[1E3,1e+3,-1.5e-07]`),
		"zeros behind":            exact(`[1.0,-0,-0.0,100]`),
		"a big integer":           exact(`123456789012345678901234567890`),
		"beyond floats":           exact(`1e400`),
		"order of keys":           exact(`{"z":1,"a":2,"Z":3}`),
		"keys twice":              exact(`{"a":1,"a":2}`),
		"white space":             exact("{ \"a\" :\t1 ,\r\n \"b\": [ ] }"),
		"escapes":                 exact(`{"\u0061":"\u00e9\/\n\u2028","x":"<&>"}`),
		"half a pair":             exact(`"\ud800"`),
		"a string":                exact(`"text"`),
		"an empty string":         exact(`""`),
		"a truth value":           exact(`true`),
		"null":                    with("application/json", `null`, `null`),
		"JSON by name":            with("application/vnd.a+json", `{"b": 1.0}`, `{"b": 1.0}`),
		"JSON with charset":       with("application/json; charset=utf-8", `[1e3]`, `[1e3]`),
		"JSON in a string":        with("application/json", `"{\"a\":1}"`, `"{\"a\":1}"`),
		"text":                    with("text/plain", `"a\tb\u00e9\ud83d\ude00\\\/\"\u0000"`, "a\tbé😀\\/\"\x00"),
		"text that looks escaped": with("text/plain", `"\\ud800"`, `\ud800`),
		"XML":                     with("application/xml", `"<a b=\"c\"/>\r\n"`, "<a b=\"c\"/>\r\n"),
		"bytes":                   bytes("application/octet-stream", "\x00\xff\r\n"),
		"JSON in base64":          bytes("application/json", "{ \"a\" : 1e3 }\n"),
		"text in base64":          bytes("text/plain; charset=iso-8859-1", "na\xefve"),
	} {
		event := `{ "specversion":"1.0" ,"id":"1","source":"/s","type":"t",` + test[0] + ` , "subject":"x" }`
		for mode, body := range map[string]string{structured: event, batch: "[ " + event + " ]"} {
			t.Run(name+" "+mode, func(t *testing.T) {
				files := contents(t, one(t, body, "content-type", mode))
				if got := string(files["event.data"]); got != test[1] {
					t.Errorf("got %q, want %q", got, test[1])
				}
			})
		}
	}
}

const batch = "application/cloudevents-batch+json"

// TestEncodedAttributes is the HTTP binding's encoding of headers, as far as a program sees it.
func TestEncodedAttributes(t *testing.T) {
	header := binary("ce-subject", "Euro%20%E2%82%AC%20%22%25", "ce-name", `"a \"b\""`, "content-type", "text/plain;a=%41")
	e := one(t, "x", header...)
	env := e.Env()
	for name, want := range map[string]string{
		"CE_SUBJECT": `Euro € "%`, "CE_NAME": `a "b"`, "CE_DATACONTENTTYPE": "text/plain;a=%41",
	} {
		if env[name] != want {
			t.Errorf("%s: got %q, want %q", name, env[name], want)
		}
	}
}

// TestRefusedAttributes demands that the answer names the attribute.
func TestRefusedAttributes(t *testing.T) {
	event := func(more string) string {
		return `{"specversion":"1.0","id":"1","source":"/s","type":"t",` + more + `}`
	}
	version := func(v string) string { return strings.Replace(event(`"a":"b"`), `"1.0"`, v, 1) }
	kind := func(mode string) []string { return []string{"content-type", mode} }
	for name, test := range map[string]struct {
		body   string
		header []string
		field  string
	}{
		"a cut escape":           {"", binary("ce-subject", "50%"), "subject"},
		"bytes that are no text": {"", binary("ce-other", "%ff"), "other"},
		"an open quote":          {"", binary("ce-subject", `"a`), "subject"},
		"sent twice":             {"", binary("ce-subject", "a", "ce-subject", "b"), "subject"},
		"a zero byte":            {"", binary("ce-subject", "a%00b"), "subject"},
		"a line end":             {"", binary("ce-other", "a%0Ab"), "other"},
		"a noncharacter":         {"", binary("ce-type", "%EF%BF%BF"), "type"},
		"structured: zero":       {event(`"subject":"a\u0000"`), kind(structured), "subject"},
		"structured: half":       {event(`"other":"\ud800"`), kind(structured), "other"},
		"structured: half pair":  {event(`"other":"\ud83dx\ude00"`), kind(structured), "other"},
		"text data: half":        {event(`"datacontenttype":"text/plain","data":"\udc00"`), kind(structured), "data"},
		"no UTF-8":               {event(`"data":"` + "\xff" + `"`), kind(structured), "body"},
		"no UTF-8 in a batch":    {"[" + event(`"data":"`+"\xff"+`"`) + "]", kind(batch), "body"},
		"version 0.3":            {"", append(binary(), "ce-specversion", "0.3")[2:], "specversion"},
		"version 1.1":            {"", append(binary(), "ce-specversion", "1.1")[2:], "specversion"},
		"structured 0.3":         {version(`"0.3"`), kind(structured), "specversion"},
		"structured 1":           {version(`"1"`), kind(structured), "specversion"},
		"structured, a number":   {version(`1.0`), kind(structured), "specversion"},
		"batch of 0.3":           {"[" + version(`"0.3"`) + "]", kind(batch), "specversion"},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := read(t, test.body, test.header...)
			if err == nil || !strings.Contains(err.Error(), test.field) {
				t.Errorf("got %v, %v; want a fault of %s", list, err, test.field)
			}
		})
	}
}
