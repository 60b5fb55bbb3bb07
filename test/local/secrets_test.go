package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/access"
	"go-job-orchestrator/shared/job"
)

// showSecrets prints its secrets, leaves a hash of each, and looks for them where the program must
// not find them: in files, and in the processes that it sees.
const showSecrets = `
import glob, hashlib, os, sys
values = {n: os.environ[n] for n in ("OWN", "MULTI", "SHARED") if n in os.environ}
for name, value in values.items():
    print(name, "is", value)
    print("to stderr:", value, file=sys.stderr)
    open(os.environ["OUTPUT_DIR"] + "/" + name, "w").write(hashlib.sha256(value.encode()).hexdigest())
for root, _, files in os.walk("."):
    for f in files:
        if any(v.encode() in open(os.path.join(root, f), "rb").read() for v in values.values()):
            print("FOUND in", root, f)
for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
    try:
        if f"/{os.getpid()}/" not in path and any(v.encode() in open(path, "rb").read() for v in values.values()):
            print("FOUND in", path)
    except OSError:
        pass
print("looked", flush=True)
`

const (
	ownValue    = "hunter2-own-7f3a9c"
	multiValue  = "-----BEGIN-----\nMIIEvQIBADANBg\nshort\n-----END-----\n"
	sharedValue = "shared-of-operator-51d2"
)

// looker looks for values in all that may not have them.
type looker struct {
	t      *testing.T
	values []string
}

func newLooker(t *testing.T) *looker {
	return &looker{t, []string{ownValue, "MIIEvQIBADANBg", sharedValue}}
}

func (l *looker) in(where, text string) {
	l.t.Helper()
	for _, v := range l.values {
		if strings.Contains(text, v) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(v))) {
			l.t.Errorf("%s has %q:\n%.2000s", where, v, text)
		}
	}
}

// inFolder looks into all files below a folder.
func (l *looker) inFolder(dir string) (files int) {
	l.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		l.in(path, string(data))
		files++
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return files
}

// inProcesses looks at the command lines, and the environments, of the server's processes: the
// program's own has the values.
func (l *looker) inProcesses(s *server) {
	l.t.Helper()
	for _, path := range []string{"/proc/[0-9]*/cmdline", fmt.Sprintf("/proc/%d/environ", s.cmd.Process.Pid)} {
		found, err := filepath.Glob(path)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, path := range found {
			if data, err := os.ReadFile(path); err == nil {
				l.in(path, string(data))
			}
		}
	}
}

// inAnswers looks at all answers about a job.
func (l *looker) inAnswers(j *sent) {
	l.t.Helper()
	for _, path := range []string{
		j.path(), "/api/v1/jobs", "/artifacts/" + j.ID + "/index.json", j.path() + "/logs", "/api/v1/server",
	} {
		resp, data := j.call(http.MethodGet, path)
		if resp.StatusCode != http.StatusOK {
			l.t.Errorf("%s: %s", path, resp.Status)
		}
		l.in(path, string(data))
	}
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// secretsFile writes the operator's secrets.
func secretsFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secrets.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSecrets gives a program secrets, kills the server while it runs, and looks for the values in
// all that the server has written and answered: there is none, but the program gets them each time.
func TestSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var mu sync.Mutex
	var events bytes.Buffer
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&events, r.Header)
		_, _ = io.Copy(&events, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer sink.Close()
	s := start(t, dir, "K_SINK="+sink.URL,
		"SECRETS_FILE="+secretsFile(t, "db/password: {value: "+sharedValue+"}\nother: {value: x, roles: [admin]}\n"))
	look := newLooker(t)
	fields := []string{"secret.OWN=" + ownValue, "secret.MULTI=" + multiValue, "secret.SHARED=@db/password", "retries=2"}
	j := s.submit(python(showSecrets+`
import time
if os.environ["JOB_ATTEMPT"] == "1":
    sys.exit(3)
while os.environ["JOB_ATTEMPT"] == "2":
    time.sleep(0.1)
`, fields...))
	// The second attempt waits.
	s.until("the second attempt has looked", func() bool { return strings.Count(j.logs("tail=all"), "looked") == 2 })
	blob := filepath.Join(dir, ".orchestrator/run", j.ID, "secrets")
	if _, err := os.Stat(blob); err != nil {
		t.Errorf("the sealed secrets are not where this test looks: %v", err)
	}
	if files := look.inFolder(dir); files < 10 {
		t.Errorf("looked into %d files only", files)
	}
	look.inProcesses(s)
	look.inAnswers(j)
	s.kill()
	s.start()
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	s.until("the secrets are removed", func() bool { _, err := os.Stat(blob); return os.IsNotExist(err) })
	log := j.logs("tail=all")
	for _, line := range []string{"OWN is ***\n", "to stderr: ***\n", "SHARED is ***\n", "MULTI is ***\n"} {
		if strings.Count(log, line) < 3 {
			t.Errorf("the log of 3 attempts lacks %q:\n%s", line, log)
		}
	}
	if strings.Contains(log, "FOUND") || strings.Count(log, "looked") != 3 {
		t.Errorf("the log:\n%s", log)
	}
	for name, value := range map[string]string{"OWN": ownValue, "MULTI": multiValue, "SHARED": sharedValue} {
		if got := j.output(name); got != sha256Hex(value) {
			t.Errorf("%s: the program got another value", name)
		}
	}
	want := []job.Secret{{Name: "MULTI"}, {Name: "OWN"}, {Name: "SHARED", From: "db/password"}}
	if diff := cmp.Diff(want, j.status().Secrets); diff != "" {
		t.Errorf("secrets in the status (-want +got):\n%s", diff)
	}
	look.inFolder(dir)
	look.inAnswers(j)
	s.until("the end is announced", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(events.String(), "job.succeeded.v1")
	})
	mu.Lock()
	defer mu.Unlock()
	look.in("the events", events.String())
	if strings.Contains(events.String(), "MULTI") {
		t.Error("the events name the secrets")
	}
	look.in("the server's output", s.output.String())
}

