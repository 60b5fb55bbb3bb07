package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/job"
)

// pages answers a list of jobs page by page, and fails after some pages if after is not 0.
func pages(count, after int) http.HandlerFunc {
	asked := 0
	return func(w http.ResponseWriter, r *http.Request) {
		if asked++; after > 0 && asked > after {
			problem(http.StatusServiceUnavailable, "the storage does not answer")(w, r)
			return
		}
		begin, limit := 0, 50
		_, _ = fmt.Sscanf(r.URL.Query().Get("pageToken"), "%032x", &begin)
		_, _ = fmt.Sscanf(r.URL.Query().Get("limit"), "%d", &limit)
		page := map[string]any{}
		items := []map[string]any{}
		for i := begin; i < min(begin+limit, count); i++ {
			items = append(items, map[string]any{"jobID": fmt.Sprintf("%032x", i+1), "phase": "Running", "a field of tomorrow": 1.50})
		}
		page["items"] = items
		if begin+limit < count {
			page["nextPageToken"] = fmt.Sprintf("%032x", begin+limit)
		}
		_ = json.NewEncoder(w).Encode(page)
	}
}

// TestLongLists follows pages up to the limit. What is printed of a list that fails does not look whole.
func TestLongLists(t *testing.T) {
	for _, c := range []struct {
		line         string
		count, after int
		want         int // how many are printed
		code         int
		whole        bool
	}{
		{"ls --all -o json", 1201, 0, 1201, 0, true},
		{"ls --limit 700 -o json", 1201, 0, 700, 0, true},
		{"ls --limit 500 -o json", 500, 0, 500, 0, true},
		{"ls --all -o json", 1201, 1, 500, exitUnreachable, false},
		{"ls --all -o json", 1201, 2, 1000, exitUnreachable, false},
		{"ls --all -o name", 1201, 0, 1201, 0, false},
		{"ls --all --no-headers", 1201, 0, 1201, 0, false},
	} {
		server := httptest.NewServer(fake(map[string]http.HandlerFunc{"/api/v1/jobs": pages(c.count, c.after)}))
		a, stdout, stderr := newApp(t, map[string]string{"GOJOB_URL": server.URL})
		code := a.run(t.Context(), append([]string{"gojob"}, strings.Fields(c.line)...))
		server.Close()
		got := strings.Count(stdout.String(), `"jobID"`)
		if !strings.Contains(c.line, "json") {
			got = strings.Count(stdout.String(), "\n")
		}
		var page struct {
			Items         []json.RawMessage
			NextPageToken string
		}
		err := json.Unmarshal(stdout.Bytes(), &page)
		if got != c.want || code != c.code || (err == nil) != c.whole {
			t.Errorf("%s of %d, cut after %d: %d jobs, ended with %d, JSON: %v; %s", c.line, c.count, c.after, got, code, err, stderr)
		}
		if c.whole && (c.want < c.count) != (page.NextPageToken != "") {
			t.Errorf("%s: the token of the next page is %q", c.line, page.NextPageToken)
		}
		if c.whole && !strings.Contains(string(page.Items[0]), `"a field of tomorrow":1.5`) {
			t.Errorf("an item is changed: %s", page.Items[0])
		}
	}
}

func TestYAML(t *testing.T) {
	const in = `{"b":"true","a":[1,2.5e10,12345678901234567890,true,null],"empty":{},"none":[],"text":"a\nb\u0000\ud83d\ude00","n":"1","d":"2026-01-01","é":"- x: y"}`
	const want = `b: "true"
a:
  - 1
  - 2.5e10
  - 12345678901234567890
  - true
  - null
empty: {}
none: []
text: "a\nb\0\U0001F600"
n: "1"
d: "2026-01-01"
é: '- x: y'
`
	got, err := toYAML([]byte(in))
	if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestTable aligns wide characters, and shows what would move the cursor.
func TestTable(t *testing.T) {
	var out bytes.Buffer
	table := newTable(&out, &output{format: formatTable}, []column[string]{
		{title: "NAME", cell: func(s string) string { return s }},
		{title: "HIDDEN", wide: true, cell: func(string) string { return "x" }},
		{title: "LENGTH", cell: func(s string) string { return fmt.Sprint(len(s)) }},
	})
	for _, page := range [][]string{{"a", "世界"}, nil, {"\x1b[2J\u202e", "", "b"}} {
		if err := table.page(page); err != nil {
			t.Fatal(err)
		}
	}
	want := "NAME  LENGTH\na     1\n世界  6\n\\x1b[2J\\u202e  7\n-              0\nb              1\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 90 * time.Second: "90s", 2 * time.Minute: "2m", 119 * time.Minute: "119m", 3 * time.Hour: "3h",
		47 * time.Hour: "47h", 49 * time.Hour: "2d",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 5 << 30: "5 GiB", 1 << 52: "4096 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestPrevious is the ID from which a list begins with those that have a prefix.
func TestPrevious(t *testing.T) {
	for digits, want := range map[string]string{
		"fe5": "fe4" + strings.Repeat("f", 29), "a": "9" + strings.Repeat("f", 31), "10": "0" + strings.Repeat("f", 31),
		"0": "", "000": "", "001": "000" + strings.Repeat("f", 29),
	} {
		if got := previous(digits); got != want {
			t.Errorf("%s: %s, want %s", digits, got, want)
		}
	}
}

// TestResolve decides between names and beginnings of IDs.
func TestResolve(t *testing.T) {
	list := func(items ...job.Summary) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			found := []job.Summary{}
			q := r.URL.Query()
			for _, item := range items {
				if name := q.Get("name"); (name == "" || item.Name == name) && string(item.JobID) > q.Get("pageToken") && len(found) < 2 {
					found = append(found, item)
				}
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"items": found})
		}
	}
	id := func(digits string) job.ID { return job.ID(digits + strings.Repeat("0", 32-len(digits))) }
	server := httptest.NewServer(fake(map[string]http.HandlerFunc{"/api/v1/jobs": list(
		job.Summary{JobID: id("00"), Name: "first"}, job.Summary{JobID: id("abc1"), Name: "words"}, job.Summary{JobID: id("abc2"), Name: "words"},
		job.Summary{JobID: id("beef"), Name: "a job"}, job.Summary{JobID: id("c0de"), Name: "beef"}, job.Summary{JobID: id("fade"), Name: "fade"},
	)}))
	defer server.Close()
	for ref, want := range map[string]string{
		"words": string(id("abc1")), "a job": string(id("beef")), "abc2": string(id("abc2")), "ABC2": string(id("abc2")),
		"run-abc2": string(id("abc2")), "0": string(id("00")), string(id("dead")): string(id("dead")), "fade": string(id("fade")),
		"abc": "several jobs begin with", "beef": "is the name of the job " + string(id("c0de")) + " and the beginning of " + string(id("beef")),
		"dead": "no job of yours has the ID or name", "": "no job of yours", "\x1b": "no job of yours", "@": "there was none",
	} {
		a, _, _ := newApp(t, map[string]string{"GOJOB_URL": server.URL})
		c, err := a.client()
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.resolve(t.Context(), c, ref)
		if err == nil && string(got) != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %s", ref, got, err, want)
		}
	}
}
