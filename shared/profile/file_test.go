package profile_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-job-orchestrator/shared/job"
	"go-job-orchestrator/shared/platform"
	"go-job-orchestrator/shared/profile"
)

// env returns an Env whose PROFILES_FILE is the path, and a function that lets time pass.
func env(path string, log *bytes.Buffer) (e *platform.Env, pass func()) {
	e = platform.New(map[string]string{"PROFILES_FILE": path}, slog.New(slog.NewTextHandler(log, nil)))
	now := time.Unix(1e9, 0)
	e.Now = func() time.Time { return now }
	return e, func() { now = now.Add(time.Second) }
}

func write(t *testing.T, path, document string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func names(s *profile.Set) string {
	var list []string
	for _, p := range s.All() {
		list = append(list, p.Name)
	}
	return strings.Join(list, " ")
}

// noBig is a check of somebody else's.
func noBig(s *profile.Set) []job.Fault {
	if s.Find("big") != nil {
		return []job.Fault{{Field: "profiles.big", Message: "is too big"}}
	}
	return nil
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	var log bytes.Buffer
	e, pass := env(path, &log)
	write(t, path, "profiles: {a: {}}")
	f, err := profile.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Require(noBig); err != nil {
		t.Fatal(err)
	}
	want := func(list string) {
		t.Helper()
		pass()
		if got := names(f.Current()); got != list {
			t.Errorf("got %q, want %q", got, list)
		}
	}
	want("a")
	write(t, path, "profiles: {a: {}, b: {}}")
	want("a b")
	// A broken document keeps the old one, and all its faults are logged, once.
	write(t, path, "profiles: {c: {more: 1}, d: {less: 1}, big: {}}")
	want("a b")
	want("a b")
	for _, fault := range []string{"profiles.c.more", "profiles.d.less", "profiles.big"} {
		if n := strings.Count(log.String(), fault+": "); n != 1 {
			t.Errorf("%s was logged %d times: %s", fault, n, &log)
		}
	}
	write(t, path, "profiles: {c: {}}")
	want("c")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("")
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "profiles.yaml")
	var log bytes.Buffer
	e, pass := env(path, &log)
	f, err := profile.Open(e) // the ConfigMap comes later
	if err != nil || names(f.Current()) != "" || !strings.Contains(log.String(), "no such file yet") {
		t.Errorf("without a file: %v, %v: %s", f, err, &log)
	}
	write(t, path, "profiles: {a: {}}")
	if pass(); names(f.Current()) != "a" {
		t.Errorf("got %q", names(f.Current()))
	}
	// All faults at once, those of the checks too.
	write(t, path, "profiles: {a: {more: 1}, big: {max: {cpu: x}}}")
	if _, err = profile.Open(e, noBig); err == nil {
		t.Fatal("a broken document was opened")
	}
	for _, part := range []string{"PROFILES_FILE: " + path, "profiles.a.more: ", "profiles.big.max.cpu: ", "profiles.big: is too big"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not in: %v", part, err)
		}
	}
	write(t, path, "profiles: {big: {}}")
	if f, err = profile.Open(e); err != nil {
		t.Fatal(err)
	}
	if err := f.Require(noBig); err == nil || !strings.Contains(err.Error(), "profiles.big: is too big") {
		t.Errorf("got %v", err)
	}
	e, _ = env(filepath.Join(dir, "none", "profiles.yaml"), &log)
	if _, err := profile.Open(e); err == nil || !strings.Contains(err.Error(), "PROFILES_FILE") {
		t.Errorf("without its folder: %v", err)
	}
}

func TestNoFile(t *testing.T) {
	e, _ := env("", &bytes.Buffer{})
	f, err := profile.Open(e, noBig)
	if err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]*profile.File{"without a setting": f, "nil": nil} {
		if err := one.Require(noBig); err != nil || len(one.Current().All()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
