package submit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/archive/archivetest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/secret"
	"go-job-orchestrator/shared/token"
)

func input(content string) formtest.Part {
	return formtest.Raw(`Content-Disposition: form-data; name="stdin"; filename="in.txt"`, content)
}

// again runs a job once more for a caller; empty: an admin.
func again(w *admissiontest.Server, id job.ID, caller string, header []string, parts ...formtest.Part) admissiontest.Reply {
	w.T.Helper()
	path := "/api/v1/jobs/" + string(id) + "/rerun"
	header = slices.Concat(header, admissiontest.By(caller))
	if len(parts) == 0 {
		return w.Call(http.MethodPost, path, "", header...)
	}
	return w.Call(http.MethodPost, path, encode(parts...), append(header, "Content-Type", formtest.ContentType)...)
}

// TestStdin stores what the program reads, and shows it to its owner.
func TestStdin(t *testing.T) {
	w := newServer(t)
	a := w.Accepted(w.Post(script(input("#!hello"))...))
	index := w.Index(a.JobID)
	if in := index.Stdin; in == nil || in.Name != job.StdinFile || in.Size != 7 || in.Mode != "" || len(index.Files) != 1 {
		t.Errorf("got %+v, %+v", in, index.Files)
	}
	if got := w.File(a.JobID, job.StdinFile); got != "#!hello" {
		t.Errorf("stored %q", got)
	}
	got := w.Want(http.StatusOK, w.Call(http.MethodGet, "/api/v1/jobs/"+string(a.JobID), ""))
	var s job.Status
	if err := json.Unmarshal(got.Text, &s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(index.Stdin, s.Stdin); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	// It counts for idempotency, and no input is not the same as an empty one.
	first := w.Accepted(w.PostKeyed("k", script(input(""))...)).JobID
	if same := w.Accepted(w.PostKeyed("k", append([]formtest.Part{field("stdin", "")}, script()...)...)).JobID; same != first {
		t.Errorf("got %s, want %s", same, first)
	}
	for _, other := range [][]formtest.Part{script(), script(input("x"))} {
		if got := w.PostKeyed("k", other...); got.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("another request with the key: %d %s", got.StatusCode, got.Text)
		}
	}
}

// TestRefusedStdin leaves nothing of an input whose form is refused.
func TestRefusedStdin(t *testing.T) {
	for name, parts := range map[string][]formtest.Part{
		"before the fault": append([]formtest.Part{input("x")}, script(field("cpu", "x"))...),
		"behind the fault": append([]formtest.Part{field("cpu", "x")}, script(input("x"))...),
		"no files":         {field("runtime", "python"), field("entrypoint", "a.py"), input("x")},
	} {
		w := newServer(t)
		if got := w.Post(parts...); got.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.Text)
		}
		w.WantNothing()
	}
}

// TestRerun runs a job again, unchanged and changed.
func TestRerun(t *testing.T) {
	w := newServer(t)
	first := w.Accepted(w.Post(script(file("b", "data"), input("in"), field("args", `["x"]`), field("env", `{"A":"1"}`),
		field("labels", `{"team":"a"}`), field("name", "first"), field("retries", "2"), field("retryOn", `["3"]`),
		field("ttlSecondsAfterFinished", "5"))...))
	original := w.Index(first.JobID)
	tests := map[string]struct {
		parts  []formtest.Part
		change func(*job.Spec)
		stdin  string
	}{
		"unchanged": {nil, func(*job.Spec) {}, "in"},
		"changed": {[]formtest.Part{field("arg", "y"), field("name", "second"), field("memory", "1Gi"), input("other")},
			func(s *job.Spec) { s.Args, s.Name, s.Memory = []string{"y"}, "second", "1Gi" }, "other"},
		"another program": {[]formtest.Part{field("entrypoint", "b"), field("runtime", "binary")},
			func(s *job.Spec) { s.Entrypoint, s.Runtime = "b", "binary" }, "in"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := again(w, first.JobID, "", nil, test.parts...)
			a := w.Accepted(got)
			if a.JobID == first.JobID || a.Token != w.Keys.Derive(token.User, a.JobID) ||
				got.Header.Get("Location") != "/api/v1/jobs/"+string(a.JobID) {
				t.Errorf("got %+v, %v", a, got.Header)
			}
			index := w.Index(a.JobID)
			want := original.Spec
			test.change(&want)
			if diff := cmp.Diff(want, index.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if index.RerunOf != first.JobID || index.Owner != original.Owner {
				t.Errorf("got %+v", index)
			}
			for i, f := range index.Files {
				if f.Name != original.Files[i].Name || f.SHA256 != original.Files[i].SHA256 ||
					w.File(a.JobID, f.Name) != w.File(first.JobID, f.Name) {
					t.Errorf("file %+v", f)
				}
			}
			if len(index.Files) != 2 || w.File(a.JobID, job.StdinFile) != test.stdin {
				t.Errorf("%d files, stdin %q", len(index.Files), w.File(a.JobID, job.StdinFile))
			}
			shown := w.Call(http.MethodGet, "/api/v1/jobs/"+string(a.JobID), "")
			if !strings.Contains(string(shown.Text), `"rerunOf":"`+string(first.JobID)+`"`) {
				t.Errorf("status %s", shown.Text)
			}
		})
	}
	// The copies are the new job's own.
	last := w.Accepted(again(w, first.JobID, "", nil)).JobID
	w.Finish(first.JobID)
	w.Remove(first.JobID)
	if got := w.File(last, "b"); got != "data" {
		t.Errorf("after the first job was removed: %q", got)
	}
	next := w.Accepted(again(w, last, "", nil)).JobID
	if got := w.Index(next); got.RerunOf != last || w.File(next, job.StdinFile) != "in" {
		t.Errorf("a rerun of a rerun: %+v", got)
	}
}

