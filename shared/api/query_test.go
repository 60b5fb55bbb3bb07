package api_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/api"
)

// TestQuery reads queries, and demands that of several faults the same one is named.
func TestQuery(t *testing.T) {
	q := api.Query{Names: []string{"limit", "follow", "label"}, Others: map[string]string{"count": "limit"},
		Repeat: []string{"label"}}
	wrong := errors.New("wrong")
	unknown := func(name string) string {
		return name + ": is not a parameter of this call; there are: limit, follow, label"
	}
	for raw, test := range map[string]struct {
		taken []string
		fault string
	}{
		"":                                    {},
		"limit=&label=b&follow=1&label=a":     {taken: []string{"follow=1", "label=b", "label=a", "limit="}},
		"%zz":                                 {fault: "query: is not a valid query string"},
		"a;b":                                 {fault: "query: is not a valid query string"},
		"limit=1&limit=1":                     {fault: "limit: was sent more than once"},
		"z=1&limit=1&limit=1&y=1":             {fault: "limit: was sent more than once"},
		"z=1&y=1&y=2":                         {fault: unknown("y")},
		"Limit=1":                             {fault: unknown("Limit") + "; did you mean limit?"},
		"count=1":                             {fault: unknown("count") + "; did you mean limit?"},
		"label=wrong&limit=1&limit=1&zzz=1":   {fault: "wrong"},
		"follow=1&label=ok&label=wrong&aaa=1": {fault: unknown("aaa")},
	} {
		var taken []string
		err := q.Each(raw, func(name, value string) error {
			if value == "wrong" {
				return wrong
			}
			taken = append(taken, name+"="+value)
			return nil
		})
		if test.fault == "" {
			if diff := cmp.Diff(test.taken, taken); diff != "" || err != nil {
				t.Errorf("%q: %v (-want +got):\n%s", raw, err, diff)
			}
			continue
		}
		if err == nil || err.Error() != test.fault {
			t.Errorf("%q: got %v, want %s", raw, err, test.fault)
		}
	}
	got, err := q.Values("limit=5&follow=")
	if diff := cmp.Diff(map[string]string{"limit": "5", "follow": ""}, got); diff != "" || err != nil {
		t.Errorf("values: %v (-want +got):\n%s", err, diff)
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]int{"1": 1, "100": 100, "007": 7, "0": 0, "101": 0, "-1": 0, "+1": 0, "1.0": 0, "": 0,
		" 1": 0, "99999999999999999999": 0, "2147483648": 0} {
		n, err := api.Number("limit", text, 1, 100)
		if n != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %d, %v", text, n, err)
		}
		if err != nil && err.Error() != "limit: must be a whole number from 1 to 100" {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestFlag(t *testing.T) {
	for text, valid := range map[string]bool{"true": true, "false": true, "": false, "TRUE": false, "1": false, "yes": false} {
		got, err := api.Flag("follow", text)
		if (err == nil) != valid || got != (text == "true") {
			t.Errorf("%q: got %t, %v", text, got, err)
		}
	}
}
