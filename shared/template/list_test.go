package template_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/store/storetest"
	"go-job-orchestrator/shared/template"
)

// pages lists page by page. Each must be full but the last, which must have something.
func (w *fixture) pages(q template.Query) []string {
	w.bucket.T.Helper()
	var names []string
	for {
		page, next, err := w.List(w.bucket.T.Context(), q)
		if err != nil || len(page) > q.Limit || len(page) == 0 || next != "" && len(page) < q.Limit {
			w.bucket.T.Fatalf("page of %d templates, next %q, %v; limit %d", len(page), next, err, q.Limit)
		}
		for _, v := range page {
			names = append(names, v.Name)
		}
		if q.After = next; next == "" {
			return names
		}
	}
}

// TestListOfOwner lists the templates of each owner, on pages of each size. The smallest pages are
// tried for the owner who has few: each page costs a list of the whole bucket, which is in memory.
func TestListOfOwner(t *testing.T) {
	w := newFixture(t)
	want := map[string][]string{}
	for i := range 150 {
		name := fmt.Sprintf("t%03d", i)
		owner := "bob"
		if i%40 == 7 {
			owner = "ann"
		}
		w.put(name, owner, "x")
		want[owner], want[""] = append(want[owner], name), append(want[""], name)
	}
	for owner, names := range want {
		for _, limit := range []int{1, 2, 3, 4, 5, 63, 64, 65, 100, 150, 151} {
			if limit < 5 && owner != "ann" {
				continue
			}
			if diff := cmp.Diff(names, w.pages(template.Query{Limit: limit, Owner: owner})); diff != "" {
				t.Errorf("owner %q, limit %d (-want +got):\n%s", owner, limit, diff)
			}
		}
	}
	if page, next, err := w.List(t.Context(), template.Query{Limit: 5, Owner: "nobody"}); len(page) != 0 || next != "" ||
		err != nil {
		t.Errorf("of nobody: %v, %q, %v", page, next, err)
	}
}

// TestListIsBounded has more templates of others than are read for one page.
func TestListIsBounded(t *testing.T) {
	w := newFixture(t)
	for i := range 1100 {
		name := fmt.Sprintf("t%04d", i)
		record := fmt.Sprintf(`{"name":%q,"version":1,"caller":"bob"}`, name)
		if err := w.bucket.Store.Create(t.Context(), ".orchestrator/template/"+name+"/00000001.json", []byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	w.put("zoom", "ann", "x")
	var reads atomic.Int64
	s := template.NewStore(storetest.WithReads(w.bucket.Store, func(string, string) { reads.Add(1) }), w.clock)
	q := template.Query{Limit: 5, Owner: "ann"}
	page, next, err := s.List(t.Context(), q)
	if err != nil || len(page) != 0 || next == "" || reads.Load() > 2300 {
		t.Fatalf("%d templates, next %q, %v, after %d reads", len(page), next, err, reads.Load())
	}
	q.After = next
	page, next, err = s.List(t.Context(), q)
	if err != nil || len(page) != 1 || page[0].Name != "zoom" || next != "" {
		t.Errorf("second page: %v, next %q, %v", page, next, err)
	}
	reads.Store(0)
	all, _, err := s.List(t.Context(), template.Query{Limit: 3})
	if err != nil || len(all) != 3 || all[0].Name != "t0000" || reads.Load() > 9 {
		t.Fatalf("of all: %v, %v, after %d reads", all, err, reads.Load())
	}
	if !slices.IsSortedFunc(all, func(a, b *template.Version) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not in the order of names")
	}
}
