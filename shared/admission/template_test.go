package admission_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/template"
)

const owner = "ann"

// save makes a version of the template "t" with a file, and returns it with the folder of its
// files.
func save(t *testing.T, w *admissiontest.Server, owner, content string) (*template.Version, job.ID) {
	t.Helper()
	templates := template.NewStore(w.Store, time.Now)
	id, err := job.NewID(time.Now(), strings.NewReader(strings.Repeat(content, 10)))
	if err != nil {
		t.Fatal(err)
	}
	if err := templates.Begin(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	file, err := w.Controller().Put(t.Context(), template.FileKey("t", id, "a.py"), "a.py", strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	d := template.Draft{Folder: id}
	d.Name, d.Owner, d.Files = "t", owner, []job.File{file}
	d.Spec = job.Spec{Runtime: "python", Entrypoint: "a.py", Args: []string{content}}
	v, err := templates.Save(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return v, id
}

// TestReplacedTemplates starts jobs from a version whose files are gone.
func TestReplacedTemplates(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(t *testing.T, w *admissiontest.Server, v *template.Version, folder job.ID)
		want      error
		content   string
	}{
		"as it is": {func(*testing.T, *admissiontest.Server, *template.Version, job.ID) {}, nil, "old"},
		"replaced": {func(t *testing.T, w *admissiontest.Server, _ *template.Version, folder job.ID) {
			save(t, w, owner, "new")
			removeFolder(t, w, folder)
		}, nil, "new"},
		"deleted": {func(t *testing.T, w *admissiontest.Server, v *template.Version, _ job.ID) {
			if err := template.NewStore(w.Store, time.Now).Delete(t.Context(), v); err != nil {
				t.Fatal(err)
			}
		}, job.ErrNotFound, ""},
		"somebody else's by now": {func(t *testing.T, w *admissiontest.Server, v *template.Version, _ job.ID) {
			if err := template.NewStore(w.Store, time.Now).Delete(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			save(t, w, "bob", "new")
		}, job.ErrNotFound, ""},
		"replaced again and again": {func(t *testing.T, w *admissiontest.Server, _ *template.Version, folder job.ID) {
			removeFolder(t, w, folder)
		}, job.ErrUnavailable, ""},
		"damaged": {func(t *testing.T, w *admissiontest.Server, _ *template.Version, folder job.ID) {
			if _, err := w.Store.Put(t.Context(), template.FileKey("t", folder, "a.py"), strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
		}, errAny, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := admissiontest.New(t, nil)
			v, folder := save(t, w, owner, "old")
			test.meanwhile(t, w, v, folder)
			before := w.Tree()
			index, err := w.Controller().FromTemplate(t.Context(), v, admission.Start{
				Change: func(spec job.Spec) (job.Spec, error) { return spec, nil },
				Files: []admission.Source{{Name: "more", Open: func(context.Context) (io.ReadCloser, error) {
					return io.NopCloser(bytes.NewReader(nil)), nil
				}}},
			})
			if test.want != nil {
				if err == nil || !errors.Is(test.want, errAny) && !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if diff := cmp.Diff(before, w.Tree()); diff != "" {
					t.Errorf("something is left (-before +after):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := w.File(index.JobID, "a.py"); got != test.content || index.Args[0] != test.content ||
				len(index.Files) != 2 || index.Labels[job.TemplateLabel] != "t" || index.Owner != owner {
				t.Errorf("a.py: got %q of %+v, want %q", got, index, test.content)
			}
		})
	}
}

// errAny stands for any error.
var errAny = errors.New("any")

func removeFolder(t *testing.T, w *admissiontest.Server, folder job.ID) {
	t.Helper()
	if err := w.Store.RemoveAll(t.Context(), template.FileKey("t", folder, "")); err != nil {
		t.Fatal(err)
	}
}

// TestReplacedWithInput replaces a template after the input of its job was stored.
func TestReplacedWithInput(t *testing.T) {
	w := admissiontest.New(t, nil)
	v, folder := save(t, w, owner, "old")
	if _, err := w.Store.Put(t.Context(), template.FileKey("t", folder, "b"), strings.NewReader("b")); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("b"))
	// The first file is copied, the second is gone.
	v.Files = append([]job.File{{Name: "b", Size: 1, SHA256: hex.EncodeToString(sum[:])}}, v.Files...)
	save(t, w, owner, "new")
	if err := w.Store.Remove(t.Context(), template.FileKey("t", folder, "a.py")); err != nil {
		t.Fatal(err)
	}
	tx, err := w.Controller().Begin(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort(t.Context())
	stdin, err := tx.Put(t.Context(), job.StdinFile, strings.NewReader("in"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := tx.FromTemplate(t.Context(), v, admission.Start{
		Draft:  admission.Draft{Stdin: &stdin},
		Change: func(spec job.Spec) (job.Spec, error) { return spec, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.File(index.JobID, "a.py") != "new" || w.File(index.JobID, job.StdinFile) != "in" || index.Stdin == nil ||
		len(index.Files) != 1 {
		t.Errorf("got %+v", index)
	}
	if slices.Contains(w.Tree(), string(index.JobID)+"/b") {
		t.Error("a file of the old version is left")
	}
}
