package download_test

import (
	"mime"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"go-job-orchestrator/shared/download"
	"go-job-orchestrator/shared/job"
)

func TestAttachment(t *testing.T) {
	tests := map[string]string{
		"a.txt":        `attachment; filename="a.txt"; filename*=UTF-8''a.txt`,
		"sub/a b.txt":  `attachment; filename="a b.txt"; filename*=UTF-8''a%20b.txt`,
		`a"b\c%41.txt`: `attachment; filename="a_b_c_41.txt"; filename*=UTF-8''a%22b%5Cc%2541.txt`,
		"naïve.txt":    `attachment; filename="na_ve.txt"; filename*=UTF-8''na%C3%AFve.txt`,
		"a\r\nX: y":    `attachment; filename="a__X: y"; filename*=UTF-8''a%0D%0AX%3A%20y`,
		"a;b='c'":      `attachment; filename="a;b='c'"; filename*=UTF-8''a%3Bb%3D%27c%27`,
	}
	for name, want := range tests {
		if got := download.Attachment(name); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

func FuzzAttachment(f *testing.F) {
	for _, name := range []string{"a", `"`, "%", "ü", "\r\n", "*", "'", "a/b", ";"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !utf8.ValidString(name) {
			return
		}
		got := download.Attachment(name)
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: %q is no header", name, got)
		}
		_, params, err := mime.ParseMediaType(got)
		if err != nil || params["filename"] != path.Base(name) {
			t.Errorf("%q: %s is %v, %v", name, got, params, err)
		}
	})
}

func TestContentType(t *testing.T) {
	tests := []struct {
		file job.File
		want string
	}{
		{job.File{Name: "a.txt"}, "text/plain; charset=utf-8"},
		{job.File{Name: "dir.txt/a"}, "application/octet-stream"},
		{job.File{Name: "A.PNG"}, "image/png"},
		{job.File{Name: "a.tar.gz"}, "application/gzip"},
		{job.File{Name: ".txt"}, "text/plain; charset=utf-8"},
		{job.File{Name: "a."}, "application/octet-stream"},
		{job.File{Name: "a.txt", ContentType: "image/x-own"}, "image/x-own"},
		{job.File{Name: "a.txt", ContentType: "not a type"}, "text/plain; charset=utf-8"},
		{job.File{Name: "a.txt", ContentType: "a/b\r\nX: y"}, "text/plain; charset=utf-8"},
		{job.File{Name: "a", ContentType: "a/" + strings.Repeat("b", 300)}, "application/octet-stream"},
	}
	for _, test := range tests {
		if got := download.ContentType(test.file); got != test.want {
			t.Errorf("%+v: got %s, want %s", test.file, got, test.want)
		}
	}
}
