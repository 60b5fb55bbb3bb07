package indexgate

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"go-job-orchestrator/shared/dependencies"
	"go-job-orchestrator/shared/dependencies/indextest"
	"go-job-orchestrator/shared/prepare"
)

// gated is an index that wants a password, behind a gate that is open under base.
func gated(t *testing.T, x *indextest.Index) (base string, g *Gate) {
	t.Helper()
	x.User, x.Password = "robot", "secret"
	index := httptest.NewServer(x)
	t.Cleanup(index.Close)
	at := strings.Replace(index.URL, "://", "://robot:secret@", 1)
	g, err := New(&dependencies.Indexes{Python: at + "/simple", Node: at + "/npm/"}, []byte("key"),
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{Gate: g}
	t.Cleanup(func() { l.Close() })
	base, closed, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closed)
	return base, g
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestPages follows the links of a page through the gate, whether they are whole addresses or not.
func TestPages(t *testing.T) {
	for _, absolute := range []bool{false, true} {
		one := indextest.Wheel{Name: "small", Version: "1.0"}
		base, _ := gated(t, &indextest.Index{Wheels: []indextest.Wheel{one}, Absolute: absolute})
		status, page := get(t, base+"/0/simple/small/")
		if status != http.StatusOK || strings.Contains(page, "secret") {
			t.Fatalf("got %d %s", status, page)
		}
		link := regexp.MustCompile(`href="([^"]*)"`).FindStringSubmatch(page)
		if link == nil || !strings.HasPrefix(link[1], base+"/0/~") {
			t.Fatalf("the page does not lead through the gate: %s", page)
		}
		file, _, _ := strings.Cut(link[1], "#")
		if status, wheel := get(t, file); status != http.StatusOK || wheel != string(one.Bytes()) {
			t.Errorf("the wheel: %d, %d bytes", status, len(wheel))
		}
		// The credentials open nothing that no page links to.
		for _, path := range []string{"/0/files/" + one.File(), "/0/", "/0/simple/../files/" + one.File(),
			"/0/simple/%2e%2e/files/" + one.File(), "/0/~0123/files/" + one.File(), "/9/simple/small/", "/x", "/-1/simple/"} {
			if status, _ := get(t, base+path); status != http.StatusNotFound {
				t.Errorf("%s: got %d, want 404", path, status)
			}
		}
		if status, _ := get(t, base+"x/0/simple/small/"); status != http.StatusNotFound {
			t.Errorf("an unknown path: got %d", status)
		}
	}
}

// TestRegistry follows the addresses of archives that a registry of npm gives.
func TestRegistry(t *testing.T) {
	one := indextest.Package{Name: "small", Version: "1.0.0", Files: map[string]string{"index.js": "module.exports = 1\n"}}
	base, _ := gated(t, &indextest.Index{Packages: []indextest.Package{one}})
	status, text := get(t, base+"/0/npm/small")
	want := `"tarball":"` + base + "/0/npm/small/-/small-1.0.0.tgz" + `"`
	if status != http.StatusOK || !strings.Contains(text, want) {
		t.Fatalf("got %d %s; want %s in it", status, text, want)
	}
	// npm puts the registry's path before that of a lock.
	for _, path := range []string{"/0/npm/small/-/small-1.0.0.tgz", "/0/npm/npm/small/-/small-1.0.0.tgz"} {
		if status, text := get(t, base+path); status != http.StatusOK || text != string(one.Bytes()) {
			t.Errorf("%s: got %d, %d bytes", path, status, len(text))
		}
	}
}

// TestEnv makes sure that installers are told of the gate alone.
func TestEnv(t *testing.T) {
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("machine more.example login me password secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := New(&dependencies.Indexes{
		Python: "https://user:secret@one.example/simple/", PythonExtra: []string{"https://more.example/simple"},
		Node: "https://npm.example/npm/", NodeToken: "secret", Netrc: netrc,
	}, []byte("key"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	python := g.Env("http://gate/x", &prepare.Sources{Runtime: "python"})
	if diff := cmp.Diff([]string{
		"PIP_INDEX_URL=http://gate/x/1/simple/", "UV_DEFAULT_INDEX=http://gate/x/1/simple/",
		"PIP_EXTRA_INDEX_URL=http://gate/x/0/simple/", "UV_INDEX=http://gate/x/0/simple/", "PIP_TRUSTED_HOST=gate",
	}, python); diff != "" {
		t.Errorf("python (-want +got):\n%s", diff)
	}
	lock := map[string][]byte{"package-lock.json": []byte(`"resolved": "https://npm.example/npm/a/-/a-1.tgz"`)}
	node := g.Env("http://gate/x", &prepare.Sources{Runtime: "node", Files: lock})
	if diff := cmp.Diff([]string{
		"npm_config_registry=http://gate/x/2/npm/", "npm_config_replace_registry_host=npm.example",
	}, node); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}

func TestSettings(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if g, err := New(&dependencies.Indexes{}, nil, log); g != nil || err != nil {
		t.Errorf("no indexes: got %v, %v", g, err)
	}
	for name, s := range map[string]dependencies.Indexes{
		"PIP_INDEX_URL": {Python: "ftp://user:secret@x/"}, "PIP_EXTRA_INDEX_URL": {PythonExtra: []string{"secret"}},
		"NPM_CONFIG_REGISTRY": {Node: "https:///secret"}, "NETRC_FILE": {Netrc: "/nonexistent"},
	} {
		if _, err := New(&s, nil, log); err == nil || !strings.Contains(err.Error(), name) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNetrc(t *testing.T) {
	got := parseNetrc("# comment\nmachine a login b password c\nmachine d\n  login e\n  password f account x\n" +
		"default login g password h\nmachine i login j\nmacdef k\nmachine l login m\n")
	want := []machine{{"a", "b", "c"}, {"d", "e", "f"}, {"i", "j", ""}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(machine{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