// operators are the secrets of the operator.
type operators struct{}

func (operators) Entries(context.Context) ([]secret.Entry, error) {
	return []secret.Entry{
		{Name: "db", Keyed: true, Roles: []access.Role{access.User}},
		{Name: "root", Keyed: true, Roles: []access.Role{access.Admin}},
	}, nil
}

// TestRerunOfProject runs a job with an archive and secrets again. What was inferred stays, unless it
// is changed, and so do the operator's secrets. Values of users must be sent again.
func TestRerunOfProject(t *testing.T) {
	w := newServer(t, func(d *admission.Deps) { d.Secrets = operators{} })
	data := string(archivetest.Make(t, job.TarGzip, "main.py", "print(1)", "other.py", ""))
	post := func(caller string, parts ...formtest.Part) job.ID {
		parts = append([]formtest.Part{formtest.Archive("p.tgz", data)}, parts...)
		return w.Accepted(w.Call(http.MethodPost, "/api/v1/jobs", encode(parts...),
			append(admissiontest.By(caller), "Content-Type", formtest.ContentType)...)).JobID
	}
	admin := post("", field("secret.ROOT", "@root/key"))
	ann := post("ann@example.com", field("secret.DB", "@db/key"), field("secret.OWN", "hunter2hunter2"))
	for name, test := range map[string]struct {
		id     job.ID
		caller string
		parts  []formtest.Part
		want   *job.Inferred // nil: refused
		fault  string
	}{
		"unchanged": {id: admin, want: &job.Inferred{Runtime: "python", Entrypoint: "main.py"}},
		"another program": {id: admin, parts: []formtest.Part{field("entrypoint", "other.py")},
			want: &job.Inferred{Runtime: "python"}},
		"a program that is not there": {id: admin, parts: []formtest.Part{field("entrypoint", "missing.py")},
			fault: "entrypoint"},
		"a program of another runtime": {id: admin, fault: "entrypoint",
			parts: []formtest.Part{field("runtime", "java"), field("entrypoint", "Missing")}},
		"value sent again": {id: ann, caller: "ann@example.com", parts: []formtest.Part{field("secret.OWN", "hunter3hunter3")},
			want: &job.Inferred{Runtime: "python", Entrypoint: "main.py"}},
		"value not sent again": {id: ann, caller: "ann@example.com", fault: "secret.OWN"},
		"value replaced by a name": {id: ann, caller: "ann@example.com", parts: []formtest.Part{field("secret.OWN", "@db/key")},
			want: &job.Inferred{Runtime: "python", Entrypoint: "main.py"}},
		"a secret of admins": {id: ann, caller: "ann@example.com", fault: "secret.X",
			parts: []formtest.Part{field("secret.OWN", "hunter3hunter3"), field("secret.X", "@root/key")}},
		"an admin lends nothing": {id: ann, fault: "secret.X",
			parts: []formtest.Part{field("secret.OWN", "hunter3hunter3"), field("secret.X", "@root/key")}},
		"an archive": {id: admin, parts: []formtest.Part{formtest.Archive("q.tgz", data)}, fault: "archive"},
	} {
		t.Run(name, func(t *testing.T) {
			got := again(w, test.id, test.caller, nil, test.parts...)
			if test.want == nil {
				if p := w.Problem(got, http.StatusUnprocessableEntity); len(p.Errors) != 1 || p.Errors[0].Field != test.fault {
					t.Errorf("got %+v", p)
				}
				return
			}
			index, first := w.Index(w.Accepted(got).JobID), w.Index(test.id)
			if diff := cmp.Diff(test.want, index.Inferred); diff != "" {
				t.Errorf("inferred (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(first.Files, index.Files); diff != "" || w.File(index.JobID, "p.tgz") != data {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if len(index.Secrets) != len(first.Secrets) || index.Secrets[0] != first.Secrets[0] {
				t.Errorf("secrets %+v, want %+v", index.Secrets, first.Secrets)
			}
		})
	}
}

// TestRerunOwners demands that callers run only their own jobs again, and that the new job belongs to
// the owner of the first one.
func TestRerunOwners(t *testing.T) {
	w := newServer(t)
	post := w.Request(strings.NewReader(encode(script()...)), http.Header{"Content-Type": {formtest.ContentType}})
	post.Header.Set(admissiontest.By("ann")[0], "ann")
	first := w.Accepted(w.Do(post))
	for _, caller := range []string{"ann", ""} { // the second is an admin
		index := w.Index(w.Accepted(again(w, first.JobID, caller, nil)).JobID)
		if index.Owner != "ann" {
			t.Errorf("%q: the job belongs to %s", caller, index.Owner)
		}
	}
	before := w.Tree()
	if got := again(w, first.JobID, "bob", nil); got.StatusCode != http.StatusNotFound {
		t.Errorf("another caller: %d %s", got.StatusCode, got.Text)
	}
	if diff := cmp.Diff(before, w.Tree()); diff != "" {
		t.Errorf("stored (-before +after):\n%s", diff)
	}
}

// TestRerunKeys sends reruns more than once.
func TestRerunKeys(t *testing.T) {
	w := newServer(t)
	one, two := w.Accepted(w.PostKeyed("k", script()...)).JobID, w.Accepted(w.Post(script()...)).JobID
	key := []string{"Idempotency-Key", "k"}
	first := w.Accepted(again(w, one, "", key, field("arg", "x"))).JobID
	if first == one {
		t.Error("the key of a submit is that of a rerun")
	}
	if same := w.Accepted(again(w, one, "", key, field("args", `["x"]`))).JobID; same != first {
		t.Errorf("sent again: %s, want %s", same, first)
	}
	if got := again(w, one, "", key, field("arg", "y")); got.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("another rerun with the key: %d %s", got.StatusCode, got.Text)
	}
	if other := w.Accepted(again(w, two, "", key, field("arg", "x"))).JobID; other == first {
		t.Error("the key of one job is that of another")
	}
}