// TestSecretsEnd looks for sealed secrets after each way in which a job can end.
func TestSecretsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "MAX_CONCURRENT_JOBS=2")
	secrets := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, ".orchestrator/run/*/secrets"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	field := "secret.OWN=" + ownValue
	fails, never := s.submit(script("exit 3", field)), s.submit(script("sleep 600", field, "timeoutSeconds=1"))
	must(t, fails.wait(), job.Failed, job.ReasonError)
	must(t, never.wait(), job.Failed, job.ReasonDeadlineExceeded)
	cancelled, removed := s.submit(script("sleep 600", field)), s.submit(script("sleep 600", field))
	waits := s.submit(script("sleep 600", field)) // for a place
	if n := len(secrets()); n != 3 {
		t.Errorf("%d sealed secrets, want 3", n)
	}
	waits.call(http.MethodPost, waits.path()+"/cancel")
	cancelled.call(http.MethodPost, cancelled.path()+"/cancel")
	removed.call(http.MethodDelete, removed.path())
	must(t, waits.wait(), job.Cancelled, job.ReasonCancelled)
	must(t, cancelled.wait(), job.Cancelled, job.ReasonCancelled)
	s.until("the job is removed", removed.gone)
	s.until("no secrets are left", func() bool { return len(secrets()) == 0 })
	newLooker(t).inFolder(dir)
}

// TestSecretsTampered changes, swaps and removes sealed secrets of jobs that wait.
func TestSecretsTampered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "MAX_CONCURRENT_JOBS=1")
	blocker := s.submit(script("sleep 600"))
	blocker.s.until("it runs", func() bool { return blocker.status().Phase == job.Running })
	path := func(j *sent) string { return filepath.Join(dir, ".orchestrator/run", j.ID, "secrets") }
	submit := func() *sent { return s.submit(python(showSecrets, "secret.OWN="+ownValue)) }
	changed, swapped, missing, good := submit(), submit(), submit(), submit()
	data, err := os.ReadFile(path(changed))
	if err != nil {
		t.Fatal(err)
	}
	replace := func(j *sent, data []byte) {
		t.Helper()
		if err := os.Remove(path(j)); err != nil { // it can be a hard link
			t.Fatal(err)
		}
		if data != nil {
			if err := os.WriteFile(path(j), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace(swapped, data)
	data = bytes.Clone(data)
	data[len(data)-20] ^= 1
	replace(changed, data)
	replace(missing, nil)
	blocker.call(http.MethodPost, blocker.path()+"/cancel")
	for name, j := range map[string]*sent{"changed": changed, "of another job": swapped, "missing": missing} {
		got := j.wait()
		must(t, got, job.Failed, job.ReasonStartFailed)
		if !strings.Contains(got.Message, "secrets of the job cannot be opened") {
			t.Errorf("%s: the message is %q", name, got.Message)
		}
	}
	must(t, good.wait(), job.Succeeded, job.ReasonCompleted)
	s.says("secrets not opened")
	newLooker(t).in("the server's output", s.output.String())
}

// TestSecretsRotated replaces TOKEN_KEYS between a submit, its repetition, and the job's start.
func TestSecretsRotated(t *testing.T) {
	t.Parallel()
	key := func(s string) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(s), 32)) }
	s := start(t, t.TempDir(), "TOKEN_KEYS="+key("a"), "MAX_CONCURRENT_JOBS=1")
	s.submit(script("sleep 600", "retries=0")) // keeps the other from starting
	request := func(value string) form {
		f := python(showSecrets, "secret.OWN="+value)
		f.header = map[string]string{"Idempotency-Key": "k"}
		return f
	}
	first := s.submit(request(ownValue))
	s.stop()
	s.vars["TOKEN_KEYS"] = key("b") + "," + key("a")
	s.start()
	again := s.submit(request(ownValue))
	if again.ID != first.ID {
		t.Errorf("sent again: job %s, want %s", again.ID, first.ID)
	}
	if resp, data, err := s.post(request("another value")); err != nil || resp.StatusCode != http.StatusUnprocessableEntity ||
		!bytes.Contains(data, []byte("Idempotency-Key")) {
		t.Errorf("with another value: %v, %v\n%s", resp.Status, err, data)
	}
	must(t, again.wait(), job.Succeeded, job.ReasonCompleted)
	if got := again.output("OWN"); got != sha256Hex(ownValue) {
		t.Error("the program got another value")
	}
	newLooker(t).inFolder(s.dir)
}

