package form_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/form"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
)

// stdinFile is what curl makes of -F stdin=@name.
func stdinFile(content string) formtest.Part {
	return formtest.Raw(`Content-Disposition: form-data; name="stdin"; filename="../big.txt"`, content)
}

// TestStdin sends what the program reads as a text and as a file, of any length and content.
func TestStdin(t *testing.T) {
	long := strings.Repeat("x", 100_000) // a field has 1 KiB at most
	for name, test := range map[string]struct {
		part    formtest.Part
		content string
	}{
		"text":             {formtest.Field("stdin", "hello"), "hello"},
		"file":             {stdinFile("hello"), "hello"},
		"a long text":      {formtest.Field("stdin", long), long},
		"a long file":      {stdinFile(long), long},
		"nothing":          {formtest.Field("stdin", ""), ""},
		"not UTF-8":        {formtest.Field("stdin", "\xff\x00"), "\xff\x00"},
		"like a program":   {stdinFile("#!/bin/sh\n"), "#!/bin/sh\n"},
		"between parts":    {stdinFile("--" + boundary + "x"), "--" + boundary + "x"},
		"with line breaks": {formtest.Field("stdin", "a\r\nb\n"), "a\r\nb\n"},
	} {
		t.Run(name, func(t *testing.T) {
			files := saver{}
			got, err := form.NewReader(limits()).Read(request(t.Context(), formtest.Encode(formtest.Script(test.part)...)),
				job.Spec{}, files.save)
			if err != nil {
				t.Fatal(err)
			}
			want := &job.File{Name: job.StdinFile, Size: int64(len(test.content))}
			if diff := cmp.Diff(want, got.Stdin); diff != "" || len(got.Files) != 1 {
				t.Errorf("%d files (-want +got):\n%s", len(got.Files), diff)
			}
			if files[job.StdinFile] != test.content {
				t.Errorf("stored %.60q", files[job.StdinFile])
			}
		})
	}
}

// TestBadInputs sends inputs, names and causes of retries that are refused.
func TestBadInputs(t *testing.T) {
	field := formtest.Field
	for name, test := range map[string]struct {
		parts []formtest.Part
		want  []string // field: a part of the message
	}{
		"stdin twice":        {[]formtest.Part{field("stdin", "a"), stdinFile("b")}, []string{"stdin: more than once"}},
		"file of that name":  {[]formtest.Part{formtest.File(".stdin", "a")}, []string{"files: reserved"}},
		"misspelt stdin":     {[]formtest.Part{field("stdn", "a")}, []string{"stdn: did you mean stdin?"}},
		"input":              {[]formtest.Part{field("input", "a")}, []string{"input: did you mean stdin?"}},
		"name twice":         {[]formtest.Part{field("name", "a"), field("name", "a")}, []string{"name: more than once"}},
		"name with a break":  {[]formtest.Part{field("name", "a\nb")}, []string{"name: cannot be seen"}},
		"long name":          {[]formtest.Part{field("name", strings.Repeat("x", 101))}, []string{"name: 101 bytes"}},
		"title":              {[]formtest.Part{field("title", "a")}, []string{"title: did you mean name?"}},
		"causes, no retries": {[]formtest.Part{field("retryOn", `["3"]`)}, []string{"retryOn: needs retries"}},
		"causes as a list": {[]formtest.Part{field("retries", "1"), field("retryOn", "3,OOMKilled")},
			[]string{`retryOn: did you mean ["3","OOMKilled"]?`}},
		"causes as numbers": {[]formtest.Part{field("retries", "1"), field("retryOn", "[3]")},
			[]string{"retryOn: JSON array of strings"}},
		"wrong causes": {[]formtest.Part{field("retries", "1"), field("retryOn", `["OOM","300","Completed"]`)},
			[]string{"retryOn[0]: did you mean OOMKilled?", "retryOn[1]: exit code", "retryOn[2]: neither"}},
		"all at once": {[]formtest.Part{field("name", " "), field("retryOn", `["x"]`)},
			[]string{"name: blank", "retryOn: needs retries", "retryOn[0]: neither"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := saver{}
			_, err := form.NewReader(limits()).Read(request(t.Context(), formtest.Encode(formtest.Script(test.parts...)...)),
				job.Spec{}, files.save)
			checkFaults(t, err, test.want)
		})
	}
}

