package events_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHandshake is section 4 of "HTTP 1.1 Web Hooks for Event Delivery".
func TestHandshake(t *testing.T) {
	w := newServer(t)
	const origin, rate = "WebHook-Request-Origin", "WebHook-Request-Rate"
	granted := func(name string) http.Header {
		return http.Header{
			"Allow": {"OPTIONS, POST"}, "Webhook-Allowed-Origin": {name}, "Webhook-Allowed-Rate": {"*"},
		}
	}
	for name, test := range map[string]struct {
		query  string
		header http.Header
		status int
		want   http.Header // all but Date, of an answer of 204
		field  string      // that the answer names, of another
	}{
		"a sender":        {"", http.Header{origin: {"eventgrid.azure.net"}}, 204, granted("eventgrid.azure.net"), ""},
		"with a rate":     {"?template=x", http.Header{origin: {"a.example"}, rate: {"120"}}, 204, granted("a.example"), ""},
		"with a callback": {"", http.Header{origin: {"a"}, "WebHook-Request-Callback": {"http://a"}}, 204, granted("a"), ""},
		"no sender":       {"", nil, 204, http.Header{"Allow": {"OPTIONS, POST"}}, ""},
		"preflight": {
			"", http.Header{"Access-Control-Request-Method": {"POST"}}, 204, http.Header{"Allow": {"OPTIONS, POST"}}, "",
		},
		"two senders":     {"", http.Header{origin: {"a", "b"}}, 400, nil, origin},
		"a list":          {"", http.Header{origin: {"a, b"}}, 400, nil, origin},
		"an empty sender": {"", http.Header{origin: {""}}, 400, nil, origin},
		"a long sender":   {"", http.Header{origin: {strings.Repeat("a", 256)}}, 400, nil, origin},
		"no ASCII":        {"", http.Header{origin: {"é.example"}}, 400, nil, origin},
		"rate 0":          {"", http.Header{origin: {"a"}, rate: {"0"}}, 400, nil, rate},
		"a negative rate": {"", http.Header{origin: {"a"}, rate: {"-1"}}, 400, nil, rate},
		"a rate in words": {"", http.Header{origin: {"a"}, rate: {"many"}}, 400, nil, rate},
		"another query":   {"?templates=x", http.Header{origin: {"a"}}, 400, nil, "templates"},
		"no template":     {"?template=", http.Header{origin: {"a"}}, 422, nil, "template"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, w.HTTP.URL+"/events"+test.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			for key, values := range test.header {
				r.Header[http.CanonicalHeaderKey(key)] = values
			}
			got := w.Do(r)
			body := string(got.Text)
			if got.StatusCode != test.status {
				t.Fatalf("got %s, want %d: %s", got.Status, test.status, body)
			}
			if test.status != http.StatusNoContent {
				if !strings.Contains(body, test.field) || got.Header.Get("Webhook-Allowed-Origin") != "" {
					t.Errorf("got %v: %s; want the field %s and no permission", got.Header, body, test.field)
				}
				return
			}
			got.Header.Del("Date")
			if diff := cmp.Diff(test.want, got.Header); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}
