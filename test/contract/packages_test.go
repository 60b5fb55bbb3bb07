package contract

import (
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"gocloud.dev/gcerrors"

	"go-job-orchestrator/shared/dependencies/indextest"
	"go-job-orchestrator/shared/guard/guardmatrix"
	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/prepare"
	"go-job-orchestrator/shared/token"
)

// needy is a job that needs a package.
func needy(t *testing.T, fields ...field) option {
	t.Helper()
	return form(t, append(fields, field{name: "runtime", value: "python"}, field{name: "entrypoint", value: "main.py"},
		file("main.py", "import small\n"), file("requirements.txt", "small==1.0\n"))...)
}

// sources is what the agent sends about such a job.
func sources(files map[string][]byte) prepare.Sources {
	return prepare.Sources{Runtime: "python", Entrypoint: "main.py", Files: files, Project: "digest",
		Service: "http://functions"}
}

func requirements(text string) prepare.Sources {
	return sources(map[string][]byte{"requirements.txt": []byte(text)})
}

const planning = "POST plan"

// packageKey is one of the keys of the cache.
func packageKey(number int) string { return fmt.Sprintf("%064x", number) }

func turn(method string, key string) string { return method + " packages/" + key + "/turn" }

func storing(key string) string { return "PUT packages/" + key }

func tarball(body string) option { return content("application/x-tar", []byte(body)) }

// testPackages plans installations, and has jobs share what they have installed.
func testPackages(t *testing.T, c *contract) {
	f := startFunctions(t, map[string]string{"DEPENDENCY_CACHE_BYTES": "64Ki"})
	to := f.client(c)
	s := to.submit(t, needy(t))
	t.Run("plans", func(t *testing.T) { testPlans(t, f, to, s) })
	t.Run("cache", func(t *testing.T) { testCache(t, f, to) })
	t.Run("refused", func(t *testing.T) { testRefusedPackages(t, f, to, s) })

	all := []operation{agentOperation(planning, record(t, requirements("small\n")), false)}
	all[0].job = needy(t)
	for i, method := range []string{http.MethodPost, http.MethodDelete} {
		one := agentOperation(turn(method, packageKey(100+i)), nil, false)
		one.writes = method == http.MethodPost
		all = append(all, one)
	}
	all = append(all, agentOperation(storing(packageKey(102)), tarball("packages"), false))
	read := agentOperation("GET packages/"+packageKey(103), nil, false)
	read.writes = false
	all = append(all, read)
	wantCredentials(t, f, to, all...)
	wantStorage(t, f, to, all...)

	agent := f.agent(s.JobID)
	to.asAgent(t, http.StatusCreated, s, claim, record(t, map[string]string{"owner": "pod-1"}), agent)
	to.asAgent(t, http.StatusCreated, s, "PUT attempts/1/end", record(t, attempt(1)), agent)
	for _, o := range all {
		if o.method != http.MethodGet {
			o.call(t, to, http.StatusConflict, s, agent)
		}
	}
}

func testPlans(t *testing.T, f *functions, to *client, s submitted) {
	agent := f.agent(s.JobID)
	to.asAgent(t, http.StatusNoContent, s, planning, record(t, sources(map[string][]byte{})), agent)
	if got := to.status(t, s); got.Phase != job.Pending {
		t.Errorf("without packages: the job is %s", got.Phase)
	}
	without := to.submit(t, needy(t, field{name: "dependencies", value: "off"}))
	to.asAgent(t, http.StatusNoContent, without, planning, record(t, requirements("small\n")), f.agent(without.JobID))
	plan := as[prepare.Plan](t, to.asAgent(t, http.StatusCreated, s, planning, record(t, requirements("small\n")), agent))
	if plan.From != "requirements.txt" || len(plan.Warnings) != 1 || plan.Env != nil {
		t.Errorf("got %+v", plan)
	}
	if got := to.status(t, s); got.Reason != job.ReasonPreparing {
		t.Errorf("with packages: the job is %s (%s)", got.Phase, got.Reason)
	}
	files := map[string][]byte{"pylock.toml": []byte("lock-version = \"1.0\"\ncreated-by = \"test\"\n" +
		"[[packages]]\nname = \"small\"\nversion = \"1.0\"\n[[packages.wheels]]\nname = \"small-1.0-py3-none-any.whl\"\n" +
		"url = \"http://index.example/small-1.0-py3-none-any.whl\"\nhashes = {sha256 = \"" + packageKey(1) + "\"}\n")}
	locked := as[prepare.Plan](t, to.asAgent(t, http.StatusCreated, s, planning, record(t, sources(files)), agent))
	if locked.From != "pylock.toml" || !locked.Locked || locked.Requirements == "" {
		t.Errorf("got %+v", locked)
	}
}

