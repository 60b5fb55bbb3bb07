// Package metrics has a real Prometheus read the metrics of the real command, with the rules and the
// dashboard of examples/monitoring. Prometheus is that of the search path, else Debian's package,
// which is unpacked and not installed.
package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	examples = "../../examples/monitoring"
	patience = 2 * time.Minute // for each condition
)

// programs returns a folder with prometheus and promtool.
func programs(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("prometheus"); err == nil {
		return filepath.Dir(path)
	}
	dir := t.TempDir()
	for _, args := range [][]string{{"sh", "-c", "apt-get download prometheus || { apt-get update && apt-get download prometheus; }"},
		{"sh", "-c", "dpkg -x prometheus_*.deb ."}} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("there is no prometheus, and Debian's package cannot be downloaded: %v: %s", err, out)
		}
	}
	return filepath.Join(dir, "usr", "bin")
}

// run returns what a program printed.
func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// begin starts a program, which ends with the test.
func begin(t *testing.T, env []string, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the context has ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(program), out.String())
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// get returns the body of an answer 200, and "" for any other.
func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// submit runs a program to its end.
func submit(t *testing.T, server, program string) {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("files", "run")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(part, "#!/bin/sh\n"+program+"\n")
	_ = w.WriteField("runtime", "binary")
	_ = w.WriteField("entrypoint", "run")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server+"/api/v1/jobs", &form)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Prefer", "wait=60")
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusCreated {
		t.Fatalf("submit: %s", got.Status)
	}
}

// prometheus is a running one.
type prometheus struct{ url string }

// query returns the first value of an expression, "" when it has none, and its error.
func (p *prometheus) query(t *testing.T, expr string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return "", err
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer got.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(got.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Error != "" {
		return "", fmt.Errorf("%s: %s", expr, answer.Error) //nolint:err113 // of a test
	}
	if len(answer.Data.Result) == 0 {
		return "", nil
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1]), nil
}

// want waits until an expression has a value.
func (p *prometheus) want(t *testing.T, expr, want string) {
	t.Helper()
	var got string
	defer func() {
		if got != want {
			t.Logf("the last value is %q", got)
		}
	}()
	until(t, expr+" is "+want, func() bool {
		var err error
		if got, err = p.query(t, expr); err != nil {
			t.Fatal(err)
		}
		return got == want
	})
}