// TestBadReruns sends reruns that are refused, of which nothing stays.
func TestBadReruns(t *testing.T) {
	w := newServer(t, admissiontest.Setting("MAX_UPLOAD_BYTES", "1Mi"))
	kept, gone := w.Accepted(w.Post(script()...)).JobID, w.Accepted(w.Post(script()...)).JobID
	removed := w.Accepted(w.Post(script()...)).JobID
	w.Finish(gone)
	w.Remove(gone)
	if err := w.Ledger.RequestRemoval(t.Context(), removed); err != nil {
		t.Fatal(err)
	}
	before := w.Tree()
	for name, test := range map[string]struct {
		id     job.ID
		parts  []formtest.Part
		status int
		field  string
	}{
		"unknown":         {"fe5df73070535f3b1d397b4f85a949ff", nil, http.StatusNotFound, ""},
		"no ID":           {"x", nil, http.StatusNotFound, ""},
		"removed":         {gone, nil, http.StatusNotFound, ""},
		"being removed":   {removed, []formtest.Part{field("arg", "x")}, http.StatusNotFound, ""},
		"files":           {kept, []formtest.Part{file("b", "x")}, http.StatusUnprocessableEntity, "files"},
		"unknown field":   {kept, []formtest.Part{input("x"), field("nmae", "x")}, http.StatusUnprocessableEntity, "nmae"},
		"wrong value":     {kept, []formtest.Part{input("x"), field("cpu", "x")}, http.StatusUnprocessableEntity, "cpu"},
		"no such file":    {kept, []formtest.Part{field("entrypoint", "b.py")}, http.StatusUnprocessableEntity, "entrypoint"},
		"no such runtime": {kept, []formtest.Part{field("runtime", "cobol")}, http.StatusUnprocessableEntity, "runtime"},
		"too large":       {kept, []formtest.Part{input(strings.Repeat("x", 2<<20))}, http.StatusRequestEntityTooLarge, "files"},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.Problem(again(w, test.id, "", nil, test.parts...), test.status)
			if test.field != "" && (len(got.Errors) != 1 || got.Errors[0].Field != test.field) {
				t.Errorf("got %+v", got)
			}
		})
	}
	w.Problem(w.Call(http.MethodPost, "/api/v1/jobs/"+string(kept)+"/rerun", "{}", "Content-Type", "application/json"),
		http.StatusUnsupportedMediaType)
	if diff := cmp.Diff(before, w.Tree()); diff != "" {
		t.Errorf("stored (-before +after):\n%s", diff)
	}
}

