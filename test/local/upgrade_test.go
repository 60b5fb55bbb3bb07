package local

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// earlier is a data directory of the version before there were callers.
type earlier struct {
	dir   string
	names []string // of its jobs, in the order in which they were submitted
	jobs  map[string]*sent
}

// unpackEarlier unpacks testdata/upgrade/data.tar.gz. Its idempotency keys are made as if they had
// been used just now, since they are forgotten after a day.
func unpackEarlier(t *testing.T) *earlier {
	t.Helper()
	e := &earlier{dir: t.TempDir(), jobs: map[string]*sent{}}
	untar(t, "testdata/upgrade/data.tar.gz", e.dir)
	list := filepath.Join(e.dir, "callers.txt")
	callers, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(callers)) {
		fields := strings.Fields(line)
		e.names = append(e.names, fields[0])
		e.jobs[fields[0]] = &sent{ID: fields[1], Token: fields[2]}
	}
	if err := os.Remove(list); err != nil { // it is not part of the directory
		t.Fatal(err)
	}
	e.renewKeys(t)
	return e
}

func untar(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path, mode := filepath.Join(dir, h.Name), h.FileInfo().Mode().Perm()
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var data []byte
			if data, err = io.ReadAll(in); err == nil {
				err = os.WriteFile(path, data, mode)
			}
		}
		if err = errors.Join(err, os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
}

func (e *earlier) renewKeys(t *testing.T) {
	t.Helper()
	state := filepath.Join(e.dir, ".orchestrator")
	claims, err := filepath.Glob(filepath.Join(state, "idempotency", "*", "claim-*.json"))
	if err != nil || len(claims) == 0 {
		t.Fatalf("claims: %v, %v", claims, err)
	}
	due := filepath.Join(state, "idempotency-due")
	later := filepath.Join(due, fmt.Sprintf("%08x", time.Now().Add(25*time.Hour).Unix()/3600))
	if err := errors.Join(os.RemoveAll(due), os.MkdirAll(later, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, path := range claims {
		var claim map[string]any
		data, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(data, &claim)
		}
		if err != nil {
			t.Fatal(err)
		}
		claim["createdAt"] = time.Now().UTC()
		if data, err = json.Marshal(claim); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path, data, 0o600),
			os.WriteFile(filepath.Join(later, filepath.Base(filepath.Dir(path))), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// ids are the IDs of all its jobs, newest first, as lists have them.
func (e *earlier) ids() []string {
	ids := make([]string, len(e.names))
	for i, name := range e.names {
		ids[len(ids)-1-i] = e.jobs[name].ID
	}
	return ids
}

// ran says which jobs ran the program that leaves an output, with which argument.
var ran = map[string]string{"ended": "ended", "labelled": "labelled", "repeated": "repeated", "of-template": "one",
	"of-event": "one", "brought": "brought", "waiting": "waiting"}

// check looks at all jobs with the tokens that their users got then.
func (e *earlier) check(s *server) {
	s.t.Helper()
	for _, name := range e.names {
		j := e.jobs[name]
		j.s = s
		got := j.wait()
		if got.Owner != access.Local {
			s.t.Errorf("%s: its owner is %q", name, got.Owner)
		}
		switch name {
		case "cancelled":
			must(s.t, got, job.Cancelled, job.ReasonCancelled)
			continue
		case "failed":
			must(s.t, got, job.Failed, job.ReasonError)
			continue
		}
		must(s.t, got, job.Succeeded, job.ReasonCompleted)
		if name == "running" {
			if log := j.logs("tail=all"); log != "begun\nbegun\n" && log != "begun\n" {
				s.t.Errorf("%s: log %q", name, log)
			}
			continue
		}
		for path, want := range map[string]string{"stdout.log": "to stdout: ", "stderr.log": "to stderr: ",
			"folder/output.txt": "the output of "} {
			if got := j.output(path); got != want+ran[name]+"\n" {
				s.t.Errorf("%s: %s is %q", name, path, got)
			}
		}
		if got := j.logs("tail=all&stream=stdout"); got != "to stdout: "+ran[name]+"\n" {
			s.t.Errorf("%s: log %q", name, got)
		}
	}
}

// TestUpgrade starts the server on a data directory of the version before there were callers.
// testdata/upgrade/README.md says how that was made.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	e := unpackEarlier(t)
	s := start(t, e.dir)
	local := caller{s: s}
	if diff := cmp.Diff(e.ids(), local.jobIDs("owner=local")); diff != "" {
		t.Errorf("jobs of local (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{e.jobs["labelled"].ID}, local.jobIDs("label=team=blue")); diff != "" {
		t.Errorf("jobs with the label (-want +got):\n%s", diff)
	}
	e.check(s)
	e.checkKeys(s)
	e.checkTemplates(s)
}

// checkKeys repeats a submit and an event of then.
func (e *earlier) checkKeys(s *server) {
	s.t.Helper()
	program, err := os.ReadFile(filepath.Join(e.dir, e.jobs["repeated"].ID, "run"))
	if err != nil {
		s.t.Fatal(err)
	}
	f := form{runtime: "binary", entrypoint: "run", files: map[string]string{"run": string(program)},
		fields: []string{"ttlSecondsAfterFinished=315360000", "arg=repeated"},
		header: map[string]string{"Idempotency-Key": "sent by a caller"}}
	if j := s.submit(f); j.ID != e.jobs["repeated"].ID || j.Token != e.jobs["repeated"].Token {
		s.t.Errorf("the repeated submit became job %s, want %s", j.ID, e.jobs["repeated"].ID)
	}
	if at := s.event("of-event", "one"); at != e.jobs["of-event"].path() {
		s.t.Errorf("the repeated event is at %s, want %s", at, e.jobs["of-event"].path())
	}
}

// event sends the event that make.sh sent, with an ID, and returns where its job is.
func (s *server) event(id, template string) string {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.url+"/events?template="+template, strings.NewReader(`{"n":1}`))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "/shop",
		"Ce-Type": "com.example.uploaded", "Content-Type": "application/json"} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		data, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("event %s: %s\n%s", id, resp.Status, data)
	}
	return resp.Header.Get("Location")
}

