package submit_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/functions/intake"
	"go-job-orchestrator/functions/status"
	"go-job-orchestrator/shared/admission"
	"go-job-orchestrator/shared/admission/admissiontest"
	"go-job-orchestrator/shared/form/formtest"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/ledger"
	"go-job-orchestrator/shared/serve"
	"go-job-orchestrator/shared/token"
)

// The parts of forms, by the short names that tables need.
var field, file, script, encode = formtest.Field, formtest.File, formtest.Script, formtest.Encode

// newServer starts a server of the functions by which jobs come in, and of status.
func newServer(t testing.TB, options ...admissiontest.Option) *admissiontest.Server {
	t.Helper()
	return admissiontest.New(t, []admissiontest.Opener{openAll, openStatus}, options...)
}

func openAll(d admission.Deps) (serve.Function, error) { return intake.Open(d) }

func openStatus(d admission.Deps) (serve.Function, error) {
	return status.New(status.Deps{Env: d.Env})
}

func maxUpload(n int64) admissiontest.Option {
	return admissiontest.Setting("MAX_UPLOAD_BYTES", strconv.FormatInt(n, 10))
}

func TestDefaults(t *testing.T) {
	w := newServer(t)
	a := w.Accepted(w.Post(script()...))
	want := job.Spec{Runtime: "python", Entrypoint: "a.py", Args: []string{}, TTLSecondsAfterFinished: 86400}
	if diff := cmp.Diff(want, w.Index(a.JobID).Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	stored, err := os.ReadFile(filepath.Join(w.Dir, string(a.JobID), job.IndexFile))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(stored, []byte(`"args":[]`)) {
		t.Errorf("index.json: got %s, want an empty list of arguments in it", stored)
	}
}

func described(name, content string) job.File {
	sum := sha256.Sum256([]byte(content))
	return job.File{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// TestGoodFiles stores contents that a form reader could stumble over.
func TestGoodFiles(t *testing.T) {
	noise := make([]byte, 1<<20+1)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{
		"empty":       "",
		"CRLF":        "\r\n",
		"line breaks": "\r\n\r\n\n\r\r\n",
		"dashes":      "--",
		"boundary-like": "\r\n--" + formtest.Boundary[:len(formtest.Boundary)-1] + "\r\n--" + formtest.Boundary[:4] +
			"\r\n --" + formtest.Boundary +
			"--\r\n",
		"boundary inside a line":           "x--" + formtest.Boundary + "--\r\n\n--x" + formtest.Boundary,
		"boundary after LF":                "x\n--" + formtest.Boundary + "--\n",
		"boundary with a tail":             "x\r\n--" + formtest.Boundary + "x\r\n",
		"almost the formtest.Boundary end": "x\r\n--" + formtest.Boundary + "-",
		"NUL":                              strings.Repeat("\x00", 5000),
		"noise":                            string(noise),
		"buffer":                           strings.Repeat("b", 256<<10),
		"buffer and CR":                    strings.Repeat("b", 256<<10-1) + "\r",
		"names.attrs":                      "a",
		"names.attrs~":                     "b",
		"x.tmp":                            "c",
		".hidden":                          "d",
		" ":                                "a space",
		"...":                              "dots",
		"%2e%2e%2fx":                       "not decoded",
		"ä€😀":                              "runes",
		"a:b*c?d<e>f|g":                    "specials",
		strings.Repeat("n", 200):           "long",
		"INDEX.JSON":                       "not ours",
		"index.json.bak":                   "not ours",
		"-rf":                              "an option",
		"token.key":                        "not ours",
		"script":                           "#!/bin/sh\n",
		"program":                          "\x7fELF\x02",
	}
	w := newServer(t)
	parts := []formtest.Part{field("runtime", "binary"), field("entrypoint", "-rf")}
	want := map[string]job.File{}
	for name, content := range contents {
		parts = append(parts, file(name, content))
		want[name] = described(name, content)
	}
	for _, name := range []string{"-rf", "script", "program"} { // the entrypoint, and what says so itself
		f := want[name]
		f.Mode = "0755"
		want[name] = f
	}
	a := w.Accepted(w.Post(parts...))
	got := map[string]job.File{}
	for _, f := range w.Index(a.JobID).Files {
		got[f.Name] = f
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, content := range contents {
		stored, err := w.Store.Read(t.Context(), string(a.JobID)+"/"+name)
		if err != nil || string(stored) != content {
			t.Errorf("%q: stored other %d bytes than the %d sent (%v)", name, len(stored), len(content), err)
		}
	}
}

// TestToken follows the token: it opens the job, and is stored nowhere.
func TestToken(t *testing.T) {
	w := newServer(t)
	body := encode(script()...)
	a := w.Accepted(w.Do(w.Request(strings.NewReader(body), http.Header{"Idempotency-Key": {"my-own-secret-key"}})))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.HTTP.URL+"/api/v1/jobs/"+string(a.JobID), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+a.Token)
	got := w.Do(r)
	if got.StatusCode != http.StatusOK || bytes.Contains(got.Text, []byte(a.Token)) {
		t.Errorf("status: got %s: %s", got.Status, got.Text)
	}
	if index := w.Index(a.JobID); index.Token != token.Hash(a.Token) {
		t.Errorf("index.json: got %q", index.Token)
	}
	agent := w.Keys.Derive(token.Agent, a.JobID)
	for _, name := range w.Tree() {
		content := []byte{}
		if !strings.HasSuffix(name, "/") {
			if content, err = os.ReadFile(filepath.Join(w.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, secret := range []string{a.Token, agent, "my-own-secret-key", admissiontest.Key} {
			if strings.Contains(name, secret) || bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s has the secret %q", name, secret)
			}
		}
		if strings.HasSuffix(name, job.IndexFile) != bytes.Contains(content, []byte(token.Hash(a.Token))) {
			t.Errorf("%s: the token's hash belongs in index.json and nowhere else", name)
		}
	}
}

// TestJobToken has the owner of a job ask for its token, which nobody else gets.
func TestJobToken(t *testing.T) {
	w := newServer(t)
	w.PutTemplate("mine", "ann", script()...)
	a := w.Accepted(w.StartTemplate("mine", "ann"))
	get := func(id job.ID, header ...string) admissiontest.Reply {
		return w.Call(http.MethodGet, "/api/v1/jobs/"+string(id)+"/token", "", header...)
	}
	for _, caller := range []string{"ann", "root/admin"} {
		got := admissiontest.As[map[string]string](t, w.Want(http.StatusOK, get(a.JobID, admissiontest.By(caller)...)))
		if got["token"] != a.Token || got["jobID"] != string(a.JobID) {
			t.Errorf("%s: got %v", caller, got)
		}
	}
	w.Want(http.StatusNotFound, get(a.JobID, admissiontest.By("bob")...))
	w.Want(http.StatusForbidden, get(a.JobID, admissiontest.By("ann/read")...))
	w.Want(http.StatusUnauthorized, get(a.JobID, admissiontest.Bearer(a.Token)...))
	for _, caller := range []string{"ann", ""} {
		w.Want(http.StatusNotFound, get("00000000000000000000000000000000", admissiontest.By(caller)...))
		w.Want(http.StatusNotFound, get("nothing", admissiontest.By(caller)...))
	}
	if err := w.Ledger.RequestRemoval(t.Context(), a.JobID); err != nil {
		t.Fatal(err)
	}
	w.Want(http.StatusNotFound, get(a.JobID, admissiontest.By("ann")...))
}

// TestShare has a job looked at by a token that its owner gives away.
func TestShare(t *testing.T) {
	w := newServer(t)
	a := w.Accepted(w.Call(http.MethodPost, "/api/v1/jobs", encode(script()...),
		append(admissiontest.By("ann"), "Content-Type", formtest.ContentType)...))
	share := func(body string, header ...string) admissiontest.Reply {
		return w.Call(http.MethodPost, "/api/v1/jobs/"+string(a.JobID)+"/share", body, header...)
	}
	type shared struct {
		JobID     job.ID    `json:"jobID"`
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expiresAt"`
	}
	for name, test := range map[string]struct {
		body   string
		header []string
		lasts  time.Duration
	}{
		"a day":       {"", admissiontest.By("ann"), 24 * time.Hour},
		"an hour":     {`{"expiresIn":"1h"}`, admissiontest.By("ann"), time.Hour},
		"by a token":  {`{"expiresIn":"30d"}`, admissiontest.Bearer(a.Token), 30 * 24 * time.Hour},
		"by an admin": {`{}`, nil, 24 * time.Hour},
	} {
		got := admissiontest.As[shared](t, w.Want(http.StatusCreated, share(test.body, test.header...)))
		if left := time.Until(got.ExpiresAt); left > test.lasts || left < test.lasts-time.Minute || got.JobID != a.JobID {
			t.Errorf("%s: got %+v, want %s", name, got, test.lasts)
		}
		job := "/api/v1/jobs/" + string(a.JobID)
		w.Want(http.StatusOK, w.Call(http.MethodGet, job, "", admissiontest.Bearer(got.Token)...))
		w.Want(http.StatusForbidden, share("", admissiontest.Bearer(got.Token)...))
		w.Want(http.StatusUnauthorized, w.Call(http.MethodGet, "/api/v1/jobs", "", admissiontest.Bearer(got.Token)...))
	}
	for body, status := range map[string]int{
		`{"expiresIn":"59s"}`: 422, `{"expiresIn":"31d"}`: 422, `{"expiresIn":"soon"}`: 422, `{"expires":"1h"}`: 400,
		`{`: 400, `{} {}`: 400, `[]`: 400, `{"expiresIn":60}`: 400,
	} {
		w.Problem(share(body, admissiontest.By("ann")...), status)
	}
	w.Problem(share("", admissiontest.By("bob")...), http.StatusNotFound)
	w.Problem(share("", admissiontest.By("ann/read")...), http.StatusForbidden)
}

func TestWaitForJob(t *testing.T) {
	w := newServer(t)
	end := func(id job.ID) {
		_, _, err := w.Ledger.Finish(t.Context(), w.Index(id),
			job.Terminal{Phase: job.Succeeded, Reason: job.ReasonCompleted, FinishedAt: time.Now()})
		if err != nil {
			t.Error(err)
		}
	}
	type waited struct {
		JobID job.ID      `json:"jobID"`
		Phase job.Phase   `json:"phase"`
		Job   *job.Status `json:"job"`
	}
	go func() { // whoever runs the job
		for {
			ids, err := w.Ledger.Active(t.Context(), "", 1)
			if err != nil {
				return
			}
			if len(ids) == 1 {
				if w.Store.Watchers(ledger.JobPrefix(ids[0])) > 0 { // it is waited for
					end(ids[0])
					return
				}
			}
		}
	}()
	got := w.Want(http.StatusCreated, w.Do(w.Request(bytes.NewReader([]byte(encode(script()...))),
		http.Header{"Prefer": {"respond-async, wait=55"}})))
	if a := admissiontest.As[waited](t, got); a.Phase != job.Succeeded || a.Job == nil ||
		a.Job.Reason != job.ReasonCompleted {
		t.Errorf("got %s", got.Text)
	}
	if n := w.Store.Watchers(ledger.JobPrefix(admissiontest.As[waited](t, got).JobID)); n != 0 {
		t.Errorf("%d still watch a job that was answered for", n)
	}
	if applied := got.Header.Get("Preference-Applied"); applied != "wait=55" {
		t.Errorf("Preference-Applied: got %q", applied)
	}
	got = w.Want(http.StatusCreated, w.Do(w.Request(bytes.NewReader([]byte(encode(script()...))),
		http.Header{"Prefer": {"wait=1"}})))
	if a := admissiontest.As[waited](t, got); a.Phase != job.Pending || a.Job == nil {
		t.Errorf("time up: got %s", got.Text)
	}
}

func TestTraceIsKept(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := newServer(t)
	for name, test := range map[string]struct {
		parent, state string
		want          job.Trace
	}{
		"both":      {parent, "a=b", job.Trace{Parent: parent, State: "a=b"}},
		"no parent": {"", "a=b", job.Trace{}},
		"bad":       {"00-xyz", "", job.Trace{}},
		"zeros":     {"00-00000000000000000000000000000000-b7ad6b7169203331-01", "", job.Trace{}},
		"ff":        {"ff" + parent[2:], "", job.Trace{}},
		"long":      {parent, strings.Repeat("a", 513), job.Trace{Parent: parent}},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.Accepted(w.Do(w.Request(strings.NewReader(encode(script()...)),
				http.Header{"Traceparent": {test.parent}, "Tracestate": {test.state}})))
			if got := w.Index(a.JobID).Trace; got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			events := w.Sink.Sent()
			sent, _ := events[len(events)-1].Extensions()["traceparent"].(string)
			if sent != test.want.Parent {
				t.Errorf("event: got %q", sent)
			}
		})
	}
}

func TestSameContentEncodedOtherwise(t *testing.T) {
	w := newServer(t)
	base := script(field("args", `["a","b"]`), field("env", `{"A":"1","B":"2"}`), file("data", "x"))
	first := w.Accepted(w.PostKeyed("k", base...))
	other := strings.ReplaceAll(encode(base...), formtest.Boundary, "other")
	for name, r := range map[string]*http.Request{
		"other boundary": w.Request(strings.NewReader(other), http.Header{"Content-Type": {"multipart/form-data; " +
			"boundary=other"}}),
		"other order": w.Request(strings.NewReader(encode(
			file("data", "x"), field("env", `{ "B":"2", "A":"\u0031" }`), file("a.py", "print(1)\n"), field("arg", "a"),
			field("entrypoint", "a.py"), field("arg", "b"), field("runtime", "python"))), nil),
		"chunked": w.Request(struct{ *strings.Reader }{strings.NewReader(encode(base...))}, nil),
		"default as value": w.Request(strings.NewReader(
			encode(append(base, field("ttlSecondsAfterFinished", "86400"), field("retries", "0"), field("labels", "{}"))...)),
			nil),
	} {
		r.Header.Set("Idempotency-Key", "k")
		if name == "chunked" {
			r.ContentLength = -1
		}
		if a := w.Accepted(w.Do(r)); a != first {
			t.Errorf("%s: got %+v, want %+v", name, a, first)
		}
	}
	if got := w.Jobs(); len(got) != 1 {
		t.Errorf("jobs: got %s", got)
	}
	if a := w.Accepted(w.PostKeyed("k2", base...)); a.JobID == first.JobID {
		t.Error("another key got the same job")
	}
	if a := w.Accepted(w.Post(base...)); a.JobID == first.JobID {
		t.Error("no key got the same job")
	}
}

// TestBadConnections sends what no HTTP client would.
func TestBadConnections(t *testing.T) {
	whole := encode(script()...)
	w := newServer(t)
	head := "POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: " + formtest.ContentType + "\r\n"
	for _, test := range []struct{ name, send, field, message string }{
		{"cut midway", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(whole), whole[:len(whole)/2]), "body",
			"ends early"},
		{"cut before the last boundary", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(whole),
			strings.TrimSuffix(whole, "--"+formtest.Boundary+"--\r\n")), "body", "ends early"},
		{"no body at all", fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, len(whole)), "body", "ends early"},
		{"bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + whole, "body", "ends early"},
		{"cut chunk", head + "Transfer-Encoding: chunked\r\n\r\nffff\r\n" + whole[:20], "body", "ends early"},
		{"no last chunk", fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", head, len(whole)-10,
			whole[:len(whole)-10]), "body", "ends early"},
		{"negative length", head + "Content-Length: -1\r\n\r\n", "", ""},
		{"length and chunks", fmt.Sprintf("%sContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
			head, len(whole)-20, whole[:len(whole)-20]), "body", "ends early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.T = t
			conn := w.Dial()
			if _, err := io.WriteString(conn, test.send); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			answer := w.Read(got)
			w.WantNothing()
			if test.field == "" {
				if got.StatusCode != http.StatusBadRequest { // net/http's own
					t.Errorf("got %s", got.Status)
				}
				return
			}
			p := w.Problem(answer, http.StatusBadRequest)
			if len(p.Errors) != 1 || p.Errors[0].Field != test.field || !strings.Contains(p.Errors[0].Message, test.message) {
				t.Errorf("errors: got %+v", p.Errors)
			}
		})
	}
}
