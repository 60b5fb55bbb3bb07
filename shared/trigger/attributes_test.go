package trigger_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go-job-orchestrator/shared/trigger"
)

// TestAttributesAreBounded sends events with long attributes, in the headers and in the body.
func TestAttributesAreBounded(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ",\"x%d\":\"y\"", i)
		}
		return b.String()
	}
	text := func(name string, n int) string { return fmt.Sprintf(",%q:%q", name, strings.Repeat("a", n)) }
	for _, test := range []struct {
		more  string
		field string // empty: the event is taken
	}{
		{"", ""}, {text("id", 2048), ""}, {text("id", 2049), "id"}, {text("source", 2049), "source"},
		{text("type", 1<<20), "type"}, {text("subject", 2049), "subject"},
		{text("dataschema", 2049), "dataschema"}, {text("myext", 4096), ""}, {text("myext", 4097), "myext"},
		{text(strings.Repeat("n", 64), 1), ""},
		{text(strings.Repeat("n", 65), 1), "body"}, {many(64), ""}, {many(65), "body"},
	} {
		for _, batch := range []bool{false, true} {
			required := ""
			for _, name := range []string{"id", "source", "type"} {
				if !strings.HasPrefix(test.more, `,"`+name+`"`) { // no attribute comes twice
					required += fmt.Sprintf(",%q:\"x\"", name)
				}
			}
			body, kind := `{"specversion":"1.0"`+required+test.more+"}", "application/cloudevents+json"
			if batch {
				body, kind = "["+body+"]", "application/cloudevents-batch+json"
			}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/events", strings.NewReader(body))
			r.Header.Set("Content-Type", kind)
			_, err := trigger.Read(httptest.NewRecorder(), r, 4<<20)
			if (err == nil) != (test.field == "") || err != nil && (!strings.Contains(err.Error(), test.field+":") &&
				!strings.Contains(err.Error(), test.field+" ") || len(err.Error()) > 500) {
				t.Errorf("batch %t, %.60s: %v", batch, test.more, err)
			}
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/events", strings.NewReader("{}"))
	for name, value := range map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s",
		"ce-type": strings.Repeat("t", 4000), "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	if _, err := trigger.Read(httptest.NewRecorder(), r, 4<<20); err == nil || !strings.Contains(err.Error(), "type:") {
		t.Errorf("in the headers: %v", err)
	}
}
