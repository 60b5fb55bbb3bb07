package job_test

import (
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"go-job-orchestrator/shared/job"
)

// goodSegments and badSegments are names of files, and segments of the paths of outputs.
func goodSegments() []string {
	return []string{
		"a", "main.py", "with space", "ünïcödé", "日本語", "😀", ".hidden", "-rf", "...", "..a", "a..", "~", "x.attrs",
		"%2e%2e%2f", "%00", "a:b", "C:", "*", "<x>", `"`, "'", "$(id)",
		"a__0x2f__b", strings.Repeat("n", 200), strings.Repeat("é", 100), "Index.json", "results2", "index.json.bak",
		"\u202etxt",
	}
}

func badSegments() []string {
	return []string{
		"", ".", "..", `..\x`, `a\b`, `\`, "a\x00", "\x00", "a\nb", "a\rb", "\t", "a\x7f", "a\u0085b", "\x1b[31m", "\xff",
		"a\xc3", "\xed\xa0\x80",
		strings.Repeat("n", 201), strings.Repeat("é", 101), strings.Repeat("n", 100_000),
	}
}

func TestCheckFileName(t *testing.T) {
	for _, name := range append(goodSegments(), "status.txt", ".job", "stdout.log", "pkg/m.py", "a/b/c", "a/index.json",
		"a/results/b", "upload/x", ".job/x", "a..b/..c") {
		if message := job.CheckFileName(name, job.MaxNameBytes); message != "" {
			t.Errorf("CheckFileName(%q): %s", name, message)
		}
	}
	for _, name := range append(badSegments(), "index.json", "status.json", "results", "results/a", "index.json/a",
		"status.json/a/b", "/", "/a", "a/", "../x", "//", "a//b", "./a", "a/.", "a/../b", "a/..", "a/b/../../../c",
		strings.Repeat("a/", 500)+"a", "a/"+strings.Repeat("n", 201)) {
		if message := job.CheckFileName(name, job.MaxNameBytes); message == "" {
			t.Errorf("CheckFileName(%.40q) found nothing wrong", name)
		} else if len(message) > 1000 || !utf8.ValidString(message) || strings.ContainsAny(message, "\x00\n\x1b") {
			t.Errorf("CheckFileName(%.40q) says %.100q, which is no message for people", name, message)
		}
	}
	if job.CheckFileName("12345678", 8) != "" || job.CheckFileName("123456789", 8) == "" {
		t.Error("the bound given is not the bound")
	}
}

func TestCheckOutputName(t *testing.T) {
	good := append(goodSegments(), "a/b", "a/b/c.txt", "index.json", "results/x", "a/.job", ".jobs/x", "stdout.log",
		"a../b", "-/-")
	long := strings.Repeat(strings.Repeat("n", 199)+"/", 4) + strings.Repeat("n", 200)
	for _, name := range append(good, long) {
		if message := job.CheckOutputName(name); message != "" {
			t.Errorf("CheckOutputName(%.40q): %s", name, message)
		}
	}
	bad := []string{"/", "/a", "a/", "a//b", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b", "a/../../b", "//a", ".job",
		".job/x", long + "x", strings.Repeat("a/", 500) + "a"}
	for _, segment := range badSegments() {
		bad = append(bad, segment, "a/"+segment, segment+"/a", "a/"+segment+"/b")
	}
	for _, name := range bad {
		if job.CheckOutputName(name) == "" {
			t.Errorf("CheckOutputName(%.40q) found nothing wrong", name)
		}
	}
}

func FuzzFileName(f *testing.F) {
	for _, name := range append(goodSegments(), badSegments()...) {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if job.CheckFileName(name, job.MaxNameBytes) != "" {
			return
		}
		if name == "" || len(name) > job.MaxOutputNameBytes || !utf8.ValidString(name) ||
			strings.ContainsAny(name, "\\\x00\n\r") {
			t.Errorf("%q passes", name)
		}
		// Joined to a folder, the name is one file in that folder, and not a reserved one.
		if joined := path.Join("folder", name); joined != "folder/"+name || path.Dir(joined) != "folder" {
			t.Errorf("%q leads to %q", name, joined)
		}
		if name == job.IndexFile || name == job.StatusFile || name == job.ResultsDir {
			t.Errorf("%q passes", name)
		}
	})
}

func FuzzOutputName(f *testing.F) {
	for _, name := range append(goodSegments(), badSegments()...) {
		f.Add(name)
		f.Add("a/" + name + "/b")
	}
	f.Fuzz(func(t *testing.T, name string) {
		if job.CheckOutputName(name) != "" {
			return
		}
		if len(name) > 1000 || !utf8.ValidString(name) || strings.ContainsAny(name, "\\\x00\n\r") ||
			path.Join("folder", name) != "folder/"+name {
			t.Errorf("%q passes", name)
		}
		if first, _, _ := strings.Cut(name, "/"); first == job.PrivateDir {
			t.Errorf("%q passes", name)
		}
	})
}
