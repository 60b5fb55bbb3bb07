package event_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/event"
)

// TestDecodeHeader is section 3.1.3.2 of the HTTP protocol binding of CloudEvents.
func TestDecodeHeader(t *testing.T) {
	for name, test := range map[string]struct{ sent, want, fault string }{
		"plain":                {"a/b?c=d", "a/b?c=d", ""},
		"empty":                {"", "", ""},
		"the specification's":  {"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀", ""},
		"lower case":           {"%e2%82%ac", "€", ""},
		"needlessly":           {"%41%7a%2F", "Az/", ""},
		"one round":            {"%2541", "%41", ""},
		"plus is a plus":       {"a+b", "a+b", ""},
		"quotes encoded":       {"%22a%22", `"a"`, ""},
		"quoted":               {`"a b"`, "a b", ""},
		"quoted, with escapes": {`"a \"b\" \\ \c"`, `a "b" \ c`, ""},
		"quoted and encoded":   {`"100%25 %22b%22"`, `100% "b"`, ""},
		"quoted in part":       {`a "b c" d`, "a b c d", ""},
		"a backslash outside":  {`a\b`, `a\b`, ""},
		"spaces as they are":   {"a b", "a b", ""},
		"UTF-8 as it is":       {"naïve €", "naïve €", ""},
		"not closed":           {`5" disk`, "", "%22"},
		"escape at the end":    {`"a\"`, "", "%22"},
		"overlong":             {"%C0%A0", "", "UTF-8"},
		"a surrogate":          {"%ED%A0%80", "", "UTF-8"},
		"a lone byte":          {"a%FFb", "", "UTF-8"},
		"half a character":     {"%E2%82", "", "UTF-8"},
		"Latin-1 as it is":     {"na\xefve", "", "UTF-8"},
		"bytes of both kinds":  {"\xe2%82\xac", "€", ""},
		"percent at the end":   {"100%", "", "%25"},
		"one digit":            {"100%4", "", "%25"},
		"no digits":            {"100% of it", "", "%25"},
		"no digit":             {"%4g", "", "%25"},
	} {
		t.Run(name, func(t *testing.T) {
			sent := http.Header{"Ce-Subject": {test.sent}, "Content-Type": {`text/plain; a="%41"`}, "X-Other": {"%zz"}}
			got, err := event.DecodeHeader(sent)
			if sent.Get("Ce-Subject") != test.sent {
				t.Error("the headers that were given are changed")
			}
			if test.fault != "" {
				var fault *event.HeaderError
				if !errors.As(err, &fault) || fault.Attribute != "subject" || !strings.Contains(fault.Message, test.fault) {
					t.Errorf("got %v, want a fault of subject that says %s", err, test.fault)
				}
				return
			}
			want := sent.Clone()
			want.Set("Ce-Subject", test.want)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	var fault *event.HeaderError
	if _, err := event.DecodeHeader(http.Header{"Ce-Id": {"1", "1"}}); !errors.As(err, &fault) || fault.Attribute != "id" {
		t.Errorf("an attribute that is sent twice: got %v", err)
	}
}

// TestSinkEncodes demands that what a sink sends is in printable ASCII, and is decoded to what it
// was.
func TestSinkEncodes(t *testing.T) {
	got := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	defer server.Close()
	sink, err := event.NewHTTPSink(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	e := submitted()
	attributes := map[string]string{
		"Ce-Tracestate": `a=100% "b" c\d`, "Ce-Other": "Zoë €😀", "Ce-Source": "http://jobs.example/a%20b",
	}
	e.SetSource(attributes["Ce-Source"])
	e.SetExtension("tracestate", attributes["Ce-Tracestate"])
	e.SetExtension("other", attributes["Ce-Other"])
	if err := sink.Send(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	sent := <-got
	if text := sent.Get("Ce-Source"); text != "http://jobs.example/a%2520b" {
		t.Errorf("source: sent as %q", text)
	}
	decoded, err := event.DecodeHeader(sent)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range attributes {
		other := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }
		if text := sent.Get(name); strings.ContainsFunc(text, other) {
			t.Errorf("%s: sent as %q", name, text)
		}
		if text := decoded.Get(name); text != want {
			t.Errorf("%s: decoded to %q, want %q", name, text, want)
		}
	}
}

func FuzzDecodeHeader(f *testing.F) {
	for _, value := range []string{"", "a", "%", "%41", `"`, `"\"`, "%C0%A0", "é", "\xff"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := event.DecodeHeader(http.Header{"Ce-Id": {value}})
		if err == nil && !utf8.ValidString(got.Get("Ce-Id")) {
			t.Errorf("%q becomes %q", value, got.Get("Ce-Id"))
		}
	})
}