// TestRerunWhileRemoved removes a job while its files are copied.
func TestRerunWhileRemoved(t *testing.T) {
	w := newServer(t)
	id := w.Accepted(w.Post(script(file("b", "x"))...)).JobID
	if err := os.Remove(filepath.Join(w.Dir, string(id), "b")); err != nil {
		t.Fatal(err)
	}
	before := w.Tree()
	w.Problem(again(w, id, "", nil), http.StatusNotFound)
	if diff := cmp.Diff(before, w.Tree()); diff != "" {
		t.Errorf("stored (-before +after):\n%s", diff)
	}
}

// TestRerunOfFormer runs a job of an earlier version again, which has a file of the name that is
// reserved now.
func TestRerunOfFormer(t *testing.T) {
	w := newServer(t)
	id := w.Accepted(w.Post(script(file("b", "former"))...)).JobID
	former := *w.Index(id)
	if former.JobID = job.ID(strings.Replace(string(id), id8(id), "fffffff0", 1)); former.JobID == id {
		t.Fatal("the same ID")
	}
	former.Files = slices.Clone(former.Files)
	for i := range former.Files {
		name := former.Files[i].Name
		if name == "b" {
			former.Files[i].Name = job.StdinFile
		}
		if _, err := w.Store.Put(t.Context(), ledger.FileKey(former.JobID, former.Files[i].Name),
			strings.NewReader(w.File(id, name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Ledger.BeginUpload(t.Context(), former.JobID), w.Ledger.Accept(t.Context(), &former)); err != nil {
		t.Fatal(err)
	}
	next := w.Accepted(again(w, former.JobID, "", nil)).JobID
	if got := w.File(next, job.StdinFile); got != "former" || w.Index(next).Stdin != nil {
		t.Errorf("got %q, %+v", got, w.Index(next).Stdin)
	}
	got := w.Problem(again(w, former.JobID, "", nil, input("x")), http.StatusUnprocessableEntity)
	if len(got.Errors) != 1 || got.Errors[0].Field != "stdin" {
		t.Errorf("got %+v", got)
	}
}

// id8 is the beginning of an ID.
func id8(id job.ID) string { return string(id)[:8] }

// TestRerunOfTemplate keeps a job that is run again among those of its template.
func TestRerunOfTemplate(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("nightly", "ann", script(input("in"), field("name", "by default"), field("labels", `{"a":"b"}`))...)
	first := w.Accepted(w.StartTemplate("nightly", "ann"))
	next := w.Accepted(again(w, first.JobID, "ann", nil, field("labels", `{"c":"d"}`))).JobID
	index := w.Index(next)
	if diff := cmp.Diff(map[string]string{"c": "d", job.TemplateLabel: "nightly"}, index.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if index.Template == nil || index.Template.Name != "nightly" || index.Owner != "ann" || index.Name != "by default" {
		t.Errorf("got %+v", index)
	}
	many := map[string]string{}
	for n := range job.MaxLabels {
		many[fmt.Sprint("l", n)] = ""
	}
	text, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	w.WantFaults(again(w, first.JobID, "ann", nil, field("labels", string(text))), "labels")
}

// TestRerunListsZip looks for another program in a zip file, which has its list at its end.
func TestRerunListsZip(t *testing.T) {
	w := newServer(t)
	data := string(archivetest.Make(t, job.Zip, "main.py", "print(1)", "other.py", ""))
	id := w.Accepted(w.Call(http.MethodPost, "/api/v1/jobs", encode(formtest.Archive("p.zip", data)),
		"Content-Type", formtest.ContentType)).JobID
	w.Accepted(again(w, id, "", nil, field("entrypoint", "other.py")))
	p := w.Problem(again(w, id, "", nil, field("entrypoint", "missing.py")), http.StatusUnprocessableEntity)
	if len(p.Errors) != 1 || p.Errors[0].Field != "entrypoint" {
		t.Errorf("got %+v", p)
	}
}