// TestPrometheus starts the one process and Prometheus, runs jobs, and asks Prometheus about them.
func TestPrometheus(t *testing.T) {
	bin := programs(t)
	promtool := filepath.Join(bin, "promtool")
	dir := t.TempDir()
	for _, name := range []string{"alerts.yml", "prometheus.yml"} {
		text, err := os.ReadFile(filepath.Join(examples, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), text)
	}
	tests, err := os.ReadFile("testdata/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "alerts_test.yml"), tests)
	run(t, dir, promtool, "check", "config", "prometheus.yml") // with the rules
	run(t, dir, promtool, "test", "rules", "alerts_test.yml")

	all := filepath.Join(dir, "all")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "grpcnotrace,disable_grpc_modules", "-o", all,
		"go-job-orchestrator/functions/cmd/all")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	begin(t, []string{"PATH=" + os.Getenv("PATH"), "PORT=" + port, "STORAGE_DIR=" + filepath.Join(dir, "data"),
		"REAP_INTERVAL=100ms"}, all)
	server := "http://" + address
	until(t, "the server answers", func() bool { return get(t, server+"/healthz") != "" })

	checkMetrics(t, dir, promtool, server)
	config := strings.NewReplacer("localhost:8080", address, "scrape_interval: 15s", "scrape_interval: 1s").Replace(
		string(mustRead(t, filepath.Join(dir, "prometheus.yml"))))
	write(t, filepath.Join(dir, "prometheus.yml"), []byte(config))
	at := freeAddress(t)
	begin(t, os.Environ(), filepath.Join(bin, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+at)
	p := &prometheus{url: "http://" + at}
	until(t, "Prometheus is ready", func() bool { return get(t, p.url+"/-/ready") != "" })

	p.want(t, `up{job="gojob"}`, "1")
	submit(t, server, "exit 0")
	submit(t, server, "exit 3")
	for expr, want := range map[string]string{
		`gojob_jobs_submitted_total{runtime="binary",source="form"}`:                                "2",
		`gojob_jobs_finished_total{runtime="binary",phase="Failed",reason="Error"}`:                 "1",
		`gojob_jobs_finished_total{runtime="binary",phase="Succeeded"}`:                             "1",
		`gojob_attempts_total{reason="Error"}`:                                                      "1",
		`gojob_job_queue_seconds_count`:                                                             "2",
		`gojob_job_run_seconds_count`:                                                               "2",
		`gojob_jobs{phase="Failed"}`:                                                                "1",
		`gojob_jobs{phase="Pending"}`:                                                               "0",
		`gojob_queue_oldest_seconds`:                                                                "0",
		`gojob_notices_owed`:                                                                        "0",
		`gojob_build_info`:                                                                          "1",
		`http_server_requests_total{function="submit",status="2xx"}`:                                "2",
		`gojob_storage_free_bytes > bool 0`:                                                         "1",
		`time() - gojob_reaper_last_success_timestamp_seconds < bool 60`:                            "1",
		`http_server_request_duration_seconds_count{http_route="/metrics"} > bool 2`:                "1",
		`scrape_samples_scraped{job="gojob"} < bool 500`:                                            "1",
		`count({__name__=~"gojob_.+",instance!=""}) > bool 50`:                                      "1",
		`count(ALERTS{alertname=~"Gojob.*",alertname!="GojobStorageNearlyFull"}) or on() vector(0)`: "0",
	} {
		p.want(t, expr, want)
	}
	known := metricsOf(get(t, server+"/metrics"))
	for _, e := range append(ruleExpressions(t), dashboardExpressions(t)...) {
		if _, err := p.query(t, e.expr); err != nil {
			t.Errorf("%s: %v", e.where, err)
		}
		for _, m := range e.unknown(known) {
			t.Errorf("%s: there is no %s", e.where, m)
		}
	}
}

// checkMetrics has promtool lint what the server shows.
func checkMetrics(t *testing.T, dir, promtool, server string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(get(t, server+"/metrics"))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, out)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// expression is one that operators are given.
type expression struct{ where, expr string }

func ruleExpressions(t *testing.T) (list []expression) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(mustRead(t, filepath.Join(examples, "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	operations := string(mustRead(t, "../../docs/operations.md"))
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			list = append(list, expression{"alert " + r.Alert, r.Expr})
			if !strings.Contains(operations, "| `"+r.Alert+"` |") {
				t.Errorf("docs/operations.md does not explain %s", r.Alert)
			}
		}
	}
	if len(list) < 4 {
		t.Fatalf("%d alerts", len(list))
	}
	return list
}

func dashboardExpressions(t *testing.T) (list []expression) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(mustRead(t, filepath.Join(examples, "dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "1m") // Grafana's own variable
			list = append(list, expression{"panel " + p.Title, expr})
		}
	}
	if len(list) < 15 {
		t.Fatalf("%d expressions", len(list))
	}
	return list
}

var (
	nameOf  = regexp.MustCompile(`\b((?:gojob|http_server|process|go)_[a-z_]+)(?:\{([^}]*)\})?`)
	labelOf = regexp.MustCompile(`([a-z_]+)(?:=~|!=|=)`)
	by      = regexp.MustCompile(`by \(([^)]*)\)`)
)

// metricsOf returns the labels of each metric, by name.
func metricsOf(text string) map[string][]string {
	known := map[string][]string{}
	for line := range strings.Lines(text) {
		if m := nameOf.FindStringSubmatch(line); m != nil && !strings.HasPrefix(line, "#") {
			known[m[1]] = nil
			for _, l := range labelOf.FindAllStringSubmatch(m[2], -1) {
				known[m[1]] = append(known[m[1]], l[1])
			}
		}
	}
	return known
}

// unknown returns the metrics and labels of an expression that no metric has.
func (e expression) unknown(known map[string][]string) (list []string) {
	var used []string // labels of all metrics in it
	for _, m := range nameOf.FindAllStringSubmatch(e.expr, -1) {
		labels, found := known[m[1]]
		if !found {
			list = append(list, m[1])
		}
		used = append(used, labels...)
		for _, l := range labelOf.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) {
				list = append(list, m[1]+"{"+l[1]+"}")
			}
		}
	}
	for _, m := range by.FindAllStringSubmatch(e.expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			if !slices.Contains(used, strings.TrimSpace(label)) {
				list = append(list, "label "+label)
			}
		}
	}
	return list
}

// TestUnknown makes sure that misspelt names in expressions are found.
func TestUnknown(t *testing.T) {
	known := metricsOf("# HELP gojob_no x\ngojob_jobs{phase=\"Failed\"} 1\ngojob_x_bucket{le=\"1\"} 2\n")
	for expr, want := range map[string]string{
		`sum by (phase) (gojob_jobs{phase=~"a|b"})`: "", `rate(gojob_x_bucket[5m])`: "",
		`gojob_jobs{fase="x"}`: "gojob_jobs{fase}", `gojob_job`: "gojob_job", `gojob_no`: "gojob_no",
		`sum by (le, route) (gojob_x_bucket)`: "label  route",
	} {
		if got := strings.Join(expression{expr: expr}.unknown(known), ", "); got != want {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}