// checkFaults demands faults, each given as its field and a part of its message.
func checkFaults(t *testing.T, err error, want []string) {
	t.Helper()
	var faults *job.Faults
	if !errors.As(err, &faults) || !errors.Is(err, job.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, one := range want {
		field, message, _ := strings.Cut(one, ": ")
		found := false
		for _, f := range faults.List {
			found = found || f.Field == field && strings.Contains(f.Message, message)
		}
		if !found {
			t.Errorf("got %v, want %s", err, one)
		}
	}
	if len(faults.List) != len(want) {
		t.Errorf("%d faults, want %d: %v", len(faults.List), len(want), err)
	}
}

// TestChanges changes some fields of a job and leaves the others.
func TestChanges(t *testing.T) {
	base := job.Spec{Runtime: "python", Entrypoint: "a.py", Args: []string{"a", "b"}, Env: map[string]string{"A": "1"},
		Labels: map[string]string{"l": "v"}, Retries: 2, RetryOn: []string{"3"}, Name: "first", CPU: "1",
		TTLSecondsAfterFinished: 60}
	changed := func(change func(*job.Spec)) job.Spec {
		spec := base
		change(&spec)
		return spec
	}
	for name, test := range map[string]struct {
		parts []string
		want  job.Spec
	}{
		"nothing":       {nil, base},
		"args":          {[]string{`args=["c"]`}, changed(func(s *job.Spec) { s.Args = []string{"c"} })},
		"no args":       {[]string{`args=[]`}, changed(func(s *job.Spec) { s.Args = []string{} })},
		"arg":           {[]string{"arg=c", "arg=d"}, changed(func(s *job.Spec) { s.Args = []string{"c", "d"} })},
		"args and arg":  {[]string{"arg=d", `args=["c"]`}, changed(func(s *job.Spec) { s.Args = []string{"c", "d"} })},
		"env":           {[]string{`env={"B":"2"}`}, changed(func(s *job.Spec) { s.Env = map[string]string{"B": "2"} })},
		"no labels":     {[]string{`labels={}`}, changed(func(s *job.Spec) { s.Labels = map[string]string{} })},
		"no causes":     {[]string{"retryOn=[]"}, changed(func(s *job.Spec) { s.RetryOn = []string{} })},
		"no retries":    {[]string{"retries=0", "retryOn=[]"}, changed(func(s *job.Spec) { s.Retries, s.RetryOn = 0, []string{} })},
		"no name":       {[]string{"name="}, changed(func(s *job.Spec) { s.Name = "" })},
		"name and more": {[]string{"name=x", "cpu=2"}, changed(func(s *job.Spec) { s.Name, s.CPU = "x", "2" })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := form.NewReader(limits()).ReadChanges(request(t.Context(), encode(t, test.parts...)), base, saver{}.save)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&form.Job{Spec: test.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	empty := request(t.Context(), "")
	empty.Header.Del("Content-Type")
	if got, err := form.NewReader(limits()).ReadChanges(empty, base, nil); err != nil || got.Spec.Name != "first" {
		t.Errorf("without a body: %+v, %v", got, err)
	}
	files := saver{}
	got, err := form.NewReader(limits()).ReadChanges(request(t.Context(), formtest.Encode(stdinFile("in"))), base, files.save)
	if err != nil || got.Stdin == nil || got.Stdin.Size != 2 || files[job.StdinFile] != "in" {
		t.Errorf("stdin: %+v, %v", got, err)
	}
	if fmt.Sprint(base.Args, base.Env, base.Labels) != "[a b] map[A:1] map[l:v]" {
		t.Errorf("the job itself was changed: %+v", base)
	}
}

// TestBadChanges sends changes that are refused.
func TestBadChanges(t *testing.T) {
	base := job.Spec{Runtime: "python", Entrypoint: "a.py", Retries: 1, RetryOn: []string{"3"}}
	for name, test := range map[string]struct{ parts, want []string }{
		"files":            {[]string{"@a.py=x"}, []string{"files: cannot be sent here"}},
		"unknown":          {[]string{"nmae=x"}, []string{"nmae: did you mean name?"}},
		"wrong":            {[]string{"cpu=x", "name=\n"}, []string{"cpu: quantity", "name: cannot be seen"}},
		"retries, causes":  {[]string{"retries=0"}, []string{"retryOn: needs retries"}},
		"reserved label":   {[]string{`labels={"go-job-orchestrator/template":"x"}`}, []string{`labels["go-job-orchestrator/template"]: reserved`}},
		"a fault and more": {[]string{"x=1", "timeoutSeconds=0"}, []string{"x: cannot be sent here", "timeoutSeconds: whole number"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := form.NewReader(limits()).ReadChanges(request(t.Context(), encode(t, test.parts...)), base, saver{}.save)
			checkFaults(t, err, test.want)
		})
	}
}

// TestOverrides changes the input and the name of a template's job.
func TestOverrides(t *testing.T) {
	files := saver{}
	body := formtest.Encode(formtest.Field("name", "other"), stdinFile("in"), formtest.Field("arg", "x"))
	got, err := form.NewReader(limits()).ReadOverrides(request(t.Context(), body), files.save)
	if err != nil {
		t.Fatal(err)
	}
	other := "other"
	want := &form.Overrides{Add: []string{"x"}, Name: &other, Stdin: &job.File{Name: job.StdinFile, Size: 2}}
	if diff := cmp.Diff(want, got); diff != "" || files[job.StdinFile] != "in" {
		t.Errorf("stored %v (-want +got):\n%s", files, diff)
	}
	if spec := got.Apply(job.Spec{Name: "first", Args: []string{"a"}}); spec.Name != "other" || len(spec.Args) != 2 {
		t.Errorf("applied: %+v", spec)
	}
	_, err = form.NewReader(limits()).ReadOverrides(request(t.Context(), encode(t, "cpu=1")), files.save)
	checkFaults(t, err, []string{"cpu: cannot be sent here; there are: args, arg, env, name, profile, stdin, " +
		"secret.NAME"})
}