// testCache has one job install packages that another waits for and then reads.
func testCache(t *testing.T, f *functions, to *client) {
	first, second := to.submit(t, script(t, "true")), to.submit(t, script(t, "true"))
	key := packageKey(1)
	wantTurn := func(s submitted, want prepare.Turn) {
		t.Helper()
		got := as[prepare.Claimed](t, to.asAgent(t, http.StatusCreated, s, turn("POST", key), f.agent(s.JobID)))
		if got.Turn != want {
			t.Errorf("turn %q, want %q", got.Turn, want)
		}
	}
	get := func(want int) *reply {
		t.Helper()
		return to.asAgent(t, want, second, "GET packages/"+key, f.agent(second.JobID))
	}
	wantTurn(first, prepare.Build)
	wantTurn(second, prepare.Wait)
	to.asAgent(t, http.StatusNoContent, second, turn("DELETE", key), f.agent(second.JobID)) // it is not its own
	wantTurn(second, prepare.Wait)
	to.asAgent(t, http.StatusNoContent, first, turn("DELETE", key), f.agent(first.JobID))
	wantTurn(second, prepare.Build)
	get(http.StatusNotFound)
	to.asAgent(t, http.StatusNoContent, second, storing(key), tarball("packages"), f.agent(second.JobID))
	wantTurn(first, prepare.Stored)
	if got := get(http.StatusOK); string(got.body) != "packages" {
		t.Errorf("got %q, want what was stored", got.body)
	}

	lost := func(verb, key string) gcerrors.ErrorCode {
		if verb == "read" && strings.Contains(key, "/blob-") {
			return gcerrors.NotFound
		}
		return gcerrors.OK
	}
	f.bucket.failing(lost, func() { get(http.StatusNotFound) })
	wantTurn(first, prepare.Build) // the rest was removed
}

func testRefusedPackages(t *testing.T, f *functions, to *client, s submitted) {
	agent := f.agent(s.JobID)
	short := "12ab"
	for name, test := range map[string]struct {
		limit   int
		invalid map[string]option // by name
	}{
		planning: {16 << 20, map[string]option{
			planning: record(t, sources(map[string][]byte{"pylock.toml": []byte("=")})),
		}},
		turn("POST", packageKey(2)):   {1 << 20, map[string]option{turn("POST", short): octets("")}},
		turn("DELETE", packageKey(3)): {1 << 20, map[string]option{turn("DELETE", short): octets("")}},
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, to, agent, s, name, test.limit, test.invalid) })
	}
	name := storing(packageKey(4))
	random, err := io.ReadAll(io.LimitReader(rand.Reader, 65<<10))
	if err != nil {
		t.Fatal(err)
	}
	large := tarball(string(random))
	refused := to.asAgent(t, http.StatusRequestEntityTooLarge, s, name, large, agent)
	contains(t, problem(t, refused), "DEPENDENCY_CACHE_BYTES")
	to.asAgent(t, http.StatusUnsupportedMediaType, s, name, tarball("x"), header("Content-Encoding", "gzip"), agent)
	to.asAgent(t, http.StatusBadRequest, s, name, tarball("x"), header("Content-Range", "bytes 0-0/2"), agent)
	to.asAgent(t, http.StatusUnprocessableEntity, s, storing(short), tarball("x"), agent)
	to.asAgent(t, http.StatusUnprocessableEntity, s, "GET packages/"+short, agent)
	to.asAgent(t, http.StatusBadRequest, s, "GET packages/"+packageKey(4)+"?a=b", agent)
}