// TestSecretsRefused sends secrets that cannot be accepted. No answer repeats a value.
func TestSecretsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir, "SECRETS_FILE="+secretsFile(t, "db: {value: "+sharedValue+"}\n"))
	look := newLooker(t)
	for name, test := range map[string]struct {
		fields  []string
		message string
	}{
		"in env as well": {[]string{`env={"A":"1"}`, "secret.A=" + ownValue}, "same name"},
		"reserved":       {[]string{"secret.PATH=" + ownValue}, "orchestrator"},
		"no name":        {[]string{"secret.=" + ownValue}, "needs a name"},
		"twice":          {[]string{"secret.A=" + ownValue, "secret.A=" + ownValue}, "more than once"},
		"NUL":            {[]string{"secret.A=" + ownValue + "\x00"}, "NUL"},
		"no UTF-8":       {[]string{"secret.A=" + ownValue + "\xff"}, "UTF-8"},
		"too long":       {[]string{"secret.A=" + strings.Repeat(ownValue, 10_000)}, "Linux allows"},
		"no such one":    {[]string{"secret.A=@" + ownValue}, "there are: db"},
		"not a name":     {[]string{"secret.A=@" + ownValue + "!"}, "@@"},
		"another field":  {[]string{"secrets.A=" + ownValue}, "secret.NAME"},
		"a typo":         {[]string{"secret=" + ownValue}, "secret.NAME"},
	} {
		resp, data, err := s.post(script("true", test.fields...))
		if err != nil || resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(data), test.message) {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
		look.in(name, string(data))
	}
	if left := strays(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	look.in("the server's output", s.output.String())
}

