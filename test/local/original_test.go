package local

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The lines that the original service told its users, which had no keys. $ID is the job that the
// first line has submitted.
const (
	originalSubmit = `curl -X POST http://localhost:8080/api/v1/jobs -F runtime=python -F entrypoint=main.py ` +
		`-F args='["--flag","value"]' -F env='{"MY_VAR":"123"}' -F files=@main.py`
	originalStatus = `curl http://localhost:8080/api/v1/jobs/$ID`
	originalLogs   = `curl "http://localhost:8080/api/v1/jobs/$ID/logs?tail=200"`
)

// shell is a user of the original service, with a folder and a terminal.
type shell struct {
	t   *testing.T
	dir string
	env []string
}

// newShell returns a shell whose curl finds the server at localhost:8080, and whose folder has
// main.py.
func newShell(s *server, program string) *shell {
	s.t.Helper()
	dir := s.t.TempDir()
	port := s.url[strings.LastIndex(s.url, ":")+1:]
	for name, content := range map[string]string{
		"main.py": program, ".curlrc": "silent\nshow-error\nconnect-to = \"localhost:8080:127.0.0.1:" + port + "\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return &shell{t: s.t, dir: dir, env: []string{"PATH=" + os.Getenv("PATH"), "CURL_HOME=" + dir, "HOME=" + dir}}
}

// run runs a line in bash and returns what it prints.
func (b *shell) run(line string) string {
	b.t.Helper()
	cmd := exec.CommandContext(timeout(b.t), "bash", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stderr = b.dir, b.env, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// status runs curl with some more options and returns the status of the answer.
func (b *shell) status(options string) string {
	b.t.Helper()
	return b.run(`curl -o answer -w '%{http_code}' ` + options)
}

// submit runs the line that submits a job, and sets ID and TOKEN.
func (b *shell) submit() *sent {
	b.t.Helper()
	j, answer := &sent{}, b.run(originalSubmit)
	if err := json.Unmarshal([]byte(answer), j); err != nil || j.ID == "" || j.Token == "" ||
		!strings.HasPrefix(j.Name, "run-") || j.Namespace != "default" {
		b.t.Fatalf("the answer to a submit: %v\n%s", err, answer)
	}
	b.env = append(b.env, "ID="+j.ID, "TOKEN="+j.Token)
	return j
}

// originalProgram says on both streams what it got, and leaves an output.
const originalProgram = `import os, sys, time
print("args", *sys.argv[1:], flush=True)
print("MY_VAR", os.environ["MY_VAR"], file=sys.stderr, flush=True)
open("results/report.txt", "w").write("the report\n")
`

// startOriginal starts the command as make run does: with no settings but two.
func startOriginal(t *testing.T) *server {
	t.Helper()
	path, err := command()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, program: path, dir: t.TempDir(), vars: map[string]string{}}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// TestOriginal runs the lines of the original service as they stand.
func TestOriginal(t *testing.T) {
	t.Parallel()
	s := startOriginal(t)
	b := newShell(s, originalProgram)
	j := b.submit()
	j.s = s
	var status struct{ JobID, Phase string }
	s.until("the job has succeeded", func() bool {
		answer := b.run(originalStatus)
		if err := json.Unmarshal([]byte(answer), &status); err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
		return status.Phase == "Succeeded"
	})
	if status.JobID != j.ID {
		t.Errorf("status is of job %s", status.JobID)
	}
	log := b.run(originalLogs)
	if log != "args --flag value\nMY_VAR 123\n" && log != "MY_VAR 123\nargs --flag value\n" { // two pipes
		t.Errorf("log: got %q", log)
	}
	if list := b.run(`curl http://localhost:8080/api/v1/jobs`); strings.Count(list, `"jobID":"`+j.ID) != 1 || strings.Contains(list,
		j.Token) {
		t.Errorf("list: %s", list)
	}
	if got := b.status(`http://localhost:8080/healthz`); got != "200" {
		t.Errorf("healthz: %s", got)
	}
	for path, want := range map[string]string{
		"artifacts/$ID/main.py": originalProgram, "outputs/$ID/report.txt": "the report\n",
		"outputs/$ID/stdout.log": "args --flag value\n", "outputs/$ID/stderr.log": "MY_VAR 123\n",
	} {
		url := ` "http://localhost:8080/` + path + `"`
		if got := b.run(`curl -f -H "Authorization: Bearer $TOKEN"` + url); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
		for header, status := range map[string]string{
			"": "401", `-H "Authorization: Bearer wrong"`: "403", `-H "Authorization: Bearer ${TOKEN}x"`: "403",
		} {
			if got := b.status(header + url); got != status {
				t.Errorf("%s with %q: %s, want %s", path, header, got, status)
			}
		}
	}
	originalLayout(t, filepath.Join(s.dir, j.ID), j.Token)
}

// originalLayout checks the folder of a job in STORAGE_DIR.
func originalLayout(t *testing.T, dir, token string) {
	t.Helper()
	for name, want := range map[string]string{
		"main.py": originalProgram, "results/stdout.log": "args --flag value\n", "results/stderr.log": "MY_VAR 123\n",
		"results/report.txt": "the report\n",
	} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", name, data, err, want)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Token string
		Files []struct{ Name string }
	}
	if err := json.Unmarshal(data, &index); err != nil || index.Token == "" || strings.Contains(string(data), token) ||
		len(index.Files) != 1 || index.Files[0].Name != "main.py" {
		t.Errorf("index.json: %v: %s", err, data)
	}
}

// TestOriginalUpload uploads a result with the job's token, and cancels and removes the job with
// none.
func TestOriginalUpload(t *testing.T) {
	t.Parallel()
	s := startOriginal(t)
	b := newShell(s, originalProgram+"time.sleep(1000)\n")
	j := b.submit()
	s.until("the program runs", func() bool { return strings.Contains(b.run(originalLogs), "MY_VAR") })
	upload := ` -X PUT --data-binary @main.py "http://localhost:8080/artifacts/$ID/upload/result.bin"`
	for header, want := range map[string]string{"": "401", `-H "Authorization: Bearer wrong"`: "403"} {
		if got := b.status(header + upload); got != want {
			t.Errorf("upload with %q: %s, want %s", header, got, want)
		}
	}
	if got := b.status(`-H "Authorization: Bearer $TOKEN"` + upload); !strings.HasPrefix(got, "20") {
		t.Errorf("upload with the job's token: %s\n%s", got, b.run("cat answer"))
	}
	stored := filepath.Join(s.dir, j.ID, "results", "result.bin")
	if data, err := os.ReadFile(stored); err != nil || string(data) != originalProgram+"time.sleep(1000)\n" {
		t.Errorf("the uploaded result: %q, %v", data, err)
	}
	if got := b.status(`-X POST "http://localhost:8080/api/v1/jobs/$ID/cancel"`); got != "200" {
		t.Errorf("cancel: %s", got)
	}
	s.until("the job is over", func() bool { return strings.Contains(b.run(originalStatus), `"phase":"Cancelled"`) })
	if got := b.status(`-X DELETE "http://localhost:8080/api/v1/jobs/$ID"`); got != "204" {
		t.Errorf("delete: %s", got)
	}
	if got := b.status(`"http://localhost:8080/api/v1/jobs/$ID"`); got != "404" {
		t.Errorf("status of the removed job %s: %s", j.ID, got)
	}
}