// testIndexes reads from a package index as installers do, by the addresses of a plan.
func testIndexes(t *testing.T, c *contract) {
	var status atomic.Int64 // of the next answers; 0: what the index has
	fail := func(w http.ResponseWriter, _ *http.Request) bool {
		code := int(status.Load())
		if code != 0 {
			w.WriteHeader(code)
		}
		return code != 0
	}
	wheel := indextest.Wheel{Name: "small", Version: "1.0"}
	index := httptest.NewServer(&indextest.Index{Wheels: []indextest.Wheel{wheel}, Fail: fail, User: "robot",
		Password: "hunter2hunter2"})
	defer index.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	f := startFunctions(t, map[string]string{
		"PIP_INDEX_URL":       strings.Replace(index.URL, "://", "://robot:hunter2hunter2@", 1) + "/simple",
		"PIP_EXTRA_INDEX_URL": gone.URL + "/simple",
	})
	to := f.client(c).with("")
	s := f.client(c).submit(t, needy(t))
	plan := as[prepare.Plan](t, to.asAgent(t, http.StatusCreated, s, planning, record(t, requirements("small\n")),
		f.agent(s.JobID)))
	address := func(variable string) string {
		for _, text := range plan.Env {
			if value, found := strings.CutPrefix(text, variable+"=http://functions"); found {
				return value
			}
		}
		t.Fatalf("no %s in %q", variable, plan.Env)
		return ""
	}
	page, away := address("PIP_INDEX_URL")+"small/", address("PIP_EXTRA_INDEX_URL")+"small/"
	both := func(want int, path string, options ...option) *reply {
		t.Helper()
		to.call(t, want, http.MethodHead, path, options...)
		return to.call(t, want, http.MethodGet, path, options...)
	}

	text := string(both(http.StatusOK, page).body)
	link := regexp.MustCompile(`href="http://functions([^"#]*)`).FindStringSubmatch(text)
	if link == nil || strings.Contains(text, "hunter2") {
		t.Fatalf("the page does not lead through the call: %s", text)
	}
	download := html.UnescapeString(link[1])
	if got := both(http.StatusOK, download); string(got.body) != string(wheel.Bytes()) {
		t.Errorf("got %d bytes, want the wheel", len(got.body))
	}
	part := both(http.StatusPartialContent, download, header("Range", "bytes=1-3"))
	if string(part.body) != string(wheel.Bytes()[1:4]) {
		t.Errorf("got %q, want a part of the wheel", part.body)
	}
	both(http.StatusBadGateway, away)
	both(http.StatusNotFound, strings.Replace(page, "/0/", "/9/", 1))
	both(http.StatusNotFound, strings.Replace(page, "/simple/small/", "/files/"+wheel.File(), 1))
	for _, code := range []int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict,
		http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGone, http.StatusNotModified,
	} {
		status.Store(int64(code))
		both(code, page)
	}
	status.Store(0)
	testRefusedByIndexes(t, f, s, page, func(want int, path string, options ...option) {
		t.Helper()
		if got := problem(t, both(want, path, options...)); strings.Contains(got, "hunter2") {
			t.Errorf("%d tells the password: %s", want, got)
		}
	})

	agent := f.agent(s.JobID)
	to.asAgent(t, http.StatusCreated, s, claim, record(t, map[string]string{"owner": "pod-1"}), agent)
	contains(t, problem(t, both(http.StatusConflict, page)), "not being installed") // the program runs
	to.asAgent(t, http.StatusCreated, s, "PUT attempts/1/end", record(t, attempt(1)), agent)
	contains(t, problem(t, both(http.StatusConflict, page)), "not being installed") // it is over
}

// testRefusedByIndexes makes calls that the service refuses itself.
func testRefusedByIndexes(
	t *testing.T, f *functions, s submitted, page string, refused func(want int, path string, options ...option),
) {
	key := f.keyring.of
	good := f.keys.Derive(token.Index, s.JobID)
	refused(http.StatusForbidden, strings.Replace(page, good, flipped(good), 1))
	refused(http.StatusBadRequest, page, bearer("a"), bearer("b"))
	refused(http.StatusUnauthorized, page, bearer(key[guardmatrix.ExpiredKey]))
	unknown := job.ID(strings.Repeat("0", 32))
	refused(http.StatusNotFound, strings.NewReplacer(string(s.JobID), string(unknown), good,
		f.keys.Derive(token.Index, unknown)).Replace(page))
	f.bucket.failing(broken, func() { refused(http.StatusInternalServerError, page) })
	f.bucket.failing(away, func() { refused(http.StatusServiceUnavailable, page) })
}