// checkTemplates starts jobs of the templates of then, by callers and by events.
func (e *earlier) checkTemplates(s *server) {
	s.t.Helper()
	var page struct {
		Items []struct{ Name, Owner string }
	}
	if err := json.Unmarshal(s.request(http.MethodGet, "/api/v1/templates", nil, ""), &page); err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, one := range page.Items {
		got = append(got, one.Name+" of "+one.Owner)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"one of local", "two of local"}, got); diff != "" {
		s.t.Errorf("templates (-want +got):\n%s", diff)
	}
	for _, name := range []string{"one", "two"} {
		for how, j := range map[string]*sent{"by a caller": (template{s: s, name: name}).start(),
			"by an event": s.job(s.event("new", name))} {
			got := j.wait()
			must(s.t, got, job.Succeeded, job.ReasonCompleted)
			if log := j.logs("stream=stdout"); log != "to stdout: "+name+"\n" || got.Owner != access.Local {
				s.t.Errorf("a job of %s, started %s, has owner %q and log %q", name, how, got.Owner, log)
			}
		}
	}
}

// TestUpgradeToKeys starts the server on the same directory, and asks for keys. All that there is
// belongs to local, which admins see.
func TestUpgradeToKeys(t *testing.T) {
	t.Parallel()
	e := unpackEarlier(t)
	s := start(t, e.dir, "AUTH=keys")
	admin := caller{s: s, key: s.firstKey()}
	ann := caller{s: s, key: admin.make(`{"name":"ann","role":"user"}`).Key}
	e.check(s)
	if diff := cmp.Diff(e.ids(), admin.jobIDs("")); diff != "" {
		t.Errorf("jobs that an admin sees (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{}, ann.jobIDs("")); diff != "" {
		t.Errorf("jobs that a user sees (-want +got):\n%s", diff)
	}
	for _, j := range e.jobs {
		admin.want(http.StatusOK, "GET", j.path(), "")
		ann.want(http.StatusNotFound, "GET", j.path(), "")
		caller{s: s}.want(http.StatusUnauthorized, "GET", j.path(), "")
	}
	admin.want(http.StatusOK, "GET", "/api/v1/templates/one", "")
	ann.want(http.StatusNotFound, "GET", "/api/v1/templates/one", "")
	ann.want(http.StatusNotFound, "POST", "/api/v1/templates/one/jobs", "")
	ann.want(http.StatusNotFound, "DELETE", "/api/v1/templates/one", "")
}