// TestSecretsOfTheOperator uses the operator's secrets as callers of different roles, in jobs,
// templates and events, while the operator changes them.
func TestSecretsOfTheOperator(t *testing.T) {
	t.Parallel()
	dir, keysFile := t.TempDir(), filepath.Join(t.TempDir(), "keys.json")
	keys := writeKeys(t, keysFile, access.Request{Name: "u", Role: access.User}, access.Request{Name: "a", Role: access.Admin})
	user, admin := keys[0], keys[1]
	file := secretsFile(t, "db: {value: "+sharedValue+", roles: [user]}\nroot: {value: for-admins-only-1, roles: [admin]}\n")
	s := start(t, dir, "AUTH=keys", "KEYS_FILE="+keysFile, "SECRETS_FILE="+file)

	for key, want := range map[string][]string{user: {"db"}, admin: {"db", "root"}, "": nil, "gojob_wrong": nil} {
		var got struct{ Secrets []string }
		if status, data := ask(t, s, http.MethodGet, "/api/v1/server", key, nil, ""); status != http.StatusOK {
			t.Errorf("server: %d", status)
		} else if err := json.Unmarshal(data, &got); err != nil || !cmp.Equal(want, got.Secrets) {
			t.Errorf("the server offers %q, want %q; %v", got.Secrets, want, err)
		}
	}
	s.key = user
	if resp, data, err := s.post(script("true", "secret.SHARED=@root")); err != nil ||
		resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(data), "no secret of that name") ||
		strings.Contains(string(data), "root") {
		t.Errorf("a user and a secret of admins: %v\n%s", err, data)
	}
	j := s.submit(python(showSecrets, "secret.SHARED=@db"))
	must(t, j.wait(), job.Succeeded, job.ReasonCompleted)
	if got := j.output("SHARED"); got != sha256Hex(sharedValue) {
		t.Error("the program got another value")
	}

	// A template names secrets, and a start can send more.
	put := func(fields ...string) (int, []byte) {
		body, contentType := python(showSecrets, fields...).encode()
		return ask(t, s, http.MethodPut, "/api/v1/templates/t", user, body, contentType)
	}
	if status, data := put("secret.OWN=" + ownValue); status != http.StatusUnprocessableEntity ||
		!bytes.Contains(data, []byte("a template keeps no values")) {
		t.Errorf("a template with a value: %d\n%s", status, data)
	}
	if status, data := put("secret.SHARED=@db"); status != http.StatusCreated {
		t.Fatalf("template: %d\n%s", status, data)
	}
	status, data := ask(t, s, http.MethodGet, "/api/v1/templates/t", user, nil, "")
	if status != http.StatusOK || !bytes.Contains(data, []byte(`"secrets":[{"name":"SHARED","from":"db"}]`)) {
		t.Errorf("the template: %d\n%s", status, data)
	}
	body, contentType := form{fields: []string{"secret.OWN=" + ownValue}}.encodeOnly()
	status, data = ask(t, s, http.MethodPost, "/api/v1/templates/t/jobs", user, body, contentType)
	started := &sent{s: s}
	if err := json.Unmarshal(data, started); err != nil || status != http.StatusCreated {
		t.Fatalf("start: %d, %v\n%s", status, err, data)
	}
	must(t, started.wait(), job.Succeeded, job.ReasonCompleted)
	if started.output("SHARED") != sha256Hex(sharedValue) || started.output("OWN") != sha256Hex(ownValue) {
		t.Error("the program of the template got other values")
	}

	// An event can name secrets.
	event := func(value string) (int, []byte) {
		data, err := json.Marshal(map[string]any{
			"specversion": "1.0", "id": fmt.Sprint(len(value)), "source": "/t", "type": "io.github.go-job-orchestrator.job.requested.v1",
			"data": map[string]any{"runtime": "python", "entrypoint": "main.py", "secrets": map[string]string{"SHARED": value},
				"files": []any{map[string]any{"name": "main.py", "content": []byte(showSecrets)}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return ask(t, s, http.MethodPost, "/events", user, data, "application/cloudevents+json")
	}
	if status, data := event(ownValue); status != http.StatusUnprocessableEntity || bytes.Contains(data, []byte(ownValue)) {
		t.Errorf("an event with a value: %d\n%s", status, data)
	}
	if status, data := event("@db"); status != http.StatusAccepted {
		t.Errorf("an event with a name: %d\n%s", status, data)
	}

	// The operator takes it away: what starts later fails.
	if err := os.WriteFile(file+".new", []byte("other: {value: "+sharedValue+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	s.until("the name is gone", func() bool {
		_, data := ask(t, s, http.MethodGet, "/api/v1/server", user, nil, "")
		return bytes.Contains(data, []byte(`"secrets":["other"]`))
	})
	if status, data := ask(t, s, http.MethodPost, "/api/v1/templates/t/jobs", user, nil, ""); status !=
		http.StatusUnprocessableEntity || !bytes.Contains(data, []byte("secret.SHARED")) {
		t.Errorf("the template without its secret: %d\n%s", status, data)
	}
	look := newLooker(t)
	look.inFolder(dir)
	look.in("the server's output", s.output.String())
}

// encodeOnly is a form with the fields alone.
func (f form) encodeOnly() (body []byte, contentType string) {
	body, contentType = form{runtime: "x", entrypoint: "x", fields: f.fields}.encode()
	_, boundary, _ := strings.Cut(contentType, "boundary=")
	parts := strings.Split(string(body), "--"+boundary)
	return []byte(parts[0] + "--" + boundary + strings.Join(parts[3:], "--"+boundary)), contentType
}

// ask makes a call with a key.
func ask(t *testing.T, s *server, method, path, key string, body []byte, contentType string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(timeout(t), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, data
}

// TestMaskedLive follows a log whose line ends with what may be the beginning of a secret: it is
// held back, but not for long.
func TestMaskedLive(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	j := s.submit(python(`
import sys, time
sys.stdout.write("begins: hunter2"); sys.stdout.flush()
time.sleep(600)
`, "secret.OWN="+ownValue))
	begun := time.Now()
	j.running("begins: hunter2")
	t.Logf("seen after %s", time.Since(begun))
	j.call(http.MethodPost, j.path()+"/cancel")
	j.wait()
}
